//! E8 at the store: on a full disk sessions can be read and ended, and creation resumes without a restart.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use sessgate::session::{Capacity, EndReason, OnExcess};
use sessgate::store::embedded::{EmbeddedStore, RESERVE_BYTES};
use sessgate::store::{CreateError, CreateLimits, FiguresQuery, Store, StoreError, Update, UpdateError, Whom};
use tempfile::{TempDir, tempdir};

use crate::support::sessions::{SeededGenerator, START, everybody, key, minutes, session, terms, with_data};

/// A file system of its own that is soon full.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(mebibytes: u64) -> Self {
        let at = tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at.path()).status();
        assert!(mounted.unwrap().success(), "this test mounts a small tmpfs, so it runs as root");
        Self(at)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.path().display());
    }
}

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
    let disk = SmallDisk::mount(64);
    let generator = Arc::new(SeededGenerator::default());
    let store = EmbeddedStore::open(&disk.path().join("store"), START, generator.clone()).unwrap();
    // Somebody else's file takes what creation leaves, to the last byte.
    let first_refused = fill(&store, 0).await;
    let foreign = disk.path().join("foreign");
    let mut theirs = File::create(&foreign).unwrap();
    assert!(store.statistics().disk_full);
    assert_eq!(held(&store).await, first_refused, "what was acknowledged is there, what was refused is not");

    let refused = store.create(session(90_000, None, START), CreateLimits::default(), terms(START)).await;
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
    store.touch((0..first_refused).map(|n| (key(n), minutes(1))).collect()).await.unwrap();

    // Far more is ended than the reserve could take if its room were not used over and over.
    for n in 0..first_refused - 10 {
        assert!(store.load(key(n)).await.unwrap().is_some());
        let ended = store.end(Whom::Key(key(n)), EndReason::Revoked, 1, terms(minutes(1))).await.unwrap();
        assert_eq!(ended.len(), 1);
        assert!(store.load(key(n)).await.unwrap().is_none());
    }
    assert_eq!(store.notices().await.unwrap().queued, first_refused - 10);
    theirs.write_all(b"x").unwrap();

    // There is room inside the database now, and none for the reserve: an attempt takes nothing from others.
    let late = session(90_001, Some("bob"), minutes(2));
    fill_with_foreign(&mut theirs);
    let refused = store.create(late.clone(), CreateLimits::default(), terms(minutes(2))).await;
    assert!(matches!(refused, Err(CreateError::Store(StoreError::Full(_)))), "{refused:?}");
    drop(theirs);
    fs::remove_file(&foreign).unwrap();
    let soon = minutes(2) + std::time::Duration::from_millis(500);
    let refused = store.create(late.clone(), CreateLimits::default(), terms(soon)).await;
    assert!(refused.is_err(), "room is looked for once a second");
    let resumed = store.create(late, CreateLimits::default(), terms(minutes(3))).await;
    assert!(resumed.is_ok(), "{resumed:?}");
    assert!(!store.statistics().disk_full);
    assert_eq!(fs::metadata(disk.path().join("store/reserve")).unwrap().len(), RESERVE_BYTES);

    let left = held(&store).await;
    store.close().await;
    let store = EmbeddedStore::open(&disk.path().join("store"), START, generator).unwrap();
    assert_eq!(held(&store).await, left);
    store.close().await;
}

/// Leaves not a byte to anybody.
fn fill_with_foreign(file: &mut File) {
    let block = vec![1; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..512]).is_ok() {}
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
