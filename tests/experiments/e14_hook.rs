//! E14: the app's endpoint is down, then the sidecar is killed, then the endpoint is up: every end is told at least
//! once, truly signed. Meanwhile neither a dead nor a hanging endpoint is felt by anybody else.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use sessgate::store::MAX_NOTICES;

use super::load::{create, text};
use super::receiver::{Mode, Receiver};
use super::{p99, sized, until};
use crate::support::http::Client;
use crate::support::seed::Random;
use crate::support::sidecar::{Place, Sidecar};

const SECRET: &[u8] = b"the secret of this experiment";
const QUEUE: &str = "sessgate_hook_queue_length";
const SWEPT: &str = r#"sessgate_session_evictions_total{tier="storage",reason="idle"}"#;

#[test]
fn an_endpoint_that_is_down_or_hangs_is_told_everything_later_and_felt_by_nobody() {
    let mut random = Random::from_env();
    let mut receiver = Receiver::down(SECRET);
    let place = Place::new("");
    fs::write(place.path().join("secret"), SECRET).unwrap();
    place.write_config(&format!(
        "
lifetimes: {{ stale_after: 20s, sweep_interval: 200ms }}
limits: {{ stored_bytes: null, creation_per_ip: null, per_user: {{ sessions: null }} }}
hooks: {{ session_closed: {{ url: '{}', secret_file: secret, timeout: 1s }} }}
",
        receiver.url()
    ));
    let sidecar = place.start();
    let mut ended = Vec::new();

    let looks = sized(4_000, 100_000);
    let bystander = text(&create(&mut sidecar.client(), &json!({ "user": "bystander" })), "token");
    let before = look_up(&sidecar, &bystander, looks);

    // Down: connections are refused, for as long as it takes to end all these sessions.
    let down_since = Instant::now();
    let down_for = sized(Duration::from_secs(2), Duration::from_secs(90));
    let revoked = 150 + random.below(100);
    let mut slowest_end = Duration::ZERO;
    let mut while_down = Vec::new();
    while down_since.elapsed() < down_for || ended.is_empty() {
        slowest_end = slowest_end.max(end_some(&sidecar, sized(revoked, revoked * 8), &mut ended));
        while_down.push(look_up(&sidecar, &bystander, looks));
        assert!(sidecar.metric(QUEUE) <= MAX_NOTICES as f64, "the queue is bounded");
    }
    let (_, _) = until(Duration::from_secs(5), "the queue is shown", || {
        (sidecar.metric(QUEUE) >= ended.len() as f64).then_some(())
    });
    let queued = sidecar.metric(QUEUE);

    // Hanging: it takes connections and never answers. Neither revocations nor the sweep wait for it.
    receiver.listen(Mode::Hanging);
    assert!(receiver.wait(Duration::from_secs(30), |received| received.hanging > 0), "it was called");
    let hanging_end = end_some(&sidecar, revoked, &mut ended);
    let swept = sidecar.metric(SWEPT);
    for _ in 0..20 {
        let idle = json!({ "user": "idle", "idle_timeout": "1s" });
        ended.push(text(&create(&mut sidecar.client(), &idle), "id"));
    }
    // One second of idleness, one of grace for activity that is not saved yet, and the sweep's interval.
    let (_, sweep_took) = until(Duration::from_secs(10), "idle sessions are swept while the endpoint hangs", || {
        (sidecar.metric(SWEPT) >= swept + 20.0).then_some(())
    });
    let while_hanging = look_up(&sidecar, &bystander, looks);

    sidecar.kill();
    receiver.listen(Mode::Up);
    let restarted = Instant::now();
    let sidecar = place.start();
    // What had failed often is tried again only at its next turn.
    let patience = sized(Duration::from_secs(60), Duration::from_secs(180));
    let complete = receiver.wait(patience, |received| ended.iter().all(|id| received.sessions.contains_key(id)));
    let told_after = restarted.elapsed();
    until(Duration::from_secs(10), "the queue is empty", || (sidecar.metric(QUEUE) <= 0.0).then_some(()));
    let received = receiver.received();
    let missing = ended.iter().filter(|id| !received.sessions.contains_key(*id)).count();
    let twice = received.sessions.values().filter(|count| **count > 1).count();
    let worst = while_down.iter().copied().max().unwrap_or_default();
    println!(
        "E14 seed={} ended={} missing={missing} twice={twice} faults={} queued={queued} lookup_p99_before={before:.1?} \
         down={worst:.1?} hanging={while_hanging:.1?} slowest_end={slowest_end:.1?} hanging={hanging_end:.1?} \
         swept_after={sweep_took:.1?} told_after={told_after:.1?}",
        random.seed(),
        ended.len(),
        received.faults.len()
    );
    assert!(complete && missing == 0, "{missing} of {} were never told", ended.len());
    assert!(received.faults.is_empty(), "{:?}", received.faults);
    assert_eq!(received.sessions.len(), ended.len(), "nothing was told that did not happen");
    // A commit and its flush, on a busy machine; a call of the endpoint would take its timeout of a second.
    for (what, took) in [("down", slowest_end), ("hanging", hanging_end)] {
        assert!(took < Duration::from_millis(900), "an end took {took:?} while the endpoint was {what}");
    }
    // Far above the noise of two busy cores, far below the endpoint's timeout.
    let bar = before * 3 + Duration::from_millis(5);
    assert!(worst < bar && while_hanging < bar, "look-ups: {before:?}, then {worst:?} and {while_hanging:?}");
}

/// Creates sessions and ends them in every way that a caller can. The slowest end.
fn end_some(sidecar: &Sidecar, count: u64, ended: &mut Vec<String>) -> Duration {
    let mut client = sidecar.client();
    let mut slowest = Duration::ZERO;
    for n in 0..count {
        let created = create(&mut client, &json!({ "user": "leaver" }));
        let (id, token) = (text(&created, "id"), text(&created, "token"));
        let began = Instant::now();
        match n % 3 {
            0 => client.request("DELETE", "/v1/session", Some(&token), "").expect(204),
            1 => client.request("DELETE", &format!("/v1/sessions/{id}"), None, "").expect(204),
            _ => client.request("DELETE", "/v1/users/leaver/sessions", None, "").expect(200),
        };
        slowest = slowest.max(began.elapsed());
        client.request("GET", "/v1/session", Some(&token), "").expect(404);
        ended.push(id);
    }
    slowest
}

/// The 99th percentile of so many look-ups.
fn look_up(sidecar: &Sidecar, token: &str, count: usize) -> Duration {
    let mut client: Client = sidecar.client();
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let began = Instant::now();
            client.request("GET", "/v1/session", Some(token), "").expect(200);
            began.elapsed()
        })
        .collect();
    p99(&mut times)
}
