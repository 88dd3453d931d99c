//! Who may use whom: floors, cycles, doors, stores.

use std::collections::BTreeMap;

use super::source::{Source, identifier};

/// The floor of each module of the crate. ARCHITECTURE.md and `lib.rs` say the same.
pub const FLOORS: [(&str, u8); 12] = [
    ("clock", 0),
    ("session", 0),
    ("shutdown", 0),
    ("config", 1),
    ("metrics", 1),
    ("http_client", 1),
    ("store", 2),
    ("gateway", 3),
    ("doors", 4),
    ("app", 5),
    ("cli", 5),
    ("logging", 5),
];

/// The stores behind the trait.
pub const CONCRETE_STORES: [&str; 2] = ["embedded", "redis"];

/// A path of the crate that is named somewhere.
pub struct Edge {
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub at: usize,
}

/// Every path of the crate that a file names, through `crate::` or out of its own module through `super::`.
pub fn edges(source: &Source) -> Vec<Edge> {
    let mut edges = Vec::new();
    for start in ["crate::", "super::"] {
        for at in source.words(start) {
            // The second `super` of a chain was followed from the first.
            if source.code[..at].ends_with("super::") {
                continue;
            }
            let from: Vec<String> = source.module_at(at).into_iter().map(str::to_owned).collect();
            let mut base = if start == "crate::" { Vec::new() } else { from[..from.len().saturating_sub(1)].to_vec() };
            let mut rest = at + start.len();
            while source.code[rest..].starts_with("super::") {
                base.pop();
                rest += "super::".len();
            }
            let mut paths = Vec::new();
            follow(&source.code, rest, &base, &mut paths);
            edges.extend(paths.into_iter().map(|to| Edge { from: from.clone(), to, at }));
        }
    }
    edges
}

/// Follows a path, and every branch of a `{…}` in it. Answers where it ends.
fn follow(code: &str, mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let blank = |at: usize| at + code[at..].len() - code[at..].trim_start().len();
    at = blank(at);
    if code[at..].starts_with('{') {
        at += 1;
        while !matches!(code[blank(at)..].chars().next(), None | Some('}')) {
            let end = follow(code, at, prefix, paths);
            at = blank(end);
            // A comma, or whatever is no path: never stay where we are.
            at += usize::from(code[at..].starts_with(',') || (end == at && !code[at..].starts_with('}')));
        }
        return blank(at) + 1;
    }
    let name = identifier(&code[at..]);
    let mut path = prefix.to_vec();
    if !matches!(name, "" | "self") {
        path.push(name.to_owned());
    }
    at += name.len();
    if code[at..].starts_with("::") && !code[at..].starts_with("::<") {
        return follow(code, at + 2, &path, paths);
    }
    at += usize::from(code[at..].starts_with('*'));
    paths.push(path);
    if let Some(renamed) = code[at..].strip_prefix(" as ") {
        at += " as ".len() + identifier(renamed).len();
    }
    at
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// No path leads to a higher floor.
pub fn upward(source: &Source) -> Vec<String> {
    let judge = |edge: Edge| {
        let (from, to) = (edge.from.first()?, edge.to.first()?);
        let what = match (floor(from), floor(to)) {
            (Some(here), Some(there)) if there > here => format!("`{from}` is below `{to}` and must not use it"),
            (None, _) => format!("`{from}` has no floor: see tests/tidy/floors.rs"),
            _ => return None,
        };
        Some(source.finding(edge.at, &what))
    };
    edges(source).into_iter().filter_map(judge).collect()
}

/// Doors share `doors::serve`, which knows none of them, and nothing else.
pub fn doors(source: &Source) -> Vec<String> {
    let names = |path: &[String]| (path.first().is_some_and(|first| first == "doors")).then(|| path.get(1).cloned());
    let judge = |edge: Edge| {
        let (from, to) = (names(&edge.from)??, names(&edge.to)??);
        let apart = from != to && to != "serve";
        apart.then(|| source.finding(edge.at, &format!("the door `{from}` must not use the door `{to}`")))
    };
    edges(source).into_iter().filter_map(judge).collect()
}

/// Only the application names a concrete store.
pub fn stores(source: &Source) -> Vec<String> {
    let judge = |edge: Edge| {
        let allowed = matches!(edge.from.first().map(String::as_str), Some("app" | "store"));
        let [first, second, ..] = &*edge.to else { return None };
        let names = first == "store" && CONCRETE_STORES.contains(&second.as_str());
        (names && !allowed)
            .then(|| source.finding(edge.at, &format!("only `app` may choose the store, and this names `{second}`")))
    };
    edges(source).into_iter().filter_map(judge).collect()
}

/// No module of the crate uses itself through others.
pub fn cycles<'s>(sources: impl IntoIterator<Item = &'s Source>) -> Vec<String> {
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources {
        for edge in edges(source).into_iter().filter(|edge| !source.is_test(edge.at)) {
            if let (Some(from), Some(to)) = (edge.from.first(), edge.to.first())
                && from != to
            {
                uses.entry(from.clone()).or_default().push(to.clone());
            }
        }
    }
    let reaches_itself = |start: &String| {
        let (mut seen, mut next) = (Vec::new(), uses[start].clone());
        while let Some(module) = next.pop() {
            if !seen.contains(&module) {
                next.extend(uses.get(&module).into_iter().flatten().cloned());
                seen.push(module);
            }
        }
        seen.contains(start)
    };
    uses.keys().filter(|module| reaches_itself(module)).map(|module| format!("`{module}` uses itself")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str, text: &str) -> Vec<String> {
        edges(&Source::new(path, text)).iter().map(|edge| edge.to.join("::")).collect()
    }

    #[test]
    fn paths_are_followed_into_every_branch_and_out_of_the_module() {
        let text = "use crate::{\n    clock::Now,\n    store::{self, embedded::{EmbeddedStore as E, rows::*}},\n};";
        assert_eq!(
            paths("src/gateway/mod.rs", text),
            ["clock::Now", "store", "store::embedded::EmbeddedStore", "store::embedded::rows"]
        );
        let text = "fn f() -> super::super::admin::Route { crate::cli::main::<u8>(); super::problem::new() }";
        assert_eq!(
            paths("src/doors/http/calls.rs", text),
            ["cli::main", "doors::admin::Route", "doors::http::problem::new"]
        );
        let inner = "mod tests {\n    use super::*;\n    use super::super::gateway;\n}";
        assert_eq!(paths("src/store/mod.rs", inner), ["store", "gateway"]);
        assert!(paths("src/a.rs", "// use crate::doors;\nlet a = \"crate::doors\";").is_empty());
    }

    #[test]
    fn a_path_upward_is_found() {
        for (path, text) in [
            ("src/store/mod.rs", "use crate::gateway::Gateway;"),
            ("src/store/mod.rs", "use super::gateway::Gateway;"),
            ("src/config/keys.rs", "fn f() { crate::store::open() }"),
            ("src/doors/http/mod.rs", "use crate::{clock::Now, app::Sidecar};"),
            ("src/novelty.rs", "use crate::clock::Now;"),
        ] {
            assert_eq!(upward(&Source::new(path, text)).len(), 1, "{text}");
        }
        for text in ["use crate::store::Store;", "use crate::config::settings::Hook;", "use super::BATCH;"] {
            assert!(upward(&Source::new("src/gateway/sweep.rs", text)).is_empty(), "{text}");
        }
    }

    #[test]
    fn doors_that_know_each_other_are_found() {
        for (path, text, found) in [
            ("src/doors/http/mod.rs", "use crate::doors::admin::Readiness;", 1),
            ("src/doors/http/calls.rs", "use super::super::admin::Readiness;", 1),
            ("src/doors/serve/mod.rs", "use crate::doors::http::Api;", 1),
            ("src/doors/http/mod.rs", "use crate::doors::serve::h1::Head;", 0),
            ("src/app.rs", "use crate::doors::http::Api;", 0),
        ] {
            assert_eq!(doors(&Source::new(path, text)).len(), found, "{text}");
        }
    }

    #[test]
    fn a_concrete_store_named_by_others_than_the_application_is_found() {
        let text = "use crate::store::{Store, embedded::EmbeddedStore};";
        for (path, found) in
            [("src/doors/http/mod.rs", 1), ("src/gateway/mod.rs", 1), ("src/cli/mod.rs", 1), ("src/app.rs", 0)]
        {
            assert_eq!(stores(&Source::new(path, text)).len(), found, "{path}");
        }
    }

    #[test]
    fn a_cycle_is_found_and_one_in_tests_is_none() {
        let files = |clock: &str| {
            let texts = [("src/clock.rs", clock), ("src/session/id.rs", "use crate::clock::Timestamp;")];
            texts.map(|(path, text)| Source::new(path, text))
        };
        assert_eq!(cycles(&files("use crate::session::Id;")).len(), 2);
        assert_eq!(cycles(&files("#[cfg(test)]\nmod tests { use crate::session::Id; }")).len(), 0);
    }
}
