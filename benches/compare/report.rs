//! What was measured against what is wanted, as a table for people: `benches/RESULTS.md`.

use std::fmt::Write;

use crate::measure::{Sample, Samples, median};

/// How a figure is shown.
#[derive(Clone, Copy)]
pub enum Unit {
    /// So many a second.
    PerSecond,
    /// A time, measured in seconds.
    Seconds,
    /// A size in bytes.
    Bytes,
    /// A number of things.
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{value:.0} /s"),
            Self::Count => format!("{value:.0}"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Seconds if value < 1e-6 => format!("{:.1} ns", value * 1e9),
            Self::Seconds if value < 1e-3 => format!("{:.2} µs", value * 1e6),
            Self::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
        }
    }
}

/// What is wanted of a figure.
#[derive(Clone, Copy)]
pub enum Bar {
    /// Ours is so many times the peer's, or more.
    AtLeast(f64),
    /// Ours is so many times the peer's, or less.
    AtMost(f64),
    /// Ours is so much, or less, whatever the peer's.
    Absolute(f64),
    /// Nothing: it is shown for orientation.
    None,
}

/// One figure of both sides, a value a round.
pub struct Row {
    what: String,
    unit: Unit,
    bar: Bar,
    peer: Vec<f64>,
    ours: Vec<f64>,
}

impl Row {
    pub fn new(what: impl Into<String>, unit: Unit, bar: Bar, peer: Vec<f64>, ours: Vec<f64>) -> Self {
        Self { what: what.into(), unit, bar, peer, ours }
    }

    /// The same figure, said to be that of `case`.
    pub fn of(self, case: &str) -> Self {
        Self { what: format!("{case}: {}", self.what), ..self }
    }

    /// Whether it is as wanted; `None` if nothing is.
    fn met(&self) -> Option<bool> {
        let (ours, ratio) = (median(&self.ours), self.ratio());
        match self.bar {
            Bar::AtLeast(least) => Some(ratio >= least),
            Bar::AtMost(most) => Some(ratio <= most),
            Bar::Absolute(most) => Some(ours <= most),
            Bar::None => None,
        }
    }

    fn ratio(&self) -> f64 {
        median(&self.ours) / median(&self.peer)
    }

    fn line(&self) -> String {
        let side = |values: &[f64]| match values {
            [] => "–".to_owned(),
            [one] => self.unit.show(*one),
            more => {
                let (least, most) = more.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
                format!("{} ({} to {})", self.unit.show(median(more)), self.unit.show(least), self.unit.show(most))
            }
        };
        let ratio = if self.ratio().is_finite() { format!("{:.2} ×", self.ratio()) } else { "–".to_owned() };
        let bar = match self.bar {
            Bar::AtLeast(least) => format!("≥ {least:.1} ×"),
            Bar::AtMost(most) => format!("≤ {most:.1} ×"),
            Bar::Absolute(most) => format!("≤ {}", self.unit.show(most)),
            Bar::None => "–".to_owned(),
        };
        let verdict = match self.met() {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "–",
        };
        let (peer, ours) = (side(&self.peer), side(&self.ours));
        format!("| {} | {peer} | {ours} | {ratio} | {bar} | {verdict} | {} |", self.what, self.ours.len())
    }
}

/// Throughput, processor time and latency of both sides. Bars in this order.
pub fn load_rows(samples: &Samples, [throughput, cpu, p99]: [Bar; 3]) -> Vec<Row> {
    let row = |what, unit, bar, pick: fn(&Sample) -> f64| {
        Row::new(what, unit, bar, samples.peer.iter().map(pick).collect(), samples.ours.iter().map(pick).collect())
    };
    vec![
        row("throughput", Unit::PerSecond, throughput, |sample| sample.per_second),
        row("processor time an operation", Unit::Seconds, cpu, |sample| sample.cpu),
        row("p99 latency", Unit::Seconds, p99, |sample| sample.p99),
    ]
}

/// A part of the report: what one comparison says.
pub struct Section {
    /// What is compared with what, and how.
    pub method: String,
    pub rows: Vec<Row>,
}

impl Section {
    /// Whether every bar is met.
    pub fn met(&self) -> bool {
        self.rows.iter().all(|row| row.met() != Some(false))
    }

    /// The section as Markdown, under the heading `id: title`.
    pub fn render(&self, id: &str, title: &str, measured: &str) -> String {
        let mut out = format!("## {id}: {title}\n\n{}\n\nMeasured {measured}.\n\n", self.method);
        out.push_str("| figure | peer | ours | ratio | bar | | rounds |\n|---|---|---|---|---|---|---|\n");
        for row in &self.rows {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", row.line());
        }
        out
    }
}

/// Puts fresh sections among those of an earlier report. Each says itself when and on what it was measured.
pub fn merge(head: &str, earlier: &str, fresh: Vec<(&str, String)>) -> String {
    let mut sections: Vec<(String, String)> = Vec::new();
    for section in earlier.split("\n## ").skip(1) {
        let id = section.split(':').next().unwrap_or_default().to_owned();
        sections.push((id, format!("## {}\n", section.trim_end())));
    }
    for (id, text) in fresh {
        sections.retain(|(held, _)| held != id);
        sections.push((id.to_owned(), text));
    }
    sections.sort();
    let texts: Vec<_> = sections.iter().map(|(_, text)| text.as_str()).collect();
    format!("{head}\n{}", texts.join("\n"))
}
