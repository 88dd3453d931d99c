//! The rules that all sessions have, met through the Redis door.

use std::time::Duration;

use sessgate::config::settings::{CreationRate, Hook, HookUrl, Settings};
use sessgate::session::OnExcess;

use super::sessions::{bulk, express};
use crate::support::gateway::{START, TestGateway};
use crate::support::redis_door::{RedisClient, TestRedisDoor};
use crate::support::sessions::user;

const NIL: &str = "$-1\r\n";
const OK: &str = "+OK\r\n";
const SECOND: Duration = Duration::from_secs(1);

fn open(change: impl FnOnce(&mut Settings)) -> (TestGateway, TestRedisDoor) {
    let gateway = TestGateway::with(change);
    let door = TestRedisDoor::open(&gateway);
    (gateway, door)
}

fn limited(settings: &mut Settings, sessions: u64, on_excess: OnExcess) {
    settings.limits.per_user.sessions = Some(sessions);
    settings.limits.per_user.on_excess = on_excess;
}

fn creations(gateway: &TestGateway, outcome: &str) -> i64 {
    gateway.figure(&format!("sessgate_session_creations_total{{outcome=\"{outcome}\"}}"))
}

/// Logs in and reads the session, as an app does.
#[track_caller]
fn log_in(client: &mut RedisClient, id: &str, name: &str) {
    client.call(&format!("SET {id} {} EX 3600", express(name)), OK);
    client.call(&format!("GET {id}"), &bulk(&express(name)));
}

#[tokio::test]
async fn a_user_with_as_many_sessions_as_allowed_gets_no_more() {
    let (gateway, door) = open(|settings| limited(settings, 2, OnExcess::Reject));
    let mut client = door.connect();
    log_in(&mut client, "a", "ann");
    log_in(&mut client, "b", "ann");
    let refused = "-ERR the user has as many sessions as allowed (2)\r\n";
    client.call(&format!("SET c {}", express("ann")), refused);
    client.call("GET c", NIL);
    // What there is may be saved again, and others may come.
    log_in(&mut client, "a", "ann");
    log_in(&mut client, "c", "bob");
    // Who logs in within an anonymous session is one more, too.
    client.call("SET d {}", OK);
    client.call(&format!("SET d {}", express("ann")), refused);
    client.call("GET d", &bulk("{}"));
    // In a transaction, the others of it are done.
    client.call("MULTI", OK);
    client.call(&format!("SET e {}", express("ann")), "+QUEUED\r\n");
    client.call("SET f {}", "+QUEUED\r\n");
    client.call("EXEC", &format!("*2\r\n{refused}{OK}"));
    assert_eq!((creations(&gateway, "created"), creations(&gateway, "user_limit")), (5, 3));
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn a_newcomer_ends_the_oldest_which_no_late_save_brings_back() {
    let (gateway, door) = open(|settings| limited(settings, 2, OnExcess::EvictOldest));
    let (mut client, mut in_flight) = (door.connect(), door.connect());
    for id in ["a", "b"] {
        log_in(&mut client, id, "ann");
        gateway.clock.advance(SECOND);
    }
    in_flight.call("GET a", &bulk(&express("ann")));
    log_in(&mut client, "c", "ann");
    in_flight.call(&format!("SET a {}", express("ann")), OK);
    in_flight.call("GET a", NIL);
    // Not even now that it knows: the user did not ask for the end.
    in_flight.call(&format!("SET a {}", express("ann")), OK);
    client.call("EXISTS a b c", ":2\r\n");
    assert_eq!(gateway.figure("sessgate_late_saves_total"), 2);
    drop((client, in_flight));
    door.close().await;
}

#[tokio::test]
async fn an_address_creates_so_many_and_no_larger_than_allowed() {
    let (gateway, door) = open(|settings| {
        settings.limits.creation_per_ip =
            Some(CreationRate { count: 2, per: Duration::from_secs(3_600), ipv6_prefix: 64 });
        settings.limits.session_bytes = 100;
        settings.redis_door.plain_bytes = 1_000;
    });
    let mut client = door.connect();
    let from = |ip: &str| format!("{{\"ip\":\"{ip}\"}}");
    let slow_down = "-ERR this client creates sessions too fast\r\n";
    client.call(&format!("SET a {}", from("203.0.113.7")), OK);
    client.call(&format!("SET b {}", from("203.0.113.7")), OK);
    client.call(&format!("SET c {}", from("203.0.113.7")), slow_down);
    client.call(&format!("HSET c ip {}", "203.0.113.7"), slow_down);
    client.call(&format!("SET a {}", from("203.0.113.7")), OK);
    client.call(&format!("SET c {}", from("203.0.113.8")), OK);
    let too_large = "-ERR the value has 101 bytes; limits.session_bytes allows 100\r\n";
    client.call(&format!("SET d {}", "x".repeat(101)), too_large);
    client.call("GET d", NIL);
    client.call(&format!("SET d_LOCK {}", "x".repeat(101)), too_large);
    client.call("HSET h f 1", ":1\r\n");
    client.call(
        &format!("HSET h g {}", "x".repeat(90)),
        "-ERR the value has 109 bytes; limits.session_bytes allows 100\r\n",
    );
    client.call("HGETALL h", "*2\r\n$1\r\nf\r\n$1\r\n1\r\n");
    // Keys that are no sessions have a bound of their own.
    let full = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    for id in 0..3 {
        client.call(&format!("SET {id}_LOCK {}", "x".repeat(100)), OK);
    }
    client.call(&format!("SET 3_LOCK {}", "x".repeat(100)), full);
    client.call("DEL 0_LOCK", ":1\r\n");
    client.call(&format!("SET 3_LOCK {}", "x".repeat(100)), OK);
    // A name is not kept either that is longer than any.
    let long = "k".repeat(1_025);
    client.call(&format!("SET {long} 1"), "-ERR the key is longer than 1,024 bytes\r\n");
    client.call(&format!("RENAME a {long}"), "-ERR the key is longer than 1,024 bytes\r\n");
    client.call(&format!("WATCH {long}"), "-ERR the key is longer than 1,024 bytes\r\n");
    client.call(&format!("GET {long}"), NIL);
    assert_eq!((creations(&gateway, "creation_rate"), creations(&gateway, "too_large")), (2, 2));
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn a_full_tier_takes_nobody_whom_it_would_cost_another() {
    let (gateway, door) = open(|settings| settings.limits.stored.sessions = Some(2));
    let mut client = door.connect();
    log_in(&mut client, "a", "ann");
    log_in(&mut client, "b", "bob");
    client.call("SET c {}", "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    // Who is there goes on, and a user's own newcomer takes the place of the oldest of that user.
    log_in(&mut client, "a", "ann");
    client.call("DEL b", ":1\r\n");
    log_in(&mut client, "a2", "ann");
    gateway.clock.advance(SECOND);
    log_in(&mut client, "a3", "ann");
    client.call("EXISTS a a2 a3", ":2\r\n");
    assert_eq!(creations(&gateway, "storage_full"), 1);
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn a_late_save_is_dropped_and_who_has_read_nothing_may_begin_anew() {
    let (gateway, door) = open(|_| {});
    let (mut one, mut other) = (door.connect(), door.connect());
    let value = express("ann");
    log_in(&mut one, "a", "ann");
    other.call("GET a", &bulk(&value));
    gateway.clock.advance(SECOND);
    one.call("DEL a", ":1\r\n");
    // The other request still runs, and saves at its end.
    other.call(&format!("SET a {value} EX 3600"), OK);
    one.call("GET a", NIL);
    other.call("EXPIRE a 3600", ":0\r\n");
    // The first has read that there is none, and logs in again under the same id; the other has not.
    other.call(&format!("SETEX a 3600 {value}"), OK);
    other.call("EXISTS a", ":0\r\n");
    one.call("DEL a", ":0\r\n");
    log_in(&mut one, "a", "ann");
    assert_eq!(gateway.figure("sessgate_late_saves_total"), 2);

    // All ways of reading count, in transactions too, in the key space that was selected then.
    for (read, nothing) in [
        ("GET a", NIL),
        ("GETEX a EX 60", NIL),
        ("GETDEL a", NIL),
        ("MGET a", "*1\r\n$-1\r\n"),
        ("HGETALL a", "*0\r\n"),
        ("TTL a", ":-2\r\n"),
        ("EXISTS a", ":0\r\n"),
        ("TYPE a", "+none\r\n"),
    ] {
        log_in(&mut one, "a", "ann");
        gateway.clock.advance(SECOND);
        one.call("DEL a", ":1\r\n");
        let mut client = door.connect();
        client.call(read, nothing);
        log_in(&mut client, "a", "ann");
        gateway.clock.advance(SECOND);
        one.call("DEL a", ":1\r\n");
        let mut client = door.connect();
        client.call("MULTI", OK);
        client.call(read, "+QUEUED\r\n");
        client.call("SELECT 3", "+QUEUED\r\n");
        client.call("EXEC", &format!("*2\r\n{nothing}{OK}"));
        client.call("SELECT 0", OK);
        log_in(&mut client, "a", "ann");
    }

    // Its time over, the tombstone is forgotten.
    gateway.clock.advance(SECOND);
    one.call("DEL a", ":1\r\n");
    gateway.clock.advance(Duration::from_secs(61));
    other.call(&format!("SET a {value}"), OK);
    other.call("GET a", &bulk(&value));
    drop((one, other));
    door.close().await;
}

#[tokio::test]
async fn whom_the_app_logs_out_everywhere_stays_out_until_a_new_login() {
    let (gateway, door) = open(|settings| {
        let url = HookUrl::new("http://127.0.0.1:9/ended", "http://127.0.0.1:9/ended");
        settings.hooks.session_closed = Some(Hook { url, secret: None, timeout: SECOND, max_attempts: 1 });
    });
    let mut client = door.connect();
    log_in(&mut client, "a", "ann");
    log_in(&mut client, "b", "ann");
    log_in(&mut client, "c", "bob");
    client.call(&format!("HSET d user_id {}", "ann"), ":1\r\n");
    client.call("HGET d user_id", &bulk("ann"));
    assert_eq!(gateway.gateway.revoke_user(user("ann")).await.unwrap(), 3);
    assert_eq!(gateway.store.notices().await.unwrap().queued, 3);
    for id in ["a", "b", "d"] {
        client.call(&format!("EXISTS {id}"), ":0\r\n");
        client.call(&format!("SET {id} {}", express("ann")), OK);
        client.call(&format!("GET {id}"), NIL);
    }
    client.call("GET c", &bulk(&express("bob")));
    // Nor by a save that writes under another name first.
    client.call(&format!("SET temporary {}", express("ann")), OK);
    client.call("RENAME temporary a", OK);
    client.call("EXISTS temporary a", ":0\r\n");
    assert_eq!(gateway.figure("sessgate_late_saves_total"), 4);
    // The same browser, under a new id.
    log_in(&mut client, "a2", "ann");
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn a_time_that_a_client_names_is_of_the_wall_clock_however_far_ours_is_from_it() {
    let (gateway, door) = open(|_| {});
    let mut client = door.connect();
    for wall in [START - Duration::from_secs(7_200), START + Duration::from_secs(3_600)] {
        gateway.clock.set_wall(wall);
        let soon = wall + Duration::from_secs(1_800);
        let (soon, soon_ms) = (soon.as_millis() / 1_000, soon.as_millis());
        for command in [
            format!("SET a {} PXAT {soon_ms}", express("ann")),
            format!("SET b {} EXAT {soon}", express("ann")),
            format!("SET c {} EX 1800", express("ann")),
            "SET d_LOCK 1 PX 1800000".to_owned(),
        ] {
            client.call(&command, OK);
        }
        for key in ["a", "b", "c", "d_LOCK"] {
            client.call(&format!("PTTL {key}"), ":1800000\r\n");
        }
        client.call(&format!("EXPIREAT a {}", soon + 60), ":1\r\n");
        client.call("TTL a", ":1860\r\n");
        client.call(&format!("GETEX b PXAT {}", soon_ms + 60_000), &bulk(&express("ann")));
        client.call("TTL b", ":1860\r\n");
        client.call(&format!("PEXPIREAT a {}", wall.as_millis() - 1), ":1\r\n");
        client.call("GET a", NIL);
        gateway.clock.advance(Duration::from_secs(1_800));
        client.call("EXISTS a b c", ":1\r\n");
        client.call("DEL b", ":1\r\n");
        gateway.clock.advance(Duration::from_secs(100));
    }
    // Noise is none: to set the same end again sets no later one.
    gateway.clock.set_wall(gateway.gateway.now() - Duration::from_millis(3));
    let end = (START + Duration::from_secs(36_000)).as_millis();
    client.call(&format!("SET f {} PXAT {end}", express("ann")), OK);
    gateway.clock.set_wall(gateway.gateway.now() - Duration::from_millis(9));
    client.call(&format!("PEXPIREAT f {end} GT"), ":0\r\n");
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn another_name_is_the_same_session() {
    let (gateway, door) = open(|_| {});
    let (mut client, mut late) = (door.connect(), door.connect());
    log_in(&mut client, "old", "ann");
    late.call("GET old", &bulk(&express("ann")));
    gateway.clock.advance(Duration::from_secs(600));
    client.call("RENAME old new", OK);
    client.call("TTL new", ":3000\r\n");
    client.call("GET old", NIL);
    client.call("GET new", &bulk(&express("ann")));
    late.call(&format!("SET old {}", express("ann")), OK);
    late.call("GET old", NIL);
    client.call("RENAME old new", "-ERR no such key\r\n");
    assert_eq!(gateway.gateway.stats().await.unwrap().storage, 1);
    assert_eq!(gateway.gateway.revoke_user(user("ann")).await.unwrap(), 1);
    client.call("GET new", NIL);
    drop((client, late));
    door.close().await;
}

#[tokio::test]
async fn locks_are_taken_and_given_back_and_are_no_sessions() {
    const SCRIPT: &str =
        "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return redis.call(\"del\",KEYS[1]) else return 0 end";
    let (gateway, door) = open(|_| {});
    let (mut one, mut other) = (door.connect(), door.connect());
    let release = "EVALSHA b70c2384248f88e6b75b9f89241a180f856ad852 1 PHPREDIS_SESSION:x_LOCK";
    one.call("SET PHPREDIS_SESSION:x_LOCK secret-1 NX PX 30000", OK);
    other.call("SET PHPREDIS_SESSION:x_LOCK secret-2 NX PX 30000", NIL);
    one.call("GET PHPREDIS_SESSION:x_LOCK", &bulk("secret-1"));
    one.call("SETEX PHPREDIS_SESSION:x 1440 user|s:3:\"ann\";", OK);
    other.call(&format!("{release} secret-2"), ":0\r\n");
    one.call(&format!("{release} secret-1"), ":1\r\n");
    // As often as needed: a lock has no tombstone.
    other.call("SET PHPREDIS_SESSION:x_LOCK secret-2 NX PX 30000", OK);
    other.send(&[b"EVAL", SCRIPT.as_bytes(), b"1", b"PHPREDIS_SESSION:x_LOCK", b"secret-2"]);
    other.expect(":1\r\n");
    let in_lines = SCRIPT
        .replace('"', "'")
        .replace(" then ", " then\n    ")
        .replace(" else ", "\nelse\n    ")
        .replace(" end", "\nend");
    other.call("SET PHPREDIS_SESSION:x_LOCK secret-3 NX PX 30000", OK);
    one.send(&[b"EVAL", in_lines.as_bytes(), b"1", b"PHPREDIS_SESSION:x_LOCK", b"secret-2"]);
    one.expect(":0\r\n");
    one.send(&[b"EVAL", in_lines.as_bytes(), b"1", b"PHPREDIS_SESSION:x_LOCK", b"secret-3"]);
    one.expect(":1\r\n");
    other.call("SET PHPREDIS_SESSION:x_LOCK secret-3 NX PX 30000", OK);
    gateway.clock.advance(Duration::from_secs(31));
    one.call("SET PHPREDIS_SESSION:x_LOCK secret-4 NX PX 30000", OK);
    let stats = gateway.gateway.stats().await.unwrap();
    assert_eq!((stats.storage, creations(&gateway, "created")), (1, 1));
    assert_eq!(gateway.gateway.revoke_user(user("ann")).await.unwrap(), 1);
    one.call("EXISTS PHPREDIS_SESSION:x PHPREDIS_SESSION:x_LOCK", ":1\r\n");
    drop((one, other));
    door.close().await;
}

#[tokio::test]
async fn who_subscribes_hears_of_every_end() {
    let (gateway, door) = open(|_| {});
    let mut client = door.connect();
    let (mut old, mut new) = (door.connect(), door.connect());
    let subscribed = |kind: &str, name: &str, count| format!("3\r\n{}{}:{count}\r\n", bulk(kind), bulk(name));
    old.call("SUBSCRIBE __keyevent@0__:expired", &format!("*{}", subscribed("subscribe", "__keyevent@0__:expired", 1)));
    old.call("SUBSCRIBE __keyevent@0__:del", &format!("*{}", subscribed("subscribe", "__keyevent@0__:del", 2)));
    new.greet();
    new.call("PSUBSCRIBE __key*__:*", &format!(">{}", subscribed("psubscribe", "__key*__:*", 1)));
    let heard = |old: &mut RedisClient, new: &mut RedisClient, key: &str, event: &str| {
        let channel = format!("__keyevent@0__:{event}");
        old.expect(&format!("*3\r\n{}{}{}", bulk("message"), bulk(&channel), bulk(key)));
        let of_key = format!("__keyspace@0__:{key}");
        for (channel, message) in [(&of_key, event), (&channel, key)] {
            new.expect(&format!(">4\r\n{}{}{}{}", bulk("pmessage"), bulk("__key*__:*"), bulk(channel), bulk(message)));
        }
    };
    log_in(&mut client, "a", "ann");
    log_in(&mut client, "b", "ann");
    client.call("SET c 1 EX 5", OK);
    client.call("SET d 1 EX 5", OK);
    client.call("DEL a", ":1\r\n");
    heard(&mut old, &mut new, "a", "del");
    gateway.gateway.revoke_user(user("ann")).await.unwrap();
    heard(&mut old, &mut new, "b", "del");
    gateway.clock.advance(Duration::from_secs(6));
    assert_eq!(gateway.gateway.sweep().await, 2);
    heard(&mut old, &mut new, "c", "expired");
    heard(&mut old, &mut new, "d", "expired");
    // RESP3 goes on as before; RESP2 says what is possible.
    new.call("SET e 1", OK);
    new.call("PING", "+PONG\r\n");
    old.call("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    old.call("UNSUBSCRIBE __keyevent@0__:del", &format!("*{}", subscribed("unsubscribe", "__keyevent@0__:del", 1)));
    client.call("DEL e", ":1\r\n");
    // It hears no more, of this.
    old.call("UNSUBSCRIBE", &format!("*{}", subscribed("unsubscribe", "__keyevent@0__:expired", 0)));
    old.call("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n");
    old.call("GET e", NIL);
    drop((client, old, new));
    door.close().await;
}

#[tokio::test]
async fn requests_look_ups_and_unreadable_values_are_counted() {
    let (gateway, door) = open(|_| {});
    let mut client = door.connect();
    log_in(&mut client, "a", "ann");
    client.call("GET none", NIL);
    client.call("SET b \u{1}\u{2}", OK);
    client.call("SET c_LOCK 1", OK);
    client.call("GET c_LOCK", &bulk("1"));
    client.call("NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: \r\n");
    client.call("HGET a f", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    gateway.forget();
    client.call("GET a", &bulk(&express("ann")));
    drop(client);
    door.close().await;
    let requests =
        |outcome| gateway.figure(&format!("sessgate_requests_total{{door=\"redis\",outcome=\"{outcome}\"}}"));
    assert_eq!((requests("ok"), requests("refused"), requests("failed")), (7, 2, 0));
    let look_ups = |tier: &str, outcome: &str| {
        gateway.figure(&format!("sessgate_lookup_duration_seconds_count{{tier=\"{tier}\",result=\"{outcome}\"}}"))
    };
    assert_eq!((look_ups("memory", "hit"), look_ups("storage", "hit"), look_ups("none", "miss")), (2, 1, 1));
    assert_eq!(gateway.figure("sessgate_unknown_values_total"), 1);
}

#[test]
fn a_store_that_fails_is_an_error_and_never_nothing() {
    let (gateway, door) = open(|_| {});
    let mut client = door.connect();
    log_in(&mut client, "a", "ann");
    client.call("WATCH a", OK);
    gateway.break_store();
    let failed = "-ERR the session store is unavailable\r\n";
    for command in [
        "GET a",
        "MGET a b",
        "EXISTS a",
        "TTL a",
        "HGETALL a",
        "TYPE a",
        "SET a 1",
        "SET b 1",
        "DEL a",
        "EXPIRE a 9",
        "GETEX a EX 9",
        "RENAME a b",
        "DBSIZE",
        "SCAN 0",
        "WATCH b",
    ] {
        client.call(command, failed);
    }
    // Of a transaction nothing has happened.
    client.call("MULTI", OK);
    for command in ["SELECT 5", "SET a 1", "DEL b", "GET a"] {
        client.call(command, "+QUEUED\r\n");
    }
    client.call("EXEC", failed);
    client.call("EXEC", "-ERR EXEC without MULTI\r\n");
    // What is no matter of the store goes on.
    client.send_all(&["MULTI", "PING", "EXEC", "EVALSHA 0123456789012345678901234567890123456789 1 a b"]);
    client.expect("+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n-NOSCRIPT No matching script. Please use EVAL.\r\n");
    for unknown in ["EVAL script 0", "SCRIPT LOAD script", "EVALSHA b70c2384248f88e6b75b9f89241a180f856ad852 0"] {
        client.call(unknown, "-ERR there is no Lua here; of scripts, those are known that locks are released with\r\n");
    }
    client.call("SCRIPT EXISTS B70C2384248f88e6b75b9f89241a180f856ad852 x", "*2\r\n:1\r\n:0\r\n");
    // Each of those that are sent together hears of it.
    client.send_all(&["SET a 1", "SET b 2", "DEL a", "PING"]);
    client.expect(&format!("{}+PONG\r\n", failed.repeat(3)));
    drop(client);
    let failures = gateway.figure("sessgate_requests_total{door=\"redis\",outcome=\"failed\"}");
    assert_eq!(failures, 19);
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(door.close());
}
