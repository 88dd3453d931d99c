//! P5: creations that are on the disk when they are answered, beside Redis that appends to its log and syncs it.

use std::cell::Cell;

use super::{CONNECTIONS, Lab, ROOMY, sample};
use crate::Result;
use crate::exchanges::{CreateSessions, SetAndIndex, Users};
use crate::load;
use crate::measure::{Samples, alternate};
use crate::report::{Bar, Section, load_rows};
use crate::servers::{Durability, Redis, Sidecar};

/// More users than one round can use up.
const USERS_A_ROUND: u64 = 100_000_000;

pub fn measure(lab: &mut Lab) -> Result<Section> {
    let redis = Redis::start(Durability::Always)?;
    let sidecar = Sidecar::start(1, ROOMY)?;
    let (window, used) = (lab.plan.window, Cell::new(0));
    // Both sides draw from one supply, so that no user comes twice on either.
    let newcomers = || {
        let first = used.replace(used.get() + USERS_A_ROUND);
        Users::share(first..first + USERS_A_ROUND, 1, CONNECTIONS)
    };
    let (peer, ours) = alternate(
        lab.plan.rounds,
        || {
            let exchanges = newcomers().into_iter().map(SetAndIndex::new).collect();
            sample(&redis.process, || Ok(load::run(redis.address, exchanges, window)?.0))
        },
        || {
            let exchanges = newcomers().into_iter().map(CreateSessions::new).collect();
            sample(&sidecar.process, || Ok(load::run(sidecar.api, exchanges, window)?.0))
        },
    )?;
    Ok(Section {
        method: format!(
            "`POST /v1/sessions` with 256 bytes of data, every session of another user, one event loop, against \
             redis-server with `appendonly yes` and `appendfsync always` that is sent SET and ZADD together for each. \
             Both are asked by the same generator on {CONNECTIONS} connections for {} s a round, and both write to the \
             same disk. The sidecar also mints the token, parses JSON, keeps four indexes and counts the bytes.",
            window.as_secs()
        ),
        rows: load_rows(&Samples { peer, ours }, [Bar::AtLeast(1.0), Bar::None, Bar::None]),
    })
}
