//! Connections: time limits, numbers, Unix sockets, taken addresses, draining.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use sessgate::config::settings::Address;
use sessgate::doors::serve::{BindError, ServeLimits, bind};
use sessgate::metrics::labels::RequestOutcome;

use crate::support::client::{Client, request};
use crate::support::door::{Options, TestDoor};
use crate::support::gateway::TestGateway;

const SHORT: Duration = Duration::from_millis(80);
const LONG: Duration = Duration::from_secs(60);

fn with_limits(gateway: &TestGateway, change: impl FnOnce(&mut ServeLimits)) -> TestDoor {
    let mut limits = ServeLimits { drain_linger: SHORT, ..ServeLimits::default() };
    change(&mut limits);
    TestDoor::with(gateway, Options { limits, ..Options::default() })
}

fn token(door: &TestDoor) -> String {
    let created = door.call("POST", "/v1/sessions", &[], b"{}").json();
    format!("Bearer {}", created["token"].as_str().unwrap())
}

/// Waits until so many connections are open. Their end is seen by nobody but the gauge.
fn await_connections(gateway: &TestGateway, count: i64) {
    let begin = Instant::now();
    while gateway.connections() != count {
        assert!(begin.elapsed() < LONG, "{} connections, waiting for {count}", gateway.connections());
        thread::yield_now();
    }
}

#[test]
fn a_head_must_arrive_in_time_even_drop_by_drop() {
    let gateway = TestGateway::new();
    let door = with_limits(&gateway, |limits| limits.head_read = SHORT);
    let begin = Instant::now();
    let mut silent = door.client();
    silent.send(b"GET /v1/session HTTP/1.1\r\nHost:").unwrap();
    assert!(silent.rest().unwrap().is_empty(), "half a head gets no answer");
    assert!(begin.elapsed() >= SHORT);

    let mut dripping = door.client();
    dripping.send(b"GET /v1/session HTTP/1.1\r\n").unwrap();
    let mut drops = 0;
    while !dripping.is_closed_within(Duration::from_millis(5)) {
        if dripping.send(b"a: b\r\n").is_err() {
            break;
        }
        drops += 1;
        assert!(drops < 2_000, "each line must not buy more time");
    }
    door.close();
}

#[test]
fn a_second_head_is_timed_as_well_behind_any_kind_of_message() {
    let gateway = TestGateway::new();
    let door = with_limits(&gateway, |limits| limits.head_read = SHORT);
    let token = token(&door);
    let chunked = b"POST /v1/sessions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec();
    let fast = request("GET", "/v1/session", &[("Authorization", &token)], b"");
    let slow = request("POST", "/v1/sessions", &[], b"{}");
    for first in [fast, slow, chunked] {
        let mut client = door.client();
        client.send(&first).unwrap();
        assert!(client.reply("GET").unwrap().status < 300);
        client.send(b"GET /v1").unwrap();
        assert!(client.rest().unwrap().is_empty());
    }
    door.close();
}

#[test]
fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let gateway = TestGateway::new();
    // Far longer than this thread is ever kept from its next request.
    let limit = SHORT * 8;
    let door = with_limits(&gateway, |limits| limits.idle = limit);
    let token = token(&door);
    let (mut idle, mut in_use) = (door.client(), door.client());
    let begin = Instant::now();
    let mut closed = false;
    while !closed || begin.elapsed() < limit * 2 {
        closed |= idle.is_closed_within(Duration::from_millis(5));
        assert_eq!(in_use.call("GET", "/v1/session", &[("Authorization", &token)], b"").status, 200);
        assert!(begin.elapsed() < LONG, "it is still open");
    }
    door.close();
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    for lane in [true, false] {
        let gateway = TestGateway::new();
        let limits = ServeLimits { write_stall: SHORT, drain_linger: SHORT, ..ServeLimits::default() };
        let door = TestDoor::with(&gateway, Options { limits, lane, ..Options::default() });
        let data = format!("{{\"data\":\"{}\"}}", "x".repeat(60_000));
        let created = door.call("POST", "/v1/sessions", &[], data.as_bytes()).json();
        let token = format!("Bearer {}", created["token"].as_str().unwrap());
        let many = request("GET", "/v1/session", &[("Authorization", &token)], b"").repeat(1_000);
        let mut client = door.client();
        while client.send(&many).is_ok() {}
        await_connections(&gateway, 0);
        door.close();
    }
}

#[test]
fn there_are_only_so_many_connections_and_then_there_is_room_again() {
    let gateway = TestGateway::new();
    let door = with_limits(&gateway, |limits| limits.connections = 2);
    let mut held = [door.client(), door.client()];
    for client in &mut held {
        assert_eq!(client.call("GET", "/v1/stats", &[], b"").status, 200);
    }
    let mut surplus = door.client();
    let refused = surplus.reply("GET").unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "too_many_connections"));
    assert!(surplus.rest().unwrap().is_empty());
    let [one, other] = held;
    drop(one);
    await_connections(&gateway, 1);
    assert_eq!(door.call("GET", "/v1/stats", &[], b"").status, 200);
    drop(other);
    door.close();
}

#[test]
fn this_host_is_not_held_to_the_limit_of_a_client() {
    let gateway = TestGateway::new();
    let door = with_limits(&gateway, |limits| limits.connections_per_peer = 1);
    let mut clients: Vec<_> = (0..5).map(|_| door.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call("GET", "/v1/stats", &[], b"").status, 200);
    }
    drop(clients);
    door.close();
}

#[test]
fn a_unix_socket_serves_the_group_and_goes_when_the_door_closes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    // A killed process leaves its file behind.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let gateway = TestGateway::new();
    let door = TestDoor::with(&gateway, Options { socket: Some(path.clone()), event_loops: 2, ..Options::default() });
    let file = fs::symlink_metadata(&path).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    let token = token(&door);
    for _ in 0..20 {
        assert_eq!(door.call("GET", "/v1/session", &[("Authorization", &token)], b"").status, 200);
    }
    let refused = bind(&Address::Unix(path.clone()), 1).unwrap_err();
    assert!(matches!(refused, BindError::Taken), "{refused}");
    door.close();
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    fs::write(&path, "data").unwrap();
    let refused = bind(&Address::Unix(path.clone()), 1).unwrap_err();
    assert!(matches!(refused, BindError::NotASocket), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), b"data");
}

#[test]
fn a_taken_port_is_refused_whatever_the_number_of_loops() {
    for loops in [1, 3] {
        let gateway = TestGateway::new();
        let door = TestDoor::with(&gateway, Options { event_loops: loops, ..Options::default() });
        for others in [1, 2] {
            let taken = bind(&Address::Tcp(door.address()), others).unwrap_err();
            assert!(matches!(taken, BindError::Taken), "{loops} loops and {others}: {taken}");
        }
        assert_eq!(door.call("GET", "/v1/stats", &[], b"").status, 200);
        door.close();
    }
    let nowhere = bind(&Address::Tcp(([192, 0, 2, 1], 0).into()), 1).unwrap_err();
    assert!(matches!(nowhere, BindError::Io(_)), "{nowhere}");
}

#[test]
fn several_loops_share_one_port() {
    let gateway = TestGateway::new();
    let door = TestDoor::with(&gateway, Options { event_loops: 3, ..Options::default() });
    let token = token(&door);
    let mut clients: Vec<_> = (0..30).map(|_| door.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call("GET", "/v1/session", &[("Authorization", &token)], b"").status, 200);
    }
    await_connections(&gateway, 30);
    drop(clients);
    door.close();
    await_connections(&gateway, 0);
}

#[test]
fn every_request_is_counted_once_with_and_without_the_lane() {
    for lane in [true, false] {
        let gateway = TestGateway::new();
        let door = TestDoor::with(&gateway, Options { lane, ..Options::default() });
        let token = token(&door);
        for _ in 0..3 {
            assert_eq!(door.call("GET", "/v1/session", &[("Authorization", &token)], b"").status, 200);
        }
        assert_eq!(door.call("GET", "/v1/session", &[], b"").status, 401);
        assert_eq!(door.call("GET", "/nowhere", &[], b"").status, 404);
        gateway.break_store();
        assert_eq!(door.call("GET", "/v1/session", &[("Authorization", &token)], b"").status, 503);
        let counted = [RequestOutcome::Ok, RequestOutcome::Refused, RequestOutcome::Failed];
        assert_eq!(counted.map(|outcome| gateway.requests(outcome)), [4, 2, 1]);
        door.close();
    }
}

#[test]
fn connections_end_as_the_client_asks() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let token = token(&door);
    let authorization = ("Authorization", token.as_str());
    let mut client = door.client();
    client.send(&request("GET", "/v1/session", &[authorization, ("Connection", "close")], b"")).unwrap();
    let last = client.reply("GET").unwrap();
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(client.rest().unwrap().is_empty());

    let mut old = door.client();
    old.send(format!("GET /v1/session HTTP/1.0\r\nAuthorization: {token}\r\n\r\n").as_bytes()).unwrap();
    assert!(old.rest().unwrap().starts_with(b"HTTP/1.0 200 OK"));

    for path in ["/v1/session", "/v1/session?touch=false", "/v1/stats"] {
        let mut half = door.client();
        half.send(&request("GET", path, &[authorization], b"")).unwrap();
        half.finish();
        assert_eq!(half.reply("GET").unwrap().status, 200, "a client that stops sending still listens");
        assert!(half.rest().unwrap().is_empty());
    }

    let mut polite = door.client();
    polite.send(&request("POST", "/v1/sessions", &[("Expect", "100-continue"), ("Content-Length", "2")], b"")).unwrap();
    assert_eq!(polite.reply("POST").unwrap().status, 100);
    polite.send(b"{}").unwrap();
    assert_eq!(polite.reply("POST").unwrap().status, 201);
    assert_eq!(polite.call("GET", "/v1/session", &[authorization], b"").status, 200, "the connection stays open");
    door.close();
}

#[test]
fn draining_under_load_fails_no_request() {
    let gateway = TestGateway::new();
    let limits = ServeLimits { drain_linger: LONG, ..ServeLimits::default() };
    let door = TestDoor::with(&gateway, Options { limits, event_loops: 2, ..Options::default() });
    let token = token(&door);
    let address = door.address();
    let (ready, all_ready) = std::sync::mpsc::channel();
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let (token, ready) = (token.clone(), ready.clone());
            thread::spawn(move || {
                let mut client = Client::tcp(address);
                for round in 0_u64.. {
                    let reply = match (number + round) % 3 {
                        0 => client.call("POST", "/v1/sessions", &[], br#"{"data":{"a":1}}"#),
                        1 => client.call("GET", "/v1/session?touch=false", &[("Authorization", &token)], b""),
                        _ => client.call("GET", "/v1/session", &[("Authorization", &token)], b""),
                    };
                    assert!(reply.status < 300, "{reply:?}");
                    if round == 20 {
                        ready.send(()).unwrap();
                    }
                    if reply.header("connection") == Some("close") {
                        // Whoever is told to go and comes again at once is not led into a queue that is just closing.
                        let again = TcpStream::connect(address).map(drop).map_err(|error| error.kind());
                        assert_eq!(again, Err(ErrorKind::ConnectionRefused));
                        assert!(client.rest().expect("a plain close").is_empty());
                        return;
                    }
                }
            })
        })
        .collect();
    (0..16).for_each(|_| all_ready.recv().unwrap());
    door.close();
    for client in clients {
        client.join().expect("every request is answered until the last answer says so");
    }
    await_connections(&gateway, 0);
}

#[test]
fn a_request_that_is_on_its_way_when_draining_begins_is_answered() {
    let gateway = TestGateway::new();
    let door = with_limits(&gateway, |limits| limits.drain_linger = Duration::from_secs(2));
    let token = token(&door);
    let (mut idle, mut late, mut slow) = (door.client(), door.client(), door.client());
    assert_eq!(late.call("GET", "/v1/session", &[("Authorization", &token)], b"").status, 200);
    slow.send(b"POST /v1/sessions HTTP/1.1\r\nContent-Le").unwrap();
    await_connections(&gateway, 3);
    door.begin_to_drain();
    let last = late.call("GET", "/v1/session", &[("Authorization", &token)], b"");
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    slow.send(b"ngth: 2\r\n\r\n{}").unwrap();
    let last = slow.reply("POST").unwrap();
    assert_eq!((last.status, last.header("connection")), (201, Some("close")));
    assert!(idle.rest().unwrap().is_empty(), "an idle one is closed");
    door.close();
}

#[test]
fn draining_does_not_wait_for_ever() {
    let gateway = TestGateway::new();
    let door = with_limits(&gateway, |limits| {
        limits.head_read = LONG;
        limits.drain_deadline = SHORT;
    });
    let mut stuck = door.client();
    stuck.send(b"GET /v1/").unwrap();
    await_connections(&gateway, 1);
    let begin = Instant::now();
    door.close();
    assert!(begin.elapsed() < LONG / 2);
    let granted = Duration::from_secs(10);
    assert!(ServeLimits::default().drain_deadline < granted, "container runtimes grant no more by default");
    assert!(!stuck.rest().is_ok_and(|rest| !rest.is_empty()));
}

#[test]
fn a_dropped_signal_drains_as_well() {
    let gateway = TestGateway::new();
    let door = with_limits(&gateway, |_| {});
    let mut client = door.client();
    assert_eq!(client.call("GET", "/v1/stats", &[], b"").status, 200);
    drop(door);
    assert!(client.rest().unwrap().is_empty());
}
