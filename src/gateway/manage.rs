//! Management by handle and by user, leases, figures.

use std::sync::Arc;

use super::Gateway;
use super::api::{GatewayError, Lease, Stats, View};
use super::change::to_the_end;
use super::memory::Entry;
use crate::clock::Timestamp;
use crate::metrics::labels::{LeaseResult, StoreOp};
use crate::session::{EndReason, LeaseId, SessionId, StoredSession, UserName, Verdict};
use crate::store::{Cursor, Whom};

impl Gateway {
    /// The session with a handle. Does not count as use.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up).
    pub async fn find(self: &Arc<Self>, id: SessionId) -> Result<View, GatewayError> {
        let stored = self.timed(StoreOp::Load, self.store.find(id)).await.map_err(GatewayError::Unavailable)?;
        let stored = stored.ok_or(GatewayError::NotFound)?;
        self.live_view(stored, self.now()).ok_or(GatewayError::NotFound)
    }

    /// Ends the session with a handle. False if there is none.
    ///
    /// # Errors
    /// [`GatewayError::Unavailable`].
    pub async fn revoke_id(self: &Arc<Self>, id: SessionId) -> Result<bool, GatewayError> {
        let this = Arc::clone(self);
        to_the_end(async move { Ok(this.end(Whom::Id(id), EndReason::Admin).await? > 0) }).await
    }

    /// Lists a user's live sessions by creation, without their data, at most `max`, and says where to go on.
    ///
    /// # Errors
    /// [`GatewayError::Unavailable`].
    pub async fn user_sessions(
        self: &Arc<Self>,
        user: UserName,
        after: Option<Cursor>,
        max: usize,
    ) -> Result<(Vec<View>, Option<Cursor>), GatewayError> {
        let listed = self
            .timed(StoreOp::List, self.store.user_sessions(user, after, max))
            .await
            .map_err(GatewayError::Unavailable)?;
        let next = listed.last().filter(|_| listed.len() == max);
        let next = next.map(|last| Cursor { created_at: last.session.created_at, id: last.session.id });
        let now = self.now();
        Ok((listed.into_iter().filter_map(|stored| self.live_view(stored, now)).collect(), next))
    }

    /// Ends all sessions of a user, and says how many there were.
    ///
    /// # Errors
    /// [`GatewayError::Unavailable`]; the sessions ended until then stay ended.
    pub async fn revoke_user(self: &Arc<Self>, user: UserName) -> Result<u64, GatewayError> {
        let this = Arc::clone(self);
        to_the_end(async move { this.end(Whom::User(user), EndReason::Admin).await }).await
    }

    /// Lets `user` run one more operation.
    ///
    /// # Errors
    /// [`GatewayError::LeaseLimit`].
    pub fn take_lease(&self, user: &UserName) -> Result<Lease, GatewayError> {
        let now = self.now();
        self.expire_leases(now);
        let id = LeaseId::generate(now, &*self.generator);
        let result = self.leases.take(user, id, &self.settings.load().limits.leases, now);
        self.metrics.lease(if result.is_ok() { LeaseResult::Granted } else { LeaseResult::Refused });
        self.metrics.leases_held(self.leases.held());
        result
    }

    /// Extends a lease.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] if it has ended.
    pub fn renew_lease(&self, id: LeaseId) -> Result<Lease, GatewayError> {
        let now = self.now();
        self.expire_leases(now);
        self.leases.renew(id, &self.settings.load().limits.leases, now)
    }

    /// Takes a lease back.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] if it has ended already.
    pub fn return_lease(&self, id: LeaseId) -> Result<(), GatewayError> {
        self.expire_leases(self.now());
        let result = self.leases.give_back(id);
        self.metrics.leases_held(self.leases.held());
        result
    }

    pub(super) fn expire_leases(&self, now: Timestamp) {
        for _ in 0..self.leases.expire(&self.settings.load().limits.leases, now) {
            self.metrics.lease(LeaseResult::Expired);
        }
    }

    /// Figures for people.
    ///
    /// # Errors
    /// [`GatewayError::Unavailable`].
    pub async fn stats(self: &Arc<Self>) -> Result<Stats, GatewayError> {
        let figures = self.refresh_figures().await.map_err(GatewayError::Unavailable)?;
        Ok(Stats {
            memory: self.memory.len(),
            storage: figures.sessions,
            active: figures.sessions.saturating_sub(figures.stale),
            stale: figures.stale,
            storage_bytes: figures.bytes,
            evictions: self.metrics.evictions(),
            top_users: figures.top_users.clone(),
        })
    }

    /// The view of a session as the store has it, with the activity that memory knows of; `None`: its time is over.
    fn live_view(&self, stored: StoredSession, now: Timestamp) -> Option<View> {
        let in_memory = self.memory.get(&stored.key);
        let last_activity =
            in_memory.map_or(stored.last_activity, |held| held.last_activity().max(stored.last_activity));
        let settings = self.settings.load();
        match settings.lifetimes.clocks.judge(&stored.session, last_activity, now) {
            Verdict::Live { expires_at, stale } => {
                let entry = Arc::new(Entry::of(StoredSession { last_activity, ..stored }));
                Some(View { entry, last_activity, expires_at, stale })
            }
            Verdict::Expired(_) => None,
        }
    }
}
