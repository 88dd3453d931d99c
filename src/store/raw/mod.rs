//! Keys that an app names itself, as it does in Redis: what may be asked of them, and what is answered.
//!
//! A key is a session, under every rule that sessions have, or a plain key: a lock, or something cached. Plain keys have
//! a time to live and a bound of their own, and no part in limits, figures and hooks. Which is which, and whose a
//! session is, say the rules of the configuration by the key's name and its value: after every write anew.
//!
//! Every request that changes something is a [`RawBatch`]: one operation, or those of a transaction, done as one atomic
//! step. [`run`](run::run) says what each operation means, in terms of the few that a store has to provide.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::slice;
use std::sync::Arc;

use super::Terms;
use crate::clock::Timestamp;
use crate::config::settings::Settings;
use crate::session::{Content, Ended, RawName, SessionKey, StoredSession, UserName};

pub mod run;

/// Bytes of values that a batch may answer; what would answer more is refused.
pub const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Sessions whose use a batch notes at most. Beyond it a use is put off to the session's next.
pub const USES: usize = 4_096;

/// When something is done only if a key is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// If it is not.
    IfAbsent,
    /// If it is. Of a time to live: if it has one.
    IfPresent,
}

/// What becomes of a key's time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// It stays until it is deleted.
    None,
    /// As it is.
    Keep,
    /// It ends then; at once, if that is past.
    At(Timestamp),
}

/// How long a key is to live that has a certain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Until then; it ends at once, if that is past.
    Until(Timestamp),
    /// So many milliseconds longer than it would. What lives for ever is left alone.
    By(i64),
}

/// Whether a new time to live may be longer or shorter than the one there is. None is the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Any,
    /// Longer only.
    Later,
    /// Shorter only.
    Earlier,
}

/// A field of a hash and its value.
pub type Pair = (Box<[u8]>, Box<[u8]>);

/// An operation. Each is the Redis command of the same name; what a command answers is said where it is not plain.
#[derive(Clone)]
pub enum RawOp {
    /// `GET`.
    Get(RawName),
    /// `GETDEL`.
    GetDel(RawName),
    /// `GETEX`.
    GetEx(RawName, Deadline),
    /// `MGET`.
    MGet(Vec<RawName>),
    /// `SET`, `SETEX`, `PSETEX`, `SETNX`.
    Set(RawSet),
    /// `DEL`, `UNLINK`.
    Delete(Vec<RawName>),
    /// `EXISTS`.
    Exists(Vec<RawName>),
    /// `TOUCH`.
    Touch(Vec<RawName>),
    /// `EXPIRE` and its like.
    Expire {
        /// The key.
        name: RawName,
        /// When it is to end.
        at: Timestamp,
        /// Whether it may have a time to live already.
        condition: Condition,
        /// Whether it may live longer or shorter.
        direction: Direction,
    },
    /// `PERSIST`.
    Persist(RawName),
    /// `TTL`, `PTTL`: answers [`RawReply::TimeToLive`].
    TimeToLive(RawName),
    /// `TYPE`: answers [`RawReply::Type`].
    Type(RawName),
    /// `RENAME`: the same session under another name.
    Rename {
        /// The name it has.
        from: RawName,
        /// The name it gets. What is there now ends. If the session of that name has just ended, this is a late save
        /// as another would be: the session that was to get the name ends.
        to: RawName,
    },
    /// The release of a lock: `DEL`, if the value is the one given.
    DeleteIfEqual {
        /// The key.
        name: RawName,
        /// The value it must have.
        value: Box<[u8]>,
    },
    /// A lock is held on to: `PEXPIRE`, if the value is the one given.
    ExpireIfEqual {
        /// The key.
        name: RawName,
        /// The value it must have.
        value: Box<[u8]>,
        /// How long it is to live.
        renewal: Renewal,
    },
    /// `GET`, and `EXPIREAT` unless it lives for ever.
    GetAndRenew(RawName, Timestamp),
    /// `HSET`, `HMSET`: answers how many fields are new.
    HSet {
        /// The key.
        name: RawName,
        /// Fields and their values.
        pairs: Vec<Pair>,
    },
    /// `HGET`.
    HGet(RawName, Box<[u8]>),
    /// `HMGET`.
    HMGet(RawName, Vec<Box<[u8]>>),
    /// `HGETALL`: answers [`RawReply::Fields`].
    HGetAll(RawName),
    /// `HDEL`.
    HDel(RawName, Vec<Box<[u8]>>),
    /// `HINCRBY`.
    HIncrBy {
        /// The key.
        name: RawName,
        /// The field.
        field: Box<[u8]>,
        /// By how much.
        by: i64,
    },
    /// Says whose a session is, whatever its value says. Answers how many sessions that were: 1 or 0.
    Bind {
        /// The key.
        name: RawName,
        /// The user, until it is said anew or the session ends; `None`: what the value says.
        user: Option<UserName>,
    },
}

impl RawOp {
    /// The keys that it is about.
    pub fn names(&self) -> impl Iterator<Item = &RawName> {
        let (names, other) = match self {
            Self::Get(name)
            | Self::GetDel(name)
            | Self::GetEx(name, _)
            | Self::Set(RawSet { name, .. })
            | Self::Expire { name, .. }
            | Self::Persist(name)
            | Self::TimeToLive(name)
            | Self::Type(name)
            | Self::DeleteIfEqual { name, .. }
            | Self::ExpireIfEqual { name, .. }
            | Self::GetAndRenew(name, _)
            | Self::HSet { name, .. }
            | Self::HGet(name, _)
            | Self::HMGet(name, _)
            | Self::HGetAll(name)
            | Self::HDel(name, _)
            | Self::HIncrBy { name, .. }
            | Self::Bind { name, .. } => (slice::from_ref(name), None),
            Self::MGet(names) | Self::Delete(names) | Self::Exists(names) | Self::Touch(names) => (&names[..], None),
            Self::Rename { from, to } => (slice::from_ref(from), Some(to)),
        };
        names.iter().chain(other)
    }

    /// The key to which it gives a value.
    #[must_use]
    pub fn saved(&self) -> Option<&RawName> {
        match self {
            Self::Set(RawSet { name, .. }) | Self::HSet { name, .. } | Self::HIncrBy { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether it answers values.
    #[must_use]
    pub fn answers_values(&self) -> bool {
        match self {
            Self::Set(set) => set.get,
            Self::Get(_)
            | Self::GetDel(_)
            | Self::GetEx(..)
            | Self::GetAndRenew(..)
            | Self::MGet(_)
            | Self::HGet(..)
            | Self::HMGet(..)
            | Self::HGetAll(_) => true,
            _ => false,
        }
    }
}

/// Names and values are secrets and session data.
impl fmt::Debug for RawOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawOp(…)")
    }
}

/// `SET` with its options.
#[derive(Clone)]
pub struct RawSet {
    /// The key.
    pub name: RawName,
    /// The value.
    pub value: Box<[u8]>,
    /// Whether the key may be there.
    pub condition: Condition,
    /// What becomes of its time to live.
    pub deadline: Deadline,
    /// Whether to answer the value that was there, instead of whether it was set.
    pub get: bool,
}

/// What an operation is answered.
#[derive(Clone, PartialEq, Eq)]
pub enum RawReply {
    /// Nothing is there, or a condition was not met.
    Nil,
    /// Done.
    Done,
    /// How many.
    Integer(i64),
    /// A value.
    Bytes(Box<[u8]>),
    /// Values, those that are there.
    List(Vec<Option<Box<[u8]>>>),
    /// All fields of a hash, as [`Fields`](crate::session::Fields) reads them; empty: there is none.
    Fields(Box<[u8]>),
    /// What kind of value is there; `None`: none.
    Type(Option<Content>),
    /// How long a key still lives.
    TimeToLive(TimeToLive),
    /// The operation is refused and has changed nothing.
    Refused(RawRefusal),
}

/// Values are session data.
impl fmt::Debug for RawReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "Integer({number})"),
            Self::TimeToLive(left) => left.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            _ => f.write_str("RawReply(…)"),
        }
    }
}

impl RawReply {
    /// Bytes of values in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes(value) | Self::Fields(value) => value.len(),
            Self::List(values) => values.iter().flatten().map(|value| value.len()).sum(),
            _ => 0,
        }
    }
}

/// How long a key still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    /// There is no such key.
    Absent,
    /// Until it is deleted.
    Unlimited,
    /// So many milliseconds.
    Millis(i64),
}

/// Why an operation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawRefusal {
    /// The key holds a value of another type.
    WrongType,
    /// There is no such key, where there has to be one.
    NoSuchKey,
    /// The field of a hash is no number.
    NotAnInteger,
    /// The number would grow too large.
    Overflow,
    /// The user has as many sessions as allowed, and the policy is to refuse.
    UserLimit {
        /// How many.
        limit: u64,
    },
    /// The client address creates too many sessions.
    CreationRate,
    /// The value is larger than `limits.session_bytes`.
    TooLarge {
        /// What it has.
        bytes: u64,
        /// What it may have.
        limit: u64,
    },
    /// The answer would be larger than [`ANSWER_BYTES`].
    AnswerTooLarge,
    /// The storage tier is at its cap, or the plain keys are at theirs.
    StorageFull,
}

/// Decides whether a client address may create one more session.
pub trait Admission: Send + Sync + 'static {
    /// Counts a creation; `None`: it is one too many.
    fn admit(&self, ip: IpAddr, now: Timestamp) -> Option<Counted>;
}

/// A creation that counts against a rate, unless this is dropped before it is kept: then nothing was created.
#[must_use = "what is dropped does not count"]
pub struct Counted(Option<Box<dyn FnOnce() + Send>>);

impl Counted {
    /// One that nobody takes back.
    pub fn for_good() -> Self {
        Self(None)
    }

    /// One that `give_back` takes back.
    pub fn unless_dropped(give_back: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(give_back)))
    }

    /// The session is there.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

/// Operations that are done as one, and what they have to know.
#[derive(Clone)]
pub struct RawBatch {
    /// The operations, in order.
    pub ops: Vec<RawOp>,
    /// Keys that must still be at these revisions, 0 being "absent"; otherwise nothing is done.
    pub watched: Vec<(RawName, u64)>,
    /// Keys of which the client has been told that they are not there, and when: it may make them anew. Of others that
    /// have just ended it may not know, and what it writes is late, unless it asks for a new one by
    /// [`Condition::IfAbsent`].
    pub told_absent: Vec<(SessionKey, Timestamp)>,
    /// When sessions among the keys were last used, as far as the caller knows better than the store. By that and what
    /// the store knows their idle clocks are judged, as if for a look-up: without the grace of the terms.
    pub used: HashMap<SessionKey, Timestamp>,
    /// The time, the clocks, and whether to tell the app.
    pub terms: Terms,
    /// The rules and limits in force.
    pub settings: Arc<Settings>,
    /// Counts creations.
    pub admission: Arc<dyn Admission>,
}

impl RawBatch {
    /// Bytes that it may write.
    #[must_use]
    pub fn weight(&self) -> usize {
        let written = |op: &RawOp| match op {
            RawOp::Set(set) => set.value.len(),
            RawOp::HSet { pairs, .. } => pairs.iter().map(|(field, value)| field.len() + value.len()).sum(),
            _ => 0,
        };
        self.ops.iter().map(written).sum()
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct RawOutcome {
    /// One reply for each operation; `None`: a watched key has changed, so nothing was done.
    pub replies: Option<Vec<RawReply>>,
    /// The sessions that ended.
    pub ended: Vec<Ended>,
    /// Keys that are no session any more, though none ended: it has another name now.
    pub moved: Vec<SessionKey>,
    /// The sessions that were written, as they now are.
    pub written: Vec<StoredSession>,
    /// The sessions that were read, as they were found and without their data: that is a use, which is not saved yet.
    /// Those of them that are there still, and [`USES`] at most.
    pub read: HashMap<SessionKey, StoredSession>,
    /// Sessions that are new.
    pub created: u64,
    /// What of them counts against a rate; it is for the caller to keep, who knows that all this was done.
    pub counted: Vec<Counted>,
    /// Why others were not written.
    pub refused: Vec<RawRefusal>,
    /// Late saves of sessions that have just ended: answered as if done, and not done.
    pub late: u64,
    /// Sessions that were written with a value that nobody could read, so that the user is not known.
    pub unknown: u64,
}

/// What is under a key.
#[derive(Debug)]
pub enum RawFound {
    /// A session, perhaps an expired one.
    Session(StoredSession),
    /// A plain key that has not expired.
    Plain(PlainValue),
}

/// The value of a plain key.
#[derive(Clone)]
pub struct PlainValue {
    /// What its data is.
    pub content: Content,
    /// The value.
    pub data: Box<[u8]>,
    /// When it ends.
    pub deadline: Option<Timestamp>,
    /// Changes with every write.
    pub revision: u64,
}

/// Data may be anything, so it never shows itself.
impl fmt::Debug for PlainValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainValue").field("data_bytes", &self.data.len()).finish_non_exhaustive()
    }
}

/// A part of the keys of a key space.
#[derive(Clone, Debug, Default)]
pub struct RawPage {
    /// Names, and what their values are.
    pub keys: Vec<(RawName, Content)>,
    /// Where to go on; 0: that was all.
    pub next: u64,
}
