//! Counters that many threads add to at once.
//!
//! A thread adds to a copy of its own, so that event loops do not fight for a cache line, and an addition is a plain
//! load and store: a locked instruction would keep the processor from starting on the next look-up. A reader adds the
//! copies up. A copy is lent to one thread at a time, until that thread ends.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Copies that are lent to a thread each. Beyond so many threads the rest share one more, which costs them time but
/// never a count. A sidecar on 8 cores has 8 event loops and a dozen threads that count rarely.
const OWNED: usize = 24;
/// The copy of those that own none.
pub(super) const SHARED: usize = OWNED;
/// Unused counters at either end of a copy, so that it shares nothing with its neighbours in memory of what processors
/// fetch at once: two cache lines of 64 bytes on x86, one of 128 on some ARM.
const MARGIN: usize = 16;

/// A row of counters, from 0.
pub(super) struct Cells {
    copies: [Box<[AtomicU64]>; OWNED + 1],
}

impl Cells {
    /// `len` counters.
    pub(super) fn new(len: usize) -> Self {
        Self { copies: std::array::from_fn(|_| (0..len + 2 * MARGIN).map(|_| AtomicU64::new(0)).collect()) }
    }

    /// This thread's copy.
    #[inline]
    pub(super) fn mine(&self) -> Mine<'_> {
        let copy = copy();
        Mine { cells: &self.copies[copy], owned: copy != SHARED }
    }

    /// The counter's value. It never goes down, but counters read one after the other are of different moments.
    pub(super) fn read(&self, cell: usize) -> u64 {
        self.copies.iter().map(|copy| copy[MARGIN + cell].load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

/// One thread's copy of the counters.
#[derive(Clone, Copy)]
pub(super) struct Mine<'c> {
    cells: &'c [AtomicU64],
    owned: bool,
}

impl Mine<'_> {
    /// Adds `n` to a counter.
    #[inline]
    pub(super) fn add(self, cell: usize, n: u64) {
        let counter = &self.cells[MARGIN + cell];
        if self.owned {
            // Nobody else writes here.
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        } else {
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }
}

/// Which copies are lent, a bit each. The loan is the process's, like the threads themselves, and no figure depends
/// on it.
static LENT: AtomicU32 = AtomicU32::new(0);

const _: () = assert!(OWNED <= u32::BITS as usize);

thread_local! {
    /// The current thread's copy, without a destructor so that it is fast to read.
    static COPY: Cell<usize> = const { Cell::new(UNSET) };
    static LOAN: Loan = Loan::take(&LENT);
}

const UNSET: usize = usize::MAX;

/// The copy that the current thread adds to: its own, or [`SHARED`].
#[inline]
pub(super) fn copy() -> usize {
    match COPY.get() {
        UNSET => borrow(),
        copy => copy,
    }
}

#[cold]
fn borrow() -> usize {
    // A thread that is ending has no loans any more.
    let copy = LOAN.try_with(|loan| loan.copy).unwrap_or(SHARED);
    COPY.set(copy);
    copy
}

/// A thread's right to a copy, while it lives.
struct Loan {
    lent: &'static AtomicU32,
    copy: usize,
}

impl Loan {
    fn take(lent: &'static AtomicU32) -> Self {
        let lowest_free = |lent: u32| ((lent.trailing_ones() as usize) < OWNED).then(|| lent | (lent + 1));
        // Acquires what the copy's last owner has counted.
        let before = lent.fetch_update(Ordering::Acquire, Ordering::Relaxed, lowest_free);
        Self { lent, copy: before.map_or(SHARED, |lent| lent.trailing_ones() as usize) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if self.copy != SHARED {
            self.lent.fetch_and(!(1 << self.copy), Ordering::Release);
        }
        // What this thread counts from now on goes where all may count.
        COPY.set(SHARED);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn nothing_is_lost_with_more_threads_than_copies() {
        const THREADS: usize = OWNED * 2;
        let (cells, all_here) = (Cells::new(2), Barrier::new(THREADS));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    cells.mine().add(1, 2);
                    all_here.wait();
                    (1..1_000).for_each(|_| cells.mine().add(1, 2));
                });
            }
        });
        assert_eq!(cells.read(1), THREADS as u64 * 2 * 1_000);
        assert_eq!(cells.read(0), 0);
    }

    #[test]
    fn a_copy_is_lent_to_one_thread_at_a_time_and_comes_back() {
        // In a thread of its own: a loan that ends takes the thread's copy away.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                static LENT: AtomicU32 = AtomicU32::new(0);
                let mut loans: Vec<_> = (0..OWNED + 2).map(|_| Loan::take(&LENT)).collect();
                let copies = loans.iter().map(|loan| loan.copy);
                assert!(copies.eq((0..OWNED).chain([SHARED, SHARED])));
                drop(loans.pop());
                drop(loans.remove(5));
                assert_eq!(Loan::take(&LENT).copy, 5);
                drop(loans);
                assert_eq!(LENT.load(Ordering::Relaxed), 0);
            });
        });
    }
}
