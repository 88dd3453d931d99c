//! A store that waits where a test says, fails when a test says, and counts what it is asked.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sessgate::clock::Timestamp;
use sessgate::session::{
    Capacity, EndReason, Ended, EventId, NameKeys, RawName, SessionId, SessionKey, StoredSession, UserLimits, UserName,
};
use sessgate::store::raw::{RawBatch, RawFound, RawOutcome, RawPage};
use sessgate::store::{
    CreateError, CreateLimits, Cursor, Figures, FiguresQuery, LEAST_STEP, Notice, Settlement, Store, StoreError, Terms,
    Update, UpdateError, Waiting, Whom,
};
use tokio::sync::oneshot;

/// A method of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Create,
    Load,
    Find,
    Update,
    Rotate,
    Touch,
    End,
    ClaimDue,
    TrimUsers,
    Raw,
    Other,
}

/// A place in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Nothing has happened yet.
    Before(Op),
    /// It is done, but the caller does not know it.
    After(Op),
}

/// A call that is to stop at a point, seen from the test.
pub struct Held {
    reached: oneshot::Receiver<()>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until a call is there.
    pub async fn reached(&mut self) {
        (&mut self.reached).await.expect("the call comes");
    }

    /// Lets it go on.
    pub fn release(self) {
        self.release.send(()).expect("the call waits");
    }
}

struct Stop {
    reached: oneshot::Sender<()>,
    release: oneshot::Receiver<()>,
}

/// The store.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    stops: Mutex<HashMap<Point, Stop>>,
    calls: Mutex<HashMap<Op, u64>>,
    down: AtomicBool,
    failing: Mutex<HashSet<Op>>,
    most: AtomicUsize,
}

impl FaultyStore {
    pub fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            stops: Mutex::default(),
            calls: Mutex::default(),
            down: AtomicBool::new(false),
            failing: Mutex::default(),
            most: AtomicUsize::new(usize::MAX),
        })
    }

    /// Has the next call that comes to `point` wait there.
    pub fn hold(&self, point: Point) -> Held {
        let ((reached, seen), (release, released)) = (oneshot::channel(), oneshot::channel());
        self.stops.lock().unwrap().insert(point, Stop { reached, release: released });
        Held { reached: seen, release }
    }

    /// From now on every call fails, or none.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// From now on every call of `op` fails, or none unless the store is down.
    pub fn set_failing(&self, op: Op, fails: bool) {
        let mut failing = self.failing.lock().unwrap();
        let _ = if fails { failing.insert(op) } else { failing.remove(&op) };
    }

    /// From now on a step ends as few sessions as it may, as on a full disk.
    pub fn take_least_steps(&self) {
        self.most.store(LEAST_STEP, Ordering::Relaxed);
    }

    fn at_most(&self, max: usize) -> usize {
        max.min(self.most.load(Ordering::Relaxed))
    }

    /// How often `op` was called.
    pub fn calls(&self, op: Op) -> u64 {
        self.calls.lock().unwrap().get(&op).copied().unwrap_or(0)
    }

    async fn stop_at(&self, point: Point) {
        let stop = self.stops.lock().unwrap().remove(&point);
        if let Some(Stop { reached, release }) = stop {
            reached.send(()).expect("the test waits");
            // A test that is over lets everything go.
            let _ = release.await;
        }
    }

    async fn call<T, E: From<StoreError>>(&self, op: Op, step: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        *self.calls.lock().unwrap().entry(op).or_default() += 1;
        self.stop_at(Point::Before(op)).await;
        if self.down.load(Ordering::Relaxed) || self.failing.lock().unwrap().contains(&op) {
            return Err(StoreError::Unavailable("as the test wants it".to_owned()).into());
        }
        let result = step.await;
        self.stop_at(Point::After(op)).await;
        result
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn id(&self) -> &str {
        self.inner.id()
    }

    fn names(&self) -> NameKeys {
        self.inner.names()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn create(&self, new: StoredSession, limits: CreateLimits, terms: Terms) -> Result<Vec<Ended>, CreateError> {
        self.call(Op::Create, self.inner.create(new, limits, terms)).await
    }

    async fn load(&self, key: SessionKey) -> Result<Option<StoredSession>, StoreError> {
        self.call(Op::Load, self.inner.load(key)).await
    }

    async fn find(&self, id: SessionId) -> Result<Option<StoredSession>, StoreError> {
        self.call(Op::Find, self.inner.find(id)).await
    }

    async fn update(&self, update: Update) -> Result<StoredSession, UpdateError> {
        self.call(Op::Update, self.inner.update(update)).await
    }

    async fn rotate(
        &self,
        old: SessionKey,
        new: SessionKey,
        now: Timestamp,
    ) -> Result<Option<StoredSession>, StoreError> {
        self.call(Op::Rotate, self.inner.rotate(old, new, now)).await
    }

    async fn touch(&self, touches: Vec<(SessionKey, Timestamp)>) -> Result<(), StoreError> {
        self.call(Op::Touch, self.inner.touch(touches)).await
    }

    async fn end(&self, whom: Whom, reason: EndReason, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        self.call(Op::End, self.inner.end(whom, reason, self.at_most(max), terms)).await
    }

    async fn claim_due(&self, close_stale: bool, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        self.call(Op::ClaimDue, self.inner.claim_due(close_stale, self.at_most(max), terms)).await
    }

    async fn trim_users(&self, limits: &UserLimits, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        self.call(Op::TrimUsers, self.inner.trim_users(limits, self.at_most(max), terms)).await
    }

    async fn make_room(&self, target: Capacity, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        self.call(Op::Other, self.inner.make_room(target, self.at_most(max), terms)).await
    }

    async fn user_sessions(
        &self,
        user: UserName,
        after: Option<Cursor>,
        max: usize,
    ) -> Result<Vec<StoredSession>, StoreError> {
        self.call(Op::Other, self.inner.user_sessions(user, after, max)).await
    }

    async fn figures(&self, query: FiguresQuery) -> Result<Figures, StoreError> {
        self.call(Op::Other, self.inner.figures(query)).await
    }

    async fn take_notices(&self, now: Timestamp, max: usize) -> Result<Vec<Notice>, StoreError> {
        self.call(Op::Other, self.inner.take_notices(now, max)).await
    }

    async fn settle_notices(&self, settled: Vec<(EventId, Settlement)>) -> Result<(), StoreError> {
        self.call(Op::Other, self.inner.settle_notices(settled)).await
    }

    async fn drop_notices(&self, until: Timestamp, max: usize) -> Result<u64, StoreError> {
        self.call(Op::Other, self.inner.drop_notices(until, max)).await
    }

    async fn notices(&self) -> Result<Waiting, StoreError> {
        self.call(Op::Other, self.inner.notices()).await
    }

    async fn load_raw(&self, name: RawName, now: Timestamp) -> Result<Option<RawFound>, StoreError> {
        self.call(Op::Load, self.inner.load_raw(name, now)).await
    }

    async fn run_raw(&self, batch: RawBatch) -> Result<RawOutcome, StoreError> {
        self.call(Op::Raw, self.inner.run_raw(batch)).await
    }

    async fn scan_raw(&self, database: u16, after: u64, max: usize, terms: Terms) -> Result<RawPage, StoreError> {
        self.call(Op::Other, self.inner.scan_raw(database, after, max, terms)).await
    }

    async fn count_raw(&self, database: u16) -> Result<u64, StoreError> {
        self.call(Op::Other, self.inner.count_raw(database)).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.call(Op::Other, self.inner.probe()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
