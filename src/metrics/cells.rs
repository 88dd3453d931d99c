//! Counters that many threads add to at once.
//!
//! Each thread adds to a copy of its own, so that event loops do not fight for a cache line: an addition is one
//! uncontended atomic instruction, whatever the number of loops. A reader adds the copies up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Copies. Threads beyond this number share one, which costs time but never a count.
const SHARDS: usize = 8;
/// Counters in a [`Line`].
const LINE: usize = 16;

/// As much as processors fetch at once: two cache lines of 64 bytes on x86, one of 128 on some ARM.
#[derive(Default)]
#[repr(align(128))]
struct Line([AtomicU64; LINE]);

/// A row of counters, from 0.
pub(super) struct Cells {
    shards: [Box<[Line]>; SHARDS],
}

impl Cells {
    /// `len` counters.
    pub(super) fn new(len: usize) -> Self {
        Self { shards: std::array::from_fn(|_| (0..len.div_ceil(LINE)).map(|_| Line::default()).collect()) }
    }

    /// This thread's copy.
    pub(super) fn mine(&self) -> Mine<'_> {
        Mine(&self.shards[shard()])
    }

    /// The counter's value. It never goes down, but counters read one after the other are of different moments.
    pub(super) fn read(&self, cell: usize) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard[cell / LINE].0[cell % LINE].load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

/// One thread's copy of the counters.
#[derive(Clone, Copy)]
pub(super) struct Mine<'c>(&'c [Line]);

impl Mine<'_> {
    /// Adds `n` to a counter.
    pub(super) fn add(self, cell: usize, n: u64) {
        self.0[cell / LINE].0[cell % LINE].fetch_add(n, Ordering::Relaxed);
    }
}

/// The copy that the current thread adds to: threads take turns in the order in which they first count.
///
/// The turn is the process's, like the threads themselves: it only spreads them, and no figure depends on it.
fn shard() -> usize {
    const UNSET: usize = usize::MAX;
    static TURN: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: Cell<usize> = const { Cell::new(UNSET) });
    SHARD.with(|shard| {
        if shard.get() == UNSET {
            shard.set(TURN.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_with_more_threads_than_copies() {
        let cells = Cells::new(LINE + 2);
        std::thread::scope(|scope| {
            for _ in 0..SHARDS * 2 {
                scope.spawn(|| (0..1_000).for_each(|_| cells.mine().add(LINE + 1, 2)));
            }
        });
        assert_eq!(cells.read(LINE + 1), SHARDS as u64 * 2 * 1_000 * 2);
        assert_eq!(cells.read(LINE), 0);
    }
}
