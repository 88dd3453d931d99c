//! Keys that an app names itself, within the writer's transaction.

use rusqlite::Connection;

use super::plain::{self, Plain};
use super::plan::Plan;
use super::rows::{self, Clocks, Found, number};
use super::steps::Steps;
use super::tombstones::{self, Tombstone, Way};
use crate::clock::Timestamp;
use crate::session::identity::{Identity, Raw};
use crate::session::{
    Capacity, Content, EndReason, Ended, Fields, RawName, Session, SessionId, SessionKey, StoredSession, Timeout,
    UserLimit, UserName,
};
use crate::store::raw::run::{Held, NewValue, RawKeys, Written, run_all};
use crate::store::raw::{PlainValue, RawBatch, RawFound, RawOutcome, RawPage, RawRefusal, USES};
use crate::store::{CreateError, CreateLimits, Terms};

const REWRITE: &str = "UPDATE sessions \
    SET absolute_ms = ?2, revision = ?3, last_activity = ?4, content = ?5, data = ?6 WHERE row = ?1";
const REASSIGN: &str = "UPDATE sessions SET user = ?2, size = ?3, bound = ?4 WHERE row = ?1";
const SET_DEADLINE: &str = "UPDATE sessions SET absolute_ms = ?2, revision = ?3, last_activity = ?4 WHERE row = ?1";
const REVISE: &str = "UPDATE sessions SET revision = ?2 WHERE row = ?1";
const RENAME: &str = "UPDATE sessions SET key = ?2, database = ?3, name = ?4, size = ?5, revision = ?6 WHERE row = ?1";

/// Where a key is.
#[derive(Clone)]
pub(super) enum Place {
    Session(Box<Found>),
    Plain(i64, u64),
}

/// A batch at work.
struct Work<'a> {
    steps: &'a mut Steps,
    batch: &'a RawBatch,
    outcome: RawOutcome,
    /// Keys that the batch itself has removed, or given another name: whoever makes them anew in it is not late.
    given_up: Vec<SessionKey>,
}

impl Steps {
    pub(super) fn run_raw(&mut self, batch: &RawBatch) -> rusqlite::Result<RawOutcome> {
        let mut work = Work { steps: self, batch, outcome: RawOutcome::default(), given_up: Vec::new() };
        for (name, revision) in &batch.watched {
            if work.find(name)?.map_or(0, |held| held.revision) != *revision {
                return Ok(work.outcome);
            }
        }
        let replies = run_all(&batch.ops, &mut work)?;
        work.outcome.replies = Some(replies);
        Ok(work.outcome)
    }

    /// Removes plain keys and tombstones whose time is over.
    pub(super) fn tidy_raw(&mut self, now: Timestamp, max: usize) -> rusqlite::Result<()> {
        self.tidy_plain(now, max)?;
        tombstones::prune(&self.conn, now, max)
    }

    /// Removes plain keys whose time is over. Says how many bytes that freed.
    fn tidy_plain(&mut self, now: Timestamp, max: usize) -> rusqlite::Result<u64> {
        let freed = plain::delete_due(&self.conn, now, max)?;
        if freed > 0 {
            self.ledger.set_plain_bytes(self.ledger.plain_bytes() - freed);
        }
        Ok(freed)
    }
}

/// What is under the key of a name.
pub(super) fn load(conn: &Connection, key: &SessionKey, now: Timestamp) -> rusqlite::Result<Option<RawFound>> {
    if let Some(stored) = rows::load(conn, key)? {
        return Ok(Some(RawFound::Session(stored)));
    }
    let plain = plain::find(conn, key)?.map(|plain| plain.value);
    Ok(plain.filter(|value| value.deadline.is_none_or(|at| at > now)).map(RawFound::Plain))
}

/// How many keys a key space has.
pub(super) fn count(conn: &Connection, database: u16) -> rusqlite::Result<u64> {
    let sql = "SELECT (SELECT count(*) FROM sessions INDEXED BY sessions_of_database WHERE database = ?1) + \
               (SELECT count(*) FROM plain_keys INDEXED BY plain_keys_of_database WHERE database = ?1)";
    conn.prepare_cached(sql)?.query_row([database], |row| rows::count(row, 0))
}

/// A part of the names of a key space. A place is a row's number, doubled, and for plain keys one more: they come after
/// the sessions.
pub(super) fn scan(
    conn: &Connection,
    database: u16,
    after: u64,
    max: usize,
    terms: &Terms,
) -> rusqlite::Result<RawPage> {
    let clocks = Clocks::of(terms);
    let mut page = RawPage::default();
    let limit = number(max.max(1));
    let (row, in_sessions) = (number(after / 2), after.is_multiple_of(2));
    if in_sessions {
        let found = rows::of_database(conn, database, row, limit)?;
        if let Some(last) = found.last().filter(|_| number(found.len()) == limit) {
            page.next = last.row.unsigned_abs() * 2;
        }
        let live = found.into_iter().filter(|found| found.expired(&clocks).is_none());
        page.keys = live.filter_map(|found| Some((found.name?, found.stored.content))).collect();
        if page.next > 0 {
            return Ok(page);
        }
    }
    // The first page of plain keys comes with the last one of the sessions, so that no place is needed between them.
    let plain = plain::of_database(conn, database, if in_sessions { 0 } else { row }, limit)?;
    if let Some(last) = plain.last().filter(|_| number(plain.len()) == limit) {
        page.next = last.row.unsigned_abs() * 2 + 1;
    }
    let live = plain.into_iter().filter(|key| key.deadline.is_none_or(|at| at > terms.now));
    page.keys.extend(live.map(|key| (key.name, key.content)));
    Ok(page)
}

impl RawKeys for Work<'_> {
    type Place = Place;
    type Error = rusqlite::Error;

    fn now(&self) -> Timestamp {
        self.batch.terms.now
    }

    fn find(&mut self, name: &RawName) -> rusqlite::Result<Option<Held<Place>>> {
        let key = self.key(name);
        let terms = &self.batch.terms;
        if let Some((found, data)) = rows::with_data(&self.steps.conn, &key)? {
            // Exactly as a look-up does: what an app was told is gone must not come back by its next write.
            let known = self.batch.used.get(&key).copied().unwrap_or(found.stored.last_activity);
            let used = known.max(found.stored.last_activity);
            if let Some((_, reason)) = found.expired_if_used(used, &Clocks::of(terms)) {
                self.end(found, reason)?;
                return Ok(None);
            }
            let (content, revision) = (found.stored.content, found.stored.session.revision);
            self.steps.saw_revision(revision);
            let deadline = found.stored.session.own_end();
            return Ok(Some(Held { content, data, deadline, revision, place: Place::Session(Box::new(found)) }));
        }
        let Some(Plain { row, size, value }) = plain::find(&self.steps.conn, &key)? else { return Ok(None) };
        if value.deadline.is_some_and(|at| at <= terms.now) {
            self.forget_plain(row, size)?;
            return Ok(None);
        }
        let PlainValue { content, data, deadline, revision } = value;
        self.steps.saw_revision(revision);
        Ok(Some(Held { content, data, deadline, revision, place: Place::Plain(row, size) }))
    }

    fn read(&mut self, held: &Held<Place>) {
        if let Place::Session(found) = &held.place
            && self.outcome.read.len() < USES
        {
            self.outcome.read.insert(found.stored.key, found.stored.clone());
        }
    }

    fn put(
        &mut self,
        name: &RawName,
        held: Option<Held<Place>>,
        new: NewValue,
    ) -> rusqlite::Result<Result<Written, RawRefusal>> {
        let was_session = matches!(held, Some(Held { place: Place::Session(_), .. }));
        let is_session = self.batch.settings.redis_door.rule_of(&name.name).is_some();
        let written = self.put_as(is_session, name, held, new)?;
        if let Err(refusal) = written
            && (was_session || is_session)
        {
            self.outcome.refused.push(refusal);
        }
        Ok(written)
    }

    fn is_late_save(&mut self, name: &RawName) -> rusqlite::Result<bool> {
        let key = self.key(name);
        let tombstone = tombstones::get(&self.steps.conn, &key, self.now())?;
        let is_late = tombstone.is_some_and(|tombstone| self.is_late(&key, tombstone));
        self.outcome.late += u64::from(is_late);
        Ok(is_late)
    }

    fn set_deadline(&mut self, _: &RawName, held: Held<Place>, deadline: Option<Timestamp>) -> rusqlite::Result<()> {
        let revision = self.steps.next_revision(self.now());
        match held.place {
            Place::Plain(row, _) => plain::set_deadline(&self.steps.conn, row, deadline, revision),
            Place::Session(found) => {
                let own = self.own_timeout(found.stored.session.created_at, deadline);
                let used = self.used(&found);
                let values = (found.row, own.map(Timeout::as_millis), number(revision), used.as_millis());
                self.steps.conn.prepare_cached(SET_DEADLINE)?.execute(values)?;
                let session = found.stored.session;
                let session = Session { absolute_timeout: own, revision, data: held.data, ..session };
                self.written(StoredSession { session, last_activity: used, ..found.stored });
                Ok(())
            }
        }
    }

    fn remove(&mut self, _: &RawName, held: Held<Place>) -> rusqlite::Result<()> {
        match held.place {
            Place::Plain(row, size) => self.forget_plain(row, size),
            Place::Session(found) => {
                self.given_up.push(found.stored.key);
                self.end(*found, EndReason::Revoked)
            }
        }
    }

    fn rename(
        &mut self,
        from: &RawName,
        held: Held<Place>,
        to: &RawName,
        there: Option<Held<Place>>,
    ) -> rusqlite::Result<Result<(), RawRefusal>> {
        // Where a session would be, a plain key is a value to be saved: of the session there, or of a new one.
        if let Place::Plain(row, size) = held.place
            && self.batch.settings.redis_door.rule_of(&to.name).is_some()
        {
            let Held { content, data, deadline, .. } = held;
            let saved = self.put(to, there, NewValue { content, data, deadline, only_new: false })?;
            if saved.is_ok() {
                self.forget_plain(row, size)?;
            }
            return Ok(saved.map(drop));
        }
        let key = self.key(to);
        if let Place::Session(found) = &held.place
            && let Some(tombstone) = tombstones::get(&self.steps.conn, &key, self.now())?
            && !tombstone.was_left_by(found.stored.session.id)
            && self.is_late(&key, tombstone)
        {
            // It was written under a name of its own to be saved under this one.
            self.outcome.late += 1;
            return self.remove(from, held).map(Ok);
        }
        if let Some(there) = there {
            self.remove(to, there)?;
        }
        let revision = self.steps.next_revision(self.now());
        match held.place {
            Place::Plain(row, size) => {
                self.forget_plain(row, size)?;
                let Held { content, data, deadline, .. } = held;
                self.write_plain(to, None, &PlainValue { content, data, deadline, revision })?;
            }
            Place::Session(found) => {
                let size = found.size - from.name.len() as u64 + to.name.len() as u64;
                let mut statement = self.steps.conn.prepare_cached(RENAME)?;
                statement.execute((
                    found.row,
                    key.as_bytes(),
                    to.database,
                    &to.name[..],
                    number(size),
                    number(revision),
                ))?;
                drop(statement);
                self.steps.ledger.resize(found.size, size);
                self.steps.bury(&found, Way::Moved, self.now(), &self.batch.terms)?;
                // Somebody is here again: what ended under this name before is no matter any more.
                tombstones::remove(&self.steps.conn, &key)?;
                self.given_up.push(found.stored.key);
                self.outcome.moved.push(found.stored.key);
                self.outcome.written.retain(|stored| stored.key != found.stored.key);
                if let Some(read) = self.outcome.read.remove(&found.stored.key) {
                    self.outcome.read.insert(key, StoredSession { key, ..read });
                }
                let session = Session { revision, data: held.data, ..found.stored.session };
                self.written(StoredSession { key, session, ..found.stored });
            }
        }
        Ok(Ok(()))
    }

    fn bind(
        &mut self,
        name: &RawName,
        held: Held<Place>,
        user: Option<&UserName>,
    ) -> rusqlite::Result<Result<bool, RawRefusal>> {
        let Place::Session(found) = held.place else { return Ok(Ok(false)) };
        let bound = user.is_some();
        let user = user.cloned().or_else(|| self.extract(name, held.content, &held.data).user);
        if let Err(refusal) = self.assign(&found, user.as_ref(), bound, found.size_without_user())? {
            return Ok(Err(refusal));
        }
        // Whoever keeps the session in memory takes only what is newer.
        let revision = self.steps.next_revision(self.now());
        self.steps.conn.prepare_cached(REVISE)?.execute((found.row, number(revision)))?;
        let session = Session { user, revision, data: held.data, ..found.stored.session };
        self.written(StoredSession { session, ..found.stored });
        Ok(Ok(true))
    }
}

impl Found {
    fn size_without_user(&self) -> u64 {
        self.size - user_bytes(self.stored.session.user.as_ref())
    }
}

impl Work<'_> {
    fn key(&self, name: &RawName) -> SessionKey {
        self.steps.names.of(name)
    }

    /// Whether a save under a name with a tombstone comes from who does not know of the end, or may not undo it.
    fn is_late(&self, key: &SessionKey, tombstone: Tombstone) -> bool {
        let told = || self.batch.told_absent.iter().any(|(told, at)| told == key && *at >= tombstone.ended_at);
        tombstone.way == Way::Final || !(told() || self.given_up.contains(key))
    }

    /// Writes a value as a session or a plain key.
    fn put_as(
        &mut self,
        is_session: bool,
        name: &RawName,
        held: Option<Held<Place>>,
        new: NewValue,
    ) -> rusqlite::Result<Result<Written, RawRefusal>> {
        let (bytes, limit) = (new.data.len() as u64, self.batch.settings.limits.session_bytes);
        if bytes > limit {
            return Ok(Err(RawRefusal::TooLarge { bytes, limit }));
        }
        match held.map(|held| held.place) {
            // What it is it stays until it ends, whatever the rules say by now.
            Some(Place::Session(found)) => Ok(self.rewrite(&found, name, new)?.map(|()| Written::Kept)),
            Some(Place::Plain(row, size)) if is_session => {
                let outcome = self.create(name, new)?;
                if outcome == Ok(Written::Kept) {
                    self.forget_plain(row, size)?;
                }
                Ok(outcome)
            }
            None if is_session => self.create(name, new),
            Some(Place::Plain(row, size)) => self.put_plain(name, Some((row, size)), new),
            None => self.put_plain(name, None, new),
        }
    }

    /// Gives a session a new value.
    fn rewrite(&mut self, found: &Found, name: &RawName, new: NewValue) -> rusqlite::Result<Result<(), RawRefusal>> {
        let identity = self.identify(name, &new);
        // A value that cannot be read does not say that the user has gone, and no value says more than a call.
        let says = identity.known && !found.bound;
        let user = if says { identity.user } else { found.stored.session.user.clone() };
        let size = plain::size_of(name, &new.data);
        let grown = (size + user_bytes(user.as_ref())).saturating_sub(found.size);
        if grown > 0 && !self.may_grow(grown)? {
            return Ok(Err(RawRefusal::StorageFull));
        }
        if let Err(refusal) = self.assign(found, user.as_ref(), found.bound, size)? {
            return Ok(Err(refusal));
        }
        let revision = self.steps.next_revision(self.now());
        let own = self.own_timeout(found.stored.session.created_at, new.deadline);
        let last_activity = self.used(found);
        let (content, deadline) = (rows::content_number(new.content), own.map(Timeout::as_millis));
        let values = (found.row, deadline, number(revision), last_activity.as_millis(), content, &new.data[..]);
        self.steps.conn.prepare_cached(REWRITE)?.execute(values)?;
        let session = Session { user, absolute_timeout: own, revision, data: new.data, ..found.stored.session };
        self.written(StoredSession { session, last_activity, content: new.content, ..found.stored });
        Ok(Ok(()))
    }

    /// Makes a new session.
    fn create(&mut self, name: &RawName, new: NewValue) -> rusqlite::Result<Result<Written, RawRefusal>> {
        let key = self.key(name);
        let terms = self.batch.terms;
        let tombstone = tombstones::get(&self.steps.conn, &key, terms.now)?;
        if let Some(tombstone) = tombstone
            && (tombstone.way == Way::Final || !new.only_new)
            && self.is_late(&key, tombstone)
        {
            self.outcome.late += 1;
            return Ok(Ok(Written::Dropped));
        }
        let identity = self.identify(name, &new);
        let settings = &self.batch.settings;
        let counted = match identity.ip {
            None => None,
            Some(ip) => match self.batch.admission.admit(ip, terms.now) {
                None => return Ok(Err(RawRefusal::CreationRate)),
                counted => counted,
            },
        };
        let user = identity.user.as_ref().and_then(|user| settings.limits.per_user.of(user.as_str()));
        let limits = CreateLimits { user, capacity: settings.limits.stored };
        let created_at = identity.created_at.map_or(terms.now, |at| at.min(terms.now));
        let stored = StoredSession {
            key,
            session: Session {
                id: SessionId::generate(terms.now, &*self.steps.generator),
                user: identity.user,
                created_at,
                idle_timeout: None,
                absolute_timeout: self.own_timeout(created_at, new.deadline),
                revision: self.steps.next_revision(terms.now),
                data: new.data,
            },
            last_activity: terms.now,
            content: new.content,
        };
        let ended = match self.steps.create(&stored, Some(name), &limits, &terms)? {
            Ok(ended) => ended,
            Err(CreateError::UserLimit) => return Ok(Err(refused_by(limits.user))),
            Err(CreateError::StorageFull | CreateError::Store(_)) => return Ok(Err(RawRefusal::StorageFull)),
        };
        if tombstone.is_some() {
            tombstones::remove(&self.steps.conn, &key)?;
        }
        self.ended(ended);
        self.outcome.created += 1;
        self.outcome.counted.extend(counted);
        self.written(stored);
        Ok(Ok(Written::Kept))
    }

    /// Whose a new value is. Counts those that nobody can read.
    fn identify(&mut self, name: &RawName, new: &NewValue) -> Identity {
        let identity = self.extract(name, new.content, &new.data);
        self.outcome.unknown += u64::from(!identity.known);
        identity
    }

    /// Whose a value is.
    fn extract(&self, name: &RawName, content: Content, data: &[u8]) -> Identity {
        let Some(rule) = self.batch.settings.redis_door.rule_of(&name.name) else { return Identity::default() };
        let identity = match content {
            Content::Hash => rule.extract(Raw::Fields(&Fields::of(data).into_iter().collect::<Vec<_>>())),
            Content::Json | Content::Text => rule.extract(Raw::Value(data)),
        };
        // Found without a rule that says where, it may be when the account was made: the session would be over at birth.
        Identity { created_at: identity.created_at.filter(|_| rule.created().is_some()), ..identity }
    }

    /// Makes a session a user's, whose limit it then must keep, and gives it a size without the user's name.
    fn assign(
        &mut self,
        found: &Found,
        user: Option<&UserName>,
        bound: bool,
        size: u64,
    ) -> rusqlite::Result<Result<(), RawRefusal>> {
        let is_new = user != found.stored.session.user.as_ref();
        let size = size + user_bytes(user);
        if !is_new && size == found.size && bound == found.bound {
            return Ok(Ok(()));
        }
        if let Some(user) = user.filter(|_| is_new) {
            let limit = self.batch.settings.limits.per_user.of(user.as_str());
            let mark = self.steps.ledger.mark();
            let mut plan = Plan::new(&self.steps.conn, &mut self.steps.ledger, Clocks::of(&self.batch.terms));
            let fits = plan.place_of(user, limit)?;
            let victims = plan.chosen();
            if !fits {
                self.steps.ledger.roll_back_to(mark);
                return Ok(Err(refused_by(limit)));
            }
            self.end_all(victims)?;
        }
        let mut holding = found.holding();
        self.steps.ledger.remove(holding.clone());
        (holding.user, holding.size) = (user.cloned(), size);
        let name = user.map(UserName::as_str);
        self.steps.conn.prepare_cached(REASSIGN)?.execute((found.row, name, number(size), bound))?;
        self.steps.ledger.add(holding);
        Ok(Ok(()))
    }

    /// Whether the tier has room for so many bytes more.
    fn may_grow(&mut self, bytes: u64) -> rusqlite::Result<bool> {
        let Capacity { bytes: cap, .. } = self.batch.settings.limits.stored;
        let fits = cap.is_none_or(|cap| self.steps.ledger.bytes() + bytes <= cap);
        Ok(fits && self.steps.may_grow(self.batch.terms.now)?)
    }

    fn put_plain(
        &mut self,
        name: &RawName,
        held: Option<(i64, u64)>,
        new: NewValue,
    ) -> rusqlite::Result<Result<Written, RawRefusal>> {
        let now = self.now();
        if held.is_none() {
            self.steps.tidy_plain(now, plain::TIDIED_BY_EACH)?;
        }
        let more = plain::weight(plain::size_of(name, &new.data));
        let less = held.map_or(0, |(_, size)| plain::weight(size));
        let cap = self.batch.settings.redis_door.plain_bytes;
        let fits = |work: &Self| work.steps.ledger.plain_bytes() - less + more <= cap;
        if more > less {
            // Each turn frees as much as many small keys take, so there are not many.
            while !fits(self) && self.steps.tidy_plain(now, super::reserve::STEP_WHEN_FULL)? > 0 {}
            if !fits(self) || !self.steps.may_grow(now)? {
                return Ok(Err(RawRefusal::StorageFull));
            }
        }
        let revision = self.steps.next_revision(now);
        let value = PlainValue { content: new.content, data: new.data, deadline: new.deadline, revision };
        self.write_plain(name, held, &value)?;
        Ok(Ok(Written::Kept))
    }

    fn write_plain(&mut self, name: &RawName, held: Option<(i64, u64)>, value: &PlainValue) -> rusqlite::Result<()> {
        match held {
            Some((row, _)) => plain::replace(&self.steps.conn, row, name, value)?,
            None => plain::insert(&self.steps.conn, &self.key(name), name, value)?,
        }
        let less = held.map_or(0, |(_, size)| plain::weight(size));
        let more = plain::weight(plain::size_of(name, &value.data));
        self.steps.ledger.set_plain_bytes(self.steps.ledger.plain_bytes() - less + more);
        Ok(())
    }

    fn forget_plain(&mut self, row: i64, size: u64) -> rusqlite::Result<()> {
        plain::delete(&self.steps.conn, row)?;
        self.steps.ledger.set_plain_bytes(self.steps.ledger.plain_bytes() - plain::weight(size));
        Ok(())
    }

    /// A write is a use: when the session was last used, now that it is written.
    fn used(&mut self, found: &Found) -> Timestamp {
        let before = found.stored.last_activity;
        let used = before.max(self.now());
        self.outcome.read.remove(&found.stored.key);
        self.steps.ledger.touch(before, used);
        used
    }

    /// An own timeout that ends then, and no later than sessions may.
    fn own_timeout(&self, created_at: Timestamp, deadline: Option<Timestamp>) -> Option<Timeout> {
        let own = Timeout::between(created_at, deadline?);
        Some(self.batch.terms.lifetimes.absolute_timeout.map_or(own, |longest| own.min(Timeout::of(longest))))
    }

    fn end(&mut self, found: Found, reason: EndReason) -> rusqlite::Result<()> {
        self.steps.ledger.remove(found.holding());
        self.end_all(vec![(found, reason)])
    }

    fn end_all(&mut self, victims: Vec<(Found, EndReason)>) -> rusqlite::Result<()> {
        let ended = self.steps.end_chosen(victims, &self.batch.terms)?;
        self.ended(ended);
        Ok(())
    }

    /// Notes sessions that have ended.
    fn ended(&mut self, ended: Vec<Ended>) {
        self.outcome.written.retain(|written| !ended.iter().any(|ended| ended.key == written.key));
        for Ended { key, .. } in &ended {
            self.outcome.read.remove(key);
        }
        self.outcome.ended.extend(ended);
    }

    /// Notes how a session now is.
    fn written(&mut self, stored: StoredSession) {
        self.outcome.written.retain(|written| written.key != stored.key);
        self.outcome.written.push(stored);
    }
}

fn user_bytes(user: Option<&UserName>) -> u64 {
    user.map_or(0, |user| user.as_str().len() as u64)
}

fn refused_by(limit: Option<UserLimit>) -> RawRefusal {
    RawRefusal::UserLimit { limit: limit.map_or(0, |limit| limit.sessions) }
}
