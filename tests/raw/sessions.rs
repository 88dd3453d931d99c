//! What a session is that an app named: whose, until when, and how it ends.

use sessgate::config::settings::SessionRule;
use sessgate::session::identity::{Format, Rule};
use std::time::Duration;

use sessgate::session::{EndReason, Timeout};
use sessgate::store::Store;
use sessgate::store::raw::{Condition, Deadline, Direction, RawFound, RawOp, RawReply, RawSet, Renewal, TimeToLive};

use super::{Keys, bytes, delete, expire, hset, name, of, reasons, rename, set, set_until};
use crate::support::sessions::{MINUTE, user};

fn bind(key: &str, owner: Option<&str>) -> RawOp {
    RawOp::Bind { name: name(key), user: owner.map(user) }
}

#[tokio::test]
async fn the_user_index_follows_every_write() {
    let mut keys = Keys::new();
    let seen =
        async |keys: &Keys| (keys.of_user("ann", &["s:1"]).await.len(), keys.of_user("bob", &["s:1"]).await.len());
    for (value, expected) in [
        ("{}", (0, 0)),
        (&*of("ann"), (1, 0)),
        (&of("bob"), (0, 1)),
        ("\x04 no format at all", (0, 1)),
        ("", (0, 0)),
        (&of("ann"), (1, 0)),
        ("{\"cart\":[]}", (0, 0)),
    ] {
        let outcome = keys.outcome(set("s:1", value)).await;
        assert_eq!(outcome.replies, Some(vec![RawReply::Done]));
        assert_eq!(seen(&keys).await, expected, "after {value}");
        let written: Vec<_> = outcome.written.iter().map(|stored| stored.session.user.clone()).collect();
        assert_eq!(written, [keys.session("s:1").await.unwrap().session.user]);
        assert_eq!(outcome.unknown, u64::from(value.starts_with('\x04')));
    }
    keys.run(delete("s:1")).await;
    for (op, expected) in [
        (hset("s:2", "cart", "3"), 0),
        (hset("s:2", "user_id", "ann"), 1),
        (RawOp::HDel(name("s:2"), vec![Box::from(&b"user_id"[..])]), 0),
        (hset("s:2", "user_id", "ann"), 1),
        (rename("s:2", "s:3"), 1),
        (delete("s:3"), 0),
    ] {
        keys.run(op).await;
        assert_eq!(keys.figures().await.users, expected);
    }
    keys.assert_counted().await;
}

#[tokio::test]
async fn a_binding_outlasts_every_value_until_it_is_taken_back() {
    let mut keys = Keys::new();
    assert_eq!(keys.run(bind("s:1", Some("ann"))).await, RawReply::Integer(0));
    keys.set("p:1", "lock").await;
    assert_eq!(keys.run(bind("p:1", Some("ann"))).await, RawReply::Integer(0));
    keys.set("s:1", "\x04 no format at all").await;
    let before = keys.session("s:1").await.unwrap();
    let outcome = keys.outcome(bind("s:1", Some("ann"))).await;
    assert_eq!(outcome.replies, Some(vec![RawReply::Integer(1)]));
    assert!(outcome.written[0].session.revision > before.session.revision, "or memory would keep the old one");
    for value in ["\x04 no format at all", "{}", "", &*of("bob")] {
        keys.set("s:1", value).await;
        assert_eq!(keys.of_user("ann", &["s:1"]).await, ["s:1"], "after {value}");
    }
    keys.run(rename("s:1", "s:2")).await;
    keys.reopen().await;
    keys.set("s:2", &of("bob")).await;
    assert_eq!(keys.of_user("ann", &["s:2"]).await, ["s:2"]);
    keys.run(bind("s:2", None)).await;
    assert_eq!(keys.of_user("bob", &["s:2"]).await, ["s:2"], "at once what the value says");
    keys.set("s:2", "{}").await;
    assert_eq!(keys.figures().await.users, 0);
    keys.run(bind("s:2", Some("ann"))).await;
    keys.run(delete("s:2")).await;
    keys.tell_absent("s:2");
    keys.set("s:2", "{}").await;
    assert_eq!(keys.figures().await.users, 0, "a new session is not bound");
    keys.assert_counted().await;
}

#[tokio::test]
async fn a_renamed_session_is_the_same_session() {
    let mut keys = Keys::new();
    let deadline = keys.soon(30);
    keys.run(set_until("s:old", &of("ann"), Deadline::At(deadline))).await;
    let before = keys.session("s:old").await.unwrap();
    keys.wait(MINUTE);
    let outcome = keys.outcome(rename("s:old", "s:longer-name")).await;
    assert_eq!((outcome.moved, outcome.ended.len(), outcome.created), (vec![before.key], 0, 0));
    let after = keys.session("s:longer-name").await.unwrap();
    assert_eq!(outcome.written, std::slice::from_ref(&after));
    assert!(after.session.revision > before.session.revision);
    assert_eq!((after.session.id, after.session.created_at), (before.session.id, before.session.created_at));
    assert_eq!((&after.session.user, &after.session.data), (&before.session.user, &before.session.data));
    let left = keys.run(RawOp::TimeToLive(name("s:longer-name"))).await;
    assert_eq!(left, RawReply::TimeToLive(TimeToLive::Millis(29 * 60_000)));
    assert!(keys.found("s:old").await.is_none());
    assert_eq!(keys.store.scan_raw(0, 0, 9, keys.terms).await.unwrap().keys[0].0, name("s:longer-name"));

    // What is there under the new name ends.
    keys.log_in("s:there", "bob").await;
    let outcome = keys.outcome(rename("s:longer-name", "s:there")).await;
    assert_eq!(reasons(&outcome.ended), [EndReason::Revoked]);
    assert_eq!(outcome.ended[0].user, Some(user("bob")));
    assert_eq!(keys.session("s:there").await.unwrap().session.id, before.session.id);
    assert_eq!(keys.figures().await.users, 1);
    keys.assert_counted().await;
}

#[tokio::test]
async fn a_plain_key_renamed_to_a_sessions_name_is_saved_as_one() {
    let mut keys = Keys::limit_users(1, sessgate::session::OnExcess::Reject);
    keys.set("p:new", &of("ann")).await;
    let outcome = keys.outcome(rename("p:new", "s:1")).await;
    assert_eq!((outcome.created, outcome.written.len()), (1, 1));
    assert_eq!(keys.of_user("ann", &["s:1"]).await, ["s:1"]);
    let first = keys.session("s:1").await.unwrap().session.id;
    keys.set("p:new", &of("bob")).await;
    let outcome = keys.outcome(rename("p:new", "s:1")).await;
    assert_eq!((outcome.created, outcome.ended.len()), (0, 0), "the session that is there gets another value");
    let saved = keys.session("s:1").await.unwrap();
    assert_eq!((saved.session.id, saved.session.user), (first, Some(user("bob"))));
    assert!(keys.plain("p:new").await.is_none());

    keys.set("p:more", &of("bob")).await;
    keys.log_in("s:2", "carl").await;
    assert!(matches!(keys.run(rename("p:more", "s:2")).await, RawReply::Refused(_)));
    assert_eq!(keys.get("p:more").await, bytes(&of("bob")), "nothing has changed");
    assert_eq!(keys.get("s:2").await, bytes(&of("carl")));
    keys.assert_counted().await;
}

fn expire_if_equal(key: &str, value: &str, renewal: Renewal) -> RawOp {
    RawOp::ExpireIfEqual { name: name(key), value: value.as_bytes().into(), renewal }
}

#[tokio::test]
async fn a_write_is_a_use_and_a_look_is_none() {
    let mut keys = Keys::new();
    keys.log_in("s:1", "ann").await;
    let mut last = keys.now();
    for (op, is_use) in [
        (RawOp::Get(name("s:1")), false),
        (RawOp::TimeToLive(name("s:1")), false),
        (RawOp::GetEx(name("s:1"), Deadline::At(keys.soon(60))), true),
        (RawOp::GetAndRenew(name("s:1"), keys.soon(70)), true),
        (expire_if_equal("s:1", "not this", Renewal::Until(keys.soon(80))), false),
        (expire_if_equal("s:1", &of("ann"), Renewal::By(1)), true),
        (expire("s:1", keys.soon(90)), true),
        (RawOp::Persist(name("s:1")), true),
        (set("s:1", "{}"), true),
    ] {
        keys.wait(MINUTE);
        keys.run(op).await;
        last = if is_use { keys.now() } else { last };
        assert_eq!(keys.session("s:1").await.unwrap().last_activity, last);
    }
    keys.assert_counted().await;
}

#[tokio::test]
async fn no_deadline_lies_beyond_the_absolute_timeout() {
    let mut keys = Keys::new();
    keys.terms.lifetimes.absolute_timeout = Some(MINUTE * 30);
    let (near, far) = (keys.soon(10), keys.soon(1_000));
    let half_an_hour = Some(Timeout::of(MINUTE * 30));
    let own = async |keys: &Keys| keys.session("s:1").await.unwrap().session.absolute_timeout;
    keys.run(set_until("s:1", "{}", Deadline::At(far))).await;
    assert_eq!(own(&keys).await, half_an_hour);
    keys.run(set_until("s:1", "{}", Deadline::At(near))).await;
    assert_eq!(own(&keys).await, Some(Timeout::of(MINUTE * 10)));
    keys.wait(MINUTE * 5);
    for op in [
        expire("s:1", far),
        RawOp::GetEx(name("s:1"), Deadline::At(far)),
        RawOp::GetAndRenew(name("s:1"), far),
        expire_if_equal("s:1", "{}", Renewal::Until(far)),
        set_until("s:1", "x", Deadline::At(far)),
    ] {
        keys.run(op).await;
        assert_eq!(own(&keys).await, half_an_hour, "counted from creation");
        keys.run(expire("s:1", near)).await;
    }
    keys.run(RawOp::Persist(name("s:1"))).await;
    assert_eq!(own(&keys).await, None, "it follows the configuration again");
    keys.wait(MINUTE * 25);
    let outcome = keys.outcome(RawOp::Get(name("s:1"))).await;
    assert_eq!((outcome.replies, reasons(&outcome.ended)), (Some(vec![RawReply::Nil]), vec![EndReason::Absolute]));
}

#[tokio::test]
async fn the_apps_time_to_live_ends_a_session_as_idle_and_ours_as_absolute() {
    let mut keys = Keys::new();
    keys.terms.lifetimes.absolute_timeout = Some(MINUTE * 30);
    keys.run(set_until("s:app", &of("ann"), Deadline::At(keys.soon(10)))).await;
    keys.run(set_until("s:both", &of("ann"), Deadline::At(keys.soon(30)))).await;
    keys.run(set_until("s:ours", &of("ann"), Deadline::At(keys.soon(40)))).await;
    keys.log_in("s:none", "ann").await;
    keys.wait(MINUTE * 10);
    let ended = keys.store.claim_due(false, 9, keys.terms).await.unwrap();
    assert_eq!(reasons(&ended), [EndReason::Idle]);
    assert_eq!(ended[0].name, Some(name("s:app")));
    keys.wait(MINUTE * 20);
    let ended = keys.store.claim_due(false, 9, keys.terms).await.unwrap();
    assert_eq!(reasons(&ended), [EndReason::Absolute; 3]);
    assert_eq!(keys.store.notices().await.unwrap().queued, 4);
}

#[tokio::test]
async fn where_a_rule_says_so_the_value_tells_when_a_session_began_but_never_in_the_future() {
    let created = "/created".parse().unwrap();
    let rule = Rule::new(Format::Auto, None, None, Some(&created));
    let mut keys = Keys::with(|settings| {
        settings.redis_door.sessions = [("s:", rule), ("t:", Rule::default())]
            .map(|(pattern, rule)| SessionRule { pattern: pattern.to_owned(), rule })
            .into();
    });
    keys.terms.lifetimes.absolute_timeout = Some(MINUTE * 30);
    let began = keys.now() - MINUTE * 20;
    keys.set("s:1", &format!("{{\"created\":{}}}", began.as_millis())).await;
    keys.set("s:2", &format!("{{\"created\":{}}}", keys.soon(20).as_millis())).await;
    // Without a place that is said, it may be when the account was made.
    keys.set("t:1", &format!("{{\"created\":{}}}", began.as_millis())).await;
    assert_eq!(keys.session("t:1").await.unwrap().session.created_at, keys.now());
    assert_eq!(keys.session("s:1").await.unwrap().session.created_at, began);
    assert_eq!(keys.session("s:2").await.unwrap().session.created_at, keys.now());
    keys.run(expire("s:1", keys.soon(60))).await;
    keys.wait(MINUTE * 10);
    assert_eq!(keys.run(RawOp::Exists(vec![name("s:1"), name("s:2")])).await, RawReply::Integer(1));
    keys.assert_counted().await;
}

#[tokio::test]
async fn what_it_is_a_session_stays_and_a_plain_key_becomes_one_by_a_write() {
    let mut keys = Keys::new();
    keys.log_in("s:1", "ann").await;
    keys.run(set_until("p:1", &of("ann"), Deadline::At(keys.soon(5)))).await;
    let rules = std::mem::take(&mut keys.settings.redis_door.sessions);
    keys.settings.redis_door.sessions = rules
        .into_iter()
        .map(|mut rule| {
            rule.pattern = "p:".to_owned();
            rule
        })
        .collect();
    keys.set("s:1", "{}").await;
    assert!(matches!(keys.found("s:1").await, Some(RawFound::Session(_))));
    assert_eq!(keys.of_user("ann", &["s:1"]).await, ["s:1"], "no rule reads it any more");
    assert!(matches!(keys.found("p:1").await, Some(RawFound::Plain(_))));
    let kept = RawSet {
        name: name("p:1"),
        value: of("ann").into_bytes().into(),
        condition: Condition::IfPresent,
        deadline: Deadline::Keep,
        get: true,
    };
    assert_eq!(keys.run(RawOp::Set(kept)).await, bytes(&of("ann")));
    assert_eq!(keys.of_user("ann", &["p:1"]).await, ["p:1"]);
    let left = RawReply::TimeToLive(TimeToLive::Millis(5 * 60_000));
    assert_eq!(keys.run(RawOp::TimeToLive(name("p:1"))).await, left);
    assert_eq!(keys.store.count_raw(0).await.unwrap(), 2);
    keys.assert_counted().await;
}

#[tokio::test]
async fn times_to_live_may_be_as_long_as_they_like() {
    let mut keys = Keys::new();
    let end = sessgate::clock::Timestamp::MAX;
    for key in ["s:1", "p:1"] {
        keys.run(set_until(key, "x", Deadline::At(end))).await;
        keys.run(expire(key, end)).await;
        let longer =
            RawOp::Expire { name: name(key), at: end, condition: Condition::IfPresent, direction: Direction::Later };
        keys.run(longer).await;
        assert_eq!(keys.get(key).await, bytes("x"));
        let left = TimeToLive::Millis(end.as_millis() - keys.now().as_millis());
        assert_eq!(keys.run(RawOp::TimeToLive(name(key))).await, RawReply::TimeToLive(left), "{key}");
    }
    keys.wait(Duration::from_secs(600));
    keys.reopen().await;
    assert_eq!(keys.run(RawOp::Exists(vec![name("s:1"), name("p:1")])).await, RawReply::Integer(2));
}

#[tokio::test]
async fn revisions_grow_even_if_the_clock_was_ahead() {
    let mut keys = Keys::new();
    keys.wait(MINUTE * 4);
    keys.set("s:1", "ahead").await;
    keys.set("p:1", "ahead").await;
    let before = (keys.session("s:1").await.unwrap().session.revision, keys.plain("p:1").await.unwrap().revision);
    keys.terms.now = super::START;
    keys.reopen().await;
    keys.set("s:1", "true").await;
    keys.set("p:1", "true").await;
    assert!(keys.session("s:1").await.unwrap().session.revision > before.0, "or memory would keep the old one");
    assert!(keys.plain("p:1").await.unwrap().revision > before.1);
}

#[tokio::test]
async fn what_a_batch_has_read_and_neither_ended_nor_written_is_told() {
    let mut keys = Keys::new();
    keys.log_in("s:1", "ann").await;
    keys.log_in("s:2", "bob").await;
    keys.set("p:1", "x").await;
    let get = |key| RawOp::Get(name(key));
    let kept = |key| RawOp::GetEx(name(key), Deadline::Keep);
    for (ops, read) in [
        (vec![get("s:1"), get("s:1"), kept("s:2"), get("s:none"), get("p:1")], vec!["s:1", "s:2"]),
        (vec![RawOp::Touch(vec![name("s:1"), name("p:1")]), RawOp::Exists(vec![name("s:2")])], vec!["s:1"]),
        (vec![RawOp::Type(name("s:1")), RawOp::TimeToLive(name("s:1")), set("s:1", "{}")], vec![]),
        (vec![get("s:1"), set("s:1", &of("ann"))], vec![]),
        (vec![get("s:1"), rename("s:1", "s:3")], vec!["s:3"]),
        (vec![get("s:2"), get("s:3"), rename("s:2", "s:3")], vec!["s:3"]),
        (vec![get("s:3"), delete("s:3")], vec![]),
    ] {
        let outcome = keys.all(ops).await;
        let mut expected: Vec<_> = read.iter().map(|name| keys.key(name)).collect();
        let mut told: Vec<_> = outcome.read.keys().copied().collect();
        expected.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, expected, "{read:?}");
        assert!(outcome.read.iter().all(|(key, stored)| stored.key == *key && stored.session.data.is_empty()));
    }
    keys.assert_counted().await;
}

#[tokio::test]
async fn an_idle_clock_runs_from_the_last_use_that_anybody_knows_of_and_not_a_moment_longer() {
    let mut keys = Keys::new();
    keys.terms.grace = MINUTE;
    let idle = keys.terms.lifetimes.idle_timeout;
    keys.log_in("s:1", "ann").await;
    keys.used.insert(keys.key("s:1"), super::START + MINUTE);
    keys.terms.now = super::START + idle + MINUTE - Duration::from_millis(1);
    assert_eq!(keys.get("s:1").await, bytes(&of("ann")));
    keys.assert_counted().await;
    keys.wait(Duration::from_millis(1));
    let outcome = keys.outcome(hset("s:1", "n", "1")).await;
    assert_eq!((reasons(&outcome.ended), outcome.created, outcome.late), (vec![EndReason::Idle], 1, 0));
    // What the store knows may be newer.
    keys.terms.now = super::START + idle + MINUTE + idle - Duration::from_millis(1);
    assert_eq!(keys.run(hset("s:1", "m", "1")).await, RawReply::Integer(1));
    assert_eq!(keys.run(RawOp::HGet(name("s:1"), Box::from(&b"n"[..]))).await, bytes("1"));
    keys.wait(idle);
    assert_eq!(keys.run(RawOp::Touch(vec![name("s:1")])).await, RawReply::Integer(0));
    keys.assert_counted().await;
}
