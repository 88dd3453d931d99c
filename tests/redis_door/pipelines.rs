//! Many requests at once: each has its answer, in order, however the bytes come.

use std::io::Read;
use std::net::Shutdown;
use std::time::Duration;

use sessgate::doors::resp::reply::errors;

use super::sessions::bulk;
use crate::support::gateway::TestGateway;
use crate::support::redis_door::{RedisClient, TestRedisDoor};
use crate::support::seed::Random;

const OK: &str = "+OK\r\n";

#[tokio::test]
async fn changes_that_come_together_are_done_in_order_with_all_that_stands_between_them() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    client.send_all(&[
        "SET a 1",
        "SET a 2",
        "GET a",
        "HSET a f 1",
        "SET a 3 NX",
        "SET a 4 EX abc",
        "RENAME a b",
        "RENAME a b",
        "PING",
        "HSET h f 1 g 2",
        "HINCRBY h f 5",
        "HDEL h g",
        "HGETALL h",
        "SELECT 2",
        "SET a 5",
        "SET a 6 GET",
        "DEL a",
        "SELECT 0",
        "EXISTS b",
        "DEL b h none",
    ]);
    let answers = [
        OK,
        OK,
        &bulk("2"),
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        "$-1\r\n",
        "-ERR value is not an integer or out of range\r\n",
        OK,
        "-ERR no such key\r\n",
        "+PONG\r\n",
        ":2\r\n",
        ":6\r\n",
        ":1\r\n",
        &format!("*2\r\n{}{}", bulk("f"), bulk("6")),
        OK,
        OK,
        &bulk("5"),
        ":1\r\n",
        OK,
        ":1\r\n",
        ":2\r\n",
    ];
    client.expect(&answers.concat());
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn a_run_is_bounded_and_shares_commits() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    let commands: Vec<_> = (0..1_000).map(|n| format!("SET k {n}")).collect();
    let mut commands: Vec<_> = commands.iter().map(String::as_str).collect();
    commands.push("GET k");
    client.send_all(&commands);
    client.expect(&format!("{}{}", OK.repeat(1_000), bulk("999")));
    let steps = gateway
        .figure("sessgate_store_operation_duration_seconds_count{store=\"embedded\",op=\"update\",result=\"ok\"}");
    assert!((1_000 / 64..200).contains(&steps), "{steps} steps");
    let requests = gateway.figure("sessgate_requests_total{door=\"redis\",outcome=\"ok\"}");
    assert_eq!(requests, 1_001);
    drop(client);
    door.close().await;
}

/// What memory holds, what only the store does, a hash, what is over or never was, and other requests: each is answered
/// as if it had come alone.
#[tokio::test]
async fn reads_that_come_together_are_answered_as_if_each_came_alone() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    let long = "x".repeat(20_000);
    for request in ["SET a 1", "SET b 22", &format!("SET long {long}"), "SET over 1 PX 10"] {
        client.call(request, OK);
    }
    client.call("HSET h f 1", ":1\r\n");
    gateway.clock.advance(Duration::from_millis(11));
    let known = [
        ("GET a", bulk("1")),
        ("get b", bulk("22")),
        ("GET long", bulk(&long)),
        ("GET over", "$-1\r\n".to_owned()),
        ("GET never", "$-1\r\n".to_owned()),
        ("GET h", format!("-{}\r\n", errors::WRONG_TYPE)),
        ("PING", "+PONG\r\n".to_owned()),
    ];
    let mut random = Random::from_env();
    eprintln!("SESSGATE_SEED={}", random.seed());
    for _ in 0..300 {
        if random.below(4) == 0 {
            gateway.forget();
        }
        let chosen: Vec<_> = (0..=random.below(50)).map(|_| random.pick(&known)).collect();
        client.send_all(&chosen.iter().map(|(request, _)| *request).collect::<Vec<_>>());
        client.expect(&chosen.iter().map(|(_, answer)| answer.as_str()).collect::<String>());
    }
    drop(client);
    door.close().await;
}

/// Answers wait for each other before they are sent, in buffers that go round. There are more of them here than may wait, some
/// are too large to, and some requests come in two halves.
#[tokio::test]
async fn each_of_many_connections_gets_its_own_answers() {
    const CLIENTS: usize = 150;
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| door.connect()).collect();
    let length = |n: usize| if n.is_multiple_of(10) { 20_000 } else { n * n % 997 };
    let values: Vec<_> = (0..CLIENTS).map(|n| format!("{n:_<0$}", length(n))).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send_all(&[&format!("SET k{n} {}", values[n])]);
    }
    for client in &mut clients {
        client.expect(OK);
    }
    for round in 0..6 {
        let mut halves = Vec::new();
        for (n, client) in clients.iter_mut().enumerate() {
            let (get, requests) = (format!("GET k{n}"), 1 + (n + round) % 20);
            if (n + round) % 7 == 0 {
                let bytes = crate::resp::request(&get.split(' ').map(str::as_bytes).collect::<Vec<_>>());
                let (first, second) = bytes.split_at(round * 4);
                client.send_bytes(first);
                halves.push((n, second.to_vec(), requests - 1));
            } else {
                client.send_all(&vec![get.as_str(); requests]);
            }
        }
        for (n, client) in clients.iter_mut().enumerate() {
            if (n + round) % 7 != 0 {
                client.expect(&bulk(&values[n]).repeat(1 + (n + round) % 20));
            }
        }
        for (n, second, more) in halves {
            let get = format!("GET k{n}");
            clients[n].send_bytes(&second);
            clients[n].send_all(&[vec![get.as_str(); more], vec!["PING"]].concat());
            clients[n].expect(&format!("{}+PONG\r\n", bulk(&values[n]).repeat(1 + more)));
        }
    }
    drop(clients);
    door.close().await;
}

/// Whether the end is noticed before the answers are sent or after.
#[tokio::test]
async fn who_says_no_more_still_gets_all_answers() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    door.connect().call("SET a 1", OK);
    for requests in 1..100 {
        let mut client = door.connect();
        client.send_all(&vec!["GET a"; requests]);
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.expect(&bulk("1").repeat(requests));
        client.expect_closed();
    }
    door.close().await;
}

/// Requests that fill what is read at once, again and again, while their answers are so small that they wait.
#[tokio::test]
async fn answers_that_wait_come_before_those_to_what_is_read_next() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    let echoes: Vec<_> = (0..2_000).map(|n| format!("ECHO {n}")).collect();
    let requests = |echo| [["SELECT 0"; 19].as_slice(), &[echo]].concat();
    client.send_all(&echoes.iter().flat_map(|echo| requests(echo)).collect::<Vec<_>>());
    for n in 0..echoes.len() {
        client.expect(&format!("{}{}", OK.repeat(19), bulk(&n.to_string())));
    }
    drop(client);
    door.close().await;
}

/// Small answers, of which many more are asked for than the kernel holds for who does not take them.
#[tokio::test]
async fn who_takes_answers_late_still_gets_all() {
    const REQUESTS: usize = 2_000;
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let (mut client, mut other) = (door.connect(), door.connect());
    let value = "x".repeat(15_000);
    client.call(&format!("SET a {value}"), OK);
    for _ in 0..REQUESTS {
        client.send_all(&["GET a"]);
        // Its event loop has nothing else to do, and so meets them one by one.
        other.call("PING", "+PONG\r\n");
    }
    for _ in 0..REQUESTS {
        client.expect(&bulk(&value));
    }
    client.call("PING", "+PONG\r\n");
    drop((client, other));
    door.close().await;
}

/// The same, when the end is noticed while an answer waits that the kernel has no room for.
#[tokio::test]
async fn who_says_no_more_and_takes_answers_late_still_gets_all() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let mut other = door.connect();
    let value = "x".repeat(15_000);
    other.call(&format!("SET a {value}"), OK);
    let answered = || gateway.figure("sessgate_requests_total{door=\"redis\",outcome=\"ok\"}");
    // Both are looked at by one event loop, one after the other: what has not been answered then has to wait.
    let mut get = |client: &mut RedisClient| {
        let before = answered();
        client.send_all(&["GET a"]);
        other.call("PING", "+PONG\r\n");
        answered() == before + 2
    };
    // Who has been answered has been let in, and is looked at in its turn from then on.
    let connect = || {
        let mut client = door.connect();
        client.call("PING", "+PONG\r\n");
        client
    };
    let (mut full, mut room) = (connect(), 1);
    while get(&mut full) {
        room += 1;
        assert!(room < 10_000, "{room} answers that nobody takes are under way");
    }
    assert!(room > 10, "the kernel has room for {room} answers only");
    drop(full);
    let mut busy = connect();
    for round in 0..8 {
        let mut client = connect();
        let asked = room - round % 4;
        for _ in 0..asked {
            get(&mut client);
        }
        // While this keeps the event loop busy, both the last request and the end arrive.
        busy.send_all(&vec!["PING"; 5_000]);
        client.send_all(&["GET a"]);
        client.stream.shutdown(Shutdown::Write).unwrap();
        busy.expect(&"+PONG\r\n".repeat(5_000));
        for _ in 0..=asked {
            client.expect(&bulk(&value));
        }
        client.expect_closed();
    }
    drop((busy, other));
    door.close().await;
}

/// Notices and answers to one client stay whole.
#[tokio::test]
async fn a_listener_is_told_between_its_answers() {
    const ROUNDS: usize = 200;
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let (mut client, mut other) = (door.connect(), door.connect());
    client.greet();
    client.call("SET a 1", OK);
    client.call("SET b 2", OK);
    client.send_all(&["SUBSCRIBE __keyevent@0__:del"]);
    client.expect(&format!(">3\r\n{}{}:1\r\n", bulk("subscribe"), bulk("__keyevent@0__:del")));
    let answers = format!("{}{}", bulk("1"), bulk("2"));
    for round in 0..ROUNDS {
        let name = format!("key{round}");
        let notice = format!(">3\r\n{}{}{}", bulk("message"), bulk("__keyevent@0__:del"), bulk(&name));
        other.send_all(&[&format!("SET {name} 1"), &format!("DEL {name}")]);
        client.send_all(&["GET a", "GET b"]);
        other.expect(&format!("{OK}:1\r\n"));
        let mut received = vec![0; notice.len() + answers.len()];
        client.stream.read_exact(&mut received).unwrap();
        let received = String::from_utf8(received).unwrap();
        let notice_at = received.find(&notice).expect("it is told");
        assert_eq!(received.replacen(&notice, "", 1), answers, "{received}");
        assert!(notice_at.is_multiple_of(bulk("1").len()), "{received}");
    }
    drop((client, other));
    door.close().await;
}

#[tokio::test]
async fn bytes_may_come_one_by_one() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n\r\nset b 'two words'\r\n\
        GET b\r\n*1\r\n$4\r\nPING\r\n";
    for byte in bytes {
        client.send_bytes(&[*byte]);
    }
    client.expect(&format!("{OK}{}{OK}{}+PONG\r\n", bulk("1"), bulk("two words")));
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn what_is_no_request_is_told_after_all_that_came_before_it() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    for (garbage, error) in [
        ("*x\r\n", "invalid multibulk length"),
        ("*3\r\n$3\r\nSET\r\n$1\r\na\r\n:1\r\n", "expected '$', got ':'"),
        ("SET 'a\r\n", "unbalanced quotes in request"),
    ] {
        let mut client = door.connect();
        client.send_bytes(format!("SET a 1\r\nSET a 2\r\n{garbage}SET a 3\r\n").as_bytes());
        client.expect(&format!("{OK}{OK}-ERR Protocol error: {error}\r\n"));
        client.expect_closed();
    }
    let mut client = door.connect();
    client.send_all(&["SET a 3", "GET a", "QUIT", "SET a 4"]);
    client.expect(&format!("{OK}{}{OK}", bulk("3")));
    client.expect_closed();
    let mut client = door.connect();
    client.call("GET a", &bulk("3"));
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn a_transaction_runs_only_if_what_was_watched_is_as_it_was() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let (mut one, mut other) = (door.connect(), door.connect());
    one.call("SET a 1", OK);
    for change in ["SET a 1", "EXPIRE a 100", "DEL a", "RENAME a c"] {
        one.call("SET a 1", OK);
        one.call("GET a", &bulk("1"));
        one.call("WATCH a none", OK);
        other.send_all(&[change, "PING"]);
        other.expect(if change.starts_with("SET") || change.starts_with("REN") { OK } else { ":1\r\n" });
        other.expect("+PONG\r\n");
        one.send_all(&["MULTI", "SELECT 3", "SET b 1", "EXEC", "EXISTS b", "SELECT 3", "EXISTS b", "SELECT 0"]);
        one.expect(&format!("{OK}+QUEUED\r\n+QUEUED\r\n*-1\r\n:0\r\n{OK}:0\r\n{OK}"));
        // The watch is over.
        one.call("GET a", if matches!(change, "DEL a" | "RENAME a c") { "$-1\r\n" } else { "$1\r\n1\r\n" });
        one.send_all(&["MULTI", "SET d 1", "EXEC"]);
        one.expect(&format!("{OK}+QUEUED\r\n*1\r\n{OK}"));
    }
    drop((one, other));
    door.close().await;
}
