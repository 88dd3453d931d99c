//! Requests such as session libraries and their users send, right and wrong.

use sessgate::clock::{Clock, SystemClock};
use sessgate::doors::resp::command::Name;

use crate::resp::commands::{ODD, UNKNOWN, UNKNOWN_SUBCOMMANDS, any_case};
use crate::resp::{Words, request};
use crate::support::seed::Random;

/// Names of strings, hashes and of what is mostly not there; sessions and plain keys of each.
const KEYS: &[&str] = &["s", "s", "s2", "s_LOCK", "h", "h", "h2", "h_LOCK", "none"];
const FIELDS: &[&str] = &["f", "g", "n", "", "user"];
const VALUES: &[&str] = &["v", "", "7", "-1", "9223372036854775807", "two words", "{\"user\":{\"id\":\"u-1\"}}"];
const NUMBERS: &[&str] =
    &["0", "1", "-1", "7", "9223372036854775807", "9223372036854775808", "01", "abc", "", "1.5", " 1"];
const DATABASES: &[&str] = &["0", "0", "0", "1", "15", "16", "-1", "abc", "2147483648"];
const CHANNELS: &[&str] = &["c1", "c2", "c3"];
const SECRETS: &[&str] = &["secret", "secret", "wrong", ""];
const COMPARE_AND_DELETE_HASH: &str = ODD[16];
const COMPARE_AND_DELETE: &str = ODD[18];
const COMPARE_AND_EXPIRE: &str = "if redis.call('get',KEYS[1]) == ARGV[1] then
    return redis.call('pexpire',KEYS[1],ARGV[2]) else return 0 end";
const COMPARE_AND_EXTEND: &str = "local token = redis.call('get', KEYS[1])
    if not token or token ~= ARGV[1] then return 0 end
    local expiration = redis.call('pttl', KEYS[1]) if not expiration then expiration = 0 end
    if expiration < 0 then return 0 end
    local newttl = ARGV[2] if ARGV[3] == '0' then newttl = ARGV[2] + expiration end
    redis.call('pexpire', KEYS[1], newttl) return 1";
const GET_AND_RENEW: &str = "local key = KEYS[1] local renew = tonumber(ARGV[1])
    local data = redis.call('GET', key) local ttl = redis.call('TTL', key)
    if ttl > 0 then redis.call('EXPIRE', key, renew) end return data";

/// Where a request stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    Any,
    /// Keys are watched. None is deleted, since a key that is absent again has not changed for us.
    Watching,
    /// Subscriptions, of which each command names one.
    Subscribing,
}

/// A script of requests for one key space.
pub struct Generator {
    pub random: Random,
    kind: Kind,
    prefix: String,
    has_password: bool,
    lifetimes: u64,
}

/// One request, in words, and as bytes.
pub struct Request {
    pub words: Words,
    pub bytes: Vec<u8>,
}

impl Generator {
    pub fn new(random: Random, kind: Kind, prefix: String, has_password: bool) -> Self {
        Self { random, kind, prefix, has_password, lifetimes: 0 }
    }

    /// What all its keys are like.
    pub fn pattern(&self) -> String {
        format!("{}*", self.prefix)
    }

    fn word(&mut self, from: &[&str]) -> Vec<u8> {
        self.random.pick(from).as_bytes().to_vec()
    }

    fn key(&mut self) -> Vec<u8> {
        let key = *self.random.pick(KEYS);
        format!("{}{key}", self.prefix).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        if self.random.below(10) == 0 { b"x\0\r\n\xff".to_vec() } else { self.word(VALUES) }
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.random.below(many) == 0
    }

    /// A time to live of hours and days, each another one, so that none is nearly another; or one that is none.
    fn lifetime(&mut self, unit: &str) -> Vec<u8> {
        if self.one_in(12) {
            return self.word(&["abc", "", "1.5", "9223372036854775807", "9223372036854775808", "01", "+1"]);
        }
        // What is past deletes.
        if self.kind != Kind::Watching && self.one_in(8) {
            return self.word(&["0", "-1", "-100"]);
        }
        self.lifetimes += 1;
        let seconds = 7_200 + (self.lifetimes * 7_919 % 10_000) * 100;
        let now = SystemClock::new().now().at.as_millis().unsigned_abs() / 1_000;
        let past = self.kind != Kind::Watching && self.one_in(10);
        match unit {
            "ex" => seconds.to_string(),
            "px" => (seconds * 1_000).to_string(),
            "exat" if past => (now - seconds).to_string(),
            "exat" => (now + seconds).to_string(),
            _ if past => ((now - seconds) * 1_000).to_string(),
            _ => ((now + seconds) * 1_000).to_string(),
        }
        .into_bytes()
    }

    fn times(&mut self, words: &mut Words, mut word: impl FnMut(&mut Self) -> Vec<u8>) {
        for _ in 0..=self.random.below(3) {
            let word = word(self);
            words.push(word);
        }
    }

    fn lifetime_option(&mut self, words: &mut Words) {
        let unit = *self.random.pick(&["ex", "px", "exat", "pxat"]);
        words.push(any_case(&mut self.random, unit));
        words.push(self.lifetime(unit));
    }

    fn option(&mut self, from: &[&str], words: &mut Words) {
        let option = *self.random.pick(from);
        words.push(any_case(&mut self.random, option));
    }

    fn is_allowed(&self, name: Name) -> bool {
        match name {
            // Answered in our own words: server::tests has them.
            Name::Info
            | Name::Command
            | Name::CommandCount
            | Name::CommandDocs
            | Name::CommandInfo
            | Name::ClientId
            | Name::ClientInfo
            | Name::ConfigGet
            // What there is, is compared at the end of each script.
            | Name::Scan
            | Name::DbSize
            // Redis 7.0 does not have them yet.
            | Name::ClientSetInfo
            | Name::ClientNoTouch
            // What Redis knows depends on what it was told before.
            | Name::ScriptExists
            | Name::Script
            | Name::Client
            | Name::Config => false,
            Name::Subscribe | Name::Unsubscribe | Name::PSubscribe | Name::PUnsubscribe => {
                self.kind == Kind::Subscribing
            }
            // Within a transaction these run on Redis, and not here.
            Name::Multi | Name::Watch if self.kind == Kind::Subscribing => false,
            Name::Hello | Name::Unwatch => self.kind == Kind::Subscribing || self.kind == Kind::Any,
            Name::Auth => self.kind == Kind::Any,
            Name::Watch => self.kind == Kind::Watching,
            Name::Del | Name::Unlink | Name::GetDel | Name::Rename | Name::HDel | Name::Eval | Name::EvalSha => {
                self.kind != Kind::Watching
            }
            _ => true,
        }
    }

    /// The next request. Each has exactly one reply.
    pub fn next(&mut self, in_transaction: bool) -> Request {
        let words = loop {
            let words = self.words(in_transaction);
            if !words.is_empty() {
                break words;
            }
        };
        let bytes = if self.one_in(10) { inline(&words) } else { None };
        let bytes = bytes.unwrap_or_else(|| request(&words));
        Request { words, bytes }
    }

    fn words(&mut self, in_transaction: bool) -> Words {
        if self.one_in(40) {
            let mut words = vec![self.word(UNKNOWN)];
            self.times(&mut words, Self::value);
            return words;
        }
        if self.one_in(40) {
            let container = *self.random.pick(&["client", "config", "command", "script"]);
            return vec![any_case(&mut self.random, container), self.word(&UNKNOWN_SUBCOMMANDS[1..])];
        }
        let name = match self.random.below(12) {
            0 if self.kind != Kind::Subscribing => *self.random.pick(&[Name::Multi, Name::Exec, Name::Exec]),
            1 if self.kind == Kind::Watching && !in_transaction => Name::Watch,
            2 if self.kind == Kind::Subscribing => {
                *self.random.pick(&[Name::Subscribe, Name::Unsubscribe, Name::PSubscribe, Name::PUnsubscribe])
            }
            3 | 4 => *self.random.pick(&[Name::Set, Name::Set, Name::HSet, Name::GetEx, Name::Expire]),
            _ => *self.random.pick(Name::ALL),
        };
        let of_connection = matches!(name, Name::Hello | Name::Auth | Name::Unwatch);
        if !self.is_allowed(name) || (in_transaction && of_connection) {
            return vec![];
        }
        // They end what the others are about.
        if matches!(name, Name::Quit | Name::Reset) && !self.one_in(4) {
            return vec![];
        }
        let mut words: Words = name.full_name().split('|').map(|part| any_case(&mut self.random, part)).collect();
        // Too few arguments, or too many.
        let odd = !matches!(name, Name::Unsubscribe | Name::PUnsubscribe | Name::Hello | Name::Auth);
        if odd && self.one_in(25) {
            for _ in 0..self.random.below(3) {
                let word = self.value();
                words.push(word);
            }
            let count = i32::try_from(words.len()).unwrap();
            if (name.arity() > 0 && count != name.arity()) || count < -name.arity() {
                return words;
            }
            return vec![];
        }
        self.arguments(name, &mut words);
        words
    }

    fn arguments(&mut self, name: Name, words: &mut Words) {
        match name {
            Name::Ping if self.one_in(2) => {}
            Name::Ping | Name::Echo => words.push(self.value()),
            Name::Select => words.push(self.word(DATABASES)),
            Name::ClientSetName => words.push(self.word(&["worker-1", "", "a b", "x\ny"])),
            Name::ClientNoEvict => words.push(self.word(&["on", "OFF", "maybe"])),
            Name::Hello => self.hello(words),
            Name::Auth => self.credentials(words),
            Name::Subscribe | Name::Unsubscribe | Name::PSubscribe | Name::PUnsubscribe => {
                words.push(self.word(CHANNELS));
            }
            Name::MGet | Name::Exists | Name::Touch | Name::Del | Name::Unlink | Name::Watch => {
                self.times(words, Self::key);
            }
            Name::Eval | Name::EvalSha => {
                let which = usize::try_from(self.random.below(4)).unwrap();
                let (text, numbers): (_, &[&str]) = match (name, which) {
                    (Name::EvalSha, _) => (COMPARE_AND_DELETE_HASH, &[]),
                    (_, 0) => (COMPARE_AND_DELETE, &[]),
                    (_, 1) => (COMPARE_AND_EXPIRE, &["3600000"]),
                    (_, 2) => {
                        (COMPARE_AND_EXTEND, *self.random.pick::<&[&str]>(&[&["3600000", "0"], &["7200000", "1"]]))
                    }
                    _ => (GET_AND_RENEW, &[]),
                };
                words.push(text.as_bytes().to_vec());
                if self.one_in(6) {
                    let count = self.word(&["-1", "9", "abc", "9223372036854775808"]);
                    words.push(count);
                } else {
                    words.push(b"1".to_vec());
                }
                // Of a hash, Redis tells where in the script it failed.
                let key = *self.random.pick(&["e", "e_LOCK"]);
                words.push(format!("{}{key}", self.prefix).into_bytes());
                words.push(if text == GET_AND_RENEW { b"7200".to_vec() } else { self.value() });
                words.extend(numbers.iter().map(|number| number.as_bytes().to_vec()));
            }
            Name::ScriptLoad => words.push(COMPARE_AND_DELETE.as_bytes().to_vec()),
            _ => {
                if name.arity() != 1 {
                    words.push(self.key());
                    self.of_key(name, words);
                }
            }
        }
    }

    fn of_key(&mut self, name: Name, words: &mut Words) {
        match name {
            Name::Set => {
                words.push(self.value());
                for _ in 0..self.random.below(3) {
                    match self.random.below(3) {
                        0 => self.lifetime_option(words),
                        1 => self.option(&["nx", "xx"], words),
                        _ => self.option(&["get", "keepttl", "get", "persist", "foo", "ex"], words),
                    }
                }
            }
            Name::SetNx => words.push(self.value()),
            Name::SetEx => {
                let (lifetime, value) = (self.lifetime("ex"), self.value());
                words.extend([lifetime, value]);
            }
            Name::PSetEx => {
                let (lifetime, value) = (self.lifetime("px"), self.value());
                words.extend([lifetime, value]);
            }
            Name::GetEx => match self.random.below(4) {
                0 => {}
                1 => self.option(&["persist", "keepttl", "foo"], words),
                _ => self.lifetime_option(words),
            },
            Name::Expire | Name::PExpire | Name::ExpireAt | Name::PExpireAt => {
                let unit = match name {
                    Name::Expire => "ex",
                    Name::PExpire => "px",
                    Name::ExpireAt => "exat",
                    _ => "pxat",
                };
                words.push(self.lifetime(unit));
                for _ in 0..self.random.below(3) {
                    self.option(&["nx", "xx", "gt", "lt", "gt", "lt", "foo"], words);
                }
            }
            Name::Rename => words.push(self.key()),
            Name::HGet => words.push(self.word(FIELDS)),
            Name::HMGet | Name::HDel => self.times(words, |this| this.word(FIELDS)),
            Name::HSet | Name::HMSet => {
                for _ in 0..=self.random.below(3) {
                    let (field, value) = (self.word(FIELDS), self.value());
                    words.extend([field, value]);
                }
                if self.one_in(15) {
                    words.pop();
                }
            }
            Name::HIncrBy => {
                let (field, by) = (self.word(FIELDS), self.word(NUMBERS));
                words.extend([field, by]);
            }
            _ => {}
        }
    }

    fn hello(&mut self, words: &mut Words) {
        if self.one_in(5) {
            return;
        }
        words.push(self.word(&["2", "3", "3", "3", "4", "abc"]));
        if self.one_in(3) {
            words.push(b"AUTH".to_vec());
            self.user_and_password(words);
        }
        if self.one_in(3) {
            words.push(b"SetName".to_vec());
            words.push(self.word(&["worker-2", "a b"]));
        }
        if self.one_in(10) {
            self.option(&["foo", "auth", "setname"], words);
        }
    }

    fn credentials(&mut self, words: &mut Words) {
        match self.random.below(6) {
            0 => words.push(self.word(SECRETS)),
            1 => words.extend([b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]),
            _ => self.user_and_password(words),
        }
    }

    fn user_and_password(&mut self, words: &mut Words) {
        // Without a password, we take any user, and Redis only the one it has.
        let other = self.has_password && self.one_in(6);
        words.push(if other { b"other".to_vec() } else { b"default".to_vec() });
        words.push(self.word(SECRETS));
    }
}

/// The request as a line of words, if that can be.
fn inline(words: &Words) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    for word in words {
        if word.is_empty() || !word.iter().all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(byte)) {
            return None;
        }
        line.extend_from_slice(word);
        line.push(b' ');
    }
    line.extend_from_slice(b"\r\n");
    Some(line)
}
