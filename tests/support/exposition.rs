//! A strict reader of the Prometheus text format 0.0.4.

use std::collections::BTreeMap;

/// What a scrape returned.
#[derive(Debug, Default)]
pub struct Exposition {
    /// Families by name.
    pub families: BTreeMap<String, Family>,
    /// Samples in the order of the text.
    pub samples: Vec<Sample>,
}

/// What is said of a family.
#[derive(Debug, Default)]
pub struct Family {
    /// Its help text.
    pub help: String,
    /// Its type.
    pub kind: String,
}

/// A line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name, `_bucket`, `_sum` or `_count` included.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// The name and the labels, sorted, without quotes: short and comparable.
    pub fn series(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}{{{}}}", self.name, labels.join(","))
    }
}

impl Exposition {
    /// Reads `text`, and checks everything that the format asks for.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        if !text.ends_with('\n') {
            return Err("the last line is not ended".into());
        }
        let mut current = String::new();
        for line in text.lines() {
            read.line(line, &mut current).map_err(|problem| format!("{problem}: {line}"))?;
        }
        read.check()?;
        Ok(read)
    }

    fn line(&mut self, line: &str, current: &mut String) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix("# HELP ") {
            let (name, help) = comment.split_once(' ').ok_or("no help")?;
            let family = Family { help: help.into(), kind: String::new() };
            if self.families.insert(name.into(), family).is_some() {
                return Err("family twice".into());
            }
            name.clone_into(current);
        } else if let Some(comment) = line.strip_prefix("# TYPE ") {
            let (name, kind) = comment.split_once(' ').ok_or("no type")?;
            let known = ["counter", "gauge", "histogram"].contains(&kind);
            if name != current || !known {
                return Err("a type without its help, or no such type".into());
            }
            self.families.get_mut(name).ok_or("a type without its help")?.kind = kind.into();
        } else {
            let sample = sample(line)?;
            let kind = &self.families.get(current).ok_or("a sample without a family")?.kind;
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            if !suffixes.iter().any(|suffix| sample.name == format!("{current}{suffix}")) {
                return Err(format!("not a sample of {current}"));
            }
            self.samples.push(sample);
        }
        Ok(())
    }

    /// What can be said only of the whole.
    fn check(&self) -> Result<(), String> {
        let mut seen = std::collections::BTreeSet::new();
        for sample in &self.samples {
            if !seen.insert(sample.series()) {
                return Err(format!("twice: {}", sample.series()));
            }
        }
        for (name, _) in self.families.iter().filter(|(_, family)| family.kind == "histogram") {
            let buckets: Vec<_> = self.samples.iter().filter(|s| s.name == format!("{name}_bucket")).collect();
            for series in buckets.chunk_by(|a, b| without_le(a) == without_le(b)) {
                let bounds: Vec<f64> = series.iter().map(|s| s.labels["le"].parse().unwrap_or(f64::NAN)).collect();
                let sorted = bounds.windows(2).all(|pair| pair[0] < pair[1]) && bounds.last() == Some(&f64::INFINITY);
                let rising = series.windows(2).all(|pair| pair[0].value <= pair[1].value);
                let count = self
                    .samples
                    .iter()
                    .find(|s| s.name == format!("{name}_count") && s.labels == without_le(series[0]));
                if !sorted || !rising || count.map(|s| s.value) != series.last().map(|s| s.value) {
                    return Err(format!("not a histogram: {series:?}"));
                }
            }
        }
        Ok(())
    }

    /// The samples of family `name` that have these labels, among others; of a histogram also buckets, sum and count.
    pub fn find(&self, name: &str, labels: &BTreeMap<&str, &str>) -> Vec<&Sample> {
        let of_family = |sample: &&Sample| {
            ["", "_bucket", "_sum", "_count"].iter().any(|suffix| sample.name == format!("{name}{suffix}"))
                && labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|have| have == value))
        };
        self.samples.iter().filter(of_family).collect()
    }
}

fn without_le(sample: &Sample) -> BTreeMap<String, String> {
    let mut labels = sample.labels.clone();
    labels.remove("le");
    labels
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("not a name".into());
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.strip_prefix(' ').ok_or("no value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        _ if value.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            value.parse().map_err(|_| "not a number")?
        }
        _ => return Err("not a number".into()),
    };
    Ok(Sample { name: name.into(), labels, value })
}

/// Reads `name="value",…}` and returns what follows.
fn read_labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").ok_or("no label")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().ok_or("a value is not ended")? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, c @ ('\\' | '"'))) => c,
                    _ => return Err("not an escape".into()),
                }),
                (_, c) => value.push(c),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err("a label twice".into());
        }
        rest = match quoted[end..].split_at_checked(1) {
            Some((",", rest)) => rest,
            Some(("}", rest)) => return Ok((labels, rest)),
            _ => return Err("labels are not ended".into()),
        };
    }
}
