//! Activity on its way to the store: noted on the hot path, saved in batches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::gateway::memory::Entry;
use crate::session::SessionKey;

/// Touches that wait at most. One session waits once an interval, so this is that many busy sessions a flush; beyond
/// it a touch is put off to the session's next use.
const MAX_WAITING: usize = 65_536;

/// The queue.
#[derive(Default)]
pub(super) struct Touches {
    waiting: Mutex<Vec<(SessionKey, Arc<Entry>)>>,
}

impl Touches {
    /// Queues an entry whose activity is to be saved.
    pub(super) fn push(&self, key: SessionKey, entry: &Arc<Entry>) {
        let mut waiting = self.waiting();
        if waiting.len() < MAX_WAITING {
            waiting.push((key, Arc::clone(entry)));
        } else {
            drop(waiting);
            entry.unsaved();
        }
    }

    /// Takes what waits, with the newest activity of each.
    pub(super) fn take(&self) -> Vec<(SessionKey, Timestamp, Arc<Entry>)> {
        let taken = std::mem::take(&mut *self.waiting());
        taken.into_iter().map(|(key, entry)| (key, entry.last_activity(), entry)).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(SessionKey, Arc<Entry>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
