//! Requests out of bytes: arrays of bulk strings, and inline commands, as Redis 7 takes them.
//!
//! The parser reads each byte once, however the bytes are cut into reads, and copies none: arguments are slices of the
//! read buffer. (Only an inline command is copied, since its quotes have to be resolved.) It holds no more than where
//! the arguments of one request are, and what it makes the reader hold is bounded by [`Limits`].

use std::fmt;

use super::number;
use super::reply::Writer;
use arguments::Span;
pub use arguments::{Arguments, KeptArguments};

mod arguments;
mod inline;

/// The longest line, in bytes: an inline command, or a header (`PROTO_INLINE_MAX_SIZE` of Redis).
pub const LONGEST_LINE: usize = 64 * 1024;

/// The most arguments, and the longest argument in bytes, before a client is authenticated (as Redis has them).
pub const BEFORE_AUTH: (usize, usize) = (10, 16 * 1024);

/// Where the name is in a request whose name has three letters, and which has one argument.
const SHORT_NAME: std::ops::Range<usize> = 8..11;

/// Arguments whose places stay allocated between requests: more than nearly every request has.
const KEPT_SPANS: usize = 16;

/// What a client may ask for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most arguments of a request, its name among them.
    pub arguments: usize,
    /// The longest argument, in bytes.
    pub argument_bytes: usize,
    /// The longest request, in bytes: the most that has to be buffered.
    pub request_bytes: usize,
}

/// 1,024 arguments, of 1 MiB each, of 4 MiB together. Redis allows 2³¹ − 1, 512 MiB and 1 GiB; no session needs them.
impl Default for Limits {
    fn default() -> Self {
        Self { arguments: 1024, argument_bytes: 1024 * 1024, request_bytes: 4 * 1024 * 1024 }
    }
}

/// What the bytes at hand begin with.
#[derive(Debug)]
pub enum Frame<'b> {
    /// A request. Its bytes may be dropped once it is answered.
    Request {
        /// The command's name and its arguments.
        arguments: Arguments<'b>,
        /// How many bytes it took.
        length: usize,
    },
    /// Bytes that ask for nothing, and get no answer: a blank line, an empty array.
    Nothing {
        /// How many bytes that took.
        length: usize,
    },
    /// A part of a request.
    Incomplete {
        /// How many more bytes it needs at least. A claim of the client: allocate no more than may be read at once.
        wanted: usize,
    },
}

/// Bytes that are no request. The client is told, and the connection closed: where the next request begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The number of arguments is no number, or beyond the limit.
    InvalidMultibulkLength,
    /// An argument's length is no number, or beyond the limit.
    InvalidBulkLength,
    /// More arguments than a client may send that is not authenticated.
    UnauthenticatedMultibulkLength,
    /// A longer argument than a client may send that is not authenticated.
    UnauthenticatedBulkLength,
    /// Something else where an argument should begin.
    ExpectedBulk(u8),
    /// The number of arguments does not end.
    MultibulkLengthTooBig,
    /// An argument's length does not end.
    BulkLengthTooBig,
    /// An inline command does not end.
    InlineTooBig,
    /// A quote in an inline command is not closed, or ends within a word.
    UnbalancedQuotes,
    /// All together it is too long. Redis closes such connections without a word.
    RequestTooBig,
}

impl ProtocolError {
    /// Answers it as Redis does.
    pub fn reply(self, to: &mut Writer<'_>) {
        let text = match self {
            Self::InvalidMultibulkLength => "invalid multibulk length",
            Self::InvalidBulkLength => "invalid bulk length",
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
            Self::ExpectedBulk(byte) => {
                return to.error_of(&[b"ERR Protocol error: expected '$', got '", &[byte], b"'"]);
            }
            Self::MultibulkLengthTooBig => "too big mbulk count string",
            Self::BulkLengthTooBig => "too big bulk count string",
            Self::InlineTooBig => "too big inline request",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::RequestTooBig => "too big request",
        };
        to.error_of(&[b"ERR Protocol error: ", text.as_bytes()]);
    }
}

/// How far a request got.
enum Progress {
    Whole { length: usize, inline: bool },
    Nothing { length: usize },
    Incomplete { wanted: usize },
}

/// Takes requests from the bytes of one connection.
pub struct Parser {
    limits: Limits,
    authenticated: bool,
    /// Where the next byte is that is not understood yet, from where the request begins.
    at: usize,
    /// Up to where the end of a line was looked for in vain.
    searched: usize,
    /// How many arguments are still to come. 0 between requests.
    missing: usize,
    /// The length of the argument that comes next, once it is known.
    length: Option<usize>,
    spans: Vec<Span>,
    /// An inline command's arguments.
    unquoted: Vec<u8>,
}

impl Parser {
    /// A parser for a new connection, of a client that needs no authentication (any more), or does.
    pub fn new(limits: Limits, authenticated: bool) -> Self {
        Self { limits, authenticated, at: 0, searched: 0, missing: 0, length: None, spans: vec![], unquoted: vec![] }
    }

    /// Says that the client has authenticated itself, or has reset its connection.
    pub fn set_authenticated(&mut self, authenticated: bool) {
        self.authenticated = authenticated;
    }

    /// What it has allocated, in bytes.
    pub fn allocated(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.unquoted.capacity()
    }

    /// Takes the next request from `buffer`, which begins where the last one ended.
    ///
    /// After [`Frame::Incomplete`], `buffer` must hold the same bytes and then more; they may have moved.
    ///
    /// # Errors
    ///
    /// The bytes are no request, or one beyond the limits. The parser is of no use from then on.
    #[inline]
    pub fn next<'b>(&'b mut self, buffer: &'b [u8]) -> Result<Frame<'b>, ProtocolError> {
        let progress = if self.missing == 0 { self.begin(buffer)? } else { self.proceed(buffer)? };
        Ok(match progress {
            Progress::Whole { length, inline } => {
                (self.at, self.searched) = (0, 0);
                let bytes = if inline { &self.unquoted } else { buffer };
                Frame::Request { arguments: Arguments::new(bytes, &self.spans), length }
            }
            Progress::Nothing { length } => {
                (self.at, self.searched) = (0, 0);
                Frame::Nothing { length }
            }
            Progress::Incomplete { wanted } => Frame::Incomplete { wanted },
        })
    }

    #[inline]
    fn begin(&mut self, buffer: &[u8]) -> Result<Progress, ProtocolError> {
        self.spans.clear();
        self.forget_what_was_large();
        match buffer.first() {
            None => Ok(Progress::Incomplete { wanted: 1 }),
            Some(b'*') => self.array(buffer),
            Some(_) => self.inline(buffer),
        }
    }

    /// The key of a plain `GET` and how many bytes it took, if that is what `buffer` begins with, whole and in the usual
    /// form. If not, [`next`](Self::next) says what it is.
    #[inline]
    pub fn plain_get<'b>(&mut self, buffer: &'b [u8]) -> Option<(&'b [u8], usize)> {
        if self.missing > 0 {
            return None;
        }
        let Span { start, end } = self.short(buffer)?;
        if !buffer[SHORT_NAME].eq_ignore_ascii_case(b"get") {
            return None;
        }
        (self.at, self.searched) = (0, 0);
        Some((&buffer[start..end], end + 2))
    }

    /// Where the argument is of a request with a name of three letters and that one, whole and in the usual form.
    #[inline]
    fn short(&self, buffer: &[u8]) -> Option<Span> {
        const ARGUMENT: usize = b"*2\r\n$3\r\nGET\r\n$".len();
        let (head, rest) = buffer.split_first_chunk::<ARGUMENT>()?;
        // Whole words are compared, not each byte.
        if !head.starts_with(b"*2\r\n$3\r\n") || !head.ends_with(b"\r\n$") {
            return None;
        }
        let (length, header) = short_length(rest)?;
        let start = ARGUMENT + header;
        let end = start + length;
        (end + 2 <= buffer.len() && length <= self.longest_argument()).then_some(Span { start, end })
    }

    /// A connection that once had a large request need not keep the room for it.
    fn forget_what_was_large(&mut self) {
        if self.spans.capacity() > 4 * KEPT_SPANS {
            self.spans.shrink_to(KEPT_SPANS);
        }
        self.unquoted = Vec::new();
    }

    fn longest_argument(&self) -> usize {
        let longest = self.limits.argument_bytes;
        if self.authenticated { longest } else { longest.min(BEFORE_AUTH.1) }
    }

    /// `*<count>`, and what follows.
    fn array(&mut self, buffer: &[u8]) -> Result<Progress, ProtocolError> {
        let Some(count) = self.header(buffer, ProtocolError::MultibulkLengthTooBig)? else {
            return Ok(Progress::Incomplete { wanted: 1 });
        };
        let count = count.filter(|count| *count <= i64::from(i32::MAX)).ok_or(ProtocolError::InvalidMultibulkLength)?;
        let Ok(count) = usize::try_from(count) else { return Ok(Progress::Nothing { length: self.at }) };
        if count > BEFORE_AUTH.0 && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        if count > self.limits.arguments {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if count == 0 {
            return Ok(Progress::Nothing { length: self.at });
        }
        self.missing = count;
        // What a client announces costs it nothing: room is made as arguments come.
        self.spans.reserve(count.min(KEPT_SPANS));
        self.proceed(buffer)
    }

    /// The arguments that are still missing.
    fn proceed(&mut self, buffer: &[u8]) -> Result<Progress, ProtocolError> {
        while self.missing > 0 {
            let length = match self.length {
                Some(length) => length,
                None => match self.argument_length(buffer)? {
                    Some(length) => length,
                    None => return Ok(Progress::Incomplete { wanted: 1 }),
                },
            };
            let (start, end) = (self.at, self.at + length);
            // Like Redis, we leave unread what ends a string: its length says all.
            if buffer.len() < end + 2 {
                self.length = Some(length);
                return Ok(Progress::Incomplete { wanted: end + 2 - buffer.len() });
            }
            self.spans.push(Span { start, end });
            (self.at, self.length) = (end + 2, None);
            self.missing -= 1;
        }
        Ok(Progress::Whole { length: self.at, inline: false })
    }

    /// `$<length>`.
    fn argument_length(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let start = self.at;
        let Some(length) = self.header(buffer, ProtocolError::BulkLengthTooBig)? else { return Ok(None) };
        if buffer[start] != b'$' {
            return Err(ProtocolError::ExpectedBulk(buffer[start]));
        }
        let length = length.and_then(|length| usize::try_from(length).ok()).ok_or(ProtocolError::InvalidBulkLength)?;
        if length > self.longest_argument() {
            // Redis has one limit for all, and says so first.
            return Err(if self.authenticated || length > REDIS_LONGEST_ARGUMENT {
                ProtocolError::InvalidBulkLength
            } else {
                ProtocolError::UnauthenticatedBulkLength
            });
        }
        if self.at + length + 2 > self.limits.request_bytes {
            return Err(ProtocolError::RequestTooBig);
        }
        Ok(Some(length))
    }

    /// The number in a line behind its first byte, if the line is whole; no number if it has none.
    #[expect(clippy::option_option, reason = "a line that is not there yet, or a line without a number")]
    fn header(&mut self, buffer: &[u8], too_big: ProtocolError) -> Result<Option<Option<i64>>, ProtocolError> {
        if let Some((number, length)) = buffer.get(self.at + 1..).and_then(short_length) {
            self.at += 1 + length;
            // It has at most seven digits.
            return Ok(Some(i64::try_from(number).ok()));
        }
        let Some(end) = self.find(b'\r', buffer, too_big)? else { return Ok(None) };
        // Like Redis, we want the line feed to be there, and do not care what it is.
        if buffer.len() < end + 2 {
            return Ok(None);
        }
        let number = buffer.get(self.at + 1..end).and_then(number::integer);
        self.at = end + 2;
        Ok(Some(number))
    }

    /// Where the next such byte is. Each byte is looked at once.
    ///
    /// Redis looks as C does, up to a NUL, and so waits for ever for the end of a line that has one. To us it is a byte
    /// like others.
    fn find(&mut self, wanted: u8, buffer: &[u8], too_big: ProtocolError) -> Result<Option<usize>, ProtocolError> {
        let from = self.searched.max(self.at);
        let found = buffer.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == wanted));
        let end = found.map_or(buffer.len(), |distance| from + distance);
        self.searched = end;
        if end.saturating_sub(self.at) > LONGEST_LINE { Err(too_big) } else { Ok(found.map(|_| end)) }
    }

    /// A line of words.
    fn inline(&mut self, buffer: &[u8]) -> Result<Progress, ProtocolError> {
        let Some(end) = self.find(b'\n', buffer, ProtocolError::InlineTooBig)? else {
            return Ok(Progress::Incomplete { wanted: 1 });
        };
        let line = &buffer[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        inline::split(line, &mut self.unquoted, &mut self.spans).map_err(|_| ProtocolError::UnbalancedQuotes)?;
        if self.spans.len() > BEFORE_AUTH.0 && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        if self.spans.len() > self.limits.arguments {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        let length = end + 1;
        Ok(if self.spans.is_empty() { Progress::Nothing { length } } else { Progress::Whole { length, inline: true } })
    }
}

/// The longest string that Redis takes, by default: `proto-max-bulk-len`.
const REDIS_LONGEST_ARGUMENT: usize = 512 * 1024 * 1024;

/// A length of up to seven digits and its line's end, both there and as usual; and how many bytes they are.
#[inline]
fn short_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in bytes.iter().enumerate().take(8) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            length = length * 10 + usize::from(digit);
        } else {
            // A number has digits, and none of them is a zero that could as well be left out.
            let usual = *byte == b'\r' && index > 0 && (bytes[0] != b'0' || index == 1) && index + 1 < bytes.len();
            return usual.then_some((length, index + 2));
        }
    }
    None
}

/// How far it is, but nothing of what it has read: that is session data and secrets.
impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").field("at", &self.at).field("missing", &self.missing).finish_non_exhaustive()
    }
}
