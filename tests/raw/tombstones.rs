//! Late saves: what was logged out stays logged out, and who knows better may begin anew.

use std::time::Duration;

use sessgate::session::{EndReason, OnExcess};
use sessgate::store::Store;
use sessgate::store::raw::{Condition, Deadline, RawOp, RawReply, RawSet, Renewal};

use super::{Keys, bytes, delete, expire, hset, name, of, reasons, rename, set, set_until};
use crate::support::sessions::MINUTE;

const SECOND: Duration = Duration::from_secs(1);

/// Saves, and asserts that this was answered as done, and whether it was.
async fn save(keys: &Keys, key: &str, dropped: bool) {
    let outcome = keys.outcome(set(key, &of("ann"))).await;
    assert_eq!(outcome.replies, Some(vec![RawReply::Done]));
    assert_eq!((outcome.late, outcome.created), (u64::from(dropped), u64::from(!dropped)), "{key}");
    assert_eq!(keys.session(key).await.is_some(), !dropped, "{key}");
}

#[tokio::test]
async fn what_was_logged_out_is_brought_back_only_by_who_knows_that() {
    let mut keys = Keys::new();
    keys.log_in("s:1", "ann").await;
    keys.tell_absent("s:1");
    keys.wait(SECOND);
    assert_eq!(reasons(&keys.outcome(delete("s:1")).await.ended), [EndReason::Revoked]);
    save(&keys, "s:1", true).await;
    let late = keys.outcome(hset("s:1", "user_id", "ann")).await;
    assert_eq!((late.replies, late.late), (Some(vec![RawReply::Integer(1)]), 1));
    keys.reopen().await;
    save(&keys, "s:1", true).await;
    keys.tell_absent("s:1");
    save(&keys, "s:1", false).await;
    keys.assert_counted().await;
}

#[tokio::test]
async fn what_others_ended_is_brought_back_by_nobody() {
    for reason in [EndReason::Admin, EndReason::UserLimit, EndReason::StorageCap] {
        let mut keys = Keys::new();
        keys.log_in("s:1", "ann").await;
        assert_eq!(keys.end("s:1", reason).await.len(), 1);
        keys.tell_absent("s:1");
        save(&keys, "s:1", true).await;
        keys.wait(SECOND * 59);
        keys.tell_absent("s:1");
        save(&keys, "s:1", true).await;
        keys.wait(SECOND);
        save(&keys, "s:1", false).await;
    }
}

#[tokio::test]
async fn a_lock_is_had_by_one_even_if_the_rules_take_it_for_a_session() {
    let lock = |condition, get| {
        let (name, value) = (name("s:lock"), Box::from(&b"mine"[..]));
        RawOp::Set(RawSet { name, value, condition, deadline: Deadline::None, get })
    };
    let keys = Keys::new();
    for _ in 0..3 {
        assert_eq!(keys.run(lock(Condition::IfAbsent, false)).await, RawReply::Done);
        assert_eq!(keys.run(lock(Condition::IfAbsent, false)).await, RawReply::Nil, "another has it");
        let release = RawOp::DeleteIfEqual { name: name("s:lock"), value: Box::from(&b"mine"[..]) };
        assert_eq!(keys.run(release).await, RawReply::Integer(1));
    }
    keys.run(lock(Condition::IfAbsent, false)).await;
    keys.end("s:lock", EndReason::StorageCap).await;
    let outcome = keys.outcome(lock(Condition::IfAbsent, false)).await;
    assert_eq!((outcome.replies, outcome.late), (Some(vec![RawReply::Nil]), 1), "nobody has it, and nobody gets it");
    assert_eq!(keys.run(lock(Condition::Always, true)).await, RawReply::Nil);
    assert_eq!(keys.get("s:lock").await, RawReply::Nil);
}

#[tokio::test]
async fn who_saves_only_what_is_there_is_late_as_well() {
    let save = |get| {
        let (name, value) = (name("s:1"), of("ann").into_bytes().into());
        RawOp::Set(RawSet { name, value, condition: Condition::IfPresent, deadline: Deadline::Keep, get })
    };
    let mut keys = Keys::new();
    let outcome = keys.outcome(save(false)).await;
    assert_eq!((outcome.replies, outcome.late), (Some(vec![RawReply::Nil]), 0), "nothing was ever there");
    keys.log_in("s:1", "ann").await;
    keys.run(delete("s:1")).await;
    // actix-session would keep the session under another name if it were told that it is gone.
    let outcome = keys.outcome(save(false)).await;
    assert_eq!((outcome.replies, outcome.late), (Some(vec![RawReply::Done]), 1));
    let outcome = keys.outcome(save(true)).await;
    assert_eq!((outcome.replies, outcome.late), (Some(vec![RawReply::Nil]), 1), "there was no value");
    assert!(keys.session("s:1").await.is_none());
    keys.wait(SECOND);
    keys.tell_absent("s:1");
    let outcome = keys.outcome(save(false)).await;
    assert_eq!((outcome.replies, outcome.late), (Some(vec![RawReply::Nil]), 0), "it knows");
}

#[tokio::test]
async fn who_was_displaced_stays_out() {
    let mut keys = Keys::limit_users(1, OnExcess::EvictOldest);
    keys.log_in("s:1", "ann").await;
    keys.wait(SECOND);
    keys.log_in("s:2", "ann").await;
    keys.tell_absent("s:1");
    save(&keys, "s:1", true).await;
    assert_eq!(keys.of_user("ann", &["s:1", "s:2"]).await, ["s:2"]);
}

#[tokio::test]
async fn what_was_not_used_for_its_time_may_begin_anew() {
    let mut keys = Keys::new();
    keys.run(set_until("s:1", &of("ann"), Deadline::At(keys.soon(1)))).await;
    keys.wait(MINUTE);
    save(&keys, "s:1", false).await;
    keys.wait(MINUTE * 60);
    let outcome = keys.outcome(set("s:1", "{}")).await;
    assert_eq!((reasons(&outcome.ended), outcome.created), (vec![EndReason::Idle], 1));
}

#[tokio::test]
async fn an_absolute_timeout_is_not_got_around_by_one_more_save() {
    let mut keys = Keys::new();
    keys.terms.lifetimes.absolute_timeout = Some(MINUTE * 30);
    keys.log_in("s:1", "ann").await;
    keys.wait(MINUTE * 30);
    keys.tell_absent("s:1");
    keys.wait(SECOND);
    let told = std::mem::take(&mut keys.told_absent);
    let outcome = keys.outcome(set("s:1", &of("ann"))).await;
    assert_eq!((reasons(&outcome.ended), outcome.late), (vec![EndReason::Absolute], 1));
    keys.told_absent = told;
    save(&keys, "s:1", false).await;
}

#[tokio::test]
async fn every_removal_leaves_one_and_a_rename_at_the_old_name() {
    let past = super::START;
    for op in [
        delete("s:1"),
        RawOp::GetDel(name("s:1")),
        expire("s:1", past),
        set_until("s:1", "", Deadline::At(past)),
        RawOp::GetEx(name("s:1"), Deadline::At(past)),
        RawOp::DeleteIfEqual { name: name("s:1"), value: of("ann").into_bytes().into() },
        RawOp::ExpireIfEqual { name: name("s:1"), value: of("ann").into_bytes().into(), renewal: Renewal::Until(past) },
        rename("s:1", "s:2"),
    ] {
        let keys = Keys::new();
        keys.log_in("s:1", "ann").await;
        keys.run(op).await;
        save(&keys, "s:1", true).await;
    }
    let keys = Keys::new();
    keys.run(hset("s:1", "user_id", "ann")).await;
    keys.run(RawOp::HDel(name("s:1"), vec![Box::from(&b"user_id"[..])])).await;
    save(&keys, "s:1", true).await;
    keys.set("p:1", "lock").await;
    keys.run(delete("p:1")).await;
    assert_eq!(keys.set("p:1", "lock").await, RawReply::Done);
    assert_eq!(keys.get("p:1").await, bytes("lock"), "a plain key leaves none");
}

#[tokio::test]
async fn a_transaction_that_replaces_a_session_is_not_late() {
    let mut keys = Keys::new();
    keys.run(hset("s:1", "cart", "1")).await;
    let outcome = keys.all(vec![delete("s:1"), hset("s:1", "user_id", "ann"), expire("s:1", keys.soon(9))]).await;
    assert_eq!(outcome.replies, Some(vec![RawReply::Integer(1); 3]));
    assert_eq!((outcome.late, outcome.created, outcome.ended.len(), outcome.written.len()), (0, 1, 1, 1));
    assert_eq!(keys.of_user("ann", &["s:1"]).await, ["s:1"]);
    let outcome = keys.all(vec![rename("s:1", "s:2"), hset("s:1", "n", "1"), rename("s:2", "s:1")]).await;
    assert_eq!((outcome.late, outcome.ended.len(), outcome.written.len()), (0, 1, 1));
    assert_eq!(keys.of_user("ann", &["s:1"]).await, ["s:1"]);
    keys.assert_counted().await;

    // The same from a writer who does not know that somebody has logged out meanwhile.
    keys.end("s:1", EndReason::Revoked).await;
    let outcome = keys.all(vec![delete("s:1"), hset("s:1", "user_id", "ann")]).await;
    assert_eq!((outcome.late, outcome.created), (1, 0));
    assert_eq!(keys.run(RawOp::HGetAll(name("s:1"))).await, RawReply::Fields(Box::default()));
}

#[tokio::test]
async fn a_session_that_came_to_a_dead_name_is_no_dead_one() {
    let mut keys = Keys::new();
    for key in ["s:1", "s:2"] {
        keys.log_in(key, "ann").await;
        keys.run(delete(key)).await;
    }
    keys.tell_absent("s:1");
    keys.run(set_until("s:1", "{}", Deadline::At(keys.now() + SECOND))).await;
    keys.told_absent.clear();
    keys.run(set_until("s:3", "{}", Deadline::At(keys.now() + SECOND))).await;
    keys.tell_absent("s:2");
    keys.run(rename("s:3", "s:2")).await;
    keys.told_absent.clear();
    keys.wait(SECOND);
    assert_eq!(reasons(&keys.store.claim_due(false, 9, keys.terms).await.unwrap()), [EndReason::Idle; 2]);
    save(&keys, "s:1", false).await;
    save(&keys, "s:2", false).await;
}

/// Saves as those do who write under another name first, and asserts what [`save`] does.
async fn save_by_rename(keys: &Keys, key: &str, dropped: bool) {
    let temporary = format!("{key}.temporary");
    keys.log_in(&temporary, "ann").await;
    let outcome = keys.outcome(rename(&temporary, key)).await;
    assert_eq!(outcome.replies, Some(vec![RawReply::Done]));
    assert_eq!((outcome.late, outcome.written.is_empty()), (u64::from(dropped), dropped), "{key}");
    assert_eq!(reasons(&outcome.ended), [EndReason::Revoked].repeat(dropped.into()));
    assert_eq!(keys.session(key).await.is_some(), !dropped, "{key}");
    assert!(keys.found(&temporary).await.is_none());
}

#[tokio::test]
async fn a_save_by_rename_is_as_late_as_another() {
    for reason in [EndReason::Admin, EndReason::UserLimit, EndReason::StorageCap, EndReason::Revoked] {
        for told in [false, true] {
            let mut keys = Keys::new();
            keys.log_in("s:1", "ann").await;
            keys.end("s:1", reason).await;
            if told {
                keys.tell_absent("s:1");
            }
            save_by_rename(&keys, "s:1", reason != EndReason::Revoked || !told).await;
            keys.assert_counted().await;
        }
    }
    // Whoever has replaced it in the same transaction knows of the end.
    let mut keys = Keys::new();
    keys.log_in("s:1", "ann").await;
    let outcome = keys.all(vec![delete("s:1"), set("s:temporary", &of("bob")), rename("s:temporary", "s:1")]).await;
    assert_eq!((outcome.late, outcome.written.len()), (0, 1));
    keys.assert_counted().await;
}

#[tokio::test]
async fn a_session_may_have_its_old_name_back_and_no_other_may() {
    let mut keys = Keys::new();
    keys.log_in("s:1", "ann").await;
    for _ in 0..3 {
        for (from, to) in [("s:1", "s:2"), ("s:2", "s:1")] {
            keys.wait(SECOND);
            assert_eq!(keys.outcome(rename(from, to)).await.late, 0);
            assert_eq!(keys.of_user("ann", &["s:1", "s:2"]).await, [to]);
        }
    }
    keys.run(rename("s:1", "s:2")).await;
    keys.wait(SECOND);
    save_by_rename(&keys, "s:1", true).await;
    keys.run(rename("s:2", "s:3")).await;
    keys.wait(SECOND);
    save_by_rename(&keys, "s:2", true).await;
    keys.assert_counted().await;
}

#[tokio::test]
async fn without_a_time_for_them_there_are_none() {
    let mut keys = Keys::new();
    keys.terms.tombstone = Duration::ZERO;
    keys.log_in("s:1", "ann").await;
    keys.end("s:1", EndReason::Admin).await;
    save(&keys, "s:1", false).await;
}

#[tokio::test]
async fn a_clock_that_was_ahead_leaves_no_name_dead_for_ever() {
    let mut keys = Keys::new();
    keys.wait(Duration::from_secs(365 * 86_400));
    keys.log_in("s:1", "ann").await;
    keys.end("s:1", EndReason::Admin).await;
    keys.terms.now = super::START;
    keys.reopen().await;
    save(&keys, "s:1", true).await;
    keys.wait(keys.terms.tombstone);
    save(&keys, "s:1", false).await;
}
