//! How a user is named where the name itself must not stand: in metric labels and log lines.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::session::UserName;

/// Hashes user names under a key, so that who lacks the key cannot try names out.
///
/// The same key gives the same hashes: keep it with the store, and they outlive a restart.
#[derive(Clone)]
pub struct UserHasher(Hmac<Sha256>);

/// Twelve hex digits for a user: 48 bits, so among a million users two share one with a chance of one in 560.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserHash([u8; 12]);

impl UserHasher {
    /// Hashes with `key`, which must be random.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC takes keys of any length.
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The hash for `user`.
    #[must_use]
    pub fn hash(&self, user: &UserName) -> UserHash {
        let mac = self.0.clone().chain_update(user.as_str()).finalize().into_bytes();
        let mut digits = [0; 12];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(mac) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        UserHash(digits)
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The key never shows itself.
impl fmt::Debug for UserHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserHasher(…)")
    }
}

impl UserHash {
    /// The twelve digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Hex digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for UserHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for UserHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
