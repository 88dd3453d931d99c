//! E8 at the store: on a full disk sessions can be read and ended, and creation resumes without a restart.

use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use sessgate::session::{Capacity, EndReason, OnExcess};
use sessgate::store::embedded::{EmbeddedStore, RESERVE_BYTES};
use sessgate::store::{CreateError, CreateLimits, FiguresQuery, Store, StoreError, Update, UpdateError, Whom};

use crate::support::disk::{SmallDisk, fill_with_foreign};
use crate::support::sessions::{START, SeededGenerator, everybody, key, minutes, session, terms, with_data};

const DATA: usize = 16 * 1024;

async fn held(store: &EmbeddedStore) -> u64 {
    let asked = FiguresQuery { stale_before: START, top: 0, user_limits: everybody(None, OnExcess::Reject) };
    store.figures(asked).await.unwrap().sessions
}

/// Creates sessions from number `n` on until one is refused, and says which.
async fn fill(store: &EmbeddedStore, mut n: u64) -> u64 {
    loop {
        let new = with_data(session(n, Some("ann"), START), DATA);
        match store.create(new, CreateLimits::default(), terms(START)).await {
            Ok(_) => n += 1,
            Err(CreateError::Store(StoreError::Full(_))) => return n,
            Err(other) => panic!("session {n}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn reads_and_removals_go_on_and_creation_resumes() {
    let disk = SmallDisk::mount(96);
    let foreign = disk.path().join("foreign");
    let mut theirs = File::create(&foreign).unwrap();
    theirs.write_all(&vec![1; 30 * 1024 * 1024]).unwrap();
    let generator = Arc::new(SeededGenerator::default());
    let store = EmbeddedStore::open(&disk.path().join("store"), START, generator.clone()).unwrap();
    let first_refused = fill(&store, 0).await;
    assert!(store.statistics().disk_full);
    assert_eq!(held(&store).await, first_refused, "what was acknowledged is there, what was refused is not");

    let tiny = |n, at| session(n, Some("bob"), at);
    let refused = store.create(tiny(90_000, START), CreateLimits::default(), terms(START)).await;
    assert!(matches!(refused, Err(CreateError::Store(StoreError::Full(_)))), "the smallest as well: {refused:?}");
    let update = |bytes| Update {
        key: key(0),
        data: vec![1; bytes].into(),
        if_revision: None,
        now: START,
        capacity: Capacity::default(),
    };
    let grown = store.update(update(DATA + 1)).await;
    assert!(matches!(grown, Err(UpdateError::Store(StoreError::Full(_)))), "{grown:?}");
    store.update(update(DATA)).await.unwrap();

    // Others may take what the reserve left, to the last byte. More is written to the log than it ever held.
    fill_with_foreign(&mut theirs);
    store.touch((0..first_refused).map(|n| (key(n), minutes(1))).collect()).await.unwrap();
    let keep = 10;
    for n in 0..first_refused - keep {
        assert!(store.load(key(n)).await.unwrap().is_some());
        let ended = store.end(Whom::Key(key(n)), EndReason::Revoked, 1, terms(minutes(1))).await.unwrap();
        assert_eq!(ended.len(), 1);
        assert!(store.load(key(n)).await.unwrap().is_none());
    }
    assert_eq!(store.notices().await.unwrap().queued, first_refused - keep);

    // The room that they left in the database is room, although the disk has none.
    store.create(tiny(90_001, minutes(2)), CreateLimits::default(), terms(minutes(2))).await.unwrap();
    assert!(store.statistics().disk_full);

    drop(theirs);
    fs::remove_file(&foreign).unwrap();
    let soon = minutes(2) + Duration::from_millis(500);
    store.create(tiny(90_002, soon), CreateLimits::default(), terms(soon)).await.unwrap();
    assert!(store.statistics().disk_full, "the reserve is tried for once a second");
    store.create(tiny(90_003, minutes(3)), CreateLimits::default(), terms(minutes(3))).await.unwrap();
    assert!(!store.statistics().disk_full);
    assert_eq!(fs::metadata(disk.path().join("store/reserve")).unwrap().len(), RESERVE_BYTES);

    let left = held(&store).await;
    assert_eq!(left, keep + 3);
    store.close().await;
    let store = EmbeddedStore::open(&disk.path().join("store"), minutes(3), generator).unwrap();
    assert_eq!(held(&store).await, left);
    store.close().await;
}

#[tokio::test]
async fn creation_resumes_when_others_make_room() {
    let disk = SmallDisk::mount(64);
    let foreign = disk.path().join("foreign");
    File::create(&foreign).unwrap().write_all(&vec![1; 30 * 1024 * 1024]).unwrap();
    let generator = Arc::new(SeededGenerator::default());
    let store = EmbeddedStore::open(&disk.path().join("store"), START, generator).unwrap();
    let refused = fill(&store, 0).await;
    fs::remove_file(&foreign).unwrap();
    let again = with_data(session(refused, Some("ann"), minutes(1)), DATA);
    store.create(again, CreateLimits::default(), terms(minutes(1))).await.unwrap();
    assert!(!store.statistics().disk_full);
    store.close().await;
}

#[tokio::test]
async fn a_store_opens_on_a_disk_that_is_full_already() {
    let disk = SmallDisk::mount(48);
    let generator = Arc::new(SeededGenerator::default());
    let path = disk.path().join("store");
    let store = EmbeddedStore::open(&path, START, generator.clone()).unwrap();
    store.create(session(1, Some("ann"), START), CreateLimits::default(), terms(START)).await.unwrap();
    store.close().await;
    fill_with_foreign(&mut File::create(disk.path().join("foreign")).unwrap());

    let store = EmbeddedStore::open(&path, START, generator).unwrap();
    assert!(store.load(key(1)).await.unwrap().is_some());
    let ended = store.end(Whom::Key(key(1)), EndReason::Revoked, 1, terms(minutes(1))).await.unwrap();
    assert_eq!(ended.len(), 1);
    store.close().await;
}
