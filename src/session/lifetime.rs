//! When a session ends, and for which reason. Checked on every read; the sweep only tidies up afterwards.

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

impl Lifetimes {
    /// When `session`, last used at `last_activity`, ends, and which clock ends it.
    #[must_use]
    pub fn end_of(&self, session: &Session, last_activity: Timestamp) -> (Timestamp, EndReason) {
        let idle_end = last_activity + session.idle_timeout.unwrap_or(self.idle_timeout);
        match session.absolute_timeout.or(self.absolute_timeout).map(|absolute| session.created_at + absolute) {
            Some(absolute_end) if absolute_end <= idle_end => (absolute_end, EndReason::Absolute),
            _ => (idle_end, EndReason::Idle),
        }
    }

    /// Judges `session`, last used at `last_activity`, at `now`.
    #[must_use]
    pub fn judge(&self, session: &Session, last_activity: Timestamp, now: Timestamp) -> Verdict {
        let (expires_at, reason) = self.end_of(session, last_activity);
        if expires_at <= now {
            Verdict::Expired(reason)
        } else {
            Verdict::Live { expires_at, stale: now.since(last_activity) >= self.stale_after }
        }
    }

    /// How much activity time may be unsaved: a twentieth of the shortest idle clock, between 1 s and 1 min.
    ///
    /// A stored `last_activity` may be older than the true one by this, so a sweep waits so much longer.
    #[must_use]
    pub fn touch_interval(&self) -> Duration {
        unsaved_at_most(self.idle_timeout.min(self.stale_after))
    }

    /// The same for one session: less if its own idle timeout is shorter, never more than the interval of all.
    #[must_use]
    pub fn touch_interval_of(&self, session: &Session) -> Duration {
        let all = self.touch_interval();
        session.idle_timeout.map_or(all, |own| unsaved_at_most(own).min(all))
    }
}

/// How much activity time may be unsaved under a clock of that length.
fn unsaved_at_most(clock: Duration) -> Duration {
    (clock / 20).clamp(Duration::from_secs(1), Duration::from_secs(60))
}
