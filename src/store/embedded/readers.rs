//! Readers: threads with a connection each. They see what was committed, and never wait for the writer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::error::{OpenError, told};
use super::queue::{CloseOnExit, Queue, Refused};
use super::schema;
use crate::store::StoreError;

/// How many. A read is a few microseconds if its pages are cached, and waits for the disk otherwise: two let a
/// listing and a look-up pass each other.
const READERS: usize = 2;

/// Reads that may wait.
const QUEUE: usize = 4_096;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The threads, as callers see them.
pub(super) struct Readers {
    queue: Arc<Queue<Read>>,
    alive: watch::Receiver<()>,
    deadline: Duration,
}

impl Readers {
    pub(super) fn start(database: &Path, deadline: Duration) -> Result<Self, OpenError> {
        let queue = Arc::new(Queue::<Read>::new(QUEUE));
        let (sign, alive) = watch::channel(());
        for number in 0..READERS {
            let conn =
                schema::open_reader(database).map_err(|error| OpenError::from_sqlite(database.to_owned(), &error))?;
            let (queue, sign) = (Arc::clone(&queue), sign.clone());
            let serve = move || {
                let _sign = sign;
                let _guard = CloseOnExit(&*queue);
                while let Some(read) = queue.pop() {
                    read(&conn);
                }
            };
            spawn(&format!("store-read-{number}"), database, serve)?;
        }
        Ok(Self { queue, alive, deadline })
    }

    /// Runs a read on one of the threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Read = Box::new(move |conn| {
            // A caller who went away has no use for the answer.
            if !reply.is_closed() {
                let _ = reply.send(read(conn).map_err(|error| told(&error)));
            }
        });
        self.queue.push(job).map_err(refused)?;
        match timeout(self.deadline, answer).await {
            Ok(answer) => answer.map_err(|_| gone())?,
            Err(_) => Err(StoreError::Unavailable(format!("a read took longer than {:?}", self.deadline))),
        }
    }

    /// Takes no more reads, without waiting.
    pub(super) fn stop(&self) {
        self.queue.close();
    }

    /// Finishes the reads that wait, and lets the connections go.
    pub(super) async fn close(&self) {
        self.stop();
        ended(&self.alive).await;
    }
}

/// Waits until every holder of the sign's other end is gone.
pub(super) async fn ended(alive: &watch::Receiver<()>) {
    let mut alive = alive.clone();
    while alive.changed().await.is_ok() {}
}

/// Starts a thread of the store.
pub(super) fn spawn(name: &str, database: &Path, serve: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
    let started: io::Result<_> = thread::Builder::new().name(name.to_owned()).spawn(serve);
    started
        .map(drop)
        .map_err(|error| OpenError::Failed { path: database.to_owned(), reason: format!("no thread: {error}") })
}

/// What a caller is told whom a queue has refused.
pub(super) fn refused(refused: Refused) -> StoreError {
    StoreError::Unavailable(match refused {
        Refused::Full => "too many requests wait for it".to_owned(),
        Refused::Closed => "it is closed".to_owned(),
    })
}

/// What a caller is told whose request was dropped.
pub(super) fn gone() -> StoreError {
    StoreError::Unavailable("it stopped before it answered".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::store::embedded::schema;

    #[tokio::test]
    async fn who_waits_too_long_is_told_and_costs_no_read_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("sessgate.db");
        std::fs::write(&database, "").unwrap();
        let _writer = schema::open_writer(&database).unwrap();
        let readers = Readers::start(&database, Duration::from_millis(20)).unwrap();
        let (sender, run) = mpsc::channel();
        // All threads are busy until they are released, and those who wait have given up by then.
        let releases: Vec<_> = (0..READERS).map(|_| mpsc::channel::<()>()).collect();
        let (releases, held): (Vec<_>, Vec<_>) = releases.into_iter().unzip();
        let busy = held.into_iter().map(|held| readers.read(move |_| Ok(held.recv())));
        let late = sender.clone();
        let waits = readers.read(move |_| Ok(late.send("late")));
        let (busy, late) = tokio::join!(futures_util::future::join_all(busy), waits);
        assert!(busy.iter().all(|read| matches!(read, Err(StoreError::Unavailable(_)))));
        assert!(matches!(late, Err(StoreError::Unavailable(_))));
        drop(releases);
        readers.read(move |_| Ok(sender.send("in time"))).await.unwrap().unwrap();
        readers.close().await;
        assert_eq!(run.into_iter().collect::<Vec<_>>(), ["in time"]);
    }
}
