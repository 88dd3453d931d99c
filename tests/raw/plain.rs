//! Keys that are no sessions.

use std::time::Duration;

use sessgate::session::RawName;
use sessgate::store::Store;
use sessgate::store::raw::{Deadline, RawFound, RawOp, RawRefusal, RawReply, TimeToLive};

use super::{Keys, bytes, delete, expire, hset, name, rename, set, set_until};
use crate::support::sessions::MINUTE;

const FULL: RawReply = RawReply::Refused(RawRefusal::StorageFull);

/// What a key counts for beside its name and value.
const OVERHEAD: u64 = 200;

fn room_for(bytes: u64) -> Keys {
    Keys::with(|settings| settings.redis_door.plain_bytes = bytes)
}

#[tokio::test]
async fn they_are_no_part_of_the_figures_and_survive_reopening() {
    let mut keys = Keys::new();
    let before = keys.figures().await;
    let outcome = keys.all(vec![set("p:text", "{\"user_id\":\"ann\"}"), hset("p:hash", "user_id", "ann")]).await;
    assert!(outcome.written.is_empty() && outcome.created == 0 && outcome.unknown == 0);
    keys.run(set_until("p:timed", "x", Deadline::At(keys.soon(9)))).await;
    assert_eq!(keys.figures().await, before);
    let revision = keys.plain("p:text").await.unwrap().revision;
    keys.reopen().await;
    assert_eq!(keys.figures().await, before);
    assert_eq!(keys.plain("p:text").await.unwrap().revision, revision);
    assert_eq!(keys.get("p:text").await, bytes("{\"user_id\":\"ann\"}"));
    let field = RawOp::HGet(name("p:hash"), Box::from(&b"user_id"[..]));
    assert_eq!(keys.run(field).await, bytes("ann"));
    let left = keys.run(RawOp::TimeToLive(name("p:timed"))).await;
    assert_eq!(left, RawReply::TimeToLive(TimeToLive::Millis(9 * 60_000)));
    assert_eq!(keys.store.notices().await.unwrap().queued, 0);
}

#[tokio::test]
async fn they_expire_for_every_reader_at_once() {
    let mut keys = Keys::new();
    keys.run(set_until("p:1", "x", Deadline::At(keys.soon(1)))).await;
    keys.run(set("p:2", "x")).await;
    keys.run(expire("p:2", keys.soon(1))).await;
    keys.wait(Duration::from_millis(59_999));
    assert!(matches!(keys.found("p:1").await, Some(RawFound::Plain(_))));
    keys.wait(Duration::from_millis(1));
    assert!(keys.found("p:1").await.is_none());
    assert_eq!(keys.get("p:2").await, RawReply::Nil);
    assert!(keys.store.scan_raw(0, 0, 9, keys.terms).await.unwrap().keys.is_empty());
    assert_eq!(keys.store.count_raw(0).await.unwrap(), 1, "the first is swept later");
    assert!(keys.store.claim_due(false, 9, keys.terms).await.unwrap().is_empty());
    assert_eq!(keys.store.count_raw(0).await.unwrap(), 0);
}

#[tokio::test]
async fn together_they_take_no_more_than_they_may() {
    let each = OVERHEAD + 3 + 10;
    let mut keys = room_for(3 * each);
    for key in ["p:1", "p:2", "p:3"] {
        assert_eq!(keys.set(key, "ten bytes.").await, RawReply::Done);
    }
    assert_eq!(keys.set("p:4", "").await, FULL);
    assert_eq!(keys.set("p:1", "ten bytes..").await, FULL);
    assert_eq!(keys.get("p:1").await, bytes("ten bytes."), "nothing has changed");
    assert_eq!(keys.set("p:1", "nine byte").await, RawReply::Done);
    assert_eq!(keys.set("p:2", "ten bytes..").await, RawReply::Done, "there was one byte");
    keys.reopen().await;
    assert_eq!(keys.set("p:2", "ten bytes...").await, FULL);
    assert_eq!(keys.set("s:1", "a session is another matter").await, RawReply::Done);
    keys.run(delete("p:3")).await;
    assert_eq!(keys.set("p:4", "ten bytes.").await, RawReply::Done);
    keys.run(rename("p:1", "p:2")).await;
    assert_eq!(keys.set("p:5", "ten bytes.").await, RawReply::Done, "a rename has made room");
    // A smaller bound takes nothing away, and lets nothing grow.
    keys.settings.redis_door.plain_bytes = 0;
    assert_eq!(keys.set("p:5", "ten bytes.").await, RawReply::Done);
    assert_eq!(keys.set("p:5", "ten bytes..").await, FULL);
}

#[tokio::test]
async fn the_expired_make_room_as_much_as_is_needed() {
    let mut keys = room_for(100_000);
    keys.settings.limits.session_bytes = 90_000;
    // More than are tidied up in one go.
    let due = keys.soon(1);
    let small = (0..400).map(|n| set_until(&format!("p:{n:03}"), &"x".repeat(40), Deadline::At(due)));
    let outcome = keys.all(small.collect()).await;
    assert!(outcome.replies.unwrap().iter().all(|reply| *reply == RawReply::Done));
    assert_eq!(keys.set("p:large", &"x".repeat(90_000)).await, FULL);
    keys.wait(MINUTE);
    assert_eq!(keys.set("p:large", &"x".repeat(90_000)).await, RawReply::Done);
}

#[tokio::test]
async fn each_new_one_tidies_up_after_two_that_have_expired() {
    let mut keys = Keys::new();
    let due = keys.soon(1);
    keys.all((0..50).map(|n| set_until(&format!("p:{n}"), "x", Deadline::At(due))).collect()).await;
    keys.wait(MINUTE);
    keys.all((0..20).map(|n| set(&format!("p:new-{n}"), "x")).collect()).await;
    assert_eq!(keys.store.count_raw(0).await.unwrap(), 50 - 2 * 20 + 20);
}

#[tokio::test]
async fn a_clock_that_was_ahead_leaves_no_lock_for_ever() {
    let mut keys = Keys::new();
    let two_years = 2 * 365 * 24 * 60;
    keys.run(set_until("p:right", "x", Deadline::At(keys.soon(two_years)))).await;
    keys.run(set("p:stays", "x")).await;
    keys.wait(Duration::from_secs(365 * 86_400));
    keys.set("s:1", "x").await;
    keys.run(set_until("p:lock", "x", Deadline::At(keys.soon(5)))).await;
    keys.terms.now = super::START;
    for _ in 0..2 {
        keys.reopen().await;
        keys.set("s:1", "y").await;
        keys.run(set_until("p:new", "x", Deadline::At(keys.soon(7)))).await;
        for (key, minutes) in [("p:lock", 5_u64), ("p:right", two_years), ("p:new", 7)] {
            let left = keys.run(RawOp::TimeToLive(name(key))).await;
            assert_eq!(left, RawReply::TimeToLive(TimeToLive::Millis(minutes.cast_signed() * 60_000)), "{key}");
        }
        assert_eq!(keys.get("p:stays").await, bytes("x"));
    }
}

#[tokio::test]
async fn key_spaces_are_apart() {
    let keys = Keys::new();
    let other = RawName::new(1, b"p:1");
    keys.set("p:1", "zero").await;
    assert_eq!(keys.run(RawOp::Get(other.clone())).await, RawReply::Nil);
    assert_eq!(keys.run(RawOp::Delete(vec![other])).await, RawReply::Integer(0));
    assert_eq!(keys.get("p:1").await, bytes("zero"));
}
