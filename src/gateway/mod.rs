//! The gateway: the rules of the product, between the doors and the store.
//!
//! - [`memory`] answers what is hot; `touches` saves its activity in batches.
//! - `limits` holds the limits that are not the store's.
//! - `sweep` closes what is due, and keeps both tiers in bounds.
//! - `outbox` tells the app.
//!
//! A change goes to the store first and to memory second. It runs to its end even if the caller goes away in
//! between, so that memory never keeps what the store has ended.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock::{Clock, Origins, Timestamp};
use crate::config::settings::Settings;
use crate::metrics::Metrics;
use crate::metrics::labels::{LookUpEnd, Outcome, StoreOp};
use crate::session::{Clocks, Generator, NameKeys, SessionKey};
use crate::store::raw::RawFound;
use crate::store::{Failure, Figures, READ_DEADLINE, Store, StoreError, Terms};

pub mod api;
mod change;
mod limits;
mod live_clocks;
mod manage;
pub mod memory;
mod outbox;
pub mod raw;
mod sweep;
mod touches;

pub use api::{CreateRequest, Created, GatewayError, Lease, Slide, Stats, View};
use limits::creation_rate::CreationLimiter;
use limits::leases::Leases;
use limits::storage_cap::Watermarks;
use live_clocks::LiveClocks;
use memory::{Entry, Memory, MemoryRules};
use outbox::Courier;
use raw::{Ends, RawView};

/// Sessions that one step of the store ends at most: a step is one transaction, and others wait for it.
const BATCH: usize = 500;

/// What a gateway is made of.
pub struct Parts {
    /// The configuration to start with.
    pub settings: Arc<Settings>,
    /// The storage tier.
    pub store: Arc<dyn Store>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where tokens and ids come from.
    pub generator: Arc<dyn Generator>,
    /// Where events are counted.
    pub metrics: Arc<Metrics>,
}

/// The gateway. One a process; every door asks it.
pub struct Gateway {
    settings: ArcSwap<Settings>,
    /// The clocks of `settings`, for the hot path.
    clocks: LiveClocks,
    store: Arc<dyn Store>,
    /// The store's.
    names: NameKeys,
    clock: Arc<dyn Clock>,
    generator: Arc<dyn Generator>,
    metrics: Arc<Metrics>,
    memory: Memory,
    creations: Arc<CreationLimiter>,
    leases: Leases,
    /// Tells the Redis door's subscribers.
    ends: Ends,
    courier: Courier,
    upkeep: Mutex<Upkeep>,
    /// Wakes the sweep when its interval has changed.
    settings_changed: Notify,
    trouble: Trouble,
    /// The store's figures, at most a second old.
    figures: ArcSwap<Figures>,
}

/// What the upkeep remembers from one second to the next.
#[derive(Default)]
struct Upkeep {
    watermarks: Watermarks,
    /// A limit was lowered, or may have been while we were away: users may hold more than they may.
    trim_users: bool,
    /// Notices that the outbox had dropped at the last look.
    overflowed: u64,
}

/// Whether the store has failed and not been tried with success since.
#[derive(Default)]
struct Trouble {
    /// Calls that failed.
    failures: AtomicU64,
    /// How many of them had when a trial began that worked.
    over: AtomicU64,
}

impl Trouble {
    fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != self.over.load(Ordering::Relaxed)
    }
}

/// What memory knows of a key.
#[derive(Debug)]
pub enum MemoryLookUp {
    /// A live session.
    Hit(View),
    /// A session whose time is over: to the caller there is none.
    Expired,
    /// Nothing; the store may know more.
    Absent,
}

/// What becomes of a session by a look-up.
struct Standing {
    last_activity: Timestamp,
    expires_at: Timestamp,
    stale: bool,
    /// Whether the caller has to see to it that the activity is saved.
    to_save: bool,
}

impl Gateway {
    /// Puts the parts together. Background work starts with [`run`](Self::run).
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { settings, store, clock, generator, metrics } = parts;
        metrics.sweep_interval(settings.lifetimes.sweep_interval);
        metrics.top_user_settings(settings.top_users);
        let creations = CreationLimiter::default();
        creations.apply(settings.limits.creation_per_ip, clock.now().at);
        Arc::new(Self {
            memory: Memory::new(memory_rules(&settings), Arc::clone(&metrics)),
            creations: Arc::new(creations),
            ends: Ends::default(),
            leases: Leases::default(),
            courier: Courier::new(),
            upkeep: Mutex::new(Upkeep { trim_users: true, ..Upkeep::default() }),
            settings_changed: Notify::new(),
            trouble: Trouble::default(),
            figures: ArcSwap::default(),
            clocks: LiveClocks::new(settings.lifetimes.clocks.clocks()),
            settings: ArcSwap::new(settings),
            names: store.names(),
            store,
            clock,
            generator,
            metrics,
        })
    }

    /// The configuration in force.
    pub fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Where events are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now().at
    }

    /// What the wall clock shows, for those who have clocks of their own.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// What tells the store from others.
    pub fn store_id(&self) -> &str {
        self.store.id()
    }

    /// The key of a name in a key space.
    #[inline]
    pub fn key(&self, database: u16, name: &[u8]) -> SessionKey {
        self.names.key(database, name)
    }

    /// What deadlines that clients name are counted from.
    pub fn origins(&self) -> Origins {
        self.clock.origins()
    }

    /// Puts a changed configuration in force: for newcomers at once, for what is there at a bounded rate.
    pub fn apply(&self, settings: &Arc<Settings>) {
        self.metrics.sweep_interval(settings.lifetimes.sweep_interval);
        self.metrics.top_user_settings(settings.top_users);
        let clocks = settings.lifetimes.clocks;
        if clocks.touch_interval() < self.settings().lifetimes.clocks.touch_interval() {
            // What could wait under the old interval is older than the sweep reckons with under the new one.
            self.memory.touches().miss_some();
        }
        self.settings.store(Arc::clone(settings));
        self.clocks.store(clocks.clocks());
        self.memory.apply(memory_rules(settings));
        self.creations.apply(settings.limits.creation_per_ip, self.now());
        if let Ok(mut upkeep) = self.upkeep.lock() {
            upkeep.trim_users = true;
        }
        self.settings_changed.notify_waiters();
    }

    /// Looks a session up in memory only, and counts the look-up unless the answer is [`MemoryLookUp::Absent`].
    ///
    /// The hot path: no store, no log line, no waiting.
    #[expect(clippy::inline_always, reason = "a call and the way of its result through memory are a tenth of a hit")]
    #[inline(always)]
    pub fn look_up_in_memory(&self, key: &SessionKey, slide: Slide) -> MemoryLookUp {
        let watch = self.metrics.watch_hit();
        let Some(entry) = self.memory.get(key) else { return MemoryLookUp::Absent };
        let Some(view) = self.view(key, entry, slide, self.clock.recent()) else {
            self.metrics.lookup(LookUpEnd::MemoryExpired, watch.expired());
            return MemoryLookUp::Expired;
        };
        watch.hit();
        MemoryLookUp::Hit(view)
    }

    /// Looks the first [`TOGETHER`](memory::TOGETHER) of `keys` up in memory only, as uses, and calls `each` with what it finds, in order;
    /// `None`: a session whose time is over, so to the caller there is none. Ends at the first that memory does not hold,
    /// or holds with more than `largest` bytes of data. How many it has called for.
    ///
    /// The hot path of a pipeline. `each` runs under locks, and must be quick; what it does counts as time of a look-up.
    #[inline]
    pub fn look_up_together(
        &self,
        keys: &[SessionKey],
        largest: usize,
        mut each: impl FnMut(&SessionKey, Option<&Entry>),
    ) -> usize {
        let watch = self.metrics.watch_hit();
        let (now, clocks) = (self.clock.recent(), self.clocks.load());
        // Hardly ever any: each session is saved once an interval.
        let mut to_save = Vec::new();
        let (hits, expired) = self.memory.get_together(keys, |found| {
            let (mut hits, mut expired) = (0, 0);
            for (key, entry) in keys.iter().zip(found) {
                let Some(entry) = entry.filter(|entry| entry.session.data.len() <= largest) else { break };
                let standing = self.use_entry(entry, Slide::Touch, now, clocks);
                if standing.as_ref().is_some_and(|standing| standing.to_save) {
                    to_save.push((*key, Arc::clone(entry)));
                }
                each(key, standing.is_some().then_some(entry));
                (hits, expired) = if standing.is_some() { (hits + 1, expired) } else { (hits, expired + 1) };
            }
            (hits, expired)
        });
        if hits + expired == 0 {
            return 0;
        }
        let took = watch.hits(hits as u64, (hits + expired) as u64);
        for _ in 0..expired {
            self.metrics.lookup(LookUpEnd::MemoryExpired, took);
        }
        for (key, entry) in to_save {
            self.memory.touches().push(key, &entry);
        }
        hits + expired
    }

    /// Looks a session up.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] if there is none or its time is over, [`GatewayError::Unavailable`] if the store fails.
    pub async fn look_up(self: &Arc<Self>, key: SessionKey, slide: Slide) -> Result<View, GatewayError> {
        match self.look_up_in_memory(&key, slide) {
            MemoryLookUp::Hit(view) => return Ok(view),
            MemoryLookUp::Expired => return Err(GatewayError::NotFound),
            MemoryLookUp::Absent => {}
        }
        let read = async { Ok(self.store.load(key).await?.map(RawFound::Session)) };
        match self.look_up_in_store(&key, slide, true, read).await? {
            Some(RawView::Session(view)) => Ok(view),
            Some(RawView::Plain(_)) | None => Err(GatewayError::NotFound),
        }
    }

    /// Looks a key up that was not in memory, by a `read` of the store; a session that it finds is in memory then. Counts
    /// the look-up if it finds a session, or `is_session` says that it would have been one.
    async fn look_up_in_store(
        &self,
        key: &SessionKey,
        slide: Slide,
        is_session: bool,
        read: impl Future<Output = Result<Option<RawFound>, StoreError>>,
    ) -> Result<Option<RawView>, GatewayError> {
        let started = self.clock.now();
        let count = |end| self.metrics.lookup(end, started.mark.elapsed());
        let judged = |view: Option<View>, hit, expired| {
            count(if view.is_some() { hit } else { expired });
            Ok(view.map(RawView::Session))
        };
        let failed = |error| {
            if is_session {
                count(LookUpEnd::Error);
            }
            Err(GatewayError::Unavailable(error))
        };
        let reservation = match timeout(READ_DEADLINE, self.memory.get_or_reserve(key)).await {
            // Another caller has just read it.
            Ok(Ok(entry)) => {
                let view = self.view(key, entry, slide, started.at);
                return judged(view, LookUpEnd::MemoryHit, LookUpEnd::MemoryExpired);
            }
            Ok(Err(reservation)) => reservation,
            // Of those who want the same of a store that hangs, each would wait until the one before has given up.
            Err(_) => {
                let why = format!("another request for the same session took longer than {READ_DEADLINE:?}");
                return failed(StoreError::Unavailable(why));
            }
        };
        match self.timed(StoreOp::Load, read).await {
            Ok(Some(RawFound::Session(stored))) => {
                let entry = Arc::new(Entry::of(stored));
                let view = self.view(key, Arc::clone(&entry), slide, started.at);
                if view.is_some() {
                    reservation.fill(&entry);
                }
                judged(view, LookUpEnd::StorageHit, LookUpEnd::StorageExpired)
            }
            Ok(Some(RawFound::Plain(value))) => Ok(Some(RawView::Plain(value))),
            Ok(None) => {
                if is_session {
                    count(LookUpEnd::Miss);
                }
                Ok(None)
            }
            Err(error) => failed(error),
        }
    }

    /// Judges an entry by the clocks in force, and counts the look-up as use if it is one. `None`: its time is over.
    #[inline]
    fn use_entry(&self, entry: &Entry, slide: Slide, now: Timestamp, all: Clocks) -> Option<Standing> {
        let clocks = all.of(&entry.session);
        let last_activity = entry.last_activity();
        let stale = clocks.judge(last_activity, now)?;
        let (last_activity, to_save) = match slide {
            Slide::Peek => (last_activity, false),
            Slide::Touch => {
                let to_save = entry.touch(now, all.touch_interval_of(&entry.session));
                self.memory.revived(entry);
                (now.max(last_activity), to_save)
            }
        };
        Some(Standing { last_activity, expires_at: clocks.end(last_activity), stale, to_save })
    }

    /// The same, with the entry, whose activity is saved if it is to be.
    fn view(&self, key: &SessionKey, entry: Arc<Entry>, slide: Slide, now: Timestamp) -> Option<View> {
        let Standing { last_activity, expires_at, stale, to_save } =
            self.use_entry(&entry, slide, now, self.clocks.load())?;
        if to_save {
            self.memory.touches().push(*key, &entry);
        }
        Some(View { entry, last_activity, expires_at, stale })
    }

    fn terms(&self, now: Timestamp) -> Terms {
        let settings = self.settings.load();
        let notify = settings.hooks.session_closed.is_some();
        let lifetimes = settings.lifetimes.clocks;
        let tombstone = settings.redis_door.tombstone;
        Terms { now, lifetimes, grace: lifetimes.touch_interval(), notify, tombstone }
    }

    /// Runs a step of the store and counts it.
    async fn timed<T, E: Failure>(&self, op: StoreOp, step: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let started = self.clock.now().mark;
        let result = step.await;
        let failure = result.as_ref().err().and_then(Failure::failure);
        let outcome = if failure.is_some() { Outcome::Error } else { Outcome::Ok };
        self.metrics.store_operation(op, outcome, started.elapsed());
        if matches!(failure, Some(StoreError::Unavailable(_) | StoreError::Damaged(_))) {
            self.trouble.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.metrics.store_up(!self.trouble.is_open());
        result
    }
}

fn memory_rules(settings: &Settings) -> MemoryRules {
    MemoryRules {
        sessions: settings.limits.memory_sessions,
        bytes: settings.limits.memory_bytes,
        stale_after: settings.lifetimes.clocks.stale_after,
        memory_idle: settings.lifetimes.memory_idle,
    }
}
