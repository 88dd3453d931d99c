//! A database of an earlier release: everything stays, and works.

use std::time::Duration;

use rusqlite::Connection;
use sessgate::session::{Content, EndReason, EventId, RawName, SessionId, StoredSession, Timeout};
use sessgate::store::embedded::EmbeddedStore;
use sessgate::store::raw::{RawOp, RawReply, RawSet};
use sessgate::store::{CreateLimits, Figures, Store, Whom};
use tempfile::TempDir;

use super::{Keys, START, name, of};
use crate::support::sessions::{key, session, terms, user, with_data};

const SCHEMA_1: &str = include_str!("../../src/store/embedded/schema_1.sql");
const SESSIONS: u64 = 2_000;

/// Session number `n`: some anonymous, some with timeouts of their own, some with data that fills pages of its own.
fn nth(n: u64) -> StoredSession {
    let owner = format!("user-{}", n % 7);
    let at = START - Duration::from_secs(1 + n % 600);
    let bytes = if n.is_multiple_of(50) { 20_000 } else { usize::try_from(n % 300).unwrap() };
    let mut stored = with_data(session(n, (!n.is_multiple_of(7)).then_some(&owner[..]), at), bytes);
    stored.session.idle_timeout = n.is_multiple_of(11).then(|| Timeout::of(Duration::from_secs(5_000)));
    stored.session.absolute_timeout = n.is_multiple_of(13).then(|| Timeout::of(Duration::from_secs(50_000)));
    stored.session.revision = 1 + n % 4;
    stored
}

/// What the release before has left.
fn left_by_schema_1(directory: &TempDir) {
    let mut conn = Connection::open(directory.path().join("sessgate.db")).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    let transaction = conn.transaction().unwrap();
    transaction.execute_batch(SCHEMA_1).unwrap();
    transaction.pragma_update(None, "application_id", 0x5365_7367).unwrap();
    transaction.pragma_update(None, "user_version", 1).unwrap();
    for n in 0..SESSIONS {
        let StoredSession { key, session, last_activity, .. } = nth(n);
        let owner = session.user.as_ref().map(|user| user.as_str().to_owned());
        let size = i64::try_from(session.data.len() + owner.as_ref().map_or(0, String::len)).unwrap();
        let row = (
            key.as_bytes(),
            session.id.as_bytes(),
            owner,
            session.created_at.as_millis(),
            last_activity.as_millis(),
            session.idle_timeout.map(Timeout::as_millis),
            session.absolute_timeout.map(Timeout::as_millis),
            i64::try_from(session.revision).unwrap(),
            size,
            &session.data[..],
        );
        let sql = "INSERT INTO sessions (key, id, user, created_at, last_activity, idle_ms, absolute_ms, revision, size, \
                   data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        transaction.execute(sql, row).unwrap();
    }
    for n in 0..3_u8 {
        let sql = "INSERT INTO outbox (event_id, session_id, user, reason, at, attempts, next_at) \
                   VALUES (?1, ?2, 'ann', 'admin', ?3, ?4, ?3)";
        transaction.execute(sql, ([n; 16], [n + 10; 16], START.as_millis(), n)).unwrap();
    }
    transaction.commit().unwrap();
}

async fn keys_of_schema_1() -> Keys {
    let mut keys = Keys::new();
    keys.store.close().await;
    keys.directory = tempfile::tempdir().unwrap();
    left_by_schema_1(&keys.directory);
    keys.store = super::open(&keys.directory, START);
    keys
}

#[tokio::test]
async fn everything_is_kept() {
    let keys = keys_of_schema_1().await;
    for n in 0..SESSIONS {
        assert_eq!(keys.store.load(key(n)).await.unwrap(), Some(nth(n)));
    }
    let all: Vec<_> = (0..SESSIONS).map(nth).collect();
    let Figures { sessions, bytes, users, .. } = keys.figures().await;
    let counted = all.iter().map(|stored| stored.session.stored_bytes()).sum();
    assert_eq!((sessions, bytes, users), (SESSIONS, counted, 6));
    let listed = keys.store.user_sessions(user("user-1"), None, 10_000).await.unwrap();
    assert_eq!(listed.len(), all.iter().filter(|stored| stored.session.user == Some(user("user-1"))).count());
    let notices = keys.store.take_notices(START, 9).await.unwrap();
    let seen: Vec<_> = notices.iter().map(|notice| (notice.event_id, notice.id, notice.attempts)).collect();
    let made = |n: u8| (EventId::from_bytes([n; 16]), SessionId::from_bytes([n + 10; 16]), u32::from(n));
    assert_eq!(seen, [made(0), made(1), made(2)]);
    assert!(notices.iter().all(|notice| notice.user == Some(user("ann")) && notice.reason == EndReason::Admin));
}

#[tokio::test]
async fn and_works_with_what_is_new() {
    let mut keys = keys_of_schema_1().await;
    let new = session(SESSIONS, Some("user-1"), START);
    keys.store.create(new, CreateLimits::default(), terms(START)).await.unwrap();
    let rotated = keys.store.rotate(key(1), key(90_000), START).await.unwrap().unwrap();
    assert_eq!((rotated.session.id, rotated.content), (nth(1).session.id, Content::Json));
    assert_eq!(keys.log_in("s:1", "user-1").await, RawReply::Done);
    assert_eq!(keys.set("p:1", &of("user-1")).await, RawReply::Done);
    assert_eq!(keys.store.count_raw(0).await.unwrap(), 2);
    assert_eq!(keys.store.scan_raw(0, 0, 9, keys.terms).await.unwrap().keys.len(), 2, "tokens have no names");
    let whom = Whom::User(user("user-1"));
    let ended = keys.store.end(whom, EndReason::Admin, 10_000, keys.terms).await.unwrap();
    assert_eq!(ended.iter().filter_map(|ended| ended.name.clone()).collect::<Vec<_>>(), [name("s:1")]);
    keys.tell_absent("s:1");
    keys.log_in("s:1", "user-1").await;
    assert_eq!(keys.get("s:1").await, RawReply::Nil);
    keys.wait(Duration::from_secs(3_600));
    let due = keys.store.claim_due(false, 10_000, keys.terms).await.unwrap().len();
    assert!(due > 1_000 && keys.figures().await.sessions > 100, "those with their own timeout stay: {due}");
    keys.assert_counted().await;
    assert_eq!(keys.get("p:1").await, super::bytes(&of("user-1")));
}

/// Has a store been left by schema 3, which kept names under hashes of another kind: whatever they were, a number stands
/// for them here.
fn turn_into_schema_3(directory: &TempDir) {
    let conn = Connection::open(directory.path().join("sessgate.db")).unwrap();
    let sql = "UPDATE sessions SET key = cast(row || x'ff' AS BLOB) WHERE database IS NOT NULL; \
               UPDATE plain_keys SET key = cast(row || x'ff' AS BLOB); \
               INSERT INTO tombstones VALUES (x'00', 0, 1 << 62, 1); \
               ALTER TABLE store DROP COLUMN secret; \
               PRAGMA user_version = 3";
    conn.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn names_are_found_under_their_new_keys() {
    let mut keys = Keys::new();
    let token = session(1, Some("ann"), START);
    keys.store.create(token.clone(), CreateLimits::default(), terms(START)).await.unwrap();
    let others = [RawName::new(7, b"s:1"), RawName::new(0, b"s:\0\xff"), RawName::new(7, b"p:1")];
    keys.log_in("s:1", "ann").await;
    keys.set("p:1", "plain").await;
    for (name, value) in others.iter().zip(["elsewhere", "odd", "plain elsewhere"]) {
        let RawOp::Set(set) = super::set("s:1", value) else { unreachable!() };
        keys.run(RawOp::Set(RawSet { name: name.clone(), ..set })).await;
    }
    let before = (keys.figures().await, keys.store.id().to_owned());
    keys.store.close().await;
    turn_into_schema_3(&keys.directory);
    keys.reopen().await;
    assert_eq!((keys.figures().await, keys.store.id().to_owned()), before);
    assert_eq!(keys.store.load(token.key).await.unwrap(), Some(token));
    assert_eq!(keys.get("s:1").await, super::bytes(&of("ann")));
    assert_eq!(keys.get("p:1").await, super::bytes("plain"));
    for (name, value) in others.into_iter().zip(["elsewhere", "odd", "plain elsewhere"]) {
        assert_eq!(keys.run(RawOp::Get(name)).await, super::bytes(value));
    }
    assert_eq!(keys.session("s:1").await.unwrap().key, keys.key("s:1"));
    assert_eq!(keys.set("s:1", &of("bob")).await, RawReply::Done, "the session that is there");
    assert_eq!(keys.of_user("bob", &["s:1"]).await, ["s:1"]);
    keys.assert_counted().await;
    let secret = keys.store.names();
    keys.reopen().await;
    assert_eq!(keys.store.names().of(&name("s:1")), secret.of(&name("s:1")), "the secret stays");
}

#[tokio::test]
async fn each_store_has_a_secret_of_its_own() {
    let (one, other) = (Keys::new(), Keys::new());
    assert_ne!(one.key("s:1"), other.key("s:1"));
}

/// Every table and index: its name, and its columns.
fn shape(store: EmbeddedStore, directory: &TempDir) -> Vec<String> {
    drop(store);
    let conn = Connection::open(directory.path().join("sessgate.db")).unwrap();
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let sql = "SELECT s.type || ' ' || s.name || ' of ' || s.tbl_name || ': ' || \
               coalesce((SELECT group_concat(name || ' ' || type || ' ' || \"notnull\") FROM pragma_table_info(s.name)), '') || \
               coalesce((SELECT group_concat(coalesce(name, '(expression)')) FROM pragma_index_info(s.name)), '') \
               FROM sqlite_schema s ORDER BY 1";
    let mut statement = conn.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn nothing_tells_it_from_a_new_one() {
    let old = keys_of_schema_1().await;
    let new = Keys::new();
    old.store.close().await;
    new.store.close().await;
    let version = |directory: &TempDir| -> i64 {
        let conn = Connection::open(directory.path().join("sessgate.db")).unwrap();
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    assert_eq!(version(&old.directory), version(&new.directory));
    let (old, new) = (shape(old.store, &old.directory), shape(new.store, &new.directory));
    assert!(new.len() > 15);
    assert_eq!(old, new);
}
