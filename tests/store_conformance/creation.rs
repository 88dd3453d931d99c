//! Creation: whom it ends, in which order, and when it is refused.

use std::sync::Arc;
use std::time::Duration;

use sessgate::session::{Capacity, EndReason, OnExcess, Session, Timeout};
use sessgate::store::{CreateError, CreateLimits, MAX_DISPLACED, Store, StoreError, Terms, Waiting, Whom};

use super::{held, is_there, put, reasons};
use crate::support::sessions::{
    MINUTE, START, key, minutes, session, sessions_cap, terms, user, user_limit, with_data,
};
use crate::support::stores;

fn capped(capacity: Capacity) -> CreateLimits {
    CreateLimits { user: None, capacity }
}

pub async fn a_second_session_under_a_key_or_id_is_refused(store: &dyn Store) {
    put(store, session(1, Some("ann"), START)).await;
    let mut same_key = session(2, Some("ann"), START);
    same_key.key = key(1);
    let mut same_id = session(1, Some("ann"), START);
    same_id.key = key(2);
    for twin in [same_key, same_id] {
        let outcome = store.create(twin, user_limit(1, OnExcess::EvictOldest), terms(START)).await;
        // The limit would have had the first end. As the newcomer fails, it stays.
        assert!(matches!(outcome, Err(CreateError::Store(StoreError::Unavailable(_)))), "{outcome:?}");
    }
    assert_eq!(store.load(key(1)).await.unwrap(), Some(session(1, Some("ann"), START)));
    assert_eq!(held(store).await.0, 1);
}

pub async fn expired_sessions_of_the_user_end_first(store: &dyn Store) {
    put(store, session(1, Some("ann"), START)).await;
    put(store, session(2, Some("bob"), START)).await;
    put(store, session(3, Some("ann"), minutes(30))).await;
    let new = session(4, Some("ann"), minutes(60));
    let ended = store.create(new, user_limit(2, OnExcess::Reject), terms(minutes(60))).await.unwrap();
    assert_eq!(reasons(&ended), [(1, EndReason::Idle)], "bob's is as old, and none of ann's business");
    assert_eq!((ended[0].at, ended[0].idle), (minutes(60), 60 * MINUTE));
    assert_eq!((&ended[0].user, ended[0].id), (&Some(user("ann")), session(1, None, START).session.id));
}

/// Its last use may be saved late, but by no more than such a session's activity may be.
pub async fn who_is_over_by_its_own_clock_soon_holds_no_place(store: &dyn Store) {
    let mut brief = session(1, Some("ann"), START);
    brief.session.idle_timeout = Some(Timeout::of(Duration::from_secs(2)));
    put(store, brief).await;
    let limit = user_limit(1, OnExcess::Reject);
    let at = |ms| Terms { grace: MINUTE, ..terms(START + Duration::from_millis(ms)) };
    let early = store.create(session(2, Some("ann"), at(2_999).now), limit, at(2_999)).await;
    assert!(matches!(early, Err(CreateError::UserLimit)), "it may have been used a second ago: {early:?}");
    let ended = store.create(session(2, Some("ann"), at(3_000).now), limit, at(3_000)).await.unwrap();
    assert_eq!(reasons(&ended), [(1, EndReason::Idle)]);
}

pub async fn the_whole_surplus_of_a_user_ends(store: &dyn Store) {
    for n in 1..=6 {
        put(store, session(n, Some("ann"), minutes(n))).await;
    }
    store.touch(vec![(key(1), minutes(9))]).await.unwrap();
    let new = session(7, Some("ann"), minutes(9));
    let ended = store.create(new, user_limit(3, OnExcess::EvictOldest), terms(minutes(9))).await.unwrap();
    assert_eq!(reasons(&ended), [1, 2, 3, 4].map(|n| (n, EndReason::UserLimit)), "a lowered limit, all at once");
    assert_eq!(held(store).await.0, 3);
}

pub async fn the_idlest_go_under_evict_idlest(store: &dyn Store) {
    for n in 1..=3 {
        put(store, session(n, Some("ann"), minutes(n))).await;
    }
    store.touch(vec![(key(1), minutes(9))]).await.unwrap();
    let new = session(4, Some("ann"), minutes(9));
    let ended = store.create(new, user_limit(3, OnExcess::EvictIdlest), terms(minutes(9))).await.unwrap();
    assert_eq!(reasons(&ended), [(2, EndReason::UserLimit)]);
}

pub async fn reject_refuses_and_changes_nothing(store: &dyn Store) {
    put(store, session(1, Some("ann"), START)).await;
    put(store, session(2, Some("ann"), minutes(30))).await;
    let outcome =
        store.create(session(3, Some("ann"), minutes(60)), user_limit(1, OnExcess::Reject), terms(minutes(60))).await;
    assert!(matches!(outcome, Err(CreateError::UserLimit)), "{outcome:?}");
    assert!(is_there(store, 1).await, "even the expired one stays: a refusal ends nobody");
    assert!(!is_there(store, 3).await);
    assert_eq!(store.notices().await.unwrap(), Waiting::default());
}

pub async fn where_no_session_is_allowed_nobody_is_ended_for_it(store: &dyn Store) {
    put(store, session(1, Some("ann"), START)).await;
    let outcome =
        store.create(session(2, Some("ann"), START), user_limit(0, OnExcess::EvictOldest), terms(START)).await;
    assert!(matches!(outcome, Err(CreateError::UserLimit)), "{outcome:?}");
    assert!(is_there(store, 1).await);
}

pub async fn room_is_made_in_the_documented_order(store: &dyn Store) {
    put(store, session(1, Some("carl"), START)).await; // will have expired
    put(store, session(2, Some("carl"), minutes(45))).await; // will be stale
    put(store, session(3, None, minutes(55))).await; // anonymous
    for n in 4..=6 {
        put(store, session(n, Some("heavy"), minutes(52 + n))).await;
    }
    put(store, session(7, Some("ann"), minutes(59))).await;
    let now = minutes(60);
    let mut order = Vec::new();
    for n in 11..=14 {
        let newcomer = session(n, Some(&format!("user {n}")), now);
        order.extend(reasons(&store.create(newcomer, capped(sessions_cap(7)), terms(now)).await.unwrap()));
    }
    let cap = EndReason::StorageCap;
    assert_eq!(order, [(1, EndReason::Idle), (3, cap), (2, cap), (4, cap)]);
    // The heaviest has two now: one goes, and it keeps as many as the newcomer gets.
    let newcomer = session(15, Some("zoe"), now);
    assert_eq!(reasons(&store.create(newcomer, capped(sessions_cap(7)), terms(now)).await.unwrap()), [(5, cap)]);
    // Everybody has one. Nobody is thrown out for a newcomer.
    let outcome = store.create(session(16, Some("yan"), now), capped(sessions_cap(7)), terms(now)).await;
    assert!(matches!(outcome, Err(CreateError::StorageFull)), "{outcome:?}");
    assert_eq!(held(store).await.0, 7);
}

pub async fn the_newcomers_own_oldest_go_while_its_user_is_a_heaviest(store: &dyn Store) {
    put(store, session(1, None, START)).await;
    put(store, session(2, Some("ann"), START)).await;
    put(store, session(3, Some("ann"), minutes(1))).await;
    put(store, session(4, Some("bob"), START)).await;
    let newcomer = session(5, Some("ann"), minutes(2));
    let ended = store.create(newcomer, capped(sessions_cap(4)), terms(minutes(2))).await.unwrap();
    assert_eq!(reasons(&ended), [(2, EndReason::StorageCap)], "own before anonymous: a flood pays for itself");
    let newcomer = session(6, Some("bob"), minutes(2));
    let ended = store.create(newcomer, capped(sessions_cap(4)), terms(minutes(2))).await.unwrap();
    assert_eq!(reasons(&ended), [(1, EndReason::StorageCap)], "bob is not a heaviest one, so the anonymous one goes");
}

pub async fn the_heaviest_keeps_as_many_as_the_newcomers_user_gets(store: &dyn Store) {
    for n in 1..=3 {
        put(store, session(n, Some("heavy"), minutes(n))).await;
    }
    put(store, session(4, Some("ann"), START)).await;
    let refused = store.create(session(5, Some("ann"), minutes(4)), capped(sessions_cap(4)), terms(minutes(4))).await;
    assert!(refused.is_ok(), "heavy keeps 2, ann gets 2: {refused:?}");
    assert!(!is_there(store, 1).await);
    let outcome = store.create(session(6, Some("bob"), minutes(4)), capped(sessions_cap(4)), terms(minutes(4))).await;
    assert_eq!(reasons(&outcome.unwrap()).len(), 1, "one of two keeps 1, bob gets 1");
}

pub async fn an_anonymous_newcomer_displaces_only_expired_and_anonymous(store: &dyn Store) {
    put(store, session(1, Some("ann"), minutes(45))).await; // stale, and ann's
    put(store, session(2, None, minutes(50))).await;
    put(store, session(3, None, minutes(46))).await;
    put(store, session(4, Some("bob"), START)).await; // expired
    store.touch(vec![(key(3), minutes(59))]).await.unwrap();
    let now = minutes(60);
    let mut order = Vec::new();
    for n in 5..=6 {
        order.extend(reasons(&store.create(session(n, None, now), capped(sessions_cap(4)), terms(now)).await.unwrap()));
    }
    assert_eq!(order, [(4, EndReason::Idle), (2, EndReason::StorageCap)], "the stale before the older");
    for n in 7..=9 {
        store.create(session(n, None, now), capped(sessions_cap(4)), terms(now)).await.unwrap();
    }
    assert!(is_there(store, 1).await, "nobody with a name goes for somebody without");
    let named = capped(sessions_cap(1));
    for n in [1, 7, 8, 9] {
        store.end(Whom::Key(key(n)), EndReason::Admin, 1, terms(now)).await.unwrap();
    }
    put(store, session(10, Some("ann"), now)).await;
    let outcome = store.create(session(11, None, now), named, terms(now)).await;
    assert!(matches!(outcome, Err(CreateError::StorageFull)), "{outcome:?}");
}

pub async fn a_large_newcomer_displaces_many_small_ones_up_to_the_bound(store: &dyn Store) {
    let many = MAX_DISPLACED as u64 + 10;
    for n in 1..=many {
        put(store, with_data(session(n, None, START + Duration::from_millis(n)), 0)).await;
    }
    let cap = capped(Capacity { sessions: None, bytes: Some(many * Session::STORED_OVERHEAD) });
    let fits_100 = usize::try_from(99 * Session::STORED_OVERHEAD).unwrap();
    let ended =
        store.create(with_data(session(1_000, None, minutes(1)), fits_100), cap, terms(minutes(1))).await.unwrap();
    assert_eq!(reasons(&ended), (1..=100).map(|n| (n, EndReason::StorageCap)).collect::<Vec<_>>());
    // What the first took is given back by it alone, so the next may displace it and 175 others.
    let before = held(store).await;
    let too_many = usize::try_from(MAX_DISPLACED as u64 * Session::STORED_OVERHEAD).unwrap();
    store.end(Whom::Key(key(1_000)), EndReason::Admin, 1, terms(minutes(1))).await.unwrap();
    for n in 1_001..=1_100 {
        put(store, with_data(session(n, None, minutes(1)), 0)).await;
    }
    let outcome = store.create(with_data(session(1_200, None, minutes(1)), too_many), cap, terms(minutes(1))).await;
    assert!(matches!(outcome, Err(CreateError::StorageFull)), "{outcome:?}");
    assert_eq!(held(store).await.1, before.1, "a refusal ends nobody");
}

pub async fn what_can_never_fit_displaces_nobody(store: &dyn Store) {
    put(store, session(1, None, START)).await;
    let outcome = store.create(session(2, None, minutes(90)), capped(sessions_cap(0)), terms(minutes(90))).await;
    assert!(matches!(outcome, Err(CreateError::StorageFull)), "{outcome:?}");
    assert!(is_there(store, 1).await, "not even the expired one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_creations_never_pass_a_limit() {
    for opened in [stores::model(), stores::embedded()] {
        let mut creations = tokio::task::JoinSet::new();
        for n in 0..100 {
            let store = Arc::clone(&opened.store);
            creations.spawn(async move {
                let new = session(n, Some("ann"), START);
                store.create(new, user_limit(5, OnExcess::Reject), terms(START)).await.is_ok()
            });
        }
        let created = creations.join_all().await.into_iter().filter(|created| *created).count();
        assert_eq!((opened.kind(), created), (opened.kind(), 5));
        assert_eq!(opened.user_sessions(user("ann"), None, 100).await.unwrap().len(), 5);
        opened.close().await;
    }
}
