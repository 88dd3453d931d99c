//! A bounded queue between callers, who never wait, and threads, who do.
//!
//! Channels of the standard library have one consumer and no bound that refuses; those of tokio cannot wait with a
//! deadline on a plain thread. Both are needed here, so this is a mutex, a condition variable and a deque.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A first-in, first-out queue that refuses instead of growing.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    capacity: usize,
}

struct State<T> {
    items: VecDeque<T>,
    open: bool,
}

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many wait as may.
    Full,
    /// Nobody will come for it any more.
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { state: Mutex::new(State { items: VecDeque::new(), open: true }), filled: Condvar::new(), capacity }
    }

    /// Adds an item, without waiting.
    pub(super) fn push(&self, item: T) -> Result<(), Refused> {
        let mut state = self.lock();
        if !state.open {
            return Err(Refused::Closed);
        }
        if state.items.len() >= self.capacity {
            return Err(Refused::Full);
        }
        state.items.push_back(item);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for an item; `None` once the queue is closed and empty.
    pub(super) fn pop(&self) -> Option<T> {
        let state = self.lock();
        let mut state = self
            .filled
            .wait_while(state, |state| state.items.is_empty() && state.open)
            .unwrap_or_else(PoisonError::into_inner);
        state.items.pop_front()
    }

    /// Takes an item that is there.
    pub(super) fn pop_now(&self) -> Option<T> {
        self.lock().items.pop_front()
    }

    /// Waits for an item until `deadline`.
    pub(super) fn pop_until(&self, deadline: Instant) -> Option<T> {
        let state = self.lock();
        let left = deadline.saturating_duration_since(Instant::now());
        let (mut state, _) = self
            .filled
            .wait_timeout_while(state, left, |state| state.items.is_empty() && state.open)
            .unwrap_or_else(PoisonError::into_inner);
        state.items.pop_front()
    }

    /// How many items wait.
    pub(super) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Takes no more items. Those that wait are still handed out.
    pub(super) fn close(&self) {
        self.lock().open = false;
        self.filled.notify_all();
    }

    /// A panic cannot leave the deque half changed, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a queue when the thread that serves it ends, by a panic too, and drops what nobody will come for.
pub(super) struct CloseOnExit<'q, T>(pub(super) &'q Queue<T>);

impl<T> Drop for CloseOnExit<'_, T> {
    fn drop(&mut self) {
        self.0.close();
        while self.0.pop_now().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_beyond_its_bound_and_after_it_was_closed() {
        let queue = Queue::new(2);
        assert_eq!([queue.push(1), queue.push(2), queue.push(3)], [Ok(()), Ok(()), Err(Refused::Full)]);
        queue.close();
        assert_eq!(queue.push(4), Err(Refused::Closed));
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(1), Some(2), None]);
    }

    #[test]
    fn a_waiting_thread_gets_what_comes_and_hears_of_the_end() {
        let queue = Queue::new(2);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (queue.pop(), queue.pop()));
            queue.push(1).unwrap();
            queue.close();
            assert_eq!(waiting.join().unwrap(), (Some(1), None));
        });
    }

    #[test]
    fn the_end_of_its_thread_closes_it_and_drops_what_waits() {
        let queue = Queue::new(2);
        let item = std::sync::Arc::new(());
        queue.push(item.clone()).unwrap();
        drop(CloseOnExit(&queue));
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
        assert_eq!(queue.push(item), Err(Refused::Closed));
    }
}
