//! The configuration in force, written as a configuration file: for `GET /-/config`.

use std::fmt::Write;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::diff::{Class, Shown, entries};
use super::settings::Settings;

/// What stands where a secret would.
pub(super) const MASKED: &str = "<secret>";

/// Writes every key with its value in force. Without secrets, the text is a configuration that says the same.
#[must_use]
pub fn effective(settings: &Settings) -> String {
    let mut out = String::new();
    let mut open: Vec<&str> = Vec::new();
    for entry in entries(settings) {
        let mut names: Vec<&str> = entry.path.split('.').collect();
        let name = names.pop().unwrap_or_default();
        let common = open.iter().zip(&names).take_while(|(a, b)| a == b).count();
        for (depth, section) in names.iter().enumerate().skip(common) {
            put(&mut out, depth, section, "");
        }
        put(&mut out, names.len(), name, &inline(&entry.value));
        open = names;
    }
    out
}

/// The first 48 bits, which a gauge holds exactly, of a hash of all keys that change live. Sidecars that listen elsewhere
/// or keep another store, but follow the same limits, have the same.
#[must_use]
pub fn live_hash(settings: &Settings) -> u64 {
    let mut hash = Sha256::new();
    for entry in entries(settings).into_iter().filter(|entry| entry.class == Class::Live) {
        hash.update(format!("{}: {}\n", entry.path, inline(&entry.value)));
    }
    hash.finalize()[..6].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn put(out: &mut String, depth: usize, name: &str, value: &str) {
    let gap = if value.is_empty() { "" } else { " " };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:width$}{name}:{gap}{value}", "", width = 2 * depth);
}

/// A value on one line, as it would be typed.
pub(super) fn inline(value: &Shown<'_>) -> String {
    match value {
        Shown::Secret(_) => MASKED.to_owned(),
        Shown::Url(url) => inline(&Shown::Plain(Json::String(url.to_string()))),
        Shown::Plain(Json::String(text)) if reads_as_text(text) => text.clone(),
        Shown::Plain(Json::Object(table)) => {
            let entries: Vec<_> = table
                .iter()
                .map(|(key, value)| {
                    let plain = reads_as_text(key) && !key.contains(':');
                    let key = if plain { key.clone() } else { Json::from(key.as_str()).to_string() };
                    format!("{key}: {}", inline(&Shown::Plain(value.clone())))
                })
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Shown::Plain(Json::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| inline(&Shown::Plain(item.clone()))).collect();
            format!("[{}]", items.join(", "))
        }
        // JSON is YAML.
        Shown::Plain(other) => other.to_string(),
    }
}

/// Whether every YAML reader takes `text`, without quotes, for this text.
fn reads_as_text(text: &str) -> bool {
    const WORDS: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"];
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./:-".contains(c))
        && !text.ends_with(':')
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
        && text.parse::<f64>().is_err()
        && text.contains(|c: char| c.is_ascii_alphabetic() || c == '/' || c == ':')
}
