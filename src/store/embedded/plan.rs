//! Whom to end: chosen first, and ended only once it is known that it helps.
//!
//! The ledger runs ahead of the rows: a chosen session is taken out of it at once, so that "the heaviest user" and
//! "enough room" are always said of what would remain. A plan that comes to nothing rolls the ledger back.

use std::collections::{HashMap, HashSet, VecDeque};

use rusqlite::Connection;

use super::ledger::Ledger;
use super::rows::{self, Clocks, Found};
use crate::session::{Capacity, EndReason, OnExcess, Session, StoredSession, UserLimit, UserName};
use crate::store::Cursor;

/// Sessions chosen so far, each with its reason, in the order in which they are to end.
pub(super) struct Plan<'a> {
    conn: &'a Connection,
    ledger: &'a mut Ledger,
    clocks: Clocks,
    chosen: Vec<(Found, EndReason)>,
    taken: HashSet<i64>,
    /// Where the reading of a user's oldest sessions has come to.
    oldest: HashMap<UserName, Oldest>,
}

/// A user's sessions by creation, read a page at a time.
#[derive(Default)]
struct Oldest {
    page: VecDeque<Found>,
    behind: Option<Cursor>,
}

/// Rows in such a page. Most of the time one is wanted.
const PAGE: usize = 16;

/// What must fit: how much, under which cap, for how many victims at most.
pub(super) struct Room {
    pub(super) cap: Capacity,
    pub(super) sessions: u64,
    pub(super) bytes: u64,
    pub(super) max: usize,
}

impl Room {
    /// Room for one more session, whose name takes so many bytes.
    pub(super) fn for_newcomer(newcomer: &Session, name_bytes: u64, cap: Capacity, max: usize) -> Self {
        Self { cap, sessions: 1, bytes: newcomer.stored_bytes() + name_bytes, max }
    }

    /// Whether it can ever fit: even an empty tier has but its cap.
    fn is_possible(&self) -> bool {
        self.cap.sessions.is_none_or(|cap| self.sessions <= cap) && self.cap.bytes.is_none_or(|cap| self.bytes <= cap)
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(conn: &'a Connection, ledger: &'a mut Ledger, clocks: Clocks) -> Self {
        Self { conn, ledger, clocks, chosen: Vec::new(), taken: HashSet::new(), oldest: HashMap::new() }
    }

    /// Whom it came to.
    pub(super) fn chosen(self) -> Vec<(Found, EndReason)> {
        self.chosen
    }

    /// How many are chosen.
    pub(super) fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Chooses these.
    pub(super) fn choose(&mut self, found: impl IntoIterator<Item = Found>, reason: EndReason) {
        for found in found {
            self.choose_one(found, reason);
        }
    }

    /// Chooses a user's expired sessions, at most `max`, the longest overdue first.
    fn expired_of(&mut self, user: &UserName, max: usize) -> rusqlite::Result<()> {
        if self.ledger.count(user) > 0 {
            for (found, reason) in rows::due_of_user(self.conn, user, &self.clocks)?.into_iter().take(max) {
                self.choose_one(found, reason);
            }
        }
        Ok(())
    }

    /// Chooses the sessions that expired, at most `max`, the longest overdue first.
    pub(super) fn expired(&mut self, max: usize) -> rusqlite::Result<()> {
        for (found, reason) in rows::due(self.conn, &self.clocks, max)? {
            self.choose_one(found, reason);
        }
        Ok(())
    }

    /// Chooses the stale, at most `max`, the longest unused first.
    pub(super) fn stale(&mut self, max: usize) -> rusqlite::Result<()> {
        let stale = rows::stale(self.conn, &self.clocks, max + self.taken.len())?;
        let fresh: Vec<_> = stale.into_iter().filter(|found| !self.taken.contains(&found.row)).take(max).collect();
        self.choose(fresh, EndReason::Stale);
        Ok(())
    }

    /// Chooses whom one more session of a user costs theirs: the expired, and the surplus under the limit, if there is
    /// one. False: there is to be none.
    pub(super) fn place_of(&mut self, user: &UserName, limit: Option<UserLimit>) -> rusqlite::Result<bool> {
        self.expired_of(user, usize::MAX)?;
        limit.map_or(Ok(true), |limit| self.surplus_for_newcomer(user, limit))
    }

    /// Chooses a user's whole surplus, the newcomer counted. False: the newcomer is to be refused.
    fn surplus_for_newcomer(&mut self, user: &UserName, limit: UserLimit) -> rusqlite::Result<bool> {
        let count = self.ledger.count(user);
        if count < limit.sessions {
            return Ok(true);
        }
        // Where no session is allowed, none can make room either.
        if limit.on_excess == OnExcess::Reject || limit.sessions == 0 {
            return Ok(false);
        }
        let surplus = count + 1 - limit.sessions;
        self.surplus(user, limit.on_excess, usize::try_from(surplus).unwrap_or(usize::MAX))?;
        Ok(true)
    }

    /// Chooses what a user has above the limit, at most `max`: first the expired, which may be enough.
    pub(super) fn trim(&mut self, user: &UserName, limit: UserLimit, max: usize) -> rusqlite::Result<()> {
        let last = self.chosen.len() + max;
        self.expired_of(user, max)?;
        let surplus = self.ledger.count(user).saturating_sub(limit.sessions);
        let surplus = usize::try_from(surplus).unwrap_or(usize::MAX);
        self.surplus(user, limit.on_excess, surplus.min(last - self.chosen.len()))
    }

    /// Chooses so many of a user's sessions, by the limit's policy.
    fn surplus(&mut self, user: &UserName, policy: OnExcess, surplus: usize) -> rusqlite::Result<()> {
        let sql = match policy {
            OnExcess::EvictOldest => rows::OF_USER,
            OnExcess::EvictIdlest => rows::IDLEST_OF_USER,
            OnExcess::Reject => return Ok(()),
        };
        let surplus = self.untaken(sql, Some(user), None, surplus)?;
        self.choose(surplus, EndReason::UserLimit);
        Ok(())
    }

    /// Chooses others until a newcomer fits. False: it cannot be made to.
    pub(super) fn room_for_newcomer(&mut self, newcomer: &StoredSession, room: &Room) -> rusqlite::Result<bool> {
        if !room.is_possible() {
            return Ok(false);
        }
        let last = self.chosen.len() + room.max;
        self.room_from_expired(room, last)?;
        let user = newcomer.session.user.as_ref();
        if let Some(user) = user {
            while self.left(room, last) > 0 && self.is_heaviest(user) {
                let Some(oldest) = self.oldest_of(user)? else { break };
                self.choose_one(oldest, EndReason::StorageCap);
            }
        }
        self.room_from_anonymous(room, last)?;
        // Nobody who has a name goes for somebody who has none.
        if let Some(user) = user {
            self.room_from_stale(room, last)?;
            self.room_from_heaviest(room, last, |ledger, count| count > ledger.count(user) + 1)?;
        }
        Ok(self.short_of(room) == 0)
    }

    /// Chooses sessions until what is there keeps a cap, or nobody is left whom that may cost a session.
    pub(super) fn room(&mut self, room: &Room) -> rusqlite::Result<()> {
        let last = room.max;
        self.room_from_expired(room, last)?;
        // Before the stale: a flood without names must not log out those who have one and are away.
        self.room_from_anonymous(room, last)?;
        self.room_from_stale(room, last)?;
        self.room_from_heaviest(room, last, |_, count| count > 1)
    }

    fn room_from_expired(&mut self, room: &Room, last: usize) -> rusqlite::Result<()> {
        let wanted = self.left(room, last);
        if wanted == 0 {
            return Ok(());
        }
        for (found, reason) in rows::due(self.conn, &self.clocks, wanted + self.taken.len())? {
            if self.left(room, last) == 0 {
                break;
            }
            self.choose_one(found, reason);
        }
        Ok(())
    }

    fn room_from_stale(&mut self, room: &Room, last: usize) -> rusqlite::Result<()> {
        let wanted = self.left(room, last);
        if wanted > 0 {
            let stale = rows::stale(self.conn, &self.clocks, wanted + self.taken.len())?;
            self.choose_while_short(stale, room, last);
        }
        Ok(())
    }

    /// The stale, the longest unused first, then the others, the first created first.
    fn room_from_anonymous(&mut self, room: &Room, last: usize) -> rusqlite::Result<()> {
        let stale_before = self.clocks.stale_before().as_millis();
        let wanted = self.left(room, last);
        let stale = self.untaken(rows::STALE_ANONYMOUS, None, Some(stale_before), wanted)?;
        self.choose_while_short(stale, room, last);
        let wanted = self.left(room, last);
        let anonymous = self.untaken(rows::ANONYMOUS, None, None, wanted)?;
        self.choose_while_short(anonymous, room, last);
        Ok(())
    }

    /// The heaviest user's oldest, again and again, while `may_give` allows it of a user with so many sessions.
    fn room_from_heaviest(
        &mut self,
        room: &Room,
        last: usize,
        may_give: impl Fn(&Ledger, u64) -> bool,
    ) -> rusqlite::Result<()> {
        while self.left(room, last) > 0 {
            let heaviest = self.ledger.heaviest().filter(|&(_, count)| may_give(self.ledger, count));
            let Some(user) = heaviest.map(|(user, _)| user.clone()) else { break };
            let Some(oldest) = self.oldest_of(&user)? else { break };
            self.choose_one(oldest, EndReason::StorageCap);
        }
        Ok(())
    }

    /// The first created of a user's sessions that are not chosen yet.
    fn oldest_of(&mut self, user: &UserName) -> rusqlite::Result<Option<Found>> {
        let oldest = self.oldest.entry(user.clone()).or_default();
        loop {
            while let Some(found) = oldest.page.pop_front() {
                if !self.taken.contains(&found.row) {
                    return Ok(Some(found));
                }
            }
            oldest.page = rows::oldest_of(self.conn, user, oldest.behind, PAGE)?.into();
            let Some(Found { stored, .. }) = oldest.page.back() else { return Ok(None) };
            oldest.behind = Some(Cursor { created_at: stored.session.created_at, id: stored.session.id });
        }
    }

    fn is_heaviest(&self, user: &UserName) -> bool {
        let count = self.ledger.count(user);
        count > 0 && self.ledger.heaviest().is_some_and(|(_, most)| most == count)
    }

    /// The first `max` rows of a query that are not chosen yet. The query's parameter is the user, if one is given,
    /// or the time, if one is given.
    fn untaken(
        &self,
        sql: &str,
        user: Option<&UserName>,
        before: Option<i64>,
        max: usize,
    ) -> rusqlite::Result<Vec<Found>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let most = max.saturating_add(self.taken.len());
        let found = match (user, before) {
            (Some(user), _) => rows::all(self.conn, sql, &[&user.as_str()], most)?,
            (None, Some(before)) => rows::all(self.conn, sql, &[&before], most)?,
            (None, None) => rows::all(self.conn, sql, &[], most)?,
        };
        Ok(found.into_iter().filter(|found| !self.taken.contains(&found.row)).take(max).collect())
    }

    fn choose_while_short(&mut self, found: Vec<Found>, room: &Room, last: usize) {
        for found in found {
            if self.left(room, last) == 0 {
                break;
            }
            self.choose_one(found, EndReason::StorageCap);
        }
    }

    fn choose_one(&mut self, found: Found, reason: EndReason) {
        if self.taken.insert(found.row) {
            self.ledger.remove(found.holding());
            self.chosen.push((found, reason));
        }
    }

    /// How many more victims may and need be chosen.
    fn left(&self, room: &Room, last: usize) -> usize {
        self.short_of(room).min(last.saturating_sub(self.chosen.len()))
    }

    /// The most victims that are still needed: each frees one session and at least its overhead.
    fn short_of(&self, room: &Room) -> usize {
        let over = |held: u64, more: u64, cap: Option<u64>| cap.map_or(0, |cap| (held + more).saturating_sub(cap));
        let sessions = over(self.ledger.sessions(), room.sessions, room.cap.sessions);
        let bytes = over(self.ledger.bytes(), room.bytes, room.cap.bytes);
        let victims = sessions.max(bytes.div_ceil(Session::STORED_OVERHEAD));
        usize::try_from(victims).unwrap_or(usize::MAX)
    }
}
