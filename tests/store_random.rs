//! Random histories, played to every store and to the model: after each step both must say the same.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use sessgate::clock::Timestamp;
use sessgate::session::{
    Capacity, EndReason, Ended, EventId, Lifetimes, OnExcess, Session, SessionKey, StoredSession, Timeout, UserLimit,
    UserLimits,
};
use sessgate::store::{CreateLimits, Figures, FiguresQuery, Settlement, Store, Terms, Update, Whom};

use crate::support::sessions::{MINUTE, START, key, session, user, with_data};
use crate::support::stores;

const USERS: [&str; 4] = ["ann", "bob", "carl", "dora"];

/// One step. Numbers that name a session or a user are taken modulo those there are.
#[derive(Clone, Debug)]
enum Step {
    Create { user: Option<usize>, bytes: usize, own: (Option<u32>, Option<u32>), limits: Limits },
    Update { which: usize, bytes: usize, if_revision: Option<u64>, cap: Option<u64> },
    Rotate { which: usize },
    Touch { touches: Vec<(usize, u32)> },
    End { whom: End, max: usize },
    ClaimDue { close_stale: bool, grace: u32, max: usize },
    Trim { limits: (Option<u64>, OnExcess), exception: (usize, u64), max: usize },
    MakeRoom { sessions: Option<u64>, bytes: Option<u64>, max: usize },
    Take { max: usize },
    Settle { retry: Option<u32> },
    Wait { minutes: u32 },
}

#[derive(Clone, Debug)]
enum End {
    Key(usize),
    Id(usize),
    User(usize),
}

#[derive(Clone, Debug)]
struct Limits {
    user: Option<(u64, OnExcess)>,
    sessions: Option<u64>,
    bytes: Option<u64>,
}

fn policy() -> impl Strategy<Value = OnExcess> {
    prop_oneof![Just(OnExcess::EvictOldest), Just(OnExcess::EvictIdlest), Just(OnExcess::Reject)]
}

fn some_bytes() -> impl Strategy<Value = Option<u64>> {
    prop::option::of((1..12_u64).prop_map(|n| n * (Session::STORED_OVERHEAD + 50)))
}

fn step() -> impl Strategy<Value = Step> {
    let limits = (prop::option::of((0..4_u64, policy())), prop::option::weighted(0.4, 1..12_u64), some_bytes())
        .prop_map(|(user, sessions, bytes)| Limits { user, sessions, bytes });
    let own = (prop::option::weighted(0.3, 1..60_u32), prop::option::weighted(0.3, 1..60_u32));
    let whom = prop_oneof![
        (0..30_usize).prop_map(End::Key),
        (0..30_usize).prop_map(End::Id),
        (0..4_usize).prop_map(End::User)
    ];
    prop_oneof![
        10 => (prop::option::weighted(0.8, 0..4_usize), 0..300_usize, own, limits)
            .prop_map(|(user, bytes, own, limits)| Step::Create { user, bytes, own, limits }),
        2 => (0..30_usize, 0..300_usize, prop::option::of(1..3_u64), some_bytes())
            .prop_map(|(which, bytes, if_revision, cap)| Step::Update { which, bytes, if_revision, cap }),
        1 => (0..30_usize).prop_map(|which| Step::Rotate { which }),
        2 => prop::collection::vec((0..30_usize, 0..20_u32), 0..5).prop_map(|touches| Step::Touch { touches }),
        2 => (whom, 0..4_usize).prop_map(|(whom, max)| Step::End { whom, max }),
        2 => (any::<bool>(), 0..10_u32, 1..5_usize)
            .prop_map(|(close_stale, grace, max)| Step::ClaimDue { close_stale, grace, max }),
        1 => ((prop::option::of(0..3_u64), policy()), (0..4_usize, 0..4_u64), 0..5_usize)
            .prop_map(|(limits, exception, max)| Step::Trim { limits, exception, max }),
        1 => (prop::option::of(0..8_u64), some_bytes(), 0..5_usize)
            .prop_map(|(sessions, bytes, max)| Step::MakeRoom { sessions, bytes, max }),
        1 => (0..5_usize).prop_map(|max| Step::Take { max }),
        1 => prop::option::of(0..20_u32).prop_map(|retry| Step::Settle { retry }),
        3 => (1..25_u32).prop_map(|minutes| Step::Wait { minutes }),
    ]
}

/// A store with its side of the history: what the notices it handed out are called there.
struct Player<'s> {
    store: &'s dyn Store,
    taken: Vec<EventId>,
}

/// What both sides share.
#[derive(Default)]
struct History {
    elapsed: Duration,
    /// The latest key of every session ever made, dead ones included.
    keys: Vec<SessionKey>,
    made: Vec<StoredSession>,
}

impl History {
    fn now(&self) -> Timestamp {
        START + self.elapsed
    }

    fn terms(&self) -> Terms {
        let lifetimes =
            Lifetimes { idle_timeout: 30 * MINUTE, absolute_timeout: Some(90 * MINUTE), stale_after: 10 * MINUTE };
        Terms { now: self.now(), lifetimes, grace: MINUTE, notify: true, tombstone: Duration::from_secs(60) }
    }

    fn key(&self, which: usize) -> SessionKey {
        if self.keys.is_empty() { key(999_999) } else { self.keys[which % self.keys.len()] }
    }
}

fn without_handle(mut ended: Vec<Ended>) -> Vec<Ended> {
    for ended in &mut ended {
        ended.event_id = EventId::from_bytes([0; 16]);
    }
    ended
}

impl Player<'_> {
    /// Plays a step and says how it went, in words that do not depend on the store.
    async fn play(&mut self, step: &Step, history: &History, newcomer: &StoredSession, new_key: SessionKey) -> String {
        let (store, terms, now) = (self.store, history.terms(), history.now());
        let ended = |outcome: Result<Vec<Ended>, _>| format!("{:?}", outcome.map(without_handle));
        match step {
            Step::Create { limits, .. } => {
                let limits = CreateLimits {
                    user: limits.user.map(|(sessions, on_excess)| UserLimit { sessions, on_excess }),
                    capacity: Capacity { sessions: limits.sessions, bytes: limits.bytes },
                };
                let outcome = store.create(newcomer.clone(), limits, terms).await;
                format!("{:?}", outcome.map(without_handle))
            }
            Step::Update { which, bytes, if_revision, cap } => {
                let update = Update {
                    key: history.key(*which),
                    data: vec![7; *bytes].into(),
                    if_revision: *if_revision,
                    now,
                    capacity: Capacity { sessions: None, bytes: *cap },
                };
                format!("{:?}", store.update(update).await)
            }
            Step::Rotate { which } => {
                format!("{:?}", store.rotate(history.key(*which), new_key, now).await)
            }
            Step::Touch { touches } => {
                let touches = touches.iter().map(|(which, ago)| (history.key(*which), now - MINUTE * *ago)).collect();
                format!("{:?}", store.touch(touches).await)
            }
            Step::End { whom, max } => {
                let whom = match whom {
                    End::Key(which) => Whom::Key(history.key(*which)),
                    End::Id(which) if history.made.is_empty() => Whom::Key(history.key(*which)),
                    End::Id(which) => Whom::Id(history.made[which % history.made.len()].session.id),
                    End::User(which) => Whom::User(user(USERS[*which])),
                };
                ended(store.end(whom, EndReason::Admin, *max, terms).await)
            }
            Step::ClaimDue { close_stale, grace, max } => {
                ended(store.claim_due(*close_stale, *max, Terms { grace: MINUTE * *grace, ..terms }).await)
            }
            Step::Trim { limits: (sessions, on_excess), exception: (which, allowed), max } => {
                let overrides = HashMap::from([(USERS[*which].to_owned(), *allowed)]);
                let limits = UserLimits { sessions: *sessions, on_excess: *on_excess, overrides };
                ended(store.trim_users(&limits, *max, terms).await)
            }
            Step::MakeRoom { sessions, bytes, max } => {
                let target = Capacity { sessions: *sessions, bytes: *bytes };
                ended(store.make_room(target, *max, terms).await)
            }
            Step::Take { max } => {
                let mut taken = store.take_notices(now, *max).await.unwrap();
                self.taken.extend(taken.iter().map(|notice| notice.event_id));
                for notice in &mut taken {
                    notice.event_id = EventId::from_bytes([0; 16]);
                }
                format!("{taken:?}")
            }
            Step::Settle { retry } => {
                let settlement = retry.map_or(Settlement::Remove, |n| Settlement::RetryAt(now + MINUTE * n));
                let half = self.taken.len().div_ceil(2);
                let settled = self.taken.drain(..half).map(|event| (event, settlement)).collect();
                format!("{:?}", store.settle_notices(settled).await)
            }
            Step::Wait { .. } => String::new(),
        }
    }

    /// Everything that can be seen of it.
    async fn look(&self, history: &History) -> String {
        let mut seen = Vec::new();
        for name in USERS {
            let listed = self.store.user_sessions(user(name), None, 100).await.unwrap();
            seen.push(format!("{name}: {listed:?}"));
            for StoredSession { key, .. } in listed {
                seen.push(format!("{:?}", self.store.load(key).await.unwrap()));
            }
        }
        if let Some(last) = history.made.last() {
            seen.push(format!("{:?}", self.store.load(last.key).await.unwrap()));
            seen.push(format!("{:?}", self.store.find(last.session.id).await.unwrap()));
        }
        seen.push(format!("{:?}", self.store.notices().await.unwrap()));
        seen.join("\n")
    }

    async fn figures(&self, stale_before: Timestamp) -> Figures {
        let overrides = HashMap::from([(USERS[1].to_owned(), 3), (USERS[2].to_owned(), 1)]);
        let user_limits = UserLimits { sessions: Some(2), on_excess: OnExcess::Reject, overrides };
        self.store.figures(FiguresQuery { stale_before, top: 3, user_limits }).await.unwrap()
    }
}

/// Asserts that the figures agree, those of activity to a minute.
async fn compare_figures(model: &Player<'_>, other: &Player<'_>, stale_before: Timestamp) {
    let expected = model.figures(stale_before).await;
    let mut actual = other.figures(stale_before).await;
    let fewest = model.figures(stale_before - MINUTE).await.stale;
    let most = model.figures(stale_before + MINUTE).await.stale;
    assert!((fewest..=most).contains(&actual.stale), "{} stale, not {fewest} to {most}", actual.stale);
    let apart = match (actual.oldest_activity, expected.oldest_activity) {
        (Some(one), Some(other)) => one.since(other).max(other.since(one)),
        (one, other) => {
            if one == other {
                Duration::ZERO
            } else {
                Duration::MAX
            }
        }
    };
    assert!(apart < MINUTE, "{:?} is not {:?}", actual.oldest_activity, expected.oldest_activity);
    (actual.stale, actual.oldest_activity) = (expected.stale, expected.oldest_activity);
    assert_eq!(actual, expected);
}

async fn play_to_both(steps: &[Step], other: &dyn Store) {
    let reference = stores::model();
    let mut model = Player { store: &*reference, taken: Vec::new() };
    let mut other = Player { store: other, taken: Vec::new() };
    let mut history = History::default();
    for (number, step) in (0_u64..).zip(steps) {
        let mut newcomer = session(number, None, history.now());
        if let Step::Create { user: owner, bytes, own: (idle, absolute), .. } = step {
            newcomer = with_data(newcomer, *bytes);
            newcomer.session.user = owner.map(|which| user(USERS[which]));
            newcomer.session.idle_timeout = idle.map(|n| Timeout::of(MINUTE * n));
            newcomer.session.absolute_timeout = absolute.map(|n| Timeout::of(MINUTE * n));
        }
        let new_key = key(1_000_000 + number);
        let expected = model.play(step, &history, &newcomer, new_key).await;
        let actual = other.play(step, &history, &newcomer, new_key).await;
        assert_eq!(actual, expected, "step {number}: {step:?}");
        match step {
            Step::Create { .. } => {
                history.keys.push(newcomer.key);
                history.made.push(newcomer);
            }
            Step::Rotate { which } if expected.contains("Some") => {
                let which = which % history.keys.len();
                history.keys[which] = new_key;
            }
            Step::Wait { minutes } => history.elapsed += MINUTE * *minutes + Duration::from_millis(number),
            _ => {}
        }
        assert_eq!(other.look(&history).await, model.look(&history).await, "after step {number}: {step:?}");
        compare_figures(&model, &other, history.now() - 10 * MINUTE).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_store_agrees_with_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let opened = stores::embedded();
            play_to_both(&steps, &*opened).await;
            opened.close().await;
        });
    }
}
