//! The Redis door: its listener and password, and the rules that say which keys are sessions.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use sessgate::config::settings::{Address, RedisDoor, SessionRule};
use sessgate::config::{self, Change, ReloadOutcome, Settings};
use sessgate::session::identity::{Format, Path, Raw, Rule};

use super::{parse, parse_with, problems, refused};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

#[test]
fn rules_are_read_in_their_order() {
    let settings = parse(
        "redis_door:
  sessions:
    - match: 'php:'
      format: php
    - { match: 'app:*:v[12]', user: /data/uid, ip: '', created: /*/0 }
    - match: '*'
  tombstone: 1m30s
  plain_bytes: 1GiB
",
    )
    .unwrap();
    let (user, ip, created) = (path("/data/uid"), path(""), path("/*/0"));
    let of_app = Rule::new(Format::Auto, Some(&user), Some(&ip), Some(&created));
    let rules = [("php:", Rule::new(Format::Php, None, None, None)), ("app:*:v[12]", of_app), ("*", Rule::default())];
    let rules = rules.map(|(pattern, rule)| SessionRule { pattern: pattern.to_owned(), rule }).to_vec();
    let (tombstone, plain_bytes) = (Duration::from_secs(90), 1 << 30);
    assert_eq!(settings.redis_door, RedisDoor { sessions: rules, tombstone, plain_bytes });
    assert_eq!(parse(&config::effective(&settings)).unwrap(), settings);
}

#[test]
fn the_first_rule_that_fits_says_whose_a_value_is() {
    let settings = parse(
        r#"redis_door: {sessions: [{match: "a:", user: /x}, {match: "a*", user: /y}, {match: "l\\*", user: /x}]}"#,
    )
    .unwrap();
    let user = |name: &str| {
        let rule = settings.redis_door.rule_of(name.as_bytes())?;
        rule.extract(Raw::Value(br#"{"x": "of x", "y": "of y"}"#)).user.map(|user| user.as_str().to_owned())
    };
    for (name, expected) in
        [("a:1", Some("of x")), ("a1", Some("of y")), ("l*", Some("of x")), ("l1", None), ("b", None), ("", None)]
    {
        assert_eq!(user(name).as_deref(), expected, "{name}");
    }
    let default = Settings::default().redis_door;
    for (name, session) in [("PHPREDIS_SESSION:x", true), ("PHPREDIS_SESSION:x_LOCK", false), ("_lock", true)] {
        assert_eq!(default.rule_of(name.as_bytes()).is_some(), session, "{name}");
    }
    let all = parse("redis_door: {sessions: [{match: '*'}]}").unwrap().redis_door;
    assert!(all.rule_of(b"x_LOCK").is_some(), "who says which keys are sessions says it of locks, too");
}

#[test]
fn every_format_has_a_word() {
    for format in Format::ALL {
        let settings = parse(&format!("redis_door: {{sessions: [{{match: s, format: {format}}}]}}")).unwrap();
        assert_eq!(settings.redis_door.sessions[0].rule.format(), format);
        assert!(config::effective(&settings).contains(&format!("format: {format},")));
    }
}

#[test]
fn what_is_wrong_with_a_rule_is_told_with_its_place() {
    let text = "redis_door:
  sessions:
    - format: json
    - mach: 's:'
    - match: ''
    - match:
    - match: [s]
    - { match: s, format: jsn }
    - { match: s, user: user/id, ip: /a*b*, created: /~ }
    - { match: s, match: t, tombstone: 1s, nonsense: 1 }
    - s
    -
    - { match: s, user: /1/2/3/4/5/6/7/8/9, ip: null }
    - { match: \"a\\tb\" }
";
    let told = "\
f:3:7: `redis_door.sessions[].match` is missing
f:4:7: `redis_door.sessions[].match` is missing
f:4:7: unknown key `redis_door.sessions[].mach`
  hint: did you mean `match`?
f:5:14: `redis_door.sessions[].match`: `` is empty
f:6:12: `redis_door.sessions[].match` must be a prefix or a pattern of keys, not empty
f:7:14: `redis_door.sessions[].match` must be a prefix or a pattern of keys, not a list
f:8:27: `redis_door.sessions[].format`: `jsn` is not one of auto, json, msgpack, django, php, ruby, hash
  hint: did you mean `json`?
f:9:25: `redis_door.sessions[].user`: `user/id` does not lead into a value: a path begins with `/`, as in `/user/id`
f:9:38: `redis_door.sessions[].ip`: `/a*b*` does not lead into a value: a step of a path has at most one `*`; a star \
of the name itself is written `~2`
f:9:54: `redis_door.sessions[].created`: `/~` does not lead into a value: in a path, `~` is written `~0`, `/` is `~1` \
and `*` is `~2`
f:10:19: duplicate key `match`; it is already on line 10
f:10:29: unknown key `redis_door.sessions[].tombstone`
  hint: `tombstone` belongs under `redis_door`
f:10:44: unknown key `redis_door.sessions[].nonsense`
f:11:7: `redis_door.sessions[]` must be a mapping, `key: value`, not a single value
f:12:6: `redis_door.sessions[]` must be a mapping, `key: value`, not nothing
  hint: leave it out for its defaults
f:13:25: `redis_door.sessions[].user`: `/1/2/3/4/5/6/7/8/9` does not lead into a value: a path has at most 8 steps
f:14:16: `redis_door.sessions[].match`: `a\\tb` holds a control character";
    assert_eq!(problems(text), told);
}

#[test]
fn rules_are_a_list_of_bounded_length() {
    let must = |found: &str| format!("f:1:24: `redis_door.sessions` must be a list, not {found}");
    refused(&[
        ("redis_door: {sessions: {match: s}}", &must("a mapping")),
        ("redis_door: {sessions: all}", &must("a single value")),
        ("redis_door: {sessions: null}", &(must("nothing") + "\n  hint: leave it out for its defaults")),
    ]);
    let rules = |count: usize| format!("redis_door: {{sessions: [{}]}}", vec!["{match: s}"; count].join(", "));
    assert_eq!(parse(&rules(64)).unwrap().redis_door.sessions.len(), 64);
    assert_eq!(problems(&rules(65)), "f:1:24: `redis_door.sessions` has 65 entries; at most 64 are kept");
    let rule = |bytes: usize| format!("redis_door: {{sessions: [{{match: {}}}]}}", "s".repeat(bytes));
    assert!(parse(&rule(1024)).is_ok());
    assert!(problems(&rule(1025)).ends_with("` is too long; it has at most 1024 bytes"));
}

#[test]
fn tombstones_and_plain_keys_have_bounds() {
    let door = |key: &str, value: &str| parse(&format!("redis_door: {{{key}: {value}}}")).map(|all| all.redis_door);
    assert_eq!(door("tombstone", "0s").unwrap().tombstone, Duration::ZERO);
    assert_eq!(door("tombstone", "1h").unwrap().tombstone, Duration::from_secs(3_600));
    assert_eq!(door("plain_bytes", "64KiB").unwrap().plain_bytes, 64 << 10);
    refused(&[
        ("redis_door: {tombstone: 61m}", "f:1:25: `redis_door.tombstone`: `61m` is too large; it must be at most 1h"),
        ("redis_door: {tombstone: off}", "f:1:25: `redis_door.tombstone`: `off` must start with a number"),
        (
            "redis_door: {tombstone: null}",
            "f:1:25: `redis_door.tombstone` must be a duration, such as `25m`, not empty",
        ),
        (
            "redis_door: {plain_bytes: null}",
            "f:1:27: `redis_door.plain_bytes` must be a size, such as `256MiB`, not empty",
        ),
        (
            "redis_door: {plain_bytes: 1KiB}",
            "f:1:27: `redis_door.plain_bytes`: `1KiB` is too small; it must be at least 64KiB",
        ),
    ]);
}

#[test]
fn the_listener_is_off_unless_it_is_asked_for() {
    assert_eq!(Settings::default().listen.redis, None);
    for (value, address) in [
        ("127.0.0.1:6380", Address::Tcp(([127, 0, 0, 1], 6380).into())),
        ("unix:/run/redis.sock", Address::Unix("/run/redis.sock".into())),
    ] {
        assert_eq!(parse(&format!("listen: {{redis: '{value}'}}")).unwrap().listen.redis, Some(address));
    }
    refused(&[
        ("listen: {redis: 6380}", "f:1:17: `listen.redis`: `6380` has no port; write `host:port` or `unix:/path`"),
        (
            "listen: {redis: [a]}",
            "f:1:17: `listen.redis` must be an address, `host:port` or `unix:/path`, or null, not a list",
        ),
        ("listen: {redis: 127.0.0.1:8480}", "f:1:17: `listen.api` and `listen.redis` are both 127.0.0.1:8480"),
        (
            "listen: {redis: 127.0.0.1:1, admin: 127.0.0.1:1}",
            "f:1:17: `listen.admin` and `listen.redis` are both 127.0.0.1:1",
        ),
        (
            "listen: {redis_user: app}",
            "f:1:22: `listen.redis_user` needs a password to go with it\n  \
             hint: set `listen.redis_password_file` or `listen.api_key_file`",
        ),
        ("listen: {redis_user: ''}", "f:1:22: `listen.redis_user`: `` is empty"),
        ("listen: {redis_password_file: /nowhere}", "f:1:31: `listen.redis_password_file`: `/nowhere` does not exist"),
    ]);
    assert!(parse("listen: {api: 127.0.0.1:0, admin: 127.0.0.1:0, redis: 127.0.0.1:0}").is_ok(), "any free ports");
}

#[test]
fn beyond_loopback_it_needs_a_password_and_the_key_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, secret: &str| {
        let path = directory.path().join(name);
        fs::write(&path, secret).unwrap();
        path.display().to_string()
    };
    let (password, key) = (file("password", "s3cret\n"), file("key", "k3y\n"));
    let open = "listen: {redis: '0.0.0.0:6380'";
    assert_eq!(
        problems(&format!("{open}}}")),
        "f:1:17: `listen.redis` is bound beyond loopback (0.0.0.0:6380), which needs `listen.redis_password_file` or \
         `listen.api_key_file`\n  hint: set one of them, or listen on 127.0.0.1 or a Unix socket"
    );
    for (more, expected) in [
        (format!("redis_password_file: {password}"), "s3cret"),
        (format!("api_key_file: {key}"), "k3y"),
        (format!("redis_password_file: {password}, api_key_file: {key}, redis_user: app"), "s3cret"),
    ] {
        let settings = parse(&format!("{open}, {more}}}")).unwrap();
        assert_eq!(settings.listen.redis_password().unwrap().expose(), expected.as_bytes());
        let shown = format!("{}{settings:?}", config::effective(&settings));
        assert!(!shown.contains("s3cret") && !shown.contains("k3y"), "{shown}");
    }
    assert_eq!(parse("listen: {redis: '[::1]:1'}").unwrap().listen.redis_password(), None, "only this machine");
    // The password of the Redis door opens no other.
    assert!(problems(&format!("listen: {{api: '0.0.0.0:1', redis_password_file: {password}}}")).contains("listen.api"));
}

#[test]
fn rules_change_live_and_the_listener_at_a_restart() {
    let old = Settings::default();
    let reload = |text: &str| config::reload(&old, text.as_bytes(), "f", &|_| None);
    let text = "redis_door: {sessions: [{match: 's:*', user: /id}, {match: p, format: php}], tombstone: 0s, plain_bytes: 1MiB}";
    let ReloadOutcome::Applied { loaded, changed } = reload(text) else { panic!("should be applied") };
    assert_eq!(loaded.settings.redis_door.sessions.len(), 2);
    let changed: Vec<_> = changed.iter().map(|key| format!("{}: {} → {}", key.path, key.old, key.new)).collect();
    assert_eq!(
        changed,
        [
            "redis_door.sessions: [] → [{format: auto, match: \"s:*\", user: /id}, {format: php, match: p}]",
            "redis_door.tombstone: 1m → 0s",
            "redis_door.plain_bytes: 64MiB → 1MiB",
        ]
    );
    assert_ne!(config::live_hash(&loaded.settings), config::live_hash(&old));
    let turned = text.replace(
        "{match: 's:*', user: /id}, {match: p, format: php}",
        "{match: p, format: php}, {match: 's:*', user: /id}",
    );
    assert!(
        matches!(config::classify(&loaded.settings, &parse(&turned).unwrap()), Change::Live(changed) if changed.len() == 1),
        "the order of the rules counts"
    );

    let ReloadOutcome::Refused(told) = reload(&format!("{text}\nlisten: {{redis: 127.0.0.1:1}}")) else {
        panic!("should be refused")
    };
    assert_eq!(
        told.to_string(),
        "f:2:17: `listen.redis` needs a restart to change (from null to 127.0.0.1:1); nothing was changed\n  \
         hint: restart to put the whole file in force, or set the key back"
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "canary").unwrap();
    let text = format!("listen: {{redis_user: app, redis_password_file: {}}}", file.display());
    let ReloadOutcome::Refused(told) = reload(&text) else { panic!("should be refused") };
    let told = told.to_string();
    assert!(told.contains("`listen.redis_user` needs a restart to change (from null to app)"), "{told}");
    assert!(told.contains("`listen.redis_password_file` needs a restart to change (from null to <secret>)"), "{told}");
}

#[test]
fn rules_may_come_from_the_environment() {
    let text = "redis_door: {sessions: [{match: '${PREFIX}:$${x}', user: '/${KEY}'}]}";
    let settings = parse_with(text, &[("PREFIX", "app"), ("KEY", "uid")]).unwrap();
    let rule = &settings.redis_door.sessions[0];
    assert_eq!((rule.pattern.as_str(), rule.rule.user()), ("app:${x}", Some(&path("/uid"))));
    assert_eq!(parse(&config::effective(&settings)).unwrap(), settings);
    assert_eq!(
        parse_with(text, &[("PREFIX", "app")]).unwrap_err(),
        "f:1:58: `redis_door.sessions[].user`: `/${KEY}` needs the environment variable `KEY`, which is not set"
    );
}

proptest! {
    #[test]
    fn any_rule_reads_back(pattern in "[^\\pC]{1,40}", name in "[^\\pC]{0,40}", user in "[^\\pC]{1,40}") {
        let escaped = name.replace('~', "~0").replace('/', "~1").replace('*', "~2");
        let rule = Rule::new(Format::Auto, Some(&path(&format!("/{escaped}"))), None, None);
        let mut settings = Settings::default();
        settings.redis_door.sessions.push(SessionRule { pattern, rule });
        let shown = config::effective(&settings);
        prop_assert_eq!(parse(&shown).unwrap(), settings, "{}", shown);
        // A user's name, as an operator may type it, without the password that it needs.
        let text = format!("listen: {{redis_user: {}}}", serde_json::json!(user.replace("${", "$${")));
        prop_assert!(problems(&text).contains("needs a password"), "{}", text);
    }
}
