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
    let (rounds, window) = (lab.plan.rounds, lab.plan.window / 2);
    let sizes = [
        ("a look-up among 50,000", 50_000, Bar::AtMost(2.0)),
        ("a look-up among 10,000", 10_000, Bar::None),
        ("a look-up among a million", lab.plan.million, Bar::None),
    ];
    let mut rows = Vec::new();
    for (what, sessions, bar) in sizes {
        println!("  creating {sessions} sessions in process");
        let house = House::open(Arc::new(SystemClock::new()))?;
        let keys = house.fill(sessions, None)?;
        // Both caches are filled in the order of creation: in the order of the look-ups, the memory of the bare one
        // would be walked from end to end.
        let bare = bare_cache(&house.gateway, &keys)?;
        let keys = shuffled(keys);
        let (peer, ours) = alternate(
            rounds,
            || time(&keys, window, |key| bare.get(key).is_some()),
            || {
                time(&keys, window, |key| {
                    let found = house.gateway.look_up_in_memory(key, Slide::Touch);
                    matches!(black_box(found), MemoryLookUp::Hit(_))
                })
            },
        )?;
        rows.push(Row::new(what, Unit::Seconds, bar, peer, ours));
    }
    Ok(Section {
        method: "`Gateway::look_up_in_memory` with a touch, on the system's clock, against `quick_cache::sync::Cache::get` \
                 of the same entries by the same keys in the same random order, on one thread. Processor time a look-up."
            .to_owned(),
        rows,
    })
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

/// Processor time of one look-up, in seconds. Every one has to hit.
fn time(keys: &[SessionKey], window: Duration, look_up: impl Fn(&SessionKey) -> bool) -> Result<f64> {
    let (started, cpu) = (Instant::now(), own_cpu()?);
    let (mut hits, mut tried) = (0, 0);
    while started.elapsed() < window {
        for stride in keys.chunks(STRIDE) {
            hits += stride.iter().filter(|key| look_up(key)).count();
            tried += stride.len();
            if started.elapsed() >= window {
                break;
            }
        }
    }
    if hits < tried {
        return Err(format!("{} of {tried} look-ups missed", tried - hits).into());
    }
    Ok(each(own_cpu()? - cpu, tried as u64))
}
