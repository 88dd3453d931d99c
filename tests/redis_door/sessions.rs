//! Sessions out of raw keys, under the rules that all sessions have.

use std::time::Duration;

use crate::support::gateway::TestGateway;
use crate::support::redis_door::{RedisClient, TestRedisDoor};

const MINUTE: Duration = Duration::from_secs(60);

/// What express-session with passport stores.
pub fn express(user: &str) -> String {
    format!(r#"{{"cookie":{{"originalMaxAge":60000}},"passport":{{"user":"{user}"}}}}"#)
}

pub fn bulk(value: &str) -> String {
    format!("${}\r\n{value}\r\n", value.len())
}

#[tokio::test]
async fn a_session_is_set_read_kept_alive_and_ended() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    let value = express("u-1001");
    client.call("GET sess:1", "$-1\r\n");
    client.call(&format!("SET sess:1 {value} EX 60"), "+OK\r\n");
    client.call("GET sess:1", &bulk(&value));
    client.call("EXPIRE sess:1 120", ":1\r\n");
    client.call("TTL sess:1", ":120\r\n");
    client.call("TYPE sess:1", "+string\r\n");
    client.call("DBSIZE", ":1\r\n");
    client.call("INFO keyspace", &bulk("# Keyspace\r\ndb0:keys=1,expires=1,avg_ttl=0\r\n"));
    client.call("SCAN 0 MATCH sess:* COUNT 100", "*2\r\n$1\r\n0\r\n*1\r\n$6\r\nsess:1\r\n");
    client.call("DEL sess:1 sess:2", ":1\r\n");
    client.call("GET sess:1", "$-1\r\n");
    client.call("HSET h f 1", ":1\r\n");
    client.call("HGETALL h", "*2\r\n$1\r\nf\r\n$1\r\n1\r\n");
    client.call("GET h", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    client.call("MULTI", "+OK\r\n");
    client.call("SET a 1", "+QUEUED\r\n");
    client.call("GET a", "+QUEUED\r\n");
    client.call("EXEC", "*2\r\n+OK\r\n$1\r\n1\r\n");
    drop(client);
    door.close().await;
}

/// Asks within a transaction.
#[track_caller]
fn in_a_transaction(client: &mut RedisClient, command: &str, answer: &str) {
    client.call("MULTI", "+OK\r\n");
    client.call(command, "+QUEUED\r\n");
    client.call("EXEC", &format!("*1\r\n{answer}"));
}

#[tokio::test]
async fn to_read_is_to_use_in_a_transaction_too() {
    for in_memory in [true, false] {
        for (command, answer) in [
            ("GET s", "$1\r\nv\r\n"),
            ("MGET none s", "*2\r\n$-1\r\n$1\r\nv\r\n"),
            ("GETEX s", "$1\r\nv\r\n"),
            ("GETEX s PERSIST", "$1\r\nv\r\n"),
            ("SET s w NX GET", "$1\r\nv\r\n"),
            ("TOUCH s", ":1\r\n"),
            ("HGET h f", "$1\r\n1\r\n"),
            ("HMGET h f", "*1\r\n$1\r\n1\r\n"),
            ("HGETALL h", "*2\r\n$1\r\nf\r\n$1\r\n1\r\n"),
        ] {
            let gateway = TestGateway::with(|settings| settings.lifetimes.clocks.idle_timeout = MINUTE * 20);
            let door = TestRedisDoor::open(&gateway);
            let mut client = door.connect();
            client.call("SET s v", "+OK\r\n");
            client.call("HSET h f 1", ":1\r\n");
            client.call("HGET h f", "$1\r\n1\r\n");
            for _ in 0..3 {
                gateway.clock.advance(MINUTE * 9);
                if !in_memory {
                    gateway.forget();
                }
                in_a_transaction(&mut client, command, answer);
                gateway.gateway.keep_up().await;
            }
            client.call("EXISTS s h", ":1\r\n");
            drop(client);
            door.close().await;
        }
    }
}

#[tokio::test]
async fn getex_is_a_use_and_to_ask_whether_a_key_is_there_is_none() {
    let gateway = TestGateway::with(|settings| settings.lifetimes.clocks.idle_timeout = MINUTE * 20);
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    client.call("SET s v", "+OK\r\n");
    client.call("SET unused v", "+OK\r\n");
    for _ in 0..2 {
        gateway.clock.advance(MINUTE * 9);
        client.call("GETEX s", "$1\r\nv\r\n");
        for (command, answer) in
            [("EXISTS unused", ":1\r\n"), ("TTL unused", ":-1\r\n"), ("TYPE unused", "+string\r\n")]
        {
            in_a_transaction(&mut client, command, answer);
        }
        gateway.gateway.keep_up().await;
    }
    gateway.clock.advance(MINUTE * 9);
    client.call("EXISTS unused", ":0\r\n");
    client.call("GETEX s", "$1\r\nv\r\n");
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn a_read_in_a_transaction_is_saved_once_an_interval() {
    let gateway = TestGateway::with(|settings| settings.lifetimes.clocks.idle_timeout = MINUTE * 20);
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    client.call("SET s v", "+OK\r\n");
    let key = gateway.store.names().key(0, b"s");
    let saved = async || gateway.store.load(key).await.unwrap().map(|stored| stored.last_activity);
    let made = saved().await.unwrap();
    for (seconds, expected) in [(59, 0), (1, 60), (59, 60), (1, 120)] {
        gateway.clock.advance(Duration::from_secs(seconds));
        in_a_transaction(&mut client, "GET s", "$1\r\nv\r\n");
        gateway.gateway.keep_up().await;
        assert_eq!(saved().await, Some(made + Duration::from_secs(expected)));
    }
    gateway.clock.advance(MINUTE * 20);
    in_a_transaction(&mut client, "GET s", "$-1\r\n");
    assert_eq!(saved().await, None);
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn what_reads_say_is_gone_is_gone_to_writes_and_transactions() {
    for in_memory in [true, false] {
        for pooled in [true, false] {
            let gateway = TestGateway::with(|settings| settings.lifetimes.clocks.idle_timeout = MINUTE * 20);
            let door = TestRedisDoor::open(&gateway);
            let (mut client, mut other) = (door.connect(), door.connect());
            client.call("HSET h user 7", ":1\r\n");
            for key in ["a", "b", "c", "d"] {
                client.call(&format!("SET {key} v"), "+OK\r\n");
            }
            for key in ["a", "b", "c", "d"] {
                client.call(&format!("GET {key}"), "$1\r\nv\r\n");
            }
            client.call("HGETALL h", "*2\r\n$4\r\nuser\r\n$1\r\n7\r\n");
            // The store would wait a little longer, for a use that it may not have heard of.
            gateway.clock.advance(MINUTE * 20);
            if !in_memory {
                gateway.forget();
            }
            client.call("HGETALL h", "*0\r\n");
            client.call("MGET a b c d", "*4\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n");
            let writer = if pooled { &mut other } else { &mut client };
            writer.call("HSET h csrf x", ":1\r\n");
            writer.call("HGETALL h", "*2\r\n$4\r\ncsrf\r\n$1\r\nx\r\n");
            writer.call("SET a w NX", "+OK\r\n");
            writer.call("EXPIRE b 60", ":0\r\n");
            writer.call("WATCH c", "+OK\r\n");
            in_a_transaction(writer, "SET c w", "+OK\r\n");
            in_a_transaction(writer, "GET d", "$-1\r\n");
            drop((client, other));
            door.close().await;
        }
    }
}

#[tokio::test]
async fn a_use_that_is_not_saved_yet_counts_for_writes_too() {
    let gateway = TestGateway::with(|settings| settings.lifetimes.clocks.idle_timeout = MINUTE * 20);
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    client.call("HSET h user 7", ":1\r\n");
    client.call("HGET h user", "$1\r\n7\r\n");
    for _ in 0..3 {
        gateway.clock.advance(MINUTE * 19);
        client.call("HGET h user", "$1\r\n7\r\n");
    }
    gateway.clock.advance(MINUTE * 19);
    client.call("HSET h csrf x", ":1\r\n");
    client.call("HMGET h user csrf", "*2\r\n$1\r\n7\r\n$1\r\nx\r\n");
    drop(client);
    door.close().await;
}
