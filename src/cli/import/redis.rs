//! From a Redis or Valkey that runs: `SCAN`, and what is under each key.
//!
//! A `SCAN` names every key that is there from its beginning to its end at least once. Its cursor is a place in the
//! table of keys and nothing that the server remembers: the same one may be used again, at any later time, and brings
//! the rest. So a page that was interrupted is read again from its cursor, and what of it was written is there already.
//!
//! But a place in the table holds only as long as the table's hash does, which every process draws anew. So the cursor
//! is kept with the process that gave it; after a restart of the source, or without knowing, we begin with a fresh one.
//! That is safe as well, since a key that is there already is left as it is; it costs time only. The same if the target
//! has another store since: what was moved is not in that one.

use super::connection::{Connection, Reply};
use super::state::StateFile;
use super::target::{BATCH, Item, Value};
use super::{Failure, Work};
use crate::clock::Timestamp;

/// Keys that one step of `SCAN` is asked for. It may bring more.
const PAGE: &[u8] = b"500";
/// Bytes of their names at most.
const PAGE_BYTES: usize = 32 * 1024 * 1024;
/// Short answers.
const SHORT_BYTES: usize = 64 * 1024;
/// What a value may have: more than the door takes is passed over. Of a hash, the list of its parts counts, too.
const VALUE_BYTES: usize = 1024 * 1024 + 128 * 1024;

/// The type of a key, as far as it matters.
enum Kind {
    Text,
    Hash,
    Gone,
    Other,
}

/// A server that is read.
pub(super) struct Source {
    connection: Connection,
    process: Option<String>,
    keys: Option<u64>,
}

impl Source {
    /// Asks who it is and how much it has. It may answer neither, which is fine.
    pub(super) fn new(mut connection: Connection) -> Result<Self, Failure> {
        let process = connection.about("run_id")?;
        connection.push(&[b"DBSIZE"]);
        let keys = match connection.call()? {
            Reply::Integer(keys) => u64::try_from(keys).ok(),
            _ => None,
        };
        Ok(Self { connection, process, keys })
    }

    /// Moves everything, from where an earlier run has stopped.
    pub(super) fn run(&mut self, work: &mut Work, file: &StateFile) -> Result<(), Failure> {
        let mut cursor = self.resume(work, file)?;
        // That there is a place to keep the state is to be known before the first key moves.
        file.save(self.process.as_deref(), work.target.store(), &cursor, &work.tally)?;
        loop {
            let (next, keys) = self.page(&cursor)?;
            for keys in keys.chunks(BATCH) {
                self.take(keys, work)?;
                work.step((work.tally.seen(), self.keys))?;
            }
            work.target.flush(&mut work.tally)?;
            if next == "0" {
                return file.remove();
            }
            work.note_ends(false);
            file.save(self.process.as_deref(), work.target.store(), &next, &work.tally)?;
            cursor = next;
        }
    }

    fn resume(&self, work: &mut Work, file: &StateFile) -> Result<String, Failure> {
        let beginning = || "0".to_owned();
        let Some(state) = file.load()? else { return Ok(beginning()) };
        let why_anew = if state.process.is_none() || state.process != self.process {
            Some(format!("{} has restarted since", self.connection.whom()))
        } else if state.store.is_none() || state.store.as_deref() != work.target.store() {
            Some(format!("{} has another store now", work.target.whom()))
        } else {
            None
        };
        if let Some(why) = why_anew {
            work.say(&format!("{why}: beginning anew, which changes nothing that is moved"));
            return Ok(beginning());
        }
        work.say(&format!("going on after {} keys ({})", state.tally.seen(), file.path().display()));
        work.go_on_from(state.tally);
        Ok(state.cursor)
    }

    fn page(&mut self, cursor: &str) -> Result<(String, Vec<Reply>), Failure> {
        self.connection.push(&[b"SCAN", cursor.as_bytes(), b"COUNT", PAGE]);
        self.connection.send()?;
        let reply = self.connection.take(PAGE_BYTES)?;
        let Reply::Array(parts) = reply else { return Err(self.connection.unexpected(&reply)) };
        match <[Reply; 2]>::try_from(parts) {
            Ok([Reply::Bulk(next), Reply::Array(keys)]) => {
                // It goes into a command and a file, so see that it is what it should be.
                let next = String::from_utf8(next).ok().filter(|next| next.parse::<u64>().is_ok());
                Ok((next.ok_or_else(|| self.connection.unexpected(&Reply::Nil))?, keys))
            }
            _ => Err(self.connection.unexpected(&Reply::Nil)),
        }
    }

    /// Reads some keys, and has them written.
    fn take(&mut self, names: &[Reply], work: &mut Work) -> Result<(), Failure> {
        let mut keys = Vec::with_capacity(names.len());
        for name in names {
            match name {
                Reply::Bulk(key) => keys.push(key),
                reply => return Err(self.connection.unexpected(reply)),
            }
        }
        let kinds = self.kinds(&keys, work)?;
        let wanted = || keys.iter().zip(&kinds).filter(|(_, kind)| matches!(kind, Kind::Text | Kind::Hash));
        for (key, kind) in wanted() {
            self.connection.push(&[if matches!(kind, Kind::Hash) { b"HGETALL" } else { b"GET" }, key]);
            self.connection.push(&[b"PTTL", key]);
        }
        self.connection.send()?;
        for (key, _) in wanted() {
            let value = self.connection.take(VALUE_BYTES)?;
            let left = self.connection.take(SHORT_BYTES)?;
            // Rounded towards a longer life: by the time that the answer took.
            self.keep(key, value, &left, work.target.now(), work)?;
        }
        Ok(())
    }

    fn kinds(&mut self, keys: &[&Vec<u8>], work: &mut Work) -> Result<Vec<Kind>, Failure> {
        for key in keys {
            self.connection.push(&[b"TYPE", key]);
        }
        self.connection.send()?;
        let mut kinds = Vec::with_capacity(keys.len());
        for _ in keys {
            kinds.push(match self.connection.take(SHORT_BYTES)? {
                Reply::Simple(kind) if kind == "string" => Kind::Text,
                Reply::Simple(kind) if kind == "hash" => Kind::Hash,
                Reply::Simple(kind) if kind == "none" => {
                    work.tally.expired += 1;
                    Kind::Gone
                }
                Reply::Simple(kind) => {
                    work.tally.skip(&kind);
                    Kind::Other
                }
                reply => return Err(self.connection.unexpected(&reply)),
            });
        }
        Ok(kinds)
    }

    fn keep(&self, key: &[u8], value: Reply, left: &Reply, now: Timestamp, work: &mut Work) -> Result<(), Failure> {
        let value = match value {
            Reply::Bulk(text) => Value::Text(text),
            Reply::Array(parts) if !parts.is_empty() => {
                let part = |part| if let Reply::Bulk(part) = part { Some(part) } else { None };
                let parts: Option<Vec<_>> = parts.into_iter().map(part).collect();
                Value::Hash(parts.ok_or_else(|| self.connection.unexpected(&Reply::Nil))?)
            }
            Reply::Nil | Reply::Array(_) => {
                work.tally.expired += 1;
                return Ok(());
            }
            Reply::TooLarge => {
                work.tally.refuse(super::tally::Refusal::BeyondTheDoor);
                return Ok(());
            }
            Reply::Error(error) if error.starts_with("WRONGTYPE") => {
                work.tally.skip("changed its type meanwhile");
                return Ok(());
            }
            reply => return Err(self.connection.unexpected(&reply)),
        };
        let deadline = match left {
            Reply::Integer(-1) => None,
            Reply::Integer(-2) => {
                work.tally.expired += 1;
                return Ok(());
            }
            Reply::Integer(left) => Some(Timestamp::from_millis(now.as_millis().saturating_add(*left))),
            reply => return Err(self.connection.unexpected(reply)),
        };
        work.target.add(Item { key: key.to_vec(), value, deadline }, &mut work.tally)
    }
}
