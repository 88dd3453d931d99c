//! Writing through the Redis door, so that limits, user index and hooks are those of every write.
//!
//! Keys go in batches, each as one transaction: to the store that is one step, and one wait for the disk. What is wrong
//! with one key is the answer to that key; the others of its batch are written.
//!
//! A key that is there is left as it is: keys are watched, then looked for on a second connection, and those that are not
//! there are written; if one appears in between, nothing is done, and it is tried again.
//!
//! `SET … NX` would be simpler, but to the door it asks for a new session under that name, and so brings back one that
//! has just ended, as does a write by a client that was told that a key is absent: hence the second connection. An import
//! wants neither. A plain write of a session that has just ended is answered as if done, and dropped; so each is followed
//! by a question whether it is there.

use super::Failure;
use super::address::Server;
use super::connection::{Connection, Reply};
use super::tally::{Refusal, Tally};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::doors::resp::frame::Limits;

/// Keys that are written as one.
pub(super) const BATCH: usize = 64;
/// Bytes of them: half of what the door keeps of a transaction, since it keeps more than values.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// How often a batch is tried because others write its keys meanwhile; then each of its keys is on its own.
const ATTEMPTS: usize = 4;
/// What the door answers to a batch: a word a command.
const ANSWER_BYTES: usize = 1024 * 1024;

/// What is under a key.
pub(super) enum Value {
    /// A string.
    Text(Vec<u8>),
    /// A hash: names and values in turns, as `HGETALL` has them.
    Hash(Vec<Vec<u8>>),
}

/// A key to be written.
pub(super) struct Item {
    pub(super) key: Vec<u8>,
    pub(super) value: Value,
    /// When it ends.
    pub(super) deadline: Option<Timestamp>,
}

/// What became of one.
#[derive(Clone, Copy)]
enum Fate {
    Moved,
    There,
    Refused(Refusal),
}

/// What became of a batch as a whole.
enum Written {
    Fates(Vec<Fate>),
    /// The store could not do it as a whole.
    Refused(Refusal),
    /// Others write these keys all the time.
    Contended,
}

/// The door.
pub(super) struct Target {
    server: Server,
    database: u32,
    door: Connection,
    store: Option<String>,
    /// Looks for keys.
    looker: Connection,
    clock: SystemClock,
    batch: Vec<Item>,
    bytes: usize,
}

impl Item {
    fn bytes(&self) -> usize {
        let value = match &self.value {
            Value::Text(text) => text.len(),
            Value::Hash(parts) => parts.iter().map(Vec::len).sum(),
        };
        // At most three commands name it.
        3 * self.key.len() + value
    }

    /// Whether the door takes it at all. What it does not take would end the connection.
    fn fits(&self) -> bool {
        let Limits { arguments, argument_bytes, .. } = Limits::default();
        let parts: &[Vec<u8>] = match &self.value {
            Value::Text(text) => std::slice::from_ref(text),
            Value::Hash(parts) => parts,
        };
        parts.iter().chain([&self.key]).all(|part| part.len() <= argument_bytes)
            && parts.len() + 2 <= arguments
            && self.bytes() <= BATCH_BYTES
    }

    fn push(&self, to: &mut Connection) {
        let deadline = self.deadline.map(|at| at.as_millis().to_string());
        match (&self.value, &deadline) {
            (Value::Text(text), None) => to.push(&[b"SET", &self.key, text]),
            (Value::Text(text), Some(at)) => to.push(&[b"SET", &self.key, text, b"PXAT", at.as_bytes()]),
            (Value::Hash(parts), at) => {
                to.begin(2 + parts.len());
                to.word(b"HSET");
                to.word(&self.key);
                for part in parts {
                    to.word(part);
                }
                if let Some(at) = at {
                    to.push(&[b"PEXPIREAT", &self.key, at.as_bytes()]);
                }
            }
        }
        to.push(&[b"EXISTS", &self.key]);
    }

    /// How many commands that was.
    fn commands(&self) -> usize {
        2 + usize::from(matches!(self.value, Value::Hash(_)) && self.deadline.is_some())
    }
}

impl Target {
    /// Connects to the door.
    pub(super) fn open(server: &Server, database: u32) -> Result<Self, Failure> {
        let mut door = Connection::open(server, database)?;
        let store = door.about("store_id")?;
        Ok(Self {
            server: server.clone(),
            database,
            door,
            store,
            looker: Connection::open(server, database)?,
            clock: SystemClock::new(),
            batch: Vec::new(),
            bytes: 0,
        })
    }

    /// Who it is.
    pub(super) fn whom(&self) -> &str {
        self.door.whom()
    }

    /// Which store it has; `None`: it does not say.
    pub(super) fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }

    /// The time by which it judges what has expired: the wall clock's, since the times of a source are, too.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Takes a key to be written with others.
    pub(super) fn add(&mut self, item: Item, tally: &mut Tally) -> Result<(), Failure> {
        if item.deadline.is_some_and(|at| at <= self.now()) {
            tally.expired += 1;
            return Ok(());
        }
        if !item.fits() {
            tally.refuse(Refusal::BeyondTheDoor);
            return Ok(());
        }
        // A name that comes twice is there the second time.
        let is_double = self.batch.iter().any(|other| other.key == item.key);
        if is_double || self.batch.len() == BATCH || self.bytes + item.bytes() > BATCH_BYTES {
            self.flush(tally)?;
        }
        self.bytes += item.bytes();
        self.batch.push(item);
        Ok(())
    }

    /// Writes what was taken. When it returns, the store has it.
    pub(super) fn flush(&mut self, tally: &mut Tally) -> Result<(), Failure> {
        let items = std::mem::take(&mut self.batch);
        self.bytes = 0;
        match self.write(&items)? {
            Written::Fates(fates) => self.note(&items, &fates, tally),
            // Not together; so see which of them alone.
            Written::Refused(_) | Written::Contended if items.len() > 1 => {
                for item in items.chunks(1) {
                    let written = self.write(item)?;
                    self.note_alone(item, written, tally)?;
                }
            }
            written => self.note_alone(&items, written, tally)?,
        }
        Ok(())
    }

    fn note_alone(&self, item: &[Item], written: Written, tally: &mut Tally) -> Result<(), Failure> {
        match written {
            Written::Fates(fates) => self.note(item, &fates, tally),
            Written::Refused(refusal) => tally.refuse(refusal),
            Written::Contended => {
                let said = "others write and remove the same key all the time".to_owned();
                return Err(Failure::Server { whom: self.door.whom().to_owned(), said });
            }
        }
        Ok(())
    }

    fn note(&self, items: &[Item], fates: &[Fate], tally: &mut Tally) {
        let now = self.now();
        for (item, fate) in items.iter().zip(fates) {
            match fate {
                Fate::Moved => tally.moved += 1,
                Fate::There => tally.there += 1,
                Fate::Refused(Refusal::JustEnded) if item.deadline.is_some_and(|at| at <= now) => tally.expired += 1,
                Fate::Refused(refusal) => tally.refuse(*refusal),
            }
        }
    }

    fn write(&mut self, items: &[Item]) -> Result<Written, Failure> {
        if items.is_empty() {
            return Ok(Written::Fates(Vec::new()));
        }
        for _ in 0..ATTEMPTS {
            let is_there = self.watch(items)?;
            if is_there.iter().all(|there| *there) {
                self.door.push(&[b"UNWATCH"]);
                self.call_simple()?;
                return Ok(Written::Fates(vec![Fate::There; items.len()]));
            }
            let absent = || items.iter().zip(&is_there).filter(|(_, there)| !**there).map(|(item, _)| item);
            self.door.push(&[b"MULTI"]);
            absent().for_each(|item| item.push(&mut self.door));
            self.door.push(&[b"EXEC"]);
            self.door.send()?;
            for _ in 0..=absent().map(Item::commands).sum() {
                let reply = self.door.take(ANSWER_BYTES)?;
                if !matches!(reply, Reply::Simple(_)) {
                    return Err(self.door.unexpected(&reply));
                }
            }
            match self.door.take(ANSWER_BYTES)? {
                Reply::Array(replies) => {
                    let fates = self.judge(items, &is_there, replies)?;
                    if fates.iter().any(|fate| matches!(fate, Fate::Refused(Refusal::JustEnded))) {
                        // Now this client was told that a key is absent, and could bring it back.
                        self.door = Connection::open(&self.server, self.database)?;
                    }
                    return Ok(Written::Fates(fates));
                }
                // Somebody has written one of the keys.
                Reply::Nil => {}
                reply => {
                    let refusal = refusal_of(&reply).ok_or_else(|| self.door.unexpected(&reply))?;
                    return Ok(Written::Refused(refusal));
                }
            }
        }
        Ok(Written::Contended)
    }

    /// Watches keys, and says which of them are there already.
    fn watch(&mut self, items: &[Item]) -> Result<Vec<bool>, Failure> {
        self.door.begin(1 + items.len());
        self.door.word(b"WATCH");
        for item in items {
            self.door.word(&item.key);
        }
        self.call_simple()?;
        for item in items {
            self.looker.push(&[b"EXISTS", &item.key]);
        }
        self.looker.send()?;
        let mut is_there = Vec::with_capacity(items.len());
        for _ in items {
            match self.looker.take(ANSWER_BYTES)? {
                Reply::Integer(number) => is_there.push(number > 0),
                reply => return Err(self.looker.unexpected(&reply)),
            }
        }
        Ok(is_there)
    }

    /// Sends a command that has nothing to say.
    fn call_simple(&mut self) -> Result<(), Failure> {
        match self.door.call()? {
            Reply::Simple(_) => Ok(()),
            reply => Err(self.door.unexpected(&reply)),
        }
    }

    /// Reads what became of each from the answers to its commands.
    fn judge(&self, items: &[Item], is_there: &[bool], replies: Vec<Reply>) -> Result<Vec<Fate>, Failure> {
        let mut replies = replies.into_iter();
        let mut next = || replies.next().unwrap_or(Reply::Nil);
        let mut fates = Vec::with_capacity(items.len());
        for (item, there) in items.iter().zip(is_there) {
            if *there {
                fates.push(Fate::There);
                continue;
            }
            let written = next();
            if item.commands() == 3 {
                // Its end: if the hash is there, so is that; and if not, neither.
                next();
            }
            let exists = next();
            fates.push(match (written, exists) {
                (Reply::Simple(_) | Reply::Integer(_), Reply::Integer(1)) => Fate::Moved,
                (Reply::Simple(_) | Reply::Integer(_), Reply::Integer(_)) => Fate::Refused(Refusal::JustEnded),
                (reply, _) => Fate::Refused(refusal_of(&reply).ok_or_else(|| self.door.unexpected(&reply))?),
            });
        }
        Ok(fates)
    }
}

/// What an answer means for one key; `None`: no key is to blame.
fn refusal_of(reply: &Reply) -> Option<Refusal> {
    if let Reply::Error(error) = reply { Refusal::of(error) } else { None }
}
