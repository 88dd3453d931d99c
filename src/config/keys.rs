//! Every key of the configuration: its name, what it is for, its kind and bounds, and its default.
//!
//! This is the one place that declares them. Whether a change takes a restart is said in [`diff`](super::diff).

use std::sync::LazyLock;
use std::time::Duration;

use super::env::Lookup;
use super::kinds::{
    AddressKind, CountKind, DurationKind, Nullable, PathKind, SecretFileKind, SizeKind, TextKind, UrlKind,
    ValuePathKind, WordKind,
};
use super::problem::Problem;
use super::reader::{Declared, Reader, Section};
use super::settings::{
    Address, CreationRate, Hook, Hooks, LeaseLimits, LifetimeSettings, Limits, Listen, Log, LogFormat, LogLevel,
    RedisDoor, SessionRule, Settings, StoreSettings, TopUserLabel, TopUsers,
};
use super::together;
use super::yaml::Node;
use crate::session::identity::{Format, Rule};
use crate::session::{Capacity, Lifetimes, OnExcess, UserLimits, UserName, glob};

/// The most users with a limit of their own: about what a file of the largest size can hold.
const MAX_OVERRIDES: usize = 10_000;

/// The most rules for the keys of the Redis door: every key is held against them in turn.
const MAX_SESSION_RULES: usize = 64;

/// The longest name of a user of the Redis door.
const MAX_REDIS_USER_BYTES: usize = 256;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The longest time anything may take: ten years, so that adding it to a time stays far from overflow.
const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

/// From a second, the finest a session's clocks are worth, to ten years.
const LIFETIME: DurationKind = DurationKind { min: SECOND, max: LONGEST };

/// Numbers of sessions or leases a user: a million is more than one user can mean.
const PER_USER_SESSIONS: CountKind<u64> = CountKind { min: 1, max: 1_000_000 };

/// The words for what is done with a user's surplus sessions.
pub(super) const ON_EXCESS: WordKind<OnExcess> = WordKind(&[
    ("evict_oldest", OnExcess::EvictOldest),
    ("evict_idlest", OnExcess::EvictIdlest),
    ("reject", OnExcess::Reject),
]);

/// The words for what becomes of a stale session.
pub(super) const ON_STALE: WordKind<bool> = WordKind(&[("keep", false), ("close", true)]);

/// The words for how the values of sessions are written.
pub(super) const FORMATS: WordKind<Format> = WordKind(&[
    ("auto", Format::Auto),
    ("json", Format::Json),
    ("msgpack", Format::MessagePack),
    ("django", Format::Django),
    ("php", Format::Php),
    ("ruby", Format::Ruby),
    ("hash", Format::Hash),
]);

/// The words for how a user is named in a metric label.
pub(super) const USER_LABELS: WordKind<TopUserLabel> =
    WordKind(&[("hash", TopUserLabel::Hash), ("plain", TopUserLabel::Plain), ("none", TopUserLabel::None)]);

/// The words for how much is logged.
pub(super) const LOG_LEVELS: WordKind<LogLevel> = WordKind(&[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
]);

/// The words for how a log line looks.
pub(super) const LOG_FORMATS: WordKind<LogFormat> = WordKind(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);

/// Reads a document, `None` being the empty one, and reports what is wrong with it beside `problems`.
pub(super) fn read(root: Option<Node>, env: Lookup<'_>, problems: Vec<Problem>) -> (Settings, Vec<Problem>) {
    let mut reader = Reader::new(env, problems);
    let settings = reader.document(root, settings);
    together::check(&mut reader, &settings);
    (settings, reader.problems())
}

/// Every key, sections before their keys.
pub(super) fn declared() -> Vec<Declared> {
    let mut reader = Reader::new(&|_| None, Vec::new());
    reader.document(None, settings);
    reader.declared()
}

fn settings(root: &mut Section<'_, '_>) -> Settings {
    root.later(&["authz"]);
    Settings {
        listen: root.section("listen", "The listeners.", listen),
        store: root.section("store", "The storage tier: exactly one kind.", store),
        lifetimes: root.section("lifetimes", "When sessions end, and how often the sweep looks.", lifetimes),
        limits: root.section("limits", "How much there may be.", limits),
        hooks: root.section("hooks", "Whom to tell.", hooks),
        redis_door: root.section("redis_door", "What the keys are that come through the Redis door.", redis_door),
        top_users: root.section("top_users", "How the heaviest users show in metrics.", |top_users| TopUsers {
            count: top_users.key("count", "How many are shown.", &CountKind { min: 1, max: 100 }, 10),
            label: top_users.key(
                "label",
                "How a user is named in metrics: a keyed hash of 12 hex digits, the plain name, or no series at all.",
                &USER_LABELS,
                TopUserLabel::Hash,
            ),
        }),
        log: root.section("log", "What is logged.", |log| Log {
            level: log.key("level", "From which level on.", &LOG_LEVELS, LogLevel::Info),
            format: log.key("format", "How a line looks.", &LOG_FORMATS, LogFormat::Text),
        }),
    }
}

fn listen(listen: &mut Section<'_, '_>) -> Listen {
    let loopback = |port| Address::Tcp(([127, 0, 0, 1], port).into());
    Listen {
        api: listen.key(
            "api",
            "Where the HTTP session API listens: `host:port`, or `unix:/path`.",
            &AddressKind,
            loopback(8480),
        ),
        admin: listen.key("admin", "Where metrics, health and reload are served.", &AddressKind, loopback(9480)),
        redis: listen.key(
            "redis",
            "Where the Redis protocol is spoken: `host:port`, or `unix:/path`; null: nowhere.",
            &Nullable(AddressKind),
            None,
        ),
        redis_user: listen.key(
            "redis_user",
            "The user that clients of the Redis door must give; null: any, or none.",
            &Nullable(TextKind { noun: "a user's name", max: MAX_REDIS_USER_BYTES }),
            None,
        ),
        own_redis_password: listen.key(
            "redis_password_file",
            "The file with the password of the Redis door; null: the key of `api_key_file` is its password.",
            &Nullable(SecretFileKind { signs: false }),
            None,
        ),
        api_key: listen.key(
            "api_key_file",
            "The file with the key that callers must present; required for any door bound beyond loopback.",
            &Nullable(SecretFileKind { signs: false }),
            None,
        ),
        event_loops: listen
            .key(
                "event_loops",
                "Event loops that serve the doors; null: one per core.",
                &Nullable(CountKind { min: 1, max: MAX_EVENT_LOOPS }),
                None,
            )
            .unwrap_or_else(cores),
    }
}

/// More event loops than this gain nothing: the store has one writer.
const MAX_EVENT_LOOPS: usize = 64;

/// The cores at the first call. Asked once, so that a container that is resized while it runs does not look like a
/// changed configuration.
fn cores() -> usize {
    static CORES: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_EVENT_LOOPS)));
    *CORES
}

fn store(store: &mut Section<'_, '_>) -> StoreSettings {
    store.later(&["redis"]);
    store.section("embedded", "SQLite on this machine.", |embedded| StoreSettings::Embedded {
        path: embedded.key("path", "The directory that holds the sessions.", &PathKind, "./data".into()),
    })
}

fn lifetimes(lifetimes: &mut Section<'_, '_>) -> LifetimeSettings {
    LifetimeSettings {
        clocks: Lifetimes {
            idle_timeout: lifetimes.key("idle_timeout", "A session ends after so long unused.", &LIFETIME, 90 * DAY),
            absolute_timeout: lifetimes.key(
                "absolute_timeout",
                "A session ends so long after its creation, used or not; null: never.",
                &Nullable(LIFETIME),
                None,
            ),
            stale_after: lifetimes.key(
                "stale_after",
                "A session counts as stale after so long unused.",
                &LIFETIME,
                25 * MINUTE,
            ),
        },
        close_stale: lifetimes.key(
            "on_stale",
            "What becomes of stale sessions: kept, or closed and the hook called.",
            &ON_STALE,
            false,
        ),
        memory_idle: lifetimes.key(
            "memory_idle",
            "A session leaves memory after so long unused; it stays in storage.",
            &LIFETIME,
            30 * DAY,
        ),
        sweep_interval: lifetimes.key(
            "sweep_interval",
            "The time between two sweeps.",
            // Below 100 ms the sweep would be the load; above a day, "stale" would mean little.
            &DurationKind { min: Duration::from_millis(100), max: DAY },
            5 * MINUTE,
        ),
    }
}

fn limits(limits: &mut Section<'_, '_>) -> Limits {
    Limits {
        memory_sessions: limits.key(
            "memory_sessions",
            "Sessions in memory; beyond it the least recently used leave memory and stay in storage.",
            &CountKind { min: 1, max: 1_000_000_000 },
            50_000,
        ),
        memory_bytes: limits.key(
            "memory_bytes",
            "Bytes in memory, the same way.",
            &SizeKind { min: 64 * KIB, max: 16 * TIB },
            256 * MIB,
        ),
        stored: Capacity {
            sessions: limits.key(
                "stored_sessions",
                "Sessions in storage; null: unlimited.",
                &Nullable(CountKind { min: 1, max: 1_000_000_000_000 }),
                None,
            ),
            bytes: limits.key(
                "stored_bytes",
                "Bytes in storage, cleaned up from 90 % back to 85 %; null: unlimited.",
                &Nullable(SizeKind { min: 64 * KIB, max: 1024 * TIB }),
                Some(GIB),
            ),
        },
        session_bytes: limits.key(
            "session_bytes",
            "The largest data of one session; at most 1MiB, as requests are.",
            &SizeKind { min: 1, max: MIB },
            64 * KIB,
        ),
        per_user: limits.section("per_user", "Sessions a user.", per_user),
        creation_per_ip: limits.nullable_section(
            "creation_per_ip",
            "How fast one client address may create sessions; null: no limit.",
            creation_per_ip,
        ),
        leases: limits.section("leases", "Concurrent operations a user.", leases),
    }
}

fn per_user(per_user: &mut Section<'_, '_>) -> UserLimits {
    let check_user = |name: &str| UserName::new(name).map(drop).map_err(|error| format!("names no user: {error}"));
    UserLimits {
        sessions: per_user.key("sessions", "How many; null: unlimited.", &Nullable(PER_USER_SESSIONS), Some(10)),
        on_excess: per_user.key(
            "on_excess",
            "What goes beyond it: the first created, the longest unused, or the newcomer (refused).",
            &ON_EXCESS,
            OnExcess::EvictOldest,
        ),
        overrides: per_user.table(
            "overrides",
            "Users with a limit of their own, `user: sessions`.",
            (&PER_USER_SESSIONS, MAX_OVERRIDES),
            check_user,
        ),
    }
}

fn creation_per_ip(rate: &mut Section<'_, '_>) -> CreationRate {
    CreationRate {
        count: rate.key("count", "So many at once, then evenly.", &CountKind { min: 1, max: 1_000_000 }, 10),
        per: rate.key("per", "In this time.", &DurationKind { min: SECOND, max: 30 * DAY }, HOUR),
        ipv6_prefix: rate.key(
            "ipv6_prefix",
            "IPv6 addresses with the same first so many bits are one client.",
            &CountKind { min: 1, max: 128 },
            64,
        ),
    }
}

fn leases(leases: &mut Section<'_, '_>) -> LeaseLimits {
    LeaseLimits {
        per_user: leases.key(
            "per_user",
            "How many at once; null: unlimited.",
            &Nullable(CountKind { min: 1, max: 1_000_000 }),
            Some(3),
        ),
        ttl: leases.key(
            "ttl",
            "A lease ends after so long unless it is renewed.",
            &DurationKind { min: SECOND, max: 7 * DAY },
            5 * MINUTE,
        ),
        tracked_users: leases.key(
            "tracked_users",
            "Users tracked at once; the least recently seen is forgotten, first who holds none.",
            &CountKind { min: 1, max: 10_000_000 },
            50_000,
        ),
        track_for: leases.key("track_for", "A user is forgotten after so long.", &LIFETIME, DAY),
    }
}

fn redis_door(redis_door: &mut Section<'_, '_>) -> RedisDoor {
    redis_door.later(&["passthrough"]);
    RedisDoor {
        sessions: redis_door.list(
            "sessions",
            "Which keys are sessions, and where their values say whose; the first rule that fits counts. Without rules \
             all are, except what ends in `_LOCK`.",
            MAX_SESSION_RULES,
            session_rule,
        ),
        tombstone: redis_door.key(
            "tombstone",
            "So long after a session has ended, a late save of it is dropped; 0s: never.",
            // Beyond an hour, apps that use a key again would lose more than late saves.
            &DurationKind { min: Duration::ZERO, max: HOUR },
            MINUTE,
        ),
        plain_bytes: redis_door.key(
            "plain_bytes",
            "Bytes that all keys may take that are no sessions; beyond it new ones are refused.",
            &SizeKind { min: 64 * KIB, max: 16 * TIB },
            64 * MIB,
        ),
    }
}

fn session_rule(rule: &mut Section<'_, '_>) -> Option<SessionRule> {
    let pattern = rule.required(
        "match",
        "What the keys begin with; with `*`, `?` or `[` in it, a pattern of whole keys.",
        &TextKind { noun: "a prefix or a pattern of keys", max: glob::LONGEST_PATTERN },
    );
    let format = rule.key("format", "How their values are written; auto: told by the value.", &FORMATS, Format::Auto);
    let mut path = |name, doc| rule.key(name, doc, &Nullable(ValuePathKind), None);
    let user = path("user", "Where the user is in the value, as in `/user/id`; null: the places that are usual.");
    let ip = path("ip", "Where the client's address is; null: the places that are usual.");
    let created = path("created", "Where the time of creation is; null: the places that are usual.");
    let rule = Rule::new(format, user.as_ref(), ip.as_ref(), created.as_ref());
    pattern.map(|pattern| SessionRule { pattern, rule })
}

/// What a hook has when no URL turns it on, for the effective configuration.
pub(super) const HOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// See [`HOOK_TIMEOUT`]. So many that it is the age that decides, however short the waits come out.
pub(super) const HOOK_ATTEMPTS: u32 = 50;

fn hooks(hooks: &mut Section<'_, '_>) -> Hooks {
    let (session_closed, max_age) = hooks.section("session_closed", "Told of every session that ends.", |hook| {
        let url = hook.key(
            "url",
            "The app's endpoint, `http` or `https`, without credentials; null: nobody is told.",
            &Nullable(UrlKind),
            None,
        );
        let secret = hook.key(
            "secret_file",
            "The file with the secret that notices are signed with; null: they are not.",
            &Nullable(SecretFileKind { signs: true }),
            None,
        );
        let timeout = hook.key(
            "timeout",
            "How long an attempt may take.",
            // A taken notice is hidden for a minute; an attempt must be over by then.
            &DurationKind { min: Duration::from_millis(100), max: 30 * SECOND },
            HOOK_TIMEOUT,
        );
        let max_attempts =
            hook.key("max_attempts", "How often a notice is tried.", &CountKind { min: 1, max: 1_000 }, HOOK_ATTEMPTS);
        let max_age = hook.key(
            "max_age",
            "How old a notice may get before it is dropped.",
            &DurationKind { min: SECOND, max: 30 * DAY },
            DAY,
        );
        (url.map(|url| Hook { url, secret, timeout, max_attempts }), max_age)
    });
    Hooks { session_closed, max_age }
}
