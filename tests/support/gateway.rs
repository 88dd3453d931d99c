//! A gateway to test against.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sessgate::clock::{ManualClock, Timestamp};
use sessgate::config::settings::{
    Address, CreationRate, Hooks, LeaseLimits, LifetimeSettings, Limits, Listen, Log, LogFormat, LogLevel, Settings,
    StoreSettings, TopUserLabel, TopUsers,
};
use sessgate::gateway::Gateway;
use sessgate::metrics::Metrics;
use sessgate::metrics::labels::RequestOutcome;
use sessgate::session::{Capacity, Lifetimes, OnExcess, UserLimits};

/// When every test begins.
pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A gateway, its clock and what it counts.
pub struct TestGateway {
    pub gateway: Arc<Gateway>,
    pub clock: Arc<ManualClock>,
    pub metrics: Arc<Metrics>,
}

impl TestGateway {
    /// With the defaults of the contract.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With the defaults changed by `change`.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = defaults();
        change(&mut settings);
        let clock = Arc::new(ManualClock::at(START));
        let metrics = Arc::new(Metrics::default());
        let gateway = Gateway::stand_in(settings, Arc::clone(&clock) as _);
        Self { gateway, clock, metrics }
    }

    /// Connections that are open.
    pub fn connections(&self) -> i64 {
        self.metrics.connections()
    }

    /// Requests that ended so.
    pub fn requests(&self, outcome: RequestOutcome) -> u64 {
        self.metrics.requests(outcome)
    }

    /// Empties the memory tier.
    pub fn forget(&self) {
        self.gateway.forget();
    }

    /// From now on the store is unavailable, and memory is empty.
    pub fn break_store(&self) {
        self.gateway.break_store();
    }
}

/// The defaults of the contract.
pub fn defaults() -> Settings {
    let loopback = || Address::Tcp(([127, 0, 0, 1], 0).into());
    Settings {
        listen: Listen { api: loopback(), admin: loopback(), api_key: None, event_loops: 1 },
        store: StoreSettings::Embedded { path: "data".into() },
        lifetimes: LifetimeSettings {
            clocks: Lifetimes {
                idle_timeout: Duration::from_secs(90 * 86_400),
                absolute_timeout: None,
                stale_after: Duration::from_secs(25 * 60),
            },
            close_stale: false,
            memory_idle: Duration::from_secs(30 * 86_400),
            sweep_interval: Duration::from_secs(300),
        },
        limits: Limits {
            memory_sessions: 50_000,
            memory_bytes: 256 << 20,
            stored: Capacity { sessions: None, bytes: Some(1 << 30) },
            session_bytes: 64 << 10,
            per_user: UserLimits { sessions: Some(10), on_excess: OnExcess::EvictOldest, overrides: HashMap::new() },
            creation_per_ip: Some(CreationRate { count: 10, per: Duration::from_secs(3_600), ipv6_prefix: 64 }),
            leases: LeaseLimits {
                per_user: Some(3),
                ttl: Duration::from_secs(300),
                tracked_users: 50_000,
                track_for: Duration::from_secs(86_400),
            },
        },
        hooks: Hooks { session_closed: None },
        top_users: TopUsers { count: 10, label: TopUserLabel::Hash },
        log: Log { level: LogLevel::Info, format: LogFormat::Text },
    }
}
