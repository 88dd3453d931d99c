//! P6: what a session takes in memory, beside Redis that holds the same value and index; and through the Redis door.

use std::net::SocketAddr;

use super::{Crowd, GATHERING, LOADERS, Lab, ROOMY, SESSIONS_A_USER};
use crate::Result;
use crate::exchanges::{SaveSessions, SetAndIndex, Users};
use crate::load::{self, Exchange};
use crate::machine::{Program, REDIS, VALKEY};
use crate::measure::as_f64;
use crate::report::{Bar, Row, Section, Unit};
use crate::servers::{Durability, Redis, Sidecar, get};

pub fn measure(lab: &mut Lab) -> Result<Section> {
    let sessions = lab.plan.million;
    let Crowd { sidecar, empty, .. } = lab.million()?;
    let ours = sidecar.process.resident()?.saturating_sub(*empty);
    all_in_memory(sidecar, sessions)?;
    let peer = Resident::of(&REDIS, sessions, SetAndIndex::new)?;

    let a_session = |bytes: u64| vec![as_f64(bytes) / as_f64(sessions)];
    Ok(Section {
        method: format!(
            "{sessions} sessions of 256 bytes, {SESSIONS_A_USER} a user, created over HTTP and all in the memory tier, \
             against redis-server without persistence that was sent SET and ZADD for each, under names as long as our \
             tokens. Growth of `VmRSS`, so allocator, tables and the page cache of the embedded store count. A size \
             needs no rounds."
        ),
        rows: vec![
            Row::new("resident bytes a session", Unit::Bytes, Bar::AtMost(1.0), a_session(peer.bytes), a_session(ours)),
            Row::new("Redis's own count (`used_memory`)", Unit::Bytes, Bar::None, a_session(peer.counted), Vec::new()),
        ],
    })
}

pub fn through_the_redis_door(lab: &mut Lab) -> Result<Section> {
    let sessions = lab.plan.million;
    let sidecar = Sidecar::start(1, ROOMY)?;
    let empty = sidecar.process.resident()?;
    fill(sidecar.redis, sessions, |users| SaveSessions::new(users, false))?;
    let ours = sidecar.process.resident()?.saturating_sub(empty);
    all_in_memory(&sidecar, sessions)?;
    // The last user is there, with all sessions, so the index is too.
    let user = format!("u-{:09}", sessions / SESSIONS_A_USER - 1);
    let held = get(sidecar.api, &format!("/v1/users/{user}/sessions"))?.matches(r#""created_at""#).count();
    if held as u64 != SESSIONS_A_USER {
        return Err(format!("{user} has {held} sessions").into());
    }
    drop(sidecar);

    let mut rows = Vec::new();
    for (program, bar) in [(&VALKEY, Bar::AtMost(1.0)), (&REDIS, Bar::None)] {
        let peer = Resident::of(program, sessions, |users| SaveSessions::new(users, true))?;
        let a_session = |bytes: u64| vec![as_f64(bytes) / as_f64(sessions)];
        let name = program.name;
        let what = format!("resident bytes a session, beside {name}");
        rows.push(Row::new(what, Unit::Bytes, bar, a_session(peer.bytes), a_session(ours)));
        let what = format!("{name}'s own count (`used_memory`)");
        rows.push(Row::new(what, Unit::Bytes, Bar::None, a_session(peer.counted), Vec::new()));
    }
    Ok(Section {
        method: format!(
            "{sessions} sessions, {SESSIONS_A_USER} a user, saved as a session library does: `SET sess:… EX 7776000` of \
             256 bytes of JSON that names the user. All are in the memory tier, and in its index by user. The peers, \
             without persistence, are sent the same SET and a ZADD of the key to the user's set. Growth of `VmRSS`, \
             also by the page cache of the embedded store. A size needs no rounds."
        ),
        rows,
    })
}

/// What a peer's sessions take, in bytes.
struct Resident {
    /// In memory.
    bytes: u64,
    /// By its own count.
    counted: u64,
}

impl Resident {
    fn of<E: Exchange>(program: &Program, sessions: u64, exchange: impl Fn(Users) -> E) -> Result<Self> {
        let peer = Redis::start_as(program, Durability::None, "")?;
        let (empty, counted_empty) = (peer.process.resident()?, peer.used_memory()?);
        fill(peer.address, sessions, exchange)?;
        Ok(Self {
            bytes: peer.process.resident()?.saturating_sub(empty),
            counted: peer.used_memory()?.saturating_sub(counted_empty),
        })
    }
}

/// Stores sessions, ten a user.
fn fill<E: Exchange>(target: SocketAddr, sessions: u64, exchange: impl Fn(Users) -> E) -> Result<()> {
    let users = Users::share(0..sessions / SESSIONS_A_USER, SESSIONS_A_USER, LOADERS);
    let (load, _) = load::run(target, users.into_iter().map(exchange).collect(), GATHERING)?;
    println!("  {} stored, {:.0} a second", load.done, load.per_second());
    if load.failed > 0 || load.done != sessions {
        return Err(format!("{} of {sessions} sessions were stored, {} failed", load.done, load.failed).into());
    }
    Ok(())
}

fn all_in_memory(sidecar: &Sidecar, sessions: u64) -> Result<()> {
    let stats = get(sidecar.api, "/v1/stats")?;
    if stats.contains(&format!(r#""memory":{sessions}"#)) {
        Ok(())
    } else {
        Err(format!("not every session is in memory: {stats}").into())
    }
}
