//! How long a look-up in memory takes, at next to no cost.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// One look-up in so many is timed, on each thread.
const EVERY: u32 = 32;

thread_local!(static LAST: Cell<Last> = const { Cell::new(Last { took: Duration::ZERO, repeats: 0 }) });

#[derive(Clone, Copy)]
struct Last {
    /// What the last one timed took.
    took: Duration,
    /// How many more are taken to last as long.
    repeats: u32,
}

/// Times one look-up in [`EVERY`]; each of the others is taken to last as long as the last one timed.
///
/// So a histogram has every look-up in it, and the shape of a sample. A reading of the exact clock waits for all memory
/// accesses before it, and thus costs more than the look-up that it would time.
#[must_use]
pub(super) struct Stopwatch(Option<Instant>);

impl Stopwatch {
    /// Starts it.
    #[inline]
    pub(super) fn start() -> Self {
        Self((LAST.get().repeats == 0).then(Instant::now))
    }

    /// Stops it. A watch that is dropped instead leaves its turn to the next.
    #[inline]
    pub(super) fn stop(self) -> Duration {
        let last = match self.0 {
            Some(started) => Last { took: started.elapsed(), repeats: EVERY - 1 },
            None => LAST.with(|last| {
                let Last { took, repeats } = last.get();
                Last { took, repeats: repeats.saturating_sub(1) }
            }),
        };
        LAST.set(last);
        last.took
    }
}
