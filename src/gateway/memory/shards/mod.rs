//! The entries, in shards with a lock each, and the rights to add to them.
//!
//! The cache itself knows nothing of threads. So whoever holds a shard's lock finds several entries under it, one right
//! behind the other, and waits for the memory of all of them at once.

use std::array;
use std::collections::HashMap;
use std::hash::Hash;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quick_cache::unsync::Cache;
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, OptionsBuilder, Weighter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::entry::Entry;
use super::timers::KeyPrefix;
use super::{MemoryRules, Shared};
use crate::metrics::labels::MemoryEviction;
use crate::session::SessionKey;

/// Shards at most. More would waste room when one is full and another not.
const SHARDS: usize = 8;
/// Sessions that a shard is for at least.
const LEAST_SESSIONS: usize = 32;
/// Sessions that room is made for from the start, at most.
const ROOM_AT_FIRST: usize = 1 << 16;
/// Look-ups that may be made together.
pub const TOGETHER: usize = 16;
/// One byte in so many is asked for: every second cache line, which was measured to do as well as every one.
const FETCH: usize = 128;
/// Of an entry's data, so much is fetched ahead; the processor does the rest by itself.
const FETCHED: usize = 1_024;

/// The weight is written under the shard's own lock, so that the cache's sum stays right.
#[derive(Clone)]
struct ByWeight;

impl Weighter<SessionKey, Arc<Entry>> for ByWeight {
    fn weight(&self, _: &SessionKey, entry: &Arc<Entry>) -> u64 {
        u64::from(entry.weight.load(Ordering::Relaxed))
    }
}

/// Counts what leaves for want of room. It runs under a shard's lock: plain counting and a push, no clock.
#[derive(Clone)]
struct Departures(Arc<Shared>);

/// What has left, to be dropped outside the lock; only when the capacity is lowered, the cache drops it itself.
#[derive(Default)]
struct Departed {
    entries: Vec<Arc<Entry>>,
    /// The one that is being replaced, which to the cache is a departure as well.
    replaced: Option<SessionKey>,
}

impl Lifecycle<SessionKey, Arc<Entry>> for Departures {
    type RequestState = Departed;

    fn on_evict(&self, departed: &mut Departed, key: SessionKey, entry: Arc<Entry>) {
        if departed.replaced == Some(key) {
            departed.replaced = None;
        } else {
            self.0.made_room(key, &entry, MemoryEviction::Lru);
        }
        departed.entries.push(entry);
    }
}

/// The right to add one entry, unless it has been taken away in the meantime.
pub(super) struct Right<'s> {
    shards: &'s Shards,
    key: SessionKey,
    number: u64,
    is_used: bool,
    turn: Turn,
}

/// A right as its shard knows it.
struct Given {
    number: u64,
    queue: Arc<Queue>,
}

/// Those who want the same right.
struct Queue {
    /// One at a time has its turn, until one of them has added the entry: then it is closed.
    turn: Arc<Semaphore>,
    /// What has been added, if it was too large to be kept.
    not_kept: OnceLock<Arc<Entry>>,
}

/// The head of a queue.
struct Turn {
    queue: Arc<Queue>,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// Of a queue that nobody else is in.
    fn first() -> Self {
        let queue = Arc::new(Queue { turn: Arc::new(Semaphore::new(1)), not_kept: OnceLock::new() });
        let permit = Arc::clone(&queue.turn).try_acquire_owned();
        let permit = permit.unwrap_or_else(|_| unreachable!("nobody else knows of it"));
        Self { queue, _permit: permit }
    }
}

struct Shard {
    entries: Cache<SessionKey, Arc<Entry>, ByWeight, DefaultHashBuilder, Departures>,
    /// The rights to add what is not here.
    given: HashMap<SessionKey, Given, DefaultHashBuilder>,
}

impl Shard {
    /// Takes a right back, if it is still that one.
    fn take_back(&mut self, key: &SessionKey, number: u64) -> bool {
        let is_valid = self.given.get(key).is_some_and(|given| given.number == number);
        if is_valid {
            self.given.remove(key);
        }
        is_valid
    }
}

/// The entries.
pub(super) struct Shards {
    /// As many as a power of two.
    all: Box<[RwLock<Shard>]>,
    shared: Arc<Shared>,
    /// Rights given since the start: their numbers.
    rights: AtomicU64,
}

/// What tells the shard that an entry is in, and finds it there.
pub(super) trait Find: Hash + Equivalent<SessionKey> {
    /// Any byte that all who find the same entry have in common.
    fn first_byte(&self) -> u8;
}

impl Find for SessionKey {
    #[inline]
    fn first_byte(&self) -> u8 {
        self.as_bytes()[0]
    }
}

impl Find for KeyPrefix {
    fn first_byte(&self) -> u8 {
        self.as_bytes()[0]
    }
}

impl Shards {
    /// How many shards there are for so many sessions.
    pub(super) fn count_for(sessions: u64) -> usize {
        let sessions = usize::try_from(sessions).unwrap_or(usize::MAX);
        let mut count = SHARDS;
        while count > 1 && sessions.div_ceil(count) < LEAST_SESSIONS {
            count /= 2;
        }
        count
    }

    /// None yet, of so much weight at most.
    pub(super) fn new(rules: MemoryRules, capacity: u64, shared: &Arc<Shared>) -> Self {
        let count = Self::count_for(rules.sessions);
        let sessions = usize::try_from(rules.sessions).unwrap_or(usize::MAX).min(ROOM_AT_FIRST);
        let empty = || {
            let options = OptionsBuilder::new()
                .estimated_items_capacity(sessions.div_ceil(count))
                .weight_capacity(capacity.div_ceil(count as u64))
                .build()
                .unwrap_or_else(|_| unreachable!("both capacities are given"));
            let departures = Departures(Arc::clone(shared));
            let entries = Cache::with_options(options, ByWeight, DefaultHashBuilder::default(), departures);
            RwLock::new(Shard { entries, given: HashMap::default() })
        };
        Self { all: (0..count).map(|_| empty()).collect(), shared: Arc::clone(shared), rights: AtomicU64::new(0) }
    }

    /// How many shards there are.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Entries held.
    pub(super) fn len(&self) -> u64 {
        (0..self.count()).map(|at| self.read(at).entries.len() as u64).sum()
    }

    /// The entry under `key`; a use of it.
    #[inline]
    pub(super) fn get(&self, key: &SessionKey) -> Option<Arc<Entry>> {
        self.read(self.place(key)).entries.get(key).cloned()
    }

    /// The entry under `key`; no use of it.
    pub(super) fn peek(&self, key: &impl Find) -> Option<Arc<Entry>> {
        self.read(self.place(key)).entries.peek(key).cloned()
    }

    /// Calls `then` with the entries under the first [`TOGETHER`] of `keys`; uses of them.
    ///
    /// What is under one key is found without regard to the others, so the processor waits for the memory of all of them
    /// at once; and so it does for what each of them points to. `then` runs under the locks, and must be quick.
    #[inline]
    pub(super) fn get_together<T>(
        &self,
        keys: &[SessionKey],
        then: impl FnOnce(&[Option<&Arc<Entry>>; TOGETHER]) -> T,
    ) -> T {
        let keys = &keys[..keys.len().min(TOGETHER)];
        let wanted = keys.iter().fold(0_u32, |wanted, key| wanted | 1 << self.place(key));
        // Always in the same order: then no two can wait for each other with a writer between them.
        let locked: [_; SHARDS] = array::from_fn(|at| (wanted >> at & 1 == 1).then(|| self.read(at)));
        let mut found = [None; TOGETHER];
        for (found, key) in found.iter_mut().zip(keys) {
            *found = locked[self.place(key)].as_ref().and_then(|shard| shard.entries.get(key));
        }
        if keys.len() > 1 {
            fetch(&found);
        }
        then(&found)
    }

    /// The entry under `key`, or the right to add it. Waits while another has that right.
    pub(super) async fn get_or_reserve(&self, key: &SessionKey) -> Result<Arc<Entry>, Right<'_>> {
        let mut turn = None;
        loop {
            if let Some(entry) = self.get(key) {
                return Ok(entry);
            }
            let queue = {
                let mut shard = self.write(self.place(key));
                if let Some(entry) = shard.entries.get(key) {
                    return Ok(Arc::clone(entry));
                }
                match shard.given.get(key) {
                    Some(given) => Arc::clone(&given.queue),
                    None => return Err(self.give(&mut shard, key, turn.take().unwrap_or_else(Turn::first))),
                }
            };
            // Others may have lined up anew before its turn came. It keeps its turn of the old queue meanwhile. No two
            // wait for each other: who has been given a right waits for nobody, and each queue waits for such a one.
            turn = if let Ok(permit) = Arc::clone(&queue.turn).acquire_owned().await {
                Some(Turn { queue, _permit: permit })
            } else if let Some(entry) = queue.not_kept.get() {
                return Ok(Arc::clone(entry));
            } else {
                None
            };
        }
    }

    fn give(&self, shard: &mut Shard, key: &SessionKey, turn: Turn) -> Right<'_> {
        let number = self.rights.fetch_add(1, Ordering::Relaxed);
        shard.given.insert(*key, Given { number, queue: Arc::clone(&turn.queue) });
        Right { shards: self, key: *key, number, is_used: false, turn }
    }

    /// Puts `fresh` in the place of the entry under `key`, if there is one and `takes_over` says so of it. If there is
    /// none, a right to add it is taken away: what is to be added may have been read before.
    pub(super) fn replace(&self, key: &SessionKey, fresh: &Arc<Entry>, takes_over: impl FnOnce(&Entry) -> bool) {
        let mut departed = Departed { replaced: Some(*key), ..Departed::default() };
        let mut shard = self.write(self.place(key));
        match shard.entries.peek(key) {
            None => drop(shard.given.remove(key)),
            Some(held) if !takes_over(held) => {}
            Some(_) => {
                // A use as well: what has just been written is not the first to make room for itself.
                let replaced = shard.entries.replace_with_lifecycle(*key, Arc::clone(fresh), false, &mut departed);
                if let Err((key, fresh)) = replaced {
                    // Too large to be held at all.
                    self.shared.made_room(key, &fresh, MemoryEviction::Lru);
                }
            }
        }
        drop(shard);
    }

    /// Removes the entry under `key`, and takes away a right to add it.
    pub(super) fn remove(&self, key: &SessionKey) -> Option<Arc<Entry>> {
        let mut shard = self.write(self.place(key));
        shard.given.remove(key);
        shard.entries.remove(key).map(|(_, entry)| entry)
    }

    /// Removes an entry if `is_due`.
    pub(super) fn remove_if(
        &self,
        key: &impl Find,
        is_due: impl FnOnce(&Arc<Entry>) -> bool,
    ) -> Option<(SessionKey, Arc<Entry>)> {
        self.write(self.place(key)).entries.remove_if(key, is_due)
    }

    /// Changes the weight of the entry under `key`, if there is one, to what `weigh` says.
    pub(super) fn weigh_anew(&self, key: &SessionKey, weigh: impl FnOnce(&Entry) -> u32) {
        if let Some(held) = self.write(self.place(key)).entries.peek_mut(key) {
            held.weight.store(weigh(&held), Ordering::Relaxed);
        }
    }

    /// The keys of all entries, one shard after the other. A shard is locked for what it takes to copy its keys: about a
    /// millisecond for a hundred thousand.
    pub(super) fn keys(&self) -> impl Iterator<Item = SessionKey> {
        (0..self.count()).flat_map(|at| {
            let shard = self.read(at);
            let mut keys = Vec::with_capacity(shard.entries.len());
            keys.extend(shard.entries.iter().map(|(key, _)| *key));
            keys
        })
    }

    /// Changes the weight that all together may have, and makes what is above it leave.
    pub(super) fn set_capacity(&self, capacity: u64) {
        let capacity = capacity.div_ceil(self.count() as u64);
        for at in 0..self.count() {
            self.write(at).entries.set_capacity(capacity);
        }
    }

    #[inline]
    fn place(&self, key: &impl Find) -> usize {
        usize::from(key.first_byte()) & (self.all.len() - 1)
    }

    // Who reads changes nothing, and nothing of ours can panic where something is changed.
    #[inline]
    fn read(&self, at: usize) -> RwLockReadGuard<'_, Shard> {
        self.all[at].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, at: usize) -> RwLockWriteGuard<'_, Shard> {
        self.all[at].write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Right<'_> {
    /// Adds the entry, unless the right has been taken away. Whether it did.
    pub(super) fn use_for(mut self, entry: &Arc<Entry>) -> bool {
        self.is_used = true;
        let mut departed = Departed::default();
        let mut shard = self.shards.write(self.shards.place(&self.key));
        let is_valid = shard.take_back(&self.key, self.number);
        if is_valid {
            shard.entries.insert_with_lifecycle(self.key, Arc::clone(entry), &mut departed);
            if shard.entries.peek(&self.key).is_none() {
                let _ = self.turn.queue.not_kept.set(Arc::clone(entry));
            }
        }
        drop(shard);
        if is_valid {
            // All who wait have what they want. Who comes now finds the entry, or another queue.
            self.turn.queue.turn.close();
        }
        is_valid
    }
}

impl Drop for Right<'_> {
    fn drop(&mut self) {
        if !self.is_used {
            self.shards.write(self.shards.place(&self.key)).take_back(&self.key, self.number);
        }
    }
}

/// Has the processor fetch what is about to be read.
///
/// A load whose value nobody waits for is all that it takes: it goes on to the next while the memory is on its way.
#[inline]
fn fetch(entries: &[Option<&Arc<Entry>>; TOGETHER]) {
    let mut sum = 0;
    for entry in entries.iter().flatten() {
        // One in each of its two cache lines.
        sum ^= u64::from(entry.weight.load(Ordering::Relaxed)) ^ entry.session.revision;
    }
    for entry in entries.iter().flatten() {
        let data = &entry.session.data;
        for part in data[..data.len().min(FETCHED)].chunks(FETCH) {
            sum ^= u64::from(part[0]);
        }
    }
    black_box(sum);
}

#[cfg(test)]
mod tests;
