//! P7: what a look-up and a sweep cost when there are more sessions.

use std::time::{Duration, Instant};

use sessgate::clock::{Clock, ManualClock, SystemClock};
use std::sync::Arc;

use super::{CONNECTIONS, Crowd, Lab, sample};
use crate::Result;
use crate::exchanges::LookUpSessions;
use crate::house::House;
use crate::load;
use crate::measure::{Plan, Samples, alternate};
use crate::process::own_cpu;
use crate::report::{Bar, Row, Section, Unit, load_rows};

/// The smaller crowds are so many times smaller than the million.
const FEW: u64 = 100;
const SOME: u64 = 10;
/// Sessions that a sweep has to end: one in so many of the million.
const DUE: u64 = 100;

pub fn measure(lab: &mut Lab) -> Result<Section> {
    let mut rows = hits(lab)?;
    rows.extend(sweeps(&lab.plan)?);
    let million = lab.plan.million;
    Ok(Section {
        method: format!(
            "The sidecar beside itself. Look-ups: `GET /v1/session` of random sessions on {CONNECTIONS} connections, \
             among {} (as peer) and among {million}, all in memory, one event loop. Sweeps: {} sessions are due among \
             {} (as peer) and among {million}; the library in process, with the embedded store, on a clock that is \
             moved by hand.",
            million / FEW,
            million / DUE,
            million / SOME,
        ),
        rows,
    })
}

fn hits(lab: &mut Lab) -> Result<Vec<Row>> {
    let (rounds, window) = (lab.plan.rounds, lab.plan.window);
    let few = Crowd::gather(lab.plan.million / FEW)?;
    let million = lab.million()?;
    let side = |crowd: &Crowd| {
        let exchanges = LookUpSessions::many(&crowd.tokens, CONNECTIONS);
        sample(&crowd.sidecar.process, || Ok(load::run(crowd.sidecar.api, exchanges, window)?.0))
    };
    let (peer, ours) = alternate(rounds, || side(&few), || side(million))?;
    Ok(load_rows(&Samples { peer, ours }, [Bar::None, Bar::AtMost(1.5), Bar::None]))
}

/// A sweep's time on the wall and on the processor, in seconds.
struct Sweep {
    wall: f64,
    cpu: f64,
}

fn sweeps(plan: &Plan) -> Result<Vec<Row>> {
    let some = Standing::among(plan.million / SOME)?;
    let many = Standing::among(plan.million)?;
    let due = plan.million / DUE;
    let (peer, ours) = alternate(plan.rounds, || some.sweep(due), || many.sweep(due))?;
    let row = |what, pick: fn(&Sweep) -> f64| {
        let side = |sweeps: &[Sweep]| sweeps.iter().map(pick).collect();
        Row::new(what, Unit::Seconds, Bar::AtMost(1.3), side(&peer), side(&ours))
    };
    Ok(vec![row("a sweep", |sweep| sweep.wall), row("processor time of a sweep", |sweep| sweep.cpu)])
}

/// A gateway with sessions that stay, to sweep others from among them.
struct Standing {
    house: House,
    clock: Arc<ManualClock>,
}

impl Standing {
    fn among(sessions: u64) -> Result<Self> {
        println!("  creating {sessions} sessions in process");
        let clock = Arc::new(ManualClock::at(SystemClock::new().now().at));
        let house = House::open(Arc::clone(&clock) as Arc<dyn Clock>)?;
        house.fill(sessions, None)?;
        Ok(Self { house, clock })
    }

    fn sweep(&self, due: u64) -> Result<Sweep> {
        const IDLE: Duration = Duration::from_secs(600);
        self.house.fill(due, Some(IDLE))?;
        self.clock.advance(2 * IDLE);
        let (started, cpu) = (Instant::now(), own_cpu()?);
        let ended = self.house.sweep();
        let sweep = Sweep { wall: started.elapsed().as_secs_f64(), cpu: (own_cpu()? - cpu).as_secs_f64() };
        if ended == due { Ok(sweep) } else { Err(format!("{ended} sessions ended, {due} were due").into()) }
    }
}
