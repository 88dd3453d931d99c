//! Stand-in, replaced on merge.

use std::sync::atomic::AtomicI64;

use crate::session::Session;

/// A session in memory.
#[derive(Debug)]
pub struct Entry {
    /// The session.
    pub session: Session,
    /// Last use, milliseconds.
    pub last: AtomicI64,
}
