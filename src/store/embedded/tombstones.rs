//! Names whose session has ended a moment ago.

use rusqlite::{Connection, OptionalExtension};

use crate::clock::Timestamp;
use crate::session::{EndReason, SessionId, SessionKey};

const PUT: &str = "INSERT OR REPLACE INTO tombstones (key, ended_at, until, final) VALUES (?1, ?2, ?3, ?4)";
const GET: &str = "SELECT ended_at, final FROM tombstones WHERE key = ?1 AND until > ?2";
const REMOVE: &str = "DELETE FROM tombstones WHERE key = ?1";
const PRUNE: &str = "DELETE FROM tombstones WHERE key IN \
    (SELECT key FROM tombstones INDEXED BY tombstones_due WHERE until <= ?1 ORDER BY until LIMIT ?2)";

/// Two old ones go for each new one, so that there are never many more than the young ones.
const PRUNED_BY_EACH: i64 = 2;

/// A name whose session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tombstone {
    /// When it ended.
    pub(super) ended_at: Timestamp,
    /// How.
    pub(super) way: Way,
}

impl Tombstone {
    /// Whether a session may be the one that has left this name for another: it was made before.
    pub(super) fn was_left_by(self, id: SessionId) -> bool {
        self.way == Way::Moved && id.made_at() <= self.ended_at
    }
}

/// How a session came to leave its name. Its number is what the column `final` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It ended, and who knows that may make it anew.
    Ended = 0,
    /// It was ended against the will of who used it: nobody may make it anew.
    Final = 1,
    /// It lives on under another name, and may come back.
    Moved = 2,
}

/// How a session leaves its name that ends for that reason.
///
/// One that just was not used for its time leaves no tombstone: an app may make it anew without having asked.
pub(super) fn left_by(reason: EndReason) -> Option<Way> {
    match reason {
        EndReason::Idle => None,
        EndReason::Absolute | EndReason::Stale | EndReason::Revoked => Some(Way::Ended),
        EndReason::UserLimit | EndReason::StorageCap | EndReason::Admin => Some(Way::Final),
    }
}

pub(super) fn put(conn: &Connection, key: &SessionKey, it: Tombstone, until: Timestamp) -> rusqlite::Result<()> {
    let values = (key.as_bytes(), it.ended_at.as_millis(), until.as_millis(), it.way as i64);
    conn.prepare_cached(PUT)?.execute(values)?;
    conn.prepare_cached(PRUNE)?.execute((it.ended_at.as_millis(), PRUNED_BY_EACH))?;
    Ok(())
}

/// The tombstone of a name, if it is one still.
pub(super) fn get(conn: &Connection, key: &SessionKey, now: Timestamp) -> rusqlite::Result<Option<Tombstone>> {
    let mut statement = conn.prepare_cached(GET)?;
    let read = |row: &rusqlite::Row<'_>| {
        let way = match row.get(1)? {
            0 => Way::Ended,
            2 => Way::Moved,
            _ => Way::Final,
        };
        Ok(Tombstone { ended_at: Timestamp::from_millis(row.get(0)?), way })
    };
    statement.query_row((key.as_bytes(), now.as_millis()), read).optional()
}

/// Removes the tombstone of a name, if it has one.
pub(super) fn remove(conn: &Connection, key: &SessionKey) -> rusqlite::Result<()> {
    conn.prepare_cached(REMOVE)?.execute([key.as_bytes()]).map(drop)
}

/// Removes those whose time is over, at most `max`.
pub(super) fn prune(conn: &Connection, now: Timestamp, max: usize) -> rusqlite::Result<()> {
    conn.prepare_cached(PRUNE)?.execute((now.as_millis(), super::rows::number(max))).map(drop)
}
