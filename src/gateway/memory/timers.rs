//! When to look at which entry: one timer each, which rings at its next clock.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;

use quick_cache::Equivalent;

use super::{Entry, MemoryRules};
use crate::clock::Timestamp;
use crate::session::SessionKey;

/// Buckets that the time until a timer is due is cut into: a timer rings late by at most that part of its delay.
const TIMER_PRECISION: i64 = 64;

/// Keys by the time at which their entry is to be looked at.
pub(super) struct Timers {
    pub(super) rules: MemoryRules,
    due: BTreeMap<i64, Vec<KeyPrefix>>,
    len: usize,
}

/// The first eight bytes of a key: enough to find its entry. Should two share them, one is looked at for the other,
/// which does no harm: what happens to it is judged by its own clocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyPrefix([u8; 8]);

impl KeyPrefix {
    pub(super) fn of(key: &SessionKey) -> Self {
        let (prefix, _) = key.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self(*prefix)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl Hash for KeyPrefix {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As `SessionKey` does it.
        state.write_u64(u64::from_le_bytes(self.0));
    }
}

impl Equivalent<SessionKey> for KeyPrefix {
    fn equivalent(&self, key: &SessionKey) -> bool {
        key.as_bytes().starts_with(&self.0)
    }
}

impl Timers {
    pub(super) fn new(rules: MemoryRules) -> Self {
        Self { rules, due: BTreeMap::new(), len: 0 }
    }

    /// How many there are, those of entries that have left among them.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.due.clear();
        self.len = 0;
    }

    /// Sets the timer of an entry to its next clock: stale first, then `memory_idle`.
    pub(super) fn set(&mut self, prefix: KeyPrefix, entry: &Entry, now: Timestamp) {
        let last = entry.last_activity();
        let next = [self.rules.stale_after, self.rules.memory_idle]
            .into_iter()
            .map(|delay| last + delay)
            .filter(|due| *due > now)
            .min()
            .unwrap_or(last + self.rules.memory_idle);
        // Rounding up to a part of the delay keeps the number of distinct times small.
        let grain = ((next.as_millis() - now.as_millis()) / TIMER_PRECISION).clamp(100, 3_600_000);
        let due = next.as_millis().div_euclid(grain).saturating_add(1).saturating_mul(grain);
        entry.timer.store(due, Ordering::Relaxed);
        self.due.entry(due).or_default().push(prefix);
        self.len += 1;
    }

    /// The next timer that is due at `now`.
    pub(super) fn ring(&mut self, now: Timestamp) -> Option<(i64, KeyPrefix, MemoryRules)> {
        let mut first = self.due.first_entry().filter(|first| *first.key() <= now.as_millis())?;
        let due = *first.key();
        let prefix = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        self.len -= usize::from(prefix.is_some());
        prefix.map(|prefix| (due, prefix, self.rules))
    }
}
