//! How SQLite's failures are told: to the operator when the store opens, to callers afterwards.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::schema;
use crate::clock::Timestamp;
use crate::store::StoreError;

/// Why the store cannot be opened. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory, or a file in it, cannot be made or written.
    #[error(
        "cannot use {path} for the session store: {source}; give `store.embedded.path` a directory that this user can create and write"
    )]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process; stop that one, or give this one its own `store.embedded.path`")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file is an SQLite database of another program.
    #[error(
        "{path} is the database of another program and was left as it is; move it away, or change `store.embedded.path`"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer release wrote it.
    #[error("{path} has schema version {found}, and this release knows versions up to {known}; run the newer release, or restore the copy from before the upgrade", known = schema::VERSION)]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: i64,
    },
    /// The file cannot be read as a database, or contradicts itself.
    #[error(
        "{path} is damaged: {reason}; restore a copy, or move it away to start with an empty store (every session then ends)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The clock lies far behind what is stored, so it is not to be trusted.
    #[error(
        "the clock says {now}, but {path} holds a session that was used at {newest}; set the clock. If it is right and was wrong then, start once with `--trust-clock`, which takes all times ahead of it for now"
    )]
    ClockBehind {
        /// The file.
        path: PathBuf,
        /// What the clock says.
        now: Timestamp,
        /// The latest use of a session.
        newest: Timestamp,
    },
    /// The system has no thread or descriptor left, or SQLite failed in another way.
    #[error("cannot open {path}: {reason}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl OpenError {
    /// What SQLite said while it opened `path`.
    pub(super) fn from_sqlite(path: PathBuf, error: &rusqlite::Error) -> Self {
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::Directory { path, source: io::Error::other(reason) }
            }
            _ if is_damage(error) => Self::Damaged { path, reason },
            _ => Self::Failed { path, reason },
        }
    }
}

/// What a caller is told of a failure.
pub(super) fn told(error: &rusqlite::Error) -> StoreError {
    if is_full(error) {
        StoreError::Full(error.to_string())
    } else if is_damage(error) {
        StoreError::Damaged(error.to_string())
    } else {
        StoreError::Unavailable(error.to_string())
    }
}

/// Whether SQLite says that the disk has no room.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether a write failed in a way that may be for want of room: an exhausted quota, or a shared-memory file that
/// cannot grow, is an I/O error to SQLite.
pub(super) fn may_be_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(failure, _) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch)
        }
        E::InvalidColumnIndex(_) | E::QueryReturnedNoRows => true,
        _ => is_unreadable(error),
    }
}

/// Whether SQLite has read a row, and it holds what no value of ours is.
pub(super) fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    matches!(
        error,
        E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) | E::Utf8Error(..) | E::InvalidColumnType(..)
    )
}
