//! What a door asks of the gateway and is answered: the vocabulary shared by all doors.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::gateway::memory::Entry;
use crate::session::{LeaseId, SessionId, Token, UserName};
use crate::store::StoreError;

/// A session to be created.
#[derive(Clone, Default)]
pub struct CreateRequest {
    /// Whose it is; `None`: anonymous.
    pub user: Option<UserName>,
    /// The app's data.
    pub data: Box<[u8]>,
    /// The client's address, as the app knows it, for the creation rate. `None`: not counted.
    pub ip: Option<IpAddr>,
    /// An idle timeout of its own.
    pub idle_timeout: Option<Duration>,
    /// An absolute timeout of its own.
    pub absolute_timeout: Option<Duration>,
}

/// Data may be anything, so it never shows itself; nor does whose it is.
impl fmt::Debug for CreateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateRequest")
            .field("data_bytes", &self.data.len())
            .field("idle_timeout", &self.idle_timeout)
            .field("absolute_timeout", &self.absolute_timeout)
            .finish_non_exhaustive()
    }
}

/// A session that was created.
#[derive(Debug)]
pub struct Created {
    /// Its secret, shown this once.
    pub token: Token,
    /// The session.
    pub view: View,
    /// The sessions that ended to make room for it.
    pub evicted: Vec<SessionId>,
}

/// A session as it is at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The session.
    pub entry: Arc<Entry>,
    /// Its last use, this one included if it counted as use.
    pub last_activity: Timestamp,
    /// When it ends if it is not used again.
    pub expires_at: Timestamp,
    /// Whether it had not been used for `stale_after` before this use.
    pub stale: bool,
}

/// Whether a look-up counts as use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slide {
    /// It does: the idle timeout starts anew.
    Touch,
    /// It does not.
    Peek,
}

/// Why a request was not answered as asked. Every door maps each of these to its own answer.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// There is no such session, or its time is over.
    #[error("there is no such session")]
    NotFound,
    /// The client address creates too many sessions.
    #[error("this client creates sessions too fast")]
    CreationRate {
        /// When to try again.
        retry_after: Duration,
    },
    /// The user has as many sessions as allowed, and the policy is to refuse.
    #[error("the user has as many sessions as allowed ({limit})")]
    UserLimit {
        /// The limit.
        limit: u64,
    },
    /// The data is larger than `limits.session_bytes`.
    #[error("the session's data has {bytes} bytes; at most {limit} are allowed")]
    SessionTooLarge {
        /// What it has.
        bytes: u64,
        /// What it may have.
        limit: u64,
    },
    /// The storage tier is at its cap.
    #[error("the storage tier is full")]
    StorageFull,
    /// The session has another revision than the caller expects.
    #[error("the session is at revision {current}")]
    RevisionMismatch {
        /// The revision it has.
        current: u64,
    },
    /// The user has as many leases as allowed.
    #[error("the user holds as many leases as allowed ({limit})")]
    LeaseLimit {
        /// The limit.
        limit: u32,
        /// When the first of them ends by itself.
        retry_after: Duration,
    },
    /// A duration of the session's own is out of range.
    #[error("{0}")]
    InvalidTimeout(&'static str),
    /// The store cannot be reached, or failed.
    #[error("the session store is unavailable")]
    Unavailable(#[source] StoreError),
}

/// A lease that was given or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its handle.
    pub id: LeaseId,
    /// When it ends unless it is renewed.
    pub expires_at: Timestamp,
    /// How many the user now holds, this one included.
    pub in_use: u32,
    /// How many the user may hold; `None`: any number.
    pub limit: Option<u32>,
}

/// Figures for people and for `GET /v1/stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions in memory.
    pub memory: u64,
    /// Sessions in storage.
    pub storage: u64,
    /// Sessions in storage that are not stale.
    pub active: u64,
    /// Sessions in storage that are.
    pub stale: u64,
    /// Bytes in storage.
    pub storage_bytes: u64,
    /// Evictions since the start: tier, reason, how many.
    pub evictions: Vec<(&'static str, &'static str, u64)>,
    /// The heaviest users, by name.
    pub top_users: Vec<(UserName, u64)>,
}
