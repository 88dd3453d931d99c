//! Requests that are done as one step of the store: a transaction, or a run of changes that came together.
//!
//! A step costs a commit. So changes that a client sends one behind the other, with nothing read between them, share
//! one: they are done in order, each has its own answer, and another client sees none of them or all. If the store
//! fails, all of them have failed.

use super::client::Client;
use super::conversation::Counts;
use super::keys::{answer_failure, answer_op, op_of};
use super::{Command, Name, RedisDoor, Step, Writer, say_about_the_connection};
use crate::clock::Origins;
use crate::doors::resp::command::Effect;
use crate::doors::resp::frame::{Arguments, KeptArguments};
use crate::gateway::GatewayError;
use crate::gateway::raw::RawRequest;
use crate::metrics::labels::RequestOutcome;
use crate::session::RawName;
use crate::store::raw::{RawOp, RawReply, TimeToLive};

/// Requests that a run may have.
pub(super) const RUN: usize = 64;
/// Bytes that they may have together.
pub(super) const RUN_BYTES: usize = 256 * 1024;

impl RedisDoor {
    /// Whether a request may be done as one step with others like it that follow: a run.
    pub(super) fn may_join_run(client: &Client, request: Arguments<'_>) -> bool {
        client.is_free() && Command::of(request).is_ok_and(|command| only_changes(&command))
    }

    /// Makes changes, in order and as one step: so they share its price.
    pub(super) async fn change(&self, client: &mut Client, requests: &[KeptArguments], out: &mut Vec<u8>) -> Counts {
        match self.run_as_one(client, requests, vec![]).await {
            Ok(answers) => self.answer_all(client, answers.unwrap_or_default(), out),
            Err(error) => {
                let mut counts = Counts::default();
                for _ in requests {
                    counts.add(answer_failure(&error, &mut Writer::new(out, client.protocol)));
                }
                counts
            }
        }
    }

    /// Runs what was queued since `MULTI`.
    pub(super) async fn run_transaction(
        &self,
        client: &mut Client,
        out: &mut Vec<u8>,
    ) -> Result<RequestOutcome, GatewayError> {
        let (queued, watched) = client.take_transaction();
        let before = client.database;
        let answers = self.run_as_one(client, &queued, watched).await;
        if !matches!(answers, Ok(Some(_))) {
            client.database = before;
        }
        let mut to = Writer::new(out, client.protocol);
        let Some(answers) = answers? else {
            to.null_array();
            return Ok(RequestOutcome::Ok);
        };
        to.array(answers.parts.len());
        self.answer_all(client, answers, out);
        Ok(RequestOutcome::Ok)
    }

    /// Does requests as one step of the store. `None`: a watched key has changed, and nothing was done.
    async fn run_as_one<'k>(
        &self,
        client: &mut Client,
        requests: &'k [KeptArguments],
        watched: Vec<(RawName, u64)>,
    ) -> Result<Option<Answers<'k>>, GatewayError> {
        let from = self.gateway.origins();
        let mut ops = Vec::with_capacity(requests.len());
        let parts: Vec<_> = requests.iter().map(|request| part_of(client, request, from, &mut ops)).collect();
        let replies = if ops.is_empty() && watched.is_empty() {
            // The store has no part in it.
            Some(vec![])
        } else {
            self.gateway.run_raw(RawRequest { ops, watched, told_absent: client.knows_absent() }).await?
        };
        Ok(replies.map(|replies| Answers { parts, replies, from }))
    }

    /// Writes answers, and remembers what they say of keys that are not there.
    fn answer_all(&self, client: &mut Client, answers: Answers<'_>, out: &mut Vec<u8>) -> Counts {
        let Answers { parts, replies, from } = answers;
        let (mut counts, mut replies) = (Counts::default(), replies.into_iter());
        for part in parts {
            counts.add(match part {
                Part::Said(bytes, outcome) => {
                    out.extend_from_slice(&bytes);
                    outcome
                }
                Part::Op(command, database) => {
                    let reply = replies.next().unwrap_or(RawReply::Nil);
                    for key in found_absent(&command, &reply) {
                        client.told_absent(self.gateway.key(database, key), self.gateway.now());
                    }
                    answer_op(&command, reply, from, &mut Writer::new(out, client.protocol))
                }
            });
        }
        counts
    }
}

/// The keys that an answer says are not there.
fn found_absent<'a>(command: &Command<'a>, reply: &RawReply) -> Vec<&'a [u8]> {
    match (command, reply) {
        (
            Command::Get { key } | Command::GetDel { key } | Command::Eval { key, effect: Effect::Renew { .. } },
            RawReply::Nil,
        )
        | (Command::Type { key }, RawReply::Type(None))
        | (Command::Ttl { key, .. }, RawReply::TimeToLive(TimeToLive::Absent)) => vec![key],
        (Command::GetEx(get), RawReply::Nil) => vec![get.key],
        (Command::HGetAll { key }, RawReply::Fields(data)) if data.is_empty() => vec![key],
        (Command::Exists { keys } | Command::Touch { keys }, RawReply::Integer(0)) => keys.iter().collect(),
        (Command::MGet { keys }, RawReply::List(values)) => {
            keys.iter().zip(values).filter(|(_, value)| value.is_none()).map(|(key, _)| key).collect()
        }
        _ => vec![],
    }
}

/// What a request adds to the operations, or is answered.
fn part_of<'k>(client: &mut Client, kept: &'k KeptArguments, from: Origins, ops: &mut Vec<RawOp>) -> Part<'k> {
    let mut said = Vec::new();
    let arguments = kept.get();
    let parsed = Name::of(&arguments).and_then(|name| name.parse(arguments));
    let refused = match parsed {
        Err(error) => error,
        Ok(command) => match say_about_the_connection(client, &command, &mut said) {
            Step::Done(outcome) => return Part::Said(said, outcome),
            Step::Close => return Part::Said(said, RequestOutcome::Ok),
            Step::Later if !may_be_queued(&command) => {
                Writer::new(&mut said, client.protocol).error("ERR Command not allowed inside a transaction");
                return Part::Said(said, RequestOutcome::Refused);
            }
            Step::Later => match op_of(&command, client.database, from) {
                Ok(op) => {
                    ops.push(op);
                    return Part::Op(command, client.database);
                }
                Err(error) => error,
            },
        },
    };
    refused.reply(&mut Writer::new(&mut said, client.protocol));
    Part::Said(said, RequestOutcome::Refused)
}

/// A request that is to be done with others.
enum Part<'k> {
    /// Its answer is known.
    Said(Vec<u8>, RequestOutcome),
    /// The store's next reply is its answer. It is about that key space.
    Op(Command<'k>, u16),
}

/// Requests that were done as one, and what became of them.
#[derive(Default)]
struct Answers<'k> {
    parts: Vec<Part<'k>>,
    /// What the store has said to each operation among them.
    replies: Vec<RawReply>,
    /// What their deadlines were counted from.
    from: Origins,
}

/// Whether a command changes keys.
pub(super) fn is_change(command: &Command<'_>) -> bool {
    matches!(
        command,
        Command::GetDel { .. }
            | Command::GetEx(_)
            | Command::Set(_)
            | Command::SetNx { .. }
            | Command::Del { .. }
            | Command::Expire(_)
            | Command::Persist { .. }
            | Command::Rename { .. }
            | Command::HSet { .. }
            | Command::HDel { .. }
            | Command::HIncrBy { .. }
            | Command::Eval { .. }
    )
}

/// Whether a command changes keys and reads no value.
fn only_changes(command: &Command<'_>) -> bool {
    match command {
        Command::GetDel { .. } | Command::GetEx(_) | Command::Eval { effect: Effect::Renew { .. }, .. } => false,
        Command::Set(set) => !set.get,
        command => is_change(command),
    }
}

/// Whether a transaction can do it as one step with others: what is about keys, and no listing of them.
fn may_be_queued(command: &Command<'_>) -> bool {
    !matches!(
        command,
        Command::Hello(_)
            | Command::Auth { .. }
            | Command::Info { .. }
            | Command::DbSize
            | Command::Scan(_)
            | Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::PSubscribe { .. }
            | Command::PUnsubscribe { .. }
            | Command::Unwatch
    )
}
