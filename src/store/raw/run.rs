//! What each operation means, in terms of what a store provides: the same for every store.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{
    ANSWER_BYTES, Condition, Deadline, Direction, Pair, RawOp, RawRefusal, RawReply, RawSet, Renewal, TimeToLive,
};
use crate::clock::Timestamp;
use crate::session::{Content, Fields, RawName, UserName};

/// From here on Redis's `TTL` says that a key has a second to live.
const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// A key that is there, and where.
#[derive(Clone)]
pub struct Held<P> {
    /// What its data is.
    pub content: Content,
    /// The value.
    pub data: Box<[u8]>,
    /// When it ends, if the app or a rule has said so.
    pub deadline: Option<Timestamp>,
    /// Changes with every write.
    pub revision: u64,
    /// Where the store has it.
    pub place: P,
}

/// A value to be written.
pub struct NewValue {
    /// What its data is.
    pub content: Content,
    /// The value.
    pub data: Box<[u8]>,
    /// When it is to end.
    pub deadline: Option<Timestamp>,
    /// Whether it is asked for only if nothing is there, as a lock is: then it is no late save of what was there.
    pub only_new: bool,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Kept,
    /// It was a late save, and is not.
    Dropped,
}

/// The keys of a store within one atomic step. An error means that the step is lost.
#[expect(clippy::missing_errors_doc, reason = "one sentence says it of all")]
pub trait RawKeys {
    /// Where the store has a key.
    type Place;
    /// How the store fails.
    type Error;

    /// The time of the step.
    fn now(&self) -> Timestamp;

    /// What is under a name, unless its time is over.
    fn find(&mut self, name: &RawName) -> Result<Option<Held<Self::Place>>, Self::Error>;

    /// Notes that the value that was found is read: a use of it.
    fn read(&mut self, held: &Held<Self::Place>);

    /// Writes a value under a name, in the place of what was found there just now. A late save is not written, and no
    /// refusal.
    fn put(
        &mut self,
        name: &RawName,
        held: Option<Held<Self::Place>>,
        new: NewValue,
    ) -> Result<Result<Written, RawRefusal>, Self::Error>;

    /// Whether a save under a name that has no key now is late, and counts it if so.
    fn is_late_save(&mut self, name: &RawName) -> Result<bool, Self::Error>;

    /// Changes when a key ends, and nothing else.
    fn set_deadline(
        &mut self,
        name: &RawName,
        held: Held<Self::Place>,
        deadline: Option<Timestamp>,
    ) -> Result<(), Self::Error>;

    /// Removes a key.
    fn remove(&mut self, name: &RawName, held: Held<Self::Place>) -> Result<(), Self::Error>;

    /// Moves a key to another name, in the place of what was found there just now.
    fn rename(
        &mut self,
        from: &RawName,
        held: Held<Self::Place>,
        to: &RawName,
        there: Option<Held<Self::Place>>,
    ) -> Result<Result<(), RawRefusal>, Self::Error>;

    /// Says whose a session is; `None`: what its value says. False if there is no session.
    fn bind(
        &mut self,
        name: &RawName,
        held: Held<Self::Place>,
        user: Option<&UserName>,
    ) -> Result<Result<bool, RawRefusal>, Self::Error>;
}

/// Does operations, in order. Once their answers have [`ANSWER_BYTES`], those that would add to them are refused.
///
/// # Errors
/// If the store fails.
pub fn run_all<K: RawKeys>(ops: &[RawOp], keys: &mut K) -> Result<Vec<RawReply>, K::Error> {
    let mut bytes = 0;
    let mut replies = Vec::with_capacity(ops.len());
    for op in ops {
        let reply = if bytes > ANSWER_BYTES && op.answers_values() {
            RawReply::Refused(RawRefusal::AnswerTooLarge)
        } else {
            run(op, keys)?
        };
        bytes += reply.bytes();
        replies.push(reply);
    }
    Ok(replies)
}

/// Does an operation.
///
/// # Errors
/// If the store fails. What refuses the operation itself is a reply.
pub fn run<K: RawKeys>(op: &RawOp, keys: &mut K) -> Result<RawReply, K::Error> {
    match op {
        RawOp::Get(name) => {
            Ok(text(read(name, keys)?).map_or_else(RawReply::Refused, |held| bytes(held.map(|it| it.data))))
        }
        RawOp::GetDel(name) => get_del(name, keys),
        RawOp::GetEx(name, deadline) => get_ex(name, *deadline, keys),
        RawOp::MGet(names) => {
            let mut values = Bounded::default();
            for name in names {
                let held = read(name, keys)?.filter(|held| held.content != Content::Hash);
                if !values.push(held.map(|held| held.data)) {
                    return Ok(RawReply::Refused(RawRefusal::AnswerTooLarge));
                }
            }
            Ok(RawReply::List(values.values))
        }
        RawOp::Set(set) => run_set(set, keys),
        RawOp::Delete(names) => {
            let mut deleted = 0;
            for name in names {
                if let Some(held) = keys.find(name)? {
                    keys.remove(name, held)?;
                    deleted += 1;
                }
            }
            Ok(RawReply::Integer(deleted))
        }
        RawOp::Exists(names) => {
            let mut there = 0;
            for name in names {
                there += i64::from(keys.find(name)?.is_some());
            }
            Ok(RawReply::Integer(there))
        }
        RawOp::Touch(names) => {
            let mut there = 0;
            for name in names {
                there += i64::from(read(name, keys)?.is_some());
            }
            Ok(RawReply::Integer(there))
        }
        RawOp::Expire { name, at, condition, direction } => expire(name, *at, *condition, *direction, keys),
        RawOp::Persist(name) => match keys.find(name)? {
            Some(held) if held.deadline.is_some() => {
                keys.set_deadline(name, held, None)?;
                Ok(RawReply::Integer(1))
            }
            _ => Ok(RawReply::Integer(0)),
        },
        RawOp::TimeToLive(name) => {
            let now = keys.now();
            Ok(RawReply::TimeToLive(time_to_live(keys.find(name)?.map(|held| held.deadline), now)))
        }
        RawOp::Type(name) => Ok(RawReply::Type(keys.find(name)?.map(|held| held.content))),
        RawOp::Rename { from, to } => rename(from, to, keys),
        RawOp::DeleteIfEqual { name, value } => match text(keys.find(name)?) {
            Err(refusal) => Ok(RawReply::Refused(refusal)),
            Ok(Some(held)) if held.data == *value => {
                keys.remove(name, held)?;
                Ok(RawReply::Integer(1))
            }
            Ok(_) => Ok(RawReply::Integer(0)),
        },
        RawOp::ExpireIfEqual { name, value, renewal } => expire_if_equal(name, value, *renewal, keys),
        RawOp::GetAndRenew(name, at) => get_and_renew(name, *at, keys),
        RawOp::HSet { name, pairs } => hash_set(name, pairs, keys),
        RawOp::HGet(name, field) => Ok(match hash(read(name, keys)?) {
            Err(refusal) => RawReply::Refused(refusal),
            Ok(held) => bytes(held.and_then(|held| Fields::of(&held.data).get(field).map(Box::from))),
        }),
        RawOp::HMGet(name, fields) => Ok(match hash(read(name, keys)?) {
            Err(refusal) => RawReply::Refused(refusal),
            Ok(held) => {
                let data = held.map(|held| held.data).unwrap_or_default();
                let held: HashMap<_, _> = Fields::of(&data).into_iter().collect();
                let mut values = Bounded::default();
                let all = fields.iter().all(|field| values.push(held.get(&field[..]).copied().map(Box::from)));
                if all { RawReply::List(values.values) } else { RawReply::Refused(RawRefusal::AnswerTooLarge) }
            }
        }),
        RawOp::HGetAll(name) => Ok(match hash(read(name, keys)?) {
            Err(refusal) => RawReply::Refused(refusal),
            Ok(held) => RawReply::Fields(held.map(|held| held.data).unwrap_or_default()),
        }),
        RawOp::HDel(name, fields) => hash_delete(name, fields, keys),
        RawOp::HIncrBy { name, field, by } => hash_add(name, field, *by, keys),
        RawOp::Bind { name, user } => {
            let Some(held) = keys.find(name)? else { return Ok(RawReply::Integer(0)) };
            Ok(match keys.bind(name, held, user.as_ref())? {
                Ok(bound) => RawReply::Integer(bound.into()),
                Err(refusal) => RawReply::Refused(refusal),
            })
        }
    }
}

/// Values of one answer.
#[derive(Default)]
struct Bounded {
    values: Vec<Option<Box<[u8]>>>,
    bytes: usize,
}

impl Bounded {
    /// Adds one. False: the answer would be too large.
    fn push(&mut self, value: Option<Box<[u8]>>) -> bool {
        self.bytes += value.as_ref().map_or(0, |value| value.len());
        self.values.push(value);
        self.bytes <= ANSWER_BYTES
    }
}

/// How long a key still lives that ends then: `None`, if there is none.
#[must_use]
pub fn time_to_live(deadline: Option<Option<Timestamp>>, now: Timestamp) -> TimeToLive {
    match deadline {
        None => TimeToLive::Absent,
        Some(None) => TimeToLive::Unlimited,
        Some(Some(at)) => TimeToLive::Millis(at.as_millis().saturating_sub(now.as_millis()).max(0)),
    }
}

/// What is under a name, whose value is then read.
fn read<K: RawKeys>(name: &RawName, keys: &mut K) -> Result<Option<Held<K::Place>>, K::Error> {
    let held = keys.find(name)?;
    if let Some(held) = &held {
        keys.read(held);
    }
    Ok(held)
}

fn bytes(value: Option<Box<[u8]>>) -> RawReply {
    value.map_or(RawReply::Nil, RawReply::Bytes)
}

/// A key that must hold a text, if it is there.
fn text<P>(held: Option<Held<P>>) -> Result<Option<Held<P>>, RawRefusal> {
    match held {
        Some(held) if held.content == Content::Hash => Err(RawRefusal::WrongType),
        held => Ok(held),
    }
}

/// A key that must hold a hash, if it is there.
fn hash<P>(held: Option<Held<P>>) -> Result<Option<Held<P>>, RawRefusal> {
    match held {
        Some(held) if held.content != Content::Hash => Err(RawRefusal::WrongType),
        held => Ok(held),
    }
}

fn get_del<K: RawKeys>(name: &RawName, keys: &mut K) -> Result<RawReply, K::Error> {
    Ok(match text(keys.find(name)?) {
        Err(refusal) => RawReply::Refused(refusal),
        Ok(None) => RawReply::Nil,
        Ok(Some(mut held)) => {
            let data = std::mem::take(&mut held.data);
            keys.remove(name, held)?;
            RawReply::Bytes(data)
        }
    })
}

/// Answers a value that is read, and lets `then` have the key.
fn get_then<K: RawKeys>(
    name: &RawName,
    keys: &mut K,
    then: impl FnOnce(Held<K::Place>, &mut K) -> Result<(), K::Error>,
) -> Result<RawReply, K::Error> {
    Ok(match text(read(name, keys)?) {
        Err(refusal) => RawReply::Refused(refusal),
        Ok(None) => RawReply::Nil,
        Ok(Some(held)) => {
            let data = held.data.clone();
            then(held, keys)?;
            RawReply::Bytes(data)
        }
    })
}

fn get_ex<K: RawKeys>(name: &RawName, deadline: Deadline, keys: &mut K) -> Result<RawReply, K::Error> {
    get_then(name, keys, |held, keys| match deadline {
        Deadline::Keep => Ok(()),
        Deadline::None if held.deadline.is_none() => Ok(()),
        Deadline::None => keys.set_deadline(name, held, None),
        Deadline::At(at) => move_deadline(name, held, at, keys),
    })
}

fn get_and_renew<K: RawKeys>(name: &RawName, at: Timestamp, keys: &mut K) -> Result<RawReply, K::Error> {
    get_then(name, keys, |held, keys| {
        // The script asks for whole seconds, to the nearest.
        let lives = held.deadline.is_some_and(|deadline| deadline.since(keys.now()) >= HALF_A_SECOND);
        if lives { move_deadline(name, held, at, keys) } else { Ok(()) }
    })
}

fn expire_if_equal<K: RawKeys>(
    name: &RawName,
    value: &[u8],
    renewal: Renewal,
    keys: &mut K,
) -> Result<RawReply, K::Error> {
    let held = match text(keys.find(name)?) {
        Err(refusal) => return Ok(RawReply::Refused(refusal)),
        Ok(held) => held.filter(|held| *held.data == *value),
    };
    let Some(held) = held else { return Ok(RawReply::Integer(0)) };
    let at = match (renewal, held.deadline) {
        (Renewal::Until(at), _) => at,
        (Renewal::By(more), Some(deadline)) => Timestamp::from_millis(deadline.as_millis().saturating_add(more)),
        (Renewal::By(_), None) => return Ok(RawReply::Integer(0)),
    };
    move_deadline(name, held, at, keys)?;
    Ok(RawReply::Integer(1))
}

/// The key ends then; at once, if that is past.
fn move_deadline<K: RawKeys>(
    name: &RawName,
    held: Held<K::Place>,
    at: Timestamp,
    keys: &mut K,
) -> Result<(), K::Error> {
    if at <= keys.now() { keys.remove(name, held) } else { keys.set_deadline(name, held, Some(at)) }
}

fn run_set<K: RawKeys>(set: &RawSet, keys: &mut K) -> Result<RawReply, K::Error> {
    let held = if set.get { read(&set.name, keys)? } else { keys.find(&set.name)? };
    let before = match &held {
        Some(held) if set.get && held.content == Content::Hash => return Ok(RawReply::Refused(RawRefusal::WrongType)),
        Some(held) if set.get => Some(held.data.clone()),
        _ => None,
    };
    let meets = match set.condition {
        Condition::Always => true,
        Condition::IfAbsent => held.is_none(),
        Condition::IfPresent => held.is_some(),
    };
    if !meets {
        // Whoever saves what was there, and is told that nothing is, may keep it under another name.
        let is_late = set.condition == Condition::IfPresent && keys.is_late_save(&set.name)?;
        return Ok(if is_late && !set.get { RawReply::Done } else { bytes(before) });
    }
    let deadline = match set.deadline {
        Deadline::None => None,
        Deadline::Keep => held.as_ref().and_then(|held| held.deadline),
        Deadline::At(at) => Some(at),
    };
    let done = if deadline.is_some_and(|at| at <= keys.now()) {
        if let Some(held) = held {
            keys.remove(&set.name, held)?;
        }
        Ok(Written::Kept)
    } else {
        let only_new = set.condition == Condition::IfAbsent;
        let new = NewValue { content: Content::Text, data: set.value.clone(), deadline, only_new };
        keys.put(&set.name, held, new)?
    };
    Ok(match done {
        Err(refusal) => RawReply::Refused(refusal),
        Ok(_) if set.get => bytes(before),
        // Whoever asks for a lock must not believe to have it.
        Ok(Written::Dropped) if set.condition == Condition::IfAbsent => RawReply::Nil,
        Ok(_) => RawReply::Done,
    })
}

fn expire<K: RawKeys>(
    name: &RawName,
    at: Timestamp,
    condition: Condition,
    direction: Direction,
    keys: &mut K,
) -> Result<RawReply, K::Error> {
    let Some(held) = keys.find(name)? else { return Ok(RawReply::Integer(0)) };
    let may = match condition {
        Condition::Always => true,
        Condition::IfAbsent => held.deadline.is_none(),
        Condition::IfPresent => held.deadline.is_some(),
    };
    let goes = match direction {
        Direction::Any => true,
        Direction::Later => held.deadline.is_some_and(|before| at > before),
        Direction::Earlier => held.deadline.is_none_or(|before| at < before),
    };
    if !may || !goes {
        return Ok(RawReply::Integer(0));
    }
    move_deadline(name, held, at, keys)?;
    Ok(RawReply::Integer(1))
}

fn rename<K: RawKeys>(from: &RawName, to: &RawName, keys: &mut K) -> Result<RawReply, K::Error> {
    let Some(held) = keys.find(from)? else { return Ok(RawReply::Refused(RawRefusal::NoSuchKey)) };
    if from == to {
        return Ok(RawReply::Done);
    }
    let there = keys.find(to)?;
    Ok(keys.rename(from, held, to, there)?.map_or_else(RawReply::Refused, |()| RawReply::Done))
}

/// Puts the fields of a hash back; one without any is gone.
fn put_hash<K: RawKeys>(
    name: &RawName,
    held: Option<Held<K::Place>>,
    fields: &[(&[u8], &[u8])],
    keys: &mut K,
) -> Result<Result<Written, RawRefusal>, K::Error> {
    match held {
        Some(held) if fields.is_empty() => keys.remove(name, held).map(|()| Ok(Written::Kept)),
        held => {
            let deadline = held.as_ref().and_then(|held| held.deadline);
            let data = Fields::write(fields.iter().copied());
            keys.put(name, held, NewValue { content: Content::Hash, data, deadline, only_new: false })
        }
    }
}

fn hash_set<K: RawKeys>(name: &RawName, pairs: &[Pair], keys: &mut K) -> Result<RawReply, K::Error> {
    let held = match hash(keys.find(name)?) {
        Err(refusal) => return Ok(RawReply::Refused(refusal)),
        Ok(held) => held,
    };
    let data = held.as_ref().map(|held| held.data.clone()).unwrap_or_default();
    let mut fields: Vec<_> = Fields::of(&data).into_iter().collect();
    let before = fields.len();
    // There may be many of both.
    let mut places: HashMap<&[u8], usize> = fields.iter().map(|(field, _)| *field).zip(0..).collect();
    for (field, value) in pairs {
        match places.entry(field) {
            Entry::Occupied(place) => fields[*place.get()].1 = value,
            Entry::Vacant(place) => {
                place.insert(fields.len());
                fields.push((field, value));
            }
        }
    }
    let new = fields.len() - before;
    Ok(match put_hash(name, held, &fields, keys)? {
        Err(refusal) => RawReply::Refused(refusal),
        Ok(_) => RawReply::Integer(i64::try_from(new).unwrap_or(i64::MAX)),
    })
}

fn hash_delete<K: RawKeys>(name: &RawName, doomed: &[Box<[u8]>], keys: &mut K) -> Result<RawReply, K::Error> {
    let held = match hash(keys.find(name)?) {
        Err(refusal) => return Ok(RawReply::Refused(refusal)),
        Ok(None) => return Ok(RawReply::Integer(0)),
        Ok(Some(held)) => held,
    };
    let data = held.data.clone();
    let mut fields: Vec<_> = Fields::of(&data).into_iter().collect();
    let before = fields.len();
    let doomed: HashSet<&[u8]> = doomed.iter().map(|field| &field[..]).collect();
    fields.retain(|(field, _)| !doomed.contains(field));
    let gone = before - fields.len();
    if gone > 0
        && let Err(refusal) = put_hash(name, Some(held), &fields, keys)?
    {
        return Ok(RawReply::Refused(refusal));
    }
    Ok(RawReply::Integer(i64::try_from(gone).unwrap_or(i64::MAX)))
}

fn hash_add<K: RawKeys>(name: &RawName, field: &[u8], by: i64, keys: &mut K) -> Result<RawReply, K::Error> {
    let held = match hash(keys.find(name)?) {
        Err(refusal) => return Ok(RawReply::Refused(refusal)),
        Ok(held) => held,
    };
    let data = held.as_ref().map(|held| held.data.clone()).unwrap_or_default();
    let before = match Fields::of(&data).get(field) {
        None => 0,
        Some(value) => match number(value) {
            Some(number) => number,
            None => return Ok(RawReply::Refused(RawRefusal::NotAnInteger)),
        },
    };
    let Some(after) = before.checked_add(by) else { return Ok(RawReply::Refused(RawRefusal::Overflow)) };
    let value = after.to_string();
    let mut fields: Vec<_> = Fields::of(&data).into_iter().collect();
    match fields.iter_mut().find(|(name, _)| *name == field) {
        Some(there) => there.1 = value.as_bytes(),
        None => fields.push((field, value.as_bytes())),
    }
    Ok(match put_hash(name, held, &fields, keys)? {
        Err(refusal) => RawReply::Refused(refusal),
        Ok(_) => RawReply::Integer(after),
    })
}

/// A number as Redis takes it: in its only form, without sign, zeros or spaces that need not be.
fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}
