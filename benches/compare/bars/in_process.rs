//! P9: a look-up in the gateway, beside the bare cache that it is built on.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use sessgate::clock::SystemClock;
use sessgate::gateway::memory::Entry;
use sessgate::gateway::{Gateway, MemoryLookUp, Slide};
use sessgate::session::SessionKey;

use super::Lab;
use crate::Result;
use crate::exchanges::Order;
use crate::house::House;
use crate::measure::{alternate, each};
use crate::process::own_cpu;
use crate::report::{Bar, Row, Section, Unit};

/// Look-ups between two looks at the clock.
const STRIDE: usize = 10_000;
/// The bare cache holds so many times more than it has to, so that it evicts nothing.
const ROOM: usize = 2;

pub fn measure(lab: &mut Lab) -> Result<Section> {
    let sizes = [
        ("among 50,000", 50_000, Bar::AtMost(2.0)),
        ("among 10,000", 10_000, Bar::None),
        ("among a million", lab.plan.million, Bar::None),
    ];
    let mut rows = Vec::new();
    for (among, sessions, bar) in sizes {
        println!("  creating {sessions} sessions in process");
        let house = House::open(Arc::new(SystemClock::new()))?;
        let keys = house.fill(sessions, None)?;
        // Both caches are filled in the order of creation: in the order of the look-ups, the memory of the bare one
        // would be walked from end to end.
        let bare = bare_cache(&house.gateway, &keys)?;
        let keys = shuffled(keys);
        let bare = |key: &SessionKey| bare.get(key).map(|entry| entry.session.revision);
        let gateway = |key: &SessionKey| match house.gateway.look_up_in_memory(key, Slide::Touch) {
            MemoryLookUp::Hit(view) => Some(view.entry.session.revision),
            MemoryLookUp::Expired | MemoryLookUp::Absent => None,
        };
        // Both have the bar: it does not say which walk it means.
        for (how, walk) in [("in turn", Walk::InTurn), ("overlapping", Walk::Overlapping)] {
            let (rounds, window) = (lab.plan.rounds, lab.plan.window / 2);
            let (peer, ours) =
                alternate(rounds, || time(&keys, window, walk, bare), || time(&keys, window, walk, gateway))?;
            rows.push(Row::new(format!("a look-up {among}, {how}"), Unit::Seconds, bar, peer, ours));
        }
    }
    Ok(Section {
        method: "`Gateway::look_up_in_memory` with a touch, on the system's clock, against `quick_cache::sync::Cache::get` \
                 of the same entries by the same keys in the same random order, on one thread. Processor time a look-up. \
                 In turn: which key comes next depends on the entry just found, as a server goes on only when it has \
                 its session. Overlapping: in a plain loop, in which the processor starts on the next look-ups while \
                 one waits for memory; that hides most of the time of the bare cache, whose few instructions let it \
                 look far ahead."
            .to_owned(),
        rows,
    })
}

/// How one look-up follows another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// When the last one has found its entry.
    InTurn,
    /// As soon as the processor gets to it.
    Overlapping,
}

/// The keys in a random order that is the same in every run (Fisher and Yates).
fn shuffled(mut keys: Vec<SessionKey>) -> Vec<SessionKey> {
    let mut order = Order::seeded(9);
    for last in (1..keys.len()).rev() {
        keys.swap(last, order.below(last + 1));
    }
    keys
}

/// The gateway's entries in a cache of their own.
fn bare_cache(gateway: &Gateway, keys: &[SessionKey]) -> Result<Cache<SessionKey, Arc<Entry>>> {
    let cache = Cache::new(keys.len() * ROOM);
    for key in keys {
        match gateway.look_up_in_memory(key, Slide::Peek) {
            MemoryLookUp::Hit(view) => cache.insert(*key, view.entry),
            other => return Err(format!("a session is not in memory: {other:?}").into()),
        }
    }
    Ok(cache)
}

/// Processor time of one look-up, in seconds. Every one has to hit; it yields the session's revision, which is 1.
fn time(
    keys: &[SessionKey],
    window: Duration,
    walk: Walk,
    look_up: impl Fn(&SessionKey) -> Option<u64>,
) -> Result<f64> {
    let (started, cpu) = (Instant::now(), own_cpu()?);
    let (mut at, mut done) = (0, 0);
    while started.elapsed() < window {
        for _ in 0..STRIDE {
            let revision = black_box(look_up(&keys[at])).ok_or("a look-up missed")?;
            // Steps of 1 either way, but in turn the processor cannot know it before it has the entry.
            at += if walk == Walk::InTurn { usize::try_from(revision)? } else { 1 };
            if at >= keys.len() {
                at = 0;
            }
        }
        done += STRIDE as u64;
    }
    Ok(each(own_cpu()? - cpu, done))
}
