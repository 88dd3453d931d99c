//! Random operations under limits that bite: whatever happened, what is counted is what is there.

use std::time::Duration;

use sessgate::session::{Capacity, EndReason, OnExcess, Session};
use sessgate::store::raw::{Deadline, RawFound, RawOp, RawReply};
use sessgate::store::{Store, Whom};

use super::differential::{operation, run_all};
use super::{Doorkeeper, Keys, delete, hset, name, of, set_until};
use crate::support::seed::Random;
use crate::support::sessions::{MINUTE, everybody, user};

const USERS: [&str; 3] = ["ann", "bob", "carl"];
const PLAIN_BYTES: u64 = 3_000;

/// What a plain key counts for beside its name and value.
const OVERHEAD: u64 = 200;

fn some_operation(random: &mut Random, keys: &Keys) -> RawOp {
    let key = format!("s:{}", random.below(12));
    match random.below(12) {
        0..=2 => {
            let soon = keys.soon(1 + random.below(20));
            set_until(&key, &of(random.pick::<&str>(&USERS)), *random.pick(&[Deadline::None, Deadline::At(soon)]))
        }
        3 => set_until(&format!("p:{}", random.below(12)), &"x".repeat(200), Deadline::At(keys.soon(random.below(9)))),
        4 => hset(&key, "user_id", random.pick::<&str>(&USERS)),
        5 => RawOp::Bind { name: name(&key), user: (random.below(3) > 0).then(|| user(random.pick::<&str>(&USERS))) },
        _ => operation(random, keys.now()),
    }
}

/// What else happens to sessions, between transactions.
async fn something_else(random: &mut Random, keys: &mut Keys) {
    let (store, terms) = (&keys.store, keys.terms);
    match random.below(7) {
        0 => drop(store.claim_due(random.below(2) == 0, 5, terms).await.unwrap()),
        1 => drop(store.end(Whom::User(user(random.pick::<&str>(&USERS))), EndReason::Admin, 2, terms).await.unwrap()),
        2 => {
            let limits = everybody(Some(1), *random.pick(&[OnExcess::EvictOldest, OnExcess::EvictIdlest]));
            drop(store.trim_users(&limits, 3, terms).await.unwrap());
        }
        3 => drop(store.make_room(Capacity { sessions: Some(4), bytes: None }, 3, terms).await.unwrap()),
        4 => store.touch(vec![(keys.key("s:1"), terms.now), (keys.key("s:2"), terms.now)]).await.unwrap(),
        _ => keys.wait(MINUTE * u32::try_from(random.below(9)).unwrap()),
    }
}

/// Bytes of the plain keys that are there, once the expired are swept.
async fn plain_bytes(keys: &Keys) -> u64 {
    keys.store.claim_due(false, 1_000, keys.terms).await.unwrap();
    let mut bytes = 0;
    for (name, _) in keys.store.scan_raw(0, 0, 1_000, keys.terms).await.unwrap().keys {
        if let Some(RawFound::Plain(value)) = keys.store.load_raw(name.clone(), keys.now()).await.unwrap() {
            bytes += OVERHEAD + (name.name.len() + value.data.len()) as u64;
        }
    }
    bytes
}

/// Asserts that the plain keys may take what is left of their bound, and not a byte more.
async fn assert_bound(keys: &Keys) {
    let held = plain_bytes(keys).await;
    assert!(held <= PLAIN_BYTES + 64, "a longer name may cost a little more");
    let probe = |bytes: u64| super::set("p:probe", &"x".repeat(usize::try_from(bytes).unwrap()));
    let Some(left) = PLAIN_BYTES.checked_sub(held + OVERHEAD + 7) else {
        assert!(matches!(keys.run(probe(0)).await, RawReply::Refused(_)));
        return;
    };
    assert!(matches!(keys.run(probe(left + 1)).await, RawReply::Refused(_)), "{left} bytes are left");
    assert_eq!(keys.run(probe(left)).await, RawReply::Done, "{left} bytes are left");
    keys.run(delete("p:probe")).await;
}

#[tokio::test]
async fn what_is_counted_is_what_is_there() {
    let mut random = Random::from_env();
    eprintln!("SESSGATE_SEED={}", random.seed());
    for _ in 0..6 {
        let mut keys = Keys::with(|settings| {
            settings.redis_door.plain_bytes = PLAIN_BYTES;
            settings.limits.per_user =
                everybody(Some(2), *random.pick(&[OnExcess::EvictOldest, OnExcess::EvictIdlest, OnExcess::Reject]));
            let bytes = (random.below(2) == 0).then_some(9 * (Session::STORED_OVERHEAD + 30));
            settings.limits.stored = Capacity { sessions: Some(9), bytes };
        });
        keys.admission = Doorkeeper::letting_in(40);
        keys.terms.lifetimes.absolute_timeout = Some(MINUTE * 40);
        keys.terms.lifetimes.idle_timeout = MINUTE * 15;
        for _ in 0..8 {
            for _ in 0..6 {
                let batches: Vec<Vec<RawOp>> = (0..12)
                    .map(|_| (0..=random.below(4)).map(|_| some_operation(&mut random, &keys)).collect())
                    .collect();
                for outcome in run_all(&keys, &batches).await {
                    for stored in outcome.written.iter().take(1) {
                        assert!(!outcome.ended.iter().any(|ended| ended.id == stored.session.id), "gone, or as it is");
                    }
                }
                something_else(&mut random, &mut keys).await;
                keys.wait(Duration::from_secs(1));
            }
            let figures = keys.figures().await;
            assert!(figures.sessions <= 9 && figures.top_users.iter().all(|(_, count)| *count <= 2), "{figures:?}");
            keys.assert_counted().await;
            assert_bound(&keys).await;
        }
    }
}
