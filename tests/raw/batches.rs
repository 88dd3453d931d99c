//! Transactions: watched keys, refusals in the middle.

use sessgate::session::{EndReason, OnExcess};
use sessgate::store::Store;
use sessgate::store::raw::{Deadline, RawFound, RawOp, RawRefusal, RawReply};

use super::{Keys, bytes, delete, expire, hset, name, of, reasons, rename, set, set_until};
use crate::support::sessions::MINUTE;

async fn revision(keys: &Keys, key: &str) -> u64 {
    match keys.found(key).await {
        None => 0,
        Some(RawFound::Session(stored)) => stored.session.revision,
        Some(RawFound::Plain(value)) => value.revision,
    }
}

/// Runs a transaction while these are watched. Whether it was done.
async fn done(keys: &mut Keys, watched: &[(&str, u64)]) -> bool {
    keys.watched = watched.iter().map(|(key, revision)| (name(key), *revision)).collect();
    let outcome = keys.all(vec![set("p:result", "x"), RawOp::Exists(vec![name("p:result")])]).await;
    keys.watched.clear();
    let done = outcome.replies.is_some();
    assert_eq!(keys.run(delete("p:result")).await, RawReply::Integer(done.into()));
    done
}

#[tokio::test]
async fn a_watched_key_that_changes_stops_everything() {
    for kind in ["s", "p"] {
        let mut keys = Keys::new();
        let [key, other] = [format!("{kind}:1"), format!("{kind}:2")];
        assert!(done(&mut keys, &[(&key, 0)]).await);
        keys.set(&key, "x").await;
        assert!(!done(&mut keys, &[(&key, 0)]).await, "it appeared");
        for op in [
            set(&key, "x"),
            expire(&key, keys.soon(9)),
            RawOp::GetEx(name(&key), Deadline::At(keys.soon(8))),
            RawOp::Persist(name(&key)),
        ] {
            let before = revision(&keys, &key).await;
            assert!(done(&mut keys, &[(&key, before)]).await);
            assert!(done(&mut keys, &[(&other, 0), (&key, before)]).await);
            keys.run(op).await;
            assert!(!done(&mut keys, &[(&other, 0), (&key, before)]).await);
        }
        let before = revision(&keys, &key).await;
        for op in
            [RawOp::Get(name(&key)), RawOp::TimeToLive(name(&key)), hset(&key, "f", "x"), expire(&other, keys.now())]
        {
            keys.run(op).await;
            assert!(done(&mut keys, &[(&key, before)]).await, "nothing has changed");
        }
        keys.run(rename(&key, &other)).await;
        assert!(!done(&mut keys, &[(&key, before)]).await, "it has gone");
        assert!(!done(&mut keys, &[(&other, 0)]).await, "it has come");
        keys.run(rename(&other, &key)).await;
        assert!(!done(&mut keys, &[(&key, before)]).await, "it went and came back");
        let before = revision(&keys, &key).await;
        keys.run(delete(&key)).await;
        keys.tell_absent(&key);
        keys.set(&key, "x").await;
        assert!(!done(&mut keys, &[(&key, before)]).await, "it is another");
        keys.reopen().await;
        let before = revision(&keys, &key).await;
        keys.set(&key, "x").await;
        assert!(!done(&mut keys, &[(&key, before)]).await);
    }
}

#[tokio::test]
async fn a_watched_key_whose_time_is_over_has_changed() {
    let mut keys = Keys::new();
    for key in ["s:1", "p:1"] {
        keys.run(set_until(key, "x", Deadline::At(keys.soon(1)))).await;
    }
    let watched = [("s:1", revision(&keys, "s:1").await), ("p:1", revision(&keys, "p:1").await)];
    assert!(done(&mut keys, &watched).await);
    keys.wait(MINUTE);
    for one in watched {
        assert!(!done(&mut keys, &[one]).await);
    }
    assert_eq!(keys.store.notices().await.unwrap().queued, 1, "the session's end is told although nothing was done");
    assert!(done(&mut keys, &[("s:1", 0), ("p:1", 0)]).await);
    keys.assert_counted().await;
}

#[tokio::test]
async fn what_is_refused_takes_nothing_else_back() {
    let mut keys = Keys::limit_users(1, OnExcess::Reject);
    keys.log_in("s:ann", "ann").await;
    let outcome = keys
        .all(vec![
            set("s:1", "{}"),
            hset("s:1", "f", "x"),
            set("s:2", &of("ann")),
            set("s:1", &of("ann")),
            rename("s:none", "s:1"),
            set("s:ann", &of("bob")),
            set("s:1", &of("ann")),
            RawOp::HIncrBy { name: name("s:3"), field: Box::from(&b"n"[..]), by: 2 },
        ])
        .await;
    let limit = RawReply::Refused(RawRefusal::UserLimit { limit: 1 });
    let expected = [
        RawReply::Done,
        RawReply::Refused(RawRefusal::WrongType),
        limit.clone(),
        limit,
        RawReply::Refused(RawRefusal::NoSuchKey),
        RawReply::Done,
        RawReply::Done,
        RawReply::Integer(2),
    ];
    assert_eq!(outcome.replies.unwrap(), expected);
    assert_eq!((outcome.created, outcome.written.len()), (2, 3));
    assert_eq!(keys.of_user("ann", &["s:ann", "s:1", "s:2"]).await, ["s:1"]);
    assert_eq!(keys.get("s:2").await, RawReply::Nil);
    keys.assert_counted().await;
}

#[tokio::test]
async fn what_is_written_and_gone_again_is_reported_as_gone() {
    let mut keys = Keys::limit_users(1, OnExcess::EvictOldest);
    let outcome = keys
        .all(vec![set("s:1", &of("ann")), RawOp::Get(name("s:1")), delete("s:1"), set("s:2", "{}"), set("s:2", "")])
        .await;
    assert_eq!(outcome.replies.unwrap()[1], bytes(&of("ann")));
    assert_eq!((outcome.created, reasons(&outcome.ended)), (2, vec![EndReason::Revoked]));
    let written: Vec<_> = outcome.written.iter().map(|stored| (stored.key, stored.session.data.len())).collect();
    assert_eq!(written, [(keys.key("s:2"), 0)], "as it now is");
    let outcome = keys.all(vec![set("s:3", &of("bob")), rename("s:3", "s:4"), set("s:5", &of("bob"))]).await;
    assert_eq!(outcome.ended[0].name, Some(name("s:4")));
    assert_eq!(outcome.written.len(), 1);
    keys.assert_counted().await;
}
