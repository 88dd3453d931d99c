use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::yield_now;

use super::*;
use crate::clock::Timestamp;
use crate::metrics::{BuildInfo, Metrics};
use crate::session::{Content, NameKeys, Session, SessionId, StoredSession};

const ROOMY: u64 = 1 << 20;

fn shards_for(sessions: u64, capacity: u64) -> Shards {
    let rules =
        MemoryRules { sessions, bytes: 1 << 20, stale_after: Duration::MAX, memory_idle: Duration::from_secs(1) };
    let build = BuildInfo { version: "test", revision: "test", store: "none" };
    Shards::new(rules, capacity, &Arc::new(Shared::new(Arc::new(Metrics::new(&build)))))
}

fn key(n: u16) -> SessionKey {
    NameKeys::new(0).key(0, &n.to_be_bytes())
}

fn entry(n: u16, revision: u64, weight: u32) -> Arc<Entry> {
    let at = Timestamp::from_millis(1);
    let session = Session {
        id: SessionId::from_bytes([0; 16]),
        user: None,
        created_at: at,
        idle_timeout: None,
        absolute_timeout: None,
        revision,
        data: n.to_be_bytes().into(),
    };
    let entry = Entry::of(StoredSession { key: key(n), session, last_activity: at, content: Content::Text });
    entry.weight.store(weight, Ordering::Relaxed);
    Arc::new(entry)
}

async fn add(shards: &Shards, n: u16, revision: u64, weight: u32) {
    let right = shards.get_or_reserve(&key(n)).await.expect_err("nothing has been added yet");
    assert!(right.use_for(&entry(n, revision, weight)));
}

fn weight(shards: &Shards) -> u64 {
    (0..shards.count()).map(|at| shards.read(at).entries.weight()).sum()
}

fn evictions(shards: &Shards) -> u64 {
    let of = shards.shared.metrics.evictions();
    of.iter().filter(|(tier, why, _)| (*tier, *why) == ("memory", "lru")).map(|(.., count)| count).sum()
}

#[test]
fn few_sessions_are_not_split_into_many_shards() {
    let counts = [0, 1, 32, 33, 63, 64, 128, 255, 256, u64::MAX].map(Shards::count_for);
    assert_eq!(counts, [1, 1, 1, 1, 2, 2, 4, 8, 8, 8]);
}

#[tokio::test]
async fn those_who_are_asked_for_together_are_found_in_order() {
    let shards = shards_for(1_000, ROOMY);
    for n in 0..100 {
        add(&shards, n, 1, 1).await;
    }
    for count in 0..=2 * TOGETHER {
        // Some several times, and every third not there.
        let numbers = (0_u16..).map(|at| (at * 7 % 50) + if at % 3 == 2 { 100 } else { 0 });
        let wanted: Vec<_> = numbers.take(count).collect();
        let keys: Vec<_> = wanted.iter().map(|n| key(*n)).collect();
        let found =
            shards.get_together(&keys, |found| found.map(|entry| entry.map(|entry| entry.session.data.clone())));
        for (at, found) in found.iter().enumerate() {
            let there = wanted.get(at).filter(|n| **n < 100).map(|n| n.to_be_bytes());
            assert_eq!(found.as_deref(), there.as_ref().map(|data| &data[..]), "{at} of {count}");
        }
    }
}

// Readers hold several locks, in one order; writers one. With any other order this stands still.
#[test]
fn readers_of_many_shards_and_writers_do_not_wait_for_each_other_for_ever() {
    let shards = shards_for(1_000, 400);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3_u16 {
            let (shards, done) = (&shards, &done);
            scope.spawn(move || {
                let mut turn = reader;
                while !done.load(Ordering::Relaxed) {
                    turn = turn.wrapping_mul(31).wrapping_add(7);
                    let mut numbers = (0_u16..).map(|at| turn.wrapping_add(at * 37) % 500);
                    let keys: [_; TOGETHER] = array::from_fn(|_| key(numbers.next().unwrap_or(0)));
                    shards.get_together(&keys, |found| {
                        for (key, entry) in keys.iter().zip(found) {
                            assert!(entry.is_none_or(|entry| entry.session.data.len() == 2), "{:?}", key.as_bytes());
                        }
                    });
                }
            });
        }
        let writers: Vec<_> = (0..2_u16)
            .map(|writer| {
                let shards = &shards;
                scope.spawn(move || {
                    for turn in 0..20_000_u16 {
                        let n = turn.wrapping_mul(17).wrapping_add(writer) % 500;
                        shards.replace(&key(n), &entry(n, 2, u32::from(turn % 3) + 1), |_| true);
                        if turn % 5 == 0 {
                            shards.remove(&key(n));
                        }
                        let mut shard = shards.write(shards.place(&key(n)));
                        let right = shards.give(&mut shard, &key(n), Turn::first());
                        drop(shard);
                        right.use_for(&entry(n, 3, 1));
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("nothing a writer does can fail");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(weight(&shards) <= 400, "{}", weight(&shards));
    let rights: usize = (0..shards.count()).map(|at| shards.read(at).given.len()).sum();
    assert_eq!(rights, 0);
}

#[tokio::test]
async fn those_who_want_the_same_have_it_one_after_the_other_until_one_has_added_it() {
    let shards = Arc::new(shards_for(10, ROOMY));
    let first = shards.get_or_reserve(&key(1)).await.expect_err("nothing has been added yet");
    let wait = |what: &'static str| {
        let shards = Arc::clone(&shards);
        tokio::spawn(async move {
            match shards.get_or_reserve(&key(1)).await {
                Ok(entry) => format!("{what}: {}", entry.session.revision),
                Err(right) if what == "adds" => format!("{what}: {}", right.use_for(&entry(1, 7, 1))),
                Err(_) => format!("{what}: had the right"),
            }
        })
    };
    let waiting = [wait("gives up"), wait("adds"), wait("reads"), wait("reads")];
    let cancelled = wait("is cancelled");
    yield_now().await;
    assert!(waiting.iter().all(|one| !one.is_finished()));
    cancelled.abort();
    drop(first);
    let mut said = Vec::new();
    for one in waiting {
        said.push(one.await.expect("it waits for nothing else"));
    }
    assert_eq!(said, ["gives up: had the right", "adds: true", "reads: 7", "reads: 7"]);
    assert!(shards.read(0).given.is_empty());
}

fn waits(future: &mut Pin<Box<impl Future>>) -> bool {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn a_right_that_was_taken_away_adds_nothing_and_holds_nobody_up() {
    let shards = shards_for(10, ROOMY);
    for (turn, take_away) in [Shards::remove_it, Shards::replace_it].into_iter().enumerate() {
        let late = shards.get_or_reserve(&key(1)).await.expect_err("nothing has been added yet");
        let wanted = key(1);
        let mut waiter = Box::pin(shards.get_or_reserve(&wanted));
        assert!(waits(&mut waiter));
        take_away(&shards);
        // Who comes now does not wait for the one that is late.
        let early = shards.get_or_reserve(&key(1)).await.expect_err("nothing has been added yet");
        assert!(!late.use_for(&entry(1, 1, 1)), "{turn}");
        // Who waited for it goes on behind those who came since.
        assert!(waits(&mut waiter));
        assert!(early.use_for(&entry(1, 2, 1)));
        assert_eq!(waiter.await.ok().expect("it has been added meanwhile").session.revision, 2);
        shards.remove(&key(1));
    }
}

impl Shards {
    fn remove_it(&self) {
        assert!(self.remove(&key(1)).is_none());
    }

    fn replace_it(&self) {
        self.replace(&key(1), &entry(1, 9, 1), |_| false);
    }
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_still_shared_with_those_who_wait_for_it() {
    let shards = shards_for(10, 100);
    let right = shards.get_or_reserve(&key(1)).await.expect_err("nothing has been added yet");
    let wanted = key(1);
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(shards.get_or_reserve(&wanted))).collect();
    assert!(waiting.iter_mut().all(waits));
    assert!(right.use_for(&entry(1, 5, 1_000)));
    for waiter in waiting {
        assert_eq!(waiter.await.ok().expect("it has been added meanwhile").session.revision, 5);
    }
    assert_eq!((shards.len(), evictions(&shards)), (0, 1));
    assert!(shards.get_or_reserve(&key(1)).await.is_err(), "who comes later reads it anew");
}

#[tokio::test]
async fn what_is_replaced_has_not_left_and_what_has_grown_makes_others_leave() {
    let shards = shards_for(10, 100);
    for n in 0..10 {
        add(&shards, n, 1, 10).await;
    }
    shards.replace(&key(1), &entry(1, 2, 10), |_| true);
    shards.replace(&key(2), &entry(2, 2, 10), |_| false);
    assert_eq!((shards.len(), weight(&shards), evictions(&shards)), (10, 100, 0));
    assert_eq!([1, 2].map(|n| shards.peek(&key(n)).expect("it was added above").session.revision), [2, 1]);
    shards.replace(&key(1), &entry(1, 3, 35), |_| true);
    assert_eq!((shards.len(), weight(&shards), evictions(&shards)), (7, 95, 3));
    assert_eq!(shards.peek(&key(1)).expect("it was added above").session.revision, 3);
    // What is larger than everything may be leaves at once, and takes nobody with it.
    shards.replace(&key(1), &entry(1, 4, 1_000), |_| true);
    assert!(shards.peek(&key(1)).is_none());
    assert_eq!((shards.len(), weight(&shards)), (6, 60));
    shards.weigh_anew(&key(2), |_| 0);
    shards.set_capacity(20);
    assert!(weight(&shards) <= 20, "{}", weight(&shards));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Add,
    GiveUp,
    Replace,
    Remove,
    RemoveIfOdd,
    Weigh(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let weight = (1..100_u32).prop_map(Step::Weigh);
    prop_oneof![
        4 => Just(Step::Add), 1 => Just(Step::GiveUp), 2 => Just(Step::Replace), 1 => Just(Step::Remove),
        1 => Just(Step::RemoveIfOdd), 1 => weight
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // Where there is room for all, it is a map.
    #[test]
    fn it_holds_what_a_map_would(steps in prop::collection::vec((0..40_u16, step()), 1..300)) {
        let shards = shards_for(256, ROOMY);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime needs only memory");
        let mut map = HashMap::<u16, (u64, u32)>::new();
        for (revision, (n, step)) in (1_u64..).zip(steps) {
            match step {
                Step::Add | Step::GiveUp => match runtime.block_on(shards.get_or_reserve(&key(n))) {
                    Ok(entry) => prop_assert_eq!(Some(&entry.session.revision), map.get(&n).map(|(held, _)| held)),
                    Err(right) if matches!(step, Step::Add) => {
                        prop_assert!(right.use_for(&entry(n, revision, 3)));
                        prop_assert_eq!(map.insert(n, (revision, 3)), None);
                    }
                    Err(_) => prop_assert!(!map.contains_key(&n)),
                },
                Step::Replace => {
                    shards.replace(&key(n), &entry(n, revision, 5), |_| true);
                    map.entry(n).and_modify(|held| *held = (revision, 5));
                }
                Step::Remove => {
                    let removed = shards.remove(&key(n)).map(|entry| entry.session.revision);
                    prop_assert_eq!(removed, map.remove(&n).map(|(held, _)| held));
                }
                Step::RemoveIfOdd => {
                    let is_odd = |revision: u64| revision % 2 == 1;
                    let prefix = KeyPrefix::of(&key(n));
                    let removed = shards.remove_if(&prefix, |entry| is_odd(entry.session.revision));
                    let expected = map.get(&n).is_some_and(|(revision, _)| is_odd(*revision));
                    prop_assert_eq!(removed.map(|(removed, _)| removed), expected.then(|| key(n)));
                    map.retain(|held, _| *held != n || !expected);
                }
                Step::Weigh(weight) => {
                    shards.weigh_anew(&key(n), |_| weight);
                    map.entry(n).and_modify(|held| held.1 = weight);
                }
            }
            prop_assert_eq!(shards.len(), map.len() as u64);
            prop_assert_eq!(weight(&shards), map.values().map(|(_, weight)| u64::from(*weight)).sum::<u64>());
        }
        let mut held: Vec<_> = shards.keys().collect();
        let mut expected: Vec<_> = map.keys().map(|n| key(*n)).collect();
        held.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(held, expected);
        for n in 0..40 {
            let revision = shards.get(&key(n)).map(|entry| entry.session.revision);
            prop_assert_eq!(revision, map.get(&n).map(|(held, _)| *held));
        }
    }
}
