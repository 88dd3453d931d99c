//! Notices of ended sessions, from the transaction that removes the session until they are delivered or given up.

use rusqlite::{Connection, Row};

use super::error::is_unreadable;
use super::ledger::Ledger;
use super::rows::{number, time, user};
use crate::clock::Timestamp;
use crate::session::{EndReason, Ended, EventId, SessionId};
use crate::store::{NOTICE_LEASE, Notice, Settlement, Waiting};

const ADD: &str = "INSERT INTO outbox (event_id, session_id, user, reason, at, attempts, next_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, 0, ?5)";
const DROP_OLDEST: &str = "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox ORDER BY seq LIMIT ?1)";
const DROP_OLD: &str = "DELETE FROM outbox WHERE at <= ?1 AND seq IN (SELECT seq FROM outbox ORDER BY seq LIMIT ?2)";
/// The order is that in which notices became due. For those never tried it is the order in which sessions ended;
/// one that failed queues up again behind those that waited longer. So a take costs what it takes, however many wait.
const DUE: &str = "SELECT seq, event_id, session_id, user, reason, at, attempts FROM outbox INDEXED BY outbox_due \
                   WHERE next_at <= ?1 ORDER BY next_at, seq LIMIT ?2";
const HIDE: &str = "UPDATE outbox SET next_at = ?2 WHERE seq = ?1";
const RELEASE: &str = "UPDATE outbox INDEXED BY outbox_due SET next_at = ?1 WHERE next_at > ?1 AND next_at <= ?2";
const DROP: &str = "DELETE FROM outbox WHERE seq = ?1";
const REMOVE: &str = "DELETE FROM outbox WHERE event_id = ?1";
const RETRY: &str = "UPDATE outbox SET attempts = attempts + 1, next_at = ?2 WHERE event_id = ?1";

/// Writes a notice for each; beyond `max`, the oldest go.
pub(super) fn add(conn: &Connection, ledger: &mut Ledger, ended: &[Ended], max: u64) -> rusqlite::Result<()> {
    for notice in ended {
        let user = notice.user.as_ref().map(crate::session::UserName::as_str);
        conn.prepare_cached(ADD)?.execute((
            notice.event_id.as_bytes(),
            notice.id.as_bytes(),
            user,
            notice.reason.as_str(),
            notice.at.as_millis(),
        ))?;
    }
    let before = ledger.outbox();
    let queued = before.queued + ended.len() as u64;
    let surplus = queued.saturating_sub(max);
    if surplus > 0 {
        conn.prepare_cached(DROP_OLDEST)?.execute([number(surplus)])?;
    }
    ledger.set_outbox(Waiting { queued: queued - surplus, overflowed: before.overflowed + surplus });
    Ok(())
}

/// Takes what is due, at most `max`, and hides it for [`NOTICE_LEASE`]. What cannot be read is dropped: it would be due
/// for ever, and nobody can be told of it.
pub(super) fn take(
    conn: &Connection,
    ledger: &mut Ledger,
    now: Timestamp,
    max: usize,
) -> rusqlite::Result<Vec<Notice>> {
    let before = ledger.outbox();
    if before.queued == 0 {
        return Ok(Vec::new());
    }
    let read = |row: &Row<'_>| Ok((row.get(0)?, notice(row)));
    let due: Vec<(i64, rusqlite::Result<Notice>)> =
        conn.prepare_cached(DUE)?.query_map((now.as_millis(), number(max)), read)?.collect::<Result<_, _>>()?;
    let until = (now + NOTICE_LEASE).as_millis();
    let (mut taken, mut dropped) = (Vec::with_capacity(due.len()), 0);
    for (seq, notice) in due {
        match notice {
            Err(error) if is_unreadable(&error) => {
                tracing::error!(seq, %error, "a notice in the outbox cannot be read and was dropped");
                conn.prepare_cached(DROP)?.execute([seq])?;
                dropped += 1;
            }
            notice => {
                conn.prepare_cached(HIDE)?.execute((seq, until))?;
                taken.push(notice?);
            }
        }
    }
    if dropped > 0 {
        ledger.set_outbox(Waiting { queued: before.queued - dropped, overflowed: before.overflowed + dropped });
    }
    Ok(taken)
}

/// Removes or puts back what was taken. A notice that is not there any more is nobody's concern.
pub(super) fn settle(
    conn: &Connection,
    ledger: &mut Ledger,
    settled: &[(EventId, Settlement)],
) -> rusqlite::Result<()> {
    let mut removed = 0;
    for (event, settlement) in settled {
        match settlement {
            Settlement::Remove => removed += conn.prepare_cached(REMOVE)?.execute([event.as_bytes()])? as u64,
            Settlement::RetryAt(at) => {
                conn.prepare_cached(RETRY)?.execute((event.as_bytes(), at.as_millis()))?;
            }
        }
    }
    let before = ledger.outbox();
    ledger.set_outbox(Waiting { queued: before.queued - removed, ..before });
    Ok(())
}

/// Drops those of the oldest `max` that are from `until` or before.
pub(super) fn drop_old(conn: &Connection, ledger: &mut Ledger, until: Timestamp, max: usize) -> rusqlite::Result<u64> {
    let dropped = conn.prepare_cached(DROP_OLD)?.execute((until.as_millis(), number(max)))? as u64;
    let before = ledger.outbox();
    ledger.set_outbox(Waiting { queued: before.queued - dropped, ..before });
    Ok(dropped)
}

/// Makes due what an earlier process had taken and not settled, when a file has just been opened: this process alone
/// has it. Failed notices whose next try lies within the same time are tried a little sooner, which does no harm.
pub(super) fn release(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let until = (now + NOTICE_LEASE).as_millis();
    conn.execute(RELEASE, (now.as_millis(), until)).map(drop)
}

/// Counts the notices of a file that was just opened.
pub(super) fn count(conn: &Connection) -> rusqlite::Result<Waiting> {
    let queued = conn.query_row("SELECT count(*) FROM outbox", [], |row| super::rows::count(row, 0))?;
    Ok(Waiting { queued, overflowed: 0 })
}

fn notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    let word = row.get_ref(4)?.as_str()?;
    let reason = EndReason::parse(word)
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(4, "reason".to_owned(), rusqlite::types::Type::Text))?;
    Ok(Notice {
        event_id: EventId::from_bytes(row.get(1)?),
        id: SessionId::from_bytes(row.get(2)?),
        user: user(row, 3)?,
        reason,
        at: time(row, 5)?,
        attempts: row.get(6)?,
    })
}
