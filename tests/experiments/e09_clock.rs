//! E9: the clock of the machine jumps by an hour, either way, and the process is suspended. No mass expiry, and no
//! session that lives on.
//!
//! The program runs under `libfaketime`, which lets its wall clock, and that alone, be set by a file. A machine that
//! was asleep shows a process the same picture as a clock that was set forward: the wall clock is ahead, and the
//! monotonic clock has stood still. A process that was stopped sees both clocks ahead.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use sessgate::clock::MAX_SLEW;

use super::load::{create, text};
use super::{sized, until};
use crate::support::http::Client;
use crate::support::seed::Random;
use crate::support::sidecar::{Place, Sidecar};

/// A jump of an hour that is taken at face value would end all sessions.
const CONFIG: &str = "
lifetimes: { idle_timeout: 30m, stale_after: 20s, sweep_interval: 200ms }
limits: { stored_bytes: null, creation_per_ip: null, per_user: { sessions: null } }
";

/// The clock's promise beside its slew: it is steered once a second, and requests take their time on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

/// A program whose wall clock is wrong by what a file says.
struct FakeTime {
    place: Place,
    file: PathBuf,
}

impl FakeTime {
    fn new() -> Self {
        let mut place = Place::new(CONFIG);
        let file = place.path().join("clock");
        let library = fs::read_dir("/usr/lib")
            .unwrap()
            .map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists())
            .expect("libfaketime is installed: see scripts/setup");
        place.set_env("LD_PRELOAD", library.to_str().unwrap());
        place.set_env("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap());
        place.set_env("FAKETIME_NO_CACHE", "1");
        place.set_env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let faked = Self { place, file };
        faked.set(0);
        faked
    }

    /// Sets the wall clock so many seconds ahead of the true time.
    fn set(&self, seconds: i64) {
        let beside = self.file.with_extension("new");
        fs::write(&beside, format!("{seconds:+}\n")).unwrap();
        fs::rename(beside, &self.file).unwrap();
    }
}

#[test]
fn a_clock_that_jumps_an_hour_ends_no_session_and_keeps_none() {
    let mut random = Random::from_env();
    let clock = FakeTime::new();
    let sidecar = clock.place.start();
    let mut client = sidecar.client();
    let lasting: Vec<String> = (0..sized(200, 5_000)).map(|_| new_session(&mut client, "30m").1).collect();
    let timeout = sized(Duration::from_secs(3), Duration::from_secs(20));
    let (mut earliest, mut latest) = (f64::MAX, 0.0_f64);
    let jumps = sized(2, 10);
    let mut ahead = random.below(2) == 0;
    for jump in 0..jumps {
        let (_, short) = new_session(&mut client, &format!("{}s", timeout.as_secs()));
        let began = Instant::now();
        clock.set(if ahead { 3_600 } else { -3_600 });
        ahead = !ahead;
        for token in &lasting {
            peek(&mut client, token).expect(200);
        }
        assert_eq!(sidecar.metric(r#"sessgate_session_evictions_total{tier="storage",reason="idle"}"#) as i64, jump);
        let slew = timeout / u32::try_from(MAX_SLEW).unwrap();
        until(timeout + slew + SLACK, "a short session ends after the jump", || {
            (peek(&mut client, &short).status == 404).then_some(())
        });
        let lived = began.elapsed();
        assert!(lived + SLACK >= timeout - slew, "it has ended after {lived:?}, its timeout being {timeout:?}");
        let ratio = lived.as_secs_f64() / timeout.as_secs_f64();
        (earliest, latest) = (earliest.min(ratio), latest.max(ratio));
        // Ended for good: the sweep agrees, whatever the wall clock says.
        until(Duration::from_secs(10), "the sweep removes it", || {
            let stored = client.get("/v1/stats").json()["sessions"]["storage"].as_u64();
            (stored == Some(lasting.len() as u64)).then_some(())
        });
    }
    println!(
        "E9 seed={} jumps={jumps} sessions={} lost=0 short_lived={earliest:.2}..{latest:.2} of their timeout",
        random.seed(),
        lasting.len()
    );
    assert!(latest > 1.03, "the clock did jump: its slew is seen");
    sidecar.stop();
}

#[test]
fn what_a_clock_that_was_ahead_has_stored_ends_in_time_after_a_restart() {
    let clock = FakeTime::new();
    clock.set(3_600);
    let sidecar = clock.place.start();
    let mut client = sidecar.client();
    let created = create(&mut client, &json!({ "user": "traveller", "idle_timeout": "30m" }));
    let (first, lasting) = (text(&created, "created_at"), text(&created, "token"));
    let (_, short) = new_session(&mut client, "4s");
    drop(client);
    sidecar.stop();

    clock.set(0);
    let sidecar = clock.place.start();
    let began = Instant::now();
    let mut client = sidecar.client();
    let found = peek(&mut client, &lasting).expect(200).json();
    // Times of one form and one zone compare as texts do.
    assert!(first > text(&found, "created_at"), "the clock was ahead, and what it said has been corrected");
    let fresh = create(&mut client, &json!({ "user": "new", "idle_timeout": "31m" }));
    assert!(text(&found, "expires_at") < text(&fresh, "expires_at"), "{found} outlives its timeout");
    peek(&mut client, &short).expect(200);
    let (_, took) = until(Duration::from_secs(4) + SLACK, "the short session ends", || {
        (peek(&mut client, &short).status == 404).then_some(())
    });
    peek(&mut client, &lasting).expect(200);
    println!("E9 restart after a clock an hour ahead: a session of 4 s has ended {:.1?} after it", began.elapsed().max(took));
    sidecar.stop();
}

#[test]
fn a_suspended_process_ends_what_was_due_and_nothing_else() {
    let place = Place::new(CONFIG);
    let sidecar = place.start();
    let mut client = sidecar.client();
    let pause = sized(Duration::from_secs(3), Duration::from_secs(30));
    let due: Vec<String> = (0..50).map(|_| new_session(&mut client, &format!("{}s", pause.as_secs() - 1)).1).collect();
    let lasting: Vec<String> =
        (0..50).map(|_| new_session(&mut client, &format!("{}s", pause.as_secs() + 60)).1).collect();
    sidecar.signal("STOP");
    // Time itself is what this is about.
    thread::sleep(pause);
    sidecar.signal("CONT");
    let began = Instant::now();
    for token in &due {
        assert_eq!(peek(&mut client, token).status, 404, "checked on every read, not left to the sweep");
    }
    for token in &lasting {
        peek(&mut client, token).expect(200);
    }
    new_session(&mut client, "30m");
    sidecar.admin_client().get("/readyz").expect(200);
    let caught_up = began.elapsed();
    swept(&sidecar, &mut client, lasting.len() as u64 + 1);
    println!("E9 suspended for {pause:?}: {} ended, {} live, all right after {caught_up:.1?}", due.len(), lasting.len());
    sidecar.stop();
}

/// Waits until so many sessions are stored.
fn swept(sidecar: &Sidecar, client: &mut Client, left: u64) {
    until(Duration::from_secs(10), "the sweep has caught up", || {
        (client.get("/v1/stats").json()["sessions"]["storage"] == left).then_some(())
    });
    assert!(sidecar.metric(r#"sessgate_sweep_runs_total{result="error"}"#) <= 0.0);
}

/// The id and the token of a new session.
fn new_session(client: &mut Client, idle_timeout: &str) -> (String, String) {
    let created = create(client, &json!({ "user": "traveller", "idle_timeout": idle_timeout }));
    (text(&created, "id"), text(&created, "token"))
}

fn peek(client: &mut Client, token: &str) -> crate::support::client::Reply {
    client.request("GET", "/v1/session?touch=false", Some(token), "")
}
