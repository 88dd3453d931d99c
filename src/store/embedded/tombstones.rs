//! Names whose session has ended a moment ago.

use rusqlite::{Connection, OptionalExtension};

use crate::clock::Timestamp;
use crate::session::{EndReason, SessionKey};

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
    /// Whether nobody may make it anew: it was ended against the will of who used it.
    pub(super) is_final: bool,
}

/// Whether a session that ended for that reason leaves one, and then whether it is final.
///
/// One that just was not used for its time leaves none: an app may make it anew without having asked.
pub(super) fn left_by(reason: EndReason) -> Option<bool> {
    match reason {
        EndReason::Idle => None,
        EndReason::Absolute | EndReason::Stale | EndReason::Revoked => Some(false),
        EndReason::UserLimit | EndReason::StorageCap | EndReason::Admin => Some(true),
    }
}

pub(super) fn put(conn: &Connection, key: &SessionKey, it: Tombstone, until: Timestamp) -> rusqlite::Result<()> {
    let values = (key.as_bytes(), it.ended_at.as_millis(), until.as_millis(), it.is_final);
    conn.prepare_cached(PUT)?.execute(values)?;
    conn.prepare_cached(PRUNE)?.execute((it.ended_at.as_millis(), PRUNED_BY_EACH))?;
    Ok(())
}

/// The tombstone of a name, if it is one still.
pub(super) fn get(conn: &Connection, key: &SessionKey, now: Timestamp) -> rusqlite::Result<Option<Tombstone>> {
    let mut statement = conn.prepare_cached(GET)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Tombstone { ended_at: Timestamp::from_millis(row.get(0)?), is_final: row.get(1)? })
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
