//! Clients that mean no good, or do not keep up: each costs little, and nobody else pays.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sessgate::config::settings::Settings;
use sessgate::doors::resp::door::{self, DATABASES};
use sessgate::doors::serve::ServeLimits;

use super::sessions::{bulk, express};
use crate::support::faulty_store::{FaultyStore, Op, Point};
use crate::support::gateway::TestGateway;
use crate::support::redis_door::{RedisClient, TestRedisDoor};
use crate::support::stores::{self, Opened};

const OK: &str = "+OK\r\n";
const NO_AUTH: &str = "-NOAUTH Authentication required.\r\n";
const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const MIB: usize = 1024 * 1024;
/// Short for a limit, long for anything else.
const MOMENT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

fn patient() -> ServeLimits {
    ServeLimits { head_read: LONG, idle: LONG, write_stall: LONG, ..door::limits() }
}

fn with_limits(limits: ServeLimits) -> (TestGateway, TestRedisDoor) {
    let gateway = TestGateway::with(|settings| settings.limits.session_bytes = 1 << 20);
    let door = TestRedisDoor::with(&gateway, None, limits);
    (gateway, door)
}

fn refused(client: &mut RedisClient, bytes: &[u8], error: &str) {
    client.send_bytes(bytes);
    client.expect(&format!("-ERR Protocol error: {error}\r\n"));
    client.expect_closed();
}

#[tokio::test]
async fn who_has_not_said_who_it_is_may_say_little() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::with(&gateway, Some(("app", "secret")), patient());
    refused(&mut door.connect(), b"*11\r\n", "unauthenticated multibulk length");
    refused(&mut door.connect(), b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length");
    refused(&mut door.connect(), b"GET a b c d e f g h i j k\r\n", "unauthenticated multibulk length");
    let mut client = door.connect();
    for command in ["GET a", "SET a 1", "PING", "MULTI", "WATCH a", "SUBSCRIBE a", "INFO", "CLIENT ID", "SELECT 1"] {
        client.call(command, NO_AUTH);
    }
    for wrong in ["AUTH secre", "AUTH secret2", "AUTH other secret", "AUTH app wrong", "AUTH default wrong"] {
        client.call(wrong, WRONG);
        client.call("GET a", NO_AUTH);
    }
    client.call("HELLO 3 AUTH app wrong", WRONG);
    client.send_all(&["HELLO 3", "GET a"]);
    client
        .expect("-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> ");
    client.expect(
        "<pass> option can be used to authenticate the client and select the RESP protocol version at the same ",
    );
    client.expect(&format!("time\r\n{NO_AUTH}"));
    // What comes right behind may be as long as any request.
    for good in ["AUTH secret", "AUTH app secret", "AUTH default secret"] {
        client.send_all(&["RESET", good, "MGET a b c d e f g h i j k l", "RESET", "GET a"]);
        client.expect(&format!("+RESET\r\n{OK}*12\r\n{}+RESET\r\n{NO_AUTH}", "$-1\r\n".repeat(12)));
    }
    // A wrong password later takes nothing away.
    client.send_all(&["AUTH secret", "AUTH wrong", "PING"]);
    client.expect(&format!("{OK}{WRONG}+PONG\r\n"));
    client.send_all(&["RESET", "GET a b c d e f g h i j k"]);
    client.expect("+RESET\r\n-ERR Protocol error: unauthenticated multibulk length\r\n");
    client.expect_closed();
    door.close().await;
}

#[tokio::test]
async fn who_does_not_say_who_it_is_must_go() {
    let gateway = TestGateway::new();
    let limits = ServeLimits { head_read: MOMENT, ..patient() };
    let door = TestRedisDoor::with(&gateway, Some(("app", "secret")), limits);
    let (mut known, mut unknown, mut wrong) = (door.connect(), door.connect(), door.connect());
    known.call("AUTH secret", OK);
    wrong.call("AUTH wrong", WRONG);
    unknown.expect_closed();
    wrong.expect_closed();
    known.call("PING", "+PONG\r\n");
    drop(known);
    door.close().await;
}

#[tokio::test]
async fn a_request_is_no_larger_than_allowed() {
    let (_gateway, door) = with_limits(patient());
    refused(&mut door.connect(), b"*1025\r\n", "invalid multibulk length");
    refused(&mut door.connect(), b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048577\r\n", "invalid bulk length");
    refused(&mut door.connect(), "a".repeat(70_000).as_bytes(), "too big inline request");
    let mut client = door.connect();
    let megabyte = vec![b'x'; MIB];
    let mut request = b"*6\r\n$3\r\nDEL\r\n".to_vec();
    for _ in 0..3 {
        request.extend_from_slice(format!("${MIB}\r\n").as_bytes());
        request.extend_from_slice(&megabyte);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(format!("${MIB}\r\n").as_bytes());
    refused(&mut client, &request, "too big request");
    door.close().await;
}

#[tokio::test]
async fn browsers_that_were_tricked_are_cut_off() {
    let gateway = TestGateway::new();
    let open = TestRedisDoor::open(&gateway);
    let closed = TestRedisDoor::with(&gateway, Some(("app", "secret")), patient());
    for door in [&open, &closed] {
        for attack in ["POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nSET a 1\r\n", "Host: localhost\r\nSET a 1\r\n"] {
            let mut client = door.connect();
            client.send_bytes(attack.as_bytes());
            client.expect_closed();
        }
    }
    let mut client = open.connect();
    client.send_all(&["MULTI", "SET a 1", "host: x", "EXEC"]);
    client.expect(&format!("{OK}+QUEUED\r\n"));
    client.expect_closed();
    let mut client = open.connect();
    client.call("EXISTS a", ":0\r\n");
    drop(client);
    open.close().await;
    closed.close().await;
}

/// Writes a byte from time to time until the connection is closed. How long it took.
fn trickle(client: &mut RedisClient, byte: u8) -> Duration {
    let begun = Instant::now();
    client.stream.set_read_timeout(Some(MOMENT / 5)).unwrap();
    loop {
        let written = client.stream.write(&[byte]);
        match client.stream.read(&mut [0; 100]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && written.is_ok() => {}
            Ok(0) | Err(_) => return begun.elapsed(),
            Ok(_) => {}
        }
        assert!(begun.elapsed() < LONG / 2, "it is still open");
    }
}

#[tokio::test]
async fn a_request_has_its_time_however_it_trickles_in() {
    let (_gateway, door) = with_limits(ServeLimits { head_read: MOMENT, ..patient() });
    let mut client = door.connect();
    client.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n");
    let took = trickle(&mut client, b'x');
    assert!(took >= MOMENT / 2, "{took:?}");
    let mut client = door.connect();
    client.send_all(&["SET a 1", "GET a"]);
    client.expect("+OK\r\n$1\r\n1\r\n");
    trickle(&mut client, b'x');
    door.close().await;
}

#[tokio::test]
async fn who_says_nothing_goes_unless_it_listens() {
    let (_gateway, door) = with_limits(ServeLimits { idle: MOMENT, ..patient() });
    let mut listener = door.connect();
    listener.call("SUBSCRIBE __keyevent@0__:del", "*3\r\n$9\r\nsubscribe\r\n$18\r\n__keyevent@0__:del\r\n:1\r\n");
    for _ in 0..2 {
        door.connect().expect_closed();
    }
    let mut client = door.connect();
    client.send_all(&["SET a 1", "DEL a"]);
    client.expect("+OK\r\n:1\r\n");
    listener.expect(&format!("*3\r\n{}{}{}", bulk("message"), bulk("__keyevent@0__:del"), bulk("a")));
    client.expect_closed();
    drop(listener);
    door.close().await;
}

#[tokio::test]
async fn who_does_not_read_gets_no_more_than_fits_and_then_goes() {
    let (gateway, door) = with_limits(ServeLimits { write_stall: MOMENT, ..patient() });
    let mut client = door.connect();
    let value = "x".repeat(MIB);
    client.call(&format!("SET a {value}"), OK);
    client.call("GET a", &bulk(&value));
    client.send_all(&vec!["GET a"; 5_000]);
    // It is closed without a word read: what it is sent then is not for it.
    while gateway.figure("sessgate_connections{door=\"redis\"}") > 0 {
        tokio::task::yield_now().await;
    }
    let answered = gateway.figure("sessgate_requests_total{door=\"redis\",outcome=\"ok\"}");
    assert!(answered < 100, "{answered} answers of 1 MiB were made");
    let mut other = door.connect();
    other.call("PING", "+PONG\r\n");
    drop((client, other));
    door.close().await;
}

#[tokio::test]
async fn no_answer_is_larger_than_memory_can_bear() {
    let (_gateway, door) = with_limits(patient());
    let mut client = door.connect();
    let value = "x".repeat(MIB);
    client.call(&format!("SET a {value}"), OK);
    let half = "x".repeat(MIB / 2);
    client.call(&format!("HSET h f {half}"), ":1\r\n");
    let refused = "-ERR the answer would be larger than 16 MiB; ask for less at once\r\n";
    client.call(&format!("MGET{}", " a".repeat(17)), refused);
    client.call(&format!("HMGET h{}", " f".repeat(33)), refused);
    client.call(&format!("MGET{}", " a".repeat(2)), &format!("*2\r\n{}", bulk(&value).repeat(2)));
    // The same in a transaction, of which the rest is done.
    let many = format!("MGET{}", " a".repeat(17));
    let fields = format!("HMGET h{}", " f".repeat(33));
    client.send_all(&["MULTI", &many, &fields, "SET b 1", "EXEC", "GET b"]);
    client.expect(&format!("{OK}{}*3\r\n{refused}{refused}{OK}$1\r\n1\r\n", "+QUEUED\r\n".repeat(3)));
    let mut commands = vec!["MULTI"];
    commands.extend(["GET a"; 30]);
    commands.extend(["GETDEL b", "SET c 1", "EXEC", "GET b"]);
    client.send_all(&commands);
    client.expect(&format!("{OK}{}*32\r\n", "+QUEUED\r\n".repeat(32)));
    for _ in 0..17 {
        client.expect(&bulk(&value));
    }
    client.expect(&format!("{}{OK}$1\r\n1\r\n", refused.repeat(14)));
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn what_is_kept_for_a_client_is_bounded() {
    let (_gateway, door) = with_limits(patient());
    let mut client = door.connect();
    let too_large = "-ERR the transaction is too large: 1,024 commands of 4 MiB together at most\r\n";
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    client.call("MULTI", OK);
    client.send_all(&["SET a 1"; 1_024]);
    client.expect(&"+QUEUED\r\n".repeat(1_024));
    client.call("SET a 1", too_large);
    client.call("SET a 1", "+QUEUED\r\n");
    client.call("EXEC", aborted);
    client.call("EXISTS a", ":0\r\n");
    let value = "x".repeat(MIB - 100);
    let set = format!("SET a {value}");
    client.send_all(&["MULTI", &set, &set, &set, &set, &set, "EXEC", "EXISTS a"]);
    client.expect(&format!("{OK}{}{too_large}{aborted}:0\r\n", "+QUEUED\r\n".repeat(4)));
    let names = |from: usize| (from..from + 1_000).map(|n| format!(" k{n}")).collect::<Vec<_>>().concat();
    client.call(&format!("WATCH{}", names(0)), OK);
    client.call(&format!("WATCH{}", names(1_000)), "-ERR too many watched keys: 1,024 at most\r\n");
    client.call("UNWATCH", OK);
    client.call(&format!("WATCH{}", names(1_000)), OK);
    client.greet();
    client.send_all(&[&format!("SUBSCRIBE{}", names(0))]);
    for n in 0..1_000 {
        client.expect(&format!(">3\r\n{}{}:{}\r\n", bulk("subscribe"), bulk(&format!("k{n}")), n + 1));
    }
    let too_many = "-ERR too many subscriptions: 1,024 of 64 KiB together at most\r\n";
    client.call(&format!("PSUBSCRIBE{}", names(0)), too_many);
    client.call(&format!("SUBSCRIBE {}", "c".repeat(64 * 1024)), too_many);
    client.call("PING", "+PONG\r\n");
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn a_listener_who_does_not_read_is_cut_off() {
    let (gateway, door) = with_limits(patient());
    let mut listener = door.connect();
    // Each end is told ten times.
    let patterns: Vec<_> = (0..10).map(|n| format!(" __keyspace@0__:{}*", "k".repeat(n))).collect();
    listener.send_all(&[&format!("PSUBSCRIBE{}", patterns.concat())]);
    for n in 0..10 {
        listener.expect(&format!(
            "*3\r\n{}{}:{}\r\n",
            bulk("psubscribe"),
            bulk(&format!("__keyspace@0__:{}*", "k".repeat(n))),
            n + 1
        ));
    }
    let mut client = door.connect();
    let open = || gateway.figure("sessgate_connections{door=\"redis\"}");
    let mut rounds = 0;
    while open() > 1 {
        rounds += 1;
        assert!(rounds < 1_000, "it is still open");
        let name = format!("{}{rounds}", "k".repeat(1_000));
        client.call(&format!("SET {name} 1"), OK);
        client.call(&format!("DEL {name}"), ":1\r\n");
    }
    client.call("PING", "+PONG\r\n");
    drop((client, listener));
    door.close().await;
}

#[tokio::test]
async fn there_are_so_many_connections_and_no_more() {
    let (_gateway, door) = with_limits(ServeLimits { connections: 2, ..patient() });
    let (mut one, mut two) = (door.connect(), door.connect());
    one.call("PING", "+PONG\r\n");
    two.call("PING", "+PONG\r\n");
    let mut three = door.connect();
    three.expect("-ERR max number of clients reached\r\n");
    three.expect_closed();
    one.call("QUIT", OK);
    one.expect_closed();
    drop(one);
    loop {
        let mut client = door.connect();
        client.send_bytes(b"PING\r\n");
        let mut answer = [0; 7];
        // Its place is free once its end has been noticed.
        if client.stream.read_exact(&mut answer).is_ok() && &answer == b"+PONG\r\n" {
            break;
        }
    }
    drop(two);
    door.close().await;
}

#[tokio::test]
async fn a_stop_answers_every_request_that_came() {
    let (gateway, door) = with_limits(ServeLimits { drain_linger: MOMENT * 4, ..patient() });
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ready = std::sync::Barrier::new(5);
    let value = express("ann");
    let acknowledged: Vec<(usize, u64)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|worker| {
                let (mut client, stop, ready, value) = (door.connect(), &stop, &ready, &value);
                scope.spawn(move || {
                    let mut count = 0_u64;
                    client.call("PING", "+PONG\r\n");
                    ready.wait();
                    // Some more after the signal.
                    let mut left = 20;
                    while left > 0 {
                        left -= u32::from(stop.load(std::sync::atomic::Ordering::SeqCst));
                        count += 1;
                        let set = format!("SET {worker}:k {count}");
                        client.send_all(&[&set, "GET none", "SET s_LOCK x", &format!("SET {worker}:s {value}")]);
                        client.expect(&format!("{OK}$-1\r\n{OK}{OK}"));
                    }
                    client.expect_closed();
                    (worker, count)
                })
            })
            .collect();
        ready.wait();
        door.begin_stop();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        clients.into_iter().map(|client| client.join().expect("no request failed")).collect()
    });
    door.close().await;
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    for (worker, count) in acknowledged {
        assert!(count >= 20);
        client.call(&format!("GET {worker}:k"), &bulk(&count.to_string()));
    }
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn names_values_and_passwords_show_nowhere() {
    const CANARY: &str = "CANARY-8c1f";
    let gateway = TestGateway::new();
    let door = TestRedisDoor::with(&gateway, Some(("app", CANARY)), patient());
    let mut client = door.connect();
    client.call(&format!("AUTH {CANARY}"), OK);
    client.call(&format!("SET {CANARY} {CANARY} EX 60"), OK);
    client.call(&format!("GET {CANARY}"), &bulk(CANARY));
    client.call(
        &format!("HGET {CANARY} {CANARY}"),
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    );
    client.call(&format!("AUTH {CANARY} {CANARY}x"), WRONG);
    client.call(&format!("CLIENT SETNAME {CANARY}"), OK);
    client.call(&format!("DEL {CANARY}"), ":1\r\n");
    assert!(!gateway.metrics.encode().unwrap().contains("CANARY"));
    let access = door::Access {
        user: Some("app".into()),
        password: Some(sessgate::config::settings::Secret::new(CANARY.into())),
    };
    assert!(!format!("{access:?}").contains("CANARY"));
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn keys_are_counted_once_for_all_who_ask_at_a_time() {
    let opened = stores::embedded();
    let store = FaultyStore::over(Arc::clone(&opened.store));
    let gateway = TestGateway::on(Settings::default(), Opened::of(Arc::clone(&store) as _));
    let door = TestRedisDoor::open(&gateway);
    let mut clients: Vec<_> = (0..20).map(|_| door.connect()).collect();
    let before = store.calls(Op::Other);
    let mut first = store.hold(Point::Before(Op::Other));
    for client in &mut clients {
        client.send_all(&["INFO keyspace"]);
    }
    first.reached().await;
    first.release();
    for client in &mut clients {
        client.expect(&bulk("# Keyspace\r\n"));
    }
    assert_eq!(store.calls(Op::Other) - before, u64::from(DATABASES));
    drop(clients);
    door.close().await;
}
