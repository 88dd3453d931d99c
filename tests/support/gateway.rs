//! A gateway to test against, on a clock that stands until it is moved.

use std::sync::Arc;

use sessgate::clock::{Clock, ManualClock, Timestamp};
use sessgate::config::settings::{Limits, Settings};
use sessgate::gateway::{Gateway, Parts};
use sessgate::metrics::labels::{Label, RequestOutcome};
use sessgate::metrics::{BuildInfo, Metrics};
use sessgate::session::OsGenerator;
use sessgate::store::Store;

use super::stores::{self, Opened};

/// When every test begins.
pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A gateway, its clock and what it counts.
pub struct TestGateway {
    pub gateway: Arc<Gateway>,
    pub clock: Arc<ManualClock>,
    pub metrics: Arc<Metrics>,
    pub store: Arc<dyn Store>,
    _opened: Opened,
}

impl TestGateway {
    /// With the documented defaults.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With the documented defaults changed by `change`, on an embedded store of its own.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        Self::on(settings, stores::embedded())
    }

    /// With these settings on that store.
    pub fn on(settings: Settings, opened: Opened) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let build = BuildInfo { version: "test", revision: "test", store: opened.kind() };
        let metrics = Arc::new(Metrics::new(&build));
        let gateway = Gateway::new(Parts {
            settings: Arc::new(settings),
            store: Arc::clone(&opened.store),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            generator: Arc::new(OsGenerator),
            metrics: Arc::clone(&metrics),
        });
        Self { gateway, clock, metrics, store: Arc::clone(&opened.store), _opened: opened }
    }

    /// Empties memory; the store keeps everything.
    pub fn forget(&self) {
        let before = Arc::clone(&self.gateway.settings());
        let mut settings = Settings::clone(&before);
        // No entry is as small as that.
        (settings.limits.memory_sessions, settings.limits.memory_bytes) = (1, 1);
        self.gateway.apply(&Arc::new(settings));
        self.gateway.apply(&before);
    }

    /// Changes limits in force, as a reload does.
    pub fn reload_limits(&self, change: impl FnOnce(&mut Limits)) {
        let mut settings = Settings::clone(&self.gateway.settings());
        change(&mut settings.limits);
        self.gateway.apply(&Arc::new(settings));
    }

    /// Connections that the API door counts.
    pub fn connections(&self) -> i64 {
        self.figure("sessgate_connections{door=\"api\"}")
    }

    /// Requests that the API door has counted.
    pub fn requests(&self, outcome: RequestOutcome) -> i64 {
        self.figure(&format!("sessgate_requests_total{{door=\"api\",outcome=\"{}\"}}", outcome.as_str()))
    }

    /// What a series of the metrics says.
    pub fn figure(&self, series: &str) -> i64 {
        let text = self.metrics.encode().unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.unwrap_or_else(|| panic!("no {series} in\n{text}")).trim().parse().unwrap()
    }

    /// From now on the store is unavailable, and memory is empty. Not to be called from async code.
    pub fn break_store(&self) {
        self.forget();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.store.close());
    }
}
