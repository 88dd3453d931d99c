//! How long a look-up in memory takes, at next to no cost.

use std::cell::Cell;
use std::time::Instant;

/// One look-up in so many is timed, on each thread.
const EVERY: u32 = 128;
/// What took longer, in nanoseconds, is no ordinary hit: something was in its way, and may be in that of others.
const ORDINARY: u64 = 50_000;

thread_local!(static LAST: Cell<Last> = const { Cell::new(Last { took: 0, repeats: 0 }) });

#[derive(Clone, Copy)]
struct Last {
    /// What the last one timed took, in nanoseconds.
    took: u64,
    /// How many more are taken to last as long.
    repeats: u32,
}

/// Times one look-up in [`EVERY`]; each of the others is taken to last as long as the last one timed. One that was not
/// [`ORDINARY`] stands for itself alone, and the next is timed as well: so while something is slow, all are timed, and
/// one hiccup is not counted a hundred times.
///
/// A reading of the exact clock waits for all memory accesses before it, and thus costs more than the look-up that it
/// would time.
#[must_use]
pub(super) struct Stopwatch(Option<Instant>);

impl Stopwatch {
    /// Starts it.
    #[inline]
    pub(super) fn start() -> Self {
        Self((LAST.get().repeats == 0).then(Instant::now))
    }

    /// Stops it, and says how long it ran in nanoseconds. A watch that is dropped instead leaves its turn to the next.
    #[inline]
    pub(super) fn stop(self) -> u64 {
        let last = if let Some(started) = self.0 {
            Last::timed(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
        } else {
            let Last { took, repeats } = LAST.get();
            Last { took, repeats: repeats.saturating_sub(1) }
        };
        LAST.set(last);
        last.took
    }
}

impl Last {
    fn timed(took: u64) -> Self {
        Self { took, repeats: if took <= ORDINARY { EVERY - 1 } else { 0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests may share a thread.
    fn start_over() {
        LAST.set(Last { took: 0, repeats: 0 });
    }

    #[test]
    fn after_an_ordinary_one_the_next_repeat_it_and_after_a_slow_one_none() {
        for (took, repeats) in [(0, EVERY - 1), (ORDINARY, EVERY - 1), (2 * ORDINARY, 0)] {
            LAST.set(Last::timed(took));
            for turn in 0..repeats {
                let watch = Stopwatch::start();
                assert!(watch.0.is_none(), "{turn} after {took:?}");
                assert_eq!(watch.stop(), took);
            }
            let watch = Stopwatch::start();
            assert!(watch.0.is_some(), "the one after {repeats} is timed");
            let _ = watch.stop();
        }
    }

    #[test]
    fn a_dropped_watch_leaves_its_turn_to_the_next() {
        start_over();
        drop(Stopwatch::start());
        let watch = Stopwatch::start();
        assert!(watch.0.is_some());
        let _ = watch.stop();
    }
}
