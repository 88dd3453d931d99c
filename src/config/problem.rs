//! What is wrong with a configuration: every problem, with its place and, where there is one, the way out.

use std::fmt;

/// How many problems are told one by one; of the rest, only the number. A person reads no more, and the answer to a
/// reload stays small.
pub const MAX_TOLD: usize = 100;

/// How much of a piece of the file a message quotes, in characters.
const MAX_QUOTED: usize = 64;

/// A place in a file, both counted from 1; a column is a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None`: with the file as such.
    pub at: Option<Position>,
    /// What is wrong. One line.
    pub message: String,
    /// What to do about it. One line.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place.
    #[must_use]
    pub fn at(at: Position, message: impl Into<String>) -> Self {
        Self { at: Some(at), message: message.into(), hint: None }
    }

    /// A problem with the file as such.
    #[must_use]
    pub fn with_file(message: impl Into<String>) -> Self {
        Self { at: None, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong with one file, in the order of the file. Never empty.
///
/// It is shown as one line a problem, `file:line:column: message`, each followed by its hint, if any, on a line of
/// its own that starts with two spaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    file: String,
    told: Vec<Problem>,
    untold: usize,
}

impl Problems {
    /// The problems of `file`, in the order of the file; `None` if there are none.
    #[must_use]
    pub fn of(file: &str, mut all: Vec<Problem>) -> Option<Self> {
        if all.is_empty() {
            return None;
        }
        all.sort_by_key(|problem| problem.at);
        let untold = all.len().saturating_sub(MAX_TOLD);
        all.truncate(MAX_TOLD);
        Some(Self { file: file.to_owned(), told: all, untold })
    }

    /// The only problem of `file`.
    #[must_use]
    pub fn one(file: &str, problem: Problem) -> Self {
        Self { file: file.to_owned(), told: vec![problem], untold: 0 }
    }

    /// The file, as it was named.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The first [`MAX_TOLD`] problems.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.told.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.paragraphs().join("\n"))
    }
}

impl Problems {
    /// Each problem with its place, its hint on a line of its own.
    #[must_use]
    pub fn paragraphs(&self) -> Vec<String> {
        let file = &self.file;
        let mut paragraphs: Vec<String> = Vec::with_capacity(self.told.len() + 1);
        for Problem { at, message, hint } in &self.told {
            let place = at.map(|Position { line, column }| format!(":{line}:{column}")).unwrap_or_default();
            let hint = hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
            paragraphs.push(format!("{file}{place}: {message}{hint}"));
        }
        if self.untold > 0 {
            paragraphs.push(format!("{file}: and {} more problems", self.untold));
        }
        paragraphs
    }
}

/// Quotes a piece of the file in a message: on one line, harmless to a terminal, and no longer than needed.
#[must_use]
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTED).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// A URL without what may be secret in it: its user and password, and its query. It may be one that was refused, so all up
/// to the last `@` counts as user and password.
#[must_use]
pub(crate) fn masked_url(url: &str) -> String {
    let of_scheme = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let scheme = url.find("://").filter(|&at| of_scheme(&url[..at])).map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(scheme);
    match (rest.rfind('@'), rest.find('?')) {
        // A query with an `@`, or a password with a `?`: nobody can tell.
        (Some(at), Some(query)) if query < at => format!("{scheme}***"),
        (Some(at), query) => {
            format!("{scheme}***@{}", without_query(&rest[at + 1..], query.map(|query| query - at - 1)))
        }
        (None, query) => format!("{scheme}{}", without_query(rest, query)),
    }
}

fn without_query(url: &str, query: Option<usize>) -> String {
    query.map_or_else(|| url.to_owned(), |query| format!("{}?***", &url[..query]))
}

/// Of `known`, the name that was probably meant by `typed`.
#[must_use]
pub(super) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (typed.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (distance(typed, name, allowed), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many typing errors lie between two words: a letter too many, missing, wrong, or two exchanged (the restricted
/// Damerau–Levenshtein distance). Gives up, with something above `allowed`, when the lengths alone say so.
fn distance(a: &str, b: &str, allowed: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(MAX_QUOTED).collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > allowed {
        return allowed + 1;
    }
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let wrong = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + wrong);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_name_that_was_meant() {
        let names = ["memory_sessions", "memory_bytes", "per", "ttl"];
        for (typed, meant) in [
            ("memroy_sessions", Some("memory_sessions")),
            ("memory_session", Some("memory_sessions")),
            ("memory-sessions", Some("memory_sessions")),
            ("memory_byte", Some("memory_bytes")),
            ("pre", Some("per")),
            ("tll", Some("ttl")),
            ("x", None),
            ("", None),
            ("something_else", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }

    #[test]
    fn tells_a_hundred_and_counts_the_rest() {
        let all = (1..=103).map(|line| Problem::at(Position { line, column: 1 }, "bad")).collect();
        let problems = Problems::of("f", all).unwrap();
        let text = problems.to_string();
        assert_eq!(text.lines().count(), 101);
        assert!(text.starts_with("f:1:1: bad\nf:2:1: bad\n"), "{text}");
        assert!(text.ends_with("f:100:1: bad\nf: and 3 more problems"), "{text}");
    }

    #[test]
    fn urls_show_neither_password_nor_query() {
        for (url, shown) in [
            ("https://app/hook", "https://app/hook"),
            ("https://app/hook?token=s", "https://app/hook?***"),
            ("http://svc:s@app/x", "http://***@app/x"),
            ("http://svc:s@app/x?t=s", "http://***@app/x?***"),
            ("http://svc:s/s@s@app/x", "http://***@app/x"),
            ("http://app/x?mail=a@b&t=s", "http://***"),
            ("http://svc:s?s@app/x", "http://***"),
            ("svc:s@app", "***@app"),
            ("svc:s@app/?u=http://x", "***@app/?***"),
            ("svc:s@http://x", "***@http://x"),
        ] {
            assert_eq!(masked_url(url), shown, "{url}");
        }
    }

    #[test]
    fn quotes_nothing_that_moves_the_cursor() {
        assert_eq!(quoted("a\u{1b}[2J\nb"), "`a\\u{1b}[2J\\nb`");
        assert_eq!(quoted(&"x".repeat(65)), format!("`{}…`", "x".repeat(64)));
    }
}
