//! E15: a stop under load. Every request that got through is answered, and everything is saved.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use sessgate::doors::serve::ServeLimits;

use super::load::{Step, Verified, Worker, create, text};
use super::{sized, until};
use crate::support::client;
use crate::support::http::Stage;
use crate::support::seed::Random;
use crate::support::sidecar::Place;

const CONFIG: &str = "
limits: { stored_bytes: null, creation_per_ip: null, per_user: { sessions: 8 } }
log: { level: info }
";

/// Connections that are never idle.
const BUSY: u64 = 6;
/// Connections that think between two requests, for less than a draining connection lingers.
const THINKING: u64 = 4;
const THINK: Duration = Duration::from_millis(150);

#[test]
fn a_stop_under_load_fails_no_request_and_loses_nothing() {
    let mut random = Random::from_env();
    let rounds = sized(2, 40);
    let place = Place::new(CONFIG);
    let mut workers: Vec<Worker> =
        (0..BUSY + THINKING).map(|n| Worker::new(&format!("w{n}"), 4, random.fork())).collect();
    let (mut verified, mut slowest, mut acknowledged) = (Verified::default(), Duration::ZERO, 0);
    for _ in 0..rounds {
        let round = stop_under_load(&place, &mut workers, 200 + random.below(800));
        slowest = slowest.max(round.took);
        acknowledged += round.acknowledged;

        let sidecar = place.start();
        let mut client = sidecar.client();
        for worker in &mut workers {
            verified.add(&worker.verify(&mut client, false));
        }
        client.request("GET", "/v1/session", Some(&round.upload), "").expect(200);
        sidecar.stop();
    }
    println!(
        "E15 seed={} stops={rounds} acknowledged={acknowledged} failed=0 verified={} lost={} lost_updates={} \
         lost_activity={} undead={} slowest_stop={slowest:.2?}",
        random.seed(),
        verified.sessions,
        verified.lost,
        verified.lost_updates,
        verified.lost_activity,
        verified.undead
    );
    let Verified { lost, lost_updates, lost_activity, undead, .. } = verified;
    assert_eq!((lost, lost_updates, lost_activity, undead), (0, 0, 0, 0), "everything is saved");
    assert!(slowest < ServeLimits::default().drain_deadline, "{slowest:?}");
}

struct Round {
    took: Duration,
    acknowledged: u64,
    /// The token of a session whose update was half sent when the signal came.
    upload: String,
}

fn stop_under_load(place: &Place, workers: &mut [Worker], changes: u64) -> Round {
    let sidecar = place.start();
    let acknowledged = AtomicU64::new(0);
    let told = AtomicBool::new(false);
    let ready = Barrier::new(workers.len() + 1);
    let upload = text(&create(&mut sidecar.client(), &serde_json::json!({ "user": "upload" })), "token");
    let mut half_sent = client::Client::connect(sidecar.api()).unwrap();
    let body = br#"{"data":{"half":1,"whole":2}}"#;
    let authorization = format!("Bearer {upload}");
    let request = client::request("PUT", "/v1/session", &[("authorization", &authorization)], body);

    let (api, log) = (sidecar.api().clone(), sidecar.log().clone());
    let took = thread::scope(|scope| {
        for (n, worker) in (0..).zip(workers.iter_mut()) {
            let (api, acknowledged, told, ready) = (&api, &acknowledged, &told, &ready);
            scope.spawn(move || {
                let mut client = crate::support::http::Client::new(api);
                ready.wait();
                loop {
                    if let Step::Lost(lost) = worker.step(&mut client, acknowledged) {
                        assert!(told.load(Ordering::SeqCst), "lost before the signal: {lost}");
                        // A thread that gets no processor thinks for longer than it meant to.
                        let too_late = lost.unused + THINK > ServeLimits::default().drain_linger;
                        assert!(lost.stage == Stage::Connect || too_late, "a request was not answered: {lost}");
                        return;
                    }
                    if n >= BUSY {
                        thread::park_timeout(THINK);
                    }
                }
            });
        }
        ready.wait();
        until(Duration::from_secs(60), "enough load", || {
            (acknowledged.load(Ordering::Relaxed) >= changes).then_some(())
        });
        half_sent.send(&request[..request.len() - 10]).unwrap();
        told.store(true, Ordering::SeqCst);
        sidecar.signal("TERM");
        log.wait_for(Duration::from_secs(10), |line| line.contains("stopping")).expect("it stops");
        half_sent.send(&request[request.len() - 10..]).unwrap();
        assert_eq!(half_sent.reply("PUT").expect("an answer").status, 200);
        let (code, took) = sidecar.wait(Duration::from_secs(30));
        assert_eq!(code, Some(0), "{}", log.text());
        took
    });
    Round { took, acknowledged: acknowledged.into_inner(), upload }
}
