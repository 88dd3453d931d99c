//! What the documentation of [`Store`] says, sentence by sentence, of every store there is.
//!
//! A new store is one line in `on_every_store`, and its constructor in `support::stores`.

use std::collections::HashMap;
use std::time::Duration;

use sessgate::clock::Timestamp;
use sessgate::session::{Capacity, EndReason, Ended, Lifetimes, OnExcess, Session, StoredSession, Timeout, UserLimits};
use sessgate::store::{
    CreateError, CreateLimits, Cursor, FiguresQuery, NOTICE_LEASE, Settlement, Store, StoreError, Terms, Update,
    UpdateError, Waiting, Whom,
};

use self::creation::*;
use crate::support::sessions::{
    MINUTE, START, everybody, key, lifetimes, minutes, session, sessions_cap, terms, user, with_data,
};

mod creation;

macro_rules! run_on {
    ($store:ident: $($case:ident)+) => {
        mod $store {
            $(#[tokio::test]
            async fn $case() {
                let opened = crate::support::stores::$store();
                super::$case(&*opened).await;
                opened.close().await;
            })+
        }
    };
}

macro_rules! on_every_store {
    ($($case:ident)+) => {
        run_on!(model: $($case)+);
        run_on!(embedded: $($case)+);
    };
}

on_every_store! {
    a_session_comes_back_as_it_was_written
    a_second_session_under_a_key_or_id_is_refused
    expired_sessions_of_the_user_end_first
    who_is_over_by_its_own_clock_soon_holds_no_place
    the_whole_surplus_of_a_user_ends
    the_idlest_go_under_evict_idlest
    reject_refuses_and_changes_nothing
    where_no_session_is_allowed_nobody_is_ended_for_it
    room_is_made_in_the_documented_order
    the_newcomers_own_oldest_go_while_its_user_is_a_heaviest
    the_heaviest_keeps_as_many_as_the_newcomers_user_gets
    an_anonymous_newcomer_displaces_only_expired_and_anonymous
    a_large_newcomer_displaces_many_small_ones_up_to_the_bound
    what_can_never_fit_displaces_nobody
    an_update_replaces_data_and_counts_revisions
    an_update_is_refused_with_the_reason
    growth_keeps_the_cap_and_shrinking_is_always_allowed
    rotation_kills_the_old_key_at_once
    the_newest_touch_wins
    ends_by_key_id_and_user
    who_had_expired_ends_by_its_clock
    due_sessions_are_claimed_once
    own_timeouts_override_the_clocks
    lifetimes_are_live
    idle_clocks_wait_for_unsaved_activity
    stale_sessions_are_claimed_on_request
    users_above_their_limit_are_trimmed
    the_expired_go_before_a_user_is_trimmed
    room_is_made_down_to_a_target
    a_listing_pages_by_creation
    figures_say_what_is_held
    notices_are_taken_leased_and_settled
    notices_are_dropped_for_their_age
    without_a_hook_no_notice_is_kept
    a_trial_changes_nothing
    a_closed_store_is_unavailable
}

async fn put(store: &dyn Store, stored: StoredSession) {
    let at = stored.last_activity;
    let ended = store.create(stored, CreateLimits::default(), terms(at)).await.unwrap();
    assert_eq!(reasons(&ended), []);
}

/// The keys' numbers of those who ended, as far as the tests use them, and why.
fn reasons(ended: &[Ended]) -> Vec<(u64, EndReason)> {
    let number = |ended: &Ended| (0..2_000).find(|n| key(*n) == ended.key).unwrap();
    ended.iter().map(|ended| (number(ended), ended.reason)).collect()
}

fn query(stale_before: Timestamp) -> FiguresQuery {
    FiguresQuery { stale_before, top: 10, user_limits: everybody(None, OnExcess::EvictOldest) }
}

async fn held(store: &dyn Store) -> (u64, u64) {
    let figures = store.figures(query(START)).await.unwrap();
    (figures.sessions, figures.bytes)
}

async fn is_there(store: &dyn Store, n: u64) -> bool {
    store.load(key(n)).await.unwrap().is_some()
}

async fn a_session_comes_back_as_it_was_written(store: &dyn Store) {
    let mut own = session(1, Some("ann@example.org"), START);
    own.session.idle_timeout = Some(Timeout::of(Duration::from_millis(90_500)));
    own.session.absolute_timeout = Some(Timeout::of(Duration::from_secs(3_600)));
    own.session.data = (0..=255).collect();
    let mut anonymous = session(2, None, START);
    anonymous.session.data = Box::default();
    for stored in [own, anonymous] {
        put(store, stored.clone()).await;
        assert_eq!(store.load(stored.key).await.unwrap(), Some(stored.clone()));
        assert_eq!(store.find(stored.session.id).await.unwrap(), Some(stored));
    }
    assert_eq!(store.load(key(3)).await.unwrap(), None);
    assert_eq!(store.find(session(3, None, START).session.id).await.unwrap(), None);
}

async fn an_update_replaces_data_and_counts_revisions(store: &dyn Store) {
    let mut expected = session(1, Some("ann"), START);
    put(store, expected.clone()).await;
    for (revision, data) in [(2, &b"same"[..]), (3, b"longer than before"), (4, b"")] {
        expected.session.data = data.into();
        expected.session.revision = revision;
        expected.last_activity = minutes(revision);
        let update = Update {
            key: key(1),
            data: data.into(),
            if_revision: Some(revision - 1),
            now: minutes(revision),
            capacity: Capacity::default(),
        };
        assert_eq!(store.update(update).await.unwrap(), expected);
        assert_eq!(store.load(key(1)).await.unwrap(), Some(expected.clone()));
        assert_eq!(held(store).await, (1, expected.session.stored_bytes()));
    }
}

fn update(n: u64, bytes: usize) -> Update {
    Update { key: key(n), data: vec![0; bytes].into(), if_revision: None, now: START, capacity: Capacity::default() }
}

async fn an_update_is_refused_with_the_reason(store: &dyn Store) {
    put(store, session(1, Some("ann"), START)).await;
    assert!(matches!(store.update(update(2, 4)).await, Err(UpdateError::NotFound)));
    let late = Update { if_revision: Some(7), ..update(1, 4) };
    assert!(matches!(store.update(late).await, Err(UpdateError::RevisionMismatch { current: 1 })));
    assert_eq!(store.load(key(1)).await.unwrap(), Some(session(1, Some("ann"), START)));
}

async fn growth_keeps_the_cap_and_shrinking_is_always_allowed(store: &dyn Store) {
    put(store, with_data(session(1, None, START), 100)).await;
    let capacity = Capacity { sessions: None, bytes: Some(Session::STORED_OVERHEAD + 150) };
    assert!(store.update(Update { capacity, ..update(1, 150) }).await.is_ok());
    let outcome = store.update(Update { capacity, ..update(1, 151) }).await;
    assert!(matches!(outcome, Err(UpdateError::StorageFull)), "{outcome:?}");
    let lowered = Capacity { sessions: None, bytes: Some(10) };
    assert!(store.update(Update { capacity: lowered, ..update(1, 150) }).await.is_ok());
    assert!(store.update(Update { capacity: lowered, ..update(1, 120) }).await.is_ok());
}

async fn rotation_kills_the_old_key_at_once(store: &dyn Store) {
    put(store, session(1, Some("ann"), START)).await;
    let rotated = store.rotate(key(1), key(2), minutes(1)).await.unwrap().unwrap();
    let expected = StoredSession { key: key(2), last_activity: minutes(1), ..session(1, Some("ann"), START) };
    assert_eq!(rotated, expected);
    assert!(!is_there(store, 1).await);
    assert_eq!(store.find(expected.session.id).await.unwrap(), Some(expected));
    assert_eq!(store.rotate(key(1), key(3), minutes(1)).await.unwrap(), None, "rotated twice, found once");
    put(store, session(4, None, START)).await;
    assert!(store.rotate(key(2), key(4), minutes(1)).await.is_err(), "no session is put in another's place");
    assert!(is_there(store, 2).await && is_there(store, 4).await);
}

async fn the_newest_touch_wins(store: &dyn Store) {
    put(store, session(1, Some("ann"), minutes(5))).await;
    let touches = vec![(key(1), minutes(7)), (key(99), minutes(8)), (key(1), minutes(6)), (key(1), minutes(4))];
    store.touch(touches).await.unwrap();
    assert_eq!(store.load(key(1)).await.unwrap().unwrap().last_activity, minutes(7));
    store.touch(Vec::new()).await.unwrap();
    assert!(!is_there(store, 99).await);
}

async fn ends_by_key_id_and_user(store: &dyn Store) {
    for n in 1..=5 {
        put(store, session(n, Some("ann"), minutes(10 - n))).await;
    }
    put(store, session(6, Some("bob"), START)).await;
    let now = minutes(10);
    let ended = store.end(Whom::Key(key(1)), EndReason::Revoked, 10, terms(now)).await.unwrap();
    assert_eq!(reasons(&ended), [(1, EndReason::Revoked)]);
    assert_eq!((ended[0].at, ended[0].idle), (now, MINUTE));
    assert_eq!(store.end(Whom::Key(key(1)), EndReason::Revoked, 10, terms(now)).await.unwrap(), [], "once");
    let id = session(2, None, minutes(8)).session.id;
    let ended = store.end(Whom::Id(id), EndReason::Admin, 10, terms(now)).await.unwrap();
    assert_eq!(reasons(&ended), [(2, EndReason::Admin)]);
    assert_eq!(store.end(Whom::Id(id), EndReason::Admin, 10, terms(now)).await.unwrap(), []);
    let mut batches = Vec::new();
    for _ in 0..3 {
        let ended = store.end(Whom::User(user("ann")), EndReason::Admin, 2, terms(now)).await.unwrap();
        batches.push(reasons(&ended).into_iter().map(|(n, _)| n).collect::<Vec<_>>());
    }
    assert_eq!(batches, [vec![5, 4], vec![3], vec![]], "oldest first, at most two, until none is left");
    assert!(is_there(store, 6).await);
    assert_eq!(store.end(Whom::Key(key(6)), EndReason::Admin, 0, terms(now)).await.unwrap(), []);
}

async fn who_had_expired_ends_by_its_clock(store: &dyn Store) {
    for n in 1..=3 {
        put(store, session(n, Some("ann"), START)).await;
    }
    put(store, session(4, Some("ann"), minutes(30))).await;
    let terms = terms(minutes(60));
    let id = session(1, None, START).session.id;
    let (idle, admin) = (EndReason::Idle, EndReason::Admin);
    assert_eq!(reasons(&store.end(Whom::Id(id), admin, 1, terms).await.unwrap()), [(1, idle)]);
    assert_eq!(reasons(&store.end(Whom::Key(key(2)), admin, 1, terms).await.unwrap()), [(2, idle)]);
    let ended = store.end(Whom::User(user("ann")), admin, 9, terms).await.unwrap();
    assert_eq!(reasons(&ended), [(3, idle), (4, admin)]);
}

async fn due_sessions_are_claimed_once(store: &dyn Store) {
    let mut clocks = terms(minutes(90));
    clocks.lifetimes = Lifetimes { absolute_timeout: Some(80 * MINUTE), ..lifetimes() };
    put(store, session(1, None, START)).await;
    store.touch(vec![(key(1), minutes(85))]).await.unwrap(); // in use, too old
    put(store, session(2, Some("ann"), minutes(20))).await; // unused for too long
    put(store, session(3, Some("ann"), minutes(29))).await;
    put(store, session(4, Some("ann"), minutes(31))).await;
    let first = store.claim_due(false, 2, clocks).await.unwrap();
    assert_eq!(reasons(&first), [(1, EndReason::Absolute), (2, EndReason::Idle)], "the longest overdue first");
    let second = store.claim_due(false, 2, clocks).await.unwrap();
    assert_eq!(reasons(&second), [(3, EndReason::Idle)]);
    assert_eq!(store.claim_due(false, 2, clocks).await.unwrap(), []);
    assert!(is_there(store, 4).await);
}

async fn own_timeouts_override_the_clocks(store: &dyn Store) {
    let with = |n, idle: Option<u32>, absolute: Option<u32>| {
        let mut stored = session(n, Some("ann"), START);
        stored.session.idle_timeout = idle.map(|n| Timeout::of(MINUTE * n));
        stored.session.absolute_timeout = absolute.map(|n| Timeout::of(MINUTE * n));
        stored
    };
    put(store, with(1, Some(5), None)).await;
    put(store, with(2, Some(90), None)).await;
    put(store, with(3, None, Some(10))).await;
    put(store, with(4, Some(300), Some(90))).await;
    put(store, with(5, Some(5), Some(5))).await;
    let mut clocks = terms(minutes(20));
    clocks.lifetimes.absolute_timeout = Some(60 * MINUTE);
    let due = store.claim_due(false, 10, clocks).await.unwrap();
    assert_eq!(reasons(&due), [(1, EndReason::Idle), (5, EndReason::Absolute), (3, EndReason::Absolute)]);
    clocks.now = minutes(89);
    let due = store.claim_due(false, 10, clocks).await.unwrap();
    assert_eq!(reasons(&due), [(2, EndReason::Absolute)]);
    // The creation of another of ann's sessions sees them too.
    put(store, with(6, Some(1), None)).await;
    clocks.now = minutes(90);
    let ended = store.create(session(7, Some("ann"), minutes(90)), CreateLimits::default(), clocks).await.unwrap();
    assert_eq!(reasons(&ended), [(6, EndReason::Idle), (4, EndReason::Absolute)]);
}

async fn lifetimes_are_live(store: &dyn Store) {
    put(store, session(1, None, START)).await;
    let mut clocks = terms(minutes(30));
    assert_eq!(store.claim_due(false, 10, clocks).await.unwrap(), []);
    clocks.lifetimes.idle_timeout = 30 * MINUTE;
    assert_eq!(store.claim_due(false, 10, clocks).await.unwrap().len(), 1);
}

async fn idle_clocks_wait_for_unsaved_activity(store: &dyn Store) {
    put(store, session(1, None, START)).await;
    let mut clocks = terms(minutes(60));
    clocks.lifetimes.absolute_timeout = Some(600 * MINUTE);
    assert_eq!(
        store.claim_due(true, 10, Terms { grace: 51 * MINUTE, ..clocks }).await.unwrap(),
        [],
        "perhaps used 51 minutes in"
    );
    assert_eq!(store.claim_due(false, 10, Terms { grace: MINUTE, ..clocks }).await.unwrap(), []);
    clocks.lifetimes.absolute_timeout = Some(60 * MINUTE);
    let ended = store.claim_due(false, 10, Terms { grace: MINUTE, ..clocks }).await.unwrap();
    assert_eq!(reasons(&ended), [(1, EndReason::Absolute)], "age is known for certain");
}

async fn stale_sessions_are_claimed_on_request(store: &dyn Store) {
    put(store, session(1, None, START)).await;
    put(store, session(2, None, minutes(1))).await;
    let mut own = session(3, None, START);
    own.session.idle_timeout = Some(Timeout::of(60 * MINUTE));
    put(store, own).await;
    let clocks = terms(minutes(10));
    assert_eq!(store.claim_due(false, 10, clocks).await.unwrap(), []);
    let ended = store.claim_due(true, 10, clocks).await.unwrap();
    assert_eq!(reasons(&ended), [(1, EndReason::Stale), (3, EndReason::Stale)]);
    assert!(is_there(store, 2).await);
}

async fn users_above_their_limit_are_trimmed(store: &dyn Store) {
    for n in 1..=4 {
        put(store, session(n, Some("ann"), minutes(n))).await;
        put(store, session(10 + n, Some("bob"), minutes(n))).await;
    }
    put(store, session(20, Some("carl"), START)).await;
    put(store, session(21, None, START)).await;
    store.touch(vec![(key(1), minutes(9))]).await.unwrap();
    let overrides = HashMap::from([("bob".to_owned(), 3), ("nobody".to_owned(), 0)]);
    let rejecting = UserLimits { sessions: Some(2), on_excess: OnExcess::Reject, overrides: overrides.clone() };
    assert_eq!(store.trim_users(&rejecting, 10, terms(minutes(9))).await.unwrap(), []);
    let idlest = UserLimits { on_excess: OnExcess::EvictIdlest, ..rejecting };
    let first = store.trim_users(&idlest, 1, terms(minutes(9))).await.unwrap();
    assert_eq!(reasons(&first), [(2, EndReason::UserLimit)]);
    let mut rest = reasons(&store.trim_users(&idlest, 10, terms(minutes(9))).await.unwrap());
    rest.sort_by_key(|(n, _)| *n);
    assert_eq!(rest, [(3, EndReason::UserLimit), (11, EndReason::UserLimit)]);
    let unlimited = UserLimits { sessions: None, on_excess: OnExcess::EvictOldest, overrides };
    assert_eq!(store.trim_users(&unlimited, 10, terms(minutes(9))).await.unwrap(), []);
    let oldest = everybody(Some(1), OnExcess::EvictOldest);
    let ended = store.trim_users(&oldest, 10, terms(minutes(9))).await.unwrap();
    assert_eq!(reasons(&ended), [12, 13, 1].map(|n| (n, EndReason::UserLimit)), "the heaviest first");
}

async fn the_expired_go_before_a_user_is_trimmed(store: &dyn Store) {
    for n in 1..=3 {
        put(store, session(n, Some("ann"), minutes(2) + Duration::from_secs(n))).await;
        let mut brief = session(10 + n, Some("ann"), minutes(3) + Duration::from_secs(n));
        brief.session.idle_timeout = Some(Timeout::of(MINUTE));
        put(store, brief).await;
    }
    let terms = terms(minutes(9));
    let (idle, limit) = (EndReason::Idle, EndReason::UserLimit);
    let first = store.trim_users(&everybody(Some(3), OnExcess::EvictOldest), 2, terms).await.unwrap();
    assert_eq!(reasons(&first), [(11, idle), (12, idle)]);
    let rest = store.trim_users(&everybody(Some(3), OnExcess::EvictOldest), 9, terms).await.unwrap();
    assert_eq!(reasons(&rest), [(13, idle)], "who is alive is no more than may be");
    let ended = store.trim_users(&everybody(Some(2), OnExcess::EvictOldest), 9, terms).await.unwrap();
    assert_eq!(reasons(&ended), [(1, limit)]);
}

async fn room_is_made_down_to_a_target(store: &dyn Store) {
    put(store, session(1, Some("ann"), START)).await; // expired
    put(store, session(2, Some("ann"), minutes(45))).await; // stale
    put(store, session(3, None, minutes(45))).await;
    for n in 4..=5 {
        put(store, session(n, Some("heavy"), minutes(54 + n))).await;
    }
    put(store, session(6, Some("bob"), minutes(59))).await;
    put(store, session(7, None, minutes(44))).await;
    store.touch(vec![(key(7), minutes(59))]).await.unwrap(); // created before the other, and not stale
    let clocks = terms(minutes(60));
    assert_eq!(store.make_room(sessions_cap(7), 10, clocks).await.unwrap(), []);
    let cap = EndReason::StorageCap;
    let ended = store.make_room(sessions_cap(0), 3, clocks).await.unwrap();
    assert_eq!(reasons(&ended), [(1, EndReason::Idle), (3, cap), (7, cap)], "of the anonymous, the stale first");
    let ended = store.make_room(sessions_cap(0), 1, clocks).await.unwrap();
    assert_eq!(reasons(&ended), [(2, cap)], "who has a name is logged out only when nobody is left who has none");
    let ended = store.make_room(sessions_cap(0), 10, clocks).await.unwrap();
    assert_eq!(reasons(&ended), [(4, cap)], "nobody's only session goes");
    let bytes = Capacity { sessions: None, bytes: Some(0) };
    assert_eq!(store.make_room(bytes, 10, clocks).await.unwrap(), []);
}

async fn a_listing_pages_by_creation(store: &dyn Store) {
    // Two of the same millisecond, and not in the order of insertion.
    for (n, at) in [(1, 5), (2, 3), (3, 3), (4, 1), (5, 9)] {
        put(store, session(n, Some("ann"), minutes(at))).await;
    }
    put(store, session(6, Some("bob"), START)).await;
    put(store, session(7, None, START)).await;
    let all = store.user_sessions(user("ann"), None, 100).await.unwrap();
    assert_eq!(all.len(), 5);
    assert!(all.is_sorted_by_key(|stored| (stored.session.created_at, stored.session.id)));
    assert!(all.iter().all(|stored| stored.session.data.is_empty()), "data may be large, and is not asked for");
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = store.user_sessions(user("ann"), after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Cursor { created_at: last.session.created_at, id: last.session.id });
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(store.user_sessions(user("ann"), None, 0).await.unwrap(), []);
    assert_eq!(store.user_sessions(user("carl"), None, 10).await.unwrap(), []);
}

async fn figures_say_what_is_held(store: &dyn Store) {
    assert_eq!(store.figures(query(minutes(100))).await.unwrap(), sessgate::store::Figures::default());
    for n in 1..=3 {
        put(store, session(n, Some("ann"), minutes(n))).await;
    }
    put(store, session(4, Some("bob"), minutes(1))).await;
    put(store, session(5, Some("carl"), minutes(5))).await;
    put(store, session(6, None, minutes(8))).await;
    store.touch(vec![(key(1), minutes(9))]).await.unwrap();
    let overrides = HashMap::from([("ann".to_owned(), 4), ("carl".to_owned(), 1), ("nobody".to_owned(), 0)]);
    let user_limits = UserLimits { sessions: Some(1), on_excess: OnExcess::EvictOldest, overrides };
    let asked = FiguresQuery { stale_before: minutes(4), top: 2, user_limits };
    let figures = store.figures(asked).await.unwrap();
    let names = ["ann", "ann", "ann", "bob", "carl", ""].iter().map(|name| name.len() as u64).sum::<u64>();
    assert_eq!((figures.sessions, figures.bytes), (6, 6 * (Session::STORED_OVERHEAD + 4) + names));
    assert_eq!((figures.stale, figures.oldest_activity), (3, Some(minutes(1))));
    assert_eq!((figures.users, figures.users_at_limit), (3, 2), "bob and carl; ann may have four");
    assert_eq!(figures.top_users, [(user("ann"), 3), (user("bob"), 1)]);
    for n in 1..=6 {
        store.end(Whom::Key(key(n)), EndReason::Admin, 1, terms(minutes(9))).await.unwrap();
    }
    assert_eq!(store.figures(query(minutes(100))).await.unwrap(), sessgate::store::Figures::default());
}

async fn notices_are_taken_leased_and_settled(store: &dyn Store) {
    for n in 1..=3 {
        put(store, session(n, Some("ann"), START)).await;
        store.end(Whom::Key(key(n)), EndReason::Revoked, 1, terms(minutes(n))).await.unwrap();
    }
    assert_eq!(store.notices().await.unwrap(), Waiting { queued: 3, overflowed: 0 });
    let now = minutes(5);
    let first = store.take_notices(now, 2).await.unwrap();
    let ids: Vec<_> = first.iter().map(|notice| notice.id).collect();
    assert_eq!(ids, [1, 2].map(|n| session(n, None, START).session.id), "the oldest first");
    assert_eq!((&first[0].user, first[0].reason, first[0].at), (&Some(user("ann")), EndReason::Revoked, minutes(1)));
    assert_eq!(store.take_notices(now, 10).await.unwrap().len(), 1, "the others are taken");
    assert_eq!(store.take_notices(now, 10).await.unwrap(), []);
    let later = minutes(7);
    let settled = vec![(first[0].event_id, Settlement::Remove), (first[1].event_id, Settlement::RetryAt(later))];
    store.settle_notices(settled.clone()).await.unwrap();
    store.settle_notices(vec![settled[0]]).await.unwrap();
    assert_eq!(store.notices().await.unwrap().queued, 2);
    let retaken = store.take_notices(now + NOTICE_LEASE, 10).await.unwrap();
    assert_eq!(retaken.len(), 1, "whoever took the third has not come back");
    assert_eq!((retaken[0].id, retaken[0].attempts), (session(3, None, START).session.id, 0));
    let retried = store.take_notices(later, 10).await.unwrap();
    assert!(retried.iter().any(|notice| notice.event_id == first[1].event_id && notice.attempts == 1), "{retried:?}");
}

async fn notices_are_dropped_for_their_age(store: &dyn Store) {
    for n in 1..=4 {
        put(store, session(n, Some("ann"), START)).await;
        store.end(Whom::Key(key(n)), EndReason::Revoked, 1, terms(minutes(n))).await.unwrap();
    }
    assert_eq!(store.drop_notices(START, 10).await.unwrap(), 0, "they are younger");
    let taken = store.take_notices(minutes(5), 1).await.unwrap();
    assert_eq!(store.drop_notices(minutes(3), 2).await.unwrap(), 2, "no more than asked for, also if one is taken");
    assert_eq!(store.drop_notices(minutes(3), 10).await.unwrap(), 1);
    store.settle_notices(vec![(taken[0].event_id, Settlement::Remove)]).await.unwrap();
    assert_eq!(store.notices().await.unwrap(), Waiting { queued: 1, overflowed: 0 });
    assert_eq!(store.take_notices(minutes(5), 10).await.unwrap()[0].at, minutes(4));
}

async fn without_a_hook_no_notice_is_kept(store: &dyn Store) {
    put(store, session(1, None, START)).await;
    let quiet = Terms { notify: false, ..terms(minutes(1)) };
    assert_eq!(store.end(Whom::Key(key(1)), EndReason::Revoked, 1, quiet).await.unwrap().len(), 1);
    assert_eq!(store.notices().await.unwrap(), Waiting::default());
}

async fn a_trial_changes_nothing(store: &dyn Store) {
    put(store, session(1, Some("ada"), START)).await;
    let before = (held(store).await, store.load(key(1)).await.unwrap());
    store.probe().await.unwrap();
    assert_eq!((held(store).await, store.load(key(1)).await.unwrap()), before);
}

async fn a_closed_store_is_unavailable(store: &dyn Store) {
    put(store, session(1, None, START)).await;
    store.close().await;
    store.close().await;
    let unavailable = |error: &StoreError| matches!(error, StoreError::Unavailable(_));
    assert!(unavailable(&store.load(key(1)).await.unwrap_err()));
    assert!(unavailable(&store.figures(query(START)).await.unwrap_err()));
    assert!(unavailable(&store.probe().await.unwrap_err()));
    assert!(unavailable(&store.touch(vec![(key(1), START)]).await.unwrap_err()));
    let outcome = store.create(session(2, None, START), CreateLimits::default(), terms(START)).await;
    assert!(matches!(outcome, Err(CreateError::Store(StoreError::Unavailable(_)))));
}
