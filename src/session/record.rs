//! What is kept of a session, and what remains to be said of one that ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::id::{EventId, SessionId};
use super::lifetime::{EndReason, Timeout};
use super::raw::{Content, RawName};
use super::token::SessionKey;
use crate::clock::Timestamp;

/// The longest user name, in bytes: room for an e-mail address (254) or a hex SHA-512, and no abuse.
pub const MAX_USER_BYTES: usize = 256;

/// The principal that limits count: any text that an app tells its users apart by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

/// Why a text cannot name a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserNameError {
    /// The empty text names nobody; an anonymous session has no user at all.
    #[error("a user name must not be empty; leave `user` out for an anonymous session")]
    Empty,
    /// Longer than [`MAX_USER_BYTES`].
    #[error("a user name has at most {MAX_USER_BYTES} bytes")]
    TooLong,
    /// Control characters would forge log lines and terminal output.
    #[error("a user name must not hold control characters")]
    Control,
}

impl UserName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// If it is empty, too long, or holds control characters.
    pub fn new(name: &str) -> Result<Self, UserNameError> {
        if name.is_empty() {
            Err(UserNameError::Empty)
        } else if name.len() > MAX_USER_BYTES {
            Err(UserNameError::TooLong)
        } else if name.chars().any(char::is_control) {
            Err(UserNameError::Control)
        } else {
            Ok(Self(name.into()))
        }
    }

    /// A name that was checked before it was stored.
    #[must_use]
    pub fn from_stored(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name may be an e-mail address, so it shows itself only where it is asked for by [`UserName::as_str`].
impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserName(…)")
    }
}

/// A session, without what changes at every use.
///
/// The order of the fields is that in memory: what every look-up reads comes first.
#[derive(Clone, PartialEq, Eq)]
#[repr(C)]
pub struct Session {
    /// When it was created.
    pub created_at: Timestamp,
    /// Its own idle timeout, if it does not follow the configuration.
    pub idle_timeout: Option<Timeout>,
    /// Its own absolute timeout, if it does not follow the configuration.
    pub absolute_timeout: Option<Timeout>,
    /// Counts the changes of `data`, from 1.
    pub revision: u64,
    /// Whose it is; `None`: anonymous.
    pub user: Option<UserName>,
    /// The app's data, as the bytes it gave.
    pub data: Box<[u8]>,
    /// Its handle.
    pub id: SessionId,
}

impl Session {
    /// What a session takes in the storage tier beside its data and user: row, keys and index entries.
    ///
    /// Measured on the embedded store (`tests/storage_size.rs`); any store counts with the same figure, so that a
    /// limit in bytes means the same everywhere.
    pub const STORED_OVERHEAD: u64 = 300;

    /// When its own absolute timeout ends it, if it has one.
    #[must_use]
    pub fn own_end(&self) -> Option<Timestamp> {
        let own = self.absolute_timeout.map(Timeout::as_millis)?;
        Some(Timestamp::from_millis(self.created_at.as_millis().saturating_add(own)))
    }

    /// How many bytes of `limits.stored_bytes` it takes.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let user = self.user.as_ref().map_or(0, |user| user.as_str().len());
        Self::STORED_OVERHEAD + (self.data.len() + user) as u64
    }
}

/// Data may be anything, so it never shows itself.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("created_at", &self.created_at)
            .field("revision", &self.revision)
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// A session as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// The name it is kept under.
    pub key: SessionKey,
    /// The session.
    pub session: Session,
    /// Its last use, as far as it was saved: the true one may be later by the touch interval.
    pub last_activity: Timestamp,
    /// What its data is.
    pub content: Content,
}

/// A session that a store has just ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The notice of it.
    pub event_id: EventId,
    /// The name it was kept under, to drop it from memory.
    pub key: SessionKey,
    /// The name that the app gave it, if the app did.
    pub name: Option<RawName>,
    /// Its handle.
    pub id: SessionId,
    /// Whose it was.
    pub user: Option<UserName>,
    /// Why.
    pub reason: EndReason,
    /// When.
    pub at: Timestamp,
    /// How long it had not been used, as far as was saved.
    pub idle: Duration,
}
