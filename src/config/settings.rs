//! The configuration as the program uses it: validated, in its own types, nothing left to check.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::session::identity::Rule;
use crate::session::{Capacity, Lifetimes, UserLimits, glob};

/// A configuration in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the sidecar listens.
    pub listen: Listen,
    /// Where sessions are stored.
    pub store: StoreSettings,
    /// When sessions end.
    pub lifetimes: LifetimeSettings,
    /// How much there may be.
    pub limits: Limits,
    /// Whom to tell.
    pub hooks: Hooks,
    /// What the keys are that come through the Redis door.
    pub redis_door: RedisDoor,
    /// How the heaviest users are named.
    pub top_users: TopUsers,
    /// What is logged.
    pub log: Log,
}

/// The listeners. A change needs a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The HTTP session API.
    pub api: Address,
    /// Metrics, health and reload.
    pub admin: Address,
    /// The Redis door; `None`: there is none.
    pub redis: Option<Address>,
    /// The user that clients of the Redis door must give; `None`: any, or none.
    pub redis_user: Option<String>,
    /// The Redis door's own password. What it asks for is [`Listen::redis_password`].
    pub own_redis_password: Option<Secret>,
    /// The key that a door asks for; always there when a door is bound beyond loopback.
    pub api_key: Option<Secret>,
    /// Event loops that serve the doors; each has its own accept queue.
    pub event_loops: usize,
}

impl Listen {
    /// The password that the Redis door asks for: its own, or else the key of the API. `None`: it asks for none. Always
    /// there when the door is bound beyond loopback, or asks for a user.
    #[must_use]
    pub fn redis_password(&self) -> Option<&Secret> {
        self.own_redis_password.as_ref().or(self.api_key.as_ref())
    }
}

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine reaches it. The unspecified address, which is every interface, does not count.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// As it is typed in the configuration.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A secret from a file. It never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps `bytes` secret.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The key to sign with. A secret that starts with `whsec_` is base64 after it, as Standard Webhooks writes secrets;
    /// any other is taken as it is. `None`: it is no base64.
    #[must_use]
    pub fn signing_key(&self) -> Option<Cow<'_, [u8]>> {
        match self.0.strip_prefix(b"whsec_") {
            Some(encoded) => STANDARD.decode(encoded).ok().map(Cow::Owned),
            None => Some(Cow::Borrowed(&self.0)),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The storage tier. A change needs a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// SQLite in this directory.
    Embedded {
        /// The directory.
        path: PathBuf,
    },
}

/// When sessions end, and how often the sweep looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifetimeSettings {
    /// The clocks of a session.
    pub clocks: Lifetimes,
    /// Whether stale sessions are closed or only counted.
    pub close_stale: bool,
    /// Leaves the memory tier after so long without use.
    pub memory_idle: Duration,
    /// Time between two sweeps.
    pub sweep_interval: Duration,
}

/// How much there may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Sessions in the memory tier.
    pub memory_sessions: u64,
    /// Bytes in the memory tier.
    pub memory_bytes: u64,
    /// What the storage tier may hold.
    pub stored: Capacity,
    /// The largest data of one session, in bytes.
    pub session_bytes: u64,
    /// Sessions a user.
    pub per_user: UserLimits,
    /// Creations a client address.
    pub creation_per_ip: Option<CreationRate>,
    /// Concurrent operations a user.
    pub leases: LeaseLimits,
}

/// The rate at which one client address may create sessions: `count` at once, then one every `per / count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreationRate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
    /// IPv6 addresses with the same first so many bits count as one client.
    pub ipv6_prefix: u8,
}

/// How many operations a user may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseLimits {
    /// Leases a user; `None`: any number.
    pub per_user: Option<u32>,
    /// How long a lease lasts unless it is renewed.
    pub ttl: Duration,
    /// Users tracked at once; the least recently used is forgotten.
    pub tracked_users: usize,
    /// Users are forgotten after so long without a request.
    pub track_for: Duration,
}

/// Whom to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Told when a session ends; `None`: nobody is.
    pub session_closed: Option<Hook>,
    /// How old a notice may get, also when there is no hook any more.
    pub max_age: Duration,
}

/// An HTTP endpoint of the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Where it is.
    pub url: HookUrl,
    /// What notices are signed with; `None`: they are not.
    pub secret: Option<Secret>,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// How often a notice is tried.
    pub max_attempts: u32,
}

/// An `http` or `https` URL. Parts of it may come from the environment and be secret, so it shows itself as it was
/// typed, `https://example.org/${HOOK_PATH}`, and never with its query, which may be a token.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl {
    full: String,
    typed: String,
}

impl HookUrl {
    /// A URL that was checked, and how it was typed.
    #[must_use]
    pub fn new(full: &str, typed: &str) -> Self {
        Self { full: full.to_owned(), typed: typed.to_owned() }
    }

    /// The URL to call.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.full
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.typed.split_once('?') {
            Some((before, _)) => write!(f, "{before}?***"),
            None => f.write_str(&self.typed),
        }
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// What the keys are that come through the Redis door.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisDoor {
    /// Which keys are sessions, and where their values say whose. The first that fits counts. Without any, all are, except
    /// what ends in [`RedisDoor::LOCK_SUFFIX`].
    pub sessions: Vec<SessionRule>,
    /// So long after a session has ended, a late save of it is dropped. Zero: not at all.
    pub tombstone: Duration,
    /// Bytes that all keys may take that are no sessions.
    pub plain_bytes: u64,
}

impl RedisDoor {
    /// What phpredis ends the name of a session's lock in.
    pub const LOCK_SUFFIX: &[u8] = b"_LOCK";

    /// How to read the values of a key; `None`: it is no session.
    #[must_use]
    pub fn rule_of(&self, name: &[u8]) -> Option<&Rule> {
        static ANY: LazyLock<Rule> = LazyLock::new(Rule::default);
        if self.sessions.is_empty() {
            return (!name.ends_with(Self::LOCK_SUFFIX)).then(|| &*ANY);
        }
        self.sessions.iter().find(|rule| rule.matches(name)).map(|rule| &rule.rule)
    }
}

/// Keys that are sessions, and how to read them.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRule {
    /// What their names begin with, or a pattern of them, if there is a `*`, `?` or `[` in it.
    pub pattern: String,
    /// Where their values say whose they are.
    pub rule: Rule,
}

impl SessionRule {
    /// Whether a key is one of them.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let pattern = self.pattern.as_bytes();
        if pattern.iter().any(|byte| b"*?[".contains(byte)) {
            glob::matches(pattern, name)
        } else {
            name.starts_with(pattern)
        }
    }
}

/// How the heaviest users are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopUsers {
    /// How many.
    pub count: usize,
    /// Under which name, in metrics.
    pub label: TopUserLabel,
}

/// How a user is named in a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopUserLabel {
    /// A keyed hash, 12 hex digits.
    Hash,
    /// The name itself.
    Plain,
    /// Not at all: no series.
    None,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// From which level on.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// From which level on lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual names of the usual levels")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}
