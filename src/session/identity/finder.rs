//! The walk: takes a value step by step and picks up what is at the places asked for.

use std::borrow::Cow;
use std::net::IpAddr;

use super::codec::{self, Codec};
use super::json::unescape;
use super::moment::moment;
use super::path::Key;
use super::places::{End, Places, Wanted};
use super::token::{Read, Scalar, Shape, Token, Tokens, Unreadable};
use super::{Format, Identity};
use crate::clock::Timestamp;
use crate::session::UserName;

/// How many values may be wrapped in one another: a serialized text in a serialized text in a compressed one, and one
/// more.
const MAX_WRAPS: usize = 4;

/// How many bytes one extraction reads, all in all: a value of 1 MiB, the largest that a door takes, in several
/// formats or wraps. It bounds the time.
const MAX_READ: usize = 4 << 20;

/// How many bytes one extraction inflates, all in all.
const MAX_INFLATED: usize = 1 << 20;

/// What a stream counts for at least: to set up for it takes the time of so many bytes.
const LEAST_INFLATED: usize = 4 << 10;

/// One extraction.
pub(super) struct Finder<'p> {
    places: &'p Places,
    /// The places that the values open now may lead to. Each value has a run at the end.
    live: Vec<usize>,
    /// The open containers in which something may be.
    levels: Vec<Level>,
    found: Found,
    wraps: usize,
    left_to_read: usize,
    left_to_inflate: usize,
}

/// An open container in which something may be.
struct Level {
    shape: Shape,
    /// Where its run of `live` begins.
    live: usize,
    /// The number of the next element.
    next: i128,
}

/// What was found so far, with the rank of its place.
#[derive(Clone, Default)]
struct Found {
    user: Option<(usize, UserName)>,
    ip: Option<(usize, IpAddr)>,
    created: Option<(usize, Timestamp)>,
    /// Something at a user's place cannot be a name.
    unfit: bool,
}

impl<'p> Finder<'p> {
    pub(super) fn new(places: &'p Places) -> Self {
        Self {
            places,
            live: Vec::with_capacity(16),
            levels: Vec::with_capacity(8),
            found: Found::default(),
            wraps: 0,
            left_to_read: MAX_READ,
            left_to_inflate: MAX_INFLATED,
        }
    }

    /// Reads a whole value.
    pub(super) fn value(mut self, bytes: &[u8], format: Format) -> Identity {
        self.live.push(Places::ROOT);
        let read = bytes.is_empty() || self.read(bytes, format, 0) || self.is_text(bytes, format);
        self.identity(read)
    }

    /// Reads the fields of a hash.
    pub(super) fn fields(mut self, fields: &[(&[u8], &[u8])], format: Format) -> Identity {
        self.live.push(Places::ROOT);
        self.levels.push(Level { shape: Shape::Map, live: 0, next: 0 });
        for &(name, value) in fields {
            if self.charge(name.len() + value.len()).is_err() {
                return self.identity(false);
            }
            let from = self.enter(Key::Name(name));
            if from < self.live.len() && !self.read(value, format, from) {
                self.take(Scalar::Text(value), from);
            }
            self.live.truncate(from);
        }
        self.identity(true)
    }

    /// A value of no format may be the user's name itself, if the rule says so.
    fn is_text(&mut self, bytes: &[u8], format: Format) -> bool {
        let asked = format == Format::Auto && !self.places.ends(Places::ROOT).is_empty();
        if asked {
            self.take(Scalar::Text(bytes), 0);
        }
        asked
    }

    fn identity(self, read: bool) -> Identity {
        if !read {
            return Identity::default();
        }
        let Found { user, ip, created, unfit } = self.found;
        Identity {
            known: user.is_some() || !unfit,
            user: user.map(|(_, user)| user),
            ip: ip.map(|(_, ip)| ip),
            created_at: created.map(|(_, at)| at),
        }
    }

    /// Spends some of what may be read.
    fn charge(&mut self, bytes: usize) -> Read<()> {
        self.left_to_read = self.left_to_read.checked_sub(bytes).ok_or(Unreadable)?;
        Ok(())
    }

    /// Inflates within what is left of the bound.
    pub(super) fn inflate(&mut self, bytes: &[u8]) -> Read<Vec<u8>> {
        if self.left_to_inflate == 0 {
            return Err(Unreadable);
        }
        let inflated = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(bytes, self.left_to_inflate);
        // A stream that is refused may have been inflated up to the bound.
        let spent = inflated.as_ref().map_or_else(|error| error.output.len(), Vec::len);
        self.left_to_inflate = self.left_to_inflate.saturating_sub(spent.max(LEAST_INFLATED));
        inflated.map_err(|_| Unreadable)
    }

    /// Reads bytes in the first format that they are whole in, as a value that may lead to the last run of `live`, from
    /// `from` on.
    pub(super) fn read(&mut self, bytes: &[u8], format: Format, from: usize) -> bool {
        if self.wraps == MAX_WRAPS {
            return false;
        }
        self.wraps += 1;
        let candidates = codec::candidates(bytes, format, !self.levels.is_empty());
        let read = candidates.into_iter().flatten().any(|codec| self.attempt(bytes, codec, format, from));
        self.wraps -= 1;
        read
    }

    /// One attempt, without a trace if it fails.
    fn attempt(&mut self, bytes: &[u8], codec: Codec, format: Format, from: usize) -> bool {
        let (levels, found) = (self.levels.len(), self.found.clone());
        let own = self.live.len();
        self.live.extend_from_within(from..);
        let read = self.charge(bytes.len()).and_then(|()| codec.read(bytes, format, self, own));
        self.live.truncate(own);
        self.levels.truncate(levels);
        if read.is_err() {
            self.found = found;
        }
        read.is_ok()
    }

    /// Reads one value and all that is in it. The last run of `live`, from `from` on, is what it may lead to.
    pub(super) fn document<'a>(&mut self, mut tokens: impl Tokens<'a>, from: usize) -> Read<()> {
        let outermost = self.levels.len();
        let first = tokens.next()?;
        self.part(first, from, &mut tokens)?;
        while self.levels.len() > outermost {
            self.step(&mut tokens)?;
        }
        tokens.finish()
    }

    /// One element or entry of the innermost container; or its end.
    fn step<'a>(&mut self, tokens: &mut impl Tokens<'a>) -> Read<()> {
        // Steps of a pickle are not bounded by its bytes.
        self.charge(1)?;
        let token = tokens.next()?;
        let level = self.levels.last_mut().ok_or(Unreadable)?;
        if token == Token::Close {
            self.live.truncate(level.live);
            self.levels.pop();
            return Ok(());
        }
        if level.shape == Shape::List {
            let key = Key::Number(level.next);
            level.next += 1;
            let from = self.enter(key);
            return self.part(token, from, tokens);
        }
        let from = match token {
            Token::Scalar(Scalar::Text(name)) => self.enter(Key::Name(name)),
            Token::Scalar(Scalar::Escaped(inside)) => self.enter(Key::Name(&unescape(inside)?)),
            Token::Scalar(Scalar::Integer(number)) => self.enter(Key::Number(number)),
            Token::Scalar(_) => self.live.len(),
            // No library has a key with parts.
            _ => {
                tokens.skip()?;
                self.live.len()
            }
        };
        let value = tokens.next()?;
        self.part(value, from, tokens)
    }

    /// Takes a step into the innermost container. Where it may lead is a new run of `live`; where that begins.
    fn enter(&mut self, key: Key<'_>) -> usize {
        let places = self.places;
        let container = self.levels.last().map_or(0, |level| level.live);
        let from = self.live.len();
        for at in container..from {
            let steps = places.children(self.live[at]).iter();
            self.live.extend(steps.filter(|(step, _)| step.matches(key)).map(|&(_, node)| node));
        }
        from
    }

    /// A value, which may lead to the run of `live` from `from` on.
    fn part<'a>(&mut self, token: Token<'a>, from: usize, tokens: &mut impl Tokens<'a>) -> Read<()> {
        match token {
            Token::Scalar(scalar) => {
                self.scalar(scalar, from)?;
                self.live.truncate(from);
            }
            Token::Open(shape) if self.live[from..].iter().any(|&node| !self.places.children(node).is_empty()) => {
                self.levels.push(Level { shape, live: from, next: 0 });
            }
            Token::Open(_) => {
                tokens.skip()?;
                self.live.truncate(from);
            }
            Token::Close => return Err(Unreadable),
        }
        Ok(())
    }

    fn scalar(&mut self, scalar: Scalar<'_>, from: usize) -> Read<()> {
        if from == self.live.len() {
            return Ok(());
        }
        let text = match scalar {
            Scalar::Text(text) => Cow::Borrowed(text),
            Scalar::Escaped(inside) => {
                self.charge(inside.len())?;
                Cow::Owned(unescape(inside)?)
            }
            other => {
                self.take(other, from);
                return Ok(());
            }
        };
        if self.read(&text, Format::Auto, from) {
            return Ok(());
        }
        // A session that is a mere text is one that we cannot read: encrypted, say.
        if self.levels.is_empty() && self.places.ends(Places::ROOT).is_empty() && !text.is_empty() {
            return Err(Unreadable);
        }
        self.take(Scalar::Text(&text), from);
        Ok(())
    }

    /// Picks a value up, if a path ends here.
    fn take(&mut self, scalar: Scalar<'_>, from: usize) {
        let places = self.places;
        for at in from..self.live.len() {
            for end in places.ends(self.live[at]) {
                self.found.offer(*end, scalar);
            }
        }
    }
}

impl Found {
    /// Considers what stands at the end of a path.
    fn offer(&mut self, end: End, scalar: Scalar<'_>) {
        match end.wanted {
            Wanted::User => match name(scalar) {
                Ok(name) => keep(&mut self.user, end, name),
                Err(NoName::Unfit) => self.unfit = true,
                // A key that is there twice took its first value back.
                Err(NoName::Nobody) => drop(self.user.take_if(|(rank, _)| *rank == end.rank && !end.first)),
            },
            Wanted::Ip => keep(&mut self.ip, end, address(scalar)),
            Wanted::Created => keep(&mut self.created, end, moment(scalar)),
        }
    }
}

/// Keeps a value if its place ranks before that of the one there is.
fn keep<T>(kept: &mut Option<(usize, T)>, end: End, value: impl Into<Option<T>>) {
    let better = kept.as_ref().is_none_or(|&(rank, _)| end.rank < rank || (end.rank == rank && !end.first));
    if let (true, Some(value)) = (better, value.into()) {
        *kept = Some((end.rank, value));
    }
}

/// Why a value names no user.
enum NoName {
    /// It says that there is none.
    Nobody,
    /// It says something that cannot be a name.
    Unfit,
}

/// The user that a value names. Numbers name one by their digits.
///
/// Nobody is `null`, `false`, an empty text or zero, which apps write for visitors who are not logged in. To count all
/// of those as one user would end their sessions at the limit of one.
fn name(scalar: Scalar<'_>) -> Result<UserName, NoName> {
    /// Beyond it, a double no longer has every whole number.
    const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;
    match scalar {
        Scalar::Text(b"" | b"0") | Scalar::Integer(0) | Scalar::Nothing | Scalar::Opaque => Err(NoName::Nobody),
        Scalar::Text(text) => {
            let text = std::str::from_utf8(text).map_err(|_| NoName::Unfit)?;
            UserName::new(text).map_err(|_| NoName::Unfit)
        }
        Scalar::Integer(value) => UserName::new(&value.to_string()).map_err(|_| NoName::Unfit),
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
        Scalar::Real(value) if value.fract() == 0.0 && value.abs() < LARGEST_WHOLE => {
            name(Scalar::Integer(value as i128))
        }
        Scalar::Real(_) | Scalar::Escaped(_) => Err(NoName::Unfit),
    }
}

/// The address that a value is, as the client has it: IPv4 in IPv6 is IPv4.
fn address(scalar: Scalar<'_>) -> Option<IpAddr> {
    let Scalar::Text(text) = scalar else { return None };
    let text = std::str::from_utf8(text).ok()?.trim();
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
