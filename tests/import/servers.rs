//! From a running server.

use std::fs;

use super::{FREE, door, door_of, expect_figures, figures, import, place, url};
use crate::support::proxy::Proxy;
use crate::support::redis_server::{Connection, RedisServer};

const KEYS: usize = 5_000;
const USERS: usize = 50;
const PAYLOADS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/payloads");

type Command = Vec<Vec<u8>>;

fn command(words: &[&[u8]]) -> Command {
    words.iter().map(|word| word.to_vec()).collect()
}

/// What session libraries have stored, in every format.
fn payloads() -> Vec<Vec<u8>> {
    let index = fs::read_to_string(format!("{PAYLOADS}/INDEX.tsv")).unwrap();
    let files = index.lines().skip(1).filter_map(|line| line.split('\t').next());
    files.map(|file| fs::read(format!("{PAYLOADS}/{file}")).unwrap()).collect()
}

/// The commands that make so many keys of every kind, and the keys: one in three has a TTL.
pub fn keys(count: usize) -> (Vec<Command>, Vec<Vec<u8>>) {
    let payloads = payloads();
    let (mut commands, mut keys) = (Vec::new(), Vec::new());
    for number in 0..count {
        // Names may be any bytes.
        let key = [format!("sess:{number}:").as_bytes(), &[0, b'\r', b'\n', 255]].concat();
        let user = format!("import-{}", number % USERS);
        let json = format!(r#"{{"cookie":{{"originalMaxAge":60000}},"passport":{{"user":"{user}"}},"n":{number}}}"#);
        match number % 5 {
            0 => commands.push(command(&[b"SET", &key, &payloads[number / 5 % payloads.len()]])),
            1 => commands.push(command(&[b"HSET", &key, b"user", user.as_bytes(), b"", b"\0\xff", b"n", b"1"])),
            2 => commands.push(command(&[b"SET", &key, b""])),
            _ => commands.push(command(&[b"SET", &key, json.as_bytes()])),
        }
        if number % 3 == 0 {
            let ttl = (600_000 + number * 1_000).to_string();
            commands.push(command(&[b"PEXPIRE", &key, ttl.as_bytes()]));
        }
        keys.push(key);
    }
    (commands, keys)
}

/// Insists that both servers answer the same about all keys, and nearly the same about how long they live.
#[track_caller]
pub fn expect_same(source: &mut Connection, target: &mut Connection, keys: &[Vec<u8>]) {
    for part in keys.chunks(200) {
        for what in [&b"GET"[..], b"HGETALL", b"TYPE"] {
            let ask = |of: &mut Connection| of.call(part.iter().map(|key| [what, key]));
            assert_eq!(ask(source), ask(target), "{}", String::from_utf8_lossy(what));
        }
        let ask = |of: &mut Connection| -> Vec<i64> {
            let answer = String::from_utf8(of.call(part.iter().map(|key| [b"PTTL", &key[..]]))).unwrap();
            answer.lines().map(|line| line.strip_prefix(':').unwrap().parse().unwrap()).collect()
        };
        for (here, there) in ask(source).into_iter().zip(ask(target)) {
            assert!(here == there || (here > 0 && there > 0 && (here - there).abs() <= 1_000), "{here} and {there}");
        }
    }
}

#[test]
fn everything_arrives_byte_for_byte_and_a_second_run_changes_nothing() {
    let source = RedisServer::start();
    let (commands, keys) = keys(KEYS);
    let mut here = source.connect();
    here.call(commands);
    here.call([["RPUSH", "a list", "x"], ["SADD", "a set", "x"]]);
    here.say("ZADD ranking 1 x");
    let place = place(FREE);
    let sidecar = place.start();

    let url = url(&source.socket());
    let first = import(&place, &["--redis", &url]).expect(0);
    let count = KEYS as u64;
    expect_figures(&first, [count, 0, 0, 0]);
    let other = figures(&first.out);
    assert_eq!([other["other types"], other["list"], other["set"], other["zset"]], [3, 1, 1, 1], "{}", first.out);
    assert!(first.err.contains(" keys/s, "), "{}", first.err);
    let mut there = door(&place);
    expect_same(&mut here, &mut there, &keys);
    assert_eq!(there.say("DBSIZE"), format!(":{KEYS}\r\n"));

    // Each user has as many of the sessions as of the values that name one.
    let named = |user| (0..KEYS).filter(|n| n % USERS == user && matches!(n % 5, 1 | 3 | 4)).count();
    let mut api = sidecar.client();
    for user in [1, 3, 4, 8] {
        let list = api.get(&format!("/v1/users/import-{user}/sessions?limit=1000")).expect(200).text();
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list["sessions"].as_array().map(Vec::len), Some(named(user)), "import-{user}");
    }

    // What the app has changed since is not set back.
    there.call([[&b"SET"[..], &keys[0], b"changed"]]);
    there.call([[&b"HSET"[..], &keys[1], b"user", b"changed"]]);
    let second = import(&place, &["--redis", &url]).expect(0);
    expect_figures(&second, [0, count, 0, 0]);
    assert_eq!(there.call([[&b"GET"[..], &keys[0]]]), b"$7\r\nchanged\r\n");
    assert_eq!(there.call([[&b"HGET"[..], &keys[1], b"user"]]), b"$7\r\nchanged\r\n");
    expect_same(&mut here, &mut there, &keys[2..]);
    let left: Vec<_> = fs::read_dir(place.store_path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("import-")), "{left:?}");
    sidecar.stop();
}

#[test]
fn what_the_app_writes_meanwhile_stays() {
    let source = RedisServer::start();
    let (commands, keys) = keys(KEYS);
    source.connect().call(commands);
    let place = place(FREE);
    let sidecar = place.start();
    let mut live = door(&place);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for part in keys.chunks(10) {
                live.call(part.iter().map(|key| [&b"SET"[..], key, b"live"]));
            }
        });
        let ended = import(&place, &["--redis", &url(&source.socket())]).expect(0);
        let figures = figures(&ended.out);
        assert_eq!(figures["moved"] + figures["there already"], KEYS as u64, "{}", ended.out);
        writing.join().expect("all is written");
    });
    let answer = live.call(keys.iter().map(|key| [&b"GET"[..], key]));
    assert_eq!(String::from_utf8_lossy(&answer), "$4\r\nlive\r\n".repeat(KEYS));
    sidecar.stop();
}

#[test]
fn a_database_keeps_its_number_unless_told_otherwise() {
    let source = RedisServer::start();
    let mut here = source.connect();
    here.call([["SET", "zero", "0"], ["SELECT", "3", "."]].map(|words| words.into_iter().filter(|word| *word != ".")));
    here.say("SET three 3");
    let proxy = Proxy::to(&source.socket());
    let url = format!("redis://{}/3", proxy.address());
    let place = place(FREE);
    let sidecar = place.start();
    expect_figures(&import(&place, &["--redis", &url]).expect(0), [1, 0, 0, 0]);
    let mut there = door(&place);
    assert_eq!(there.say("DBSIZE"), ":0\r\n");
    assert_eq!(there.call([vec!["SELECT", "3"], vec!["GET", "three"]]), b"+OK\r\n$1\r\n3\r\n");

    let door = Proxy::to(&door_of(&place));
    let to = format!("redis://{}/5", door.address());
    expect_figures(&import(&place, &["--redis", &url, "--to", &to]).expect(0), [1, 0, 0, 0]);
    assert_eq!(there.call([vec!["SELECT", "5"], vec!["GET", "three"]]), b"+OK\r\n$1\r\n3\r\n");

    let beyond = format!("redis://{}/99", proxy.address());
    let told = import(&place, &["--redis", &beyond]).expect(64).err;
    assert!(told.contains("DB index is out of range"), "{told}");
    let told = import(&place, &["--redis", &url, "--to", &beyond.replace("/99", "/16")]).expect(64).err;
    assert!(told.contains("DB index is out of range"), "{told}");
    sidecar.stop();
}

#[test]
fn passwords_are_given_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let source = RedisServer::start_in(
        directory,
        &["--requirepass", "s0urce/pass", "--user", "ann", "on", ">ann-pass", "~*", "+@all"],
    );
    let mut here = source.connect();
    here.call([vec!["AUTH", "s0urce/pass"], vec!["SET", "a", "1"]]);
    let place = place("");
    fs::write(place.path().join("password"), "d00r-pass\n").unwrap();
    let config = fs::read_to_string(place.config_path()).unwrap();
    let config = config.replace("redis.sock'", "redis.sock', redis_password_file: password");
    fs::write(place.config_path(), config).unwrap();
    let sidecar = place.start();

    let proxy = Proxy::to(&source.socket());
    let url = |login: &str| format!("redis://{login}{}", proxy.address());
    let right = url(":s0urce%2Fpass@");
    for (login, code) in [
        (url(""), 64),
        (url(":wr0ng-pass@"), 64),
        (url("bob:s0urce%2Fpass@"), 64),
        (url("ann:ann-pass@"), 0),
        (right.clone(), 0),
    ] {
        let ended = import(&place, &["--redis", &login]).expect(code);
        let all = ended.out + &ended.err;
        assert!(!all.contains("pass@") && !all.contains("0urce") && !all.contains("wr0ng"), "{all}");
        assert_eq!(code == 64, all.contains("hint: see the user, the password"), "{all}");
    }
    let file = |text: &str, code| {
        fs::write(place.path().join("source"), text).unwrap();
        let ended = import(&place, &["--redis", &url(""), "--redis-password-file", "source"]).expect(code);
        ended.out + &ended.err
    };
    file("s0urce/pass\n", 0);
    let told = file("wr0ng-pass", 64);
    assert!(told.contains("hint: see the user, the password") && !told.contains("wr0ng"), "{told}");
    let told = file("\n", 64);
    assert!(told.contains("`--redis-password-file` is an empty file"), "{told}");
    let door = Proxy::to(&door_of(&place));
    let to = |login: &str| format!("redis://{login}{}", door.address());
    import(&place, &["--redis", &right, "--to", &to(":d00r-pass@")]).expect(0);
    let told = import(&place, &["--redis", &right, "--to", &to(":wr0ng@")]).expect(64).err;
    assert!(told.contains("WRONGPASS") && !told.contains("wr0ng"), "{told}");
    let told = import(&place, &["--redis", &right, "--to", &to("")]).expect(64).err;
    assert!(told.contains("NOAUTH"), "{told}");
    sidecar.stop();
}

#[test]
fn what_is_no_server_is_told() {
    let place = place("");
    let none = url(&place.path().join("none.sock"));
    for (arguments, words) in [
        (&["--redis", "localhost:6379"][..], "`--redis` takes `redis://"),
        (&["--redis", "redis://h/x"], "`--redis` takes `redis://"),
        (&["--redis", "rediss://h"], "does not speak TLS"),
        (&["--redis", &none, "--to", "http://h"], "`--to` takes `redis://"),
        (&[], "--redis <URL>"),
        (&["--redis", &none, "--sessions-json", "f"], "cannot be used with"),
        (&["--sessions-json", "f", "--state", "f"], "cannot be used with"),
    ] {
        let told = import(&place, arguments).expect(64).err;
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    let told = import(&place, &["--redis", &none]).expect(70).err;
    assert!(told.contains("none.sock: ") && told.contains("run the same command again"), "{told}");
    let sidecar = place.start();
    // The API does not speak that protocol.
    let told = import(&place, &["--redis", &url(&place.path().join("api.sock"))]).expect(70).err;
    assert!(told.contains("api.sock: it "), "{told}");
    sidecar.stop();

    let told = import(&place, &["--sessions-json", "f"]).expect(70).err;
    assert!(told.contains("redis.sock: "), "{told}");
    place.write_config("listen: { api: 127.0.0.1:0, admin: 127.0.0.1:0 }\n");
    let told = import(&place, &["--redis", &none]).expect(64).err;
    assert!(told.contains("set `listen.redis` in the configuration"), "{told}");
    place.write_config("limits: { x: 1 }\n");
    import(&place, &["--redis", &none]).expect(78);
}
