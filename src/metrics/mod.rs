//! What an operator sees: the catalogue of metrics, and the only code that may name one.
//!
//! [`Metrics`] has one typed method for each thing that can happen. [`catalogue`] declares the families,
//! [`labels`] their closed label sets; [`family`] counts, and [`top_users`] is the one family with open labels.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{Registry, TextEncoder};

use crate::clock::Timestamp;
use crate::config::settings::TopUsers;
use crate::session::{EndReason, Generator, OsGenerator, UserName};

pub mod catalogue;
mod cells;
pub mod docs;
pub mod family;
mod hits;
pub mod labels;
mod snapshot;
pub mod top_users;
mod user_hash;

use catalogue::Families;
use family::float;
use hits::HitMeter;
pub use hits::HitWatch;
use labels::{
    CreationOutcome, Door, Eviction, HookResult, Label, LabelSet, LeaseResult, LookUpEnd, MemoryEviction, Outcome,
    ReloadTrigger, RequestOutcome, StoreOp, Tier,
};
pub use snapshot::{Snapshot, TierFigures};
pub use user_hash::{UserHash, UserHasher};

/// What is running, for the labels that never change.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// The version of the program.
    pub version: &'static str,
    /// The revision of its source.
    pub revision: &'static str,
    /// The kind of store.
    pub store: &'static str,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Look-ups.
    pub lookups: u64,
    /// Look-ups that found a live session in memory.
    pub memory_hits: u64,
    /// Sessions created.
    pub created: u64,
    /// Creations that were refused or failed.
    pub refused: u64,
    /// Sessions that left memory and are still stored.
    pub left_memory: u64,
    /// Sessions that ended.
    pub ended: u64,
}

/// Why the metrics could not be written down.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be encoded: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Every metric of one sidecar. Shared by all threads; no method waits or fails.
pub struct Metrics {
    families: Arc<Families>,
    hits: Arc<HitMeter>,
    registry: Registry,
    hasher: UserHasher,
    snapshot: ArcSwap<Snapshot>,
}

impl Metrics {
    /// All metrics at 0, with a registry of their own. Users are hashed under a key that ends with the process.
    #[must_use]
    pub fn new(build: &BuildInfo) -> Self {
        let mut key = [0; 32];
        OsGenerator.fill(&mut key);
        Self::with_user_key(build, &key)
    }

    /// The same, with users hashed under `key`: one that is kept with the store gives the same labels for ever.
    #[must_use]
    pub fn with_user_key(build: &BuildInfo, key: &[u8; 32]) -> Self {
        let mut families = Families::new(build).expect("the catalogue is valid: tests/metrics.rs builds it");
        let hits = families.lookups.attach(LookUpEnd::MemoryHit);
        let families = Arc::new(families);
        families.build_info.set((), 1.0);
        families.config_successful.set((), 1.0);
        let registry = Registry::new();
        let collectors: [Box<dyn prometheus::core::Collector>; _] = [
            Box::new(Shared(Arc::clone(&families))),
            #[cfg(target_os = "linux")]
            Box::new(prometheus::process_collector::ProcessCollector::for_self()),
        ];
        for collector in collectors {
            registry.register(collector).expect("no name is declared twice: tests/metrics.rs builds it");
        }
        let metrics = Self { families, hits, registry, hasher: UserHasher::new(key), snapshot: ArcSwap::default() };
        // Nothing is held and nothing is limited yet.
        let none = TierFigures { stale: Some(0), ..TierFigures::default() };
        metrics.publish(Snapshot { memory: none, storage: none, ..Snapshot::default() });
        metrics
    }

    /// An attempt to create a session ended so.
    pub fn creation(&self, outcome: CreationOutcome) {
        self.families.creations.inc(outcome);
    }

    /// A session that had not been used for `idle` left the memory tier.
    pub fn memory_eviction(&self, reason: MemoryEviction, idle: Duration) {
        self.families.evictions.inc(Eviction::Memory(reason));
        self.families.evicted_idle.observe(Tier::Memory, idle);
    }

    /// A session that had not been used for `idle` ended.
    pub fn session_ended(&self, reason: EndReason, idle: Duration) {
        self.families.evictions.inc(Eviction::Storage(reason));
        self.families.evicted_idle.observe(Tier::Storage, idle);
    }

    /// A look-up in memory begins; [`HitWatch::hit`] counts it. The hot path: one addition.
    #[inline]
    pub fn watch_hit(&self) -> HitWatch<'_> {
        self.hits.start()
    }

    /// A look-up ended so.
    pub fn lookup(&self, end: LookUpEnd, took: Duration) {
        self.families.lookups.observe(end, took);
    }

    /// The store was called.
    pub fn store_operation(&self, op: StoreOp, outcome: Outcome, took: Duration) {
        self.families.store_operations.observe((op, outcome), took);
    }

    /// Whether the store answers.
    pub fn store_up(&self, up: bool) {
        self.families.store_up.set((), f64::from(u8::from(up)));
    }

    /// What [`store_up`](Self::store_up) last said; `false` before that.
    pub fn is_store_up(&self) -> bool {
        self.families.store_up.get(()) > 0.0
    }

    /// The creation rate limit remembers `keys` client addresses, of which `limited` may not create now.
    pub fn rate_limiter(&self, keys: u64, limited: u64) {
        self.families.rate_limiter_keys.set_count((), keys);
        self.families.rate_limited_ips.set_count((), limited);
    }

    /// A sweep ended, at `at`.
    pub fn sweep(&self, outcome: Outcome, took: Duration, at: Timestamp) {
        self.families.sweep_runs.inc(outcome);
        self.families.sweep_duration.observe(outcome, took);
        if outcome == Outcome::Ok {
            self.families.sweep_last_success.set((), unix_seconds(at));
        }
    }

    /// The time between two sweeps, now in force.
    pub fn sweep_interval(&self, interval: Duration) {
        self.families.sweep_interval.set((), interval.as_secs_f64());
    }

    /// The configuration was read at the start, at `at`: not a reload, so not counted as one.
    pub fn config_loaded(&self, at: Timestamp) {
        self.families.config_successful.set((), 1.0);
        self.families.config_success_timestamp.set((), unix_seconds(at));
    }

    /// The configuration was reloaded, or refused, at `at`.
    pub fn reload(&self, outcome: Outcome, trigger: ReloadTrigger, at: Timestamp) {
        self.families.config_reloads.inc((outcome, trigger));
        match outcome {
            Outcome::Ok => self.config_loaded(at),
            Outcome::Error => self.families.config_successful.set((), 0.0),
        }
    }

    /// The hash of the configuration in force, in 48 bits.
    pub fn config_hash(&self, hash: u64) {
        self.families.config_hash.set((), float(hash));
    }

    /// An attempt to deliver a notice ended so.
    pub fn hook(&self, result: HookResult, took: Duration) {
        self.families.hook_deliveries.inc(result);
        self.families.hook_duration.observe(result, took);
    }

    /// So many more notices were given up without an attempt: too old, or in excess of the queue.
    pub fn hooks_dropped(&self, count: u64) {
        self.families.hook_deliveries.add(HookResult::Dropped, count);
    }

    /// So many notices wait.
    pub fn hook_queue(&self, length: u64) {
        self.families.hook_queue.set_count((), length);
    }

    /// So many late saves were dropped, and so many values written that nobody can read.
    pub fn raw_writes(&self, late: u64, unknown: u64) {
        self.families.late_saves.add((), late);
        self.families.unknown_values.add((), unknown);
    }

    /// A lease was asked for, or ended by itself.
    pub fn lease(&self, result: LeaseResult) {
        self.families.lease_requests.inc(result);
    }

    /// So many leases are held.
    pub fn leases_held(&self, count: u64) {
        self.families.leases_held.set_count((), count);
    }

    /// A connection was accepted; it counts as open until the guard is dropped.
    #[must_use]
    pub fn connection_opened(&self, door: Door) -> ConnectionGuard {
        self.families.connections.add(door, 1.0);
        ConnectionGuard { families: Arc::clone(&self.families), door }
    }

    /// A request was answered.
    pub fn request(&self, door: Door, outcome: RequestOutcome) {
        self.families.requests.inc((door, outcome));
    }

    /// So many requests were answered.
    pub fn requests(&self, door: Door, outcome: RequestOutcome, count: u64) {
        if count > 0 {
            self.families.requests.add((door, outcome), count);
        }
    }

    /// How many requests were answered.
    pub fn requests_answered(&self, door: Door) -> u64 {
        RequestOutcome::ALL.iter().map(|&outcome| self.families.requests.get((door, outcome))).sum()
    }

    /// Connections that are open.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    pub fn connections_open(&self, door: Door) -> u64 {
        self.families.connections.get(door) as u64
    }

    /// Takes new figures of what is held.
    pub fn publish(&self, snapshot: Snapshot) {
        snapshot.show(&self.families);
        self.families.top_users.publish(&snapshot.top_users, &self.hasher);
        self.snapshot.store(snapshot.into());
    }

    /// The figures last published.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Sessions that left a tier since the start: tier, reason, how many.
    pub fn evictions(&self) -> Vec<(&'static str, &'static str, u64)> {
        let counted = Eviction::all().into_iter().map(|eviction| {
            let [tier, reason] = eviction.texts();
            (tier, reason, self.families.evictions.get(eviction))
        });
        counted.collect()
    }

    /// What has happened since the start, for people.
    pub fn totals(&self) -> Totals {
        let families = &self.families;
        let created = families.creations.get(CreationOutcome::Created);
        let attempts: u64 = CreationOutcome::ALL.iter().map(|&outcome| families.creations.get(outcome)).sum();
        let evicted = |of: fn(&Eviction) -> bool| -> u64 {
            Eviction::all().into_iter().filter(of).map(|eviction| families.evictions.get(eviction)).sum()
        };
        Totals {
            lookups: LookUpEnd::all().into_iter().map(|end| families.lookups.count(end)).sum(),
            memory_hits: families.lookups.count(LookUpEnd::MemoryHit),
            created,
            refused: attempts - created.min(attempts),
            left_memory: evicted(|eviction| {
                matches!(eviction, Eviction::Memory(MemoryEviction::Lru | MemoryEviction::MemoryIdle))
            }),
            ended: evicted(|eviction| matches!(eviction, Eviction::Storage(_))),
        }
    }

    /// Changes how many of the heaviest users are shown and how they are named, at once.
    pub fn top_user_settings(&self, settings: TopUsers) {
        self.families.top_users.configure(settings, &self.hasher);
    }

    /// The name of a user where the name itself must not stand, as in logs: the same as in metric labels.
    pub fn hash_user(&self, user: &UserName) -> UserHash {
        self.hasher.hash(user)
    }

    /// Everything, in the Prometheus text format 0.0.4.
    ///
    /// # Errors
    /// If the encoder refuses a family, which would be a bug here.
    pub fn encode(&self) -> Result<String, MetricsError> {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        // The format asks for "+Inf"; the crate writes Rust's "inf", which only lenient parsers take.
        Ok(text.replace(" inf\n", " +Inf\n"))
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// An open connection; counted until dropped.
pub struct ConnectionGuard {
    families: Arc<Families>,
    door: Door,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.families.connections.add(self.door, -1.0);
    }
}

/// The registry's handle on the families.
struct Shared(Arc<Families>);

impl prometheus::core::Collector for Shared {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        self.0.desc()
    }
    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.0.collect()
    }
}

/// A time as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "exact for the next 285,000 years")]
fn unix_seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1_000.0
}
