//! The rules of the house (ARCHITECTURE.md), held against the source. Each rule is a function over files, and is shown
//! beside its definition to find what it should.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use source::Source;

mod floors;
mod packages;
mod source;
mod words;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file under these directories, in the order of their names.
fn sources(directories: &[&str]) -> Vec<Source> {
    let mut waiting: Vec<_> = directories.iter().map(|directory| Path::new(ROOT).join(directory)).collect();
    let mut paths = BTreeSet::new();
    while let Some(directory) = waiting.pop() {
        // Not every package has benches.
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for path in entries.map(|entry| entry.expect("a directory can be read").path()) {
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.insert(path);
            }
        }
    }
    let name = |path: &Path| path.strip_prefix(ROOT).expect("it is below").to_str().expect("our names are").to_owned();
    paths.iter().map(|path| name(path)).map(|path| Source::new(&path, &read(&path))).collect()
}

static ALL: LazyLock<Vec<Source>> = LazyLock::new(|| sources(&["src", "tests", "benches", "examples"]));

fn ours() -> impl Iterator<Item = &'static Source> {
    ALL.iter().filter(|source| source.path.starts_with("src/"))
}

#[track_caller]
fn holds(findings: impl IntoIterator<Item = String>) {
    let findings: Vec<_> = findings.into_iter().collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_tree_is_read_whole() {
    let count = ours().count();
    assert!(count > 50 && ALL.len() > count + 10, "{count} of {} files", ALL.len());
    assert!(ours().map(|source| floors::edges(source).len()).sum::<usize>() > 300);
}

#[test]
fn no_path_leads_upward_and_there_are_no_cycles() {
    holds(ours().flat_map(floors::upward));
    holds(floors::cycles(ours()));
}

#[test]
fn every_module_of_the_crate_has_its_floor_which_the_documents_know() {
    let library = read("src/lib.rs");
    let modules: BTreeSet<_> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(modules, floors::FLOORS.iter().map(|(name, _)| *name).collect());
    let architecture = read("ARCHITECTURE.md");
    for (module, floor) in floors::FLOORS {
        let row = |line: &&str| line.starts_with(&format!("| {floor} |")) && line.contains(&format!("`{module}`"));
        assert!(
            architecture.lines().any(|line| row(&line)),
            "ARCHITECTURE.md does not have `{module}` on floor {floor}"
        );
        let item = |line: &&str| line.starts_with(&format!("//! {floor}. ")) && line.contains(&format!("[`{module}`]"));
        assert!(library.lines().any(|line| item(&line)), "lib.rs does not have `{module}` on floor {floor}");
    }
    let readme = read("README.md");
    for place in ["ARCHITECTURE.md", "src", "tests", "config.yaml", "docs"] {
        assert!(readme.contains(place), "README.md does not say what is in {place}");
    }
}

#[test]
fn every_file_is_part_of_the_crate_or_of_the_tests() {
    let declared = |source: &Source, name: &str| source.words("mod ").any(|at| source.code[at + 4..].starts_with(name));
    for source in ALL.iter().filter(|source| source.path.starts_with("src/") || source.path.starts_with("tests/")) {
        let path = source.path.strip_suffix(".rs").expect("it is Rust");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        let (parent, name) = path.rsplit_once('/').expect("it is below a directory");
        if matches!(path, "src/lib" | "src/main" | "tests/main") {
            continue;
        }
        let parents = match parent {
            "src" => vec!["src/lib.rs".to_owned()],
            "tests" => vec!["tests/main.rs".to_owned()],
            _ => vec![format!("{parent}.rs"), format!("{parent}/mod.rs")],
        };
        let parent = ALL.iter().find(|source| parents.contains(&source.path));
        let known = parent.is_some_and(|parent| declared(parent, &format!("{name};")));
        assert!(known, "{}: nothing says `mod {name};`, so it is never compiled", source.path);
    }
}

#[test]
fn doors_do_not_know_each_other_and_only_the_application_names_a_store() {
    holds(ours().flat_map(floors::doors));
    holds(ours().flat_map(floors::stores));
    let stores: Vec<_> = read("src/store/mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "))
        .map(|line| line.trim_end_matches(';').to_owned())
        // What may be asked of any of them.
        .filter(|module| module != "raw")
        .collect();
    assert!(stores.iter().all(|store| floors::CONCRETE_STORES.contains(&store.as_str())), "{stores:?}");
}

#[test]
fn the_clock_the_catalogue_yaml_sql_and_http_have_their_places() {
    holds(ours().flat_map(words::misplaced));
}

#[test]
fn nothing_is_unsafe() {
    holds(ALL.iter().flat_map(words::unsafety));
}

#[test]
fn nothing_is_put_off() {
    holds(ALL.iter().flat_map(words::put_off));
}

#[test]
fn whatever_could_panic_says_why_it_does_not() {
    holds(ours().flat_map(words::unexplained_panics));
}

#[test]
fn every_exception_from_a_lint_has_its_reason() {
    holds(packages::lints(&read("Cargo.toml")));
    holds(ALL.iter().flat_map(words::unexplained_lints));
}

#[test]
fn no_test_is_left_out_sleeps_or_is_tried_again() {
    holds(ALL.iter().flat_map(words::lazy_tests));
    let runner = fs::read_to_string(Path::new(ROOT).join(".config/nextest.toml")).unwrap_or_default();
    assert!(!runner.contains("retries"), "a test that needs a second try has found something");
}

#[test]
fn keys_are_compared_in_constant_time() {
    holds(ours().flat_map(words::hasty_comparisons));
}

#[test]
fn no_file_is_too_long() {
    holds(ALL.iter().flat_map(words::too_long));
}

#[test]
fn dependencies_come_from_one_place_under_licences_that_are_allowed() {
    holds(packages::lock_file(&read("Cargo.lock")));
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // What is not needed on this machine may not have been fetched.
    let arguments = ["metadata", "--format-version=1", "--offline", "--locked", "--filter-platform", &platform];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(ROOT).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    assert!(metadata["packages"].as_array().is_some_and(|packages| packages.len() > 100));
    holds(packages::licences(&metadata, &packages::allowed(&read("deny.toml"))));
}
