//! Sessions, terms and limits to fill a store with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sessgate::clock::Timestamp;
use sessgate::session::{
    Capacity, Content, Generator, Lifetimes, OnExcess, Session, SessionId, SessionKey, StoredSession, UserLimit,
    UserLimits, UserName,
};
use sessgate::store::{CreateLimits, Terms};

/// A fixed moment, on a full minute.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A minute.
pub const MINUTE: Duration = Duration::from_secs(60);

/// So many minutes after [`START`].
pub fn minutes(n: u64) -> Timestamp {
    START + MINUTE * u32::try_from(n).unwrap()
}

/// Random bytes that are the same in every run: splitmix64 (Steele, Lea, Flood 2014).
#[derive(Default)]
pub struct SeededGenerator(AtomicU64);

impl Generator for SeededGenerator {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The key number `n`: spread like a hash, and always the same.
pub fn key(n: u64) -> SessionKey {
    let mut bytes = [0; 32];
    SeededGenerator(AtomicU64::new(n.wrapping_mul(0x2545_F491_4F6C_DD1D))).fill(&mut bytes);
    SessionKey::from_bytes(bytes)
}

/// The name `name`.
pub fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

/// Session number `n` of a user, or an anonymous one, created and last used at `at`.
pub fn session(n: u64, owner: Option<&str>, at: Timestamp) -> StoredSession {
    let bytes = SeededGenerator(AtomicU64::new(n));
    let session = Session {
        id: SessionId::generate(at, &bytes),
        user: owner.map(user),
        created_at: at,
        idle_timeout: None,
        absolute_timeout: None,
        revision: 1,
        data: Box::from(&b"data"[..]),
    };
    StoredSession { key: key(n), session, last_activity: at, content: Content::Json }
}

/// The same session with other data.
pub fn with_data(mut stored: StoredSession, bytes: usize) -> StoredSession {
    stored.session.data = vec![b'x'; bytes].into();
    stored
}

/// Clocks: idle after an hour, stale after ten minutes, no absolute timeout.
pub fn lifetimes() -> Lifetimes {
    Lifetimes { idle_timeout: 60 * MINUTE, absolute_timeout: None, stale_after: 10 * MINUTE }
}

/// A step at `now`, with those clocks and notices.
pub fn terms(now: Timestamp) -> Terms {
    Terms { now, lifetimes: lifetimes(), grace: Duration::ZERO, notify: true, tombstone: Duration::from_secs(60) }
}

/// At most so many sessions a user.
pub fn user_limit(sessions: u64, on_excess: OnExcess) -> CreateLimits {
    CreateLimits { user: Some(UserLimit { sessions, on_excess }), capacity: Capacity::default() }
}

/// At most so many sessions in all.
pub fn sessions_cap(sessions: u64) -> Capacity {
    Capacity { sessions: Some(sessions), bytes: None }
}

/// The limits of everybody, without exceptions.
pub fn everybody(sessions: Option<u64>, on_excess: OnExcess) -> UserLimits {
    UserLimits { sessions, on_excess, overrides: std::collections::HashMap::new() }
}
