//! redis-benchmark, the load generator of the comparisons through the Redis door that call for it.

use std::net::SocketAddr;

use crate::Result;
use crate::machine::REDIS_BENCHMARK;

/// What redis-benchmark measured.
#[derive(Debug, PartialEq)]
pub struct Report {
    /// Requests a second.
    pub per_second: f64,
    /// Latency that 99 % of the requests stay within, in seconds; of a pipeline, until all of it is answered.
    pub p99: f64,
}

/// Gets `key`, with a random number below `keys` in it if it has a place for one, `requests` times on 50 connections from
/// so many threads, with so many requests under way on each.
pub fn get(target: SocketAddr, key: &str, keys: usize, requests: u64, pipeline: u64, threads: usize) -> Result<Report> {
    // With the option it shares its counters between threads, even if there is only one.
    let threads = if threads > 1 { vec!["--threads".to_owned(), threads.to_string()] } else { Vec::new() };
    let output = REDIS_BENCHMARK
        .command()
        .args(["-h", &target.ip().to_string(), "-p", &target.port().to_string()])
        .args(["-c", "50", "-P", &pipeline.to_string(), "-n", &requests.to_string()])
        .args(threads)
        .args(["-r", &keys.to_string(), "--csv", "GET", key])
        .output()?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // It says so when it is refused something, and goes on.
    if !output.status.success() || errors.contains("rror") {
        return Err(format!("redis-benchmark: {errors}\n{text}").into());
    }
    parse(&text).ok_or_else(|| format!("redis-benchmark said {text}").into())
}

/// Reads two lines: the names of the columns, and the values, all in double quotes. Latencies are in milliseconds.
fn parse(text: &str) -> Option<Report> {
    let mut lines = text.lines().map(|line| line.split(',').map(|field| field.trim_matches('"')));
    let (names, mut values) = (lines.next()?, lines.next()?.collect::<Vec<_>>().into_iter());
    let (mut per_second, mut p99) = (None, None);
    for name in names {
        let value = values.next()?;
        match name {
            "rps" => per_second = value.parse().ok(),
            "p99_latency_ms" => p99 = value.parse::<f64>().ok(),
            _ => {}
        }
    }
    Some(Report { per_second: per_second?, p99: p99? / 1e3 })
}
