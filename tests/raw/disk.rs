//! A transaction that finds the disk full leaves nothing half done.

use std::fs::{self, File};
use std::sync::Arc;

use sessgate::store::embedded::{EmbeddedStore, Options};
use sessgate::store::raw::{RawOp, RawReply};
use sessgate::store::{Store, StoreError};

use super::{Keys, START, bytes, delete, expire, hset, name, rename, set};
use crate::support::disk::{SmallDisk, fill_with_foreign};
use crate::support::sessions::SeededGenerator;

const LARGE: usize = 512 * 1024;
const SESSIONS: usize = 36;

fn open(disk: &SmallDisk) -> EmbeddedStore {
    let options = Options { reserve_bytes: 1024 * 1024, ..Options::default() };
    EmbeddedStore::open_with(&disk.path().join("store"), START, Arc::new(SeededGenerator::default()), options).unwrap()
}

#[tokio::test]
async fn a_transaction_that_does_not_fit_is_not_done_at_all() {
    let disk = SmallDisk::mount(64);
    let mut keys = Keys::with(|settings| settings.limits.session_bytes = 1024 * 1024);
    keys.store = open(&disk);
    let value = |letter: &str| letter.repeat(LARGE);
    for n in 0..SESSIONS {
        assert_eq!(keys.set(&format!("s:{n}"), &value("a")).await, RawReply::Done);
    }
    keys.log_in("s:ann", "ann").await;
    keys.set("p:lock", "held").await;
    keys.run(hset("s:hash", "n", "1")).await;
    let before = (keys.figures().await, keys.session("s:ann").await);
    let foreign = disk.path().join("foreign");
    fill_with_foreign(&mut File::create(&foreign).unwrap());

    // Nothing grows, so nothing is refused before it is tried. It is more than the log has room for.
    let mut ops = vec![
        rename("s:ann", "s:new"),
        delete("p:lock"),
        RawOp::HIncrBy { name: name("s:hash"), field: Box::from(&b"n"[..]), by: 1 },
        expire("s:0", keys.soon(9)),
        delete("s:1"),
    ];
    ops.extend((2..SESSIONS).map(|n| set(&format!("s:{n}"), &value("b"))));
    let failed = keys.store.run_raw(keys.batch(ops.clone())).await;
    assert!(matches!(failed, Err(StoreError::Full(_))), "{failed:?}");
    assert_eq!((keys.figures().await, keys.session("s:ann").await), before);
    for n in 0..SESSIONS {
        assert_eq!(keys.session(&format!("s:{n}")).await.unwrap().session.data[..], *value("a").as_bytes());
    }
    assert_eq!(keys.get("p:lock").await, bytes("held"));
    assert_eq!(keys.store.notices().await.unwrap().queued, 0);

    // Smaller ones are done.
    assert_eq!(keys.set("s:0", &value("c")).await, RawReply::Done);
    assert_eq!(keys.run(delete("s:0")).await, RawReply::Integer(1));
    let figures = keys.figures().await;
    keys.store.close().await;
    fs::remove_file(&foreign).unwrap();
    keys.store = open(&disk);
    assert_eq!(keys.figures().await, figures);
    let replies = keys.all(ops).await.replies.unwrap();
    assert!(replies.iter().all(|reply| !matches!(reply, RawReply::Refused(_))), "with room it is done");
    let figures = keys.figures().await;
    keys.store.close().await;
    keys.store = open(&disk);
    assert_eq!(keys.figures().await, figures);
    keys.store.close().await;
}
