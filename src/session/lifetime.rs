//! When a session ends, and for which reason. Checked on every read; the sweep only tidies up afterwards.

use std::num::NonZeroI64;
use std::time::Duration;

use serde::Serialize;

use super::record::Session;
use crate::clock::Timestamp;

/// Why a session ended. It ends once, for exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Not used for its idle timeout.
    Idle,
    /// Reached its absolute timeout.
    Absolute,
    /// Stale, under `lifetimes.on_stale: close`.
    Stale,
    /// Made room for another session of the same user.
    UserLimit,
    /// Made room in the storage tier.
    StorageCap,
    /// Ended by the app, with the session's token.
    Revoked,
    /// Ended by a management call: by id, or all of a user's.
    Admin,
}

impl EndReason {
    /// Every reason, in the order of the contract.
    pub const ALL: [Self; 7] =
        [Self::Idle, Self::Absolute, Self::Stale, Self::UserLimit, Self::StorageCap, Self::Revoked, Self::Admin];

    /// The word for it in answers, events, metrics and stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Absolute => "absolute",
            Self::Stale => "stale",
            Self::UserLimit => "user_limit",
            Self::StorageCap => "storage_cap",
            Self::Revoked => "revoked",
            Self::Admin => "admin",
        }
    }

    /// The reason with that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// The clocks that run for every session; one that carries its own timeouts overrides the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Ends after so long without use.
    pub idle_timeout: Duration,
    /// Ends so long after creation, used or not. `None`: never.
    pub absolute_timeout: Option<Duration>,
    /// Counts as stale after so long without use.
    pub stale_after: Duration,
}

/// What the clocks say of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be used.
    Live {
        /// When it ends if it is not used again.
        expires_at: Timestamp,
        /// Not used for `stale_after`.
        stale: bool,
    },
    /// It is over.
    Expired(EndReason),
}

/// A session's own timeout: whole milliseconds, and as small as a number even where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(NonZeroI64);

impl Timeout {
    /// The timeout of that length, at least a millisecond.
    #[must_use]
    pub fn of(length: Duration) -> Self {
        Self(NonZeroI64::new(millis(length).max(1)).unwrap_or(NonZeroI64::MAX))
    }

    /// Its length in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.get()
    }
}

/// [`Lifetimes`] in milliseconds, ready to judge by: what a look-up needs, without a division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Idle timeout.
    pub idle: i64,
    /// Absolute timeout; [`Clocks::NEVER`] if there is none.
    pub absolute: i64,
    /// Counts as stale after.
    pub stale: i64,
    /// How much activity time may be unsaved; see [`Lifetimes::touch_interval`].
    pub touch: i64,
}

impl Clocks {
    /// A time that never comes.
    pub const NEVER: i64 = i64::MAX;

    /// When `session`, last used at `last_activity`, ends, and which clock ends it.
    #[must_use]
    pub fn end_of(&self, session: &Session, last_activity: Timestamp) -> (Timestamp, EndReason) {
        let idle = session.idle_timeout.map_or(self.idle, Timeout::as_millis);
        let absolute = session.absolute_timeout.map_or(self.absolute, Timeout::as_millis);
        let idle_end = last_activity.as_millis().saturating_add(idle);
        let absolute_end = session.created_at.as_millis().saturating_add(absolute);
        if absolute_end <= idle_end {
            (Timestamp::from_millis(absolute_end), EndReason::Absolute)
        } else {
            (Timestamp::from_millis(idle_end), EndReason::Idle)
        }
    }

    /// Judges `session`, last used at `last_activity`, at `now`.
    #[must_use]
    pub fn judge(&self, session: &Session, last_activity: Timestamp, now: Timestamp) -> Verdict {
        let (expires_at, reason) = self.end_of(session, last_activity);
        if expires_at <= now {
            Verdict::Expired(reason)
        } else {
            let idle = now.as_millis().saturating_sub(last_activity.as_millis());
            Verdict::Live { expires_at, stale: idle >= self.stale }
        }
    }

    /// How much activity time of `session` may be unsaved, in milliseconds: less than of others if its own idle timeout
    /// is shorter.
    #[must_use]
    pub fn touch_interval_of(&self, session: &Session) -> i64 {
        session.idle_timeout.map_or(self.touch, |own| unsaved_at_most(own.as_millis()).min(self.touch))
    }
}

impl Lifetimes {
    /// The same in milliseconds.
    #[must_use]
    pub fn clocks(&self) -> Clocks {
        let (idle, stale) = (millis(self.idle_timeout), millis(self.stale_after));
        Clocks {
            idle,
            absolute: self.absolute_timeout.map_or(Clocks::NEVER, millis),
            stale,
            touch: unsaved_at_most(idle.min(stale)),
        }
    }

    /// When `session`, last used at `last_activity`, ends, and which clock ends it.
    #[must_use]
    pub fn end_of(&self, session: &Session, last_activity: Timestamp) -> (Timestamp, EndReason) {
        self.clocks().end_of(session, last_activity)
    }

    /// Judges `session`, last used at `last_activity`, at `now`.
    #[must_use]
    pub fn judge(&self, session: &Session, last_activity: Timestamp, now: Timestamp) -> Verdict {
        self.clocks().judge(session, last_activity, now)
    }

    /// How much activity time may be unsaved: a twentieth of the shortest idle clock, between 1 s and 1 min.
    ///
    /// A stored `last_activity` may be older than the true one by this, so a sweep waits so much longer.
    #[must_use]
    pub fn touch_interval(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.clocks().touch).unwrap_or(0))
    }
}

/// How much activity time may be unsaved under a clock of that length, in milliseconds.
fn unsaved_at_most(clock: i64) -> i64 {
    (clock / 20).clamp(1_000, 60_000)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(Clocks::NEVER)
}
