//! The one writer: a thread that runs steps in transactions, several to a commit.
//!
//! A commit costs a disk flush (milliseconds); a step costs microseconds. So steps that arrive together share one,
//! and each is acknowledged only after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::{is_full, may_be_full, told};
use super::queue::{CloseOnExit, Queue};
use super::reserve::is_disk_full;
use super::schema::CHECKPOINT_PAGES;
use super::steps::Steps;
use crate::store::StoreError;

/// Commands that may wait: a tenth of a second of work and more than a sidecar serves requests at once. Whoever
/// comes then is better told "unavailable" at once than served late.
pub(super) const QUEUE: usize = 4_096;

/// Commands in one transaction: beyond, sharing the flush saves nothing that can be measured.
const BATCH: usize = 256;

/// Bytes of new data in one transaction; see [`reserve`](super::reserve) for what it protects.
const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// How long a transaction stays open for commands that are expected: a fraction of the flush that they then save.
const WINDOW: Duration = Duration::from_millis(1);

/// Pages in the log at which it is copied while the disk is full.
const CHECKPOINT_PAGES_WHEN_FULL: i64 = 1;

/// What a caller wants done, and where to answer.
pub(super) trait Command: Send {
    /// Bytes that it is about to write.
    fn weight(&self) -> usize;
    /// Does it, within a transaction. May be called again after that transaction failed.
    fn run(&mut self, steps: &mut Steps) -> rusqlite::Result<()>;
    /// Answers, now that the transaction is durable.
    fn acknowledge(self: Box<Self>);
    /// Answers that it has failed.
    fn fail(self: Box<Self>, error: StoreError);
}

/// A step with its answer.
pub(super) struct Call<T, F> {
    weight: usize,
    step: F,
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Call<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Steps) -> rusqlite::Result<T> + Send + 'static,
{
    pub(super) fn with_answer(weight: usize, step: F) -> (Box<dyn Command>, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { weight, step, outcome: None, reply }), answer)
    }
}

impl<T, F> Command for Call<T, F>
where
    T: Send,
    F: FnMut(&mut Steps) -> rusqlite::Result<T> + Send,
{
    fn weight(&self) -> usize {
        self.weight
    }

    fn run(&mut self, steps: &mut Steps) -> rusqlite::Result<()> {
        // What came of an earlier attempt was undone, and must not count in this one.
        self.outcome = None;
        self.outcome = Some((self.step)(steps)?);
        Ok(())
    }

    fn acknowledge(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // A caller who went away has no use for the answer.
            let _ = self.reply.send(Ok(outcome));
        }
    }

    fn fail(self: Box<Self>, error: StoreError) {
        // First, so that whoever is told may count on it.
        drop(self.outcome);
        let _ = self.reply.send(Err(error));
    }
}

/// What the writer has done since it started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commands: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) full: AtomicBool,
}

/// Where commands come from and what they work on.
pub(super) struct Writer {
    pub(super) steps: Steps,
    pub(super) queue: Arc<Queue<Box<dyn Command>>>,
    pub(super) counters: Arc<Counters>,
    /// The store's directory, to ask whether its disk is full.
    pub(super) directory: std::path::PathBuf,
}

impl Writer {
    /// Serves until the queue is closed and empty, then leaves everything in the database file.
    pub(super) fn serve(mut self) {
        let queue = Arc::clone(&self.queue);
        let _guard = CloseOnExit(&*queue);
        self.follow_reserve();
        let mut expected = 1;
        while let Some(first) = queue.pop() {
            let served = self.serve_batch(first, expected);
            // Who waits now, and who was just answered and may be back at once.
            expected = if self.steps.reserve.is_spent() { 1 } else { served + queue.len() };
        }
        if let Err(error) = checkpoint(&self.steps.conn, "PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(%error, "the write-ahead log could not be emptied; the next start will do it");
        }
    }

    /// Runs a command, and those that come until it is time to commit. Says how many it were.
    fn serve_batch(&mut self, first: Box<dyn Command>, expected: usize) -> usize {
        let mut batch = Vec::with_capacity(expected.clamp(1, BATCH));
        batch.push(first);
        let outcome = self.transaction(|steps, queue| {
            let most = if steps.reserve.is_spent() { 1 } else { BATCH };
            let window = Instant::now() + WINDOW;
            let mut weight = 0_usize;
            while let Some(command) = batch.last_mut() {
                weight = weight.saturating_add(command.weight());
                command.run(steps)?;
                if batch.len() >= most || weight >= BATCH_BYTES {
                    break;
                }
                let next = match queue.pop_now() {
                    None if batch.len() < expected => queue.pop_until(window),
                    next => next,
                };
                let Some(next) = next else { break };
                batch.push(next);
            }
            Ok(())
        });
        let served = batch.len();
        self.counters.commands.fetch_add(served as u64, Ordering::Relaxed);
        match outcome {
            Ok(()) => batch.into_iter().for_each(Command::acknowledge),
            Err(error) => self.serve_one_by_one(batch, &error),
        }
        served
    }

    /// After a failure: each command in a transaction of its own, so that one that must fail fails alone.
    fn serve_one_by_one(&mut self, batch: Vec<Box<dyn Command>>, error: &rusqlite::Error) {
        let made_room = self.make_room_after(error);
        let alone = batch.len() == 1;
        for mut command in batch {
            // A command that has failed by itself, and for another reason than want of room, would fail again.
            if alone && !made_room {
                command.fail(told(error));
                continue;
            }
            let mut outcome = self.transaction(|steps, _| command.run(steps));
            if let Err(error) = &outcome
                && self.make_room_after(error)
            {
                outcome = self.transaction(|steps, _| command.run(steps));
            }
            match outcome {
                Ok(()) => command.acknowledge(),
                Err(error) => command.fail(told(&error)),
            }
        }
    }

    fn transaction(
        &mut self,
        work: impl FnOnce(&mut Steps, &Queue<Box<dyn Command>>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let outcome = execute(&self.steps.conn, "BEGIN IMMEDIATE")
            .and_then(|()| work(&mut self.steps, &self.queue))
            .and_then(|()| execute(&self.steps.conn, "COMMIT"));
        if outcome.is_ok() {
            self.steps.ledger.commit();
            self.counters.commits.fetch_add(1, Ordering::Relaxed);
        } else {
            if !self.steps.conn.is_autocommit()
                && let Err(error) = execute(&self.steps.conn, "ROLLBACK")
            {
                tracing::error!(%error, "a transaction could not be rolled back");
            }
            self.steps.ledger.roll_back();
        }
        self.follow_reserve();
        outcome
    }

    /// If the disk turns out to be full, gives up the reserve and empties the log. Says whether that was so.
    fn make_room_after(&mut self, error: &rusqlite::Error) -> bool {
        let full = is_full(error) || (may_be_full(error) && is_disk_full(&self.directory));
        if !full || self.steps.reserve.is_spent() {
            return false;
        }
        tracing::error!(%error, "the disk is full: sessions can be read and ended, not created");
        self.steps.reserve.spend();
        self.follow_reserve();
        // The log starts again from its beginning and keeps its room.
        if let Err(error) = checkpoint(&self.steps.conn, "PRAGMA wal_checkpoint(RESTART)") {
            tracing::error!(%error, "the write-ahead log could not be emptied");
        }
        true
    }

    /// Copies the log sooner while the disk is full, and says so in the statistics.
    fn follow_reserve(&self) {
        let full = self.steps.reserve.is_spent();
        if self.counters.full.swap(full, Ordering::Relaxed) != full {
            let pages = if full { CHECKPOINT_PAGES_WHEN_FULL } else { CHECKPOINT_PAGES };
            if let Err(error) = self.steps.conn.pragma_update(None, "wal_autocheckpoint", pages) {
                tracing::error!(%error, "the write-ahead log keeps its old bound");
            }
            if !full {
                tracing::info!("there is room on the disk again");
            }
        }
    }
}

fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}

/// Copies the log into the database.
fn checkpoint(conn: &Connection, how: &str) -> rusqlite::Result<()> {
    conn.query_row(how, [], |_| Ok(()))
}
