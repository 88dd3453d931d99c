//! What the load generator says: session API requests to the sidecar, commands to Redis.

use std::sync::Arc;

use crate::load::{Answer, Exchange};

/// Bytes of a session's data: `"` and 254 characters and `"`, as JSON counts.
pub const DATA_BYTES: usize = 256;
/// Headers of an answer that are looked at.
const MAX_HEADERS: usize = 32;
const CRLF: &[u8] = b"\r\n";
/// A session's place in an index by user: a time in milliseconds, as a limit on sessions would order them.
const SCORE: &[u8] = b"1800000000000";
/// 90 days, after which our sessions end too.
const LIFETIME_SECONDS: &[u8] = b"7776000";

/// One connection's share of the users that sessions are created for: every `stride`th, `sessions` of each in a row.
pub struct Users {
    next: u64,
    stride: u64,
    end: u64,
    sessions: u64,
    given: u64,
}

impl Users {
    /// Shares `users`, with `sessions` each, among `connections`.
    pub fn share(users: std::ops::Range<u64>, sessions: u64, connections: u64) -> Vec<Self> {
        let first = users.start..users.start + connections;
        first.map(|next| Self { next, stride: connections, end: users.end, sessions, given: 0 }).collect()
    }
}

impl Iterator for Users {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.given == self.sessions {
            self.given = 0;
            self.next += self.stride;
        }
        self.given += 1;
        (self.next < self.end).then_some(self.next)
    }
}

/// Creates sessions over HTTP and keeps their tokens.
pub struct CreateSessions {
    users: Users,
    /// The tokens of the sessions created.
    pub tokens: Vec<String>,
}

impl CreateSessions {
    pub fn new(users: Users) -> Self {
        Self { users, tokens: Vec::new() }
    }
}

impl Exchange for CreateSessions {
    fn ask(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(user) = self.users.next() else { return false };
        let body = format!(r#"{{"user":"user-{user:09}","data":"{:x<1$}"}}"#, "", DATA_BYTES - 2);
        out.extend_from_slice(&create_request(&body));
        true
    }

    fn judge(&mut self, received: &[u8]) -> Answer {
        let Some((status, body)) = http_answer(received) else { return Answer::Incomplete };
        match token_in(body).filter(|_| status == 201) {
            Some(token) => {
                self.tokens.push(token.to_owned());
                Answer::Good
            }
            None => Answer::Bad,
        }
    }
}

/// The request that creates a session from a body.
pub fn create_request(body: &str) -> Vec<u8> {
    format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The token in an answer to a creation.
pub fn token_in(body: &[u8]) -> Option<&str> {
    let (_, from_token) = std::str::from_utf8(body).ok()?.split_once(r#""token":""#)?;
    from_token.split_once('"').map(|(token, _)| token)
}

/// Looks sessions up over HTTP, in an order that is random but the same in every run.
pub struct LookUpSessions {
    tokens: Arc<[String]>,
    order: Order,
}

impl LookUpSessions {
    /// One for each of `connections`.
    pub fn many(tokens: &Arc<[String]>, connections: u64) -> Vec<Self> {
        (0..connections).map(|seed| Self { tokens: Arc::clone(tokens), order: Order::seeded(seed) }).collect()
    }
}

impl Exchange for LookUpSessions {
    fn ask(&mut self, out: &mut Vec<u8>) -> bool {
        let token = &self.tokens[self.order.below(self.tokens.len())];
        out.extend_from_slice(&look_up_request(token));
        true
    }

    fn judge(&mut self, received: &[u8]) -> Answer {
        match http_answer(received) {
            None => Answer::Incomplete,
            Some((200, _)) => Answer::Good,
            Some(_) => Answer::Bad,
        }
    }
}

/// The request that looks the session of `token` up.
pub fn look_up_request(token: &str) -> Vec<u8> {
    format!("GET /v1/session HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// The status and body of an HTTP answer, once it is complete. What is no such answer reads as status 0.
pub fn http_answer(received: &[u8]) -> Option<(u16, &[u8])> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let Ok(parsed) = answer.parse(received) else { return Some((0, &[])) };
    let httparse::Status::Complete(head) = parsed else { return None };
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok()).unwrap_or(0);
    let body = received.get(head..head + length)?;
    Some((answer.code.unwrap_or(0), body))
}

/// Creates in Redis what a session is there: the value under a name as long as our tokens, and its place in the
/// user's index. Both commands go out together and are answered together.
pub struct SetAndIndex {
    users: Users,
    names: Order,
}

impl SetAndIndex {
    pub fn new(users: Users) -> Self {
        Self { names: Order::seeded(users.next), users }
    }
}

impl Exchange for SetAndIndex {
    fn ask(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(user) = self.users.next() else { return false };
        let name = format!("sg_{:016x}{:016x}{:011}", self.names.next(), self.names.next(), user);
        command(out, &[b"SET", name.as_bytes(), "x".repeat(DATA_BYTES).as_bytes()]);
        command(out, &[b"ZADD", format!("user-{user:09}").as_bytes(), SCORE, name.as_bytes()]);
        true
    }

    fn judge(&mut self, received: &[u8]) -> Answer {
        compare(received, b"+OK\r\n:1\r\n")
    }
}

/// What `redis-benchmark` puts a number in the place of, and the digits that this has then.
pub const RANDOM: &str = "__rand_int__";
const RANDOM_DIGITS: usize = RANDOM.len();

/// The name of one of many keys, as `redis-benchmark` has it.
pub fn name_of(key: &str, number: usize) -> String {
    key.replace(RANDOM, &format!("{number:0RANDOM_DIGITS$}"))
}

/// Sets keys to one value, each once.
pub struct SetEach {
    key: &'static str,
    value: Arc<[u8]>,
    left: std::ops::Range<usize>,
}

impl SetEach {
    /// Shares the first `count` keys among `connections`.
    pub fn share(key: &'static str, value: &Arc<[u8]>, count: usize, connections: usize) -> Vec<Self> {
        let each = count.div_ceil(connections);
        let of = |first| Self { key, value: Arc::clone(value), left: first..count.min(first + each) };
        (0..count).step_by(each).map(of).collect()
    }
}

impl Exchange for SetEach {
    fn ask(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(number) = self.left.next() else { return false };
        command(out, &[b"SET", name_of(self.key, number).as_bytes(), &self.value]);
        true
    }

    fn judge(&mut self, received: &[u8]) -> Answer {
        compare(received, b"+OK\r\n")
    }
}

/// Gets keys at random, so many at once; all have the same value.
#[derive(Clone)]
pub struct GetTogether {
    requests: Vec<u8>,
    answers: Arc<[u8]>,
    /// Where in the requests a number belongs.
    places: Vec<usize>,
    order: Order,
    keys: usize,
}

impl GetTogether {
    /// Gets `key`, with a number below `keys` if it has a place for one, `pipeline` times at once. One for each of
    /// `connections`, in an order that is the same in every run.
    pub fn many(key: &str, keys: usize, value: &[u8], pipeline: usize, connections: u64) -> Vec<Self> {
        let (mut requests, mut answers, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pipeline {
            command(&mut requests, &[b"GET", key.as_bytes()]);
            bulk(&mut answers, value);
            places.extend(key.find(RANDOM).map(|at| requests.len() - CRLF.len() - key.len() + at));
        }
        let answers: Arc<[u8]> = answers.into();
        let one = |seed| Self {
            requests: requests.clone(),
            answers: Arc::clone(&answers),
            places: places.clone(),
            order: Order::seeded(seed),
            keys,
        };
        (0..connections).map(one).collect()
    }
}

impl Exchange for GetTogether {
    fn ask(&mut self, out: &mut Vec<u8>) -> bool {
        for place in &self.places {
            let mut left = self.order.below(self.keys);
            for digit in self.requests[*place..place + RANDOM_DIGITS].iter_mut().rev() {
                *digit = b"0123456789"[left % 10];
                left /= 10;
            }
        }
        out.extend_from_slice(&self.requests);
        true
    }

    fn judge(&mut self, received: &[u8]) -> Answer {
        compare(received, &self.answers)
    }
}

/// Saves sessions as a session library for Redis does: JSON that names the user, to live for as long as ours.
pub struct SaveSessions {
    users: Users,
    names: Order,
    /// Whether an index by user has to be kept as well: the sidecar keeps one by itself.
    indexes: bool,
}

impl SaveSessions {
    pub fn new(users: Users, indexes: bool) -> Self {
        Self { names: Order::seeded(users.next), users, indexes }
    }
}

impl Exchange for SaveSessions {
    fn ask(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(user) = self.users.next() else { return false };
        let name = format!("sess:{:016x}{:016x}", self.names.next(), self.names.next());
        let user = format!("u-{user:09}");
        let head = format!(r#"{{"passport":{{"user":"{user}"}},"cart":""#);
        let value = format!(r#"{head}{:x<1$}"}}"#, "", DATA_BYTES - head.len() - 2);
        command(out, &[b"SET", name.as_bytes(), value.as_bytes(), b"EX", LIFETIME_SECONDS]);
        if self.indexes {
            command(out, &[b"ZADD", user.as_bytes(), SCORE, name.as_bytes()]);
        }
        true
    }

    fn judge(&mut self, received: &[u8]) -> Answer {
        compare(received, if self.indexes { b"+OK\r\n:1\r\n" } else { b"+OK\r\n" })
    }
}

/// Judges an answer of which only one is good.
pub fn compare(received: &[u8], good: &[u8]) -> Answer {
    if received == good {
        Answer::Good
    } else if good.starts_with(received) {
        Answer::Incomplete
    } else {
        Answer::Bad
    }
}

/// Appends a command as RESP has it.
pub fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bulk(out, word);
    }
}

/// Appends a value as RESP has it.
pub fn bulk(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// A random sequence that is the same in every run: `SplitMix64` (Steele, Lea and Flood, 2014).
#[derive(Clone, Copy)]
pub struct Order(u64);

impl Order {
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; even enough for what is no cryptography.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_else(|_| unreachable!("it is below `bound`"))
    }
}
