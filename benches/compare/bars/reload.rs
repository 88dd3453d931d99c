//! P8: what a reload does to those who are being served.

use std::cell::Cell;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::{CONNECTIONS, Crowd, Lab};
use crate::Result;
use crate::exchanges::LookUpSessions;
use crate::load;
use crate::measure::{alternate, as_f64};
use crate::report::{Bar, Row, Section, Unit};
use crate::servers::{Sidecar, get, replace};

/// Sessions that are looked up. A changed memory limit weighs each of them anew.
const SESSIONS: u64 = 50_000;
/// From one change being in force to the next.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the configuration in force is looked at.
const POLL: Duration = Duration::from_millis(10);
/// A change that is not in force by then never will be.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one window under load came to.
struct Window {
    failed: u64,
    per_second: f64,
    p99: f64,
    /// How long each change took until it was in force, in seconds.
    in_force: Vec<f64>,
}

pub fn measure(lab: &mut Lab) -> Result<Section> {
    let sessions = SESSIONS.min(lab.plan.million);
    let crowd = Crowd::gather(sessions)?;
    let (window, changes) = (lab.plan.window, Cell::new(0));
    let side = |reloads: bool| {
        let load = load::start(crowd.sidecar.api, LookUpSessions::many(&crowd.tokens, CONNECTIONS), window);
        let in_force = if reloads { keep_changing(&crowd.sidecar, &changes, window) } else { Ok(Vec::new()) };
        let (load, _) = load.join().map_err(|_| "the load generator failed")??;
        Ok(Window { failed: load.failed, per_second: load.per_second(), p99: load.p99(), in_force: in_force? })
    };
    let (still, changing) = alternate(lab.plan.rounds, || side(false), || side(true))?;

    let row = |what, unit, bar, pick: fn(&Window) -> f64| {
        Row::new(what, unit, bar, still.iter().map(pick).collect(), changing.iter().map(pick).collect())
    };
    let in_force: Vec<f64> = changing.iter().flat_map(|window| window.in_force.iter().copied()).collect();
    let slowest = in_force.iter().copied().fold(0.0, f64::max);
    let failed = changing.iter().map(|window| window.failed).sum();
    Ok(Section {
        method: format!(
            "The sidecar beside itself: look-ups of {sessions} random sessions on {CONNECTIONS} connections for {} s a \
             round, one event loop, with the configuration left alone (as peer) and with it rewritten {} times, in \
             place and by renaming in turn, each time with another `memory_sessions`, `memory_bytes` and `stale_after`, \
             so that every entry is weighed anew. In force is when `GET /-/config` shows it, looked at every {} ms.",
            window.as_secs(),
            in_force.len(),
            POLL.as_millis(),
        ),
        rows: vec![
            Row::new("failed requests, all rounds", Unit::Count, Bar::Absolute(0.0), Vec::new(), vec![as_f64(failed)]),
            Row::new("in force after, slowest", Unit::Seconds, Bar::Absolute(1.0), Vec::new(), vec![slowest]),
            Row::new("in force after", Unit::Seconds, Bar::None, Vec::new(), in_force),
            row("p99 latency", Unit::Seconds, Bar::AtMost(1.2), |window| window.p99),
            row("throughput", Unit::PerSecond, Bar::None, |window| window.per_second),
        ],
    })
}

/// Changes the configuration again and again until `window` has passed; `changes` counts on from call to call.
fn keep_changing(sidecar: &Sidecar, changes: &Cell<u64>, window: Duration) -> Result<Vec<f64>> {
    let end = Instant::now() + window;
    let mut in_force = Vec::new();
    while Instant::now() + PAUSE < end {
        thread::sleep(PAUSE);
        let change = changes.replace(changes.get() + 1);
        in_force.push(change_once(sidecar, change)?.as_secs_f64());
    }
    Ok(in_force)
}

/// Rewrites the configuration and returns how long it took to be in force.
fn change_once(sidecar: &Sidecar, change: u64) -> Result<Duration> {
    let sessions = 100_000 + change;
    let text = sidecar.config_text(&format!(
        "lifetimes: {{ stale_after: {}s }}\nlimits:\n  memory_sessions: {sessions}\n  memory_bytes: {}MiB\n  \
         stored_bytes: null\n  creation_per_ip: null\n  per_user: {{ sessions: null }}\nlog: {{ level: warn }}\n",
        1_500 + change % 60,
        512 + change % 64,
    ));
    let written = Instant::now();
    if change % 2 == 0 {
        fs::write(sidecar.config(), text)?;
    } else {
        replace(&sidecar.config(), &text)?;
    }
    let sign = format!("memory_sessions: {sessions}\n");
    while !get(sidecar.admin, "/-/config")?.contains(&sign) {
        if written.elapsed() > PATIENCE {
            return Err(format!("a change is not in force after {} s", PATIENCE.as_secs()).into());
        }
        thread::sleep(POLL);
    }
    Ok(written.elapsed())
}
