//! Commands about keys: what they ask of the gateway, and how its answers read.

use super::client::{Client, WATCHED};
use super::conversation::Counts;
use super::together::is_change;
use super::{Command, CommandError, RedisDoor, Step, Writer, errors};
use crate::clock::{Origins, Timestamp};
use crate::doors::resp::command::{self, Effect, GetEx, LONGEST_KEY, Lifetime, Scan};
use crate::doors::resp::frame::{Arguments, KeptArguments};
use crate::doors::resp::server;
use crate::gateway::raw::RawView;
use crate::gateway::{GatewayError, MemoryLookUp, Slide};
use crate::metrics::labels::RequestOutcome;
use crate::session::{Content, Fields, RawName, glob};
use crate::store::raw::{
    ANSWER_BYTES, Condition, Deadline, Direction, RawOp, RawRefusal, RawReply, RawSet, Renewal, TimeToLive, run,
};

/// Keys that one step of `SCAN` looks at most, however many are asked for.
const SCANNED: u64 = 1_000;
const ANSWER_TOO_LARGE: &str = "ERR the answer would be larger than 16 MiB; ask for less at once";

/// What a command finds under a key.
#[derive(Clone, Copy)]
struct Value<'a> {
    content: Content,
    data: &'a [u8],
    deadline: Option<Timestamp>,
}

impl<'a> Value<'a> {
    fn of(view: &'a RawView) -> Self {
        Self { content: view.content(), data: view.data(), deadline: view.deadline() }
    }

    /// The fields, if it is a hash.
    fn fields(self) -> Option<Fields<'a>> {
        (self.content == Content::Hash).then(|| Fields::of(self.data))
    }
}

/// The key that a command reads, and whether that counts as use; `None`: it does something else.
fn reads<'a>(command: &Command<'a>) -> Option<(&'a [u8], Slide)> {
    Some(match *command {
        Command::Get { key } | Command::HGet { key, .. } | Command::HMGet { key, .. } | Command::HGetAll { key } => {
            (key, Slide::Touch)
        }
        Command::Ttl { key, .. } | Command::Type { key } => (key, Slide::Peek),
        _ => return None,
    })
}

/// Answers a command that reads a key.
fn answer_read(command: &Command<'_>, value: Option<Value<'_>>, now: Timestamp, to: &mut Writer<'_>) -> RequestOutcome {
    let fields = match value {
        None => Some(Fields::of(&[])),
        Some(value) => value.fields(),
    };
    match (command, value, fields) {
        (Command::Get { .. }, None, _) => to.null(),
        (Command::Get { .. }, Some(value), None) => to.bulk(value.data),
        (Command::HGet { field, .. }, _, Some(fields)) => bulk_or_null(fields.get(field), to),
        (Command::HMGet { fields: wanted, .. }, _, Some(fields)) => {
            // The same field may be asked for a thousand times.
            let bytes = |field| fields.get(field).map_or(0, <[u8]>::len);
            if wanted.iter().map(bytes).sum::<usize>() > ANSWER_BYTES {
                to.error(ANSWER_TOO_LARGE);
                return RequestOutcome::Refused;
            }
            to.array(wanted.len());
            for field in wanted.iter() {
                bulk_or_null(fields.get(field), to);
            }
        }
        (Command::HGetAll { .. }, _, Some(fields)) => map(fields, to),
        (Command::Ttl { in_milliseconds, .. }, value, _) => {
            let left = run::time_to_live(value.map(|value| value.deadline), now);
            time_to_live(left, *in_milliseconds, to);
        }
        (Command::Type { .. }, value, _) => type_of(value.map(|value| value.content), to),
        _ => {
            to.error(errors::WRONG_TYPE);
            return RequestOutcome::Refused;
        }
    }
    RequestOutcome::Ok
}

fn bulk_or_null(value: Option<&[u8]>, to: &mut Writer<'_>) {
    match value {
        Some(value) => to.bulk(value),
        None => to.null(),
    }
}

fn map(fields: Fields<'_>, to: &mut Writer<'_>) {
    to.map(fields.into_iter().count());
    for (field, value) in fields {
        to.bulk(field);
        to.bulk(value);
    }
}

fn time_to_live(left: TimeToLive, in_milliseconds: bool, to: &mut Writer<'_>) {
    to.integer(match left {
        TimeToLive::Absent => -2,
        TimeToLive::Unlimited => -1,
        TimeToLive::Millis(left) if in_milliseconds => left,
        TimeToLive::Millis(left) => left.saturating_add(500) / 1_000,
    });
}

fn type_of(content: Option<Content>, to: &mut Writer<'_>) {
    to.simple(match content {
        None => "none",
        Some(Content::Hash) => "hash",
        Some(Content::Json | Content::Text) => "string",
    });
}

/// What a command that changes keys, or stands in a transaction, asks of the store.
pub(super) fn op_of<'a>(command: &Command<'a>, database: u16, from: Origins) -> Result<RawOp, CommandError<'a>> {
    let name = |key: &[u8]| RawName::new(database, key);
    // Under which something is kept that may be new.
    let kept = |key: &'a [u8]| if key.len() > LONGEST_KEY { Err(CommandError::KeyTooLong) } else { Ok(name(key)) };
    let names = |keys: &Arguments<'_>| keys.iter().map(name).collect();
    let boxed = |parts: &Arguments<'_>| parts.iter().map(Box::from).collect();
    Ok(match command {
        Command::Get { key } => RawOp::Get(name(key)),
        Command::GetDel { key } => RawOp::GetDel(name(key)),
        Command::GetEx(get) => match deadline_of_getex(get, from) {
            Ok(deadline) => RawOp::GetEx(name(get.key), deadline),
            // Said only if there is a value: see `answer_op`.
            Err(_) => RawOp::Get(name(get.key)),
        },
        Command::MGet { keys } => RawOp::MGet(names(keys)),
        Command::Set(set) => RawOp::Set(RawSet {
            name: kept(set.key)?,
            value: set.value.into(),
            condition: condition_of(set.condition),
            deadline: deadline_of(set.lifetime, from)?,
            get: set.get,
        }),
        Command::SetNx { key, value } => RawOp::Set(RawSet {
            name: kept(key)?,
            value: Box::from(*value),
            condition: Condition::IfAbsent,
            deadline: Deadline::None,
            get: false,
        }),
        Command::Del { keys } => RawOp::Delete(names(keys)),
        Command::Exists { keys } => RawOp::Exists(names(keys)),
        Command::Touch { keys } => RawOp::Touch(names(keys)),
        Command::Expire(expire) => RawOp::Expire {
            name: name(expire.key),
            at: expire.expiry.deadline(from)?,
            condition: condition_of(expire.condition),
            direction: match (expire.only_later, expire.only_earlier) {
                (true, _) => Direction::Later,
                (_, true) => Direction::Earlier,
                _ => Direction::Any,
            },
        },
        Command::Persist { key } => RawOp::Persist(name(key)),
        Command::Ttl { key, .. } => RawOp::TimeToLive(name(key)),
        Command::Type { key } => RawOp::Type(name(key)),
        Command::Rename { from, to } => RawOp::Rename { from: name(from), to: kept(to)? },
        Command::HSet { key, pairs, .. } => {
            let mut parts = pairs.iter();
            let pairs = std::iter::from_fn(|| Some((parts.next()?.into(), parts.next()?.into())));
            RawOp::HSet { name: kept(key)?, pairs: pairs.collect() }
        }
        Command::HGet { key, field } => RawOp::HGet(name(key), Box::from(*field)),
        Command::HMGet { key, fields } => RawOp::HMGet(name(key), boxed(fields)),
        Command::HGetAll { key } => RawOp::HGetAll(name(key)),
        Command::HDel { key, fields } => RawOp::HDel(name(key), boxed(fields)),
        Command::HIncrBy { key, field, by } => RawOp::HIncrBy { name: kept(key)?, field: Box::from(*field), by: *by },
        Command::Eval { key, effect } => match *effect {
            Effect::Delete { value } => RawOp::DeleteIfEqual { name: name(key), value: value.into() },
            Effect::Expire { value, expiry } => {
                let renewal = Renewal::Until(expiry.deadline(from)?);
                RawOp::ExpireIfEqual { name: name(key), value: value.into(), renewal }
            }
            Effect::Extend { value, by } => {
                RawOp::ExpireIfEqual { name: name(key), value: value.into(), renewal: Renewal::By(by) }
            }
            Effect::Renew { expiry } => RawOp::GetAndRenew(name(key), expiry.deadline(from)?),
        },
        _ => return Err(CommandError::Syntax),
    })
}

fn condition_of(condition: command::Condition) -> Condition {
    match condition {
        command::Condition::Always => Condition::Always,
        command::Condition::IfAbsent => Condition::IfAbsent,
        command::Condition::IfPresent => Condition::IfPresent,
    }
}

fn deadline_of<'a>(lifetime: Lifetime, from: Origins) -> Result<Deadline, CommandError<'a>> {
    Ok(match lifetime {
        Lifetime::Forever => Deadline::None,
        Lifetime::Keep => Deadline::Keep,
        Lifetime::Until(expiry) => Deadline::At(expiry.deadline(from)?),
    })
}

fn deadline_of_getex<'a>(get: &GetEx<'a>, from: Origins) -> Result<Deadline, CommandError<'a>> {
    deadline_of(get.lifetime?, from)
}

/// Answers a command by what its operation came to, whose deadline was counted `from` there.
pub(super) fn answer_op(command: &Command<'_>, reply: RawReply, from: Origins, to: &mut Writer<'_>) -> RequestOutcome {
    match (command, reply) {
        (_, RawReply::Refused(refusal)) => {
            answer_refusal(refusal, to);
            return RequestOutcome::Refused;
        }
        (Command::GetEx(get), RawReply::Bytes(value)) => match deadline_of_getex(get, from) {
            Ok(_) => to.bulk(&value),
            Err(error) => {
                error.reply(to);
                return RequestOutcome::Refused;
            }
        },
        (Command::SetNx { .. }, reply) => to.integer(i64::from(reply == RawReply::Done)),
        (Command::HSet { answers_count: false, .. }, RawReply::Integer(_)) | (_, RawReply::Done) => to.ok(),
        (Command::Ttl { in_milliseconds, .. }, RawReply::TimeToLive(left)) => {
            time_to_live(left, *in_milliseconds, to);
        }
        (_, RawReply::TimeToLive(left)) => time_to_live(left, true, to),
        (_, RawReply::Nil) => to.null(),
        (_, RawReply::Integer(number)) => to.integer(number),
        (_, RawReply::Bytes(value)) => to.bulk(&value),
        (_, RawReply::List(values)) => {
            to.array(values.len());
            for value in values {
                bulk_or_null(value.as_deref(), to);
            }
        }
        (_, RawReply::Fields(data)) => map(Fields::of(&data), to),
        (_, RawReply::Type(content)) => type_of(content, to),
    }
    RequestOutcome::Ok
}

fn answer_refusal(refusal: RawRefusal, to: &mut Writer<'_>) {
    match refusal {
        RawRefusal::WrongType => to.error(errors::WRONG_TYPE),
        RawRefusal::NoSuchKey => to.error(errors::NO_SUCH_KEY),
        RawRefusal::NotAnInteger => to.error(errors::HASH_VALUE_NOT_AN_INTEGER),
        RawRefusal::Overflow => to.error(errors::OVERFLOW),
        RawRefusal::StorageFull => to.error(errors::OUT_OF_MEMORY),
        RawRefusal::CreationRate => to.error("ERR this client creates sessions too fast"),
        RawRefusal::UserLimit { limit } => {
            to.error(&format!("ERR the user has as many sessions as allowed ({limit})"));
        }
        RawRefusal::TooLarge { bytes, limit } => {
            to.error(&format!("ERR the value has {bytes} bytes; limits.session_bytes allows {limit}"));
        }
        RawRefusal::AnswerTooLarge => to.error(ANSWER_TOO_LARGE),
    }
}

/// Answers that the gateway could not do it.
pub(super) fn answer_failure(error: &GatewayError, to: &mut Writer<'_>) -> RequestOutcome {
    match error {
        GatewayError::StorageFull => to.error(errors::OUT_OF_MEMORY),
        error => to.error_of(&[b"ERR ", error.to_string().as_bytes()]),
    }
    RequestOutcome::Failed
}

impl RedisDoor {
    /// Answers a command that reads what memory holds; `None`: it is none.
    pub(super) fn read_at_once(&self, client: &mut Client, command: &Command<'_>, out: &mut Vec<u8>) -> Option<Step> {
        let (key, slide) = reads(command)?;
        let key = self.gateway.key(client.database, key);
        let view = match self.gateway.look_up_in_memory(&key, slide) {
            MemoryLookUp::Hit(view) => Some(view),
            MemoryLookUp::Expired => None,
            MemoryLookUp::Absent => return Some(Step::Later),
        };
        let now = self.gateway.now();
        if view.is_none() {
            client.told_absent(key, now);
        }
        let view = view.map(RawView::Session);
        let to = &mut Writer::new(out, client.protocol);
        Some(Step::Done(answer_read(command, view.as_ref().map(Value::of), now, to)))
    }

    /// Answers requests that have to be waited for: one, or a run.
    pub(super) async fn answer_later(
        &self,
        client: &mut Client,
        requests: &[KeptArguments],
        out: &mut Vec<u8>,
    ) -> Counts {
        match requests {
            [request] => match Command::of(request.get()) {
                Ok(command) if !is_change(&command) => Counts::of(self.answer_one_later(client, &command, out).await),
                _ => self.change(client, requests, out).await,
            },
            _ => self.change(client, requests, out).await,
        }
    }

    async fn answer_one_later(&self, client: &mut Client, command: &Command<'_>, out: &mut Vec<u8>) -> RequestOutcome {
        let answered = match *command {
            Command::MGet { keys } => self.get_many(client, keys, out).await,
            Command::Exists { keys } => self.count_there(client, keys, Slide::Peek, out).await,
            Command::Touch { keys } => self.count_there(client, keys, Slide::Touch, out).await,
            Command::DbSize => self.gateway.count_raw(client.database).await.map(|keys| {
                Writer::new(out, client.protocol).integer(i64::try_from(keys).unwrap_or(i64::MAX));
                RequestOutcome::Ok
            }),
            Command::Scan(scan) => self.scan(client, scan, out).await,
            Command::Info { sections } => {
                let about = self.about().await;
                server::info(&mut Writer::new(out, client.protocol), &about, sections);
                Ok(RequestOutcome::Ok)
            }
            Command::Watch { keys } => self.watch(client, keys, out).await,
            Command::Exec => self.run_transaction(client, out).await,
            _ => match reads(command) {
                Some((key, slide)) => self.read(client, command, key, slide, out).await,
                // All others are changes.
                None => Ok(RequestOutcome::Refused),
            },
        };
        answered.unwrap_or_else(|error| answer_failure(&error, &mut Writer::new(out, client.protocol)))
    }

    async fn look_up(&self, client: &mut Client, key: &[u8], slide: Slide) -> Result<Option<RawView>, GatewayError> {
        let name = RawName::new(client.database, key);
        let view = self.gateway.look_up_raw(&name, slide).await?;
        if view.is_none() {
            client.told_absent(self.gateway.key(name.database, &name.name), self.gateway.now());
        }
        Ok(view)
    }

    async fn read(
        &self,
        client: &mut Client,
        command: &Command<'_>,
        key: &[u8],
        slide: Slide,
        out: &mut Vec<u8>,
    ) -> Result<RequestOutcome, GatewayError> {
        let view = self.look_up(client, key, slide).await?;
        let to = &mut Writer::new(out, client.protocol);
        Ok(answer_read(command, view.as_ref().map(Value::of), self.gateway.now(), to))
    }

    async fn get_many(
        &self,
        client: &mut Client,
        keys: Arguments<'_>,
        out: &mut Vec<u8>,
    ) -> Result<RequestOutcome, GatewayError> {
        let mut views = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys.iter() {
            let view = self.look_up(client, key, Slide::Touch).await?;
            bytes += view.as_ref().map_or(0, |view| view.data().len());
            if bytes > ANSWER_BYTES {
                Writer::new(out, client.protocol).error(ANSWER_TOO_LARGE);
                return Ok(RequestOutcome::Refused);
            }
            views.push(view);
        }
        let mut to = Writer::new(out, client.protocol);
        to.array(views.len());
        for view in &views {
            bulk_or_null(view.as_ref().filter(|view| view.content() != Content::Hash).map(RawView::data), &mut to);
        }
        Ok(RequestOutcome::Ok)
    }

    async fn count_there(
        &self,
        client: &mut Client,
        keys: Arguments<'_>,
        slide: Slide,
        out: &mut Vec<u8>,
    ) -> Result<RequestOutcome, GatewayError> {
        let mut there = 0;
        for key in keys.iter() {
            there += usize::from(self.look_up(client, key, slide).await?.is_some());
        }
        Writer::new(out, client.protocol).count(there);
        Ok(RequestOutcome::Ok)
    }

    async fn scan(&self, client: &Client, scan: Scan<'_>, out: &mut Vec<u8>) -> Result<RequestOutcome, GatewayError> {
        let count = usize::try_from(scan.count.min(SCANNED)).unwrap_or(1);
        let page = self.gateway.scan_raw(client.database, scan.cursor, count).await?;
        let wanted = |(name, content): &&(RawName, Content)| {
            let kind: &[u8] = if *content == Content::Hash { b"hash" } else { b"string" };
            scan.pattern.is_none_or(|pattern| glob::matches(pattern, &name.name))
                && scan.of_type.is_none_or(|of_type| of_type.eq_ignore_ascii_case(kind))
        };
        let names: Vec<_> = page.keys.iter().filter(wanted).map(|(name, _)| &name.name).collect();
        let mut to = Writer::new(out, client.protocol);
        to.array(2);
        to.bulk(page.next.to_string().as_bytes());
        to.array(names.len());
        for name in names {
            to.bulk(name);
        }
        Ok(RequestOutcome::Ok)
    }

    async fn watch(
        &self,
        client: &mut Client,
        keys: Arguments<'_>,
        out: &mut Vec<u8>,
    ) -> Result<RequestOutcome, GatewayError> {
        if client.more().watched.len() + keys.len() > WATCHED {
            Writer::new(out, client.protocol).error("ERR too many watched keys: 1,024 at most");
            return Ok(RequestOutcome::Refused);
        }
        if keys.iter().any(|key| key.len() > LONGEST_KEY) {
            CommandError::KeyTooLong.reply(&mut Writer::new(out, client.protocol));
            return Ok(RequestOutcome::Refused);
        }
        for key in keys.iter() {
            let name = RawName::new(client.database, key);
            if !client.more().watched.iter().any(|(watched, _)| *watched == name) {
                let revision = self.gateway.look_up_raw(&name, Slide::Peek).await?.map_or(0, |view| view.revision());
                client.more().watched.push((name, revision));
            }
        }
        Writer::new(out, client.protocol).ok();
        Ok(RequestOutcome::Ok)
    }
}
