//! Whose a stored value is: finds the user, the client's address and the time of creation in the bytes that a session
//! library keeps.
//!
//! Every format has a reader, which takes a value step by step, as `token::Tokens`: `json`, `msgpack`, `php`, `pickle`
//! and `marshal`. `codec` says which may fit a value, and unwraps what is compressed or signed. `finder` walks the steps
//! along the paths that `places` has, and passes over everything else.
//!
//! Values are untrusted. No reader executes or builds anything, recurses with the depth of a value, or allocates what
//! a length claims. An extraction reads at most 4 MiB, inflates at most 1 MiB and keeps at most 16,384 earlier values;
//! what needs more is unknown. So is what is not whole: an app could not read it either.

mod codec;
mod finder;
mod json;
mod marshal;
mod moment;
mod msgpack;
mod path;
mod php;
mod pickle;
mod places;
mod token;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

pub use path::{MAX_PATH_BYTES, MAX_STEPS, Path, PathError};

use finder::Finder;
use places::Places;

use crate::clock::Timestamp;
use crate::session::UserName;

/// The time that a text stands for: a number of seconds, or of a smaller unit, since the epoch, or RFC 3339.
#[must_use]
pub fn moment_of(text: &[u8]) -> Option<Timestamp> {
    moment::moment(token::Scalar::Text(text))
}

/// How the values of sessions are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Told by the first bytes: every other format.
    #[default]
    Auto,
    /// JSON.
    Json,
    /// `MessagePack`.
    MessagePack,
    /// What Django's session engines and caches write: pickles or JSON, plain, compressed with zlib, or signed.
    Django,
    /// What PHP writes: `serialize()`, and every `session.serialize_handler` of its own.
    Php,
    /// Ruby's Marshal.
    Ruby,
    /// A hash. Its fields are texts, or values in any of the formats.
    Hash,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 7] =
        [Self::Auto, Self::Json, Self::MessagePack, Self::Django, Self::Php, Self::Ruby, Self::Hash];

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Json => "json",
            Self::MessagePack => "msgpack",
            Self::Django => "django",
            Self::Php => "php",
            Self::Ruby => "ruby",
            Self::Hash => "hash",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no format has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a format is one of auto, json, msgpack, django, php, ruby, hash")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or(UnknownFormat)
    }
}

/// What is stored under a key.
#[derive(Clone, Copy)]
pub enum Raw<'a> {
    /// A string. The empty one is a session in which nothing is yet, as PHP stores it.
    Value(&'a [u8]),
    /// A hash: each field and its value. Any format but [`Format::Hash`] is that of the values.
    Fields(&'a [(&'a [u8], &'a [u8])]),
}

/// What a value says of its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is. `None`: anonymous, or nobody knows.
    pub user: Option<UserName>,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// When the session began, according to the app: perhaps in the future.
    pub created_at: Option<Timestamp>,
    /// Whether the value was understood. If not, it is unknown whether there is a user: the format is another, the
    /// bytes are not whole or beyond the bounds, or what is at the user's place cannot be a name.
    pub known: bool,
}

/// How a user, an address and a time are found in the values of some keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    format: Format,
    user: Option<Path>,
    ip: Option<Path>,
    created: Option<Path>,
    places: Places,
}

impl Rule {
    /// A rule. Without a path, the places are tried where session libraries and apps usually keep things.
    #[must_use]
    pub fn new(format: Format, user: Option<&Path>, ip: Option<&Path>, created: Option<&Path>) -> Self {
        let places = Places::new(user, ip, created);
        Self { format, user: user.cloned(), ip: ip.cloned(), created: created.cloned(), places }
    }

    /// The format that values are taken for.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The path to the user, if one was given.
    #[must_use]
    pub fn user(&self) -> Option<&Path> {
        self.user.as_ref()
    }

    /// The path to the client's address, if one was given.
    #[must_use]
    pub fn ip(&self) -> Option<&Path> {
        self.ip.as_ref()
    }

    /// The path to the time of creation, if one was given.
    #[must_use]
    pub fn created(&self) -> Option<&Path> {
        self.created.as_ref()
    }

    /// Looks into a value.
    #[must_use]
    pub fn extract(&self, raw: Raw<'_>) -> Identity {
        match raw {
            Raw::Value(_) if self.format == Format::Hash => Identity::default(),
            Raw::Value(bytes) => Finder::new(&self.places).value(bytes, self.format),
            Raw::Fields(fields) => Finder::new(&self.places).fields(fields, self.format),
        }
    }
}

/// Any format, known places.
impl Default for Rule {
    fn default() -> Self {
        Self::new(Format::Auto, None, None, None)
    }
}
