//! How many sessions there may be: a user's, and all together.

use std::collections::HashMap;

/// What is done with a user's surplus sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExcess {
    /// The first created go.
    EvictOldest,
    /// The longest unused go.
    EvictIdlest,
    /// They stay, and the newcomer is refused.
    Reject,
}

/// The per-user limit, as a store applies it to one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimit {
    /// How many sessions the user may have, the newcomer included.
    pub sessions: u64,
    /// What happens beyond.
    pub on_excess: OnExcess,
}

/// The per-user limit for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// How many sessions a user may have who is not among `overrides`; `None`: any number.
    pub sessions: Option<u64>,
    /// What happens beyond.
    pub on_excess: OnExcess,
    /// Users with a limit of their own.
    pub overrides: HashMap<String, u64>,
}

impl UserLimits {
    /// The limit of one user; `None`: any number.
    #[must_use]
    pub fn of(&self, user: &str) -> Option<UserLimit> {
        let sessions = self.overrides.get(user).copied().or(self.sessions)?;
        Some(UserLimit { sessions, on_excess: self.on_excess })
    }
}

/// How much the storage tier may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capacity {
    /// Sessions; `None`: any number.
    pub sessions: Option<u64>,
    /// Bytes, by [`Session::stored_bytes`](crate::session::Session::stored_bytes); `None`: any number.
    pub bytes: Option<u64>,
}
