//! The catalogue: one declaration a family, and the only place with metric names.
//!
//! Registration, `docs/METRICS.md` and the tests derive from it. To add a family, add it here, add a method to
//! [`Metrics`](super::Metrics) that feeds it, and run `SESSGATE_BLESS=1 cargo test --test main metrics::`.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::BuildInfo;
use super::family::{Buckets, Counters, Family, Fixed, Gauges, Header, Histograms, Series, Unit};
use super::labels::{
    CreationOutcome, Door, Eviction, HookResult, LabelSet, LeaseResult, LookUpEnd, Outcome, ReloadTrigger,
    RequestOutcome, Scope, ScopedTier, StoreOp, Tier,
};
use super::top_users::TopUserTable;

/// 1 µs (a hit in memory) to 1 s. 5 ms is the objective that the alerts on slow look-ups count by.
const LOOKUP: Buckets = Buckets::Nanos(&[
    1_000,
    5_000,
    20_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    20_000_000,
    100_000_000,
    1_000_000_000,
]);

/// 100 µs (an indexed read) to 1 s (a disk in distress; calls are given up after a few).
const STORE: Buckets = Buckets::Nanos(&[100_000, 1_000_000, 5_000_000, 25_000_000, 100_000_000, 1_000_000_000]);

/// 10 ms (little is due) to 5 min (the default interval: a longer sweep falls behind).
const SWEEP: Buckets =
    Buckets::Nanos(&[10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000, 60_000_000_000, 300_000_000_000]);

/// 10 ms (an app on the same host) to 10 s, with the default timeout of 3 s.
const HOOK: Buckets =
    Buckets::Nanos(&[10_000_000, 50_000_000, 250_000_000, 1_000_000_000, 3_000_000_000, 10_000_000_000]);

/// 5 s (thrashing: sessions in use are evicted) to 30 d.
const IDLE: Buckets =
    Buckets::Millis(&[5_000, 60_000, 300_000, 3_600_000, 21_600_000, 86_400_000, 604_800_000, 2_592_000_000]);

/// What is known of a family without running it.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels, the fixed ones included.
    pub labels: Vec<&'static str>,
    /// The label values of each series, without the fixed labels; empty if the values are open.
    pub series: Vec<Vec<&'static str>>,
    /// Labels with one value for the whole process.
    pub fixed: &'static [Fixed],
    /// What its values are.
    pub unit: Unit,
    /// What it says.
    pub help: &'static str,
    /// The buckets of a histogram.
    pub buckets: Option<Buckets>,
}

impl Declaration {
    fn of<S: Series>(family: &Family<S::Labels>) -> Self {
        let own = family.labels.as_ref().iter().copied();
        Self {
            name: family.name,
            kind: match S::TYPE {
                MetricType::COUNTER => "counter",
                MetricType::HISTOGRAM => "histogram",
                _ => "gauge",
            },
            labels: family.fixed.iter().map(|fixed| fixed.name()).chain(own).collect(),
            series: S::Labels::all().into_iter().map(|labels| labels.texts().as_ref().to_vec()).collect(),
            fixed: family.fixed,
            unit: family.unit,
            help: family.help,
            buckets: family.buckets,
        }
    }
}

macro_rules! catalogue {
    ($($field:ident: $family:ty = $declaration:expr;)+) => {
        /// Every family, typed.
        pub(super) struct Families { $(pub(super) $field: $family),+ }

        impl Families {
            /// # Errors
            /// If a declaration is not valid: a mistake in this file.
            pub(super) fn new(build: &BuildInfo) -> prometheus::Result<Self> {
                Ok(Self { $($field: {
                    let family = $declaration;
                    let header = Header::new(&family, build)?;
                    <$family as Series>::new(&family, header)
                }),+ })
            }
        }

        impl Collector for Families {
            fn desc(&self) -> Vec<&Desc> {
                vec![$(&self.$field.header().desc),+]
            }
            fn collect(&self) -> Vec<MetricFamily> {
                vec![$(Series::collect(&self.$field)),+]
            }
        }

        /// Every family, in the order of the documentation.
        #[must_use]
        pub fn catalogue() -> Vec<Declaration> {
            vec![$(Declaration::of::<$family>(&$declaration)),+]
        }
    };
}

catalogue! {
    sessions: Gauges<ScopedTier> = Family::new(
        "sessgate_sessions", ["tier", "scope"], Unit::Count("sessions"),
        "Sessions held. Under scope=\"shared\" every sidecar sees the same ones: aggregate with max, not sum.",
    );
    sessions_limit: Gauges<ScopedTier> = Family::new(
        "sessgate_sessions_limit", ["tier", "scope"], Unit::Count("sessions"),
        "Sessions that may be held: limits.memory_sessions and limits.stored_sessions. +Inf: any number.",
    );
    sessions_stale: Gauges<ScopedTier> = Family::new(
        "sessgate_sessions_stale", ["tier", "scope"], Unit::Count("sessions"),
        "Sessions not used for lifetimes.stale_after, exact to one minute of activity.",
    );
    stale_oldest_age: Gauges<()> = Family::new(
        "sessgate_stale_oldest_age_seconds", [], Unit::Seconds,
        "Time since the last use of the longest unused stale session. 0: none is stale.",
    );
    creations: Counters<CreationOutcome> = Family::new(
        "sessgate_session_creations_total", ["outcome"], Unit::Count("attempts"),
        "Attempts to create a session, by how they ended. All outcomes but created and store_error are limits at work.",
    );
    evictions: Counters<Eviction> = Family::new(
        "sessgate_session_evictions_total", ["tier", "reason"], Unit::Count("sessions"),
        "Sessions that left a tier. From memory that is harmless; from storage it ends the session.",
    );
    evicted_idle: Histograms<Tier> = Family::new(
        "sessgate_evicted_idle_seconds", ["tier"], Unit::Seconds,
        "How long sessions had not been used when they left a tier. Short times from memory mean that it is too small.",
    ).buckets(IDLE);
    lookups: Histograms<LookUpEnd> = Family::new(
        "sessgate_lookup_duration_seconds", ["tier", "result"], Unit::Seconds,
        "Time to look a session up, by where the answer was found and what it was. Of those that memory answers every one is \
         counted and one in 128 is timed, or all while they are slow.",
    ).buckets(LOOKUP);
    storage_bytes: Gauges<Scope> = Family::new(
        "sessgate_storage_bytes", ["scope"], Unit::Bytes,
        "Bytes of the storage tier in use, as limits.stored_bytes counts them.",
    );
    storage_limit_bytes: Gauges<Scope> = Family::new(
        "sessgate_storage_limit_bytes", ["scope"], Unit::Bytes,
        "Bytes that the storage tier may use: limits.stored_bytes. +Inf: any number.",
    );
    users: Gauges<()> = Family::new(
        "sessgate_users", [], Unit::Count("users"),
        "Users with at least one session.",
    );
    users_at_limit: Gauges<()> = Family::new(
        "sessgate_users_at_limit", [], Unit::Count("users"),
        "Users who have as many sessions as limits.per_user allows them, or more.",
    );
    user_sessions_max: Gauges<()> = Family::new(
        "sessgate_user_sessions_max", [], Unit::Count("sessions"),
        "Sessions of the user who has the most.",
    );
    user_sessions_limit: Gauges<()> = Family::new(
        "sessgate_user_sessions_limit", [], Unit::Count("sessions"),
        "Sessions that a user without an override may have: limits.per_user.sessions. +Inf: any number.",
    );
    top_users: TopUserTable = Family::new(
        "sessgate_top_user_sessions", ["rank", "user"], Unit::Count("sessions"),
        "Sessions of the heaviest users: at most top_users.count series, named as top_users.label says.",
    );
    rate_limiter_keys: Gauges<()> = Family::new(
        "sessgate_rate_limiter_keys", [], Unit::Count("addresses"),
        "Client addresses that the creation rate limit remembers.",
    );
    rate_limited_ips: Gauges<()> = Family::new(
        "sessgate_rate_limited_ips", [], Unit::Count("addresses"),
        "Client addresses that may not create a session right now.",
    );
    store_up: Gauges<()> = Family::new(
        "sessgate_store_up", [], Unit::Flag,
        "Whether the store works: 0 from a failed call until a write succeeds, which is tried every second.",
    ).fixed(&[Fixed::Store]);
    store_operations: Histograms<(StoreOp, Outcome)> = Family::new(
        "sessgate_store_operation_duration_seconds", ["op", "result"], Unit::Seconds,
        "Time a call to the store took, waiting for its turn included.",
    ).fixed(&[Fixed::Store]).buckets(STORE);
    sweep_runs: Counters<Outcome> = Family::new(
        "sessgate_sweep_runs_total", ["result"], Unit::Count("sweeps"),
        "Sweeps that ran to their end, by whether every step worked.",
    );
    sweep_duration: Histograms<Outcome> = Family::new(
        "sessgate_sweep_duration_seconds", ["result"], Unit::Seconds,
        "Time a sweep took, from its first step to its last.",
    ).buckets(SWEEP);
    sweep_last_success: Gauges<()> = Family::new(
        "sessgate_sweep_last_success_timestamp_seconds", [], Unit::UnixSeconds,
        "When the last sweep ended in which every step worked. 0: none yet.",
    );
    sweep_interval: Gauges<()> = Family::new(
        "sessgate_sweep_interval_seconds", [], Unit::Seconds,
        "Time between two sweeps: lifetimes.sweep_interval.",
    );
    config_successful: Gauges<()> = Family::new(
        "sessgate_config_last_reload_successful", [], Unit::Flag,
        "Whether the configuration file, as last read, was taken. 0: an older one is still in force.",
    );
    config_success_timestamp: Gauges<()> = Family::new(
        "sessgate_config_last_reload_success_timestamp_seconds", [], Unit::UnixSeconds,
        "When the configuration in force was read.",
    );
    config_hash: Gauges<()> = Family::new(
        "sessgate_config_hash", [], Unit::Opaque,
        "48 bits of a hash of all keys in force that change live: replicas that differ follow different limits.",
    );
    config_reloads: Counters<(Outcome, ReloadTrigger)> = Family::new(
        "sessgate_config_reloads_total", ["result", "trigger"], Unit::Count("reloads"),
        "Attempts to reload the configuration, by whether it was taken and what caused them.",
    );
    hook_deliveries: Counters<HookResult> = Family::new(
        "sessgate_hook_deliveries_total", ["result"], Unit::Count("attempts"),
        "Attempts to tell the app that a session ended: delivered, to be tried again, or given up.",
    );
    hook_queue: Gauges<()> = Family::new(
        "sessgate_hook_queue_length", [], Unit::Count("notices"),
        "Notices of ended sessions that wait for delivery.",
    );
    hook_duration: Histograms<HookResult> = Family::new(
        "sessgate_hook_delivery_duration_seconds", ["result"], Unit::Seconds,
        "Time an attempt to deliver a notice took.",
    ).buckets(HOOK);
    late_saves: Counters<()> = Family::new(
        "sessgate_late_saves_total", [], Unit::Count("saves"),
        "Saves of a session that had ended less than redis_door.tombstone ago: dropped, so that it stays ended.",
    );
    unknown_values: Counters<()> = Family::new(
        "sessgate_unknown_values_total", [], Unit::Count("saves"),
        "Saves of sessions whose value could not be read, so that their user is not known and no user's limit counts them.",
    );
    leases_held: Gauges<()> = Family::new(
        "sessgate_leases_held", [], Unit::Count("leases"),
        "Leases that are held now, of all users.",
    );
    lease_requests: Counters<LeaseResult> = Family::new(
        "sessgate_lease_requests_total", ["result"], Unit::Count("leases"),
        "Leases given and refused, and leases that ended by their ttl because nobody gave them back.",
    );
    connections: Gauges<Door> = Family::new(
        "sessgate_connections", ["door"], Unit::Count("connections"),
        "Client connections open now.",
    );
    requests: Counters<(Door, RequestOutcome)> = Family::new(
        "sessgate_requests_total", ["door", "outcome"], Unit::Count("requests"),
        "Requests answered. refused: the request was at fault, or met a limit; failed: the sidecar or its store was.",
    );
    build_info: Gauges<()> = Family::new(
        "sessgate_build_info", [], Unit::Flag,
        "Always 1; the labels say what is running.",
    ).fixed(&[Fixed::Version, Fixed::Revision, Fixed::Store]);
}
