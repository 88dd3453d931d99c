//! Keys that are no sessions: locks, and what apps cache.

use rusqlite::{Connection, OptionalExtension, Row};

use super::rows::{content, content_number, count, number};
use crate::clock::Timestamp;
use crate::session::{Content, RawName, SessionKey};
use crate::store::raw::PlainValue;

/// What a plain key takes beside its name and value: row, key and index entries.
const OVERHEAD: u64 = 200;

/// Two expired ones go for each new one, so that there are never many more than the sweep has yet to come to.
pub(super) const TIDIED_BY_EACH: usize = 2;

const BY_KEY: &str = "SELECT row, size, content, expires_at, revision, data FROM plain_keys WHERE key = ?1";
const INSERT: &str = "INSERT INTO plain_keys (key, database, name, content, expires_at, revision, size, data) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const REPLACE: &str =
    "UPDATE plain_keys SET content = ?2, expires_at = ?3, revision = ?4, size = ?5, data = ?6 WHERE row = ?1";
const SET_DEADLINE: &str = "UPDATE plain_keys SET expires_at = ?2, revision = ?3 WHERE row = ?1";
const DELETE: &str = "DELETE FROM plain_keys WHERE row = ?1";
const DUE: &str = "SELECT row, size FROM plain_keys INDEXED BY plain_keys_due \
    WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2";
const OF_DATABASE: &str = "SELECT row, name, content, expires_at FROM plain_keys INDEXED BY plain_keys_of_database \
    WHERE database = ?1 AND row > ?2 ORDER BY row LIMIT ?3";

/// A plain key.
#[derive(Clone)]
pub(super) struct Plain {
    pub(super) row: i64,
    /// Bytes of name and value.
    pub(super) size: u64,
    pub(super) value: PlainValue,
}

/// A plain key in a listing.
pub(super) struct Listed {
    pub(super) row: i64,
    pub(super) name: RawName,
    pub(super) content: Content,
    pub(super) deadline: Option<Timestamp>,
}

/// Bytes that it counts for.
pub(super) fn weight(size: u64) -> u64 {
    OVERHEAD + size
}

/// Bytes that all count for.
pub(super) fn bytes(conn: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*), coalesce(sum(size), 0) FROM plain_keys";
    conn.query_row(sql, [], |row| Ok(count(row, 0)? * OVERHEAD + count(row, 1)?))
}

/// The key, even if it has expired.
pub(super) fn find(conn: &Connection, key: &SessionKey) -> rusqlite::Result<Option<Plain>> {
    let read = |row: &Row<'_>| {
        Ok(Plain {
            row: row.get(0)?,
            size: count(row, 1)?,
            value: PlainValue {
                content: content(row, 2)?,
                deadline: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
                revision: count(row, 4)?,
                data: row.get(5)?,
            },
        })
    };
    conn.prepare_cached(BY_KEY)?.query_row([key.as_bytes()], read).optional()
}

/// Bytes of a name and a value.
pub(super) fn size_of(name: &RawName, data: &[u8]) -> u64 {
    (name.name.len() + data.len()) as u64
}

pub(super) fn insert(conn: &Connection, key: &SessionKey, name: &RawName, value: &PlainValue) -> rusqlite::Result<()> {
    let size = number(size_of(name, &value.data));
    conn.prepare_cached(INSERT)?.execute((
        key.as_bytes(),
        name.database,
        &name.name[..],
        content_number(value.content),
        value.deadline.map(Timestamp::as_millis),
        number(value.revision),
        size,
        &value.data[..],
    ))?;
    Ok(())
}

pub(super) fn replace(conn: &Connection, row: i64, name: &RawName, value: &PlainValue) -> rusqlite::Result<()> {
    conn.prepare_cached(REPLACE)?.execute((
        row,
        content_number(value.content),
        value.deadline.map(Timestamp::as_millis),
        number(value.revision),
        number(size_of(name, &value.data)),
        &value.data[..],
    ))?;
    Ok(())
}

pub(super) fn set_deadline(conn: &Connection, row: i64, at: Option<Timestamp>, revision: u64) -> rusqlite::Result<()> {
    conn.prepare_cached(SET_DEADLINE)?.execute((row, at.map(Timestamp::as_millis), number(revision))).map(drop)
}

pub(super) fn delete(conn: &Connection, row: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(DELETE)?.execute([row]).map(drop)
}

/// Deletes those whose time is over, at most `max`: how many bytes they counted for.
pub(super) fn delete_due(conn: &Connection, now: Timestamp, max: usize) -> rusqlite::Result<u64> {
    let due: Vec<(i64, u64)> = conn
        .prepare_cached(DUE)?
        .query_map((now.as_millis(), number(max)), |row| Ok((row.get(0)?, count(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, _) in &due {
        delete(conn, *row)?;
    }
    Ok(due.into_iter().map(|(_, size)| weight(size)).sum())
}

/// Those of a key space behind a row, in the order of their rows, the expired included.
pub(super) fn of_database(conn: &Connection, database: u16, after: i64, max: i64) -> rusqlite::Result<Vec<Listed>> {
    let read = |row: &Row<'_>| {
        Ok(Listed {
            row: row.get(0)?,
            name: RawName { database, name: row.get(1)? },
            content: content(row, 2)?,
            deadline: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        })
    };
    conn.prepare_cached(OF_DATABASE)?.query_map((database, after, max), read)?.collect()
}
