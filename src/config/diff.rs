//! What differs between two configurations, and whether that takes a restart.
//!
//! `entries` takes the settings apart without `..` and gives every key its class, so a new key cannot be forgotten.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::effective;
use super::env::escape;
use super::keys::{FORMATS, HOOK_ATTEMPTS, HOOK_TIMEOUT, LOG_FORMATS, LOG_LEVELS, ON_EXCESS, ON_STALE, USER_LABELS};
use super::kinds::Kind;
use super::settings::{
    CreationRate, Hook, HookUrl, Hooks, LeaseLimits, LifetimeSettings, Limits, Listen, Log, RedisDoor, Secret,
    SessionRule, Settings, StoreSettings, TopUsers,
};
use super::units::{show_duration, show_size};
use crate::session::{Capacity, Lifetimes, UserLimits};

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// At once.
    Live,
    /// At the next start; a reload that changes it is refused as a whole.
    NeedsRestart,
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// Its path, dots between the names.
    pub path: &'static str,
    /// Its old value, as it would be typed; secrets masked.
    pub old: String,
    /// Its new value.
    pub new: String,
}

/// How two configurations differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Not at all.
    None,
    /// In these keys, all of which change live.
    Live(Vec<ChangedKey>),
    /// In these keys among others, which need a restart.
    NeedsRestart(Vec<ChangedKey>),
}

/// Tells how `new` differs from `old`.
#[must_use]
pub fn classify(old: &Settings, new: &Settings) -> Change {
    let (mut live, mut restart) = (Vec::new(), Vec::new());
    for (old, new) in entries(old).into_iter().zip(entries(new)) {
        if old.value != new.value {
            let changed =
                ChangedKey { path: new.path, old: effective::inline(&old.value), new: effective::inline(&new.value) };
            match new.class {
                Class::Live => live.push(changed),
                Class::NeedsRestart => restart.push(changed),
            }
        }
    }
    match (live.is_empty(), restart.is_empty()) {
        (_, false) => Change::NeedsRestart(restart),
        (false, true) => Change::Live(live),
        (true, true) => Change::None,
    }
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown<'a> {
    /// As it would be typed: a number, a word, text, null, a table, or a list.
    Plain(Json),
    /// A secret: compared, never shown.
    Secret(&'a Secret),
    /// A URL: compared as a whole, shown without what may be secret in it.
    Url(&'a HookUrl),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    /// Its path, dots between the names.
    pub path: &'static str,
    /// When a change takes effect.
    pub class: Class,
    /// Its value.
    pub value: Shown<'a>,
}

/// Every key with its value, in the order of the file: always the same keys.
pub(super) fn entries(settings: &Settings) -> Vec<Entry<'_>> {
    let Settings { listen, store, lifetimes, limits, hooks, redis_door, top_users, log } = settings;
    let mut all = listen_entries(listen).to_vec();
    let StoreSettings::Embedded { path } = store;
    all.push(restart("store.embedded.path", text(&path.to_string_lossy())));
    all.extend(lifetime_entries(lifetimes));
    all.extend(limit_entries(limits));
    all.extend(hook_entries(hooks));
    all.extend(redis_door_entries(redis_door));
    let TopUsers { count, label } = top_users;
    all.extend([live("top_users.count", json!(count)), live("top_users.label", USER_LABELS.show(label))]);
    let Log { level, format } = log;
    all.extend([live("log.level", LOG_LEVELS.show(level)), live("log.format", LOG_FORMATS.show(format))]);
    all
}

fn listen_entries(listen: &Listen) -> [Entry<'_>; 7] {
    let Listen { api, admin, redis, redis_user, own_redis_password, api_key, event_loops } = listen;
    let secret_file = |path, of: Option<_>| Entry { path, class: Class::NeedsRestart, value: secret(of) };
    [
        restart("listen.api", text(&api.to_string())),
        restart("listen.admin", text(&admin.to_string())),
        restart("listen.redis", json!(redis.as_ref().map(|redis| text(&redis.to_string())))),
        restart("listen.redis_user", json!(redis_user.as_deref().map(text))),
        secret_file("listen.redis_password_file", own_redis_password.as_ref()),
        secret_file("listen.api_key_file", api_key.as_ref()),
        restart("listen.event_loops", json!(event_loops)),
    ]
}

fn lifetime_entries(lifetimes: &LifetimeSettings) -> [Entry<'_>; 6] {
    let LifetimeSettings { clocks, close_stale, memory_idle, sweep_interval } = lifetimes;
    let Lifetimes { idle_timeout, absolute_timeout, stale_after } = clocks;
    [
        live("lifetimes.idle_timeout", json!(show_duration(*idle_timeout))),
        live("lifetimes.absolute_timeout", json!(absolute_timeout.map(show_duration))),
        live("lifetimes.stale_after", json!(show_duration(*stale_after))),
        live("lifetimes.on_stale", ON_STALE.show(close_stale)),
        live("lifetimes.memory_idle", json!(show_duration(*memory_idle))),
        live("lifetimes.sweep_interval", json!(show_duration(*sweep_interval))),
    ]
}

fn limit_entries(limits: &Limits) -> [Entry<'_>; 13] {
    let Limits { memory_sessions, memory_bytes, stored, session_bytes, per_user, creation_per_ip, leases } = limits;
    let Capacity { sessions: stored_sessions, bytes: stored_bytes } = stored;
    let UserLimits { sessions, on_excess, overrides } = per_user;
    let overrides: BTreeMap<_, _> = overrides.iter().collect();
    let creation_per_ip = creation_per_ip.map(|CreationRate { count, per, ipv6_prefix }| {
        json!({ "count": count, "per": show_duration(per), "ipv6_prefix": ipv6_prefix })
    });
    let LeaseLimits { per_user: leases_per_user, ttl, tracked_users, track_for } = leases;
    [
        live("limits.memory_sessions", json!(memory_sessions)),
        live("limits.memory_bytes", json!(show_size(*memory_bytes))),
        live("limits.stored_sessions", json!(stored_sessions)),
        live("limits.stored_bytes", json!(stored_bytes.map(show_size))),
        live("limits.session_bytes", json!(show_size(*session_bytes))),
        live("limits.per_user.sessions", json!(sessions)),
        live("limits.per_user.on_excess", ON_EXCESS.show(on_excess)),
        live("limits.per_user.overrides", json!(overrides)),
        live("limits.creation_per_ip", json!(creation_per_ip)),
        live("limits.leases.per_user", json!(leases_per_user)),
        live("limits.leases.ttl", json!(show_duration(*ttl))),
        live("limits.leases.tracked_users", json!(tracked_users)),
        live("limits.leases.track_for", json!(show_duration(*track_for))),
    ]
}

/// While no URL turns the hook on, its other keys but the age have no effect and show their defaults.
fn hook_entries(hooks: &Hooks) -> [Entry<'_>; 5] {
    let Hooks { session_closed, max_age } = hooks;
    let (url, signed_with, timeout, max_attempts) = match session_closed {
        Some(Hook { url, secret, timeout, max_attempts }) => {
            (Shown::Url(url), secret.as_ref(), *timeout, *max_attempts)
        }
        None => (Shown::Plain(Json::Null), None, HOOK_TIMEOUT, HOOK_ATTEMPTS),
    };
    [
        Entry { path: "hooks.session_closed.url", class: Class::Live, value: url },
        Entry { path: "hooks.session_closed.secret_file", class: Class::Live, value: secret(signed_with) },
        live("hooks.session_closed.timeout", json!(show_duration(timeout))),
        live("hooks.session_closed.max_attempts", json!(max_attempts)),
        live("hooks.session_closed.max_age", json!(show_duration(*max_age))),
    ]
}

fn redis_door_entries(redis_door: &RedisDoor) -> [Entry<'_>; 3] {
    let RedisDoor { sessions, tombstone, plain_bytes } = redis_door;
    [
        live("redis_door.sessions", sessions.iter().map(session_rule).collect()),
        live("redis_door.tombstone", json!(show_duration(*tombstone))),
        live("redis_door.plain_bytes", json!(show_size(*plain_bytes))),
    ]
}

/// A rule without what it leaves to be found.
fn session_rule(SessionRule { pattern, rule }: &SessionRule) -> Json {
    let mut shown = json!({ "match": text(pattern), "format": FORMATS.show(&rule.format()) });
    for (name, path) in [("user", rule.user()), ("ip", rule.ip()), ("created", rule.created())] {
        if let Some(path) = path {
            shown[name] = text(&path.to_string());
        }
    }
    shown
}

fn live(path: &'static str, value: Json) -> Entry<'static> {
    Entry { path, class: Class::Live, value: Shown::Plain(value) }
}

fn restart(path: &'static str, value: Json) -> Entry<'static> {
    Entry { path, class: Class::NeedsRestart, value: Shown::Plain(value) }
}

/// Text in which a `${` is literal.
fn text(text: &str) -> Json {
    json!(escape(text))
}

fn secret(secret: Option<&Secret>) -> Shown<'_> {
    secret.map_or(Shown::Plain(Json::Null), Shown::Secret)
}
