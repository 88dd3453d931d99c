//! P6: what a session takes in memory, beside Redis that holds the same value and index.

use super::{Crowd, GATHERING, LOADERS, Lab, SESSIONS_A_USER};
use crate::Result;
use crate::exchanges::{SetAndIndex, Users};
use crate::load;
use crate::measure::as_f64;
use crate::report::{Bar, Row, Section, Unit};
use crate::servers::{Durability, Redis, get};

pub fn measure(lab: &mut Lab) -> Result<Section> {
    let sessions = lab.plan.million;
    let Crowd { sidecar, empty, .. } = lab.million()?;
    let ours = sidecar.process.resident()?.saturating_sub(*empty);
    let stats = get(sidecar.api, "/v1/stats")?;
    if !stats.contains(&format!(r#""memory":{sessions}"#)) {
        return Err(format!("not every session is in memory: {stats}").into());
    }

    let redis = Redis::start(Durability::None)?;
    let (empty, empty_used) = (redis.process.resident()?, redis.used_memory()?);
    let users = Users::share(0..sessions / SESSIONS_A_USER, SESSIONS_A_USER, LOADERS);
    let (load, _) = load::run(redis.address, users.into_iter().map(SetAndIndex::new).collect(), GATHERING)?;
    if load.failed > 0 || load.done != sessions {
        return Err(format!("{} of {sessions} values were stored, {} failed", load.done, load.failed).into());
    }
    let peer = redis.process.resident()?.saturating_sub(empty);
    let peer_used = redis.used_memory()?.saturating_sub(empty_used);

    let a_session = |bytes: u64| vec![as_f64(bytes) / as_f64(sessions)];
    Ok(Section {
        method: format!(
            "{sessions} sessions of 256 bytes, {SESSIONS_A_USER} a user, created over HTTP and all in the memory tier, \
             against redis-server without persistence that was sent SET and ZADD for each, under names as long as our \
             tokens. Growth of `VmRSS`, so allocator, tables and the page cache of the embedded store count. A size \
             needs no rounds."
        ),
        rows: vec![
            Row::new("resident bytes a session", Unit::Bytes, Bar::AtMost(1.0), a_session(peer), a_session(ours)),
            Row::new("Redis's own count (`used_memory`)", Unit::Bytes, Bar::None, a_session(peer_used), Vec::new()),
        ],
    })
}
