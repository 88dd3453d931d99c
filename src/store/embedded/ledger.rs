//! What the tier holds, in numbers: kept by the writer beside the rows, so that nobody has to count them.
//!
//! Invariant: after a commit the ledger equals what a scan of the rows would give. It is built by such a scan when
//! the store opens, changed with every row, and taken back with every row that is rolled back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::session::{Session, UserLimit, UserLimits, UserName};
use crate::store::{Figures, FiguresQuery, Waiting};

/// The width of a bucket of the activity histogram.
const MINUTE_MS: i64 = 60_000;

/// The figures of the tier, and how to take back the latest changes of them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sessions: u64,
    /// Bytes of data and user names; [`Session::STORED_OVERHEAD`] comes on top for each session.
    size: u64,
    counts: HashMap<UserName, u64>,
    /// The users with so many sessions, by name.
    levels: BTreeMap<u64, BTreeSet<UserName>>,
    /// Sessions by the minute of their last activity.
    activity: BTreeMap<i64, u64>,
    outbox: Waiting,
    /// Bytes of plain keys.
    plain_bytes: u64,
    journal: Vec<Change>,
}

/// A row as the ledger sees it.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub(super) user: Option<UserName>,
    /// Bytes of data and user name.
    pub(super) size: u64,
    pub(super) last_activity: Timestamp,
}

#[derive(Debug)]
enum Change {
    Added(Holding),
    Removed(Holding),
    Resized { from: u64, to: u64 },
    Moved { from: i64, to: i64 },
    Outbox(Waiting),
    Plain(u64),
}

/// A place in the journal to return to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(usize);

impl Ledger {
    pub(super) fn sessions(&self) -> u64 {
        self.sessions
    }

    /// Bytes held, by [`Session::stored_bytes`].
    pub(super) fn bytes(&self) -> u64 {
        self.size + self.sessions * Session::STORED_OVERHEAD
    }

    /// How many sessions a user has.
    pub(super) fn count(&self, user: &UserName) -> u64 {
        self.counts.get(user).copied().unwrap_or(0)
    }

    /// The user with the most sessions, the first by name among equals.
    pub(super) fn heaviest(&self) -> Option<(&UserName, u64)> {
        let (&count, users) = self.levels.last_key_value()?;
        users.first().map(|user| (user, count))
    }

    pub(super) fn outbox(&self) -> Waiting {
        self.outbox
    }

    /// A session was written.
    pub(super) fn add(&mut self, held: Holding) {
        self.put(&held);
        self.journal.push(Change::Added(held));
    }

    /// A session was removed.
    pub(super) fn remove(&mut self, held: Holding) {
        self.take(&held);
        self.journal.push(Change::Removed(held));
    }

    /// A session's data changed from a size to another.
    pub(super) fn resize(&mut self, from: u64, to: u64) {
        self.size = self.size - from + to;
        self.journal.push(Change::Resized { from, to });
    }

    /// A session was used.
    pub(super) fn touch(&mut self, from: Timestamp, to: Timestamp) {
        let (from, to) = (minute(from), minute(to));
        if from != to {
            self.shift(from, to);
            self.journal.push(Change::Moved { from, to });
        }
    }

    /// The outbox is so full now.
    pub(super) fn set_outbox(&mut self, now: Waiting) {
        self.journal.push(Change::Outbox(self.outbox));
        self.outbox = now;
    }

    /// Bytes of plain keys.
    pub(super) fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Plain keys take so many bytes now.
    pub(super) fn set_plain_bytes(&mut self, now: u64) {
        self.journal.push(Change::Plain(self.plain_bytes));
        self.plain_bytes = now;
    }

    /// Where the journal is now.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.journal.len())
    }

    /// Takes back what was done since `mark`.
    pub(super) fn roll_back_to(&mut self, mark: Mark) {
        while self.journal.len() > mark.0 {
            match self.journal.pop() {
                Some(Change::Added(held)) => self.take(&held),
                Some(Change::Removed(held)) => self.put(&held),
                Some(Change::Resized { from, to }) => self.size = self.size - to + from,
                Some(Change::Moved { from, to }) => self.shift(to, from),
                Some(Change::Outbox(before)) => self.outbox = before,
                Some(Change::Plain(before)) => self.plain_bytes = before,
                None => break,
            }
        }
    }

    /// Takes back what was done since the last commit.
    pub(super) fn roll_back(&mut self) {
        self.roll_back_to(Mark(0));
    }

    /// What was done is final.
    pub(super) fn commit(&mut self) {
        self.journal.clear();
    }

    /// Users above their limit, the heaviest first, each with it. Stops once they have `enough` too many.
    pub(super) fn above_limit(&self, limits: &UserLimits, enough: u64) -> Vec<(UserName, UserLimit)> {
        let mut above: Vec<(u64, &UserName)> = Vec::new();
        let mut found = 0_u64;
        for (&count, user) in self.above(limits.sessions) {
            if found >= enough {
                break;
            }
            if !limits.overrides.contains_key(user.as_str()) {
                found += count - limits.sessions.unwrap_or(count);
                above.push((count, user));
            }
        }
        above.extend(
            self.overridden(limits).filter(|&(count, limit, _)| count > limit).map(|(count, _, user)| (count, user)),
        );
        above.sort_by(|(count, user), (other_count, other)| other_count.cmp(count).then(user.cmp(other)));
        above.into_iter().filter_map(|(_, user)| Some((user.clone(), limits.of(user.as_str())?))).collect()
    }

    /// What the tier holds, at a cost of what is returned, the overrides, the distinct counts and the buckets.
    pub(super) fn figures(&self, query: &FiguresQuery) -> Figures {
        // A bucket is stale when its last millisecond is.
        let stale_minutes = ..minute(Timestamp::from_millis(query.stale_before.as_millis().saturating_add(1)));
        Figures {
            sessions: self.sessions,
            bytes: self.bytes(),
            stale: self.activity.range(stale_minutes).map(|(_, count)| count).sum(),
            oldest_activity: self.activity.keys().next().map(|minute| Timestamp::from_millis(minute * MINUTE_MS)),
            users: self.counts.len() as u64,
            users_at_limit: self.users_at_limit(&query.user_limits),
            top_users: self
                .levels
                .iter()
                .rev()
                .flat_map(|(&count, users)| users.iter().map(move |user| (user.clone(), count)))
                .take(query.top)
                .collect(),
        }
    }

    fn users_at_limit(&self, limits: &UserLimits) -> u64 {
        let by_default = limits.sessions.map_or(0, |limit| {
            let everybody: u64 = self.levels.range(limit..).map(|(_, users)| users.len() as u64).sum();
            let excepted = self.overridden(limits).filter(|&(count, _, _)| count >= limit).count() as u64;
            everybody - excepted
        });
        by_default + self.overridden(limits).filter(|&(count, limit, _)| count >= limit).count() as u64
    }

    /// The users with more than `limit` sessions, the heaviest first.
    fn above(&self, limit: Option<u64>) -> impl Iterator<Item = (&u64, &UserName)> {
        let levels = limit.and_then(|limit| limit.checked_add(1)).map(|first| self.levels.range(first..));
        levels.into_iter().flatten().rev().flat_map(|(count, users)| users.iter().map(move |user| (count, user)))
    }

    /// The users who are here and have a limit of their own: with their count and that limit.
    fn overridden<'l>(&'l self, limits: &'l UserLimits) -> impl Iterator<Item = (u64, u64, &'l UserName)> {
        limits.overrides.iter().filter_map(|(name, &limit)| {
            let (user, &count) = self.counts.get_key_value(&UserName::from_stored(name))?;
            Some((count, limit, user))
        })
    }

    fn put(&mut self, held: &Holding) {
        self.sessions += 1;
        self.size += held.size;
        *self.activity.entry(minute(held.last_activity)).or_default() += 1;
        if let Some(user) = &held.user {
            self.recount(user, |count| count + 1);
        }
    }

    fn take(&mut self, held: &Holding) {
        self.sessions -= 1;
        self.size -= held.size;
        self.leave(minute(held.last_activity));
        if let Some(user) = &held.user {
            self.recount(user, |count| count - 1);
        }
    }

    fn shift(&mut self, from: i64, to: i64) {
        self.leave(from);
        *self.activity.entry(to).or_default() += 1;
    }

    fn leave(&mut self, minute: i64) {
        if let Some(count) = self.activity.get_mut(&minute) {
            *count -= 1;
            if *count == 0 {
                self.activity.remove(&minute);
            }
        }
    }

    fn recount(&mut self, user: &UserName, change: impl FnOnce(u64) -> u64) {
        // The name is one allocation, shared by the map and the level it is on.
        let (name, before) = self.counts.remove_entry(user).unwrap_or_else(|| (user.clone(), 0));
        if let Some(users) = self.levels.get_mut(&before) {
            users.remove(&name);
            if users.is_empty() {
                self.levels.remove(&before);
            }
        }
        let after = change(before);
        if after > 0 {
            self.levels.entry(after).or_default().insert(name.clone());
            self.counts.insert(name, after);
        }
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(MINUTE_MS)
}

/// Filling it when the store opens. Not part of any transaction, so the journal does not hear of it.
impl Ledger {
    /// A user, or anonymous clients, have so many sessions of that size in all.
    pub(super) fn load_user(&mut self, user: Option<UserName>, sessions: u64, size: u64) {
        self.sessions += sessions;
        self.size += size;
        if let Some(user) = user {
            self.recount(&user, |_| sessions);
        }
    }

    /// One session was last used then.
    pub(super) fn load_activity(&mut self, at: Timestamp) {
        *self.activity.entry(minute(at)).or_default() += 1;
    }
}
