//! Every problem, with its exact place and text.

use super::{problems, refused};

#[test]
fn a_typing_error_in_a_key_gets_a_hint() {
    refused(&[
        (
            "limits:\n  memroy_sessions: 5\n",
            "f:2:3: unknown key `limits.memroy_sessions`\n  hint: did you mean `memory_sessions`?",
        ),
        ("lifetime: {}\n", "f:1:1: unknown key `lifetime`\n  hint: did you mean `lifetimes`?"),
        (
            "memory_sessions: 5\n",
            "f:1:1: unknown key `memory_sessions`\n  hint: `memory_sessions` belongs under `limits`",
        ),
        (
            "limits:\n  log: {}\n",
            "f:2:3: unknown key `limits.log`\n  hint: `log` belongs at the top, without indentation",
        ),
        ("nonsense: 1\n", "f:1:1: unknown key `nonsense`"),
    ]);
}

#[test]
fn a_secret_in_the_file_is_led_to_a_file_of_its_own() {
    refused(&[
        (
            "listen: { api_key: canary, redis_password: canary }\n",
            "f:1:11: unknown key `listen.api_key`\n  \
             hint: did you mean `api_key_file`, the path of a file that holds it?\n\
             f:1:28: unknown key `listen.redis_password`\n  \
             hint: did you mean `redis_password_file`, the path of a file that holds it?",
        ),
        (
            "hooks: { session_closed: { secret: canary } }\n",
            "f:1:28: unknown key `hooks.session_closed.secret`\n  \
             hint: did you mean `secret_file`, the path of a file that holds it?",
        ),
    ]);
}

#[test]
fn who_means_null_is_told_so() {
    refused(&[
        (
            "limits: { stored_sessions: unlimited, stored_bytes: Off }\n",
            "f:1:28: `limits.stored_sessions`: `unlimited` is no whole number; write it with digits only\n  \
             hint: `null` turns it off\n\
             f:1:53: `limits.stored_bytes`: `Off` must start with a number\n  hint: `null` turns it off",
        ),
        (
            "lifetimes: { absolute_timeout: never, idle_timeout: never }\n",
            "f:1:32: `lifetimes.absolute_timeout`: `never` must start with a number\n  hint: `null` turns it off\n\
             f:1:53: `lifetimes.idle_timeout`: `never` must start with a number",
        ),
        (
            "limits: { creation_per_ip: off }\n",
            "f:1:28: `limits.creation_per_ip` must be a mapping, `key: value`, or null, not a single value\n  \
             hint: `null` turns it off",
        ),
    ]);
}

#[test]
fn keys_of_later_versions_say_so() {
    refused(&[(
        "store:\n  redis: {}\nredis_door:\n  passthrough: on\nauthz: null\n",
        "f:2:3: `store.redis` is not available in this version\n  hint: take it out of the file\n\
             f:4:3: `redis_door.passthrough` is not available in this version\n  hint: take it out of the file\n\
             f:5:1: `authz` is not available in this version\n  hint: take it out of the file",
    )]);
}

#[test]
fn all_are_told_at_once_in_the_order_of_the_file() {
    refused(&[(
        "lifetimes:\n  idle_timeout: 25\n  on_stale: clos\nlimits:\n  memory_sessions: 0\n  memory_sessions: 7\n  \
             per_user: 3\n  leases: { ttl: 2h, track_for: 1h }\nlisten: { admin: 0.0.0.0:9480 }\nlog: { levle: info }\n",
        "f:2:17: `lifetimes.idle_timeout`: `25` has no unit; write `25s` for seconds, or another of d, h, m, s, ms\n\
             f:3:13: `lifetimes.on_stale`: `clos` is not one of keep, close\n  hint: did you mean `close`?\n\
             f:5:20: `limits.memory_sessions`: `0` is out of range; it must be from 1 to 1000000000\n\
             f:6:3: duplicate key `memory_sessions`; it is already on line 5\n\
             f:7:13: `limits.per_user` must be a mapping, `key: value`, not a single value\n\
             f:8:18: `limits.leases.ttl` (2h) must not exceed `limits.leases.track_for` (1h)\n  \
             hint: a user must not be forgotten while a lease runs\n\
             f:9:18: `listen.admin` is bound beyond loopback (0.0.0.0:9480), which needs `listen.api_key_file`\n  \
             hint: set `listen.api_key_file`, or listen on 127.0.0.1 or a Unix socket\n\
             f:10:8: unknown key `log.levle`\n  hint: did you mean `level`?",
    )]);
}

#[test]
fn of_durations_and_sizes() {
    let duration = |value: &str, told: &str| {
        let expected = format!("f:1:29: `lifetimes.sweep_interval`: `{value}` {told}");
        assert_eq!(problems(&format!("lifetimes: {{sweep_interval: {value}}}\n")), expected);
    };
    duration("5", "has no unit; write `5s` for seconds, or another of d, h, m, s, ms");
    duration("5min", "has an unknown unit; the units are d, h, m, s, ms");
    duration("-5m", "must not be negative");
    duration("m", "must start with a number");
    duration("1.5h", "must use whole numbers; take a smaller unit instead of a fraction");
    duration("1m1h", "must go from large units to small ones, each at most once, as in `1h30m`");
    duration("1m1m", "must go from large units to small ones, each at most once, as in `1h30m`");
    duration("99999999999999999d", "is too large");
    duration("99999999999999999999s", "is too large");
    duration("99ms", "is too small; it must be at least 100ms");
    duration("2d", "is too large; it must be at most 1d");
    let size = |value: &str, told: &str| {
        let expected = format!("f:1:24: `limits.memory_bytes`: `{value}` {told}");
        assert_eq!(problems(&format!("limits: {{memory_bytes: {value}}}\n")), expected);
    };
    size("256mb", "has an unknown unit; the units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB");
    size("1.5GiB", "must use whole numbers; take a smaller unit instead of a fraction");
    size("-1", "must not be negative");
    size("MiB", "must start with a number");
    size("16777216TiB", "is too large");
    size("1", "is too small; it must be at least 64KiB");
    size("17TiB", "is too large; it must be at most 16TiB");
}

#[test]
fn of_numbers_and_shapes() {
    refused(&[
        ("top_users: {count: 101}", "f:1:20: `top_users.count`: `101` is out of range; it must be from 1 to 100"),
        ("top_users: {count: -1}", "f:1:20: `top_users.count`: `-1` is out of range; it must be from 1 to 100"),
        ("top_users: {count: 1e1}", "f:1:20: `top_users.count`: `1e1` is no whole number; write it with digits only"),
        ("top_users: {count: 0x7}", "f:1:20: `top_users.count`: `0x7` is no whole number; write it with digits only"),
        ("top_users: {count: null}", "f:1:20: `top_users.count` must be a whole number, not empty"),
        ("top_users: {count: [1]}", "f:1:20: `top_users.count` must be a whole number, not a list"),
        ("log: {level: {}}", "f:1:14: `log.level` must be one of error, warn, info, debug, trace, not a mapping"),
        (
            "lifetimes: {absolute_timeout: []}",
            "f:1:31: `lifetimes.absolute_timeout` must be a duration, such as `25m`, or null, not a list",
        ),
        (
            "limits:",
            "f:1:7: `limits` must be a mapping, `key: value`, not nothing\n  hint: leave it out for its defaults",
        ),
        ("- a", "f:1:1: the document must be a mapping, `key: value`, not a list"),
        ("a", "f:1:1: the document must be a mapping, `key: value`, not a single value"),
        (
            "limits: {creation_per_ip: {count: 1, ipv6_prefix: 300}}",
            "f:1:51: `limits.creation_per_ip.ipv6_prefix`: `300` is out of range; it must be from 1 to 128",
        ),
        (
            "limits: {session_bytes: 1MiB, memory_bytes: 64KiB, stored_bytes: 128KiB}",
            "f:1:25: `limits.session_bytes` (1MiB) must not exceed `limits.memory_bytes` (64KiB)\n\
                 f:1:25: `limits.session_bytes` (1MiB) must not exceed `limits.stored_bytes` (128KiB)",
        ),
    ]);
}

#[test]
fn of_users_with_a_limit_of_their_own() {
    let long = "x".repeat(70);
    let text = format!(
        "limits:\n  per_user:\n    overrides:\n      \"\": 1\n      ann: 0\n      \"a\\nb\": 2\n      {long}: many\n      ok: 5\n"
    );
    assert_eq!(
        problems(&text),
        format!(
            "f:4:7: `limits.per_user.overrides`: `` names no user: a user name must not be empty; leave `user` out \
                 for an anonymous session\n\
                 f:5:12: `limits.per_user.overrides.ann`: `0` is out of range; it must be from 1 to 1000000\n\
                 f:6:7: `limits.per_user.overrides`: `a\\nb` names no user: a user name must not hold control \
                 characters\n\
                 f:7:79: `limits.per_user.overrides.{}…`: `many` is no whole number; write it with digits only",
            "x".repeat(38)
        )
    );
}

#[test]
fn of_addresses() {
    let host = "has no valid host; it must be an IP address or `localhost`";
    for (value, told) in [
        ("8480", "has no port; write `host:port` or `unix:/path`".to_owned()),
        ("127.0.0.1:x", "has no valid port; it must be from 0 to 65535, 0 being any free one".to_owned()),
        ("127.0.0.1:+1", "has no valid port; it must be from 0 to 65535, 0 being any free one".to_owned()),
        ("127.0.0.1:65536", "has no valid port; it must be from 0 to 65535, 0 being any free one".to_owned()),
        ("example.org:80", format!("{host}\n  hint: `0.0.0.0` is every interface")),
        ("\":80\"", format!("{host}\n  hint: `0.0.0.0` is every interface")),
        ("::1:80", format!("{host}\n  hint: `0.0.0.0` is every interface")),
        ("\"unix:\"", "is an empty path".to_owned()),
    ] {
        let shown = value.trim_matches('"');
        let told = if shown == "::1:80" {
            told.replace("`0.0.0.0` is every interface", "write an IPv6 address in brackets: `[::1]:80`")
        } else {
            told
        };
        assert_eq!(problems(&format!("listen:\n  api: {value}\n")), format!("f:2:8: `listen.api`: `{shown}` {told}"));
    }
    let told = problems("listen: {redis: 'redis://:canary@127.0.0.1:6379'}");
    assert!(told.contains("`redis://***@127.0.0.1:6379` has no valid host"), "{told}");
    let long = format!("listen: {{api: 'unix:/{}'}}", "x".repeat(107));
    assert!(problems(&long).ends_with("is too long; the path of a socket has at most 107 bytes"));
    refused(&[("listen: {api: 127.0.0.1:9480}", "f:1:15: `listen.api` and `listen.admin` are both 127.0.0.1:9480")]);
}

#[test]
fn of_urls() {
    let absolute = "is no absolute URL; it must start with `http://` or `https://` and a host";
    for (value, told) in [
        ("/hook", absolute),
        ("ftp://a/", absolute),
        ("http://", absolute),
        ("http://a:99999/", absolute),
        ("http://a/#x", "holds a fragment (`#…`), which is never sent"),
        ("http://a/b c", "holds a blank or a control character"),
    ] {
        let text = format!("hooks: {{session_closed: {{url: \"{value}\"}}}}");
        assert_eq!(problems(&text), format!("f:1:31: `hooks.session_closed.url`: `{value}` {told}"));
    }
    let credentials = "holds credentials, which would show in logs; sign notices with `secret_file` instead";
    for (value, shown, told) in [
        ("http://me:canary@a/", "http://***@a/", credentials),
        ("http://me:canary@a/?t=canary", "http://***@a/?***", credentials),
        ("http://me:canary/@a/", "http://***@a/", absolute),
        ("me:canary@a/", "***@a/", absolute),
        ("/hook?t=canary", "/hook?***", absolute),
    ] {
        let text = format!("hooks: {{session_closed: {{url: \"{value}\"}}}}");
        assert_eq!(problems(&text), format!("f:1:31: `hooks.session_closed.url`: `{shown}` {told}"));
    }
}

#[test]
fn of_the_yaml_itself() {
    refused(&[
        ("a: [1", "f:1:4: not valid YAML: unclosed bracket '['"),
        (
            "log:\n\tlevel: info",
            "f:2:2: not valid YAML: tabs disallowed within this context (block indentation)\n  hint: indent with spaces",
        ),
        ("log: {level: info}\n---\nlog: {}", "f:2:1: a second document begins; a configuration is one document"),
        ("log: {level: !secret info}", "f:1:22: YAML tags (`!…`) are not supported"),
        (
            "log: &a {level: info}\ntop_users:\n  <<: *a",
            "f:3:3: merge keys (`<<`) are not supported\n  hint: write the keys out, or alias single values",
        ),
        ("? [a]\n: b\n", "f:1:3: a key must be text, not a list or a mapping"),
        ("log: &a [*a]", "f:1:10: the alias refers to what it is part of"),
        ("log: *a", "f:1:6: not valid YAML: while parsing node, found unknown anchor"),
        ("%YAML 1.2\n---\n{}", "f:1:1: not valid YAML: YAML directives are disallowed"),
    ]);
}
