//! The fast lane beneath hyper answers what hyper would have answered, to the byte, however requests are cut up,
//! strung together or disguised.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::support::client::request;
use crate::support::door::{Options, TestDoor};
use crate::support::gateway::TestGateway;

/// One gateway behind two doors: one with the lane, one without.
struct Pair {
    gateway: TestGateway,
    with: TestDoor,
    without: TestDoor,
    live: String,
    expired: String,
}

impl Pair {
    fn open(key: Option<&'static str>) -> Self {
        let gateway = TestGateway::new();
        let with = TestDoor::with(&gateway, Options { key, ..Options::default() });
        let without = TestDoor::with(&gateway, Options { key, lane: false, ..Options::default() });
        let create = |body: &[u8]| {
            let created = without.call("POST", "/v1/sessions", &[("X-Sessgate-Key", key.unwrap_or("none"))], body);
            format!("Bearer {}", created.json()["token"].as_str().unwrap())
        };
        let live = create(br#"{"user":"o\"\\\u00fc","data":{"cart":[1,2,3]}}"#);
        let expired = create(br#"{"idle_timeout":1}"#);
        gateway.clock.advance(Duration::from_secs(60));
        // From here on a use changes nothing: the clock stands still.
        let headers = [("X-Sessgate-Key", key.unwrap_or("none")), ("Authorization", live.as_str())];
        assert_eq!(without.call("POST", "/v1/session/touch", &headers, b"").status, 204);
        Self { gateway, with, without, live, expired }
    }

    /// What each door says to `bytes`, sent in pieces of these sizes. The last request must end the connection.
    fn answers(&self, bytes: &[u8], sizes: &[usize]) -> [String; 2] {
        [&self.with, &self.without].map(|door| {
            let mut client = door.client();
            let mut rest = bytes;
            for size in sizes.iter().cycle() {
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                // A door that has heard enough may have closed already.
                if piece.is_empty() || client.send(piece).is_err() {
                    break;
                }
                rest = behind;
            }
            without_dates(&client.rest().expect("a plain close"))
        })
    }

    fn close(self) {
        self.with.close();
        self.without.close();
    }
}

/// The two doors look at the time at different moments, and the test's gateway at another clock altogether.
fn without_dates(answers: &[u8]) -> String {
    let answers = String::from_utf8(answers.to_vec()).expect("answers are text");
    let lines = answers.split_inclusive("\r\n");
    lines.map(|line| if line.starts_with("date: ") { "date: -\r\n" } else { line }).collect()
}

/// Requests that the lane answers, if they need no key.
fn quick(live: &str, expired: &str) -> Vec<Vec<u8>> {
    let token = ("Authorization", live);
    let hit = request("GET", "/v1/session", &[token], b"");
    vec![
        hit.clone(),
        request("GET", "/v1/session", &[("Connection", "Keep-Alive"), token, ("Cookie", "a=b")], b""),
        request("GET", "/v1/session", &[token, ("X-Sessgate-Key", "key")], b""),
        request("GET", "/v1/session", &[("Authorization", expired)], b""),
        [b"\r\n".as_slice(), &hit].concat(),
        format!("GET /v1/session HTTP/1.1\nAuthorization: {live}\n\n").into_bytes(),
        format!("GET /v1/session HTTP/1.1\r\nAuthorization:\t{live}  \r\n\r\n").into_bytes(),
    ]
}

/// Requests that it leaves to hyper. They change nothing, so that both doors find the same.
fn slow(live: &str) -> Vec<Vec<u8>> {
    let token = ("Authorization", live);
    let hit = request("GET", "/v1/session", &[token], b"");
    let mut requests = vec![
        request("GET", "/v1/session", &[("AUTHORIZATION", live), ("Expect", "100-continue")], b""),
        request("GET", "/v1/session?touch=false", &[token], b""),
        request("GET", "/v1/session?touch=perhaps", &[token], b""),
        request("GET", "/v1/session", &[("Authorization", "Bearer sg_no")], b""),
        request("GET", "/v1/session", &[], b""),
        request("GET", "/v1/session", &[token, token], b""),
        request("GET", "/v1/session", &[token, ("Content-Length", "0")], b""),
        request("HEAD", "/v1/session", &[token], b""),
        request("OPTIONS", "/v1/session", &[token], b""),
        request("POST", "/v1/session/touch", &[token], b""),
        request("GET", "/nowhere", &[token], b""),
        request("PUT", "/v1/session", &[token, ("If-Match", "\"9\"")], br#"{"data":1}"#),
        // A request as the body of another is a body.
        request("PUT", "/v1/session", &[token, ("If-Match", "\"9\"")], &hit),
        request("GET", "/v1/session", &[token], &hit),
    ];
    let chunked = |fields: &str| {
        let head = format!("PUT /v1/session HTTP/1.1\r\nIf-Match: \"9\"\r\nAuthorization: {live}\r\n{fields}\r\n\r\n");
        let size = format!("{:x}\r\n", hit.len());
        [head.as_bytes(), size.as_bytes(), &hit, b"\r\n0\r\n\r\n"].concat()
    };
    requests.push(chunked("Transfer-Encoding: chunked"));
    requests
}

/// Requests whose framing is ambiguous or broken. Most end the connection.
fn traps(live: &str) -> Vec<Vec<u8>> {
    let hit = String::from_utf8(request("GET", "/v1/session", &[("Authorization", live)], b"")).unwrap();
    let length = hit.len();
    [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hit}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{hit}"),
        format!("Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{hit}"),
        format!("Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n{hit}"),
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{hit}"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hit}"),
        format!("Content-Length: +{length}\r\n\r\n{hit}"),
        format!("Content-Length: 0x10\r\n\r\n{hit}"),
        format!("Content-Length: {length}, {length}\r\n\r\n{hit}"),
        format!("Content-Length:\r\n\r\n{hit}"),
        format!("Content-Length: 99999999999999999999\r\n\r\n{hit}"),
        format!("Content-Length : {length}\r\n\r\n{hit}"),
        format!("Content-Length: 0{length}\r\n\r\n{hit}"),
        format!("Connection: upgrade\r\nUpgrade: h2c\r\n\r\n{hit}"),
        format!("Connection: keep-alive, close\r\n\r\n{hit}"),
        format!("Connection: close\r\nConnection: keep-alive\r\n\r\n{hit}"),
        format!("Transfer-Encoding: chunked\r\n\r\n5\r\nab\r\n0\r\n\r\n{hit}"),
        format!("X: y\r\n\tfolded\r\n\r\n{hit}"),
    ]
    .into_iter()
    .map(|fields| {
        format!("PUT /v1/session HTTP/1.1\r\nIf-Match: \"9\"\r\nAuthorization: {live}\r\n{fields}").into_bytes()
    })
    .collect()
}

fn last(live: &str) -> Vec<u8> {
    request("GET", "/v1/session", &[("Authorization", live), ("Connection", "close")], b"")
}

#[test]
fn every_kind_of_request_is_answered_alike() {
    for key in [None, Some("key")] {
        let pair = Pair::open(key);
        for kind in [quick(&pair.live, &pair.expired), slow(&pair.live)].concat() {
            let bytes = [kind.as_slice(), &last(&pair.live)].concat();
            let [with, without] = pair.answers(&bytes, &[bytes.len()]);
            assert_eq!(with, without, "{}", String::from_utf8_lossy(&kind));
            assert!(with.matches("HTTP/1.1 ").count() == 2, "{with}");
        }
        pair.close();
    }
}

#[test]
fn a_hit_never_reaches_hyper_and_everything_else_does() {
    let pair = Pair::open(None);
    let quick = quick(&pair.live, &pair.expired);
    let mut client = pair.with.client();
    // Before, between and behind messages of every kind, until one comes that has no plain length.
    for message in slow(&pair.live) {
        for hit in &quick {
            client.send(&[hit.as_slice(), hit].concat()).unwrap();
            let statuses = [client.reply("GET").unwrap().status, client.reply("GET").unwrap().status];
            assert!(statuses == [200, 200] || statuses == [404, 404], "{statuses:?}");
        }
        assert_eq!(pair.with.through_hyper.swap(0, Ordering::Relaxed), 0);
        client.send(&message).unwrap();
        client.reply(if message.starts_with(b"HEAD") { "HEAD" } else { "GET" }).unwrap();
        let through_hyper = pair.with.through_hyper.swap(0, Ordering::Relaxed);
        assert_eq!(through_hyper, 1, "{}", String::from_utf8_lossy(&message));
    }
    for hit in &quick {
        client.send(hit).unwrap();
        client.reply("GET").unwrap();
    }
    let through_hyper = pair.with.through_hyper.load(Ordering::Relaxed);
    assert_eq!(through_hyper, quick.len() as u64, "a connection that was opaque once stays so");
    drop(client);
    pair.close();
}

#[test]
fn ambiguous_framing_smuggles_nothing() {
    let pair = Pair::open(None);
    for trap in traps(&pair.live) {
        for before in [Vec::new(), quick(&pair.live, &pair.expired)[0].clone()] {
            let bytes = [before.as_slice(), &trap, &last(&pair.live)].concat();
            for sizes in [[bytes.len()], [1], [7]] {
                let [with, without] = pair.answers(&bytes, &sizes);
                assert_eq!(with, without, "{}", String::from_utf8_lossy(&trap));
            }
        }
    }
    pair.close();
}

#[test]
fn the_body_of_a_request_that_was_refused_early_is_still_a_body() {
    let pair = Pair::open(None);
    let hit = request("GET", "/v1/session", &[("Authorization", &pair.live)], b"");
    let length = hit.len().to_string();
    for door in [&pair.with, &pair.without] {
        let mut client = door.client();
        let refused = [("Authorization", "Bearer sg_no"), ("Content-Length", length.as_str())];
        client.send(&request("PUT", "/v1/session", &refused, b"")).unwrap();
        assert_eq!(client.reply("PUT").unwrap().status, 404);
        // The door may be closing by now.
        let _ = client.send(&hit);
        assert!(client.rest().is_ok_and(|rest| rest.is_empty()), "nothing may answer it");
    }
    pair.close();
}

#[test]
fn any_string_of_requests_in_any_pieces_is_answered_alike_and_in_order() {
    let pair = Pair::open(None);
    // As many quick ones as slow ones, so that they come in runs.
    let kind = prop_oneof![select(quick(&pair.live, &pair.expired)), select(slow(&pair.live))];
    let trap = prop_oneof![4 => Just(Vec::new()), 1 => select(traps(&pair.live))];
    let sizes = prop::collection::vec(prop_oneof![1_usize..40, 1_usize..2_000], 1..20);
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(prop::collection::vec(kind, 0..30), trap, sizes), |(requests, trap, sizes)| {
            let bytes = [requests.concat(), trap, last(&pair.live)].concat();
            let [with, without] = pair.answers(&bytes, &sizes);
            prop_assert_eq!(with, without, "to {} in pieces of {:?}", String::from_utf8_lossy(&bytes), sizes);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    pair.close();
}

#[test]
fn requests_sent_all_at_once_are_answered_in_order_though_the_client_reads_late() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    // Far more than the sockets hold, so that answers have to wait.
    let data = "x".repeat(60_000);
    let tokens: Vec<_> = (0..10)
        .map(|n| {
            let body = format!("{{\"data\":[{n},\"{data}\"]}}");
            let created = door.call("POST", "/v1/sessions", &[], body.as_bytes()).json();
            format!("Bearer {}", created["token"].as_str().unwrap())
        })
        .collect();
    let mut client = door.client();
    let order: Vec<_> = (0..400).map(|n| (n * 7 + n / 10) % 10).collect();
    let all: Vec<_> = order
        .iter()
        .flat_map(|n| request("GET", "/v1/session", &[("Authorization", tokens[*n].as_str())], b""))
        .collect();
    client.send(&all).unwrap();
    for n in order {
        assert_eq!(client.reply("GET").unwrap().json()["data"][0], n);
    }
    door.close();
}

#[test]
fn what_is_not_in_memory_is_fetched_and_then_answered_alike() {
    let pair = Pair::open(None);
    let hit = request("GET", "/v1/session", &[("Authorization", &pair.live)], b"");
    let bytes = [hit.repeat(5), last(&pair.live)].concat();
    let [before, _] = pair.answers(&bytes, &[bytes.len()]);
    pair.gateway.forget();
    let [with, _] = pair.answers(&bytes, &[bytes.len()]);
    pair.gateway.forget();
    let [_, without] = pair.answers(&bytes, &[bytes.len()]);
    assert_eq!((&with, &without), (&before, &before));
    pair.close();
}
