//! What an app keeps under keys of its own, as in Redis: their names, and values that are no JSON.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::token::SessionKey;

/// What the data of a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// JSON, given through the HTTP API.
    #[default]
    Json,
    /// Bytes: what Redis calls a string.
    Text,
    /// A hash, as [`Fields`] writes it.
    Hash,
}

/// The name that an app gave a key, and the key space that it is in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawName {
    /// The number of the key space, as in `SELECT`.
    pub database: u16,
    /// The name.
    pub name: Box<[u8]>,
}

impl RawName {
    /// That name in that key space.
    #[must_use]
    pub fn new(database: u16, name: &[u8]) -> Self {
        Self { database, name: name.into() }
    }
}

/// A name is as good as the cookie that it was made from, so it never shows itself.
impl fmt::Debug for RawName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawName(…)")
    }
}

/// Turns names into keys, by a secret of the store that keeps them.
///
/// It is `SipHash` (Aumasson and Bernstein, 2012) with one and three rounds, in its authors' variant with 128 bits. A client may
/// choose its names, but without the secret it cannot choose two that have one key, nor one that has another's; and what
/// it does not choose agrees once in 2^128. It costs less than half of a SHA-256, and every look-up of the Redis door pays it.
#[derive(Clone, Copy)]
pub struct NameKeys {
    secret: [u64; 2],
}

impl NameKeys {
    /// By that secret.
    #[must_use]
    pub fn new(secret: u128) -> Self {
        let (low, high) = (secret & u128::from(u64::MAX), secret >> 64);
        Self { secret: [low, high].map(|half| u64::try_from(half).unwrap_or_else(|_| unreachable!("it has 64 bits"))) }
    }

    /// The key of a name in a key space. No token has the same: its last 16 bytes are zero.
    #[inline]
    #[must_use]
    pub fn key(&self, database: u16, name: &[u8]) -> SessionKey {
        let [low, high] = self.secret;
        let mut hasher = SipHasher13::new_with_keys(low, high);
        hasher.write_u64(database.into());
        hasher.write(name);
        let mut key = [0; 32];
        key[..16].copy_from_slice(&hasher.finish128().as_bytes());
        SessionKey::from_bytes(key)
    }

    /// The key of a name.
    #[must_use]
    pub fn of(&self, name: &RawName) -> SessionKey {
        self.key(name.database, &name.name)
    }
}

/// The secret does not show itself.
impl fmt::Debug for NameKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKeys(…)")
    }
}

/// A hash as it is kept: each field and its value, each behind its length in four bytes, little-endian.
#[derive(Clone, Copy)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Reads a hash. What is not whole is left out; nothing else writes these bytes.
    #[must_use]
    pub fn of(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The value of a field.
    #[must_use]
    pub fn get(self, field: &[u8]) -> Option<&'a [u8]> {
        self.into_iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }

    /// Writes a hash.
    #[must_use]
    pub fn write<'f>(pairs: impl IntoIterator<Item = (&'f [u8], &'f [u8])>) -> Box<[u8]> {
        let mut data = Vec::new();
        for part in pairs.into_iter().flat_map(|(field, value)| [field, value]) {
            // No command brings a part of 4 GiB.
            data.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            data.extend_from_slice(part);
        }
        data.into_boxed_slice()
    }
}

impl<'a> IntoIterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = FieldsIter<'a>;

    fn into_iter(self) -> FieldsIter<'a> {
        FieldsIter(self.0)
    }
}

/// The fields of a hash, in the order in which they were first set.
pub struct FieldsIter<'a>(&'a [u8]);

impl<'a> FieldsIter<'a> {
    fn part(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        self.0 = rest;
        Some(part)
    }
}

impl<'a> Iterator for FieldsIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.part()?, self.part()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{OsGenerator, Token};

    #[test]
    fn a_hash_is_read_as_it_was_written() {
        let pairs: [(&[u8], &[u8]); 3] = [(b"user", b"7"), (b"", b""), (b"\0\xff", &[b'x'; 300])];
        let data = Fields::write(pairs);
        assert_eq!(Fields::of(&data).into_iter().collect::<Vec<_>>(), pairs);
        assert_eq!(Fields::of(&data).get(b"user"), Some(b"7".as_slice()));
        assert_eq!(Fields::of(&data).get(b"User"), None);
        assert_eq!(Fields::of(&data[..data.len() - 1]).into_iter().count(), 2);
    }

    #[test]
    fn names_key_spaces_secrets_and_tokens_have_keys_of_their_own() {
        let token = Token::mint(&OsGenerator);
        let name = token.expose().as_bytes();
        let names: Vec<&[u8]> = [b"".as_slice(), b"\0", b"\0\0", b"s", name, &name[..45]].into();
        let mut keys = vec![token.key()];
        for names_of in [NameKeys::new(1), NameKeys::new(2), NameKeys::new(1 << 64)] {
            for database in [0, 1, 256] {
                keys.extend(names.iter().map(|name| names_of.of(&RawName::new(database, name))));
            }
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    /// The store has them, so they must never change. The figures are those of two other implementations.
    #[test]
    fn a_key_is_what_siphash_says() {
        let names = NameKeys::new(u128::from_le_bytes(std::array::from_fn(|n| u8::try_from(n).unwrap())));
        for (database, name, hash) in [
            (3, b"sess:abc".as_slice(), 0xbde0_e126_4b6d_8fee_2f9b_72ea_1085_15b6_u128),
            (259, b"sess:Zk4uQpVn0", 0x13ce_892f_1b5c_c0aa_e487_f407_9548_c833),
        ] {
            assert_eq!(names.key(database, name).as_bytes()[..], [hash.to_be_bytes(), [0; 16]].concat());
        }
    }

    #[test]
    fn neither_a_name_nor_what_makes_keys_of_it_shows_itself() {
        let shown = format!("{:?} {:?}", RawName::new(0, b"sess:secret"), NameKeys::new(7));
        assert_eq!(shown, "RawName(…) NameKeys(…)");
    }
}
