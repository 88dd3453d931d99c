//! What may not be written, or only in one place.

use super::source::{Source, words};

/// A word of the code, where alone it may stand, and why. Of several places, any.
const PLACES: [(&str, &[&str], &str); 9] = [
    ("SystemTime", &["src/clock.rs"], "wall-clock time is read only by the clock, which tests replace"),
    ("serde_yaml", &["src/config/yaml.rs"], "YAML is parsed in one place"),
    ("rusqlite", &["src/store/embedded/"], "SQLite is a matter of the embedded store"),
    ("prometheus", &["src/metrics/"], "metrics have one catalogue"),
    ("hyper", &["src/doors/"], "only doors know wire formats"),
    ("httparse", &["src/doors/"], "only doors know wire formats"),
    ("http_body_util", &["src/doors/"], "only doors know wire formats"),
    // The configuration has URLs to judge.
    (
        "reqwest",
        &["src/http_client.rs", "src/config/kinds.rs", "src/gateway/outbox.rs", "src/cli/"],
        "the store knows no HTTP",
    ),
    ("http_client", &["src/lib.rs", "src/gateway/outbox.rs", "src/cli/"], "the store knows no HTTP"),
];

pub fn misplaced(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (word, places, why) in PLACES.iter().filter(|(_, places, _)| !begins_with_one(&source.path, places)) {
        found.extend(source.words(word).map(|at| source.finding(at, &format!("`{word}`: {why}"))));
    }
    if !source.path.starts_with("src/metrics/") {
        let named = source.text.match_indices("\"sessgate_").map(|(at, _)| at).filter(|&at| !source.is_test(at));
        found.extend(named.map(|at| source.finding(at, "a metric's name stands in the catalogue only")));
    }
    found
}

fn begins_with_one(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// `unsafe`, anywhere.
pub fn unsafety(source: &Source) -> Vec<String> {
    source.words("unsafe").map(|at| source.finding(at, "`unsafe` is forbidden")).collect()
}

/// Work that was put off. In tests, texts may name it.
pub fn put_off(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (name, call) in [("TODO", false), ("FIXME", false), ("XXX", false), ("todo!", true), ("unimplemented!", true)] {
        let texts: &[&str] = match (call, source.path.starts_with("src/")) {
            (true, _) => &[&source.code],
            (false, true) => &[&source.text],
            (false, false) => &[&source.code, &source.comments],
        };
        for text in texts {
            found.extend(words(text, name).map(|at| source.finding(at, "do it now, or write an issue")));
        }
    }
    found
}

/// Words of a reason: "cannot fail" is none, "the pattern is a constant" is one.
const REASON_WORDS: usize = 4;

/// Panics outside tests that do not say why they cannot happen.
pub fn unexplained_panics(source: &Source) -> Vec<String> {
    let calls = [".unwrap()", ".unwrap_err()", ".expect(", ".expect_err(", "panic!(", "unreachable!("];
    let mut found = Vec::new();
    for call in calls {
        for at in source.words(call).filter(|&at| !source.is_test(at)) {
            let message = source.text[at + call.len()..].trim_start().strip_prefix('"');
            let reason = message.and_then(|text| text.split('"').next()).unwrap_or_default();
            if reason.split_whitespace().count() < REASON_WORDS && !source.is_explained(at) {
                found.push(source.finding(at, &format!("`{call}` without a word why it cannot fail")));
            }
        }
    }
    found
}

/// Lints that are put aside without a reason.
pub fn unexplained_lints(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in source.code.match_indices(attribute) {
            let end = source.code[at..].find(']').map_or(source.code.len(), |length| at + length);
            if !source.code[at..end].contains("reason =") {
                found.push(source.finding(at, "a lint is put aside without `reason = …`"));
            }
        }
    }
    found
}

/// Tests that are left out, or wait for a time instead of an event.
pub fn lazy_tests(source: &Source) -> Vec<String> {
    let mut found: Vec<_> = source.words("#[ignore").map(|at| source.finding(at, "no test is left out")).collect();
    let waits = source.words("sleep(").filter(|&at| source.is_test(at) && !source.path.starts_with("tests/support/"));
    found.extend(waits.map(|at| source.finding(at, "tests wait for the event, not for a time")));
    found
}

/// What doors do with a secret: compare it, in the same time whatever was presented.
pub fn hasty_comparisons(source: &Source) -> Vec<String> {
    let secret = |at: &usize| !source.is_test(*at) && !source.code[..*at].ends_with("token");
    let compared = |at: usize| {
        let begin = source.code[..at].rfind([';', '{', '}']).map_or(0, |place| place + 1);
        let end = source.code[at..].find([';', '{', '}']).map_or(source.code.len(), |length| at + length);
        source.code[begin..end].contains(".ct_eq(")
    };
    let exposed = source.code.match_indices(".expose()").map(|(at, _)| at).filter(secret);
    exposed
        .filter(|&at| source.path.starts_with("src/doors/") && !compared(at))
        .map(|at| source.finding(at, "a door may do nothing with a secret but `ct_eq`"))
        .collect()
}

/// Files are read whole by people.
pub fn too_long(source: &Source) -> Vec<String> {
    let most = if source.path == "src/main.rs" { 60 } else { 600 };
    let lines = source.text.lines().count();
    if lines > most { vec![format!("{}: {lines} lines; at most {most}", source.path)] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&Source) -> Vec<String>, cases: &[(&str, &str, usize)]) {
        for (path, text, found) in cases {
            let findings = rule(&Source::new(path, text));
            assert_eq!(findings.len(), *found, "{path}: {text}: {findings:?}");
        }
    }

    #[test]
    fn what_stands_in_the_wrong_place_is_found() {
        check(
            misplaced,
            &[
                ("src/gateway/mod.rs", "let now = std::time::SystemTime::now();", 1),
                ("src/clock.rs", "let now = std::time::SystemTime::now();", 0),
                ("src/config/keys.rs", "use serde_yaml::Value;", 1),
                ("src/config/yaml.rs", "use serde_yaml::Value;", 0),
                ("src/store/embedded/rows.rs", "use hyper::StatusCode; use reqwest::Url; use crate::http_client;", 3),
                ("src/gateway/mod.rs", "use rusqlite::Connection; use prometheus::Opts;", 2),
                ("src/gateway/mod.rs", "let name = \"sessgate_sessions\";", 1),
                ("src/metrics/catalogue.rs", "let name = \"sessgate_sessions\";", 0),
                ("src/gateway/mod.rs", "let prefix = \"webhook_sessgate_\"; // hyper", 0),
            ],
        );
    }

    #[test]
    fn unsafe_code_is_found() {
        check(
            unsafety,
            &[
                ("tests/a.rs", "fn f() { unsafe { g() } }", 1),
                ("src/a.rs", "// unsafe\nlet a = \"unsafe\"; let unsafe_ = 1;", 0),
            ],
        );
    }

    #[test]
    fn work_put_off_is_found() {
        check(
            put_off,
            &[
                ("src/a.rs", "// TODO: later", 1),
                ("src/a.rs", "let told = \"FIXME\";", 1),
                ("src/a.rs", "fn f() { todo!() }", 1),
                ("tests/a.rs", "fn f() { unimplemented!(\"later\") } // XXX", 2),
                ("tests/a.rs", "let told = \"TODO\"; // todos are no words", 0),
            ],
        );
    }

    #[test]
    fn panics_without_a_reason_are_found() {
        check(
            unexplained_panics,
            &[
                ("src/a.rs", "let a = b.unwrap();", 1),
                ("src/a.rs", "let a = b\n    .c()\n    .expect(\"worked\");", 1),
                ("src/a.rs", "let a = b.expect(\"a constant pattern is valid\");", 0),
                ("src/a.rs", "// It was put there above.\nlet a = b\n    .unwrap();", 0),
                ("src/a.rs", "// About something else.\nlet c = d;\nlet a = b.unwrap();", 1),
                ("src/a.rs", "match a { _ => unreachable!() }", 1),
                ("src/a.rs", "#[cfg(test)]\nmod tests {\n    fn f() { a.unwrap() }\n}", 0),
                ("tests/a.rs", "let a = b.unwrap();", 0),
            ],
        );
    }

    #[test]
    fn lints_put_aside_without_a_reason_are_found() {
        check(
            unexplained_lints,
            &[
                ("src/a.rs", "#[allow(missing_docs)]\nenum A {}", 1),
                ("src/a.rs", "#[expect(\n    clippy::a,\n    reason = \"so\"\n)]\nenum A {}", 0),
                ("tests/a.rs", "#![allow(dead_code)]", 1),
            ],
        );
    }

    #[test]
    fn lazy_tests_are_found() {
        check(
            lazy_tests,
            &[
                ("tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}", 1),
                ("src/a.rs", "#[cfg(test)]\nmod tests { fn f() { thread::sleep(SECOND) } }", 1),
                ("tests/a.rs", "tokio::time::sleep(SECOND).await;", 1),
                ("tests/support/a.rs", "thread::sleep(SECOND);", 0),
                ("src/a.rs", "thread::sleep(SECOND);", 0),
            ],
        );
    }

    #[test]
    fn a_comparison_that_tells_how_much_is_right_is_found() {
        check(
            hasty_comparisons,
            &[
                ("src/doors/http/mod.rs", "fn f() -> bool { key.expose() == presented }", 1),
                ("src/doors/http/mod.rs", "fn f() -> bool { key.expose().ct_eq(presented).into() }", 0),
                ("src/doors/http/mod.rs", "let a = b.ct_eq(c); let d = key.expose();", 1),
                ("src/doors/http/render.rs", "out.push(token.expose());", 0),
                ("src/gateway/outbox.rs", "hmac(secret.expose());", 0),
            ],
        );
    }

    #[test]
    fn long_files_are_found() {
        check(
            too_long,
            &[
                ("src/main.rs", &"\n".repeat(61), 1),
                ("src/main.rs", &"\n".repeat(60), 0),
                ("tests/a.rs", &"\n".repeat(601), 1),
                ("src/a.rs", &"\n".repeat(600), 0),
            ],
        );
    }
}
