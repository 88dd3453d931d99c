//! Activity on its way to the store: noted on the hot path, saved in batches.
//!
//! An entry waits here until the store has its activity, not only until somebody has set out to save it. So what fails,
//! or is given up at a stop, is still there for the next who comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::gateway::memory::Entry;
use crate::session::SessionKey;

/// Touches of sessions in memory that wait at most. One session waits once an interval, so this is that many busy
/// sessions a flush; beyond it the next flush looks for them in memory.
const MAX_WAITING: usize = 65_536;
/// With those of sessions that have left memory, where nobody would find them.
const MAX_WITH_DEPARTED: usize = 2 * MAX_WAITING;

/// The queue. One flush at a time takes from it, by [`turn`](Self::turn).
#[derive(Default)]
pub(super) struct Touches {
    waiting: Mutex<Waiting>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    touches: VecDeque<(SessionKey, Activity)>,
    /// Entries in memory found no room here.
    some_missing: bool,
}

enum Activity {
    /// Whatever it is when it is saved.
    Of(Arc<Entry>),
    /// For those that may wait for long: it does not keep a session's data in memory.
    At(Timestamp),
}

impl Touches {
    /// Queues an entry in memory whose activity is to be saved.
    pub(super) fn push(&self, key: SessionKey, entry: &Arc<Entry>) {
        let mut waiting = self.waiting();
        if waiting.touches.len() < MAX_WAITING {
            waiting.touches.push_back((key, Activity::Of(Arc::clone(entry))));
        } else {
            entry.unsaved();
            waiting.some_missing = true;
        }
    }

    /// Queues the activity of an entry that leaves memory. If there is no room even for this, it is lost.
    pub(super) fn push_departed(&self, key: SessionKey, at: Timestamp) {
        let mut waiting = self.waiting();
        if waiting.touches.len() < MAX_WITH_DEPARTED {
            waiting.touches.push_back((key, Activity::At(at)));
        }
    }

    /// Has the next flush look into memory for what is not saved.
    pub(super) fn miss_some(&self) {
        self.waiting().some_missing = true;
    }

    /// Whether it shall; who asks does.
    pub(super) fn take_missing(&self) -> bool {
        std::mem::take(&mut self.waiting().some_missing)
    }

    /// The right to flush. Waits for the flush under way: until it is over, what it is saving is not saved.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().touches.len()
    }

    /// The first `count`, with the newest activity of each. They wait on until they are [`saved`](Self::saved).
    pub(super) fn first(&self, count: usize) -> Vec<(SessionKey, Timestamp)> {
        let newest = |(key, activity): &(SessionKey, Activity)| match activity {
            Activity::Of(entry) => (*key, entry.last_activity()),
            Activity::At(at) => (*key, *at),
        };
        self.waiting().touches.iter().take(count).map(newest).collect()
    }

    /// The first `count` are saved.
    pub(super) fn saved(&self, count: usize) {
        let saved: Vec<_> = self.waiting().touches.drain(..count).collect();
        // Sessions that are nowhere else go now, when nobody waits for the queue.
        drop(saved);
    }

    /// The first could not be saved as these: so they wait on, behind the others. Later uses come by themselves.
    pub(super) fn failed(&self, first: Vec<(SessionKey, Timestamp)>) {
        let mut waiting = self.waiting();
        let entries: Vec<_> = waiting.touches.drain(..first.len()).collect();
        waiting.touches.extend(first.into_iter().map(|(key, at)| (key, Activity::At(at))));
        drop(waiting);
        drop(entries);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Content, Session, SessionId, StoredSession};

    fn entry(n: u8) -> (SessionKey, Arc<Entry>) {
        let (key, at) = (SessionKey::from_bytes([n; 32]), Timestamp::from_millis(i64::from(n)));
        let session = Session {
            id: SessionId::from_bytes([n; 16]),
            user: None,
            created_at: at,
            idle_timeout: None,
            absolute_timeout: None,
            revision: 1,
            data: Box::default(),
        };
        (key, Arc::new(Entry::of(StoredSession { key, session, last_activity: at, content: Content::Text })))
    }

    #[test]
    fn what_fails_waits_behind_the_others() {
        let touches = Touches::default();
        for (key, entry) in (1..=3).map(entry) {
            touches.push(key, &entry);
        }
        let first = touches.first(2);
        touches.failed(first);
        let order = || touches.first(9).iter().map(|(_, at)| at.as_millis()).collect::<Vec<_>>();
        assert_eq!(order(), [3, 1, 2]);
        touches.saved(1);
        assert_eq!(order(), [1, 2]);
    }

    #[test]
    fn what_waits_for_long_keeps_no_session_in_memory() {
        let touches = Touches::default();
        let (key, entry) = entry(1);
        touches.push(key, &entry);
        assert_eq!(Arc::strong_count(&entry), 2);
        touches.failed(touches.first(1));
        assert_eq!((Arc::strong_count(&entry), touches.len()), (1, 1));
    }

    #[test]
    fn the_queue_is_bounded_and_knows_what_it_misses() {
        let touches = Touches::default();
        let (key, entry) = entry(1);
        for _ in 0..MAX_WAITING {
            touches.push(key, &entry);
        }
        assert!(!touches.take_missing());
        touches.push(key, &entry);
        assert_eq!(touches.len(), MAX_WAITING);
        assert!(touches.take_missing() && !touches.take_missing());
        for _ in 0..=MAX_WAITING {
            touches.push_departed(key, entry.last_activity());
        }
        assert_eq!(touches.len(), MAX_WITH_DEPARTED);
    }
}
