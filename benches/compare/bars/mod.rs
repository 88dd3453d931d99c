//! The comparisons, one module each.

use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::exchanges::{CreateSessions, Users};
use crate::load;
use crate::machine::{NGINX, Program, REDIS, REDIS_BENCHMARK, VALKEY, WRK};
use crate::measure::{Plan, Sample};
use crate::process::Process;
use crate::report::Section;
use crate::servers::Sidecar;

mod creation;
mod growth;
mod in_process;
mod look_up;
mod redis_door;
mod reload;
mod resident;

/// A performance bar, or several of one subject.
pub struct Comparison {
    /// What it is called in the design.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What has to be installed.
    pub programs: &'static [Program],
    /// Measures it.
    pub measure: fn(&mut Lab) -> Result<Section>,
}

/// Every comparison, in the order in which they run.
pub const ALL: [Comparison; 9] = [
    Comparison {
        id: "P1",
        title: "a look-up over HTTP, from memory",
        programs: &[NGINX, WRK],
        measure: look_up::measure,
    },
    Comparison {
        id: "P2",
        title: "a look-up through the Redis door, from memory",
        programs: &[REDIS, VALKEY, REDIS_BENCHMARK],
        measure: redis_door::look_ups,
    },
    Comparison {
        id: "P2-visits",
        title: "connect, AUTH, GET and close",
        programs: &[REDIS, VALKEY],
        measure: redis_door::log_ins,
    },
    Comparison { id: "P5", title: "durable creations", programs: &[REDIS], measure: creation::measure },
    Comparison { id: "P6", title: "memory a session", programs: &[REDIS], measure: resident::measure },
    Comparison {
        id: "P6-redis",
        title: "memory a session, through the Redis door",
        programs: &[REDIS, VALKEY],
        measure: resident::through_the_redis_door,
    },
    Comparison { id: "P7", title: "growth", programs: &[], measure: growth::measure },
    Comparison { id: "P8", title: "reload under full load", programs: &[], measure: reload::measure },
    Comparison { id: "P9", title: "a look-up in process", programs: &[], measure: in_process::measure },
];

/// Connections of every load.
const CONNECTIONS: u64 = 50;
/// Sessions of each user, where users have several.
pub const SESSIONS_A_USER: u64 = 10;
/// What a million sessions take is loaded by then, or something is wrong.
const GATHERING: Duration = Duration::from_secs(600);

/// A configuration that keeps everything in memory and refuses nothing, so that no limit is measured by accident.
pub const ROOMY: &str = "limits:\n  memory_sessions: 2000000\n  memory_bytes: 8GiB\n  stored_bytes: null\n  \
                     creation_per_ip: null\n  per_user: { sessions: null }\nlog: { level: warn }\n";

/// What the comparisons share.
pub struct Lab {
    /// How much is measured.
    pub plan: Plan,
    million: Option<Crowd>,
}

impl Lab {
    pub fn new(plan: Plan) -> Self {
        Self { plan, million: None }
    }

    /// A sidecar with a million sessions in memory. It takes minutes to gather them, so it is done once.
    fn million(&mut self) -> Result<&Crowd> {
        let crowd = match self.million.take() {
            Some(crowd) => crowd,
            None => Crowd::gather(self.plan.million)?,
        };
        Ok(self.million.insert(crowd))
    }
}

/// A sidecar with sessions in memory.
struct Crowd {
    sidecar: Sidecar,
    /// The token of each session.
    tokens: Arc<[String]>,
    /// Resident bytes before the first session.
    empty: u64,
}

impl Crowd {
    /// Starts a sidecar and creates `sessions` in it, ten a user.
    fn gather(sessions: u64) -> Result<Self> {
        println!("  creating {sessions} sessions");
        let sidecar = Sidecar::start(1, ROOMY)?;
        let empty = sidecar.process.resident()?;
        let users = Users::share(0..sessions / SESSIONS_A_USER, SESSIONS_A_USER, LOADERS);
        let exchanges = users.into_iter().map(CreateSessions::new).collect();
        let (load, exchanges) = load::run(sidecar.api, exchanges, GATHERING)?;
        let tokens: Arc<[String]> = exchanges.into_iter().flat_map(|exchange| exchange.tokens).collect();
        println!("  {} created, {:.0} a second", tokens.len(), load.per_second());
        if load.failed > 0 || tokens.len() as u64 != sessions {
            return Err(format!("{} of {sessions} sessions were created, {} failed", tokens.len(), load.failed).into());
        }
        Ok(Self { sidecar, tokens, empty })
    }
}

/// Connections that fill a server: many, so that many creations share a commit.
const LOADERS: u64 = 500;

/// Runs a load and counts what it costs the server.
fn sample(process: &Process, load: impl FnOnce() -> Result<load::Load>) -> Result<Sample> {
    let before = process.cpu()?;
    let load = load()?;
    Sample::of(&load, process.cpu()? - before)
}
