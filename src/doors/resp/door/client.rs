//! What a connection remembers of its client.

use std::io::Write as _;

use super::notices::Subscriptions;
use super::{Protocol, errors};
use crate::clock::Timestamp;
use crate::doors::resp::frame::{Arguments, KeptArguments};
use crate::session::{RawName, SessionKey};

/// Keys that a client is remembered to know the absence of: as many as have requests under way on one connection.
const TOLD_ABSENT: usize = 16;
/// Commands that a transaction may have.
const QUEUED: usize = 1_024;
/// Bytes that they may take.
const QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// Keys that a client may watch.
pub(super) const WATCHED: usize = 1_024;
/// The longest name of a connection that is kept, in bytes.
const NAME_BYTES: usize = 256;

/// A client.
pub(super) struct Client {
    pub(super) id: i64,
    pub(super) protocol: Protocol,
    pub(super) authenticated: bool,
    /// The key space.
    pub(super) database: u16,
    /// What few clients need.
    pub(super) more: Option<Box<More>>,
    /// The keys it was told about last, and the next place to write.
    told: Vec<(SessionKey, Timestamp)>,
    told_next: usize,
}

/// What few clients need.
#[derive(Default)]
pub(super) struct More {
    name: Box<[u8]>,
    transaction: Option<Transaction>,
    pub(super) watched: Vec<(RawName, u64)>,
    pub(super) subscriptions: Option<Subscriptions>,
}

/// Commands that wait for `EXEC`.
#[derive(Default)]
pub(super) struct Transaction {
    pub(super) queued: Vec<KeptArguments>,
    bytes: usize,
    /// One was refused: none shall run.
    doomed: bool,
}

impl Client {
    pub(super) fn new(id: i64, authenticated: bool) -> Self {
        Self { id, protocol: Protocol::Resp2, authenticated, database: 0, more: None, told: Vec::new(), told_next: 0 }
    }

    /// As new.
    pub(super) fn reset(&mut self, authenticated: bool) {
        *self = Self::new(self.id, authenticated);
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Whether a command about keys just runs.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.authenticated && self.more.as_ref().is_none_or(|more| more.transaction.is_none() && !self.is_subscriber())
    }

    /// Whether it has subscribed, and answers must not look like messages.
    pub(super) fn is_subscriber(&self) -> bool {
        let subscribed = self.more.as_ref().is_some_and(|more| more.subscriptions.is_some());
        subscribed && self.protocol == Protocol::Resp2
    }

    pub(super) fn set_name(&mut self, name: &[u8]) {
        self.more().name = name[..name.len().min(NAME_BYTES)].into();
    }

    pub(super) fn name(&self) -> &[u8] {
        self.more.as_ref().map_or(&[], |more| &more.name)
    }

    /// What `CLIENT INFO` says.
    pub(super) fn describe(&self, out: &mut Vec<u8>) {
        let resp = if self.protocol == Protocol::Resp3 { 3 } else { 2 };
        // Writing to a vector cannot fail.
        let _ = write!(out, "id={} name=", self.id);
        out.extend_from_slice(self.name());
        let _ = write!(out, " db={} resp={resp}", self.database);
    }

    pub(super) fn begin_transaction(&mut self) -> Result<(), &'static str> {
        let transaction = &mut self.more().transaction;
        if transaction.is_some() {
            return Err(errors::NESTED_MULTI);
        }
        *transaction = Some(Transaction::default());
        Ok(())
    }

    pub(super) fn is_queueing(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.transaction.is_some())
    }

    /// Keeps a command for `EXEC`.
    pub(super) fn queue(&mut self, arguments: &Arguments<'_>) -> Result<(), &'static str> {
        let Some(transaction) = &mut self.more().transaction else { return Ok(()) };
        if transaction.doomed {
            // It will not run, so why keep it.
            return Ok(());
        }
        let kept = arguments.keep();
        transaction.bytes += kept.allocated();
        if transaction.queued.len() >= QUEUED || transaction.bytes > QUEUED_BYTES {
            *transaction = Transaction { doomed: true, ..Transaction::default() };
            return Err("ERR the transaction is too large: 1,024 commands of 4 MiB together at most");
        }
        transaction.queued.push(kept);
        Ok(())
    }

    /// A command was refused: its transaction, if it is in one, must not run.
    pub(super) fn doom(&mut self) {
        if let Some(transaction) = self.more.as_mut().and_then(|more| more.transaction.as_mut()) {
            transaction.doomed = true;
        }
    }

    pub(super) fn is_doomed(&self) -> bool {
        let transaction = self.more.as_ref().and_then(|more| more.transaction.as_ref());
        transaction.is_some_and(|transaction| transaction.doomed)
    }

    /// Ends the transaction without running it, and the watch for it. False: there is none.
    pub(super) fn forget_transaction(&mut self) -> bool {
        let was = self.is_queueing();
        if was {
            self.take_transaction();
        }
        was
    }

    /// Takes what is to run, and which keys must not have changed.
    pub(super) fn take_transaction(&mut self) -> (Vec<KeptArguments>, Vec<(RawName, u64)>) {
        let Some(more) = &mut self.more else { return <_>::default() };
        let queued = more.transaction.take().map(|transaction| transaction.queued).unwrap_or_default();
        (queued, std::mem::take(&mut more.watched))
    }

    pub(super) fn forget_watched(&mut self) {
        if let Some(more) = &mut self.more {
            more.watched.clear();
        }
    }

    /// It has been told that a key is not there.
    pub(super) fn told_absent(&mut self, key: SessionKey, at: Timestamp) {
        if let Some(known) = self.told.iter_mut().find(|(known, _)| *known == key) {
            known.1 = at;
        } else if self.told.len() < TOLD_ABSENT {
            self.told.push((key, at));
        } else {
            self.told[self.told_next] = (key, at);
            self.told_next = (self.told_next + 1) % TOLD_ABSENT;
        }
    }

    /// The keys of which it knows.
    pub(super) fn knows_absent(&self) -> Vec<(SessionKey, Timestamp)> {
        self.told.clone()
    }
}
