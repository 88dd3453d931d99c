//! From one configuration to the next.

use std::fs;

use sessgate::config::settings::Address;
use sessgate::config::{self, Change, ReloadOutcome, Settings};

use super::{SHIPPED, parse};

fn reload(current: &Settings, text: &str) -> ReloadOutcome {
    config::reload(current, text.as_bytes(), "f", &|_| None)
}

#[track_caller]
fn refused(current: &Settings, text: &str, told: &str) {
    match reload(current, text) {
        ReloadOutcome::Refused(problems) => assert_eq!(problems.to_string(), told),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_live_is_applied_and_named() {
    let old = Settings::default();
    let text = "limits: {memory_sessions: 7, creation_per_ip: null}\nlog: {level: warn}";
    let ReloadOutcome::Applied { loaded, changed } = reload(&old, text) else { panic!("should be applied") };
    assert_eq!(loaded.settings.limits.memory_sessions, 7);
    let changed: Vec<_> = changed.iter().map(|key| format!("{}: {} → {}", key.path, key.old, key.new)).collect();
    assert_eq!(
        changed,
        [
            "limits.memory_sessions: 50000 → 7",
            "limits.creation_per_ip: {count: 10, ipv6_prefix: 64, per: 1h} → null",
            "log.level: info → warn",
        ]
    );
    assert!(matches!(reload(&loaded.settings, &format!("# a comment\n{text}")), ReloadOutcome::Unchanged(_)));
}

#[test]
fn what_needs_a_restart_refuses_the_whole_reload_and_is_named() {
    let told = |place: &str, key: &str, old: &str, new: &str| {
        format!(
            "f{place}: `{key}` needs a restart to change (from {old} to {new}); nothing was changed\n  \
             hint: restart to put the whole file in force, or set the key back"
        )
    };
    let text = "listen: {api: 127.0.0.1:1, event_loops: 64}\nstore: {embedded: {path: ./other}}\n\
                limits: {memory_sessions: 7}";
    let mut old = Settings::default();
    old.listen.event_loops = 2;
    old.listen.admin = "127.0.0.1:3".parse().map(Address::Tcp).unwrap();
    let expected = [
        // The file does not have this one.
        told("", "listen.admin", "127.0.0.1:3", "127.0.0.1:9480"),
        told(":1:15", "listen.api", "127.0.0.1:8480", "127.0.0.1:1"),
        told(":1:41", "listen.event_loops", "2", "64"),
        told(":2:26", "store.embedded.path", "./data", "./other"),
    ];
    refused(&old, text, &expected.join("\n"));
}

#[test]
fn a_new_secret_is_a_change_but_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let text = format!("hooks: {{session_closed: {{url: http://a/, secret_file: {}}}}}", path.display());
    fs::write(&path, "canary-1").unwrap();
    let old = parse(&text).unwrap();
    fs::write(&path, "canary-2").unwrap();
    let Change::Live(changed) = config::classify(&old, &parse(&text).unwrap()) else { panic!("is a change") };
    assert_eq!(changed[0].path, "hooks.session_closed.secret_file");
    assert!(!format!("{changed:?}").contains("canary"));
}

#[test]
fn an_empty_or_invalid_file_is_refused() {
    let old = Settings::default();
    let empty = "f: the file is empty\n  hint: write `{}` to ask for the defaults";
    for text in ["", "\n", "# nothing but a comment\n", "---\n", "null"] {
        refused(&old, text, empty);
    }
    refused(&old, "log: {level: loud}", "f:1:14: `log.level`: `loud` is not one of error, warn, info, debug, trace");
    assert!(matches!(reload(&old, "{}"), ReloadOutcome::Unchanged(_)));
}

#[test]
fn loading_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let file = path.display();
    assert_eq!(config::load(&path).unwrap_err().to_string(), format!("{file}: the file does not exist"));
    assert_eq!(config::load_if_present(&path), Ok(None));
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert!(config::load_if_present(&path).is_err(), "a dangling link is more likely a mistake than an absence");
    fs::remove_file(&path).unwrap();
    fs::write(&path, SHIPPED).unwrap();
    let loaded = config::load(&path).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(config::load_if_present(&path), Ok(Some(loaded.clone())));
    assert_eq!(loaded.hash, config::ContentHash::of(SHIPPED.as_bytes()));
    fs::write(&path, "x: 1").unwrap();
    assert_eq!(config::load(&path).unwrap_err().to_string(), format!("{file}:1:1: unknown key `x`"));
}

#[test]
fn sidecars_that_follow_the_same_limits_have_the_same_hash() {
    let hash = |text: &str| config::live_hash(&parse(text).unwrap());
    let default = config::live_hash(&Settings::default());
    assert!(default < 1 << 48, "a gauge holds it exactly");
    let elsewhere = "listen: { api: 127.0.0.1:1 } # here\nstore: { embedded: { path: /elsewhere } }";
    assert_eq!(hash(elsewhere), default, "where a sidecar listens and stores is its own business");
    let differing =
        ["limits: { per_user: { sessions: 9 } }", "lifetimes: { on_stale: close }", "log: { level: debug }"];
    let hashes: std::collections::BTreeSet<_> = differing.map(hash).into_iter().chain([default]).collect();
    assert_eq!(hashes.len(), differing.len() + 1);
}
