//! The embedded store: SQLite in a directory of its own, for one process.
//!
//! Reading order: `schema` what is on the disk, `rows` how it is found, `ledger` what is counted, `plan` who has to
//! go, `steps` what is changed, `writer` how changes become durable, `readers` the rest. `directory` and `reserve`
//! deal with the file system; `raw`, `plain` and `tombstones` with the keys that apps name themselves; callers and threads meet at a `queue`.
//!
//! No thread of the async executor ever waits for the disk: it queues a command, and awaits the answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use self::directory::Directory;
use self::queue::Queue;
use self::readers::{Readers, ended, gone, refused, spawn};
use self::reserve::{Reserve, STEP_WHEN_FULL};
use self::steps::Steps;
use self::writer::{Call, Command, Counters, Writer};
use super::raw::{RawBatch, RawFound, RawOutcome, RawPage};
use super::{
    CreateError, CreateLimits, Cursor, Figures, FiguresQuery, MAX_NOTICES, Notice, READ_DEADLINE, Settlement, Store,
    StoreError, Terms, Update, UpdateError, Waiting, Whom,
};
use crate::clock::Timestamp;
use crate::session::{
    Capacity, EndReason, Ended, EventId, Generator, NameKeys, RawName, SessionId, SessionKey, StoredSession,
    UserLimits, UserName,
};

mod directory;
mod error;
mod ledger;
mod outbox;
mod plain;
mod plan;
mod queue;
mod raw;
mod readers;
mod reserve;
mod rows;
mod schema;
mod steps;
mod tombstones;
mod writer;

pub use self::error::OpenError;
pub use self::reserve::RESERVE_BYTES;

/// The database in the store's directory.
const DATABASE: &str = "sessgate.db";

/// What can be set apart from the defaults.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many notices may wait in the outbox; the oldest go beyond it.
    pub max_notices: u64,
    /// Bytes of disk kept back so that sessions can be ended on a full one.
    pub reserve_bytes: u64,
    /// Whether the clock is right even if it is more than a day behind the latest use of a session.
    pub trust_clock: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_notices: MAX_NOTICES, reserve_bytes: RESERVE_BYTES, trust_clock: false }
    }
}

/// What the store has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Commands run: everything but plain reads.
    pub commands: u64,
    /// Transactions they took. Commands that arrive together share one.
    pub commits: u64,
    /// Whether the disk is full: sessions can be read and ended, not created.
    pub disk_full: bool,
}

/// The embedded store. See [`Store`] for what it promises.
pub struct EmbeddedStore {
    id: String,
    names: NameKeys,
    commands: Arc<Queue<Box<dyn Command>>>,
    counters: Arc<Counters>,
    writing: watch::Receiver<()>,
    readers: Readers,
}

impl EmbeddedStore {
    /// Opens the store in a directory, making both if need be. Blocks, for about a second a million sessions, and
    /// once for ten to twenty after a change of release that changes the database.
    ///
    /// `now` is the clock's time: stored times ahead of it are corrected, see `schema::correct_times`.
    ///
    /// # Errors
    /// If the directory cannot be used or is in use, if its database is not ours, too new or damaged, or if the clock is
    /// more than a day behind it.
    pub fn open(path: &Path, now: Timestamp, generator: Arc<dyn Generator>) -> Result<Self, OpenError> {
        Self::open_with(path, now, generator, Options::default())
    }

    /// Opens the store with options of its own.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        path: &Path,
        now: Timestamp,
        generator: Arc<dyn Generator>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let directory = Directory::take(path)?;
        let database = directory.file(DATABASE);
        directory.secure(&database)?;
        let mut reserve = Reserve::keep(directory.file("reserve"), options.reserve_bytes);
        let (conn, ledger) = match load(&database, now, options.trust_clock) {
            // Replaying the log of a crash, or a migration, may need the room that is kept back.
            Err(OpenError::Failed { .. } | OpenError::Directory { .. }) if !reserve.is_spent() => {
                reserve.spend();
                load(&database, now, options.trust_clock)?
            }
            outcome => outcome?,
        };
        let (id, names) = schema::identity(&conn, &database)?;
        let readers = Readers::start(&database, READ_DEADLINE)?;
        let commands = Arc::new(Queue::new(writer::QUEUE));
        let counters = Arc::new(Counters::default());
        let writer = Writer {
            steps: Steps {
                conn,
                names,
                ledger,
                reserve,
                generator,
                max_notices: options.max_notices,
                last_revision: 0,
            },
            queue: Arc::clone(&commands),
            counters: Arc::clone(&counters),
            directory: path.to_owned(),
        };
        let (sign, writing) = watch::channel(());
        let serve = move || {
            writer.serve();
            // Only now may another process have it.
            drop(directory);
            drop(sign);
        };
        spawn("store-write", &database, serve)?;
        Ok(Self { id, names, commands, counters, writing, readers })
    }

    /// What it has done.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            commands: self.counters.commands.load(Ordering::Relaxed),
            commits: self.counters.commits.load(Ordering::Relaxed),
            disk_full: self.counters.full.load(Ordering::Relaxed),
        }
    }

    /// Has the writer run a step that writes `weight` bytes of data, and waits until it is durable.
    async fn write<T: Send + 'static>(
        &self,
        weight: usize,
        step: impl FnMut(&mut Steps) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(weight, step)?.await.map_err(|_| gone())?
    }

    /// Queues a step, and hands out where its answer will arrive.
    fn submit<T: Send + 'static>(
        &self,
        weight: usize,
        step: impl FnMut(&mut Steps) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let (call, answer) = Call::with_answer(weight, step);
        self.commands.push(call).map_err(refused)?;
        Ok(answer)
    }
}

fn load(
    database: &Path,
    now: Timestamp,
    trust_clock: bool,
) -> Result<(rusqlite::Connection, ledger::Ledger), OpenError> {
    let conn = schema::open_writer(database)?;
    if !trust_clock {
        schema::doubt_clock(&conn, database, now)?;
    }
    let sqlite = |error: rusqlite::Error| OpenError::from_sqlite(database.to_owned(), &error);
    let corrected = schema::correct_times(&conn, now).map_err(sqlite)?;
    outbox::release(&conn, now).map_err(sqlite)?;
    if corrected > 0 {
        tracing::warn!(sessions = corrected, "the clock was set back: times of use that lay ahead of it are now");
    }
    let ledger = schema::count_up(&conn, database)?;
    Ok((conn, ledger))
}

impl Drop for EmbeddedStore {
    /// Lets the threads finish by themselves. [`Store::close`] waits for them.
    fn drop(&mut self) {
        self.readers.stop();
        self.commands.close();
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn names(&self) -> NameKeys {
        self.names
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn create(&self, new: StoredSession, limits: CreateLimits, terms: Terms) -> Result<Vec<Ended>, CreateError> {
        self.write(new.session.data.len(), move |steps| steps.create(&new, None, &limits, &terms)).await?
    }

    async fn load(&self, key: SessionKey) -> Result<Option<StoredSession>, StoreError> {
        self.readers.read(move |conn| rows::load(conn, &key)).await
    }

    async fn find(&self, id: SessionId) -> Result<Option<StoredSession>, StoreError> {
        self.readers.read(move |conn| rows::find(conn, id)).await
    }

    async fn update(&self, update: Update) -> Result<StoredSession, UpdateError> {
        self.write(update.data.len(), move |steps| steps.update(&update)).await?
    }

    async fn rotate(
        &self,
        old: SessionKey,
        new: SessionKey,
        now: Timestamp,
    ) -> Result<Option<StoredSession>, StoreError> {
        self.write(0, move |steps| steps.rotate(&old, &new, now)).await
    }

    async fn touch(&self, touches: Vec<(SessionKey, Timestamp)>) -> Result<(), StoreError> {
        // A large batch would not fit the log of a full disk; queued together, its parts share a commit otherwise.
        let parts = touches.chunks(STEP_WHEN_FULL).map(<[_]>::to_vec);
        let answers = parts.map(|part| self.submit(0, move |steps| steps.touch(&part)));
        for answer in answers.collect::<Result<Vec<_>, _>>()? {
            answer.await.map_err(|_| gone())??;
        }
        Ok(())
    }

    async fn end(&self, whom: Whom, reason: EndReason, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        self.write(0, move |steps| steps.end(&whom, reason, max, &terms)).await
    }

    async fn claim_due(&self, close_stale: bool, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        self.write(0, move |steps| steps.claim_due(close_stale, max, &terms)).await
    }

    async fn trim_users(&self, limits: &UserLimits, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        let limits = limits.clone();
        self.write(0, move |steps| steps.trim_users(&limits, max, &terms)).await
    }

    async fn make_room(&self, target: Capacity, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        self.write(0, move |steps| steps.make_room(target, max, &terms)).await
    }

    async fn user_sessions(
        &self,
        user: UserName,
        after: Option<Cursor>,
        max: usize,
    ) -> Result<Vec<StoredSession>, StoreError> {
        self.readers.read(move |conn| rows::list(conn, &user, after, max)).await
    }

    async fn figures(&self, query: FiguresQuery) -> Result<Figures, StoreError> {
        self.write(0, move |steps| Ok(steps.ledger.figures(&query))).await
    }

    async fn take_notices(&self, now: Timestamp, max: usize) -> Result<Vec<Notice>, StoreError> {
        self.write(0, move |steps| steps.take_notices(now, max)).await
    }

    async fn settle_notices(&self, settled: Vec<(EventId, Settlement)>) -> Result<(), StoreError> {
        self.write(0, move |steps| outbox::settle(&steps.conn, &mut steps.ledger, &settled)).await
    }

    async fn drop_notices(&self, until: Timestamp, max: usize) -> Result<u64, StoreError> {
        self.write(0, move |steps| outbox::drop_old(&steps.conn, &mut steps.ledger, until, max)).await
    }

    async fn notices(&self) -> Result<Waiting, StoreError> {
        self.write(0, move |steps| Ok(steps.ledger.outbox())).await
    }

    async fn load_raw(&self, name: RawName, now: Timestamp) -> Result<Option<RawFound>, StoreError> {
        let key = self.names.of(&name);
        self.readers.read(move |conn| raw::load(conn, &key, now)).await
    }

    async fn run_raw(&self, batch: RawBatch) -> Result<RawOutcome, StoreError> {
        self.write(batch.weight(), move |steps| steps.run_raw(&batch)).await
    }

    async fn scan_raw(&self, database: u16, after: u64, max: usize, terms: Terms) -> Result<RawPage, StoreError> {
        self.readers.read(move |conn| raw::scan(conn, database, after, max, &terms)).await
    }

    async fn count_raw(&self, database: u16) -> Result<u64, StoreError> {
        self.readers.read(move |conn| raw::count(conn, database)).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.write(0, |steps| schema::rewrite_version(&steps.conn)).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.commands.close();
        ended(&self.writing).await;
    }
}
