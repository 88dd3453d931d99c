//! Notices that the configuration file has changed, however that was done.
//!
//! Looking is the guarantee: the file is read every [`POLL`] and compared by its hash, so it does not matter whether
//! it was written in place, renamed over, swapped by a symbolic link somewhere above, or lies on a file system that
//! sends no events. Events of its directory only make the next look come sooner.
//!
//! A change is told once it has settled ([`Settling`]), so that a file caught half-written is not taken for a bad one.
//! From write to telling it takes at most `POLL + SAMPLE + SETTLE` for a file that comes to rest, and
//! `POLL + SAMPLE + LONGEST_UNSETTLED` for one that does not, which keeps the promise of one second.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

use super::ContentHash;
use super::files::{ReadError, read_config};

/// The longest time between two looks at a file at rest.
pub const POLL: Duration = Duration::from_millis(300);

/// The time between two looks at a file in motion, and the shortest between any two.
pub const SAMPLE: Duration = Duration::from_millis(50);

/// A change has settled when every look for so long found the same.
pub const SETTLE: Duration = Duration::from_millis(200);

/// A file that does not come to rest for so long is told as it is.
pub const LONGEST_UNSETTLED: Duration = Duration::from_millis(500);

/// What the file holds, or why it cannot be read.
pub type Content = Result<Arc<[u8]>, ReadError>;

/// What a look found, as far as it matters whether it is the same.
pub type Seen = Result<ContentHash, ReadError>;

/// Decides, from what the looks found, when a change is told. Knows neither files nor clocks.
#[derive(Debug)]
pub struct Settling {
    /// What was told last.
    told: Seen,
    unsettled: Option<Unsettled>,
}

#[derive(Debug)]
struct Unsettled {
    /// What the last look found.
    seen: Seen,
    /// Since when it is that.
    since: Instant,
    /// Since when it is no longer what was told.
    begun: Instant,
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing is new: look again after [`POLL`] or an event.
    Rest,
    /// Something is, but may not be complete: look again after [`SAMPLE`].
    LookAgain,
    /// Tell it.
    Tell,
}

impl Settling {
    /// Starts from what is known.
    #[must_use]
    pub fn new(told: Seen) -> Self {
        Self { told, unsettled: None }
    }

    /// Takes what has been put in force meanwhile, as if it had been told.
    pub fn in_force(&mut self, hash: ContentHash) {
        self.told = Ok(hash);
    }

    /// Takes what a look at `now` found.
    pub fn look(&mut self, seen: Seen, now: Instant) -> Next {
        if seen == self.told {
            self.unsettled = None;
            return Next::Rest;
        }
        let begun = self.unsettled.as_ref().map_or(now, |unsettled| unsettled.begun);
        let since = match &self.unsettled {
            Some(unsettled) if unsettled.seen == seen => unsettled.since,
            _ => now,
        };
        if now.duration_since(since) >= SETTLE || now.duration_since(begun) >= LONGEST_UNSETTLED {
            self.told = seen;
            self.unsettled = None;
            Next::Tell
        } else {
            self.unsettled = Some(Unsettled { seen, since, begun });
            Next::LookAgain
        }
    }
}

/// Where whoever reads the file for itself says what it has put in force. The file may have held that too briefly to be
/// told, and that it again holds what was told before is a change then.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<Mutex<Option<ContentHash>>>);

impl InForce {
    /// This is in force now.
    pub fn is(&self, hash: ContentHash) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
    }

    fn take(&self) -> Option<ContentHash> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Watches one file from a thread of its own, which ends with it.
#[derive(Debug)]
pub struct Watcher {
    news: watch::Receiver<Option<Content>>,
    wake: SyncSender<()>,
    in_force: InForce,
}

impl Watcher {
    /// Watches `path`, of which `known` is in force: what [`load`](super::load) read, or [`ReadError::Missing`] if
    /// there was no file. Any difference, even one that came before this call, is told.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(path: PathBuf, known: Seen) -> io::Result<Self> {
        Self::spawn(path, known, true)
    }

    /// The same without events, as on a file system that sends none.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start_polling(path: PathBuf, known: Seen) -> io::Result<Self> {
        Self::spawn(path, known, false)
    }

    fn spawn(path: PathBuf, known: Seen, events: bool) -> io::Result<Self> {
        let (tell, news) = watch::channel(None);
        // One wake-up says as much as many, so the rest may be dropped.
        let (wake, woken) = sync_channel(1);
        let directory = events.then(|| Directory::of(&path, wake.clone()));
        let in_force = InForce::default();
        let settling = Settling::new(known);
        let watched = Watched { path, directory, settling, in_force: in_force.clone(), woken, tell };
        thread::Builder::new().name("config-watch".to_owned()).spawn(|| watched.run())?;
        Ok(Self { news, wake, in_force })
    }

    /// Where to say what is in force.
    #[must_use]
    pub fn in_force(&self) -> InForce {
        self.in_force.clone()
    }

    /// Waits for the next change and returns what the file then holds. Of several changes that nobody waited for, the
    /// last is returned. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Why the file can no longer be read, which is a change too.
    pub async fn changed(&mut self) -> Content {
        loop {
            if self.news.changed().await.is_err() {
                // The thread runs until we are dropped, so it has panicked; the configuration stays as it is.
                tracing::error!("the configuration file is no longer watched");
                std::future::pending::<()>().await;
            }
            if let Some(content) = self.news.borrow_and_update().clone() {
                return content;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // First nobody listens any more, then the thread is woken to see it. A full channel wakes it as well.
        self.news = watch::channel(None).1;
        let _ = self.wake.try_send(());
    }
}

/// The thread's side.
struct Watched {
    path: PathBuf,
    directory: Option<Directory>,
    settling: Settling,
    in_force: InForce,
    woken: Receiver<()>,
    tell: watch::Sender<Option<Content>>,
}

impl Watched {
    fn run(mut self) {
        while !self.tell.is_closed() {
            if let Some(directory) = &mut self.directory {
                directory.follow();
            }
            if let Some(hash) = self.in_force.take() {
                self.settling.in_force(hash);
            }
            let content: Content = read_config(&self.path).map(Into::into);
            let seen = content.as_ref().map(|bytes| ContentHash::of(bytes)).map_err(Clone::clone);
            match self.settling.look(seen, Instant::now()) {
                Next::Rest => {
                    if self.woken.recv_timeout(POLL).is_ok() {
                        // Let a burst of events pass, so that a busy directory costs no more than this.
                        thread::sleep(SAMPLE);
                        self.woken.try_iter().for_each(drop);
                    }
                }
                Next::LookAgain => thread::sleep(SAMPLE),
                // Fails only when nobody listens any more, which ends the loop.
                Next::Tell => drop(self.tell.send(Some(content))),
            }
        }
    }
}

/// The directory of the file, watched for events as long as it is the same directory.
struct Directory {
    path: PathBuf,
    wake: SyncSender<()>,
    /// Device and inode of what is watched, or could not be; `None`: there was no directory.
    identity: Option<(u64, u64)>,
    watcher: Option<RecommendedWatcher>,
}

impl Directory {
    fn of(file: &Path, wake: SyncSender<()>) -> Self {
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { path: parent.to_owned(), wake, identity: None, watcher: None }
    }

    /// Watches the directory anew if another one stands in its place.
    fn follow(&mut self) {
        let identity = fs::metadata(&self.path).ok().map(|meta| (meta.dev(), meta.ino()));
        if identity != self.identity {
            self.identity = identity;
            self.watcher = identity.and_then(|_| self.watch().ok());
            if identity.is_some() && self.watcher.is_none() {
                tracing::debug!(directory = %self.path.display(), "no events from the directory; looking goes on");
            }
        }
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let wake = self.wake.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| may_change_content(event.kind)) {
                let _ = wake.try_send(());
            }
        })?;
        watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Our own reading causes events as well; those must not make us read again.
fn may_change_content(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, ModifyKind};

    use super::*;

    #[test]
    fn the_directory_sends_events_and_is_followed_when_it_is_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("etc/config.yaml");
        let (wake, woken) = sync_channel(1);
        let mut directory = Directory::of(&path, wake);
        directory.follow();
        assert!(directory.watcher.is_none(), "there is nothing to watch yet");
        for round in ["etc", "old"] {
            fs::create_dir(parent.path().join("etc")).unwrap();
            directory.follow();
            fs::write(&path, round).unwrap();
            woken.recv_timeout(Duration::from_secs(20)).expect("an event");
            // Moved, not removed, so that its successor cannot have the same inode.
            fs::rename(parent.path().join("etc"), parent.path().join(format!("moved-{round}"))).unwrap();
            directory.follow();
            woken.try_iter().for_each(drop);
        }
    }

    #[test]
    fn reading_is_no_change() {
        for (kind, changes) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), false),
            (EventKind::Access(AccessKind::Read), false),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), false),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), true),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), true),
        ] {
            assert_eq!(may_change_content(kind), changes, "{kind:?}");
        }
    }
}
