//! The database file: what marks it as ours, its tables, and how an older one becomes a current one.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row};

use super::error::OpenError;
use super::ledger::Ledger;
use super::steps::REVISION_SHIFT;
use super::{outbox, plain, rows};
use crate::clock::Timestamp;
use crate::session::{NameKeys, RawName};

/// "Sesg": tells our files from those of other programs (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x5365_7367;

/// The schema that this release writes (`PRAGMA user_version`).
pub(super) const VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Each step takes a file from the version before to its own. Steps are never edited, only added.
const MIGRATIONS: [(i64, &str); 4] = [
    (1, include_str!("schema_1.sql")),
    (2, include_str!("schema_2.sql")),
    (3, include_str!("schema_3.sql")),
    (4, include_str!("schema_4.sql")),
];

/// From this version on names are kept under keys by a secret.
const NAMES_KEYED: i64 = 4;

/// Pages in the write-ahead log (4 KiB each) at which it is copied into the database: 4 MiB.
///
/// The log is what a full disk must still be able to absorb, see [`reserve`](super::reserve).
pub(super) const CHECKPOINT_PAGES: i64 = 1_000;

/// The size of a page, SQLite's default.
pub(super) const PAGE_BYTES: u64 = 4_096;

/// The writer's page cache. The inner pages of eight indexes over 1 M sessions take about 10 MiB.
const WRITER_CACHE_KIB: i64 = 32 * 1024;

/// A reader's page cache; the operating system's backs it up.
const READER_CACHE_KIB: i64 = 8 * 1024;

/// Statements kept prepared; there are about sixty.
const STATEMENTS: usize = 96;

/// Nobody else writes, but a checkpoint may wait for a reader to finish.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How far a stored time may lie ahead of the clock; beyond, the clock was set back since, and the time is not true.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// How far the latest use may lie ahead of the clock until the clock is doubted instead: beyond what a wrong time zone
/// does, and less than a clock is behind that starts at some fixed date.
const CLOCK_DOUBT: Duration = Duration::from_secs(24 * 60 * 60);

/// Rows corrected at once: in one transaction, which keeps the write-ahead log small, or out of memory.
const CORRECTIONS: i64 = 10_000;

/// Opens the file for writing, after making sure that it is ours, and brings it to the current schema.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |error: rusqlite::Error| OpenError::from_sqlite(path.to_owned(), &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    conn.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    let version = recognise(&conn, path)?;
    configure(&conn).map_err(sqlite)?;
    migrate(&mut conn, version).map_err(sqlite)?;
    Ok(conn)
}

/// Opens the file for reading.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(conn)
}

/// Finds out whose file it is, without changing it. Answers its version; 0: it is empty.
fn recognise(conn: &Connection, path: &Path) -> Result<i64, OpenError> {
    let sqlite = |error: rusqlite::Error| OpenError::from_sqlite(path.to_owned(), &error);
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(sqlite);
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sqlite)?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, found) if found > VERSION => Err(OpenError::Newer { path: path.to_owned(), found }),
        (APPLICATION_ID, found) if found > 0 && tables > 0 => Ok(found),
        (APPLICATION_ID, _) => {
            Err(OpenError::Damaged { path: path.to_owned(), reason: "its tables are gone".to_owned() })
        }
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "page_size", rows::number(PAGE_BYTES))?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // After a burst, the log gives room back, but never what it uses all the time: to grow again is to wait longer.
    conn.pragma_update(None, "journal_size_limit", 2 * CHECKPOINT_PAGES * rows::number(PAGE_BYTES))?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    // What an ended session held is overwritten where that costs no extra page.
    conn.pragma_update(None, "secure_delete", "FAST")
}

fn migrate(conn: &mut Connection, version: i64) -> rusqlite::Result<()> {
    for (step, sql) in MIGRATIONS.into_iter().filter(|&(step, _)| step > version) {
        let transaction = conn.transaction()?;
        transaction.execute_batch(sql)?;
        if step == NAMES_KEYED {
            key_names(&transaction)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", step)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Keeps all names under keys by the store's secret. A statement that changed them all would keep what it has changed in
/// memory until it ends.
fn key_names(conn: &Connection) -> rusqlite::Result<()> {
    let names = conn.query_row("SELECT secret FROM store", [], |row| row.get(0).map(u128::from_le_bytes))?;
    let names = NameKeys::new(names);
    for table in ["sessions", "plain_keys"] {
        let sql = format!(
            "SELECT row, database, name FROM {table} WHERE row > ?1 AND database IS NOT NULL ORDER BY row LIMIT ?2"
        );
        let mut next = conn.prepare(&sql)?;
        let mut change = conn.prepare(&format!("UPDATE {table} SET key = ?2 WHERE row = ?1"))?;
        let mut last = 0_i64;
        loop {
            let read = |row: &Row<'_>| Ok((row.get(0)?, RawName { database: row.get(1)?, name: row.get(2)? }));
            let found: Vec<(i64, _)> = next.query_map((last, CORRECTIONS), read)?.collect::<rusqlite::Result<_>>()?;
            let Some((row, _)) = found.last() else { break };
            last = *row;
            for (row, name) in found {
                change.execute((row, names.of(&name).as_bytes()))?;
            }
        }
    }
    Ok(())
}

/// What tells the store from others, and what makes keys of names in it.
pub(super) fn identity(conn: &Connection, path: &Path) -> Result<(String, NameKeys), OpenError> {
    let read = |row: &Row<'_>| Ok((row.get(0)?, NameKeys::new(u128::from_le_bytes(row.get(1)?))));
    let identity = conn.query_row("SELECT lower(hex(id)), secret FROM store", [], read);
    identity.map_err(|error| OpenError::from_sqlite(path.to_owned(), &error))
}

/// Writes a page without changing it.
pub(super) fn rewrite_version(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "user_version", VERSION)
}

/// Insists that `now` is not so far behind the sessions' times that they were all corrected to times long ago: as soon
/// as the clock were right again, they would all be over.
pub(super) fn doubt_clock(conn: &Connection, path: &Path, now: Timestamp) -> Result<(), OpenError> {
    let sqlite = |error: rusqlite::Error| OpenError::from_sqlite(path.to_owned(), &error);
    for latest in [
        "SELECT max(last_activity) FROM sessions INDEXED BY activity WHERE idle_ms IS NULL",
        "SELECT max(last_activity) FROM sessions INDEXED BY own_activity WHERE idle_ms IS NOT NULL",
    ] {
        let newest = conn.query_row(latest, [], |row| row.get::<_, Option<i64>>(0)).map_err(sqlite)?;
        if let Some(newest) = newest.map(Timestamp::from_millis).filter(|newest| *newest > now + CLOCK_DOUBT) {
            return Err(OpenError::ClockBehind { path: path.to_owned(), now, newest });
        }
    }
    Ok(())
}

/// Corrects times that lie ahead of `now`, so that a clock that was wrong and has been set back leaves no session
/// that outlives its timeout, no lock or dead name that stays, and no notice that waits for ever. Answers how many
/// sessions were corrected.
///
/// No session is created after its last activity, so looking at that finds them all.
pub(super) fn correct_times(conn: &Connection, now: Timestamp) -> rusqlite::Result<u64> {
    let (latest, now) = ((now + CLOCK_TOLERANCE).as_millis(), now.as_millis());
    let mut corrected = 0;
    // As high as a key that an app names may have now; tokens' sessions are far below.
    let revision = format!("revision = min(revision, ?1 << {REVISION_SHIFT})");
    for ahead in [
        "SELECT row FROM sessions INDEXED BY activity WHERE idle_ms IS NULL AND last_activity > ?2 LIMIT ?3",
        "SELECT row FROM sessions INDEXED BY own_activity WHERE idle_ms IS NOT NULL AND last_activity > ?2 LIMIT ?3",
    ] {
        let sql = format!(
            "UPDATE sessions SET last_activity = ?1, created_at = min(created_at, ?1), {revision} WHERE row IN ({ahead})"
        );
        loop {
            let rows = conn.execute(&sql, (now, latest, CORRECTIONS))?;
            if rows == 0 {
                break;
            }
            corrected += rows as u64;
        }
    }
    conn.execute(
        "UPDATE outbox INDEXED BY outbox_due SET at = min(at, ?1), next_at = ?1 WHERE next_at > ?2",
        (now, latest),
    )?;
    // When a plain key was written, its revision says.
    let written = format!("(revision >> {REVISION_SHIFT})");
    let sql = format!(
        "UPDATE plain_keys SET expires_at = expires_at - {written} + ?1, {revision} \
         WHERE expires_at > ?2 AND {written} > ?2"
    );
    conn.execute(&sql, (now, latest))?;
    conn.execute(
        "UPDATE tombstones INDEXED BY tombstones_due SET until = until - ended_at + ?1, ended_at = ?1 \
         WHERE until > ?2 AND ended_at > ?2",
        (now, latest),
    )?;
    Ok(corrected)
}

/// Counts what the rows hold, from indexes alone: 1 M sessions in about a second.
///
/// The two scans see every session once each; if they disagree, an index has lost touch with the table.
pub(super) fn count_up(conn: &Connection, path: &Path) -> Result<Ledger, OpenError> {
    let sqlite = |error: rusqlite::Error| OpenError::from_sqlite(path.to_owned(), &error);
    let mut ledger = Ledger::default();
    by_user(conn, &mut ledger).map_err(sqlite)?;
    let seen = by_activity(conn, &mut ledger).map_err(sqlite)?;
    if seen != ledger.sessions() {
        let reason = format!("one index knows {} sessions, another {seen}", ledger.sessions());
        return Err(OpenError::Damaged { path: path.to_owned(), reason });
    }
    ledger.set_plain_bytes(plain::bytes(conn).map_err(sqlite)?);
    ledger.set_outbox(outbox::count(conn).map_err(sqlite)?);
    ledger.commit();
    Ok(ledger)
}

fn by_user(conn: &Connection, ledger: &mut Ledger) -> rusqlite::Result<()> {
    let mut statement =
        conn.prepare("SELECT user, count(*), sum(size) FROM sessions INDEXED BY sessions_of_user GROUP BY user")?;
    let mut groups = statement.query([])?;
    while let Some(group) = groups.next()? {
        ledger.load_user(rows::user(group, 0)?, rows::count(group, 1)?, rows::count(group, 2)?);
    }
    Ok(())
}

fn by_activity(conn: &Connection, ledger: &mut Ledger) -> rusqlite::Result<u64> {
    let mut seen = 0;
    for sql in [
        "SELECT last_activity FROM sessions INDEXED BY activity WHERE idle_ms IS NULL",
        "SELECT last_activity FROM sessions INDEXED BY own_activity WHERE idle_ms IS NOT NULL",
    ] {
        let mut statement = conn.prepare(sql)?;
        let mut times = statement.query([])?;
        while let Some(row) = times.next()? {
            ledger.load_activity(rows::time(row, 0)?);
            seen += 1;
        }
    }
    Ok(seen)
}
