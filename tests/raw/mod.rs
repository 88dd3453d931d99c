//! Keys that apps name themselves, on the embedded store: against a real redis-server, and what Redis does not have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sessgate::clock::Timestamp;
use sessgate::config::settings::{SessionRule, Settings};
use sessgate::session::identity::Rule;
use sessgate::session::{EndReason, Ended, OnExcess, RawName, SessionKey, StoredSession, UserLimits};
use sessgate::store::embedded::{EmbeddedStore, Options};
use sessgate::store::raw::{
    Admission, Condition, Counted, Deadline, Direction, PlainValue, RawBatch, RawFound, RawOp, RawOutcome, RawReply,
    RawSet,
};
use sessgate::store::{Figures, FiguresQuery, Store, Terms};
use tempfile::TempDir;

use crate::support::sessions::{SeededGenerator, everybody, terms, user};

mod batches;
mod differential;
mod disk;
mod gateway;
mod limits;
mod migration;
mod plain;
mod random;
mod scan;
mod sessions;
mod tombstones;

/// When every test begins.
pub const START: Timestamp = crate::support::sessions::START;

/// Lets so many in, and no more.
pub struct Doorkeeper(Arc<AtomicU64>);

impl Doorkeeper {
    pub fn letting_in(most: u64) -> Arc<Self> {
        Arc::new(Self(Arc::new(AtomicU64::new(most))))
    }
}

impl Admission for Doorkeeper {
    fn admit(&self, _: IpAddr, _: Timestamp) -> Option<Counted> {
        let left = Arc::clone(&self.0);
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        Some(Counted::unless_dropped(move || _ = left.fetch_add(1, Ordering::Relaxed)))
    }
}

/// What was created counts.
pub fn kept(mut outcome: RawOutcome) -> RawOutcome {
    outcome.counted.drain(..).for_each(Counted::keep);
    outcome
}

/// A store, and what is said with every batch.
pub struct Keys {
    pub store: EmbeddedStore,
    pub settings: Settings,
    pub terms: Terms,
    pub told_absent: Vec<(SessionKey, Timestamp)>,
    pub watched: Vec<(RawName, u64)>,
    pub used: HashMap<SessionKey, Timestamp>,
    pub admission: Arc<dyn Admission>,
    directory: TempDir,
}

fn open(directory: &TempDir, now: Timestamp) -> EmbeddedStore {
    let options = Options { reserve_bytes: 64 * 1024, trust_clock: true, ..Options::default() };
    EmbeddedStore::open_with(directory.path(), now, Arc::new(SeededGenerator::default()), options).unwrap()
}

impl Keys {
    /// An empty store; what begins with `s:` is a session. No limit interferes.
    pub fn new() -> Self {
        let mut settings = Settings::default();
        settings.redis_door.sessions = vec![SessionRule { pattern: "s:".to_owned(), rule: Rule::default() }];
        settings.limits.per_user = everybody(None, OnExcess::Reject);
        settings.limits.stored = sessgate::session::Capacity::default();
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: open(&directory, START),
            settings,
            terms: terms(START),
            told_absent: Vec::new(),
            watched: Vec::new(),
            used: HashMap::new(),
            admission: Doorkeeper::letting_in(u64::MAX),
            directory,
        }
    }

    /// The same under other settings.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut keys = Self::new();
        change(&mut keys.settings);
        keys
    }

    pub fn limit_users(sessions: u64, on_excess: OnExcess) -> Self {
        Self::with(|settings| settings.limits.per_user = everybody(Some(sessions), on_excess))
    }

    /// The key of a name.
    pub fn key(&self, name: &str) -> SessionKey {
        self.store.names().key(0, name.as_bytes())
    }

    /// Time goes by.
    pub fn wait(&mut self, by: Duration) {
        self.terms.now = self.terms.now + by;
    }

    pub fn now(&self) -> Timestamp {
        self.terms.now
    }

    /// So many minutes from now.
    pub fn soon(&self, minutes: u64) -> Timestamp {
        self.terms.now + Duration::from_secs(60 * minutes)
    }

    /// From now on the client knows that this is not there.
    pub fn tell_absent(&mut self, key: &str) {
        self.told_absent.push((self.key(key), self.terms.now));
    }

    pub fn batch(&self, ops: Vec<RawOp>) -> RawBatch {
        RawBatch {
            ops,
            watched: self.watched.clone(),
            used: self.used.clone(),
            told_absent: self.told_absent.clone(),
            terms: self.terms,
            settings: Arc::new(self.settings.clone()),
            admission: Arc::clone(&self.admission),
        }
    }

    /// Does operations as one.
    pub async fn all(&self, ops: Vec<RawOp>) -> RawOutcome {
        kept(self.store.run_raw(self.batch(ops)).await.unwrap())
    }

    /// Does one, and says all that became of it.
    pub async fn outcome(&self, op: RawOp) -> RawOutcome {
        self.all(vec![op]).await
    }

    /// Does one.
    pub async fn run(&self, op: RawOp) -> RawReply {
        self.outcome(op).await.replies.unwrap().remove(0)
    }

    pub async fn get(&self, key: &str) -> RawReply {
        self.run(RawOp::Get(name(key))).await
    }

    pub async fn set(&self, key: &str, value: &str) -> RawReply {
        self.run(set(key, value)).await
    }

    /// Saves a session of a user.
    pub async fn log_in(&self, key: &str, owner: &str) -> RawReply {
        self.set(key, &of(owner)).await
    }

    pub async fn found(&self, key: &str) -> Option<RawFound> {
        self.store.load_raw(name(key), self.terms.now).await.unwrap()
    }

    pub async fn session(&self, key: &str) -> Option<StoredSession> {
        match self.found(key).await {
            Some(RawFound::Session(stored)) => Some(stored),
            _ => None,
        }
    }

    pub async fn plain(&self, key: &str) -> Option<PlainValue> {
        match self.found(key).await {
            Some(RawFound::Plain(value)) => Some(value),
            _ => None,
        }
    }

    /// Which of these keys are a user's, by the index.
    pub async fn of_user<'k>(&self, owner: &str, keys: &[&'k str]) -> Vec<&'k str> {
        let sessions = self.store.user_sessions(user(owner), None, 1_000).await.unwrap();
        keys.iter().copied().filter(|key| sessions.iter().any(|stored| stored.key == self.key(key))).collect()
    }

    pub async fn end(&self, key: &str, reason: EndReason) -> Vec<Ended> {
        self.store.end(sessgate::store::Whom::Key(self.key(key)), reason, 1, self.terms).await.unwrap()
    }

    pub async fn figures(&self) -> Figures {
        let user_limits = UserLimits { sessions: Some(2), ..self.settings.limits.per_user.clone() };
        self.store.figures(FiguresQuery { stale_before: self.terms.now, top: 9, user_limits }).await.unwrap()
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self) {
        self.store.close().await;
        self.store = open(&self.directory, self.terms.now);
    }

    /// Asserts that what is counted equals what is there.
    pub async fn assert_counted(&mut self) {
        let figures = self.figures().await;
        self.reopen().await;
        assert_eq!(self.figures().await, figures, "the ledger is what a scan of the rows gives");
    }
}

pub fn name(key: &str) -> RawName {
    RawName::new(0, key.as_bytes())
}

/// A value that says whose it is.
pub fn of(owner: &str) -> String {
    format!("{{\"user_id\":\"{owner}\"}}")
}

pub fn set(key: &str, value: &str) -> RawOp {
    set_until(key, value, Deadline::None)
}

pub fn set_until(key: &str, value: &str, deadline: Deadline) -> RawOp {
    let value = value.as_bytes().into();
    RawOp::Set(RawSet { name: name(key), value, condition: Condition::Always, deadline, get: false })
}

pub fn expire(key: &str, at: Timestamp) -> RawOp {
    RawOp::Expire { name: name(key), at, condition: Condition::Always, direction: Direction::Any }
}

pub fn delete(key: &str) -> RawOp {
    RawOp::Delete(vec![name(key)])
}

pub fn rename(from: &str, to: &str) -> RawOp {
    RawOp::Rename { from: name(from), to: name(to) }
}

pub fn hset(key: &str, field: &str, value: &str) -> RawOp {
    RawOp::HSet { name: name(key), pairs: vec![(field.as_bytes().into(), value.as_bytes().into())] }
}

pub fn bytes(value: &str) -> RawReply {
    RawReply::Bytes(value.as_bytes().into())
}

pub fn reasons(ended: &[Ended]) -> Vec<EndReason> {
    ended.iter().map(|ended| ended.reason).collect()
}
