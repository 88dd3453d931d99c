//! Commands and their arguments: redis-server refuses the same, with the same words.

use std::collections::HashSet;

use sessgate::clock::{Clock, Origins, SystemClock};
use sessgate::doors::resp::command::{Command, CommandError, HelloOption, Lifetime, Name};
use sessgate::doors::resp::frame::{Frame, Limits, Parser};
use sessgate::doors::resp::number;
use sessgate::doors::resp::reply::errors;

use super::{Words, read_whole, reply, request};
use crate::support::redis_server::RedisServer;
use crate::support::seed::Random;

/// Requests of one exchange.
const BATCH: usize = 200;

/// What ends each answer: the connection is as new then, whatever came before.
const RESET: &[u8] = b"+RESET\r\n";

/// What ends all of them.
const END: &[u8] = b"$3\r\nEND\r\n";

const KEYS: &[&str] = &["s", "s", "h", "h", "none", "k"];
const FIELDS: &[&str] = &["f", "g", "n", ""];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "10",
    "-1",
    "-10",
    "100",
    "1700000000",
    "4000000000",
    "2147483647",
    "2147483648",
    "-2147483649",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "9223372036854775",
    "9223372036854776",
    "-9223372036854775",
    "-9223372036854776",
    "9223371999999999999",
    "9223370000000000000",
    "99999999999999999999999",
    "01",
    "-0",
    "+1",
    " 1",
    "1 ",
    "1.5",
    "1e3",
    "",
    "abc",
    "0x10",
    "-",
];
const OPTIONS: &[&str] = &[
    "EX", "PX", "EXAT", "PXAT", "NX", "XX", "KEEPTTL", "GET", "PERSIST", "GT", "LT", "MATCH", "COUNT", "TYPE", "AUTH",
    "SETNAME", "ON", "OFF", "LIB-NAME", "FOO", "E", "EXX", "string", "hash",
];
pub const ODD: &[&str] = &[
    "",
    "a b",
    "a\r\nb",
    "\r\n",
    "x\0y",
    "'q'",
    "\"",
    "%s%n",
    "é",
    "*",
    "s*",
    "[",
    "default",
    "name",
    "\u{7f}",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
     01234567890123456789012345678901234567890123456789",
    "b70c2384248f88e6b75b9f89241a180f856ad852",
    "B70C2384248F88E6B75B9F89241A180F856AD853",
    r#"if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end"#,
];
pub const UNKNOWN: &[&str] =
    &["foo", "gett", "ge", "", "client|id", "g\r\net", "x\0y", "GET ", "é", "getgetgetgetgetgetget"];
pub const UNKNOWN_SUBCOMMANDS: &[&str] =
    &["foo", "MAINT_NOTIFICATIONS", "", "a\r\nb", "x\0y", "id ", "client|id", "%s"];

/// Redis 7.0 does not have these yet; clients of today send them.
const LATER: [Name; 2] = [Name::ClientSetInfo, Name::ClientNoTouch];

/// Redis takes any script.
const SCRIPTS: [Name; 3] = [Name::Script, Name::ScriptExists, Name::ScriptLoad];

/// Most of what can be wrong is wrong with these.
const HAVE_OPTIONS: [Name; 6] = [Name::Set, Name::Set, Name::GetEx, Name::Expire, Name::Scan, Name::Hello];

const TAKE_A_NUMBER_SECOND: [Name; 8] = [
    Name::SetEx,
    Name::PSetEx,
    Name::Expire,
    Name::PExpire,
    Name::ExpireAt,
    Name::PExpireAt,
    Name::Eval,
    Name::EvalSha,
];

pub fn any_case(random: &mut Random, word: &str) -> Vec<u8> {
    match random.below(3) {
        0 => word.as_bytes().to_ascii_lowercase(),
        1 => word.as_bytes().to_vec(),
        _ => {
            let flip = |byte: u8| if random.below(2) == 0 { byte.to_ascii_uppercase() } else { byte };
            word.bytes().map(flip).collect()
        }
    }
}

fn odd(random: &mut Random) -> Vec<u8> {
    let pool = *random.pick(&[KEYS, NUMBERS, OPTIONS, ODD]);
    let word = *random.pick(pool);
    if random.below(20) == 0 { vec![0xff; usize::try_from(random.below(200)).unwrap()] } else { any_case(random, word) }
}

/// What usually stands at that place of a command.
fn usual(random: &mut Random, name: Name, place: usize) -> Vec<u8> {
    let pool = match (name, place) {
        (Name::Select | Name::Hello | Name::Scan, 1) | (Name::HIncrBy, 3) => NUMBERS,
        (name, 2) if TAKE_A_NUMBER_SECOND.contains(&name) => NUMBERS,
        (Name::HGet | Name::HSet | Name::HMGet | Name::HDel | Name::HIncrBy, 2) => FIELDS,
        (Name::Set, 3..) | (Name::GetEx, 2..) => *random.pick(&[&OPTIONS[..9], &OPTIONS[..9], &NUMBERS[..10], NUMBERS]),
        (Name::Expire | Name::PExpire | Name::ExpireAt | Name::PExpireAt, 3..) => &OPTIONS[4..12],
        (Name::Scan, 2..) => *random.pick(&[&OPTIONS[11..14], &OPTIONS[11..14], NUMBERS]),
        (Name::Hello, 2..) => *random.pick(&[&OPTIONS[14..16], ODD]),
        (Name::ClientNoEvict, 2) => &OPTIONS[16..18],
        (Name::Eval | Name::EvalSha, 1) => &ODD[16..],
        (Name::Auth, 1..) => ODD,
        _ => KEYS,
    };
    let word = *random.pick(pool);
    any_case(random, word)
}

fn random_request(random: &mut Random) -> Words {
    if random.below(30) == 0 {
        let mut words: Words = vec![random.pick(UNKNOWN).as_bytes().to_vec()];
        words.extend((0..random.below(5)).map(|_| odd(random)));
        return words;
    }
    let name = loop {
        let pool = if random.below(2) == 0 { Name::ALL } else { &HAVE_OPTIONS };
        let name = *random.pick(pool);
        // After `QUIT` there is no more answer.
        if !LATER.contains(&name) && !SCRIPTS.contains(&name) && name != Name::Quit {
            break name;
        }
    };
    let mut words: Words = name.full_name().split('|').map(|part| any_case(random, part)).collect();
    let container = matches!(name, Name::Client | Name::Config | Name::Command);
    if container && random.below(3) > 0 {
        words.push(random.pick(UNKNOWN_SUBCOMMANDS).as_bytes().to_vec());
    }
    let least = u64::from(name.arity().unsigned_abs());
    let wanted = match random.below(10) {
        0 => random.below(8),
        1..=5 if name.arity() < 0 => least + random.below(7),
        _ => least,
    };
    // The whole table of commands is 200 KiB.
    let tables = matches!(name, Name::Command | Name::CommandDocs | Name::CommandInfo);
    let wanted = if tables && !container { wanted.max(least + 1) } else { wanted };
    while !(container || words.len() as u64 >= wanted) {
        let place = words.len();
        words.push(if random.below(12) == 0 { odd(random) } else { usual(random, name, place) });
    }
    if words.len() == 1 && name == Name::Command {
        words.push(b"count".to_vec());
    }
    words
}

/// An answer to this request that is no matter of keys.
enum Foreseen {
    Exactly(Vec<u8>),
    /// If the key is there.
    Perhaps(Vec<u8>),
    No,
}

fn refusal(error: CommandError<'_>) -> Vec<u8> {
    reply(|to| error.reply(to))
}

fn foresee(command: &Command<'_>) -> Foreseen {
    let now = SystemClock::new().origins();
    let too_late = |lifetime: &Lifetime| match lifetime {
        Lifetime::Until(expiry) => expiry.deadline(now).err(),
        _ => None,
    };
    let exactly =
        |error: Option<CommandError<'_>>| error.map_or(Foreseen::No, |error| Foreseen::Exactly(refusal(error)));
    match command {
        Command::Set(set) => exactly(too_late(&set.lifetime)),
        Command::Expire(expire) => exactly(expire.expiry.deadline(now).err()),
        Command::GetEx(get) => {
            let error = get.lifetime.as_ref().map_or_else(|error| Some(*error), too_late);
            error.map_or(Foreseen::No, |error| Foreseen::Perhaps(refusal(error)))
        }
        Command::Hello(hello) => {
            for option in hello.options() {
                match option {
                    // Without a password set, the default user may give any.
                    Ok(HelloOption::Auth { user: b"default", .. } | HelloOption::SetName(_)) => {}
                    Ok(HelloOption::Auth { .. }) => {
                        return Foreseen::Exactly(reply(|to| to.error(errors::WRONG_PASSWORD)));
                    }
                    Err(error) => return Foreseen::Exactly(refusal(error)),
                }
            }
            Foreseen::No
        }
        _ => Foreseen::No,
    }
}

/// Errors that depend on keys or on what came before.
fn depends(command: &Command<'_>, answer: &[u8]) -> bool {
    let known = [
        errors::WRONG_PASSWORD,
        errors::NO_PASSWORD_SET,
        errors::WRONG_TYPE,
        errors::NO_SUCH_KEY,
        errors::DATABASE_OUT_OF_RANGE,
        errors::HASH_VALUE_NOT_AN_INTEGER,
        errors::OVERFLOW,
        errors::EXEC_WITHOUT_MULTI,
        errors::DISCARD_WITHOUT_MULTI,
    ];
    matches!(command, Command::Eval { .. }) || known.iter().any(|error| answer == reply(|to| to.error(error)))
}

/// What was compared: which commands were fine, and how the errors began.
#[derive(Default)]
struct Seen {
    fine: HashSet<Name>,
    errors: HashSet<&'static str>,
}

/// How every error begins that we can have and Redis 7.0 has.
const ERRORS: &[&str] = &[
    "-ERR DB index is out of range",
    "-ERR Client names cannot contain spaces, newlines or special characters.",
    "-ERR GT and LT options at the same time are not compatible",
    "-ERR NX and XX, GT or LT options at the same time are not compatible",
    "-ERR Number of keys can",
    "-ERR Protocol version is not an integer or out of range",
    "-ERR Syntax error in HELLO option ",
    "-ERR Unsupported option ",
    "-ERR invalid cursor",
    "-ERR invalid expire time in ",
    "-ERR syntax error",
    "-ERR unknown command ",
    "-ERR unknown subcommand ",
    "-ERR value is not an integer or out of range",
    "-ERR value is out of range, value must between -2147483648 and 2147483647",
    "-ERR wrong number of arguments for ",
    "-EXECABORT Transaction discarded because of: wrong number of arguments for ",
    "-NOPROTO unsupported protocol version",
    "-NOSCRIPT No matching script. Please use EVAL.",
    "-WRONGPASS invalid username-password pair or user is disabled.",
    "-WRONGTYPE Operation against a key holding the wrong kind of value",
];

#[track_caller]
fn compare(words: &Words, answer: &[u8], seen: &mut Seen) {
    if answer.starts_with(b"-") {
        let text = String::from_utf8_lossy(answer);
        seen.errors.extend(ERRORS.iter().find(|error| text.starts_with(**error)));
    }
    let bytes = request(words);
    let mut parser = Parser::new(Limits::default(), true);
    let Ok(Frame::Request { arguments, .. }) = parser.next(&bytes) else { panic!("a request") };
    let shown = || words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
    let text = |bytes: &[u8]| bytes[..bytes.len().min(400)].escape_ascii().to_string();
    match Command::of(arguments) {
        // Redis runs it, or says what is wrong with it.
        Err(CommandError::NoLua) => {}
        Err(error) => assert_eq!(text(answer), text(&refusal(error)), "to {}", shown()),
        Ok(command) => match foresee(&command) {
            Foreseen::Exactly(expected) => assert_eq!(text(answer), text(&expected), "to {}", shown()),
            Foreseen::Perhaps(expected) => {
                let absent = answer == b"$-1\r\n" || depends(&command, answer);
                assert!(absent || answer == expected, "{} to {}", text(answer), shown());
            }
            Foreseen::No => {
                let fine = answer.first() != Some(&b'-') || depends(&command, answer);
                assert!(fine, "we take it, but redis says {} to {}", text(answer), shown());
                seen.fine.extend(Name::of(&arguments));
            }
        },
    }
}

/// Sends requests, each on a connection that is as new. Their answers.
fn answers(server: &RedisServer, requests: &[Words]) -> Vec<Vec<u8>> {
    let reset = request(&["RESET"]);
    let bytes: Vec<u8> = requests.iter().flat_map(|words| [request(words), reset.clone()].concat()).collect();
    let bytes = [&*bytes, &request(&["ECHO", "END"])].concat();
    let answer = server.connect().exchange(&bytes, |answer| answer.ends_with(END));
    let mut unread = &*answer;
    requests
        .iter()
        .map(|words| {
            let mut end = unread.windows(RESET.len()).position(|window| window == RESET).expect("an answer to each");
            if words.len() == 1 && words[0].eq_ignore_ascii_case(b"reset") {
                end += RESET.len();
            }
            let (answer, behind) = unread.split_at(end);
            unread = &behind[RESET.len()..];
            answer.to_vec()
        })
        .collect()
}

/// How many random commands are compared: those of the variable, which the long runs set, or enough to see each often.
fn how_many() -> usize {
    std::env::var("SESSGATE_RESP_COMMANDS").ok().map_or(60_000, |count| count.parse().expect("a number"))
}

#[test]
fn redis_server_refuses_the_same_commands_with_the_same_words() {
    let server = RedisServer::start();
    let mut random = Random::from_env();
    eprintln!("SESSGATE_SEED={}", random.seed());
    let seeds = [
        &["SET", "s", "value"][..],
        &["HSET", "h", "f", "1", "n", "x"],
        // Hardly ever right by chance.
        &["EVAL", ODD[18], "1", "s", "other"],
        &["EVALSHA", ODD[16], "1", "s", "other"],
    ];
    let mut seen = Seen::default();
    for _ in 0..how_many().div_ceil(BATCH) {
        let seeds = seeds.iter().map(|words| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Words>());
        let batch: Vec<Words> = seeds.chain((0..BATCH).map(|_| random_request(&mut random))).collect();
        for (words, answer) in batch.iter().zip(answers(&server, &batch)) {
            compare(words, &answer, &mut seen);
        }
    }
    let missing: Vec<_> = ERRORS.iter().filter(|error| !seen.errors.contains(**error)).collect();
    assert!(missing.is_empty(), "never answered: {missing:?}");
    let never = [Name::Quit, Name::Command, Name::Client, Name::Config];
    let never = [&never[..], &LATER, &SCRIPTS].concat();
    let possible = Name::ALL.iter().filter(|name| !never.contains(name));
    let missing: Vec<_> = possible.filter(|name| !seen.fine.contains(name)).collect();
    assert!(missing.is_empty(), "never right: {missing:?}");
}

#[test]
fn redis_server_reads_the_same_numbers() {
    let server = RedisServer::start();
    let mut random = Random::from_env();
    eprintln!("SESSGATE_SEED={}", random.seed());
    let texts: Vec<Vec<u8>> = (0..3000)
        .map(|_| match random.below(3) {
            0 => random.next().cast_signed().to_string().into_bytes(),
            1 => random.next().to_string().into_bytes(),
            _ => (0..random.below(23)).map(|_| *random.pick(b"000123456789999--+ \0x")).collect(),
        })
        .collect();
    let integers: Vec<Words> =
        texts.iter().map(|text| vec![b"HINCRBY".to_vec(), text.clone(), b"f".to_vec(), text.clone()]).collect();
    for batch in integers.chunks(BATCH) {
        let batch: Vec<Words> =
            batch.iter().flat_map(|words| [vec![b"DEL".to_vec(), words[1].clone()], words.clone()]).collect();
        for (words, answer) in batch.iter().zip(answers(&server, &batch)).skip(1).step_by(2) {
            let expected = number::integer(&words[3])
                .map_or_else(|| refusal(CommandError::NotAnInteger), |value| reply(|to| to.integer(value)));
            assert_eq!(answer, expected, "{}", words[3].escape_ascii());
        }
    }
    let cursors: Vec<Words> = texts.iter().map(|text| vec![b"SCAN".to_vec(), text.clone()]).collect();
    for batch in cursors.chunks(BATCH) {
        for (words, answer) in batch.iter().zip(answers(&server, batch)) {
            let refused = answer == refusal(CommandError::Cursor);
            assert_eq!(number::cursor(&words[1]).is_none(), refused, "{}", words[1].escape_ascii());
        }
    }
}

#[track_caller]
fn parsed(line: &str, check: impl FnOnce(Command<'_>)) {
    let words = read_whole(format!("{line}\r\n").as_bytes()).requests.remove(0);
    let bytes = request(&words);
    let mut parser = Parser::new(Limits::default(), true);
    let Ok(Frame::Request { arguments, .. }) = parser.next(&bytes) else { panic!("a request") };
    check(Command::of(arguments).unwrap_or_else(|error| panic!("{error:?}: {line}")));
}

macro_rules! means {
    ($line:expr, $pattern:pat $(if $guard:expr)?) => {
        parsed($line, |command| assert!(matches!(command, $pattern $(if $guard)?), "{}", $line));
    };
}

#[test]
fn commands_mean_what_they_say() {
    use sessgate::doors::resp::command::{Condition, Effect};
    let at = |lifetime: Lifetime, now| match lifetime {
        Lifetime::Until(expiry) => {
            let now = sessgate::clock::Timestamp::from_millis(now);
            expiry.deadline(Origins { now, ..Origins::default() }).unwrap().as_millis()
        }
        other => panic!("{other:?}"),
    };
    means!("get k", Command::Get { key: b"k" });
    means!("SET k v", Command::Set(set) if set.lifetime == Lifetime::Forever && !set.get);
    means!("set k v px 20000 nx", Command::Set(set)
        if at(set.lifetime, 5) == 20_005 && set.condition == Condition::IfAbsent && set.value == b"v");
    means!("set k v XX EXAT 7 GET", Command::Set(set)
        if at(set.lifetime, 5) == 7_000 && set.condition == Condition::IfPresent && set.get);
    means!("set k v KeepTtl", Command::Set(set) if set.lifetime == Lifetime::Keep);
    means!("set k v ex 1 ex 2", Command::Set(set) if at(set.lifetime, 0) == 2_000);
    means!("setex k 120 v", Command::Set(set) if at(set.lifetime, 1) == 120_001 && set.value == b"v");
    means!("psetex k 120 v", Command::Set(set) if at(set.lifetime, 1) == 121);
    means!("getex k", Command::GetEx(get) if matches!(get.lifetime, Ok(Lifetime::Keep)));
    means!("getex k persist", Command::GetEx(get) if matches!(get.lifetime, Ok(Lifetime::Forever)));
    means!("getex k px 0", Command::GetEx(get) if matches!(get.lifetime, Err(CommandError::ExpireTime(Name::GetEx))));
    means!("expire k -1 gt xx", Command::Expire(expire)
        if at(Lifetime::Until(expire.expiry), 5_000) == 4_000 && expire.only_later && expire.condition == Condition::IfPresent);
    means!("pexpireat k 9", Command::Expire(expire) if at(Lifetime::Until(expire.expiry), 5_000) == 9);
    means!("scan 7 match sess:* count 100 type string", Command::Scan(scan)
        if scan.cursor == 7 && scan.pattern == Some(b"sess:*") && scan.count == 100 && scan.of_type == Some(b"string"));
    means!("scan 0 match *", Command::Scan(scan) if scan.pattern.is_none() && scan.count == 10);
    means!("hmset k a 1 b 2", Command::HSet { pairs, answers_count: false, .. } if pairs.len() == 4);
    means!("hincrby k f -3", Command::HIncrBy { by: -3, .. });
    means!("auth pass", Command::Auth { user: None, password: b"pass" });
    means!("auth user pass", Command::Auth { user: Some(b"user"), password: b"pass" });
    means!(
        "evalsha B70C2384248f88e6b75b9f89241a180f856ad852 1 k v",
        Command::Eval { key: b"k", effect: Effect::Delete { value: b"v" } }
    );
    means!(
        "evalsha c3f8721cbb97f72bc19e972846bd7aaf91901658 1 k v",
        Command::Eval { key: b"k", effect: Effect::Delete { value: b"v" } }
    );
    for hash in ["36e94d1c6e02fcefaa7ee5d79eee614dbac55f10", "1cac51482acf5858da00f6d685d68f886cd6b6b2"] {
        means!(&format!("evalsha {hash} 1 k v 7"), Command::Eval { key: b"k", effect: Effect::Expire { value: b"v", expiry } }
            if at(Lifetime::Until(expiry), 5_000) == 5_007);
    }
    let extend = "evalsha a4e8783852e6b949f9ef3a97212805108459a890 1 k v 7";
    means!(&format!("{extend} 0"), Command::Eval { effect: Effect::Extend { value: b"v", by: 7 }, .. });
    means!(&format!("{extend} 1"), Command::Eval { effect: Effect::Expire { value: b"v", .. }, .. });
    means!("evalsha 54ea03b66da5fbbf9c19520232b7fc68354b94eb 1 k 7", Command::Eval { effect: Effect::Renew { expiry }, .. }
        if at(Lifetime::Until(expiry), 5_000) == 12_000);
    means!(
        "script load 'if redis.call(\"GET\", KEYS[1]) == ARGV[1]  then return redis.call(\"DEL\", KEYS[1]) else return 0 end'",
        Command::ScriptLoad { hash: "b70c2384248f88e6b75b9f89241a180f856ad852" }
    );
    means!("script exists a b", Command::ScriptExists { hashes } if hashes.len() == 2);
    means!("client setinfo LIB-NAME node-redis", Command::ClientHint);
    means!("CLIENT NO-TOUCH on", Command::ClientHint);
    means!("unsubscribe", Command::Unsubscribe { channels } if channels.is_empty());
}

#[test]
fn what_redis_7_0_does_not_have_yet_is_refused_as_by_7_2() {
    for (line, answer) in [
        ("client setinfo foo x", "-ERR Unrecognized option 'foo'\r\n"),
        ("client setinfo lib-ver 'a b'", "-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n"),
        ("client setinfo lib-ver", "-ERR wrong number of arguments for 'client|setinfo' command\r\n"),
        ("client no-touch maybe", "-ERR syntax error\r\n"),
    ] {
        let words = read_whole(format!("{line}\r\n").as_bytes()).requests.remove(0);
        compare(&words, answer.as_bytes(), &mut Seen::default());
    }
}

#[test]
fn the_lock_script_has_the_hash_it_is_known_by() {
    let server = RedisServer::start();
    let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Words>();
    let load = words(&["SCRIPT", "LOAD", ODD[18]]);
    let answer = answers(&server, &[load]).remove(0);
    assert_eq!(answer, reply(|to| to.bulk(ODD[16].as_bytes())));
}
