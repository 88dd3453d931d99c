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
        Self::from_millis(millis(length))
    }

    /// The timeout of so many milliseconds, at least one.
    #[must_use]
    pub fn from_millis(length: i64) -> Self {
        Self(NonZeroI64::new(length.max(1)).unwrap_or(NonZeroI64::MAX))
    }

    /// The timeout that ends exactly then, however far that is; at least a millisecond.
    #[must_use]
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self::from_millis(to.as_millis().saturating_sub(from.as_millis()))
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

/// When one session ends: what all that a look-up asks is computed from.
///
/// Sums wrap around, which costs nothing, and cannot: a timeout is no longer than [`Clocks::NEVER`], and no stamp is within
/// that of the end of time; or it was made to end at a time, see [`Timeout::between`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionClocks {
    idle: i64,
    absolute_end: i64,
    stale: i64,
}

impl Clocks {
    /// A time that never comes: as long as no clock can run, and short enough to be added to any time.
    pub const NEVER: i64 = i64::MAX / 4;

    /// The clocks of one session: its own timeouts take the place of these.
    #[inline]
    #[must_use]
    pub fn of(&self, session: &Session) -> SessionClocks {
        let absolute = session.absolute_timeout.map_or(self.absolute, Timeout::as_millis);
        SessionClocks {
            idle: session.idle_timeout.map_or(self.idle, Timeout::as_millis),
            absolute_end: session.created_at.as_millis().wrapping_add(absolute),
            stale: self.stale,
        }
    }

    /// When `session`, last used at `last_activity`, ends, and which clock ends it.
    #[must_use]
    pub fn end_of(&self, session: &Session, last_activity: Timestamp) -> (Timestamp, EndReason) {
        let clocks = self.of(session);
        let end = clocks.end(last_activity);
        let absolute = end.as_millis() == clocks.absolute_end;
        (end, if absolute { EndReason::Absolute } else { EndReason::Idle })
    }

    /// Judges `session`, last used at `last_activity`, at `now`.
    #[must_use]
    pub fn judge(&self, session: &Session, last_activity: Timestamp, now: Timestamp) -> Verdict {
        let clocks = self.of(session);
        match clocks.judge(last_activity, now) {
            Some(stale) => Verdict::Live { expires_at: clocks.end(last_activity), stale },
            None => Verdict::Expired(self.end_of(session, last_activity).1),
        }
    }

    /// How much activity time of `session` may be unsaved, in milliseconds: less than of others if its own idle timeout
    /// is shorter.
    #[must_use]
    pub fn touch_interval_of(&self, session: &Session) -> i64 {
        session.idle_timeout.map_or(self.touch, |own| unsaved_at_most(own.as_millis()).min(self.touch))
    }
}

impl SessionClocks {
    /// When the session ends if it was last used at `last_activity`.
    #[inline]
    #[must_use]
    pub fn end(&self, last_activity: Timestamp) -> Timestamp {
        Timestamp::from_millis(last_activity.as_millis().wrapping_add(self.idle).min(self.absolute_end))
    }

    /// Whether the session, last used at `last_activity`, is stale at `now`. `None`: its time is over.
    #[inline]
    #[must_use]
    pub fn judge(&self, last_activity: Timestamp, now: Timestamp) -> Option<bool> {
        let idle = now.as_millis().wrapping_sub(last_activity.as_millis());
        (self.end(last_activity) > now).then_some(idle >= self.stale)
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
    i64::try_from(duration.as_millis()).map_or(Clocks::NEVER, |millis| millis.min(Clocks::NEVER))
}
