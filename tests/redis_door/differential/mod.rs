//! The whole door against a real redis-server: both get the same bytes over sockets, and answer the same.
//!
//! What differs on purpose, and is not generated: `INFO`, `CLIENT INFO` and `CLIENT ID`; `COMMAND` and `CONFIG GET`; the
//! order of `SCAN`; `DBSIZE`, which in Redis counts what has just expired; `CLIENT SETINFO` and `CLIENT NO-TOUCH`, which Redis 7.0 lacks; in a transaction, `HELLO`, `AUTH`,
//! `DBSIZE`, `SCAN`, `UNWATCH` and subscriptions, which we refuse; a watched key that was made and deleted again, which
//! for us is as it was; users, when there is no password; where in a script an error arose.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::time::Duration;

use sessgate::clock::{Clock, SystemClock};
use sessgate::session::{Capacity, OnExcess, UserLimits};

use self::generator::{Generator, Kind, Request};
use self::replies::{Reply, alike, shown};
use crate::resp::commands::ODD;
use crate::resp::request;
use crate::support::gateway::TestGateway;
use crate::support::redis_door::{RedisClient, TestRedisDoor};
use crate::support::redis_server::{Connection, RedisServer};
use crate::support::seed::Random;

mod generator;
mod replies;

/// Requests that are compared at least; `SESSGATE_DOOR_REQUESTS` says otherwise.
const COMPARED: u64 = 100_000;
/// Requests of a script.
const REQUESTS: u64 = 120;
/// Requests that are sent at once.
const PIPELINED: u64 = 20;
/// What is to be answered well at least once.
const COMMANDS: &str = "auth client del discard echo eval evalsha exec exists expire expireat get getdel getex hdel \
    hello hget hgetall hincrby hmget hmset hset mget multi persist pexpire pexpireat ping psetex psubscribe pttl \
    punsubscribe quit rename reset script select set setex setnx subscribe touch ttl type unlink unsubscribe unwatch watch";

/// Key spaces that scripts use.
const DATABASES: [&str; 3] = ["0", "1", "15"];

/// Our own rules, out of the way.
fn lenient() -> TestGateway {
    TestGateway::with(|settings| {
        settings.redis_door.tombstone = Duration::ZERO;
        settings.limits.per_user = UserLimits { sessions: None, on_excess: OnExcess::Reject, overrides: [].into() };
        settings.limits.creation_per_ip = None;
        settings.limits.stored = Capacity::default();
        settings.lifetimes.clocks.absolute_timeout = None;
        settings.lifetimes.clocks.idle_timeout = Duration::from_secs(3_000 * 86_400);
    })
}

/// The two, and a connection of each that is used for looking only.
struct Servers {
    gateway: TestGateway,
    door: TestRedisDoor,
    redis: RedisServer,
    password: Option<&'static str>,
}

impl Servers {
    fn start(password: Option<&'static str>) -> Self {
        let gateway = lenient();
        let access = password.map(|password| ("default", password));
        let door = TestRedisDoor::with(&gateway, access, sessgate::doors::resp::door::limits());
        let redis = RedisServer::start();
        let servers = Self { gateway, door, redis, password };
        let mut first = servers.connect();
        let load = request(&["SCRIPT", "LOAD", ODD[18]]);
        first.redis.exchange(&load, |answer| answer.ends_with(b"\r\n"));
        if let Some(password) = password {
            let set = request(&["CONFIG", "SET", "requirepass", password]);
            assert_eq!(first.redis.exchange(&set, |answer| answer.ends_with(b"\r\n")), b"+OK\r\n");
        }
        servers
    }

    fn connect(&self) -> Pair {
        Pair { door: self.door.connect(), redis: self.redis.connect(), in_transaction: false, unread: Vec::new() }
    }

    /// Moves the gateway's clock to the time.
    fn catch_up(&self) {
        let now = SystemClock::new().now().at;
        self.gateway.clock.advance(now.since(self.gateway.gateway.now()));
    }
}

/// A connection to each.
struct Pair {
    door: RedisClient,
    redis: Connection,
    /// As far as the generator has to know.
    in_transaction: bool,
    unread: Vec<u8>,
}

impl Pair {
    /// What both answer to bytes that ask for so many replies. Fewer: the connection was closed.
    fn ask(&mut self, pieces: &[&[u8]], count: usize) -> (Vec<Reply>, Vec<Reply>) {
        let answer = self.redis.exchange(&pieces.concat(), |answer| whole(answer).0.len() >= count);
        let theirs = whole(&answer);
        assert_eq!(theirs.1, answer.len(), "{}", answer.escape_ascii());
        for piece in pieces {
            // It may have closed.
            let _ = self.door.stream.write_all(piece);
        }
        let mut buffer = vec![0; 16 * 1024];
        let ours = loop {
            let (replies, length) = whole(&self.unread);
            if replies.len() >= count {
                assert_eq!(length, self.unread.len(), "{}", self.unread.escape_ascii());
                break replies;
            }
            match self.door.stream.read(&mut buffer) {
                Ok(0) => break replies,
                Ok(length) => self.unread.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break replies,
                Err(error) => panic!("{error}: {count} replies wanted, so far: {}", self.unread.escape_ascii()),
            }
        };
        self.unread.clear();
        (ours, theirs.0)
    }

    /// The names of all keys that are like the pattern, on either side, in order.
    fn names(&mut self, pattern: &str) -> [Vec<Vec<u8>>; 2] {
        let (mut names, mut cursors) = ([vec![], vec![]], [Some("0".to_owned()), Some("0".to_owned())]);
        while cursors.iter().any(Option::is_some) {
            for which in 0..2 {
                let Some(cursor) = cursors[which].take() else { continue };
                // The other side is asked the same, and its answer thrown away.
                let both = self.one(&["SCAN", &cursor, "MATCH", pattern, "COUNT", "1000"]);
                let Reply::Parts(_, parts) = [both.0, both.1].into_iter().nth(which).expect("two") else {
                    panic!("two parts")
                };
                let [Reply::Flat(cursor), Reply::Parts(_, found)] = &parts[..] else { panic!("a cursor and names") };
                let cursor = String::from_utf8_lossy(cursor).split("\r\n").nth(1).expect("a number").to_owned();
                cursors[which] = Some(cursor).filter(|cursor| cursor != "0");
                names[which].extend(found.iter().map(|name| match name {
                    Reply::Flat(name) => name.clone(),
                    other => panic!("{}", shown(other)),
                }));
            }
        }
        for names in &mut names {
            names.sort();
            // Redis may name a key twice.
            names.dedup();
        }
        names
    }

    fn one(&mut self, words: &[&str]) -> (Reply, Reply) {
        let (mut ours, mut theirs) = self.ask(&[&request(words)], 1);
        (ours.remove(0), theirs.remove(0))
    }
}

/// The replies that bytes begin with, and how many bytes they have.
fn whole(bytes: &[u8]) -> (Vec<Reply>, usize) {
    let (mut replies, mut at) = (Vec::new(), 0);
    while let Some((reply, length)) = replies::read(&bytes[at..]) {
        replies.push(reply);
        at += length;
    }
    (replies, at)
}

/// `HELLO` tells the connection's number.
fn without_id(reply: &Reply) -> Reply {
    let Reply::Parts(kind, mut parts) = reply.clone() else { return reply.clone() };
    if let Some(id) = parts.iter().position(|part| *part == Reply::Flat(b"$2\r\nid\r\n".to_vec())) {
        parts[id + 1] = Reply::Integer(0);
    }
    Reply::Parts(kind, parts)
}

/// One script on two connections each.
struct Script<'s> {
    servers: &'s Servers,
    generator: Generator,
    pairs: [Pair; 2],
    told: String,
    /// Commands that were answered with no error.
    fine: HashSet<Vec<u8>>,
}

impl Script<'_> {
    fn run(&mut self) -> u64 {
        let mut done = 0;
        while done < REQUESTS {
            let which = usize::from(self.generator.random.below(4) == 0);
            done += self.exchange(which);
        }
        self.compare_keys();
        done
    }

    /// Some requests on one connection, in one write or in pieces.
    fn exchange(&mut self, which: usize) -> u64 {
        let mut requests: Vec<Request> = Vec::new();
        let mut in_transaction = self.pairs[which].in_transaction;
        for _ in 0..=self.generator.random.below(PIPELINED) {
            let next = self.generator.next(in_transaction);
            let name = next.words[0].to_ascii_lowercase();
            match &name[..] {
                b"multi" => in_transaction = true,
                b"exec" | b"discard" | b"reset" => in_transaction = false,
                _ => {}
            }
            let is_last = name == b"quit";
            requests.push(next);
            if is_last {
                break;
            }
        }
        self.pairs[which].in_transaction = in_transaction;
        let bytes: Vec<u8> = requests.iter().flat_map(|request| request.bytes.clone()).collect();
        let pieces = cut(&mut self.generator.random, &bytes);
        let (ours, theirs) = self.pairs[which].ask(&pieces, requests.len());
        for (index, request) in requests.iter().enumerate() {
            let words: Vec<_> = request.words.iter().map(|word| word.escape_ascii().to_string()).collect();
            let _ = writeln!(self.told, "{which}: {}", words.join(" "));
            let (ours, theirs) = (ours.get(index).map(without_id), theirs.get(index).map(without_id));
            let same = match (&ours, &theirs) {
                (Some(ours), Some(theirs)) => alike(ours, theirs),
                (None, None) => true,
                _ => false,
            };
            let show = |reply: &Option<Reply>| reply.as_ref().map_or("(closed)".to_owned(), shown);
            assert!(same, "{}\nwe say    {}\nredis says {}", self.told, show(&ours), show(&theirs));
            let _ = writeln!(self.told, "    {}", show(&theirs));
            if !matches!(&theirs, Some(Reply::Flat(bytes)) if bytes.starts_with(b"-")) {
                self.fine.insert(request.words[0].to_ascii_lowercase());
            }
        }
        if requests.last().is_some_and(|last| last.words[0].eq_ignore_ascii_case(b"quit")) {
            self.pairs[which].door.expect_closed();
            self.pairs[which] = self.servers.connect();
        }
        requests.len() as u64
    }

    /// Both have the same keys in the end.
    fn compare_keys(&mut self) {
        let mut pair = self.servers.connect();
        if let Some(password) = self.servers.password {
            pair.one(&["AUTH", password]);
        }
        for database in DATABASES {
            pair.one(&["SELECT", database]);
            let [ours, theirs] = pair.names(&self.generator.pattern());
            let named = |names: &[Vec<u8>]| names.concat().escape_ascii().to_string();
            assert_eq!(named(&ours), named(&theirs), "keys in {database}\n{}", self.told);
        }
    }
}

/// Cuts bytes into some pieces.
fn cut<'b>(random: &mut Random, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    while random.below(3) > 0 && bytes.len() > 1 {
        let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        let (piece, rest) = bytes.split_at(at);
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

#[tokio::test]
async fn redis_server_answers_the_same() {
    let mut random = Random::from_env();
    let least = std::env::var("SESSGATE_DOOR_REQUESTS").map_or(COMPARED, |text| text.parse().expect("a number"));
    println!("SESSGATE_SEED={}", random.seed());
    let servers = [Servers::start(None), Servers::start(Some("secret"))];
    let (mut number, mut compared, mut fine) = (0_u64, 0, HashSet::new());
    while compared < least {
        number += 1;
        let kind = *random.pick(&[Kind::Any, Kind::Any, Kind::Watching, Kind::Subscribing]);
        let servers = &servers[usize::from(random.below(4) == 0)];
        servers.catch_up();
        let generator = Generator::new(random.fork(), kind, format!("{number}:"), servers.password.is_some());
        let pairs = [servers.connect(), servers.connect()];
        let mut script = Script { servers, generator, pairs, told: format!("script {number}\n"), fine: HashSet::new() };
        for which in 0..2 {
            if random.below(3) > 0
                && let Some(password) = servers.password
            {
                script.pairs[which].one(&["AUTH", password]);
            }
            if random.below(2) == 0 {
                script.pairs[which].one(&["HELLO", "3"]);
            }
        }
        compared += script.run();
        fine.extend(script.fine);
    }
    println!("{compared} requests in {number} scripts answered alike");
    if compared >= COMPARED {
        let missing: Vec<_> = COMMANDS.split(' ').filter(|name| !fine.contains(name.as_bytes())).collect();
        assert!(missing.is_empty(), "never answered but with an error: {missing:?}");
    }
    for servers in servers {
        servers.door.close().await;
    }
}
