//! Rows of `sessions` as values, and the queries that find them.
//!
//! Every query names its index: SQLite then refuses the statement rather than scan the table, should one of them ever
//! stop to fit.

use std::time::Duration;

use rusqlite::types::ToSql;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::error::is_unreadable;
use super::ledger::Holding;
use crate::clock::Timestamp;
use crate::session::{
    Content, EndReason, Lifetimes, RawName, Session, SessionId, SessionKey, StoredSession, Timeout, UserName, Verdict,
};
use crate::store::{Cursor, Terms};

/// A row without its data.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The row's number: grows with insertion and stays through every change.
    pub(super) row: i64,
    /// Bytes of data, user and name.
    pub(super) size: u64,
    /// The session, its data left empty.
    pub(super) stored: StoredSession,
    /// The name that the app gave it.
    pub(super) name: Option<RawName>,
    /// Whether a call has said who the user is.
    pub(super) bound: bool,
}

impl Found {
    pub(super) fn holding(&self) -> Holding {
        Holding { user: self.stored.session.user.clone(), size: self.size, last_activity: self.stored.last_activity }
    }

    /// When it ends and by which clock, if that is over at `now`; the idle clock runs `grace` longer.
    pub(super) fn expired(&self, clocks: &Clocks) -> Option<(Timestamp, EndReason)> {
        self.expired_if_used(self.stored.last_activity + clocks.grace, clocks)
    }

    /// The same of one that is judged by itself, not among all by an index: its own activity may be unsaved for less
    /// long than that of others.
    pub(super) fn expired_alone(&self, clocks: &Clocks) -> Option<(Timestamp, EndReason)> {
        let unsaved = clocks.lifetimes.clocks().touch_interval_of(&self.stored.session);
        let unsaved = Duration::from_millis(u64::try_from(unsaved).unwrap_or(0));
        self.expired(&Clocks { grace: clocks.grace.min(unsaved), ..*clocks })
    }

    /// The same of a session that was last used then.
    pub(super) fn expired_if_used(&self, used: Timestamp, clocks: &Clocks) -> Option<(Timestamp, EndReason)> {
        match clocks.lifetimes.judge(&self.stored.session, used, clocks.now) {
            Verdict::Expired(reason) => {
                let end = clocks.lifetimes.end_of(&self.stored.session, used).0;
                Some((end, if self.by_the_app(reason, clocks) { EndReason::Idle } else { reason }))
            }
            Verdict::Live { .. } => None,
        }
    }
}

impl Found {
    /// Whether the clock is a time to live that the app has set, and not renewed.
    fn by_the_app(&self, reason: EndReason, clocks: &Clocks) -> bool {
        let own = self.stored.session.absolute_timeout.map(Timeout::as_millis);
        let longest = clocks.lifetimes.clocks().absolute;
        self.name.is_some() && reason == EndReason::Absolute && own.is_some_and(|own| own < longest)
    }
}

/// What decides whether a session is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) lifetimes: Lifetimes,
    pub(super) now: Timestamp,
    /// How much longer the idle clocks run, because a saved activity may be so much too old.
    pub(super) grace: Duration,
}

impl Clocks {
    pub(super) fn of(terms: &Terms) -> Self {
        Self { lifetimes: terms.lifetimes, now: terms.now, grace: terms.grace }
    }

    /// A session used then or before, and without an idle timeout of its own, has expired.
    fn idle_before(&self) -> Timestamp {
        self.own_idle_before() - self.lifetimes.idle_timeout
    }

    /// An idle timeout of a session's own that ended then or before has expired.
    fn own_idle_before(&self) -> Timestamp {
        self.now - self.grace
    }

    /// A session used then or before is stale.
    pub(super) fn stale_before(&self) -> Timestamp {
        self.own_idle_before() - self.lifetimes.stale_after
    }
}

/// Builds a query for [`Found`] rows from its tail.
macro_rules! found {
    ($tail:literal) => {
        concat!(
            "SELECT row, key, id, user, created_at, last_activity, idle_ms, absolute_ms, revision, content, ",
            "size, database, name, bound FROM sessions ",
            $tail
        )
    };
}

/// Builds a query for whole sessions from its tail.
macro_rules! whole {
    ($tail:literal) => {
        concat!(
            "SELECT row, key, id, user, created_at, last_activity, idle_ms, absolute_ms, revision, content, data ",
            "FROM sessions ",
            $tail
        )
    };
}

pub(super) const BY_KEY: &str = found!("WHERE key = ?1");
pub(super) const BY_ID: &str = found!("WHERE id = ?1");
/// A user's sessions, the first created first.
pub(super) const OF_USER: &str = found!("INDEXED BY sessions_of_user WHERE user = ?1 ORDER BY created_at, id");
/// The same, those behind a place.
const OF_USER_BEHIND: &str =
    found!("INDEXED BY sessions_of_user WHERE user = ?1 AND (created_at, id) > (?2, ?3) ORDER BY created_at, id");
/// A user's sessions, the longest unused first.
pub(super) const IDLEST_OF_USER: &str =
    found!("INDEXED BY activity_of_user WHERE user = ?1 ORDER BY last_activity, row");
/// Anonymous sessions, the first created first.
pub(super) const ANONYMOUS: &str = found!("INDEXED BY sessions_of_user WHERE user IS NULL ORDER BY created_at, id");
/// Anonymous sessions last used at a time or before, the longest unused first.
pub(super) const STALE_ANONYMOUS: &str =
    found!("INDEXED BY activity_of_user WHERE user IS NULL AND last_activity <= ?1 ORDER BY last_activity, row");
/// Sessions last used at a time or before: those that follow the idle timeout of the configuration …
pub(super) const USED_BEFORE: &str =
    found!("INDEXED BY activity WHERE idle_ms IS NULL AND last_activity <= ?1 ORDER BY last_activity, row");
/// … and those that have their own.
pub(super) const OWN_USED_BEFORE: &str =
    found!("INDEXED BY own_activity WHERE idle_ms IS NOT NULL AND last_activity <= ?1 ORDER BY last_activity, row");
/// Sessions whose own idle timeout ended at a time or before.
pub(super) const OWN_IDLE_BEFORE: &str = found!(
    "INDEXED BY own_idle_end WHERE idle_ms IS NOT NULL AND last_activity + idle_ms <= ?1 \
     ORDER BY last_activity + idle_ms, row"
);
/// Sessions created at a time or before that follow the absolute timeout of the configuration.
pub(super) const CREATED_BEFORE: &str =
    found!("INDEXED BY creation WHERE absolute_ms IS NULL AND created_at <= ?1 ORDER BY created_at, row");
/// Sessions whose own absolute timeout ended at a time or before.
pub(super) const OWN_ABSOLUTE_BEFORE: &str = found!(
    "INDEXED BY own_absolute_end WHERE absolute_ms IS NOT NULL AND created_at + absolute_ms <= ?1 \
     ORDER BY created_at + absolute_ms, row"
);
/// A user's sessions last used at a time or before.
pub(super) const USED_BEFORE_OF_USER: &str =
    found!("INDEXED BY activity_of_user WHERE user = ?1 AND last_activity <= ?2 AND idle_ms IS NULL");
/// A user's sessions created at a time or before.
pub(super) const CREATED_BEFORE_OF_USER: &str =
    found!("INDEXED BY sessions_of_user WHERE user = ?1 AND created_at <= ?2 AND absolute_ms IS NULL");
/// A user's sessions with timeouts of their own.
pub(super) const OWN_OF_USER: &str =
    found!("INDEXED BY own_timeouts_of_user WHERE user = ?1 AND (idle_ms IS NOT NULL OR absolute_ms IS NOT NULL)");

const BY_KEY_WITH_DATA: &str = concat!(
    "SELECT row, key, id, user, created_at, last_activity, idle_ms, absolute_ms, revision, content, ",
    "size, database, name, bound, data FROM sessions WHERE key = ?1"
);
const OF_DATABASE: &str =
    found!("INDEXED BY sessions_of_database WHERE database = ?1 AND row > ?2 ORDER BY row LIMIT ?3");
const WHOLE_BY_KEY: &str = whole!("WHERE key = ?1");
const WHOLE_BY_ID: &str = whole!("WHERE id = ?1");

/// Every query that must follow an index, for the test of their plans.
#[cfg(test)]
pub(super) const INDEXED: [&str; 17] = [
    BY_KEY,
    BY_KEY_WITH_DATA,
    OF_DATABASE,
    BY_ID,
    OF_USER,
    OF_USER_BEHIND,
    IDLEST_OF_USER,
    ANONYMOUS,
    STALE_ANONYMOUS,
    USED_BEFORE,
    OWN_USED_BEFORE,
    OWN_IDLE_BEFORE,
    CREATED_BEFORE,
    OWN_ABSOLUTE_BEFORE,
    USED_BEFORE_OF_USER,
    CREATED_BEFORE_OF_USER,
    OWN_OF_USER,
];

/// A number for a column: SQLite's integers are signed.
pub(super) fn number<N: TryInto<i64>>(value: N) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A number out of a column.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

pub(super) fn user(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<UserName>> {
    Ok(row.get_ref(column)?.as_str_or_null()?.map(UserName::from_stored))
}

fn timeout(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timeout>> {
    let ms = row.get_ref(column)?.as_i64_or_null()?;
    Ok(ms.map(Timeout::from_millis))
}

fn stored(row: &Row<'_>, data: Box<[u8]>) -> rusqlite::Result<StoredSession> {
    Ok(StoredSession {
        key: SessionKey::from_bytes(row.get(1)?),
        session: Session {
            id: SessionId::from_bytes(row.get(2)?),
            user: user(row, 3)?,
            created_at: time(row, 4)?,
            idle_timeout: timeout(row, 6)?,
            absolute_timeout: timeout(row, 7)?,
            revision: count(row, 8)?,
            data,
        },
        last_activity: time(row, 5)?,
        content: content(row, 9)?,
    })
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        row: row.get(0)?,
        size: count(row, 10)?,
        stored: stored(row, Box::default())?,
        name: name(row, 11)?,
        bound: row.get(13)?,
    })
}

fn whole(row: &Row<'_>) -> rusqlite::Result<StoredSession> {
    stored(row, row.get(10)?)
}

/// The number that stands for what a session's data is.
pub(super) fn content_number(content: Content) -> i64 {
    match content {
        Content::Json => 0,
        Content::Text => 1,
        Content::Hash => 2,
    }
}

pub(super) fn content(row: &Row<'_>, column: usize) -> rusqlite::Result<Content> {
    match row.get(column)? {
        0 => Ok(Content::Json),
        1 => Ok(Content::Text),
        2 => Ok(Content::Hash),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

/// A key space and, behind it, a name.
fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<RawName>> {
    let Some(database) = row.get(column)? else { return Ok(None) };
    Ok(Some(RawName { database, name: row.get(column + 1)? }))
}

/// The row that a query finds by key or id.
pub(super) fn one(conn: &Connection, sql: &str, name: &[u8]) -> rusqlite::Result<Option<Found>> {
    conn.prepare_cached(sql)?.query_row([name], found).optional()
}

/// The same, if the row can be read.
pub(super) fn one_readable(conn: &Connection, sql: &str, name: &[u8]) -> rusqlite::Result<Option<Found>> {
    conn.prepare_cached(sql)?.query_row([name], readable).optional().map(Option::flatten)
}

/// The first `max` rows that a query finds, in its order, without those that cannot be read: whom to end is chosen among
/// these, and a damaged row shall keep no other from its end.
pub(super) fn all(conn: &Connection, sql: &str, params: &[&dyn ToSql], max: usize) -> rusqlite::Result<Vec<Found>> {
    let mut statement: CachedStatement<'_> = conn.prepare_cached(sql)?;
    statement.query_map(params, readable)?.filter_map(Result::transpose).take(max).collect()
}

/// The first `max` rows that a query finds, in its order. An error if one cannot be read: of a page of a listing none
/// may be missing, or whoever asked would take it for the last one.
fn page(conn: &Connection, sql: &str, params: &[&dyn ToSql], max: usize) -> rusqlite::Result<Vec<Found>> {
    let mut statement: CachedStatement<'_> = conn.prepare_cached(sql)?;
    statement.query_map(params, found)?.take(max).collect()
}

/// One of these two.
type Read = fn(&Connection, &str, &[&dyn ToSql], usize) -> rusqlite::Result<Vec<Found>>;

/// A row, unless what it holds is damaged. Then it stays where it is, and the log says so.
fn readable(row: &Row<'_>) -> rusqlite::Result<Option<Found>> {
    match found(row) {
        Err(error) if is_unreadable(&error) => {
            let row: i64 = row.get(0)?;
            tracing::error!(row, %error, "a session in the store cannot be read: it can neither be used nor end");
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// Sessions whose time is over, at most `max`, the longest overdue first, each with its clock.
///
/// Each clock's own index gives its first `max`. A session among the first `max` of all is among the first `max` of
/// the clock that ends it, since whatever precedes it there has ended no later; so the union holds the answer.
pub(super) fn due(conn: &Connection, clocks: &Clocks, max: usize) -> rusqlite::Result<Vec<(Found, EndReason)>> {
    let mut candidates = all(conn, USED_BEFORE, &[&clocks.idle_before().as_millis()], max)?;
    candidates.extend(all(conn, OWN_IDLE_BEFORE, &[&clocks.own_idle_before().as_millis()], max)?);
    if let Some(absolute) = clocks.lifetimes.absolute_timeout {
        candidates.extend(all(conn, CREATED_BEFORE, &[&(clocks.now - absolute).as_millis()], max)?);
    }
    candidates.extend(all(conn, OWN_ABSOLUTE_BEFORE, &[&clocks.now.as_millis()], max)?);
    let mut due = judged(candidates, |found| found.expired(clocks));
    due.truncate(max);
    Ok(due)
}

/// A user's sessions whose time is over, the longest overdue first, each with its clock.
pub(super) fn due_of_user(
    conn: &Connection,
    user: &UserName,
    clocks: &Clocks,
) -> rusqlite::Result<Vec<(Found, EndReason)>> {
    let user = user.as_str();
    let mut candidates = all(conn, USED_BEFORE_OF_USER, &[&user, &clocks.idle_before().as_millis()], usize::MAX)?;
    if let Some(absolute) = clocks.lifetimes.absolute_timeout {
        candidates.extend(all(
            conn,
            CREATED_BEFORE_OF_USER,
            &[&user, &(clocks.now - absolute).as_millis()],
            usize::MAX,
        )?);
    }
    candidates.extend(all(conn, OWN_OF_USER, &[&user], usize::MAX)?);
    Ok(judged(candidates, |found| found.expired_alone(clocks)))
}

/// The expired among the candidates, each once, the longest overdue first.
fn judged(
    candidates: Vec<Found>,
    expired: impl Fn(&Found) -> Option<(Timestamp, EndReason)>,
) -> Vec<(Found, EndReason)> {
    let mut expired: Vec<_> =
        candidates.into_iter().filter_map(|found| expired(&found).map(|(end, reason)| (end, found, reason))).collect();
    expired.sort_by_key(|(end, found, _)| (*end, found.row));
    expired.dedup_by_key(|(_, found, _)| found.row);
    expired.into_iter().map(|(_, found, reason)| (found, reason)).collect()
}

/// Stale sessions, at most `max`, the longest unused first.
pub(super) fn stale(conn: &Connection, clocks: &Clocks, max: usize) -> rusqlite::Result<Vec<Found>> {
    let before = clocks.stale_before().as_millis();
    let mut stale = all(conn, USED_BEFORE, &[&before], max)?;
    stale.extend(all(conn, OWN_USED_BEFORE, &[&before], max)?);
    stale.sort_by_key(|found| (found.stored.last_activity, found.row));
    stale.truncate(max);
    Ok(stale)
}

/// A user's sessions by creation, behind a place.
pub(super) fn oldest_of(
    conn: &Connection,
    user: &UserName,
    behind: Option<Cursor>,
    max: usize,
) -> rusqlite::Result<Vec<Found>> {
    by_creation(all, conn, user, behind, max)
}

/// The same as a page of a listing.
pub(super) fn list(
    conn: &Connection,
    user: &UserName,
    behind: Option<Cursor>,
    max: usize,
) -> rusqlite::Result<Vec<StoredSession>> {
    Ok(by_creation(page, conn, user, behind, max)?.into_iter().map(|found| found.stored).collect())
}

fn by_creation(
    read: Read,
    conn: &Connection,
    user: &UserName,
    behind: Option<Cursor>,
    max: usize,
) -> rusqlite::Result<Vec<Found>> {
    match behind {
        Some(Cursor { created_at, id }) => {
            read(conn, OF_USER_BEHIND, &[&user.as_str(), &created_at.as_millis(), id.as_bytes()], max)
        }
        None => read(conn, OF_USER, &[&user.as_str()], max),
    }
}

/// The session under a key, and its data apart.
pub(super) fn with_data(conn: &Connection, key: &SessionKey) -> rusqlite::Result<Option<(Found, Box<[u8]>)>> {
    let read = |row: &Row<'_>| Ok((found(row)?, row.get(14)?));
    conn.prepare_cached(BY_KEY_WITH_DATA)?.query_row([key.as_bytes()], read).optional()
}

/// The sessions of a key space behind a row, in the order of their rows.
pub(super) fn of_database(conn: &Connection, database: u16, after: i64, max: i64) -> rusqlite::Result<Vec<Found>> {
    page(conn, OF_DATABASE, &[&database, &after, &max], usize::MAX)
}

/// The session under a key, with its data.
pub(super) fn load(conn: &Connection, key: &SessionKey) -> rusqlite::Result<Option<StoredSession>> {
    conn.prepare_cached(WHOLE_BY_KEY)?.query_row([key.as_bytes()], whole).optional()
}

/// The session with a handle, with its data.
pub(super) fn find(conn: &Connection, id: SessionId) -> rusqlite::Result<Option<StoredSession>> {
    conn.prepare_cached(WHOLE_BY_ID)?.query_row([id.as_bytes()], whole).optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::schema;

    #[test]
    fn every_query_searches_an_index_and_sorts_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sessgate.db");
        std::fs::File::create(&path).unwrap();
        let conn = schema::open_writer(&path).unwrap();
        for sql in INDEXED {
            let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let missing = explain.parameter_count();
            let plan: Vec<String> = explain
                .query_map(rusqlite::params_from_iter(vec![rusqlite::types::Null; missing]), |row| row.get(3))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            let searches = plan.iter().all(|step| step.starts_with("SEARCH sessions USING INDEX"));
            assert!(plan.len() == 1 && searches, "{sql}\n{plan:#?}");
        }
    }
}
