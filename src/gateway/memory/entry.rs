//! A session in memory, and its clocks.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use crate::clock::Timestamp;
use crate::session::{Content, Session, StoredSession};

/// What an entry takes beside its data: the entry itself, its slot and index in the cache, its place in the timers.
const OVERHEAD: u64 = 256;

/// A session in memory.
///
/// With its reference counts it fills two cache lines.
#[repr(C)]
pub struct Entry {
    pub(super) last_activity: AtomicI64,
    saved_activity: AtomicI64,
    /// In units of [`WEIGHT_UNIT`](super::WEIGHT_UNIT).
    pub(super) weight: AtomicU32,
    pub(super) stale: AtomicBool,
    /// What the session's data is.
    pub content: Content,
    /// The session.
    pub session: Session,
    /// When its timer rings; a timer with any other time is a left-over of an earlier stay.
    pub(super) timer: AtomicI64,
}

/// A larger entry costs every look-up another cache line, and memory.
const _: () = assert!(size_of::<Entry>() + 2 * size_of::<usize>() <= 128);

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.session.fmt(f)
    }
}

impl Entry {
    /// Wraps a session as the store has it.
    #[must_use]
    pub fn of(stored: StoredSession) -> Self {
        let StoredSession { session, last_activity, content, .. } = stored;
        Self {
            last_activity: AtomicI64::new(last_activity.as_millis()),
            saved_activity: AtomicI64::new(last_activity.as_millis()),
            weight: AtomicU32::new(0),
            stale: AtomicBool::new(false),
            content,
            session,
            timer: AtomicI64::new(0),
        }
    }

    /// Its last use.
    #[must_use]
    pub fn last_activity(&self) -> Timestamp {
        Timestamp::from_millis(self.last_activity.load(Ordering::Relaxed))
    }

    /// Notes a use at `now`. True if that is to be saved: the last save is `interval` milliseconds old.
    pub(in crate::gateway) fn touch(&self, now: Timestamp, interval: i64) -> bool {
        let now = now.as_millis();
        if self.last_activity.load(Ordering::Relaxed) < now {
            self.last_activity.fetch_max(now, Ordering::Relaxed);
        }
        let saved = self.saved_activity.load(Ordering::Relaxed);
        // Wraps around for no time there is. Of several that see the same old save, one claims the next.
        now.wrapping_sub(saved) >= interval
            && self.saved_activity.compare_exchange(saved, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether its last use is newer than what was saved, or queued to be.
    pub(super) fn is_unsaved(&self) -> bool {
        self.last_activity.load(Ordering::Relaxed) > self.saved_activity.load(Ordering::Relaxed)
    }

    /// Takes back the claim of [`touch`](Self::touch): nobody sees to the save.
    pub(in crate::gateway) fn unsaved(&self) {
        self.saved_activity.store(i64::MIN / 2, Ordering::Relaxed);
    }

    /// The store has its activity up to `at`.
    pub(in crate::gateway) fn saved(&self, at: Timestamp) {
        self.saved_activity.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let user = self.session.user.as_ref().map_or(0, |user| user.as_str().len());
        OVERHEAD + (self.session.data.len() + user) as u64
    }
}
