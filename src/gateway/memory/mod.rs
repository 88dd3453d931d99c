//! The memory tier: a bounded cache in front of the store, with the clocks of what it holds.
//!
//! Three rules make it safe to answer from:
//! - An entry is inserted only by the right to it that was taken *before* the store was read or written. A removal in
//!   between takes the right away, so a session that ended meanwhile cannot come back.
//! - A newer revision replaces an older one and never the reverse; what is not here is never inserted by a writer
//!   without that right.
//! - Whether an entry is still alive is judged by the caller on every read. Nothing here waits for a sweep.
//!
//! One capacity enforces both limits: an entry weighs its bytes, but at least `memory_bytes / memory_sessions`.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::shards::{Right, Shards};
use self::timers::{KeyPrefix, Timers};
use super::touches::Touches;
use crate::clock::Timestamp;
use crate::metrics::Metrics;
use crate::metrics::labels::MemoryEviction;
use crate::session::{SessionKey, StoredSession};

mod entry;
mod shards;
mod timers;

pub use entry::Entry;
pub use shards::TOGETHER;

/// Bytes that weigh one: so that a weight fits 32 bits, up to 64 GiB an entry.
const WEIGHT_UNIT: u64 = 16;
/// Timers that one call of [`Memory::advance`] looks at, so that it never holds up its caller for long.
const TIMERS_PER_ADVANCE: usize = 10_000;
/// Entries that a pass over all of them looks at between two pauses: a tenth of a millisecond of work.
const ENTRIES_PER_PAUSE: usize = 512;
/// The pause.
const PAUSE: Duration = Duration::from_millis(1);
/// So few timers are not worth a pass, however many of them are left over.
const FEW_TIMERS: usize = 1_024;

/// What an entry's coming and going changes.
struct Shared {
    metrics: Arc<Metrics>,
    /// The time at the last call of `advance`: good enough to say how long an evicted entry had not been used.
    about_now: AtomicI64,
    stale: AtomicI64,
    touches: Touches,
}

impl Shared {
    fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, about_now: AtomicI64::new(0), stale: AtomicI64::new(0), touches: Touches::default() }
    }

    /// An entry has left, though its session lives on: what is read from the store next shall know of its last use.
    fn made_room(&self, key: SessionKey, entry: &Entry, why: MemoryEviction) {
        self.departed(entry, why);
        if entry.is_unsaved() {
            self.touches.push_departed(key, entry.last_activity());
        }
    }

    fn departed(&self, entry: &Entry, why: MemoryEviction) {
        if entry.stale.swap(false, Ordering::Relaxed) {
            self.stale.fetch_sub(1, Ordering::Relaxed);
        }
        let about_now = Timestamp::from_millis(self.about_now.load(Ordering::Relaxed));
        self.metrics.memory_eviction(why, about_now.since(entry.last_activity()));
    }
}

/// The right to insert one entry, unless it is removed in the meantime.
pub(super) struct Reservation<'m> {
    right: Right<'m>,
    memory: &'m Memory,
    key: SessionKey,
}

impl Reservation<'_> {
    /// Inserts what the store said, unless the session was removed since the reservation was made. Whether it did.
    pub(super) fn fill(self, entry: &Arc<Entry>) -> bool {
        entry.weight.store(self.memory.weigh(entry), Ordering::Relaxed);
        let inserted = self.right.use_for(entry);
        if inserted {
            self.memory.watch(&self.key, entry);
        }
        inserted
    }

    /// Inserts what was written. If the reservation has been taken away since, another may have put there what it wrote
    /// before: that is brought up to date.
    pub(super) fn fill_written(self, entry: &Arc<Entry>) {
        let (memory, key) = (self.memory, self.key);
        if !self.fill(entry) {
            memory.bring_up(&key, entry);
        }
    }
}

/// The limits and clocks of the memory tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryRules {
    pub sessions: u64,
    pub bytes: u64,
    pub stale_after: Duration,
    pub memory_idle: Duration,
}

/// The memory tier.
pub(super) struct Memory {
    shards: Shards,
    shared: Arc<Shared>,
    /// The least that an entry weighs.
    least_weight: AtomicU32,
    timers: Mutex<Timers>,
}

impl Memory {
    pub(super) fn new(rules: MemoryRules, metrics: Arc<Metrics>) -> Self {
        let shared = Arc::new(Shared::new(metrics));
        let (least_weight, capacity) = capacity(rules, Shards::count_for(rules.sessions));
        Self {
            shards: Shards::new(rules, capacity, &shared),
            shared,
            least_weight: AtomicU32::new(least_weight),
            timers: Mutex::new(Timers::new(rules)),
        }
    }

    /// Sessions held.
    pub(super) fn len(&self) -> u64 {
        self.shards.len()
    }

    /// Sessions held that count as stale.
    pub(super) fn stale(&self) -> u64 {
        u64::try_from(self.shared.stale.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The entry under `key`, if it is here.
    pub(super) fn get(&self, key: &SessionKey) -> Option<Arc<Entry>> {
        self.shards.get(key)
    }

    /// Calls `then` with the entries under so many keys, [`TOGETHER`] at most. It runs under locks, and must be quick.
    #[inline]
    pub(super) fn get_together<T>(
        &self,
        keys: &[SessionKey],
        then: impl FnOnce(&[Option<&Arc<Entry>>; TOGETHER]) -> T,
    ) -> T {
        self.shards.get_together(keys, then)
    }

    /// When the session under `key` was last used, if it is here. No use of it.
    pub(super) fn last_activity(&self, key: &SessionKey) -> Option<Timestamp> {
        self.shards.peek(key).map(|entry| entry.last_activity())
    }

    /// The entry under `key`, or the right to insert it. Waits while another caller holds that right.
    pub(super) async fn get_or_reserve(&self, key: &SessionKey) -> Result<Arc<Entry>, Reservation<'_>> {
        self.shards.get_or_reserve(key).await.map_err(|right| Reservation { right, memory: self, key: *key })
    }

    /// Brings an entry that is here up to the given state, which the store has just confirmed.
    pub(super) fn refresh(&self, stored: &StoredSession) -> Arc<Entry> {
        let fresh = Arc::new(Entry::of(stored.clone()));
        fresh.weight.store(self.weigh(&fresh), Ordering::Relaxed);
        self.bring_up(&stored.key, &fresh);
        fresh
    }

    fn bring_up(&self, key: &SessionKey, fresh: &Arc<Entry>) {
        self.shards.replace(key, fresh, |held| {
            if held.session.revision >= fresh.session.revision {
                return false;
            }
            fresh.last_activity.fetch_max(held.last_activity.load(Ordering::Relaxed), Ordering::Relaxed);
            self.revived(held);
            // The timer of the old entry is also the new one's.
            fresh.timer.store(held.timer.load(Ordering::Relaxed), Ordering::Relaxed);
            true
        });
    }

    /// Removes an entry because its session ended, and whatever read of it is under way.
    pub(super) fn remove(&self, key: &SessionKey) {
        if let Some(entry) = self.shards.remove(key) {
            self.shared.departed(&entry, MemoryEviction::Ended);
        }
    }

    /// A use of an entry that counted as stale.
    pub(super) fn revived(&self, entry: &Entry) {
        if entry.stale.load(Ordering::Relaxed) && entry.stale.swap(false, Ordering::Relaxed) {
            self.shared.stale.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The activity that waits to be saved.
    pub(super) fn touches(&self) -> &Touches {
        &self.shared.touches
    }

    /// The sessions whose last use is neither saved nor queued to be. Costs a pass over the entries: for the end, and
    /// for when the queue cannot hold them.
    pub(super) fn unsaved(&self) -> Vec<(SessionKey, Timestamp, Arc<Entry>)> {
        let entries = self.shards.keys().filter_map(|key| Some((key, self.shards.peek(&key)?)));
        let unsaved = entries.filter(|(_, entry)| entry.is_unsaved());
        unsaved.map(|(key, entry)| (key, entry.last_activity(), entry)).collect()
    }

    /// Puts changed rules in force: weighs what is here anew, then fits it into the new capacity.
    ///
    /// Costs a pass over the entries, which an operator's change of these few keys is worth. Look-ups go on meanwhile,
    /// and the pass makes pauses for them, so it blocks its caller for a while: about 2 s a million entries.
    pub(super) fn apply(&self, rules: MemoryRules) {
        let before = std::mem::replace(&mut self.timers().rules, rules);
        if before == rules {
            return;
        }
        let (least_weight, capacity) = capacity(rules, self.shards.count());
        if self.least_weight.swap(least_weight, Ordering::Relaxed) != least_weight {
            for key in self.unhurried() {
                self.shards.weigh_anew(&key, |entry| self.weigh(entry));
            }
        }
        self.shards.set_capacity(capacity);
        if (before.stale_after, before.memory_idle) != (rules.stale_after, rules.memory_idle) {
            self.rebuild_timers();
        }
    }

    /// The keys of all entries, with a pause now and then for those who need the processor more.
    fn unhurried(&self) -> impl Iterator<Item = SessionKey> {
        self.shards.keys().enumerate().map(|(at, key)| {
            if at % ENTRIES_PER_PAUSE == ENTRIES_PER_PAUSE - 1 {
                std::thread::sleep(PAUSE);
            }
            key
        })
    }

    /// Lets time pass: notes entries that have become stale, and drops those unused for `memory_idle`.
    ///
    /// The cost follows the timers that ring, not what is held. True if more are due than one call may look at.
    pub(super) fn advance(&self, now: Timestamp) -> bool {
        self.shared.about_now.store(now.as_millis(), Ordering::Relaxed);
        self.drop_left_over_timers();
        for _ in 0..TIMERS_PER_ADVANCE {
            let Some((due, prefix, rules)) = self.timers().ring(now) else { return false };
            let Some(entry) = self.shards.peek(&prefix) else { continue };
            if entry.timer.load(Ordering::Relaxed) != due {
                continue; // left over from an earlier stay in memory
            }
            self.look_at(prefix, entry, rules, now);
        }
        true
    }

    fn look_at(&self, prefix: KeyPrefix, mut entry: Arc<Entry>, rules: MemoryRules, now: Timestamp) {
        loop {
            let idle = now.since(entry.last_activity());
            if idle >= rules.memory_idle {
                let is_idle = |held: &Arc<Entry>| now.since(held.last_activity()) >= rules.memory_idle;
                if let Some((key, entry)) = self.shards.remove_if(&prefix, is_idle) {
                    self.shared.made_room(key, &entry, MemoryEviction::MemoryIdle);
                    return;
                }
            }
            if idle >= rules.stale_after {
                if !entry.stale.swap(true, Ordering::Relaxed) {
                    self.shared.stale.fetch_add(1, Ordering::Relaxed);
                }
                // A use between the look at the clock and the mark would leave the mark on a fresh session.
                if now.since(entry.last_activity()) < rules.stale_after {
                    self.revived(&entry);
                }
            }
            self.timers().set(prefix, &entry, now);
            let held = self.shards.peek(&prefix);
            if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, &entry)) {
                return;
            }
            // It left meanwhile, and nobody else takes its mark back; what replaced it may have its timer, which has rung.
            self.revived(&entry);
            let Some(held) = held else { return };
            entry = held;
        }
    }

    fn watch(&self, key: &SessionKey, entry: &Arc<Entry>) {
        self.set_timer(key, Arc::clone(entry), entry.last_activity());
    }

    /// Sets the timer of an entry, and of whatever has replaced it meanwhile: that has taken over the timer of before.
    fn set_timer(&self, key: &SessionKey, mut entry: Arc<Entry>, now: Timestamp) {
        loop {
            self.timers().set(KeyPrefix::of(key), &entry, now);
            match self.shards.peek(key) {
                Some(held) if !Arc::ptr_eq(&held, &entry) => entry = held,
                _ => return,
            }
        }
    }

    /// Entries that were evicted leave their timers behind. When these are the most, starts over.
    fn drop_left_over_timers(&self) {
        let timers = self.timers().len();
        if timers > FEW_TIMERS && timers as u64 > 4 * self.len() {
            self.rebuild_timers();
        }
    }

    fn rebuild_timers(&self) {
        let about_now = Timestamp::from_millis(self.shared.about_now.load(Ordering::Relaxed));
        self.timers().clear();
        for key in self.shards.keys() {
            if let Some(entry) = self.shards.peek(&key) {
                self.set_timer(&key, entry, about_now);
            }
        }
    }

    fn weigh(&self, entry: &Entry) -> u32 {
        units(entry.bytes()).max(self.least_weight.load(Ordering::Relaxed))
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        // Each change of the timers is complete in itself, so a panic elsewhere leaves them usable.
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes as weight, rounded up.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(WEIGHT_UNIT)).unwrap_or(u32::MAX)
}

/// The least weight of an entry, and the capacity that holds both limits. The capacity is a multiple of what each
/// part of the cache may hold, so that the parts together never hold more than allowed. Rounding the least weight up
/// allows at most one unit a session more than the bytes.
fn capacity(rules: MemoryRules, parts: usize) -> (u32, u64) {
    let sessions = rules.sessions.max(1);
    let least = units(rules.bytes.div_ceil(sessions)).max(1);
    let parts = parts as u64;
    let whole = if sessions >= parts { sessions - sessions % parts } else { sessions };
    (least, u64::from(least).saturating_mul(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::BuildInfo;
    use crate::session::{Content, NameKeys, Session, SessionId};

    fn entry(revision: u64) -> Arc<Entry> {
        let at = Timestamp::from_millis(1);
        Arc::new(Entry::of(StoredSession {
            key: key(),
            session: Session {
                id: SessionId::from_bytes([0; 16]),
                user: None,
                created_at: at,
                idle_timeout: None,
                absolute_timeout: None,
                revision,
                data: Box::default(),
            },
            last_activity: at,
            content: Content::Text,
        }))
    }

    fn key() -> SessionKey {
        NameKeys::new(0).key(0, b"name")
    }

    fn memory_with(stale_after: Duration) -> Memory {
        let hour = Duration::from_secs(3_600);
        let rules = MemoryRules { sessions: 10, bytes: 1 << 20, stale_after, memory_idle: hour };
        let build = BuildInfo { version: "test", revision: "test", store: "none" };
        Memory::new(rules, Arc::new(Metrics::new(&build)))
    }

    // The timer of an entry rings, and before it is looked at, the entry has ended, or been written: as large as it was,
    // or larger, which takes another way.
    #[tokio::test]
    async fn an_entry_that_goes_while_its_timer_rings_is_not_counted_and_what_replaces_it_has_a_timer() {
        for replacement in [None, Some(0), Some(1)] {
            let memory = memory_with(Duration::from_secs(10));
            memory.get_or_reserve(&key()).await.expect_err("nothing is here").fill(&entry(1));
            let minute = Timestamp::from_millis(60_000);
            let (_, prefix, rules) = memory.timers().ring(minute).expect("it is due");
            let seen = memory.shards.peek(&prefix).expect("it is here");
            match replacement {
                None => memory.remove(&key()),
                Some(more) => {
                    let fresh = entry(2);
                    fresh.last_activity.store(minute.as_millis(), Ordering::Relaxed);
                    fresh.weight.store(seen.weight.load(Ordering::Relaxed) + more, Ordering::Relaxed);
                    memory.bring_up(&key(), &fresh);
                }
            }
            memory.look_at(prefix, seen, rules, minute);
            assert_eq!(memory.stale(), 0, "{replacement:?}");
            memory.advance(Timestamp::from_millis(120_000));
            assert_eq!(memory.stale(), u64::from(replacement.is_some()), "{replacement:?}");
            memory.remove(&key());
            assert_eq!(memory.stale(), 0, "{replacement:?}");
        }
    }

    // It is written between its arrival and the setting of its timer.
    #[tokio::test]
    async fn what_replaces_an_entry_that_has_no_timer_yet_has_one() {
        let memory = memory_with(Duration::from_secs(10));
        let Reservation { right, .. } = memory.get_or_reserve(&key()).await.expect_err("nothing is here");
        let early = entry(1);
        assert!(right.use_for(&early));
        memory.bring_up(&key(), &entry(2));
        memory.watch(&key(), &early);
        memory.advance(Timestamp::from_millis(60_000));
        assert_eq!(memory.stale(), 1);
    }

    // Two write the same key, and a third takes their reservations away: whoever wrote last is who is remembered.
    #[tokio::test]
    async fn a_reservation_that_was_taken_away_does_not_leave_an_older_state() {
        let memory = memory_with(Duration::from_secs(3_600));
        for (first, second) in [(3, 2), (2, 3)] {
            let late = memory.get_or_reserve(&key()).await.expect_err("nothing is here");
            memory.bring_up(&key(), &entry(1));
            let early = memory.get_or_reserve(&key()).await.expect_err("nothing is here");
            early.fill_written(&entry(second));
            late.fill_written(&entry(first));
            assert_eq!(memory.get(&key()).map(|held| held.session.revision), Some(3));
            memory.remove(&key());
        }
    }
}
