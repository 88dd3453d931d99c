//! Whether the sidecar takes requests.

use std::sync::atomic::{AtomicU8, Ordering};

/// A part of the sidecar's life. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Bound, but not serving yet.
    Starting,
    /// Serving.
    Serving,
    /// Finishing what it has; new requests should go elsewhere.
    Draining,
}

/// The phase, shared between whoever starts and stops the sidecar and the door that tells of it.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Moves on to `phase`; does nothing if it is past.
    pub fn enter(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// The phase it is in, at first [`Phase::Starting`].
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_ends_late_does_not_undo_a_stop() {
        let readiness = Readiness::default();
        let phases = [Phase::Starting, Phase::Serving, Phase::Draining, Phase::Serving].map(|phase| {
            readiness.enter(phase);
            readiness.phase()
        });
        assert_eq!(phases, [Phase::Starting, Phase::Serving, Phase::Draining, Phase::Draining]);
    }
}
