//! The embedded store beyond the contract: opening, reopening, clocks set back, shared commits, bad neighbours.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sessgate::clock::Timestamp;
use sessgate::session::{EndReason, OnExcess, Timeout};
use sessgate::store::embedded::{EmbeddedStore, OpenError, Options};
use sessgate::store::{CreateLimits, FiguresQuery, Settlement, Store, StoreError, Waiting, Whom};
use tempfile::{TempDir, tempdir};

use crate::support::sessions::{
    MINUTE, START, SeededGenerator, everybody, key, minutes, session, terms, user, user_limit,
};
use crate::support::stores::open_embedded;

const DATABASE: &str = "sessgate.db";

fn try_open(path: &Path, now: Timestamp) -> Result<EmbeddedStore, OpenError> {
    open_as_told(path, now, false)
}

fn open_as_told(path: &Path, now: Timestamp, trust_clock: bool) -> Result<EmbeddedStore, OpenError> {
    let options = Options { reserve_bytes: 64 * 1024, trust_clock, ..Options::default() };
    EmbeddedStore::open_with(path, now, Arc::new(SeededGenerator::default()), options)
}

fn refusal(path: &Path) -> OpenError {
    try_open(path, START).err().expect("it must not open")
}

fn query() -> FiguresQuery {
    FiguresQuery { stale_before: minutes(2), top: 5, user_limits: everybody(Some(2), OnExcess::Reject) }
}

async fn put(store: &dyn Store, n: u64, owner: Option<&str>, at: Timestamp) {
    store.create(session(n, owner, at), CreateLimits::default(), terms(at)).await.unwrap();
}

/// A directory whose store held something and was closed.
async fn closed_store(sessions: u64) -> TempDir {
    let directory = tempdir().unwrap();
    let store = Arc::new(open_embedded(directory.path()));
    let mut creations = tokio::task::JoinSet::new();
    for n in 0..sessions {
        let store = Arc::clone(&store);
        creations.spawn(async move { put(&*store, n, Some("ann"), START).await });
    }
    creations.join_all().await;
    store.close().await;
    directory
}

#[test]
fn a_path_that_cannot_be_a_directory_is_refused_with_advice() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "mine").unwrap();
    for path in [file.as_path(), Path::new("/proc/sessgate")] {
        let error = refusal(path);
        assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
        assert!(error.to_string().contains("store.embedded.path"), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_has_closed() {
    let directory = tempdir().unwrap();
    let first = open_embedded(directory.path());
    assert!(matches!(refusal(directory.path()), OpenError::InUse { .. }));
    first.close().await;
    open_embedded(directory.path()).close().await;
}

#[test]
fn another_programs_database_is_left_as_it_is() {
    let directory = tempdir().unwrap();
    let path = directory.path().join(DATABASE);
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('x')").unwrap();
    drop(foreign);
    let before = fs::read(&path).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_named() {
    let directory = closed_store(1).await;
    let path = directory.path().join(DATABASE);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
    assert!(error.to_string().contains("run the newer release"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let directory = closed_store(500).await;
    let path = directory.path().join(DATABASE);
    let good = fs::read(&path).unwrap();
    let mut no_header = good.clone();
    no_header[..16].copy_from_slice(b"no database here");
    let mut torn = good.clone();
    torn[8_192..].fill(0xEE);
    let cut = good[..good.len() / 3].to_vec();
    for (what, bytes) in [("header", no_header), ("pages", torn), ("length", cut)] {
        fs::write(&path, bytes).unwrap();
        let error = refusal(directory.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("restore a copy"), "{error}");
    }
    fs::write(&path, good).unwrap();
    open_embedded(directory.path()).close().await;
}

#[tokio::test]
async fn directory_and_files_are_owner_only() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parent = tempdir().unwrap();
    let wide = parent.path().join("wide");
    fs::create_dir(&wide).unwrap();
    fs::set_permissions(&wide, PermissionsExt::from_mode(0o755)).unwrap();
    for path in [wide, parent.path().join("made/by/us")] {
        let store = open_embedded(&path);
        put(&store, 1, None, START).await;
        assert_eq!(mode(&path), 0o700);
        for entry in fs::read_dir(&path).unwrap() {
            let file = entry.unwrap().path();
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
        store.close().await;
    }
}

#[tokio::test]
async fn a_directory_shared_with_others_is_not_closed_to_them() {
    let directory = tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(directory.path().join("theirs"), "x").unwrap();
    open_embedded(directory.path()).close().await;
    assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o777, 0o755);
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let directory = tempdir().unwrap();
    let store = open_embedded(directory.path());
    for n in 1..=4 {
        put(&store, n, Some("ann"), minutes(n)).await;
    }
    let mut own = session(5, None, minutes(1));
    own.session.idle_timeout = Some(Timeout::of(5 * MINUTE));
    store.create(own.clone(), CreateLimits::default(), terms(minutes(1))).await.unwrap();
    store.touch(vec![(key(1), minutes(7))]).await.unwrap();
    store.end(Whom::Key(key(2)), EndReason::Revoked, 1, terms(minutes(8))).await.unwrap();
    let (figures, sessions) =
        (store.figures(query()).await.unwrap(), store.user_sessions(user("ann"), None, 9).await.unwrap());
    store.close().await;

    let store = try_open(directory.path(), minutes(8)).unwrap();
    assert_eq!(store.figures(query()).await.unwrap(), figures);
    assert_eq!(store.user_sessions(user("ann"), None, 9).await.unwrap(), sessions);
    assert_eq!(store.load(key(5)).await.unwrap(), Some(own));
    assert_eq!(store.notices().await.unwrap(), Waiting { queued: 1, overflowed: 0 });
    assert_eq!(store.take_notices(minutes(8), 9).await.unwrap()[0].reason, EndReason::Revoked);
    store.close().await;
}

#[tokio::test]
async fn what_a_dead_process_had_taken_from_the_outbox_is_due_at_once() {
    let directory = tempdir().unwrap();
    let store = open_embedded(directory.path());
    for n in 1..=2 {
        put(&store, n, Some("ann"), START).await;
        store.end(Whom::Key(key(n)), EndReason::Revoked, 1, terms(START)).await.unwrap();
    }
    let taken = store.take_notices(START, 9).await.unwrap();
    let later = vec![(taken[1].event_id, Settlement::RetryAt(minutes(3)))];
    store.settle_notices(later).await.unwrap();
    assert!(store.take_notices(START, 9).await.unwrap().is_empty());
    store.close().await;

    let store = open_embedded(directory.path());
    let due = store.take_notices(START, 9).await.unwrap();
    assert_eq!(due, taken[..1], "the other waits for its next try");
    store.close().await;
}

#[tokio::test]
async fn a_store_is_told_from_others_by_its_id_which_it_keeps() {
    let directory = closed_store(1).await;
    let store = open_embedded(directory.path());
    let id = store.id().to_owned();
    assert_eq!(id.len(), 32);
    store.close().await;
    let store = open_embedded(directory.path());
    assert_eq!(store.id(), id);
    store.close().await;
    fs::remove_file(directory.path().join(DATABASE)).unwrap();
    let store = open_embedded(directory.path());
    assert_ne!(store.id(), id);
    store.close().await;
}

#[tokio::test]
async fn a_clock_that_was_ahead_leaves_no_immortal_session() {
    let directory = tempdir().unwrap();
    let store = open_embedded(directory.path());
    let year = Duration::from_secs(365 * 86_400);
    put(&store, 1, Some("ann"), START + year).await;
    let mut own = session(2, Some("ann"), START + year);
    own.session.idle_timeout = Some(Timeout::of(MINUTE));
    store.create(own, CreateLimits::default(), terms(START + year)).await.unwrap();
    put(&store, 3, None, START + 4 * MINUTE).await;
    put(&store, 4, None, START + year).await;
    store.end(Whom::Key(key(4)), EndReason::Admin, 1, terms(START + year)).await.unwrap();
    store.close().await;

    let store = open_as_told(directory.path(), START, true).unwrap();
    for n in [1, 2] {
        let stored = store.load(key(n)).await.unwrap().unwrap();
        assert_eq!((stored.session.created_at, stored.last_activity), (START, START));
    }
    assert_eq!(store.load(key(3)).await.unwrap().unwrap().last_activity, minutes(4), "as good as true");
    assert_eq!(store.claim_due(false, 9, terms(minutes(60))).await.unwrap().len(), 2);
    assert_eq!(store.take_notices(minutes(0), 9).await.unwrap().len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_clock_that_is_far_behind_is_doubted_and_nobody_is_logged_out() {
    let day = Duration::from_secs(86_400);
    for own in [false, true] {
        let directory = tempdir().unwrap();
        let store = open_embedded(directory.path());
        let mut new = session(1, Some("ann"), START);
        new.session.idle_timeout = own.then(|| Timeout::of(MINUTE));
        store.create(new, CreateLimits::default(), terms(START)).await.unwrap();
        store.close().await;

        let error = try_open(directory.path(), START - 400 * day).err().expect("it must not open");
        assert!(matches!(error, OpenError::ClockBehind { newest: START, .. }), "{error:?}");
        let told = error.to_string();
        assert!(told.contains("the clock says 2025-12-11T") && told.contains("set the clock"), "{told}");
        assert!(told.contains("`--trust-clock`"), "{told}");
        // With the clock set, everything is as it was.
        let store = try_open(directory.path(), START).unwrap();
        assert_eq!(store.load(key(1)).await.unwrap().unwrap().last_activity, START);
        store.close().await;
        // A day is no reason to stay away.
        let store = try_open(directory.path(), START - day).unwrap();
        assert_eq!(store.load(key(1)).await.unwrap().unwrap().last_activity, START - day);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_commands_share_commits_and_a_bad_one_fails_alone() {
    let directory = tempdir().unwrap();
    let store = Arc::new(open_embedded(directory.path()));
    let mut creations = tokio::task::JoinSet::new();
    for n in 0..400 {
        let store = Arc::clone(&store);
        // Every twentieth brings a key that is taken. The limit would have it end others first.
        let new = if n % 20 == 19 { session(n - 1, Some("bad"), START) } else { session(n, Some("ann"), START) };
        creations.spawn(async move { store.create(new, user_limit(1_000, OnExcess::Reject), terms(START)).await });
    }
    let outcomes = creations.join_all().await;
    let created = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    assert_eq!(created, 380, "each pair of twins is one session, whichever came first");
    let figures = store.figures(query()).await.unwrap();
    assert_eq!(figures.sessions, created);
    store.close().await;

    let reopened = open_embedded(directory.path());
    assert_eq!(reopened.figures(query()).await.unwrap(), figures, "the ledger is what a scan of the rows gives");
    let reopened = Arc::new(reopened);
    let mut creations = tokio::task::JoinSet::new();
    for n in 1_000..1_400 {
        let store = Arc::clone(&reopened);
        creations.spawn(async move { put(&*store, n, None, START).await });
    }
    creations.join_all().await;
    let done = reopened.statistics();
    assert!(done.commands >= 400 && done.commits * 4 < done.commands, "{done:?}");
    reopened.close().await;
}

/// Changes the file of a closed store in a way that the store itself never does.
fn damage(directory: &TempDir, sql: &str) {
    rusqlite::Connection::open(directory.path().join(DATABASE)).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_notice_that_cannot_be_read_is_dropped_and_the_others_go_on() {
    let directory = closed_store(3).await;
    let store = open_embedded(directory.path());
    store.end(Whom::User(user("ann")), EndReason::Admin, 9, terms(START)).await.unwrap();
    store.close().await;
    damage(&directory, "UPDATE outbox SET reason = 'whim' WHERE seq = (SELECT min(seq) FROM outbox)");

    let store = open_embedded(directory.path());
    assert_eq!(store.take_notices(START, 1).await.unwrap(), []);
    assert_eq!(store.notices().await.unwrap(), Waiting { queued: 2, overflowed: 1 });
    assert_eq!(store.take_notices(START, 9).await.unwrap().len(), 2);
    store.close().await;
}

#[tokio::test]
async fn a_session_that_cannot_be_read_keeps_no_other_from_ending() {
    let directory = closed_store(3).await;
    let other = session(9, Some("ann"), minutes(30));
    let store = open_embedded(directory.path());
    store.create(other, CreateLimits::default(), terms(minutes(30))).await.unwrap();
    let bad = store.user_sessions(user("ann"), None, 1).await.unwrap().remove(0).key;
    store.close().await;
    damage(
        &directory,
        "UPDATE sessions SET content = 9 WHERE row = (SELECT row FROM sessions ORDER BY created_at, id)",
    );

    let store = open_embedded(directory.path());
    assert!(matches!(store.load(bad).await, Err(StoreError::Damaged(_))));
    store.touch(vec![(bad, minutes(40)), (key(9), minutes(40))]).await.unwrap();
    assert_eq!(store.load(key(9)).await.unwrap().unwrap().last_activity, minutes(40));
    assert_eq!(store.claim_due(false, 1, terms(minutes(60))).await.unwrap().len(), 1, "the one behind it");
    assert_eq!(store.claim_due(false, 9, terms(minutes(60))).await.unwrap().len(), 1);
    let limit = user_limit(1, OnExcess::EvictOldest);
    let ended = store.create(session(10, Some("ann"), minutes(60)), limit, terms(minutes(60))).await.unwrap();
    assert_eq!(ended.iter().map(|ended| ended.key).collect::<Vec<_>>(), [key(9)]);
    assert_eq!(store.end(Whom::User(user("ann")), EndReason::Admin, 9, terms(minutes(60))).await.unwrap().len(), 1);
    assert_eq!(store.figures(query()).await.unwrap().sessions, 1, "it stays for whoever can mend it");
    store.close().await;
}

#[tokio::test]
async fn a_full_outbox_drops_the_oldest_and_counts_them() {
    let directory = tempdir().unwrap();
    let options = Options { max_notices: 3, reserve_bytes: 64 * 1024, ..Options::default() };
    let generator = Arc::new(SeededGenerator::default());
    let store = EmbeddedStore::open_with(directory.path(), START, generator, options).unwrap();
    for n in 1..=5 {
        put(&store, n, Some("ann"), START).await;
        store.end(Whom::Key(key(n)), EndReason::Revoked, 1, terms(minutes(n))).await.unwrap();
    }
    assert_eq!(store.notices().await.unwrap(), Waiting { queued: 3, overflowed: 2 });
    let waiting = store.take_notices(minutes(9), 9).await.unwrap();
    assert_eq!(waiting.iter().map(|notice| notice.at).collect::<Vec<_>>(), [3, 4, 5].map(minutes));
    store.close().await;
}
