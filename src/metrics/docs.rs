//! `docs/METRICS.md`, from the catalogue.

use std::fmt::Write;

use super::catalogue::{Declaration, catalogue};
use super::family::{Buckets, Unit};

const HEAD: &str = "\
# Metrics

Generated from `src/metrics/catalogue.rs`; `SESSGATE_BLESS=1 cargo test --test main metrics::` writes it anew.

`GET /metrics` on the `admin` listener, in the Prometheus text format 0.0.4. Every series of a closed label set exists,
at 0, from the start; the only open labels are the `rank` and `user` of the heaviest users, whose series are bounded
by `top_users.count`. Series with `scope=\"shared\"` replace those with `scope=\"local\"` on a store that several sidecars
share. No session id, token, address or path is ever a label.

| family | type | labels | unit | meaning |
|---|---|---|---|---|
";

const PROCESS: &str = "
## The process

| family | type | meaning |
|---|---|---|
";

const BUCKETS: &str = "
## Upper bounds of the buckets, in seconds

| family | bounds |
|---|---|
";

/// The document.
#[must_use]
pub fn render() -> String {
    let mut text = String::from(HEAD);
    let families = catalogue();
    for family in &families {
        let unit = unit(family.unit);
        row(&mut text, &[&code(family.name), family.kind, &labels(family), unit, family.help]);
    }
    text.push_str(PROCESS);
    for [name, kind, help] in process() {
        row(&mut text, &[&code(&name), &kind, &help]);
    }
    text.push_str(BUCKETS);
    for family in &families {
        if let Some(bounds) = family.buckets {
            row(&mut text, &[&code(family.name), &seconds(bounds)]);
        }
    }
    text
}

fn row(text: &mut String, cells: &[&str]) {
    for cell in cells {
        // Writing to a string cannot fail.
        let _ = write!(text, "| {cell} ");
    }
    text.push_str("|\n");
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

/// `tier`: memory, storage; `scope`: …
fn labels(family: &Declaration) -> String {
    let of_label = |(at, name): (usize, &&str)| {
        let mut values: Vec<&str> = Vec::new();
        for series in &family.series {
            // The fixed labels come first and are not among a series' own values.
            let value = at.checked_sub(family.fixed.len()).and_then(|at| series.get(at));
            values.extend(value.filter(|value| !values.contains(value)));
        }
        if values.is_empty() { code(name) } else { format!("{}: {}", code(name), values.join(", ")) }
    };
    family.labels.iter().enumerate().map(of_label).collect::<Vec<_>>().join("; ")
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "seconds",
        Unit::UnixSeconds => "Unix time in seconds",
        Unit::Bytes => "bytes",
        Unit::Count(things) => things,
        Unit::Flag => "0 or 1",
        Unit::Opaque => "none",
    }
}

fn seconds(bounds: Buckets) -> String {
    let (bounds, per_second) = match bounds {
        Buckets::Nanos(bounds) => (bounds, super::family::NANOS),
        Buckets::Millis(bounds) => (bounds, super::family::MILLIS),
    };
    let bounds =
        bounds.iter().map(|&bound| (super::family::float(bound) / super::family::float(per_second)).to_string());
    bounds.collect::<Vec<_>>().join(", ")
}

/// Name, type and help of what the `prometheus` crate tells of the process; it does so on Linux only.
fn process() -> Vec<[String; 3]> {
    #[cfg(target_os = "linux")]
    {
        use prometheus::core::Collector;
        let families = prometheus::process_collector::ProcessCollector::for_self().collect();
        let rows = families.iter().map(|family| {
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            [family.name().to_owned(), kind, family.help().to_owned()]
        });
        rows.collect()
    }
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}
