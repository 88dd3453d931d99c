//! What is held at one moment, as the gateway reports it every few seconds.

use std::time::Duration;

use super::catalogue::Families;
use super::labels::{Label, Scope, ScopedTier};
use super::top_users::Weight;

/// What is held at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The memory tier.
    pub memory: TierFigures,
    /// The storage tier.
    pub storage: TierFigures,
    /// Who sees the storage tier. Series of the other scope do not exist: a 0 would spoil a sum or a maximum.
    pub storage_scope: Scope,
    /// Bytes in storage.
    pub storage_bytes: u64,
    /// Bytes that storage may hold; `None`: any number, shown as +Inf.
    pub storage_limit_bytes: Option<u64>,
    /// Time since the last use of the longest unused stale session; zero if none is stale.
    pub stale_oldest_age: Duration,
    /// Users with at least one session.
    pub users: u64,
    /// Users who have as many sessions as they may, or more.
    pub users_at_limit: u64,
    /// Sessions of the user who has the most.
    pub user_sessions_max: u64,
    /// Sessions a user without an override may have; `None`: any number, shown as +Inf.
    pub user_sessions_limit: Option<u64>,
    /// The heaviest users, heaviest first: [`considered`](super::top_users::considered)`(top_users.count)` of them.
    pub top_users: Vec<Weight>,
}

/// What one tier holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierFigures {
    /// Sessions.
    pub sessions: u64,
    /// Sessions that it may hold; `None`: any number, shown as +Inf.
    pub limit: Option<u64>,
    /// Stale sessions; `None`: this tier does not count them, and there is no series.
    pub stale: Option<u64>,
}

impl Snapshot {
    /// Sets the gauges.
    pub(super) fn show(&self, families: &Families) {
        for &scope in Scope::ALL.iter().filter(|&&scope| scope != self.storage_scope) {
            let tier = ScopedTier::Storage(scope);
            families.sessions.forget(tier);
            families.sessions_limit.forget(tier);
            families.sessions_stale.forget(tier);
            families.storage_bytes.forget(scope);
            families.storage_limit_bytes.forget(scope);
        }
        let tiers = [(ScopedTier::Memory, self.memory), (ScopedTier::Storage(self.storage_scope), self.storage)];
        for (tier, figures) in tiers {
            families.sessions.set_count(tier, figures.sessions);
            families.sessions_limit.set_limit(tier, figures.limit);
            match figures.stale {
                Some(stale) => families.sessions_stale.set_count(tier, stale),
                None => families.sessions_stale.forget(tier),
            }
        }
        families.storage_bytes.set_count(self.storage_scope, self.storage_bytes);
        families.storage_limit_bytes.set_limit(self.storage_scope, self.storage_limit_bytes);
        families.stale_oldest_age.set((), self.stale_oldest_age.as_secs_f64());
        families.users.set_count((), self.users);
        families.users_at_limit.set_count((), self.users_at_limit);
        families.user_sessions_max.set_count((), self.user_sessions_max);
        families.user_sessions_limit.set_limit((), self.user_sessions_limit);
    }
}
