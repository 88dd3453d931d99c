//! wrk, the HTTP load generator of the comparisons that call for it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::Result;

/// What wrk measured.
#[derive(Debug, PartialEq)]
pub struct Report {
    /// Requests answered.
    pub requests: u64,
    /// Requests a second.
    pub per_second: f64,
    /// Latency that 99 % of the requests stay within, in seconds.
    pub p99: f64,
}

/// Asks for `path` on 50 connections from one thread; every answer must be a success.
pub fn run(target: SocketAddr, path: &str, authorization: &str, window: Duration) -> Result<Report> {
    let output = Command::new("wrk")
        .args(["-t1", "-c50", "--latency"])
        .arg(format!("-d{}s", window.as_secs()))
        .args(["-H", &format!("Authorization: {authorization}")])
        .arg(format!("http://{target}{path}"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).map_err(|error| format!("wrk: {error}\n{text}{}", String::from_utf8_lossy(&output.stderr)).into())
}

fn parse(text: &str) -> Result<Report> {
    if let Some(failures) = text.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx")) {
        return Err(failures.trim().into());
    }
    let value = |label: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(label))
            .map(str::trim)
            .ok_or_else(|| format!("no line {label:?}"))
    };
    let requests =
        text.lines().find_map(|line| line.trim().split_once(" requests in ")).ok_or("no line of requests")?;
    Ok(Report {
        requests: requests.0.parse()?,
        per_second: value("Requests/sec:")?.parse()?,
        p99: seconds(value("99%")?)?,
    })
}

/// Reads a time as wrk prints it: `663.00us`, `1.25ms`, `2.01s`, `1.00m`.
fn seconds(text: &str) -> Result<f64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        other => return Err(format!("a time in {other:?}").into()),
    };
    Ok(number.parse::<f64>()? * unit)
}
