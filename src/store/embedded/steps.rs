//! The steps of [`Store`](crate::store::Store) that change something, each within the writer's transaction.
//!
//! An error of SQLite from a step means that the transaction is lost; a refusal means that the step has changed
//! nothing.

use std::sync::Arc;

use rusqlite::Connection;

use super::ledger::{Holding, Ledger};
use super::plan::{Plan, Room};
use super::reserve::{Reserve, STEP_WHEN_FULL};
use super::rows::{self, Clocks, Found, number};
use super::tombstones::{self, Tombstone, Way};
use super::{outbox, schema};
use crate::clock::Timestamp;
use crate::session::{
    Capacity, EndReason, Ended, EventId, Generator, NameKeys, OnExcess, RawName, SessionKey, StoredSession, Timeout,
    UserLimits,
};
use crate::store::{CreateError, CreateLimits, MAX_DISPLACED, Notice, StoreError, Terms, Update, UpdateError, Whom};

const INSERT: &str = "INSERT INTO sessions \
    (key, id, user, created_at, last_activity, idle_ms, absolute_ms, revision, size, content, database, name, data, \
    bound) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0)";
const DELETE: &str = "DELETE FROM sessions WHERE row = ?1";
/// Leaves `size` out, so that the index that holds it is not rewritten.
const REPLACE: &str = "UPDATE sessions SET data = ?2, revision = ?3, last_activity = ?4 WHERE row = ?1";
const RESIZE: &str = "UPDATE sessions SET data = ?2, revision = ?3, last_activity = ?4, size = ?5 WHERE row = ?1";
const ROTATE: &str = "UPDATE sessions SET key = ?2, last_activity = ?3 WHERE row = ?1";
const TOUCH: &str = "UPDATE sessions SET last_activity = ?2 WHERE row = ?1";

/// A revision of a key that an app names is the time of its writing, in milliseconds, and so many bits more: below 2^53 in all.
pub(super) const REVISION_SHIFT: u32 = 10;

/// What the steps work on.
pub(super) struct Steps {
    pub(super) conn: Connection,
    pub(super) names: NameKeys,
    pub(super) ledger: Ledger,
    pub(super) reserve: Reserve,
    pub(super) generator: Arc<dyn Generator>,
    /// How many notices may wait.
    pub(super) max_notices: u64,
    /// The newest revision of a key that an app names.
    pub(super) last_revision: u64,
}

impl Steps {
    pub(super) fn create(
        &mut self,
        new: &StoredSession,
        name: Option<&RawName>,
        limits: &CreateLimits,
        terms: &Terms,
    ) -> rusqlite::Result<Result<Vec<Ended>, CreateError>> {
        if !self.may_grow(terms.now)? {
            return Ok(Err(CreateError::Store(full())));
        }
        let mark = self.ledger.mark();
        let mut plan = Plan::new(&self.conn, &mut self.ledger, Clocks::of(terms));
        let refused = 'refused: {
            if let Some(user) = &new.session.user
                && !plan.place_of(user, limits.user)?
            {
                break 'refused Some(CreateError::UserLimit);
            }
            let room = Room::for_newcomer(&new.session, name_bytes(name), limits.capacity, MAX_DISPLACED);
            (!plan.room_for_newcomer(new, &room)?).then_some(CreateError::StorageFull)
        };
        let victims = plan.chosen();
        if let Some(refusal) = refused {
            self.ledger.roll_back_to(mark);
            return Ok(Err(refusal));
        }
        self.insert(new, name)?;
        self.end_chosen(victims, terms).map(Ok)
    }

    pub(super) fn update(&mut self, update: &Update) -> rusqlite::Result<Result<StoredSession, UpdateError>> {
        let Some(Found { row, size, mut stored, .. }) = rows::one(&self.conn, rows::BY_KEY, update.key.as_bytes())?
        else {
            return Ok(Err(UpdateError::NotFound));
        };
        let current = stored.session.revision;
        if update.if_revision.is_some_and(|expected| expected != current) {
            return Ok(Err(UpdateError::RevisionMismatch { current }));
        }
        stored.session.data.clone_from(&update.data);
        let new_size = size_of(&stored);
        if new_size > size {
            if !self.may_grow(update.now)? {
                return Ok(Err(UpdateError::Store(full())));
            }
            let grown = self.ledger.bytes() + (new_size - size);
            if update.capacity.bytes.is_some_and(|cap| grown > cap) {
                return Ok(Err(UpdateError::StorageFull));
            }
        }
        let used = stored.last_activity;
        stored.session.revision = current + 1;
        stored.last_activity = used.max(update.now);
        let (revision, activity) = (number(stored.session.revision), stored.last_activity.as_millis());
        if new_size == size {
            self.conn.prepare_cached(REPLACE)?.execute((row, &update.data[..], revision, activity))?;
        } else {
            let sized = (row, &update.data[..], revision, activity, number(new_size));
            self.conn.prepare_cached(RESIZE)?.execute(sized)?;
            self.ledger.resize(size, new_size);
        }
        self.ledger.touch(used, stored.last_activity);
        Ok(Ok(stored))
    }

    pub(super) fn rotate(
        &mut self,
        old: &SessionKey,
        new: &SessionKey,
        now: Timestamp,
    ) -> rusqlite::Result<Option<StoredSession>> {
        let Some(found) = rows::one(&self.conn, rows::BY_KEY, old.as_bytes())? else { return Ok(None) };
        let used = found.stored.last_activity.max(now);
        self.conn.prepare_cached(ROTATE)?.execute((found.row, new.as_bytes(), used.as_millis()))?;
        self.ledger.touch(found.stored.last_activity, used);
        rows::load(&self.conn, new)
    }

    pub(super) fn touch(&mut self, touches: &[(SessionKey, Timestamp)]) -> rusqlite::Result<()> {
        for (key, at) in touches {
            let Some(found) = rows::one_readable(&self.conn, rows::BY_KEY, key.as_bytes())? else { continue };
            let before = found.stored.last_activity;
            if before < *at {
                self.conn.prepare_cached(TOUCH)?.execute((found.row, at.as_millis()))?;
                self.ledger.touch(before, *at);
            }
        }
        Ok(())
    }

    pub(super) fn end(
        &mut self,
        whom: &Whom,
        reason: EndReason,
        max: usize,
        terms: &Terms,
    ) -> rusqlite::Result<Vec<Ended>> {
        let max = self.at_most(max);
        if max == 0 {
            return Ok(Vec::new());
        }
        let found = match whom {
            Whom::Key(key) => rows::one(&self.conn, rows::BY_KEY, key.as_bytes())?.into_iter().collect(),
            Whom::Id(id) => rows::one(&self.conn, rows::BY_ID, id.as_bytes())?.into_iter().collect(),
            Whom::User(user) => rows::oldest_of(&self.conn, user, None, max)?,
        };
        self.end_planned(terms, |plan| {
            for found in found {
                // Whose time was over is told so, not that somebody ended it.
                let expired = found.expired_alone(&Clocks::of(terms));
                plan.choose([found], expired.map_or(reason, |(_, clock)| clock));
            }
            Ok(())
        })
    }

    pub(super) fn claim_due(&mut self, close_stale: bool, max: usize, terms: &Terms) -> rusqlite::Result<Vec<Ended>> {
        let max = self.at_most(max);
        self.tidy_raw(terms.now, max)?;
        self.end_planned(terms, |plan| {
            plan.expired(max)?;
            let left = max - plan.len();
            if close_stale && left > 0 { plan.stale(left) } else { Ok(()) }
        })
    }

    pub(super) fn trim_users(
        &mut self,
        limits: &UserLimits,
        max: usize,
        terms: &Terms,
    ) -> rusqlite::Result<Vec<Ended>> {
        if limits.on_excess == OnExcess::Reject {
            return Ok(Vec::new());
        }
        let max = self.at_most(max);
        let above = self.ledger.above_limit(limits, max as u64);
        self.end_planned(terms, |plan| {
            for (user, limit) in above {
                let left = max - plan.len();
                if left == 0 {
                    break;
                }
                plan.trim(&user, limit, left)?;
            }
            Ok(())
        })
    }

    pub(super) fn make_room(&mut self, target: Capacity, max: usize, terms: &Terms) -> rusqlite::Result<Vec<Ended>> {
        let room = Room { cap: target, sessions: 0, bytes: 0, max: self.at_most(max) };
        self.end_planned(terms, |plan| plan.room(&room))
    }

    pub(super) fn take_notices(&mut self, now: Timestamp, max: usize) -> rusqlite::Result<Vec<Notice>> {
        let max = self.at_most(max);
        outbox::take(&self.conn, &mut self.ledger, now, max)
    }

    /// Whether there is room for more. On a full disk it is what ended sessions left in the database, as long as that
    /// is more than the reserve was.
    pub(super) fn may_grow(&mut self, now: Timestamp) -> rusqlite::Result<bool> {
        Ok(self.reserve.regain(now) || self.free_bytes()? > self.reserve.bytes())
    }

    /// Bytes of the database file that are free for use.
    fn free_bytes(&self) -> rusqlite::Result<u64> {
        let pages = self.conn.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| rows::count(row, 0))?;
        Ok(pages * schema::PAGE_BYTES)
    }

    /// On a full disk a step must fit into what the reserve left.
    fn at_most(&self, max: usize) -> usize {
        if self.reserve.is_spent() { max.min(STEP_WHEN_FULL) } else { max }
    }

    fn insert(&mut self, new: &StoredSession, name: Option<&RawName>) -> rusqlite::Result<()> {
        let session = &new.session;
        let size = size_of(new) + name_bytes(name);
        // Nothing is created after its last use; `correct_times` relies on it.
        let last_activity = new.last_activity.max(session.created_at);
        self.conn.prepare_cached(INSERT)?.execute((
            new.key.as_bytes(),
            session.id.as_bytes(),
            session.user.as_ref().map(crate::session::UserName::as_str),
            session.created_at.as_millis(),
            last_activity.as_millis(),
            session.idle_timeout.map(Timeout::as_millis),
            session.absolute_timeout.map(Timeout::as_millis),
            number(session.revision),
            number(size),
            rows::content_number(new.content),
            name.map(|name| name.database),
            name.map(|name| &name.name[..]),
            &session.data[..],
        ))?;
        self.ledger.add(Holding { user: session.user.clone(), size, last_activity });
        Ok(())
    }

    fn end_planned(
        &mut self,
        terms: &Terms,
        choose: impl FnOnce(&mut Plan<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Vec<Ended>> {
        let mut plan = Plan::new(&self.conn, &mut self.ledger, Clocks::of(terms));
        choose(&mut plan)?;
        let victims = plan.chosen();
        self.end_chosen(victims, terms)
    }

    /// Removes the rows, which the ledger has left already, and writes their notices.
    pub(super) fn end_chosen(
        &mut self,
        victims: Vec<(Found, EndReason)>,
        terms: &Terms,
    ) -> rusqlite::Result<Vec<Ended>> {
        if victims.is_empty() {
            return Ok(Vec::new());
        }
        let mut ended = Vec::with_capacity(victims.len());
        for (found, reason) in victims {
            self.conn.prepare_cached(DELETE)?.execute([found.row])?;
            let at = found.expired(&Clocks::of(terms)).map_or(terms.now, |(at, _)| at);
            if let Some(way) = tombstones::left_by(reason) {
                self.bury(&found, way, at, terms)?;
            }
            ended.push(Ended {
                event_id: EventId::generate(terms.now, &*self.generator),
                key: found.stored.key,
                name: found.name,
                id: found.stored.session.id,
                user: found.stored.session.user,
                reason,
                at: terms.now,
                idle: terms.now.since(found.stored.last_activity),
            });
        }
        if terms.notify {
            outbox::add(&self.conn, &mut self.ledger, &ended, self.max_notices)?;
        }
        Ok(ended)
    }
}

/// Keys that apps name can be made anew, so their revisions never repeat, whichever session they belong to.
impl Steps {
    pub(super) fn next_revision(&mut self, now: Timestamp) -> u64 {
        // A thousand writes in each millisecond; more borrow from the next.
        let by_clock = u64::try_from(now.as_millis()).unwrap_or(0) << REVISION_SHIFT;
        self.last_revision = by_clock.max(self.last_revision + 1);
        self.last_revision
    }

    /// A key is at this revision: its next one is beyond, even if the clock was ahead when that was given.
    pub(super) fn saw_revision(&mut self, revision: u64) {
        self.last_revision = self.last_revision.max(revision);
    }

    /// Leaves a tombstone where a session of an app's own name has ended.
    pub(super) fn bury(&self, found: &Found, way: Way, at: Timestamp, terms: &Terms) -> rusqlite::Result<()> {
        if found.name.is_none() || terms.tombstone.is_zero() {
            return Ok(());
        }
        let tombstone = Tombstone { ended_at: at, way };
        tombstones::put(&self.conn, &found.stored.key, tombstone, terms.now + terms.tombstone)
    }
}

fn name_bytes(name: Option<&RawName>) -> u64 {
    name.map_or(0, |name| name.name.len() as u64)
}

/// Bytes of data and user name.
fn size_of(stored: &StoredSession) -> u64 {
    stored.session.stored_bytes() - crate::session::Session::STORED_OVERHEAD
}

fn full() -> StoreError {
    StoreError::Full("the disk is full; sessions can be read and ended, not created".to_owned())
}
