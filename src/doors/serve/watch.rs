//! Time limits of connections, without a timer for each.
//!
//! A connection notes in a cell by which tick something has to happen. Its event loop looks at all the cells once a
//! tick, and wakes those that are due. So a request costs two stores where a timer would cost a heap operation, and
//! the price is precision: a limit acts up to two ticks late.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

/// No limit runs.
const NEVER: u64 = u64::MAX;

/// A time limit, in ticks of the loop it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks(u64);

/// What a connection is doing, as far as its time is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a request.
    Idle,
    /// A request's head has begun.
    Head,
    /// A request is being answered. The gateway has time limits of its own.
    Busy,
    /// The client is to take an answer.
    Writing,
    /// It is closing.
    Closing,
}

/// The clock hand of an event loop, and all that it watches.
#[derive(Debug)]
pub struct Watches {
    now: Cell<u64>,
    tick: Duration,
    draining: Cell<bool>,
    all: RefCell<Vec<Rc<Watch>>>,
}

#[derive(Debug)]
struct Watch {
    phase: Cell<Phase>,
    due: Cell<u64>,
    is_due: Cell<bool>,
    place: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// A connection that is watched until this is dropped.
#[derive(Debug)]
pub struct Watched {
    watch: Rc<Watch>,
    watches: Rc<Watches>,
}

/// Wakes a connection.
#[derive(Debug)]
pub struct Alarm(Rc<Watch>);

impl Alarm {
    /// Has it polled soon.
    pub fn ring(&self) {
        self.0.wake();
    }
}

impl Watches {
    /// Watches with a precision of `tick`.
    #[must_use]
    pub fn new(tick: Duration) -> Self {
        Self { now: Cell::new(0), tick, draining: Cell::new(false), all: RefCell::default() }
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.borrow().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The precision.
    #[must_use]
    pub fn tick_length(&self) -> Duration {
        self.tick
    }

    /// Whether connections should come to an end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Starts to watch a connection.
    #[must_use]
    pub fn add(self: &Rc<Self>) -> Watched {
        let mut all = self.all.borrow_mut();
        let watch = Rc::new(Watch {
            phase: Cell::new(Phase::Idle),
            due: Cell::new(NEVER),
            is_due: Cell::new(false),
            place: Cell::new(all.len()),
            waker: RefCell::new(None),
        });
        all.push(Rc::clone(&watch));
        Watched { watch, watches: Rc::clone(self) }
    }

    /// One tick has passed: wakes the connections that are due.
    pub fn tick(&self) {
        let now = self.now.get() + 1;
        self.now.set(now);
        for watch in self.all.borrow().iter() {
            if watch.due.get() <= now {
                watch.due.set(NEVER);
                watch.is_due.set(true);
                watch.wake();
            }
        }
    }

    /// From now on connections come to an end; those that wait for a request do within `linger`.
    pub fn drain(&self, linger: Ticks) {
        self.draining.set(true);
        let due = self.now.get() + linger.0;
        for watch in self.all.borrow().iter() {
            if watch.phase.get() == Phase::Idle {
                watch.due.set(due.min(watch.due.get()));
            }
        }
    }

    /// `limit` in ticks: never less, and at most two more.
    #[must_use]
    pub fn ticks(&self, limit: Duration) -> Ticks {
        let ticks = limit.as_nanos().div_ceil(self.tick.as_nanos().max(1)) + 1;
        // Half of all ticks is for ever, and leaves room to add to.
        Ticks(u64::try_from(ticks).unwrap_or(NEVER).min(NEVER / 2))
    }
}

impl Watch {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Watched {
    /// What the connection is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.watch.phase.get()
    }

    /// The connection enters a phase that may last so long; `None`: any time.
    pub fn enter(&self, phase: Phase, limit: Option<Ticks>) {
        self.watch.phase.set(phase);
        self.watch.is_due.set(false);
        self.watch.due.set(limit.map_or(NEVER, |limit| self.watches.now.get() + limit.0));
    }

    /// Whether connections should come to an end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.watches.is_draining()
    }

    /// Whether the phase has lasted too long.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.watch.is_due.get()
    }

    /// What wakes it from elsewhere.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        Alarm(Rc::clone(&self.watch))
    }

    /// The task to wake when the phase has lasted too long.
    pub fn register(&self, waker: &Waker) {
        let mut known = self.watch.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut all = self.watches.all.borrow_mut();
        let place = self.watch.place.get();
        all.swap_remove(place);
        if let Some(moved) = all.get(place) {
            moved.place.set(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_acts_not_before_its_time_and_at_most_two_ticks_late() {
        let watches = Rc::new(Watches::new(Duration::from_millis(10)));
        let one = watches.add();
        one.enter(Phase::Head, Some(watches.ticks(Duration::from_millis(45))));
        for _ in 0..5 {
            watches.tick();
            assert!(!one.is_due());
        }
        watches.tick();
        assert!(one.is_due());
        one.enter(Phase::Busy, None);
        assert!(!one.is_due());
    }

    #[test]
    fn draining_hurries_only_those_that_wait_for_a_request() {
        let watches = Rc::new(Watches::new(Duration::from_millis(10)));
        let (idle, busy) = (watches.add(), watches.add());
        idle.enter(Phase::Idle, Some(watches.ticks(Duration::from_secs(60))));
        busy.enter(Phase::Busy, None);
        watches.drain(watches.ticks(Duration::from_millis(10)));
        watches.tick();
        watches.tick();
        assert!(idle.is_due() && !busy.is_due());
    }

    #[test]
    fn the_others_are_found_after_one_has_gone() {
        let watches = Rc::new(Watches::new(Duration::from_millis(10)));
        let mut left: Vec<_> = (0..5).map(|_| watches.add()).collect();
        for at in [1, 0, 2, 0, 0] {
            drop(left.swap_remove(at));
            assert_eq!(watches.len(), left.len());
            assert!(left.iter().all(|one| Rc::ptr_eq(&watches.all.borrow()[one.watch.place.get()], &one.watch)));
        }
    }
}
