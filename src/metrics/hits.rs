//! Counts and times the look-ups that memory answers, at next to no cost: one addition each.
//!
//! A reading of the exact clock waits for all memory accesses before it, and thus costs more than the look-up that it
//! would time. So one hit in [`EVERY`] is timed, on each thread, and those after it are taken to last as long: a *run*.
//! A hit adds one to its thread's run; only when the next one is timed does the run go to its bucket. A scrape counts
//! the runs under way in, so that no hit is ever missing from it.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cells::{SHARED, copy};

/// The longest run, but for what several look-ups made together add to it.
const EVERY: u64 = 128;
/// What took longer, in nanoseconds, is no ordinary hit. It stands for itself alone and the next is timed as well: while
/// something is slow all are timed, and one hiccup is not counted a hundred times.
const ORDINARY: u64 = 50_000;
/// Buckets that there is room for, the unbounded one included.
const BUCKETS: usize = 16;
/// How often a scrape looks at a block that is being changed. A change lasts a few nanoseconds, unless its thread is held
/// up in the middle of it: then what the last scrape saw has to do.
const LOOKS: u32 = 10_000;

/// The histogram of the hits in memory.
pub struct HitMeter {
    bounds: &'static [u64],
    /// One a thread that owns a copy of the counters, and the one of all other threads.
    blocks: Box<[Block; SHARED + 1]>,
    /// What the last reading saw in each of them.
    seen: Mutex<Box<[Seen; SHARED + 1]>>,
}

/// What is in a block at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    hits: Hits,
    run: u64,
    took: u64,
}

/// What one thread has counted. As large as what processors fetch at once, so that no thread disturbs another.
#[derive(Default)]
#[repr(align(128))]
struct Block {
    /// Hits since the last one timed, itself included; 0: the next is to be timed.
    run: AtomicU64,
    /// What each of them took, in nanoseconds.
    took: AtomicU64,
    /// Odd while a run goes to its bucket, and different afterwards (a sequence lock).
    changes: AtomicU64,
    sum: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// The hits up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hits {
    /// By bucket, not cumulative.
    pub(super) buckets: [u64; BUCKETS],
    /// What all of them took, in nanoseconds.
    pub(super) sum: u64,
}

/// One look-up, timed if it is its turn. Dropped without [`hit`](Self::hit), it leaves its turn to the next.
#[must_use]
pub struct HitWatch<'m> {
    meter: &'m HitMeter,
    /// Which block counts it.
    copy: usize,
    started: Option<Instant>,
}

impl HitMeter {
    /// No hits yet. The bounds are those of the histogram's buckets, in nanoseconds.
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        assert!(bounds.len() < BUCKETS, "there are more buckets than room for them");
        Self { bounds, blocks: Box::new(std::array::from_fn(|_| Block::default())), seen: Mutex::default() }
    }

    /// A look-up begins.
    #[inline]
    pub fn start(&self) -> HitWatch<'_> {
        self.start_as(copy())
    }

    /// The same on the thread that owns a copy.
    #[inline]
    fn start_as(&self, copy: usize) -> HitWatch<'_> {
        let run = self.blocks[copy].run.load(Ordering::Relaxed);
        let due = run == 0 || run >= EVERY;
        HitWatch { meter: self, copy, started: due.then(Instant::now) }
    }

    /// All hits up to now. No figure is ever below that of an earlier reading.
    pub(super) fn read(&self) -> Hits {
        let mut all = Hits::default();
        // A panic between two blocks leaves nothing half done.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (block, seen) in self.blocks.iter().zip(seen.iter_mut()) {
            *seen = block.read().unwrap_or(*seen);
            let Seen { hits, run, took } = *seen;
            all.buckets.iter_mut().zip(hits.buckets).for_each(|(all, hits)| *all += hits);
            all.buckets[self.bucket(took)] += run;
            all.sum = all.sum.wrapping_add(hits.sum).wrapping_add(run.wrapping_mul(took));
        }
        all
    }

    fn bucket(&self, took: u64) -> usize {
        self.bounds.iter().position(|&bound| took <= bound).unwrap_or(self.bounds.len())
    }

    /// So many hits, among so many look-ups that took so long together. How long each of them took.
    #[cold]
    #[inline(never)]
    fn timed(&self, copy: usize, hits: u64, of: u64, all: u64) -> u64 {
        let took = all / of.max(1);
        if hits == 0 {
            return took;
        }
        let (block, bucket) = (&self.blocks[copy], self.bucket(took));
        if copy == SHARED {
            // Many threads add here, so there are no runs: each hit is timed.
            block.buckets[bucket].fetch_add(hits, Ordering::Relaxed);
            block.sum.fetch_add(hits.wrapping_mul(took), Ordering::Relaxed);
            return took;
        }
        let (run, before) = (block.run.load(Ordering::Relaxed), block.took.load(Ordering::Relaxed));
        block.change(|block| {
            block.add(self.bucket(before), run, before);
            let run = if all <= ORDINARY { hits } else { 0 };
            block.add(bucket, hits - run, took);
            block.run.store(run, Ordering::Relaxed);
            block.took.store(took, Ordering::Relaxed);
        });
        took
    }
}

impl HitWatch<'_> {
    /// The look-up was a hit.
    #[inline]
    pub fn hit(self) {
        self.hits(1, 1);
    }

    /// What it found was over, which is no hit. How long it took; if it is not timed, what the last one took.
    #[must_use]
    pub fn expired(self) -> Duration {
        self.hits(0, 1)
    }

    /// It was several, made together, of which so many were hits: each is taken to last as long. How long, as above.
    #[inline]
    pub fn hits(self, hits: u64, of: u64) -> Duration {
        let block = &self.meter.blocks[self.copy];
        let took = if let Some(started) = self.started {
            let all = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.meter.timed(self.copy, hits, of, all)
        } else {
            // Nobody else writes here, and the run was not over when it began.
            block.run.store(block.run.load(Ordering::Relaxed) + hits, Ordering::Relaxed);
            block.took.load(Ordering::Relaxed)
        };
        Duration::from_nanos(took)
    }
}

impl Block {
    /// Changes what a reader has to see all of, or nothing. Only by the block's own thread.
    fn change(&self, change: impl FnOnce(&Self)) {
        let changes = self.changes.load(Ordering::Relaxed);
        self.changes.store(changes.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        change(self);
        self.changes.store(changes.wrapping_add(2), Ordering::Release);
    }

    fn add(&self, bucket: usize, hits: u64, took: u64) {
        let counter = &self.buckets[bucket];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(hits), Ordering::Relaxed);
        let sum = self.sum.load(Ordering::Relaxed).wrapping_add(hits.wrapping_mul(took));
        self.sum.store(sum, Ordering::Relaxed);
    }

    /// What is in it. `None`: its thread is held up in the middle of a change.
    fn read(&self) -> Option<Seen> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for _ in 0..LOOKS {
            let changes = self.changes.load(Ordering::Acquire);
            let hits = Hits { buckets: std::array::from_fn(|at| load(&self.buckets[at])), sum: load(&self.sum) };
            let seen = Seen { hits, run: load(&self.run), took: load(&self.took) };
            fence(Ordering::Acquire);
            if changes.is_multiple_of(2) && load(&self.changes) == changes {
                return Some(seen);
            }
            std::hint::spin_loop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const BOUNDS: [u64; 3] = [100, 10_000, 1_000_000];
    /// A copy that the test owns, as the meter is its own.
    const MINE: usize = 3;

    fn total(hits: &Hits) -> u64 {
        hits.buckets.iter().sum()
    }

    #[test]
    fn after_an_ordinary_hit_the_next_repeat_it_and_after_a_slow_one_none() {
        let meter = HitMeter::new(&BOUNDS);
        for (took, repeats) in [(7, EVERY - 1), (ORDINARY, EVERY - 1), (ORDINARY + 1, 0), (8, EVERY - 1)] {
            meter.timed(MINE, 1, 1, took);
            for turn in 0..repeats {
                let watch = meter.start_as(MINE);
                assert!(watch.started.is_none(), "{turn} after {took}");
                watch.hit();
            }
            assert!(meter.start_as(MINE).started.is_some(), "the one after {repeats} is timed");
        }
        let hits = meter.read();
        assert_eq!(hits.buckets[..4], [2 * EVERY, 0, EVERY + 1, 0]);
        assert_eq!(hits.sum, EVERY * (7 + 8 + ORDINARY) + ORDINARY + 1);
    }

    #[test]
    fn a_hit_is_in_the_very_next_reading() {
        let meter = HitMeter::new(&BOUNDS);
        for count in 1..=3 * EVERY {
            meter.start_as(MINE).hit();
            assert_eq!(total(&meter.read()), count);
        }
    }

    #[test]
    fn hits_that_were_made_together_are_each_counted_and_share_the_time() {
        let meter = HitMeter::new(&BOUNDS);
        meter.timed(MINE, 16, 16, 16 * 7);
        for _ in 0..7 {
            meter.start_as(MINE).hits(16, 16);
        }
        assert!(meter.start_as(MINE).started.is_some(), "the run is over");
        assert_eq!((total(&meter.read()), meter.read().sum), (EVERY, 7 * EVERY));
        meter.timed(MINE, 3, 3, 3 * ORDINARY);
        meter.start_as(MINE).hits(0, 0);
        assert!(meter.start_as(MINE).started.is_some(), "a slow one is not repeated, and none is no hit");
        assert_eq!(total(&meter.read()), EVERY + 3);
        meter.timed(SHARED, 5, 5, 5 * 7);
        assert_eq!((total(&meter.read()), meter.read().sum), (EVERY + 8, 7 * (EVERY + 5) + 3 * ORDINARY));
    }

    #[test]
    fn what_is_no_hit_took_as_long_as_those_that_it_was_made_with_and_does_not_count() {
        let meter = HitMeter::new(&BOUNDS);
        assert_eq!(meter.timed(MINE, 1, 4, 4 * 7), 7);
        assert_eq!(meter.timed(MINE, 0, 2, 2 * 9), 9);
        assert_eq!(meter.start_as(MINE).hits(3, 5), Duration::from_nanos(7), "the hit before, not a part of it");
        assert_eq!(meter.start_as(MINE).expired(), Duration::from_nanos(7));
        assert_eq!((total(&meter.read()), meter.read().sum), (4, 4 * 7));
    }

    #[test]
    fn a_dropped_watch_leaves_its_turn_to_the_next() {
        let meter = HitMeter::new(&BOUNDS);
        drop(meter.start_as(MINE));
        assert!(meter.start_as(MINE).started.is_some());
        assert_eq!(meter.read(), Hits::default());
    }

    #[test]
    fn nothing_is_lost_by_threads_that_share_or_own_their_block() {
        const HITS: u64 = 20_000;
        let meter = HitMeter::new(&BOUNDS);
        std::thread::scope(|scope| {
            for copy in [SHARED, SHARED, SHARED, MINE] {
                let meter = &meter;
                scope.spawn(move || (0..HITS).for_each(|_| meter.start_as(copy).hit()));
            }
        });
        assert_eq!(total(&meter.read()), 4 * HITS);
    }

    #[test]
    fn a_change_that_is_held_up_holds_up_no_reading() {
        let meter = HitMeter::new(&BOUNDS);
        meter.timed(MINE, 1, 1, 7);
        let before = meter.read();
        meter.blocks[MINE].change(|block| {
            block.add(0, 1, 7);
            assert_eq!(meter.read(), before);
        });
        assert_eq!(total(&meter.read()), 2);
    }

    #[test]
    fn a_reading_sees_all_of_a_change_or_nothing() {
        const HITS: u64 = 1_000_000;
        const TOOK: u64 = 7;
        let meter = HitMeter::new(&BOUNDS);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let hits = meter.read();
                    assert_eq!(hits.sum, total(&hits) * TOOK);
                }
            });
            for hit in 0..HITS {
                if hit % 2 == 0 {
                    let _ = meter.timed(MINE, 1, 1, TOOK);
                } else {
                    meter.start_as(MINE).hit();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(total(&meter.read()), HITS);
    }
}
