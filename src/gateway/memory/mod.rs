//! The memory tier: a bounded cache in front of the store, with the clocks of what it holds.
//!
//! Three rules make it safe to answer from:
//! - An entry is inserted only under the guard that was taken *before* the store was read or written. A removal in
//!   between kills the guard, so a session that ended meanwhile cannot come back.
//! - A newer revision replaces an older one and never the reverse; what is not here is never inserted by a writer
//!   without a guard.
//! - Whether an entry is still alive is judged by the caller on every read. Nothing here waits for a sweep.
//!
//! One capacity enforces both limits: an entry weighs its bytes, but at least `memory_bytes / memory_sessions`.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::{Cache, EntryAction, EntryResult, PlaceholderGuard};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use self::timers::{KeyPrefix, Timers};
use super::touches::Touches;
use crate::clock::Timestamp;
use crate::metrics::Metrics;
use crate::metrics::labels::MemoryEviction;
use crate::session::{Content, Session, SessionKey, StoredSession};

mod timers;

/// Locks that the cache is split into. More would waste room when one part is full and another not.
const SHARDS: u64 = 8;
/// What an entry takes beside its data: the entry itself, its slot and index in the cache, its place in the timers.
const ENTRY_OVERHEAD: u64 = 256;
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
/// A session in memory.
///
/// With its reference counts it fills two cache lines. A look-up needs only the first, so what it reads comes first.
#[repr(C)]
pub struct Entry {
    last_activity: AtomicI64,
    saved_activity: AtomicI64,
    /// In units of [`WEIGHT_UNIT`].
    weight: AtomicU32,
    stale: AtomicBool,
    /// What the session's data is.
    pub content: Content,
    /// The session.
    pub session: Session,
    /// When its timer rings; a timer with any other time is a left-over of an earlier stay.
    timer: AtomicI64,
}

/// A larger or reordered entry costs every look-up another cache line, and memory.
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
    pub(super) fn touch(&self, now: Timestamp, interval: i64) -> bool {
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
    fn is_unsaved(&self) -> bool {
        self.last_activity.load(Ordering::Relaxed) > self.saved_activity.load(Ordering::Relaxed)
    }

    /// Takes back the claim of [`touch`](Self::touch): nobody sees to the save.
    pub(super) fn unsaved(&self) {
        self.saved_activity.store(i64::MIN / 2, Ordering::Relaxed);
    }

    /// The store has its activity up to `at`.
    pub(super) fn saved(&self, at: Timestamp) {
        self.saved_activity.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        let user = self.session.user.as_ref().map_or(0, |user| user.as_str().len());
        ENTRY_OVERHEAD + (self.session.data.len() + user) as u64
    }
}

/// The weight is written under the cache's own lock, so that the cache's sum stays right.
#[derive(Clone)]
struct ByWeight;

impl Weighter<SessionKey, Arc<Entry>> for ByWeight {
    fn weight(&self, _: &SessionKey, entry: &Arc<Entry>) -> u64 {
        u64::from(entry.weight.load(Ordering::Relaxed))
    }
}

/// Counts what leaves for want of room. It runs under a lock of the cache: plain counting and a push, no clock.
#[derive(Clone)]
struct Departures(Arc<Shared>);

impl Lifecycle<SessionKey, Arc<Entry>> for Departures {
    /// Entries that left, to be dropped outside the lock.
    type RequestState = Vec<Arc<Entry>>;

    fn on_evict(&self, evicted: &mut Self::RequestState, key: SessionKey, entry: Arc<Entry>) {
        self.0.made_room(key, &entry, MemoryEviction::Lru);
        evicted.push(entry);
    }
}

struct Shared {
    metrics: Arc<Metrics>,
    /// The time at the last call of `advance`: good enough to say how long an evicted entry had not been used.
    about_now: AtomicI64,
    stale: AtomicI64,
    touches: Touches,
}

impl Shared {
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

type Sessions = Cache<SessionKey, Arc<Entry>, ByWeight, DefaultHashBuilder, Departures>;

/// The right to insert one entry, unless it is removed in the meantime.
pub(super) struct Reservation<'m> {
    guard: PlaceholderGuard<'m, SessionKey, Arc<Entry>, ByWeight, DefaultHashBuilder, Departures>,
    memory: &'m Memory,
    key: SessionKey,
}

impl Reservation<'_> {
    /// Inserts what the store said, unless the session was removed since the reservation was made. Whether it did.
    pub(super) fn fill(self, entry: &Arc<Entry>) -> bool {
        entry.weight.store(self.memory.weigh(entry), Ordering::Relaxed);
        let mut evicted = Vec::new();
        let inserted = self.guard.insert_with_lifecycle(Arc::clone(entry), &mut evicted).is_ok();
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
    sessions: Sessions,
    shared: Arc<Shared>,
    /// The least that an entry weighs.
    least_weight: AtomicU32,
    timers: Mutex<Timers>,
}

impl Memory {
    pub(super) fn new(rules: MemoryRules, metrics: Arc<Metrics>) -> Self {
        let (about_now, stale) = (AtomicI64::new(0), AtomicI64::new(0));
        let shared = Arc::new(Shared { metrics, about_now, stale, touches: Touches::default() });
        let (least_weight, capacity) = capacity(rules);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(rules.sessions).unwrap_or(usize::MAX).min(1 << 16))
            .weight_capacity(capacity)
            .shards(usize::try_from(SHARDS).unwrap_or(1))
            .build()
            .unwrap_or_else(|_| unreachable!("both capacities are given"));
        Self {
            sessions: Cache::with_options(
                options,
                ByWeight,
                DefaultHashBuilder::default(),
                Departures(Arc::clone(&shared)),
            ),
            shared,
            least_weight: AtomicU32::new(least_weight),
            timers: Mutex::new(Timers::new(rules)),
        }
    }

    /// Sessions held.
    pub(super) fn len(&self) -> u64 {
        self.sessions.len() as u64
    }

    /// Sessions held that count as stale.
    pub(super) fn stale(&self) -> u64 {
        u64::try_from(self.shared.stale.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The entry under `key`, if it is here.
    pub(super) fn get(&self, key: &SessionKey) -> Option<Arc<Entry>> {
        self.sessions.get(key)
    }

    /// When the session under `key` was last used, if it is here. No use of it.
    pub(super) fn last_activity(&self, key: &SessionKey) -> Option<Timestamp> {
        self.sessions.peek(key).map(|entry| entry.last_activity())
    }

    /// The entry under `key`, or the right to insert it. Waits while another caller holds that right.
    pub(super) async fn get_or_reserve(&self, key: &SessionKey) -> Result<Arc<Entry>, Reservation<'_>> {
        let found = self.sessions.get_value_or_guard_async(key).await;
        found.map_err(|guard| Reservation { guard, memory: self, key: *key })
    }

    /// Brings an entry that is here up to the given state, which the store has just confirmed.
    pub(super) fn refresh(&self, stored: &StoredSession) -> Arc<Entry> {
        let fresh = Arc::new(Entry::of(stored.clone()));
        fresh.weight.store(self.weigh(&fresh), Ordering::Relaxed);
        self.bring_up(&stored.key, &fresh);
        fresh
    }

    fn bring_up(&self, key: &SessionKey, fresh: &Arc<Entry>) {
        let outcome = self.sessions.entry(key, Some(Duration::ZERO), |_, held| {
            if held.session.revision >= fresh.session.revision {
                return EntryAction::Retain(());
            }
            fresh.last_activity.fetch_max(held.last_activity.load(Ordering::Relaxed), Ordering::Relaxed);
            if held.stale.swap(false, Ordering::Relaxed) {
                self.shared.stale.fetch_sub(1, Ordering::Relaxed);
            }
            // Only an insertion makes room for what has grown.
            if fresh.weight.load(Ordering::Relaxed) > held.weight.load(Ordering::Relaxed) {
                return EntryAction::ReplaceWithGuard;
            }
            // The timer of the old entry is also the new one's.
            fresh.timer.store(held.timer.load(Ordering::Relaxed), Ordering::Relaxed);
            *held = Arc::clone(fresh);
            EntryAction::Retain(())
        });
        match outcome {
            EntryResult::Replaced(guard, _) => {
                Reservation { guard, memory: self, key: *key }.fill(fresh);
            }
            // A read is under way that may have seen the older state: it must not be kept.
            EntryResult::Timeout => drop(self.sessions.remove(key)),
            EntryResult::Retained(()) | EntryResult::Removed(..) | EntryResult::Vacant(_) => {}
        }
    }

    /// Removes an entry because its session ended, and whatever read of it is under way.
    pub(super) fn remove(&self, key: &SessionKey) {
        if let Some((_, entry)) = self.sessions.remove(key) {
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
        let unsaved = self.sessions.iter().filter(|(_, entry)| entry.is_unsaved());
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
        let (least_weight, capacity) = capacity(rules);
        if self.least_weight.swap(least_weight, Ordering::Relaxed) != least_weight {
            for (key, entry) in self.unhurried() {
                let weight = self.weigh(&entry);
                let _ = self.sessions.entry(&key, Some(Duration::ZERO), |_, held| {
                    held.weight.store(weight.max(least_weight), Ordering::Relaxed);
                    EntryAction::Retain(())
                });
            }
        }
        self.sessions.set_capacity(capacity);
        if (before.stale_after, before.memory_idle) != (rules.stale_after, rules.memory_idle) {
            self.rebuild_timers();
        }
    }

    /// All entries, with a pause now and then for those who need the processor more.
    fn unhurried(&self) -> impl Iterator<Item = (SessionKey, Arc<Entry>)> {
        self.sessions.iter().enumerate().map(|(at, entry)| {
            if at % ENTRIES_PER_PAUSE == ENTRIES_PER_PAUSE - 1 {
                std::thread::sleep(PAUSE);
            }
            entry
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
            let Some(entry) = self.sessions.peek(&prefix) else { continue };
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
                if let Some((key, entry)) = self.sessions.remove_if(&prefix, is_idle) {
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
            let held = self.sessions.peek(&prefix);
            if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, &entry)) {
                return;
            }
            // It left meanwhile, and nobody else takes its mark back; what replaced it may have its timer, which has rung.
            self.revived(&entry);
            let Some(held) = held else { return };
            entry = held;
        }
    }

    fn watch(&self, key: &SessionKey, entry: &Entry) {
        self.timers().set(KeyPrefix::of(key), entry, entry.last_activity());
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
        for (key, entry) in self.sessions.iter() {
            self.timers().set(KeyPrefix::of(&key), &entry, about_now);
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
fn capacity(rules: MemoryRules) -> (u32, u64) {
    let sessions = rules.sessions.max(1);
    let least = units(rules.bytes.div_ceil(sessions)).max(1);
    let whole = if sessions >= SHARDS { sessions - sessions % SHARDS } else { sessions };
    (least, u64::from(least).saturating_mul(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::BuildInfo;
    use crate::session::{RawName, SessionId};

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
        RawName { database: 0, name: Box::from(*b"name") }.key()
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
            let seen = memory.sessions.peek(&prefix).expect("it is here");
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
