//! What an app keeps under keys of its own, as in Redis: their names, and values that are no JSON.

use std::fmt;

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

    /// The key that it is kept under.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey::of_raw(self.database, &self.name)
    }
}

/// A name is as good as the cookie that it was made from, so it never shows itself.
impl fmt::Debug for RawName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawName(…)")
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
    fn names_of_other_key_spaces_and_tokens_have_other_keys() {
        let token = Token::mint(&OsGenerator);
        let name = token.expose().as_bytes();
        let keys = [RawName::new(0, name).key(), RawName::new(1, name).key(), token.key()];
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        assert_eq!(keys[0], SessionKey::of_raw(0, name));
    }

    #[test]
    fn a_name_does_not_show_itself() {
        assert_eq!(format!("{:?}", RawName::new(0, b"sess:secret")), "RawName(…)");
    }
}
