//! Random operations, run by the store and, as the commands of the same names, by a real redis-server.
//!
//! Deadlines are whole hours from now, so that the two clocks may be minutes apart.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use sessgate::clock::{Clock, SystemClock, Timestamp};
use sessgate::session::{Content, Fields, RawName};
use sessgate::store::Store;
use sessgate::store::raw::{
    Condition, Deadline, Direction, RawOp, RawOutcome, RawRefusal, RawReply, RawSet, Renewal, TimeToLive,
};

use super::Keys;
use crate::resp::request;
use crate::support::redis_server::{Connection, RedisServer};
use crate::support::seed::Random;

const DELETE: &str =
    "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return redis.call(\"del\",KEYS[1]) else return 0 end";
const EXPIRE: &str =
    "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return redis.call(\"pexpireat\",KEYS[1],ARGV[2]) else return 0 end";
const EXTEND: &str = "local left = redis.call(\"pttl\",KEYS[1]) if redis.call(\"get\",KEYS[1]) ~= ARGV[1] or left < 0 \
    then return 0 end redis.call(\"pexpire\",KEYS[1],left + ARGV[2]) return 1";
const RENEW: &str = "local value = redis.call(\"get\",KEYS[1]) if redis.call(\"ttl\",KEYS[1]) > 0 \
    then redis.call(\"pexpireat\",KEYS[1],ARGV[1]) end return value";

/// Half of them are sessions.
pub const NAMES: [&str; 8] = ["s:a", "s:b", "s:c", "s:{0}", "p:a", "p:b", "p:c", ""];
const FIELDS: [&str; 5] = ["f", "g", "user_id", "n", ""];
const VALUES: [&str; 16] = [
    "",
    "value",
    "{\"user_id\":\"ann\"}",
    "{\"user_id\":\"bob\"}",
    "{}",
    "0",
    "-7",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "01",
    "-0",
    " 1",
    "\0\r\n",
    "ann",
    // Beyond 64 bytes redis-server would forget the order of a hash.
    "a value of some length, so that what is there grows and shrinks",
];

/// How the errors begin that depend on keys.
const ERRORS: [&str; 4] =
    ["WRONGTYPE", "ERR no such key", "ERR hash value is not an integer", "ERR increment or decrement would overflow"];

/// Commands that operations are.
const COMMANDS: usize = 20;

/// Batches that are sent to both before the answers are compared.
const CHUNK: usize = 250;

/// How many operations are compared: those of the variable, which long runs set, or enough to see each often.
fn how_many() -> usize {
    std::env::var("SESSGATE_RAW_OPERATIONS").ok().map_or(20_000, |count| count.parse().expect("a number"))
}

fn boxed(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn name(random: &mut Random) -> RawName {
    super::name(random.pick::<&str>(&NAMES))
}

fn names(random: &mut Random) -> Vec<RawName> {
    (0..=random.below(3)).map(|_| name(random)).collect()
}

fn fields(random: &mut Random) -> Vec<Box<[u8]>> {
    (0..=random.below(3)).map(|_| boxed(random.pick::<&str>(&FIELDS))).collect()
}

fn value(random: &mut Random) -> Box<[u8]> {
    boxed(random.pick::<&str>(&VALUES))
}

/// Hours ahead, or past.
fn moment(random: &mut Random, now: Timestamp) -> Timestamp {
    let hour = Duration::from_secs(3_600);
    if random.below(7) == 0 { now - hour } else { now + hour * u32::try_from(1 + random.below(9)).unwrap() }
}

fn deadline(random: &mut Random, now: Timestamp) -> Deadline {
    match random.below(4) {
        0 => Deadline::None,
        1 => Deadline::Keep,
        _ => Deadline::At(moment(random, now)),
    }
}

pub fn operation(random: &mut Random, now: Timestamp) -> RawOp {
    match random.below(26) {
        0..=5 => RawOp::Set(RawSet {
            name: name(random),
            value: value(random),
            condition: *random.pick(&[Condition::Always, Condition::Always, Condition::IfAbsent, Condition::IfPresent]),
            deadline: deadline(random, now),
            get: random.below(4) == 0,
        }),
        6 => RawOp::Get(name(random)),
        7 => RawOp::GetDel(name(random)),
        8 => RawOp::GetEx(name(random), deadline(random, now)),
        9 => RawOp::MGet(names(random)),
        10 => RawOp::Delete(names(random)),
        11 => match random.below(2) {
            0 => RawOp::Exists(names(random)),
            _ => RawOp::Touch(names(random)),
        },
        12 | 13 => {
            // Redis does not take every pair of them.
            let (condition, direction) = *random.pick(&[
                (Condition::Always, Direction::Any),
                (Condition::Always, Direction::Any),
                (Condition::Always, Direction::Later),
                (Condition::Always, Direction::Earlier),
                (Condition::IfAbsent, Direction::Any),
                (Condition::IfPresent, Direction::Any),
                (Condition::IfPresent, Direction::Later),
                (Condition::IfPresent, Direction::Earlier),
            ]);
            RawOp::Expire { name: name(random), at: moment(random, now), condition, direction }
        }
        14 => RawOp::Persist(name(random)),
        15 => RawOp::TimeToLive(name(random)),
        16 => RawOp::Type(name(random)),
        17 | 18 => RawOp::Rename { from: name(random), to: name(random) },
        19 => match random.below(4) {
            0 => RawOp::DeleteIfEqual { name: name(random), value: value(random) },
            1 => RawOp::GetAndRenew(name(random), moment(random, now)),
            which => {
                let renewal = if which == 2 {
                    Renewal::Until(moment(random, now))
                } else {
                    Renewal::By(3_600_000 * (i64::try_from(random.below(5)).unwrap() - 1))
                };
                RawOp::ExpireIfEqual { name: name(random), value: value(random), renewal }
            }
        },
        20 | 21 => {
            let pairs = fields(random).into_iter().map(|field| (field, value(random))).collect();
            RawOp::HSet { name: name(random), pairs }
        }
        22 => RawOp::HGet(name(random), boxed(random.pick::<&str>(&FIELDS))),
        23 => RawOp::HMGet(name(random), fields(random)),
        24 => match random.below(2) {
            0 => RawOp::HGetAll(name(random)),
            _ => RawOp::HDel(name(random), fields(random)),
        },
        _ => {
            let by = *random.pick(&[0, 1, -1, 7, i64::MAX, i64::MIN]);
            RawOp::HIncrBy { name: name(random), field: boxed(random.pick::<&str>(&FIELDS)), by }
        }
    }
}

type Words = Vec<Vec<u8>>;

fn words(of: &[&[u8]]) -> Words {
    of.iter().map(|word| word.to_vec()).collect()
}

fn at_words(word: &str, at: Timestamp) -> Words {
    words(&[word.as_bytes(), at.as_millis().to_string().as_bytes()])
}

/// The command of an operation.
fn command(op: &RawOp) -> Words {
    let many = |word: &str, names: &[RawName]| {
        let names = names.iter().map(|name| &name.name[..]);
        words(&std::iter::once(word.as_bytes()).chain(names).collect::<Vec<_>>())
    };
    let hash = |word: &str, name: &RawName, rest: &[Box<[u8]>]| {
        let mut all = words(&[word.as_bytes(), &name.name]);
        all.extend(rest.iter().map(|word| word.to_vec()));
        all
    };
    match op {
        RawOp::Get(name) => words(&[b"GET", &name.name]),
        RawOp::GetDel(name) => words(&[b"GETDEL", &name.name]),
        RawOp::GetEx(name, deadline) => {
            let mut all = words(&[b"GETEX", &name.name]);
            match deadline {
                Deadline::Keep => {}
                Deadline::None => all.push(b"PERSIST".to_vec()),
                Deadline::At(at) => all.extend(at_words("PXAT", *at)),
            }
            all
        }
        RawOp::MGet(names) => many("MGET", names),
        RawOp::Set(set) => {
            let mut all = words(&[b"SET", &set.name.name, &set.value]);
            match set.condition {
                Condition::Always => {}
                Condition::IfAbsent => all.push(b"NX".to_vec()),
                Condition::IfPresent => all.push(b"XX".to_vec()),
            }
            match set.deadline {
                Deadline::None => {}
                Deadline::Keep => all.push(b"KEEPTTL".to_vec()),
                Deadline::At(at) => all.extend(at_words("PXAT", at)),
            }
            all.extend(set.get.then(|| b"GET".to_vec()));
            all
        }
        RawOp::Delete(names) => many("DEL", names),
        RawOp::Exists(names) => many("EXISTS", names),
        RawOp::Touch(names) => many("TOUCH", names),
        RawOp::Expire { name, at, condition, direction } => {
            let mut all = words(&[b"PEXPIREAT", &name.name, at.as_millis().to_string().as_bytes()]);
            match condition {
                Condition::Always => {}
                Condition::IfAbsent => all.push(b"NX".to_vec()),
                Condition::IfPresent => all.push(b"XX".to_vec()),
            }
            match direction {
                Direction::Any => {}
                Direction::Later => all.push(b"GT".to_vec()),
                Direction::Earlier => all.push(b"LT".to_vec()),
            }
            all
        }
        RawOp::Persist(name) => words(&[b"PERSIST", &name.name]),
        RawOp::TimeToLive(name) => words(&[b"PTTL", &name.name]),
        RawOp::Type(name) => words(&[b"TYPE", &name.name]),
        RawOp::Rename { from, to } => words(&[b"RENAME", &from.name, &to.name]),
        RawOp::DeleteIfEqual { name, value } => words(&[b"EVAL", DELETE.as_bytes(), b"1", &name.name, value]),
        RawOp::ExpireIfEqual { name, value, renewal } => {
            let (script, number) = match renewal {
                Renewal::Until(at) => (EXPIRE, at.as_millis()),
                Renewal::By(more) => (EXTEND, *more),
            };
            words(&[b"EVAL", script.as_bytes(), b"1", &name.name, value, number.to_string().as_bytes()])
        }
        RawOp::GetAndRenew(name, at) => {
            words(&[b"EVAL", RENEW.as_bytes(), b"1", &name.name, at.as_millis().to_string().as_bytes()])
        }
        RawOp::HSet { name, pairs } => {
            let rest: Vec<_> = pairs.iter().flat_map(|(field, value)| [field.clone(), value.clone()]).collect();
            hash("HSET", name, &rest)
        }
        RawOp::HGet(name, field) => hash("HGET", name, std::slice::from_ref(field)),
        RawOp::HMGet(name, fields) => hash("HMGET", name, fields),
        RawOp::HGetAll(name) => words(&[b"HGETALL", &name.name]),
        RawOp::HDel(name, fields) => hash("HDEL", name, fields),
        RawOp::HIncrBy { name, field, by } => hash("HINCRBY", name, &[field.clone(), boxed(&by.to_string())]),
        RawOp::Bind { .. } => unreachable!("Redis has none"),
    }
}

/// What redis-server answers.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Word(String),
    Error(String),
    Integer(i64),
    Bulk(Option<Vec<u8>>),
    Array(Vec<Answer>),
}

fn answer(unread: &mut &[u8]) -> Answer {
    let end = unread.windows(2).position(|window| window == b"\r\n").expect("a whole line");
    let (line, rest) = unread.split_at(end);
    *unread = &rest[2..];
    let text = String::from_utf8_lossy(&line[1..]).into_owned();
    let number = || text.parse::<i64>().expect("a number");
    match line[0] {
        b'+' => Answer::Word(text),
        b'-' => Answer::Error(text),
        b':' => Answer::Integer(number()),
        b'*' => Answer::Array((0..number()).map(|_| answer(unread)).collect()),
        b'$' => Answer::Bulk(usize::try_from(number()).ok().map(|length| {
            let (value, rest) = unread.split_at(length);
            *unread = &rest[2..];
            value.to_vec()
        })),
        other => panic!("{other}"),
    }
}

/// The answers to requests.
fn ask(redis: &mut Connection, requests: &[Words]) -> Vec<Answer> {
    const END: &[u8] = b"$12\r\nthat was all\r\n";
    let mut bytes: Vec<u8> = requests.iter().flat_map(|words| request(words)).collect();
    bytes.extend(request(&["ECHO", "that was all"]));
    let answers = redis.exchange(&bytes, |answer| answer.ends_with(END));
    let mut unread = answers.strip_suffix(END).expect("an end");
    let answers = requests.iter().map(|_| answer(&mut unread)).collect();
    assert!(unread.is_empty());
    answers
}

/// A time to live, to the nearest hour.
fn hours(millis: i64) -> i64 {
    (millis + 1_800_000) / 3_600_000
}

/// What the store answers, as redis-server would.
fn translated(reply: &RawReply) -> Answer {
    let bulk = |value: &Option<Box<[u8]>>| Answer::Bulk(value.as_ref().map(|value| value.to_vec()));
    match reply {
        RawReply::Nil => Answer::Bulk(None),
        RawReply::Done => Answer::Word("OK".to_owned()),
        RawReply::Integer(number) => Answer::Integer(*number),
        RawReply::Bytes(value) => Answer::Bulk(Some(value.to_vec())),
        RawReply::List(values) => Answer::Array(values.iter().map(bulk).collect()),
        RawReply::Fields(data) => {
            let parts = Fields::of(data).into_iter().flat_map(|(field, value)| [field, value]);
            Answer::Array(parts.map(|part| Answer::Bulk(Some(part.to_vec()))).collect())
        }
        RawReply::Type(content) => Answer::Word(
            match content {
                None => "none",
                Some(Content::Hash) => "hash",
                Some(_) => "string",
            }
            .to_owned(),
        ),
        RawReply::TimeToLive(TimeToLive::Absent) => Answer::Integer(-2),
        RawReply::TimeToLive(TimeToLive::Unlimited) => Answer::Integer(-1),
        RawReply::TimeToLive(TimeToLive::Millis(millis)) => Answer::Integer(hours(*millis)),
        RawReply::Refused(refusal) => Answer::Error(
            match refusal {
                RawRefusal::WrongType => ERRORS[0],
                RawRefusal::NoSuchKey => ERRORS[1],
                RawRefusal::NotAnInteger => ERRORS[2],
                RawRefusal::Overflow => ERRORS[3],
                other => panic!("{other:?}"),
            }
            .to_owned(),
        ),
    }
}

/// What redis-server answers, without what may differ: the rest of an error, the minute of a time to live.
fn told(op: &RawOp, answer: Answer) -> Answer {
    match answer {
        Answer::Error(text) => {
            let known = ERRORS.iter().find(|known| text.contains(**known));
            Answer::Error(known.map_or(text.clone(), |known| (*known).to_owned()))
        }
        Answer::Integer(left) if matches!(op, RawOp::TimeToLive(_)) && left >= 0 => Answer::Integer(hours(left)),
        other => other,
    }
}

/// Each error once: by chance the rarest would be missing in one run of many.
fn every_error() -> Vec<RawOp> {
    let add = |by| RawOp::HIncrBy { name: super::name("p:a"), field: boxed("n"), by };
    vec![
        RawOp::Delete(vec![super::name("p:a"), super::name("p:b")]),
        RawOp::Rename { from: super::name("p:b"), to: super::name("p:a") },
        add(i64::MAX),
        add(1),
        super::hset("p:a", "n", "-0"),
        add(1),
        RawOp::Get(super::name("p:a")),
    ]
}

/// What a reader sees of every key.
fn everything() -> Vec<RawOp> {
    let of = |key: &&str| {
        let name = super::name(key);
        [RawOp::Type(name.clone()), RawOp::Get(name.clone()), RawOp::HGetAll(name.clone()), RawOp::TimeToLive(name)]
    };
    NAMES.iter().flat_map(of).collect()
}

/// Queues all at once, in their order, so that they share commits.
pub async fn run_all(keys: &Keys, batches: &[Vec<RawOp>]) -> Vec<RawOutcome> {
    type Waiting<'k> = Pin<Box<dyn Future<Output = RawOutcome> + Send + 'k>>;
    let run = |ops: &Vec<RawOp>| {
        let batch = keys.batch(ops.clone());
        Box::pin(async move { super::kept(keys.store.run_raw(batch).await.unwrap()) }) as Waiting<'_>
    };
    let mut waiting: Vec<_> = batches.iter().map(run).collect();
    let mut polled = Vec::new();
    for one in &mut waiting {
        polled.push(poll_fn(|context| Poll::Ready(one.as_mut().poll(context))).await);
    }
    let mut outcomes = Vec::new();
    for (one, polled) in waiting.into_iter().zip(polled) {
        outcomes.push(match polled {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => one.await,
        });
    }
    outcomes
}

fn shown(ops: &[RawOp]) -> String {
    let mut text = String::new();
    for op in ops {
        let words = command(op);
        writeln!(
            text,
            "{}",
            words.iter().map(|word| format!("'{}'", word.escape_ascii())).collect::<Vec<_>>().join(" ")
        )
        .unwrap();
    }
    text
}

async fn compare(forget: bool) {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let mut random = Random::from_env();
    eprintln!("SESSGATE_SEED={}", random.seed());
    let mut keys = Keys::new();
    let now = SystemClock::new().now().at;
    keys.terms.now = now;
    keys.terms.lifetimes.idle_timeout = Duration::from_secs(86_400 * 365);
    if forget {
        // Whoever writes knows what is there, as if it were the only client.
        keys.told_absent = NAMES.iter().map(|name| (keys.key(name), now)).collect();
    } else {
        keys.terms.tombstone = Duration::ZERO;
    }
    let (mut fine, mut errors) = (HashSet::new(), HashSet::new());
    let mut compared = 0;
    let mut history: Vec<Vec<RawOp>> = Vec::new();
    while compared < how_many() {
        let mut batches: Vec<Vec<RawOp>> = (0..CHUNK)
            .map(|_| {
                let length = if random.below(3) > 0 { 1 } else { 2 + random.below(5) };
                (0..length).map(|_| operation(&mut random, now)).collect()
            })
            .collect();
        batches.push(every_error());
        batches.push(everything());
        let mut requests = Vec::new();
        for ops in &batches {
            requests.push(words(&[b"MULTI"]));
            requests.extend(ops.iter().map(command));
            requests.push(words(&[b"EXEC"]));
        }
        let mut answers = ask(&mut redis, &requests).into_iter();
        let outcomes = run_all(&keys, &batches).await;
        for (ops, outcome) in batches.iter().zip(outcomes) {
            history.push(ops.clone());
            // The answers to MULTI and to what was queued.
            let exec = answers.by_ref().nth(ops.len() + 1);
            let Some(Answer::Array(theirs)) = exec else { panic!("{exec:?}") };
            let replies = outcome.replies.expect("nothing was watched");
            assert_eq!(outcome.late, 0);
            for ((op, reply), theirs) in ops.iter().zip(&replies).zip(theirs) {
                let (ours, theirs) = (translated(reply), told(op, theirs));
                match &ours {
                    Answer::Error(text) => errors.insert(text.clone()),
                    _ => fine.insert(command(op)[0].clone()),
                };
                let latest =
                    || history[history.len().saturating_sub(12)..].iter().map(|ops| shown(ops)).collect::<String>();
                assert_eq!(ours, theirs, "to {}after\n{}", shown(std::slice::from_ref(op)), latest());
                compared += 1;
            }
        }
    }
    assert_eq!((fine.len(), errors.len()), (COMMANDS, ERRORS.len()), "not every command and error was seen");
    keys.assert_counted().await;
    let again = keys.all(everything()).await.replies.unwrap();
    let theirs = ask(&mut redis, &everything().iter().map(command).collect::<Vec<_>>());
    for ((op, reply), theirs) in everything().iter().zip(&again).zip(theirs) {
        assert_eq!(translated(reply), told(op, theirs), "after reopening: {}", shown(std::slice::from_ref(op)));
    }
}

#[tokio::test]
async fn operations_are_answered_as_by_redis_server() {
    compare(false).await;
}

#[tokio::test]
async fn tombstones_are_unseen_by_who_knows_what_is_there() {
    compare(true).await;
}
