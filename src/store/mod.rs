//! The storage tier: the truth about sessions.
//!
//! [`Store`] is what the gateway needs of it. Each method is one atomic step; the table says how each store makes it
//! so. The embedded store has one writer thread and a transaction; Redis and Valkey will have one Lua script a step
//! (in a Cluster: the ordered steps of the design, which can only over-count when they are interrupted).
//!
//! | promise | embedded (SQLite) | Redis / Valkey |
//! |---|---|---|
//! | [`create`](Store::create) enforces limits and writes, or refuses and writes nothing | one writer, one transaction | one script over the session, the user's index and the totals |
//! | [`update`](Store::update) compares the revision and writes | same transaction | same script, revision in the value's envelope |
//! | [`rotate`](Store::rotate) kills the old key and makes the new one | `UPDATE` of the key column | `RENAME` plus index in a script |
//! | [`touch`](Store::touch): newest wins, missing ones are ignored | one transaction a batch | `EVALSHA` pipelined, `ZADD GT` on the activity index |
//! | [`end`](Store::end) removes, and records the notice with the removal | row deletion and outbox row in one transaction | deletion, tombstone and `XADD` to the outbox stream in one script |
//! | [`claim_due`](Store::claim_due): each due session is ended once, by one caller | the same | claimed by `ZREM` inside the script, so that of several sidecars one wins |
//! | [`user_sessions`](Store::user_sessions) | index on (user, created) | sorted set a user, scored by creation |
//! | [`figures`](Store::figures) cost what they return, not what is stored | a ledger that the writer keeps, rebuilt from the rows at start | counters and sorted sets that the scripts keep |
//! | [`run_raw`](Store::run_raw): a transaction of keys that the app names | the same transaction | the app's own keys: watched, computed, and written in one script if nothing changed |
//! | [`probe`](Store::probe) writes | rewrites the schema's version | `SET` of a key of its own |
//! | outbox survives a crash | table in the same file | stream with a consumer group |
//!
//! A method that fails has changed nothing, or is reported again by a later call: callers may repeat any of them.
//! What a method has acknowledged is durable.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::session::{
    Capacity, EndReason, Ended, EventId, Lifetimes, NameKeys, RawName, SessionId, SessionKey, StoredSession, UserLimit,
    UserLimits, UserName,
};

use self::raw::{RawBatch, RawFound, RawOutcome, RawPage};

pub mod embedded;
pub mod raw;

/// How long a caller waits for a read. The app has an answer to give by then.
pub const READ_DEADLINE: Duration = Duration::from_secs(2);

/// How a store can fail.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room on the disk (or in the server's memory). Reads and removals go on.
    #[error("the store has no room left: {0}")]
    Full(String),
    /// It did not answer, or is shutting down.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What it holds cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// What every step that may end sessions has to know.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The time of the step.
    pub now: Timestamp,
    /// The clocks in force.
    pub lifetimes: Lifetimes,
    /// How much longer idle clocks run, because a saved activity may be so much older than the true one. Where one user's
    /// sessions are judged, no longer than each one's activity may be unsaved; see
    /// [`Clocks::touch_interval_of`](crate::session::Clocks::touch_interval_of).
    pub grace: Duration,
    /// Whether an ended session leaves a notice in the outbox.
    pub notify: bool,
    /// For how long late saves of an ended session are dropped, if an app named it.
    pub tombstone: Duration,
}

/// The limits that a creation must keep.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateLimits {
    /// The limit of the newcomer's user; `None`: none, or the newcomer is anonymous.
    pub user: Option<UserLimit>,
    /// The limits of the tier.
    pub capacity: Capacity,
}

/// Why a session was not created. Nothing was written and nobody ended.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The user has all the sessions that [`OnExcess::Reject`](crate::session::OnExcess::Reject) allows.
    #[error("the user has as many sessions as allowed")]
    UserLimit,
    /// The tier is at its cap and holds nobody whom the newcomer may displace.
    #[error("the storage tier is at its cap")]
    StorageFull,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a session was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// There is none under that key.
    #[error("no such session")]
    NotFound,
    /// Its revision is not the expected one.
    #[error("the session is at revision {current}")]
    RevisionMismatch {
        /// The revision it has.
        current: u64,
    },
    /// The new data would not fit under the cap.
    #[error("the storage tier is at its cap")]
    StorageFull,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an error says of the store itself: a refusal, by a limit or a revision, is an answer and no failure.
pub trait Failure {
    /// The store's own failure, if that is what it is.
    fn failure(&self) -> Option<&StoreError>;
}

impl Failure for StoreError {
    fn failure(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl Failure for CreateError {
    fn failure(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::UserLimit | Self::StorageFull => None,
        }
    }
}

impl Failure for UpdateError {
    fn failure(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::NotFound | Self::RevisionMismatch { .. } | Self::StorageFull => None,
        }
    }
}

/// A change of a session's data.
#[derive(Clone)]
pub struct Update {
    /// Which session.
    pub key: SessionKey,
    /// Its new data.
    pub data: Box<[u8]>,
    /// The revision it must have; `None`: any.
    pub if_revision: Option<u64>,
    /// The time, which becomes its last activity.
    pub now: Timestamp,
    /// The limits of the tier, which the growth must keep.
    pub capacity: Capacity,
}

/// Data may be anything, so it never shows itself.
impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("key", &self.key)
            .field("data_bytes", &self.data.len())
            .field("if_revision", &self.if_revision)
            .field("now", &self.now)
            .field("capacity", &self.capacity)
            .finish()
    }
}

/// Whom [`Store::end`] ends.
#[derive(Clone, Debug)]
pub enum Whom {
    /// The session under this key.
    Key(SessionKey),
    /// The session with this handle.
    Id(SessionId),
    /// The sessions of this user.
    User(UserName),
}

/// A place in the listing of a user's sessions: behind the session created then, with that id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When that session was created.
    pub created_at: Timestamp,
    /// Its id.
    pub id: SessionId,
}

/// Which figures are asked for.
#[derive(Clone, Debug)]
pub struct FiguresQuery {
    /// Sessions last used at this time or before count as stale.
    pub stale_before: Timestamp,
    /// How many of the heaviest users are wanted.
    pub top: usize,
    /// The limits by which users are "at their limit".
    pub user_limits: UserLimits,
}

/// What a store says of its contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Sessions held, the expired but not yet swept included.
    pub sessions: u64,
    /// Bytes held, by [`Session::stored_bytes`](crate::session::Session::stored_bytes).
    pub bytes: u64,
    /// Sessions that count as stale, exact to one minute of activity.
    pub stale: u64,
    /// The oldest last activity, exact to one minute.
    pub oldest_activity: Option<Timestamp>,
    /// Users with at least one session.
    pub users: u64,
    /// Users who have as many sessions as they may, or more.
    pub users_at_limit: u64,
    /// The heaviest users and their numbers of sessions, heaviest first.
    pub top_users: Vec<(UserName, u64)>,
}

/// A notice in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its handle.
    pub event_id: EventId,
    /// The session's handle.
    pub id: SessionId,
    /// Whose it was.
    pub user: Option<UserName>,
    /// Why it ended.
    pub reason: EndReason,
    /// When it ended.
    pub at: Timestamp,
    /// How many deliveries have failed.
    pub attempts: u32,
}

/// What becomes of a notice after an attempt to deliver it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is done with: delivered, or given up.
    Remove,
    /// It is to be tried again at that time; counts as one failed attempt.
    RetryAt(Timestamp),
}

/// How long a notice that a caller has taken stays hidden from others: longer than a delivery may last.
pub const NOTICE_LEASE: Duration = Duration::from_secs(60);

/// The storage tier.
///
/// Every list that a method returns is bounded by the `max` it is given. A store that is short of room ends fewer at a
/// time, so callers repeat until fewer than [`LEAST_STEP`] come back: then nothing is left.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Its name in metrics and logs.
    fn kind(&self) -> &'static str;

    /// What tells it from any other, made with it: one that was emptied, or made anew, has another.
    fn id(&self) -> &str;

    /// Turns the names that apps choose into the keys that it keeps them under.
    fn names(&self) -> NameKeys;

    /// Whether other sidecars see the same sessions.
    fn is_shared(&self) -> bool;

    /// Writes a new session, making room for it as the limits say.
    ///
    /// Sessions of the user that have expired end first, by their clock. Then, if the user has as many sessions as
    /// allowed or more, the whole surplus ends as [`EndReason::UserLimit`], or the newcomer is refused. Then, if the
    /// tier has no room, others end as [`EndReason::StorageCap`], at most [`MAX_DISPLACED`], in this order: expired
    /// ones (by their clock's reason); the newcomer's own user's oldest, while that user is a heaviest one; anonymous
    /// ones, the stale first; stale ones; the heaviest user's oldest, while that user keeps at least as many as the
    /// newcomer's user will have. An anonymous newcomer displaces only expired and anonymous ones: a flood must never
    /// log out other people. If that is not enough, it is refused and nobody ends.
    async fn create(&self, new: StoredSession, limits: CreateLimits, terms: Terms) -> Result<Vec<Ended>, CreateError>;

    /// Reads the session under a key.
    async fn load(&self, key: SessionKey) -> Result<Option<StoredSession>, StoreError>;

    /// Reads the session with a handle.
    async fn find(&self, id: SessionId) -> Result<Option<StoredSession>, StoreError>;

    /// Replaces a session's data, counts its revision up and returns it as it now is.
    async fn update(&self, update: Update) -> Result<StoredSession, UpdateError>;

    /// Moves a session to another key and returns it; `None` if there is none under `old`. The old key is dead at once.
    async fn rotate(
        &self,
        old: SessionKey,
        new: SessionKey,
        now: Timestamp,
    ) -> Result<Option<StoredSession>, StoreError>;

    /// Saves last activities. The newest wins; a key that is not there is ignored.
    async fn touch(&self, touches: Vec<(SessionKey, Timestamp)>) -> Result<(), StoreError>;

    /// Ends sessions for `reason`, those that had expired for their clock's, at most `max`, oldest first, and returns them.
    async fn end(&self, whom: Whom, reason: EndReason, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError>;

    /// Ends sessions whose idle or absolute timeout is over and, if `close_stale`, the stale ones: at most `max`.
    async fn claim_due(&self, close_stale: bool, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError>;

    /// Ends surplus sessions of users above their limit, at most `max`: first what has expired of such a user (by its
    /// clock's reason), then as the limit's policy says.
    /// Under [`OnExcess::Reject`](crate::session::OnExcess::Reject) nobody ends.
    async fn trim_users(&self, limits: &UserLimits, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError>;

    /// Ends sessions until the tier holds no more than `target`, at most `max`: expired ones (by their clock's
    /// reason); anonymous ones, the stale first; stale ones; the heaviest user's oldest while that user has more than one
    /// session. Whoever has a name goes after all who have none: a flood must never log out other people.
    async fn make_room(&self, target: Capacity, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError>;

    /// Lists a user's sessions by creation, at most `max`, those behind `after`; each without its data, which may be large.
    async fn user_sessions(
        &self,
        user: UserName,
        after: Option<Cursor>,
        max: usize,
    ) -> Result<Vec<StoredSession>, StoreError>;

    /// Reports what the store holds.
    async fn figures(&self, query: FiguresQuery) -> Result<Figures, StoreError>;

    /// Takes notices that are due for delivery, oldest first, at most `max`, and hides them for [`NOTICE_LEASE`].
    async fn take_notices(&self, now: Timestamp, max: usize) -> Result<Vec<Notice>, StoreError>;

    /// Settles notices that were taken.
    async fn settle_notices(&self, settled: Vec<(EventId, Settlement)>) -> Result<(), StoreError>;

    /// Looks at the oldest notices, at most `max`, and drops those from `until` or before. How many.
    async fn drop_notices(&self, until: Timestamp, max: usize) -> Result<u64, StoreError>;

    /// How many notices wait, and how many were dropped since the start, because more than [`MAX_NOTICES`] waited or they
    /// could not be read.
    async fn notices(&self) -> Result<Waiting, StoreError>;

    /// Reads what is under a name. Sessions are judged by the caller, as after [`load`](Store::load).
    async fn load_raw(&self, name: RawName, now: Timestamp) -> Result<Option<RawFound>, StoreError>;

    /// Does the operations of a batch, all or none: see [`raw`].
    async fn run_raw(&self, batch: RawBatch) -> Result<RawOutcome, StoreError>;

    /// Lists the names of a key space behind a place, 0 being the beginning: those of about `max` keys, without the
    /// expired. What is there from the first page to the last is listed, once at least.
    async fn scan_raw(&self, database: u16, after: u64, max: usize, terms: Terms) -> Result<RawPage, StoreError>;

    /// How many keys there are in a key space, the expired but not yet swept included.
    async fn count_raw(&self, database: u16) -> Result<u64, StoreError>;

    /// Writes something that changes nothing, durably: succeeds if writes do.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Finishes what was accepted and closes; later calls are [`StoreError::Unavailable`].
    async fn close(&self);
}

/// How full the outbox is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Notices that wait.
    pub queued: u64,
    /// Notices dropped since the start: the oldest, for want of room, and what could not be read.
    pub overflowed: u64,
}

/// The most sessions that one creation displaces: as many of the smallest as one of the largest default size takes.
pub const MAX_DISPLACED: usize = 256;

/// The most notices that wait; the oldest go beyond it. A day of one ended session a second is 86,400.
pub const MAX_NOTICES: u64 = 1_000_000;

/// Sessions that one step ends at least, if there are so many to end and its `max` allows: no store takes smaller
/// steps, however short of room it is.
pub const LEAST_STEP: usize = 64;
