//! Background work: closing what is due, saving activity, keeping both tiers in bounds, refreshing figures.
//!
//! Each step is bounded, and its failure is logged, counted and left to the next round: nothing here stops for good
//! before the process does.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::limits::storage_cap::CleanUp;
use super::memory::Entry;
use super::{BATCH, Gateway};
use crate::clock::Timestamp;
use crate::metrics::labels::{Outcome, Scope, StoreOp};
use crate::metrics::top_users::considered;
use crate::metrics::{Snapshot, TierFigures};
use crate::session::SessionKey;
use crate::store::{Figures, FiguresQuery, LEAST_STEP, StoreError};

/// How often the upkeep runs.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Sessions that a lowered limit ends in one round of the upkeep: nobody shall see a mass log-out.
const TRIM_PER_ROUND: usize = 100;
/// Sessions that the storage cap ends in one round of the upkeep when the tier fills up, in steps of [`BATCH`].
/// Creations come with about a tenth of this rate at most on two cores, so the tier shrinks under any load.
const ROOM_PER_ROUND: usize = 20 * BATCH;
/// Touches saved in one step.
const TOUCH_BATCH: usize = 1_000;
/// How long a stop may take to save the last minute's activity: half of what container runtimes grant by default.
const SAVING_AT_STOP: Duration = Duration::from_secs(5);

impl Gateway {
    /// Does all background work until `stop` resolves, then saves what is left.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let background = async {
            tokio::join!(self.sweep_for_ever(), self.keep_up_for_ever(), self.deliver_for_ever());
        };
        tokio::select! {
            () = background => {}
            () = stop => {}
        }
        self.save_all_activity().await;
    }

    async fn sweep_for_ever(&self) {
        // What became due while nothing was running.
        self.sweep().await;
        let mut last = Instant::now();
        loop {
            let due = last + self.settings().lifetimes.sweep_interval;
            tokio::select! {
                () = sleep_until(due) => {
                    last = Instant::now();
                    self.sweep().await;
                }
                () = self.settings_changed.notified() => {}
            }
        }
    }

    /// Ends every session whose time is over, and the stale ones if they are to be closed. How many ended.
    pub async fn sweep(&self) -> u64 {
        let started = self.clock.now();
        let mut total = 0;
        let outcome = match self.end_due(started.at, &mut total).await {
            Ok(()) => Outcome::Ok,
            Err(error) => {
                tracing::warn!(%error, "the sweep failed; what is due is tried again at the next one");
                Outcome::Error
            }
        };
        let took = started.mark.elapsed();
        self.metrics.sweep(outcome, took, self.wall());
        if total > 0 {
            tracing::info!(ended = total, ?took, "sweep closed sessions");
        }
        total
    }

    /// Ends what was due at `now`, a time before the activity is saved: for who is used later was alive then by what is
    /// saved. If it cannot be saved, nobody ends: the store would take active sessions for idle.
    async fn end_due(&self, now: Timestamp, total: &mut u64) -> Result<(), StoreError> {
        self.flush_touches().await?;
        loop {
            let ended = self.sweep_step(now).await?;
            *total += ended as u64;
            if ended < LEAST_STEP {
                return Ok(());
            }
            // Others shall get their turn at the store between two steps.
            tokio::task::yield_now().await;
        }
    }

    async fn sweep_step(&self, now: Timestamp) -> Result<usize, StoreError> {
        let close_stale = self.settings().lifetimes.close_stale;
        let terms = self.terms(now);
        let step = self.store.claim_due(close_stale, BATCH, terms);
        let ended = self.timed(StoreOp::Sweep, step).await?;
        self.ended(&ended);
        Ok(ended.len())
    }

    async fn keep_up_for_ever(&self) {
        let mut ticks = interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.clock.discipline();
            self.keep_up().await;
        }
    }

    /// One round of upkeep; the application runs it every second.
    pub async fn keep_up(&self) {
        let now = self.now();
        while self.memory.advance(now) {
            tokio::task::yield_now().await;
        }
        if let Err(error) = self.flush_touches().await {
            tracing::warn!(%error, "last activity could not be saved; tried again in a second");
        }
        self.expire_leases(now);
        self.metrics.leases_held(self.leases.held());
        let (addresses, limited) = self.creations.figures(now);
        self.metrics.rate_limiter(addresses, limited);
        self.try_store_again().await;
        if let Err(error) = self.keep_store_in_bounds().await {
            tracing::warn!(%error, "the storage tier could not be kept in bounds; tried again in a second");
        }
    }

    /// A store that has failed counts as up again when it can be written: that reads work, which need less, says little,
    /// and there may be no other writes for hours.
    async fn try_store_again(&self) {
        if !self.trouble.is_open() {
            return;
        }
        let failures = self.trouble.failures.load(Ordering::Relaxed);
        match self.timed(StoreOp::Upkeep, self.store.probe()).await {
            Ok(()) | Err(StoreError::Full(_)) => {
                self.trouble.over.store(failures, Ordering::Relaxed);
                tracing::info!("the store can be written again");
            }
            Err(error) => tracing::debug!(%error, "the store cannot be written yet; tried again in a second"),
        }
    }

    async fn keep_store_in_bounds(&self) -> Result<(), StoreError> {
        let waiting = self.store.notices().await?;
        self.metrics.hook_queue(waiting.queued);
        let overflowed = self.upkeep.lock().map_or(0, |mut upkeep| {
            waiting.overflowed - std::mem::replace(&mut upkeep.overflowed, waiting.overflowed).min(waiting.overflowed)
        });
        if overflowed > 0 {
            self.metrics.hooks_dropped(overflowed);
            tracing::error!(
                notices = overflowed,
                "notices were dropped: the outbox is full, or they could not be read; see hooks.session_closed"
            );
        }
        if waiting.queued > 0 {
            self.drop_old_notices().await?;
        }
        let figures = self.refresh_figures().await?;
        let limits = self.settings().limits.stored;
        let clean_up = self.upkeep.lock().ok().and_then(|mut upkeep| {
            let Figures { sessions, bytes, .. } = *figures;
            upkeep.watermarks.clean_up(limits, sessions, bytes)
        });
        if let Some(CleanUp { target, gently }) = clean_up {
            let (steps, most) = if gently { (1, TRIM_PER_ROUND) } else { (ROOM_PER_ROUND / BATCH, BATCH) };
            let mut ended = 0;
            for _ in 0..steps {
                let step = self.store.make_room(target, most, self.terms(self.now()));
                let victims = self.timed(StoreOp::Sweep, step).await?;
                self.ended(&victims);
                ended += victims.len();
                if victims.len() < LEAST_STEP {
                    break;
                }
            }
            let Figures { sessions, bytes, .. } = *figures;
            if ended > 0 && gently {
                tracing::info!(ended, sessions, bytes, "a limit of storage was lowered: the surplus goes gently");
            } else if ended > 0 {
                tracing::warn!(
                    ended,
                    sessions,
                    bytes,
                    "storage is near its cap: sessions are being ended to make room; see limits.stored_bytes and top users"
                );
            }
        }
        // Taken before the work, so that a reload meanwhile asks anew.
        if self.upkeep.lock().is_ok_and(|mut upkeep| std::mem::take(&mut upkeep.trim_users)) {
            let limits = self.settings().limits.per_user.clone();
            let step = self.store.trim_users(&limits, TRIM_PER_ROUND, self.terms(self.now()));
            let surplus = self.timed(StoreOp::Sweep, step).await;
            let is_done = surplus.as_ref().is_ok_and(|surplus| surplus.len() < LEAST_STEP);
            if !is_done && let Ok(mut upkeep) = self.upkeep.lock() {
                upkeep.trim_users = true;
            }
            self.ended(&surplus?);
        }
        Ok(())
    }

    /// Asks the store for its figures, publishes them and returns them.
    pub(super) async fn refresh_figures(&self) -> Result<Arc<Figures>, StoreError> {
        let settings = self.settings.load_full();
        let now = self.now();
        let query = FiguresQuery {
            stale_before: now - settings.lifetimes.clocks.stale_after,
            top: considered(settings.top_users.count).max(1),
            user_limits: settings.limits.per_user.clone(),
        };
        let figures = Arc::new(self.timed(StoreOp::Upkeep, self.store.figures(query)).await?);
        self.figures.store(Arc::clone(&figures));
        let stored = settings.limits.stored;
        self.metrics.publish(Snapshot {
            memory: TierFigures {
                sessions: self.memory.len(),
                limit: Some(settings.limits.memory_sessions),
                stale: Some(self.memory.stale()),
            },
            storage: TierFigures { sessions: figures.sessions, limit: stored.sessions, stale: Some(figures.stale) },
            storage_scope: if self.store.is_shared() { Scope::Shared } else { Scope::Local },
            storage_bytes: figures.bytes,
            storage_limit_bytes: stored.bytes,
            stale_oldest_age: figures
                .oldest_activity
                .filter(|_| figures.stale > 0)
                .map_or(Duration::ZERO, |oldest| now.since(oldest)),
            users: figures.users,
            users_at_limit: figures.users_at_limit,
            user_sessions_max: figures.top_users.first().map_or(0, |(_, sessions)| *sessions),
            user_sessions_limit: settings.limits.per_user.sessions,
            top_users: figures.top_users.clone(),
        });
        Ok(figures)
    }

    /// Saves the activity that waits. After an error, what is not saved waits on: a store that does not answer would
    /// have each batch wait for its deadline, and all other upkeep and sweeps with it.
    async fn flush_touches(&self) -> Result<(), StoreError> {
        let touches = self.memory.touches();
        let _turn = touches.turn().await;
        let mut left = touches.len();
        while left > 0 {
            let batch = touches.first(left.min(TOUCH_BATCH));
            left -= batch.len();
            if let Err(error) = self.timed(StoreOp::Touch, self.store.touch(batch.clone())).await {
                touches.failed(batch);
                return Err(error);
            }
            touches.saved(batch.len());
        }
        if touches.take_missing() {
            for batch in self.memory.unsaved().chunks(TOUCH_BATCH) {
                if let Err(error) = self.save_activity(batch).await {
                    touches.miss_some();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Saves what waits, and all that would have waited for its turn: after this there is no next use.
    async fn save_all_activity(&self) {
        if let Err(error) = self.flush_touches().await {
            let sessions = self.memory.touches().len();
            tracing::warn!(%error, sessions, "last activity could not be saved; it is up to a minute older, or more");
        }
        let (unsaved, began) = (self.memory.unsaved(), Instant::now());
        let mut batches = unsaved.chunks(TOUCH_BATCH);
        while let Some(batch) = batches.next() {
            if began.elapsed() > SAVING_AT_STOP {
                let left = batch.len() + batches.map(<[_]>::len).sum::<usize>();
                return tracing::warn!(
                    sessions = left,
                    "no time left to save their last use; it is up to a minute older"
                );
            }
            if let Err(error) = self.save_activity(batch).await {
                tracing::warn!(%error, sessions = batch.len(), "last activity could not be saved");
            }
        }
    }

    async fn save_activity(&self, batch: &[(SessionKey, Timestamp, Arc<Entry>)]) -> Result<(), StoreError> {
        let touches = batch.iter().map(|(key, at, _)| (*key, *at)).collect();
        self.timed(StoreOp::Touch, self.store.touch(touches)).await?;
        for (_, at, entry) in batch {
            entry.saved(*at);
        }
        Ok(())
    }
}
