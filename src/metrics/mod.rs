//! What an operator sees: the catalogue of metrics, and the only code that may name one.

pub mod labels;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use labels::{Door, RequestOutcome};

/// Stand-in, replaced on merge.
#[derive(Debug, Default)]
pub struct Metrics {
    connections: Arc<AtomicI64>,
    requests: [AtomicU64; 3],
}

/// Counts a connection as open while it lives.
#[derive(Debug)]
pub struct ConnectionGuard(Arc<AtomicI64>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[allow(missing_docs)]
impl Metrics {
    pub fn connection_opened(&self, _door: Door) -> ConnectionGuard {
        self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(Arc::clone(&self.connections))
    }

    pub fn request(&self, _door: Door, outcome: RequestOutcome) {
        self.requests[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn connections(&self) -> i64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn requests(&self, outcome: RequestOutcome) -> u64 {
        self.requests[outcome as usize].load(Ordering::Relaxed)
    }
}
