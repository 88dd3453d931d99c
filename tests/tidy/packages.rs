//! What we depend on: from where, and under which licences.

use std::collections::BTreeSet;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Packages that must not be among our dependencies, and why.
const BANNED: [(&str, &str); 3] = [
    ("serde_yaml", "it is archived, and RUSTSEC-2024-0449 is in its parser"),
    ("openssl", "TLS is done by rustls"),
    ("openssl-sys", "TLS is done by rustls"),
];

/// Judges `Cargo.lock`: banned packages, and packages from anywhere but crates.io.
pub fn lock_file(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for package in text.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
            line.and_then(|value| value.strip_suffix('"'))
        };
        let name = field("name").unwrap_or_default();
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            found.push(format!("Cargo.lock: {name}: {why}"));
        }
        // Only ourselves have no source, and what has one has a checksum.
        let sound = if name == "sessgate" {
            field("source").is_none()
        } else {
            field("source") == Some(CRATES_IO) && field("checksum").is_some()
        };
        if !sound {
            found.push(format!("Cargo.lock: {name} is not from crates.io"));
        }
    }
    found
}

/// The licences that `deny.toml` allows.
pub fn allowed(deny: &str) -> BTreeSet<&str> {
    let (_, licences) = deny.split_once("[licenses]").expect("deny.toml has a section of licences");
    let (list, _) = licences.split_once("allow = [").and_then(|(_, list)| list.split_once(']')).expect("it has a list");
    list.split(',').map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty()).collect()
}

/// Judges what `cargo metadata` says of every package.
pub fn licences(metadata: &Value, allowed: &BTreeSet<&str>) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    let judge = |package: &Value| {
        let licence = package["license"].as_str().unwrap_or_default();
        (!permits(licence, allowed))
            .then(|| format!("{}: the licence `{licence}` is not in deny.toml", package["name"]))
    };
    packages.iter().filter_map(judge).collect()
}

/// Whether an SPDX expression can be met with what is allowed. `AND` binds closer than `OR`; `/` is the old `OR`.
fn permits(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any(&mut words, allowed) && words.next().is_none()
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

fn any(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut met = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    match words.next() {
        Some("(") => {
            let met = any(words, allowed);
            words.next() == Some(")") && met
        }
        Some(name) => match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
            Some(exception) => allowed.contains(format!("{name} WITH {exception}").as_str()),
            None => allowed.contains(name),
        },
        None => false,
    }
}

/// Judges the lints of `Cargo.toml`: what is forbidden stays so, and every exception says why.
pub fn lints(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !manifest.contains("unsafe_code = \"forbid\"") {
        found.push("Cargo.toml: `unsafe_code` is to be forbidden".to_owned());
    }
    let lints = manifest.split("\n[").filter(|section| section.starts_with("lints"));
    for line in lints.flat_map(str::lines) {
        let reason = line.split_once('#').map(|(_, reason)| reason.trim()).unwrap_or_default();
        if line.contains("\"allow\"") && reason.is_empty() {
            found.push(format!("Cargo.toml: an exception without its reason: {line}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_depended_on_is_found() {
        let package = |name: &str, source: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"{source}\"\nchecksum = \"00\"\n\n")
        };
        let lock = "version = 4\n\n[[package]]\nname = \"sessgate\"\nversion = \"0.1.0\"\n\n".to_owned();
        assert!(lock_file(&(lock.clone() + &package("serde", CRATES_IO))).is_empty());
        for (name, source) in [
            ("serde_yaml", CRATES_IO),
            ("openssl-sys", CRATES_IO),
            ("serde", "git+https://example.org/serde#0123"),
            ("serde", "registry+https://example.org/index"),
        ] {
            assert_eq!(lock_file(&(lock.clone() + &package(name, source))).len(), 1, "{name} {source}");
        }
        assert_eq!(lock_file("[[package]]\nname = \"vendored\"\nversion = \"1.0.0\"\n").len(), 1);
    }

    #[test]
    fn licences_are_read_as_spdx_writes_them() {
        let allowed =
            allowed("[licenses]\nallow = [\"MIT\", \"Apache-2.0 WITH LLVM-exception\",\n  \"BSD-3-Clause\"]\n");
        for met in [
            "MIT",
            "MIT/GPL-3.0",
            "GPL-3.0 OR MIT",
            "(GPL-3.0 OR MIT) AND BSD-3-Clause",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(permits(met, &allowed), "{met}");
        }
        for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "MIT WITH LLVM-exception", "(MIT", "MIT MIT"] {
            assert!(!permits(unmet, &allowed), "{unmet}");
        }
        let metadata =
            serde_json::json!({"packages": [{"name": "a", "license": "MIT"}, {"name": "b", "license": null}]});
        assert_eq!(licences(&metadata, &allowed).len(), 1);
    }

    #[test]
    fn exceptions_without_a_reason_are_found() {
        let manifest = |line: &str| format!("[lints.rust]\nunsafe_code = \"forbid\"\n\n[lints.clippy]\n{line}\n");
        assert!(lints(&manifest("a = \"allow\" # so")).is_empty());
        assert_eq!(lints(&manifest("a = \"allow\"")).len(), 1);
        assert_eq!(lints(&manifest("a = { level = \"allow\", priority = 1 } #")).len(), 1);
        assert_eq!(lints(&manifest("").replace("forbid", "deny")).len(), 1);
    }
}
