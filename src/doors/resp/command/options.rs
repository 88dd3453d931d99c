//! Commands with options, and times to live.

use super::{CommandError, Name, Word, integer_of, is};
use crate::clock::{Origins, Timestamp};
use crate::doors::resp::frame::Arguments;
use crate::doors::resp::number;
use crate::session::glob::LONGEST_PATTERN;

const MS_PER_SECOND: i64 = 1000;

/// When a key is to expire, as a client says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    command: Name,
    milliseconds: i64,
    relative: bool,
}

/// The unit and the base of a time to live.
#[derive(Clone, Copy)]
struct Measure {
    seconds: bool,
    relative: bool,
}

impl Expiry {
    /// When that is. It may be past already: then the key ends at once.
    ///
    /// # Errors
    ///
    /// It is so late that it cannot be counted.
    pub fn deadline(self, from: Origins) -> Result<Timestamp, CommandError<'static>> {
        if !self.relative {
            return Ok(Timestamp::from_millis(self.milliseconds.saturating_add(from.epoch.as_millis())));
        }
        let at = self.milliseconds.checked_add(from.now.as_millis());
        at.map(Timestamp::from_millis).ok_or(CommandError::ExpireTime(self.command))
    }

    /// As `EXPIRE` and `PEXPIRE` take it.
    pub(super) fn from_now(command: Name, number: &[u8]) -> Result<Self, CommandError<'_>> {
        Self::parse(command, number, Measure { seconds: command == Name::Expire, relative: true })
    }

    fn parse(command: Name, number: &[u8], measure: Measure) -> Result<Self, CommandError<'_>> {
        let number = integer_of(number)?;
        let milliseconds = if measure.seconds { number.checked_mul(MS_PER_SECOND) } else { Some(number) };
        let milliseconds = milliseconds.ok_or(CommandError::ExpireTime(command))?;
        Ok(Self { command, milliseconds, relative: measure.relative })
    }

    /// The same for what `SET` and its like take, which must not be past by its looks.
    fn parse_positive(command: Name, number: &[u8], measure: Measure) -> Result<Self, CommandError<'_>> {
        let expiry = Self::parse(command, number, measure)?;
        if expiry.milliseconds > 0 { Ok(expiry) } else { Err(CommandError::ExpireTime(command)) }
    }
}

/// What becomes of a key's time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The key stays until it is deleted.
    Forever,
    /// As it is.
    Keep,
    /// Until then.
    Until(Expiry),
}

/// When something is done only if a key is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// `NX`: if it is not.
    IfAbsent,
    /// `XX`: if it is.
    IfPresent,
}

/// `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`, `SETEX` and `PSETEX`.
pub struct Set<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Whether the key may be there.
    pub condition: Condition,
    /// What becomes of its time to live.
    pub lifetime: Lifetime,
    /// `GET`: whether to answer the value there was.
    pub get: bool,
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`.
pub struct GetEx<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What becomes of its time to live. Redis tells of a wrong one only when the key is there, and is a string.
    pub lifetime: Result<Lifetime, CommandError<'a>>,
}

/// The options of `SET` and `GETEX` that concern the time to live, of which only one may be there.
#[derive(Clone, Copy)]
enum Timing<'a> {
    Unsaid,
    Keep,
    Persist,
    At(Kind, &'a [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ex,
    Px,
    ExAt,
    PxAt,
}

impl Kind {
    fn of(option: &[u8]) -> Option<Self> {
        [("ex", Self::Ex), ("px", Self::Px), ("exat", Self::ExAt), ("pxat", Self::PxAt)]
            .into_iter()
            .find_map(|(word, kind)| is(option, word).then_some(kind))
    }

    fn measure(self) -> Measure {
        Measure { seconds: matches!(self, Self::Ex | Self::ExAt), relative: matches!(self, Self::Ex | Self::Px) }
    }
}

impl<'a> Timing<'a> {
    /// Adds an option. Whether it is one, and fits those before it; one of the same kind replaces the other.
    fn add(&mut self, option: &'a [u8], options: &mut impl Iterator<Item = &'a [u8]>) -> bool {
        let Some(kind) = Kind::of(option) else { return false };
        let fits = match self {
            Self::Unsaid => true,
            Self::At(before, _) => *before == kind,
            Self::Keep | Self::Persist => false,
        };
        match options.next() {
            Some(number) if fits => *self = Self::At(kind, number),
            _ => return false,
        }
        true
    }

    fn lifetime(self, command: Name, unsaid: Lifetime) -> Result<Lifetime, CommandError<'a>> {
        Ok(match self {
            Self::Unsaid => unsaid,
            Self::Keep => Lifetime::Keep,
            Self::Persist => Lifetime::Forever,
            Self::At(kind, number) => Lifetime::Until(Expiry::parse_positive(command, number, kind.measure())?),
        })
    }
}

impl<'a> Set<'a> {
    pub(super) fn parse(arguments: Arguments<'a>) -> Result<Self, CommandError<'a>> {
        let (mut condition, mut get, mut timing) = (Condition::Always, false, Timing::Unsaid);
        let mut options = arguments.from(3).iter();
        while let Some(option) = options.next() {
            if is(option, "nx") && condition != Condition::IfPresent {
                condition = Condition::IfAbsent;
            } else if is(option, "xx") && condition != Condition::IfAbsent {
                condition = Condition::IfPresent;
            } else if is(option, "get") {
                get = true;
            } else if is(option, "keepttl") && matches!(timing, Timing::Unsaid | Timing::Keep) {
                timing = Timing::Keep;
            } else if !timing.add(option, &mut options) {
                return Err(CommandError::Syntax);
            }
        }
        let lifetime = timing.lifetime(Name::Set, Lifetime::Forever)?;
        Ok(Self { key: arguments.at(1), value: arguments.at(2), condition, lifetime, get })
    }

    pub(super) fn parse_with_expiry(name: Name, arguments: Arguments<'a>) -> Result<Self, CommandError<'a>> {
        let measure = Measure { seconds: name == Name::SetEx, relative: true };
        let lifetime = Lifetime::Until(Expiry::parse_positive(name, arguments.at(2), measure)?);
        let (key, value) = (arguments.at(1), arguments.at(3));
        Ok(Self { key, value, condition: Condition::Always, lifetime, get: false })
    }
}

impl<'a> GetEx<'a> {
    pub(super) fn parse(key: &'a [u8], options: Arguments<'a>) -> Result<Self, CommandError<'a>> {
        let mut timing = Timing::Unsaid;
        let mut options = options.iter();
        while let Some(option) = options.next() {
            if is(option, "persist") && matches!(timing, Timing::Unsaid | Timing::Persist) {
                timing = Timing::Persist;
            } else if !timing.add(option, &mut options) {
                return Err(CommandError::Syntax);
            }
        }
        Ok(Self { key, lifetime: timing.lifetime(Name::GetEx, Lifetime::Keep) })
    }
}

/// `EXPIRE key s [NX | XX | GT | LT]`, `PEXPIRE`, `EXPIREAT` and `PEXPIREAT`.
#[derive(Clone, Copy)]
pub struct Expire<'a> {
    /// The key.
    pub key: &'a [u8],
    /// When it is to end.
    pub expiry: Expiry,
    /// `NX` and `XX`: whether it may have a time to live already.
    pub condition: Condition,
    /// `GT`: only to lengthen its life. A key without a time to live cannot live longer.
    pub only_later: bool,
    /// `LT`: only to shorten its life. A key without a time to live can live no longer.
    pub only_earlier: bool,
}

impl<'a> Expire<'a> {
    pub(super) fn parse(name: Name, arguments: Arguments<'a>) -> Result<Self, CommandError<'a>> {
        let (mut nx, mut xx, mut only_later, mut only_earlier) = (false, false, false, false);
        for option in arguments.from(3).iter() {
            let flag = [("nx", &mut nx), ("xx", &mut xx), ("gt", &mut only_later), ("lt", &mut only_earlier)]
                .into_iter()
                .find_map(|(word, flag)| is(option, word).then_some(flag));
            *flag.ok_or(CommandError::ExpireOption(Word(option)))? = true;
        }
        if nx && (xx || only_later || only_earlier) {
            return Err(CommandError::ExpireNxAndOther);
        }
        if only_later && only_earlier {
            return Err(CommandError::ExpireGtAndLt);
        }
        let condition = match (nx, xx) {
            (true, _) => Condition::IfAbsent,
            (_, true) => Condition::IfPresent,
            _ => Condition::Always,
        };
        let measure = Measure {
            seconds: matches!(name, Name::Expire | Name::ExpireAt),
            relative: matches!(name, Name::Expire | Name::PExpire),
        };
        let expiry = Expiry::parse(name, arguments.at(2), measure)?;
        Ok(Self { key: arguments.at(1), expiry, condition, only_later, only_earlier })
    }
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`.
#[derive(Clone, Copy)]
pub struct Scan<'a> {
    /// Where to go on; 0 at first.
    pub cursor: u64,
    /// What keys have to be like; `None` for all.
    pub pattern: Option<&'a [u8]>,
    /// About how many keys to look at; at least 1.
    pub count: u64,
    /// What type keys have to be of.
    pub of_type: Option<&'a [u8]>,
}

/// How many keys a `SCAN` looks at that does not say.
const SCAN_COUNT: u64 = 10;

impl<'a> Scan<'a> {
    pub(super) fn parse(arguments: Arguments<'a>) -> Result<Self, CommandError<'a>> {
        let cursor = number::cursor(arguments.at(1)).ok_or(CommandError::Cursor)?;
        let mut scan = Self { cursor, pattern: None, count: SCAN_COUNT, of_type: None };
        let mut options = arguments.from(2).iter();
        while let Some(option) = options.next() {
            let value = options.next().ok_or(CommandError::Syntax)?;
            if is(option, "count") {
                let count = integer_of(value)?;
                scan.count = u64::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::Syntax)?;
            } else if is(option, "match") {
                // Redis takes a single star for no pattern, by which the empty key is found too.
                scan.pattern = Some(value).filter(|pattern| *pattern != b"*");
            } else if is(option, "type") {
                scan.of_type = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if scan.pattern.is_some_and(|pattern| pattern.len() > LONGEST_PATTERN) {
            return Err(CommandError::PatternTooLong);
        }
        Ok(scan)
    }
}
