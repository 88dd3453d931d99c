//! Limits, for sessions that apps name themselves.

use sessgate::session::{Capacity, EndReason, OnExcess, Session};
use sessgate::store::raw::{RawOp, RawRefusal, RawReply};

use super::{Doorkeeper, Keys, bytes, hset, name, of, reasons, set};
use crate::support::sessions::{MINUTE, user};

fn user_limit(limit: u64) -> Vec<RawReply> {
    vec![RawReply::Refused(RawRefusal::UserLimit { limit })]
}

/// Ann has two: the first created is the last used.
async fn two_of_ann(policy: OnExcess) -> Keys {
    let mut keys = Keys::limit_users(2, policy);
    for key in ["s:1", "s:2"] {
        keys.wait(MINUTE);
        keys.log_in(key, "ann").await;
    }
    keys.wait(MINUTE);
    keys.log_in("s:1", "ann").await;
    keys.log_in("s:bob", "bob").await;
    keys.set("s:nobody", "{}").await;
    keys.wait(MINUTE);
    keys
}

/// What makes one more session Ann's: a new one, one that becomes hers by its value, and one by a call.
fn one_more() -> [(RawOp, u64, &'static str); 3] {
    [
        (set("s:3", &of("ann")), 1, "s:3"),
        (set("s:nobody", &of("ann")), 0, "s:nobody"),
        (RawOp::Bind { name: name("s:bob"), user: Some(user("ann")) }, 0, "s:bob"),
    ]
}

#[tokio::test]
async fn a_session_more_costs_the_user_one_by_policy() {
    for (policy, victim, left) in [(OnExcess::EvictOldest, "s:1", "s:2"), (OnExcess::EvictIdlest, "s:2", "s:1")] {
        for (op, created, key) in one_more() {
            let mut keys = two_of_ann(policy).await;
            let outcome = keys.outcome(op).await;
            assert!(!matches!(outcome.replies.unwrap()[0], RawReply::Refused(_)));
            assert_eq!((outcome.created, reasons(&outcome.ended)), (created, vec![EndReason::UserLimit]));
            assert_eq!(outcome.ended[0].name, Some(name(victim)));
            assert_eq!(keys.of_user("ann", &["s:1", "s:2", key]).await, [left, key]);
            assert_eq!(keys.get(victim).await, RawReply::Nil);
            keys.assert_counted().await;
        }
    }
}

#[tokio::test]
async fn or_is_refused_and_nothing_has_changed() {
    for (op, _, key) in one_more() {
        let mut keys = two_of_ann(OnExcess::Reject).await;
        let before = (keys.figures().await, keys.session(key).await);
        let outcome = keys.outcome(op).await;
        assert_eq!(outcome.replies, Some(user_limit(2)));
        assert!(outcome.ended.is_empty() && outcome.written.is_empty() && outcome.created == 0);
        assert_eq!((keys.figures().await, keys.session(key).await), before);
        assert_eq!(keys.log_in("s:1", "ann").await, RawReply::Done, "what is Ann's is saved all the same");
        keys.assert_counted().await;
    }
}

#[tokio::test]
async fn expired_sessions_count_for_nobody() {
    let mut keys = Keys::limit_users(1, OnExcess::Reject);
    keys.run(super::set_until("s:1", &of("ann"), sessgate::store::raw::Deadline::At(keys.soon(1)))).await;
    keys.wait(MINUTE);
    let outcome = keys.outcome(set("s:2", &of("ann"))).await;
    assert_eq!((outcome.created, reasons(&outcome.ended)), (1, vec![EndReason::Idle]));
}

#[tokio::test]
async fn a_user_who_may_have_none_gets_none() {
    let keys = Keys::limit_users(0, OnExcess::EvictOldest);
    assert_eq!(keys.outcome(set("s:1", &of("ann"))).await.replies, Some(user_limit(0)));
    keys.set("s:1", "{}").await;
    assert_eq!(keys.outcome(hset("s:2", "user_id", "ann")).await.replies, Some(user_limit(0)));
    assert_eq!(keys.outcome(set("s:1", &of("ann"))).await.replies, Some(user_limit(0)));
    assert_eq!(keys.get("s:1").await, bytes("{}"));
}

#[tokio::test]
async fn one_transaction_may_bring_more_than_a_user_may_have() {
    let mut keys = Keys::limit_users(1, OnExcess::EvictOldest);
    let outcome = keys.all((0..4).map(|n| set(&format!("s:{n}"), &of("ann"))).collect()).await;
    assert_eq!((outcome.created, outcome.ended.len(), outcome.written.len()), (4, 3, 1));
    assert_eq!(outcome.written[0].key, keys.key("s:3"));
    keys.assert_counted().await;
}

#[tokio::test]
async fn a_newcomer_displaces_at_the_cap_but_a_stranger_nobody_who_is_known() {
    let mut keys = Keys::with(|settings| settings.limits.stored = Capacity { sessions: Some(2), bytes: None });
    keys.log_in("s:1", "ann").await;
    keys.set("s:2", "{}").await;
    let outcome = keys.outcome(set("s:3", "{}")).await;
    assert_eq!(reasons(&outcome.ended), [EndReason::StorageCap]);
    assert_eq!(outcome.ended[0].name, Some(name("s:2")));
    assert_eq!(reasons(&keys.outcome(set("s:4", &of("bob"))).await.ended), [EndReason::StorageCap]);
    let before = keys.figures().await;
    assert_eq!(keys.set("s:5", "{}").await, RawReply::Refused(RawRefusal::StorageFull), "all others are users'");
    assert_eq!(keys.figures().await, before);
    keys.assert_counted().await;
}

#[tokio::test]
async fn bytes_are_counted_with_names_and_users() {
    let each = Session::STORED_OVERHEAD + ("s:1".len() + of("ann").len() + "ann".len()) as u64;
    let mut keys = Keys::with(|settings| settings.limits.stored = Capacity { sessions: None, bytes: Some(2 * each) });
    keys.log_in("s:1", "ann").await;
    assert_eq!(keys.figures().await.bytes, each);
    keys.log_in("s:2", "bob").await;
    assert_eq!(keys.figures().await.bytes, 2 * each);
    let longer = of("bobby");
    assert_eq!(keys.set("s:2", &longer).await, RawReply::Refused(RawRefusal::StorageFull), "it would grow");
    assert_eq!(keys.get("s:2").await, bytes(&of("bob")));
    assert_eq!(keys.log_in("s:2", "cat").await, RawReply::Done);
    assert_eq!(keys.set("s:1", "{}").await, RawReply::Done);
    assert_eq!(keys.figures().await.bytes, 2 * each - (of("ann").len() + "ann".len() - "{}".len()) as u64);
    keys.run(super::rename("s:1", "s:1-and-more")).await;
    keys.assert_counted().await;
    keys.settings.limits.stored.bytes = Some(each - 1);
    assert_eq!(keys.log_in("s:3", "dan").await, RawReply::Refused(RawRefusal::StorageFull), "it can never fit");
}

#[tokio::test]
async fn no_value_is_larger_than_allowed() {
    let mut keys = Keys::with(|settings| settings.limits.session_bytes = 30);
    let refused = |bytes| RawReply::Refused(RawRefusal::TooLarge { bytes, limit: 30 });
    for key in ["s:1", "p:1"] {
        assert_eq!(keys.set(key, &"x".repeat(30)).await, RawReply::Done);
        assert_eq!(keys.set(key, &"y".repeat(31)).await, refused(31));
        assert_eq!(keys.get(key).await, bytes(&"x".repeat(30)));
    }
    assert_eq!(keys.run(hset("s:2", "a", &"x".repeat(21))).await, RawReply::Integer(1));
    assert_eq!(keys.run(hset("s:2", "b", "")).await, refused(39));
    let add = RawOp::HIncrBy { name: name("s:2"), field: Box::from(&b"n"[..]), by: 1 };
    assert_eq!(keys.run(add).await, refused(40));
    assert_eq!(keys.run(RawOp::HDel(name("s:2"), vec![Box::from(&b"a"[..])])).await, RawReply::Integer(1));
    keys.assert_counted().await;
}

#[tokio::test]
async fn creations_are_counted_by_address_and_changes_are_not() {
    let mut keys = Keys::new();
    keys.admission = Doorkeeper::letting_in(2);
    let from = |n: u8| format!("{{\"ip\":\"192.0.2.7\",\"n\":{n}}}");
    for key in ["s:1", "s:2"] {
        assert_eq!(keys.set(key, &from(1)).await, RawReply::Done);
        assert_eq!(keys.set(key, &from(2)).await, RawReply::Done);
    }
    let outcome = keys.outcome(set("s:3", &from(3))).await;
    assert_eq!(outcome.replies, Some(vec![RawReply::Refused(RawRefusal::CreationRate)]));
    assert_eq!(keys.get("s:3").await, RawReply::Nil);
    assert_eq!(keys.set("s:3", "{}").await, RawReply::Done, "nobody knows from where");
    assert_eq!(keys.set("p:3", &from(3)).await, RawReply::Done, "it is no session");
    keys.assert_counted().await;
}

#[tokio::test]
async fn a_session_that_is_refused_is_not_counted_by_address() {
    let mut keys = Keys::limit_users(1, OnExcess::Reject);
    keys.admission = Doorkeeper::letting_in(2);
    let from = |owner: &str| format!("{{\"ip\":\"192.0.2.7\",\"user_id\":\"{owner}\"}}");
    assert_eq!(keys.set("s:1", &from("ann")).await, RawReply::Done);
    for _ in 0..5 {
        let refused = RawReply::Refused(RawRefusal::UserLimit { limit: 1 });
        assert_eq!(keys.set("s:2", &from("ann")).await, refused);
    }
    keys.settings.limits.stored = Capacity { sessions: Some(1), bytes: None };
    assert_eq!(keys.set("s:2", &from("bob")).await, RawReply::Refused(RawRefusal::StorageFull));
    keys.settings.limits.stored = Capacity::default();
    assert_eq!(keys.set("s:2", &from("bob")).await, RawReply::Done);
    assert_eq!(keys.set("s:3", &from("cat")).await, RawReply::Refused(RawRefusal::CreationRate), "who is there counts");
}
