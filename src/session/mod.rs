//! What a session is: pure values, no I/O.
//!
//! Reading order: [`id`] the handle that is safe to show, [`token`] the secret and the key derived from it,
//! [`record`] what is kept, [`lifetime`] when it ends and why, [`limits`] how many there may be, [`identity`] whose a
//! value is that an app stored on its own, [`raw`] what an app stores under keys of its own, [`glob`] patterns of them.

pub mod glob;
pub mod id;
pub mod identity;
pub mod lifetime;
pub mod limits;
pub mod raw;
pub mod record;
pub mod token;

pub use id::{EventId, LeaseId, SessionId};
pub use lifetime::{Clocks, EndReason, Lifetimes, Timeout, Verdict};
pub use limits::{Capacity, OnExcess, UserLimit, UserLimits};
pub use raw::{Content, Fields, NameKeys, RawName};
pub use record::{Ended, Session, StoredSession, UserName};
pub use token::{Generator, OsGenerator, SessionKey, Token};
