//! What can be said, and that it reads back.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use sessgate::config::settings::{Address, CreationRate, LogFormat, StoreSettings, TopUserLabel};
use sessgate::config::units::{parse_duration, parse_size, show_duration, show_size};
use sessgate::config::{self, Settings};
use sessgate::session::OnExcess;

use super::{parse, problems};

#[test]
fn every_key_can_be_set() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "s3cret\n").unwrap();
    let text = format!(
        "listen: {{ api: '[::]:1', admin: unix:/run/a.sock, api_key_file: {0}, event_loops: 3,
  redis: 127.0.0.1:6380, redis_user: app, redis_password_file: {0} }}
store: {{ embedded: {{ path: /var/lib/x }} }}
lifetimes:
  idle_timeout: 1h30m
  absolute_timeout: 2d
  stale_after: 90s
  on_stale: close
  memory_idle: 1d
  sweep_interval: 250ms
limits:
  memory_sessions: 7
  memory_bytes: 1MB
  stored_sessions: 8
  stored_bytes: null
  session_bytes: 1000
  per_user: {{ sessions: null, on_excess: reject, overrides: {{ ann: 3, \"null\": 4, 123: 5 }} }}
  creation_per_ip: {{ count: 2, per: 1m, ipv6_prefix: 56 }}
  leases: {{ per_user: null, ttl: 1s, tracked_users: 9, track_for: 2s }}
hooks:
  session_closed: {{ url: https://app/hook?a=b, secret_file: {0}, timeout: 1s, max_attempts: 2, max_age: 1h }}
redis_door:
  sessions: [ {{ match: 's:', format: hash, user: /uid, ip: /ip, created: /at }} ]
  tombstone: 0s
  plain_bytes: 1MiB
top_users: {{ count: 1, label: none }}
log: {{ level: trace, format: json }}
",
        secret.display()
    );
    let settings = parse(&text).unwrap();
    assert_eq!(settings.listen.api, Address::Tcp("[::]:1".parse().unwrap()));
    assert_eq!(settings.listen.admin, Address::Unix("/run/a.sock".into()));
    assert_eq!(settings.listen.api_key.as_ref().unwrap().expose(), b"s3cret");
    assert_eq!(settings.listen.event_loops, 3);
    assert_eq!(settings.store, StoreSettings::Embedded { path: "/var/lib/x".into() });
    assert_eq!(settings.lifetimes.clocks.idle_timeout, Duration::from_secs(5_400));
    assert_eq!(settings.lifetimes.clocks.absolute_timeout, Some(Duration::from_secs(172_800)));
    assert_eq!(settings.lifetimes.sweep_interval, Duration::from_millis(250));
    assert!(settings.lifetimes.close_stale);
    assert_eq!((settings.limits.memory_bytes, settings.limits.session_bytes), (1_000_000, 1_000));
    assert_eq!((settings.limits.stored.sessions, settings.limits.stored.bytes), (Some(8), None));
    let users = &settings.limits.per_user;
    assert_eq!((users.sessions, users.on_excess), (None, OnExcess::Reject));
    let own = [("ann", 3), ("null", 4), ("123", 5)].map(|(user, sessions)| (user.to_owned(), sessions));
    assert_eq!(users.overrides, HashMap::from(own));
    let rate = CreationRate { count: 2, per: Duration::from_secs(60), ipv6_prefix: 56 };
    assert_eq!(settings.limits.creation_per_ip, Some(rate));
    assert_eq!(settings.limits.leases.per_user, None);
    let hook = settings.hooks.session_closed.as_ref().unwrap();
    assert_eq!((hook.url.as_str(), hook.max_attempts), ("https://app/hook?a=b", 2));
    assert_eq!(settings.redis_door.sessions.len(), 1);
    assert_eq!(settings.top_users.label, TopUserLabel::None);

    // No key is at its default, so nothing was read from the wrong place; and what is in force reads back.
    let (mine, default) = (config::effective(&settings), config::effective(&Settings::default()));
    for (mine, default) in mine.lines().zip(default.lines()).filter(|(mine, _)| !mine.ends_with(':')) {
        assert_ne!(mine, default);
    }
    assert!(!mine.contains("s3cret") && !format!("{settings:?}").contains("s3cret"));
    let unmasked = mine.replace("<secret>", &secret.display().to_string()).replace("?***", "?a=b");
    assert_eq!(parse(&unmasked).unwrap(), settings);
}

#[test]
fn null_turns_off_where_it_may() {
    let settings = parse("limits: {creation_per_ip: null, stored_bytes: ~, per_user: {sessions: }}").unwrap();
    assert_eq!(settings.limits.creation_per_ip, None);
    assert_eq!(settings.limits.stored.bytes, None);
    assert_eq!(settings.limits.per_user.sessions, None);
    assert_eq!(parse(&config::effective(&settings)).unwrap(), settings);
    assert_eq!(problems("store: {embedded: {path: ~}}"), "f:1:26: `store.embedded.path` must be a path, not empty");
    assert!(problems("lifetimes: {absolute_timeout: 'null'}").contains("must start with a number"));
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems() {
    let settings = parse("\u{feff}log:\r\n  format: json\r\n").unwrap();
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn aliases_carry_values() {
    let settings = parse("lifetimes: {stale_after: &t 7m, sweep_interval: *t}").unwrap();
    assert_eq!(settings.lifetimes.sweep_interval, Duration::from_secs(420));
    let told = problems("lifetimes:\n  idle_timeout: &t 7d\n  sweep_interval: *t\n");
    assert_eq!(told, "f:3:19: `lifetimes.sweep_interval`: `7d` is too large; it must be at most 1d");
}

proptest! {
    #[test]
    fn durations_read_back(ms in any::<u64>()) {
        let duration = Duration::from_millis(ms);
        prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
    }

    #[test]
    fn sizes_read_back(bytes in any::<u64>(), shift in 0..50_u32) {
        let bytes = bytes >> shift << shift;
        prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
    }

    #[test]
    fn units_never_panic(text in "[-0-9a-zA-Z., \u{e9}]{0,24}") {
        let _ = (parse_duration(&text), parse_size(&text));
    }

    #[test]
    fn any_path_reads_back(path in "[^\\pC]{1,40}") {
        let settings = Settings { store: StoreSettings::Embedded { path: path.into() }, ..Settings::default() };
        prop_assert_eq!(parse(&config::effective(&settings)).unwrap(), settings);
    }

    #[test]
    fn any_user_reads_back(user in "[^\\pC]{1,40}", sessions in 1..=1_000_000_u64) {
        let mut settings = Settings::default();
        settings.limits.per_user.overrides.insert(user, sessions);
        prop_assert_eq!(parse(&config::effective(&settings)).unwrap(), settings);
    }
}
