//! E8: the disk is full. Reads and revocations go on, creations are refused with 507, and go on by themselves when
//! there is room again; a kill in the middle changes nothing of that.

use std::fs::{self, File};
use std::time::Duration;

use serde_json::{Value, json};

use super::load::{create, text};
use super::{sized, until};
use crate::support::disk::{SmallDisk, fill_with_foreign};
use crate::support::http::Client;
use crate::support::seed::Random;
use crate::support::sidecar::{Place, Sidecar};

/// Few sessions fit in memory, so that most reads go to the full disk.
const CONFIG: &str = "
limits: { stored_bytes: null, memory_sessions: 16, creation_per_ip: null, per_user: { sessions: null } }
log: { level: info }
";

const MEBIBYTES: u64 = 64;
/// Bytes of a session's data.
const DATA: usize = 24 * 1024;
const SMALL: &str = r#"{"user":"late"}"#;
/// How soon creation resumes: room is looked for once a second.
const RESUMED: Duration = Duration::from_secs(10);

#[test]
fn a_full_disk_refuses_newcomers_only_and_recovers_by_itself() {
    let mut random = Random::from_env();
    let disk = SmallDisk::mount(MEBIBYTES);
    let place = Place::with_store(CONFIG, &disk.path().join("store"));
    let mut sidecar = place.start();
    let (mut revoked, mut tokens) = (Vec::new(), Vec::new());
    let (cycles, mut slowest, mut filled) = (sized(2, 12), Duration::ZERO, 0);
    for _ in 0..400 {
        tokens.push(text(&create(&mut sidecar.client(), &session()), "token"));
    }
    for _ in 0..cycles {
        // Somebody else's file takes all that is left, and then we fill what is ours.
        let foreign = disk.path().join("foreign");
        fill_with_foreign(&mut File::create(&foreign).unwrap());
        filled += fill(&sidecar, &mut tokens);
        use_a_full_disk(&sidecar, &mut tokens, &mut revoked, &mut random);
        if random.below(2) == 1 {
            sidecar.kill();
            sidecar = place.start();
            use_a_full_disk(&sidecar, &mut tokens, &mut revoked, &mut random);
        }
        fs::remove_file(foreign).unwrap();
        let mut client = sidecar.client();
        let (created, took) = until(RESUMED, "creation resumes", || {
            let reply = client.request("POST", "/v1/sessions", None, SMALL);
            assert!(matches!(reply.status, 201 | 507), "{}", reply.text());
            (reply.status == 201).then(|| reply.json())
        });
        slowest = slowest.max(took);
        tokens.push(text(&created, "token"));
        // Half of it goes, so that the next cycle has something to fill.
        for token in tokens.split_off(tokens.len() / 2) {
            revoke(&mut client, &token);
            revoked.push(token);
        }
        verify(&mut client, &tokens, &revoked);
    }
    sidecar.stop();
    let sidecar = place.start();
    verify(&mut sidecar.client(), &tokens, &revoked);
    assert_eq!(sidecar.client().get("/v1/stats").json()["sessions"]["storage"], tokens.len(), "nothing else is there");
    println!(
        "E8 seed={} cycles={cycles} created={filled} revoked={} lost=0 undead=0 slowest_resumption={slowest:.2?}",
        random.seed(),
        revoked.len()
    );
}

fn session() -> Value {
    json!({ "user": "filler", "data": "x".repeat(DATA) })
}

/// Creates sessions until one is refused. How many.
fn fill(sidecar: &Sidecar, tokens: &mut Vec<String>) -> usize {
    let body = session().to_string();
    let (mut client, before) = (sidecar.client(), tokens.len());
    loop {
        let reply = client.request("POST", "/v1/sessions", None, &body);
        if reply.status == 507 {
            assert_eq!(reply.code(), "storage_full");
            return tokens.len() - before;
        }
        tokens.push(text(&reply.expect(201).json(), "token"));
    }
}

fn use_a_full_disk(sidecar: &Sidecar, tokens: &mut Vec<String>, revoked: &mut Vec<String>, random: &mut Random) {
    let mut client = sidecar.client();
    assert_eq!(client.request("POST", "/v1/sessions", None, SMALL).code(), "storage_full", "the smallest is refused");
    assert_eq!(sidecar.admin_client().get("/readyz").expect(200).text(), "ready\n");
    for _ in 0..200 {
        let token = random.pick(tokens).clone();
        client.request("GET", "/v1/session", Some(&token), "").expect(200);
        client.request("POST", "/v1/session/touch", Some(&token), "").expect(204);
    }
    let token = random.pick(tokens).clone();
    let larger = json!({ "data": "y".repeat(DATA + 100) }).to_string();
    assert_eq!(client.request("PUT", "/v1/session", Some(&token), &larger).code(), "storage_full", "nothing may grow");
    let smaller = json!({ "data": "z".repeat(DATA - 100) }).to_string();
    client.request("PUT", "/v1/session", Some(&token), &smaller).expect(200);
    for _ in 0..tokens.len() / 4 {
        let at = usize::try_from(random.below(tokens.len() as u64)).expect("an index");
        let token = tokens.swap_remove(at);
        revoke(&mut client, &token);
        revoked.push(token);
    }
    verify(&mut client, tokens, revoked);
    assert!(sidecar.metric(r#"sessgate_session_creations_total{outcome="storage_full"}"#) >= 1.0);
    assert!(sidecar.metric(r#"sessgate_store_up{store="embedded"}"#) >= 1.0, "a full disk is not a broken one");
}

fn revoke(client: &mut Client, token: &str) {
    client.request("DELETE", "/v1/session", Some(token), "").expect(204);
}

fn verify(client: &mut Client, alive: &[String], revoked: &[String]) {
    for (tokens, status) in [(alive, 200), (revoked, 404)] {
        for token in tokens {
            client.request("GET", "/v1/session?touch=false", Some(token), "").expect(status);
        }
    }
}
