//! Which encodings a value may have, and how each is opened.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Format;
use super::finder::Finder;
use super::json::Json;
use super::marshal::Marshal;
use super::msgpack::MessagePack;
use super::php::{Layout, Php};
use super::pickle;
use super::token::{Read, Unreadable};

/// One encoding. A format, as it is configured, may mean several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Json,
    MessagePack,
    Pickle,
    /// A zlib stream around something else.
    Zlib,
    /// What Django signs, in text: a dot if compressed, base64, a colon, the time, a colon, the signature.
    Signed,
    Php(Layout),
    Marshal,
}

/// The most encodings that one value is tried in.
const MOST: usize = 3;

/// The encodings in which a value may be whole, the likeliest first.
///
/// A text within a value that was read is `nested`: it is held for a value of its own only if it says so by its first
/// bytes. A user's name must not be mistaken.
pub(super) fn candidates(bytes: &[u8], format: Format, nested: bool) -> [Option<Codec>; MOST] {
    const PHP: [Codec; 3] = [Codec::Php(Layout::Value), Codec::Php(Layout::Names), Codec::Php(Layout::Binary)];
    let looks = looks_like(bytes);
    match format {
        Format::Auto | Format::Hash => {
            let loose = |codec: &Codec| matches!(codec, Codec::Signed | Codec::Php(Layout::Names | Layout::Binary));
            looks.map(|codec| codec.filter(|codec| !(nested && loose(codec))))
        }
        Format::Json => [Some(Codec::Json), None, None],
        Format::MessagePack => [Some(Codec::MessagePack), None, None],
        Format::Ruby => [Some(Codec::Marshal), None, None],
        Format::Php => PHP.map(Some),
        Format::Django => {
            let of_django = looks.map(|codec| {
                codec.filter(|codec| matches!(codec, Codec::Json | Codec::Pickle | Codec::Zlib | Codec::Signed))
            });
            if of_django.iter().any(Option::is_some) { of_django } else { [Some(Codec::Pickle), None, None] }
        }
    }
}

/// What a value looks like by its first bytes.
fn looks_like(bytes: &[u8]) -> [Option<Codec>; MOST] {
    let named = || bytes.contains(&b'|').then_some(Codec::Php(Layout::Names));
    match *bytes {
        [b'{' | b'[' | b'"' | b' ' | b'\t' | b'\r' | b'\n', ..] => [Some(Codec::Json), None, None],
        // Also an empty map, but then nothing could follow.
        [0x80, 2..=5, ..] => [Some(Codec::Pickle), None, None],
        [0x80..=0x9f | 0xdc..=0xdf, ..] => [Some(Codec::MessagePack), None, None],
        [4, 8, ..] => [Some(Codec::Marshal), Some(Codec::Php(Layout::Binary)), None],
        // Deflate with a window up to 32 KiB, and the check of the two bytes.
        [first, second, ..] if first & 0x8f == 8 && u16::from_be_bytes([first, second]) % 31 == 0 => {
            [Some(Codec::Zlib), named(), None]
        }
        [0..0x20, ..] => [Some(Codec::Php(Layout::Binary)), None, None],
        [b'a' | b'b' | b'd' | b'i' | b's' | b'O' | b'C' | b'E', b':', ..] | [b'N', b';', ..] => {
            [Some(Codec::Php(Layout::Value)), named(), None]
        }
        // Protocols 0 and 1, which say nothing of themselves.
        [b'(' | b'}', ..] => [Some(Codec::Pickle), named(), None],
        [] => [None; MOST],
        _ => [named().or_else(|| bytes.contains(&b':').then_some(Codec::Signed)), None, None],
    }
}

impl Codec {
    /// Reads bytes in this encoding, all of them. The last run of places, from `from` on, is what they may lead to.
    pub(super) fn read(self, bytes: &[u8], format: Format, finder: &mut Finder<'_>, from: usize) -> Read<()> {
        match self {
            Self::Json => finder.document(Json::new(bytes), from),
            Self::MessagePack => finder.document(MessagePack::new(bytes), from),
            Self::Pickle => finder.document(pickle::load(bytes)?, from),
            Self::Php(layout) => finder.document(Php::new(bytes, layout), from),
            Self::Marshal => finder.document(Marshal::new(bytes)?, from),
            Self::Zlib => {
                let inflated = finder.inflate(bytes)?;
                read_inside(&inflated, format, finder, from)
            }
            Self::Signed => {
                let text = unsigned(bytes).ok_or(Unreadable)?;
                let (text, compressed) = text.strip_prefix(b".").map_or((text, false), |text| (text, true));
                let inside = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Unreadable)?;
                if compressed && looks_like(&inside)[0] != Some(Self::Zlib) {
                    return Err(Unreadable);
                }
                read_inside(&inside, format, finder, from)
            }
        }
    }
}

fn read_inside(bytes: &[u8], format: Format, finder: &mut Finder<'_>, from: usize) -> Read<()> {
    if finder.read(bytes, format, from) { Ok(()) } else { Err(Unreadable) }
}

/// What a signed text carries: what stands before the last two colons.
///
/// The signature is not checked: the value comes from the app itself, which alone has the key.
fn unsigned(bytes: &[u8]) -> Option<&[u8]> {
    let mut parts = bytes.rsplitn(3, |&byte| byte == b':');
    let (_signature, _time) = (parts.next()?, parts.next()?);
    parts.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(bytes: &[u8]) -> Vec<Codec> {
        candidates(bytes, Format::Auto, false).into_iter().flatten().collect()
    }

    #[test]
    fn a_value_is_known_by_its_first_bytes() {
        let [value, names, binary] = [Layout::Value, Layout::Names, Layout::Binary].map(Codec::Php);
        for (bytes, expected) in [
            (&b"{}"[..], &[Codec::Json][..]),
            (b" [1]", &[Codec::Json]),
            (b"\"{}\"", &[Codec::Json]),
            (b"\x80\x05}.", &[Codec::Pickle]),
            (b"\x80\x02}.", &[Codec::Pickle]),
            (b"(dp0\n.", &[Codec::Pickle]),
            (b"\x80", &[Codec::MessagePack]),
            (b"\x81\xa1a\x01", &[Codec::MessagePack]),
            (b"\x93\x01", &[Codec::MessagePack]),
            (b"\xde\0\0", &[Codec::MessagePack]),
            (b"\x78\x9c", &[Codec::Zlib]),
            (b"\x78\x01", &[Codec::Zlib]),
            (b"x^|i:5;", &[Codec::Zlib, names]),
            (b"\x04\x08{\0", &[Codec::Marshal, binary]),
            (b"\x02idi:5;", &[binary]),
            (b"a:0:{}", &[value]),
            (b"a:b|i:5;", &[value, names]),
            (b"N;", &[value]),
            (b"id|i:5;", &[names]),
            (b"eyJhIjoxfQ:1a:b", &[Codec::Signed]),
            (b"u-1001", &[]),
            (b"1001", &[]),
            (b"", &[]),
        ] {
            assert_eq!(looks(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_name_in_a_value_is_not_taken_for_a_value() {
        for text in ["ann|i:5;", "a:b", "ann:smith:x", "domain|user", "\x02idi:5;"] {
            let codecs = candidates(text.as_bytes(), Format::Auto, true);
            assert!(codecs.iter().flatten().all(|codec| *codec == Codec::Php(Layout::Value)), "{text}");
        }
    }
}
