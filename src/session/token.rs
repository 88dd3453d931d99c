//! The secret that a client presents, and the key under which a session is kept.

use std::fmt;
use std::hash::{Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Random bytes of a token: 256 bits, twice what OWASP's session management asks for.
const TOKEN_BYTES: usize = 32;
/// What every token of ours starts with, so that secret scanners can find a leaked one.
const PREFIX: &str = "sg_";
/// `sg_` and 43 characters of base64url.
const TOKEN_CHARS: usize = PREFIX.len() + 43;

/// Where random bytes come from: the operating system, or a seeded stream in a test.
pub trait Generator: Send + Sync + 'static {
    /// Fills `bytes` with random ones.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsGenerator;

impl Generator for OsGenerator {
    fn fill(&self, bytes: &mut [u8]) {
        // getrandom(2) fails only where the kernel has none; to go on with predictable tokens would be worse.
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// A session's secret. It is shown once, to whoever created the session, and then only ever compared by its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new token.
    #[must_use]
    pub fn mint(generator: &dyn Generator) -> Self {
        let mut secret = [0; TOKEN_BYTES];
        generator.fill(&mut secret);
        let mut text = String::with_capacity(TOKEN_CHARS);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(secret, &mut text);
        Self(text)
    }

    /// The secret itself, for the one answer that hands it to the client.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key under which the session is kept.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey::hash(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The name under which a session is kept in memory and in a store: the SHA-256 of its token, or what
/// [`NameKeys`](super::NameKeys) makes of the name that an app has chosen.
///
/// A token has 256 random bits, so a plain hash is as hard to invert as the token is to guess, and looking one up
/// by its hash leaks nothing through timing. The bytes themselves are not secret, but name a session for good, so
/// they stay out of logs like the token does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key for what a client presented as a token; `None` if it cannot be one of ours.
    #[must_use]
    pub fn from_presented(presented: &[u8]) -> Option<Self> {
        let body = presented.strip_prefix(PREFIX.as_bytes())?;
        let plausible = presented.len() == TOKEN_CHARS
            && body.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        plausible.then(|| Self::hash(presented))
    }

    /// The key with these bytes, as a store kept them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn hash(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// A key is uniformly distributed already, so its first eight bytes are its hash.
impl Hash for SessionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (prefix, _) = self.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
        state.write_u64(u64::from_le_bytes(*prefix));
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_as_its_own_key() {
        let token = Token::mint(&OsGenerator);
        assert_eq!(token.expose().len(), TOKEN_CHARS);
        assert_eq!(SessionKey::from_presented(token.expose().as_bytes()), Some(token.key()));
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_before_any_look_up() {
        let good = Token::mint(&OsGenerator);
        for bad in ["", "sg_", "Bearer", &good.expose()[1..], &good.expose()[..45], &format!("{}A", good.expose())] {
            assert_eq!(SessionKey::from_presented(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(SessionKey::from_presented(&[0xff; 46]), None);
    }

    #[test]
    fn neither_shows_itself() {
        let token = Token::mint(&OsGenerator);
        let shown = format!("{token:?} {:?}", token.key());
        assert_eq!(shown, "Token(…) SessionKey(…)");
    }
}
