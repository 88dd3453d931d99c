//! From a command's name and arguments to what is meant.

use super::{Command, CommandError, Expire, GetEx, Hello, Name, Scan, Set, Word, integer_of, is, script};
use crate::doors::resp::frame::Arguments;
use crate::doors::resp::number::c_string;
use crate::session::glob::LONGEST_PATTERN;

impl Name {
    /// What it means with these arguments, of which [`Name::of`] has found it and judged how many they are.
    ///
    /// # Errors
    ///
    /// Redis refuses the arguments whatever its keys are.
    #[inline]
    pub fn parse(self, arguments: Arguments<'_>) -> Result<Command<'_>, CommandError<'_>> {
        let key = arguments.at(1);
        let rest = arguments.from(2);
        Ok(match self {
            Self::Get => Command::Get { key },
            Self::GetDel => Command::GetDel { key },
            Self::GetEx => Command::GetEx(GetEx::parse(key, rest)?),
            Self::MGet => Command::MGet { keys: arguments.from(1) },
            Self::Set => Command::Set(Set::parse(arguments)?),
            Self::SetEx | Self::PSetEx => Command::Set(Set::parse_with_expiry(self, arguments)?),
            Self::SetNx => Command::SetNx { key, value: arguments.at(2) },
            Self::Del | Self::Unlink => Command::Del { keys: arguments.from(1) },
            Self::Exists => Command::Exists { keys: arguments.from(1) },
            Self::Touch => Command::Touch { keys: arguments.from(1) },
            Self::Expire | Self::PExpire | Self::ExpireAt | Self::PExpireAt => {
                Command::Expire(Expire::parse(self, arguments)?)
            }
            Self::Persist => Command::Persist { key },
            Self::Ttl => Command::Ttl { key, in_milliseconds: false },
            Self::PTtl => Command::Ttl { key, in_milliseconds: true },
            Self::Type => Command::Type { key },
            Self::Rename => Command::Rename { from: key, to: arguments.at(2) },
            Self::Scan => Command::Scan(Scan::parse(arguments)?),
            Self::DbSize => Command::DbSize,
            Self::HSet | Self::HMSet => pairs(self, key, rest)?,
            Self::HGet => Command::HGet { key, field: arguments.at(2) },
            Self::HMGet => Command::HMGet { key, fields: rest },
            Self::HGetAll => Command::HGetAll { key },
            Self::HDel => Command::HDel { key, fields: rest },
            Self::HIncrBy => Command::HIncrBy { key, field: arguments.at(2), by: integer_of(arguments.at(3))? },
            Self::Eval | Self::EvalSha => script::parse(self, arguments)?,
            Self::ScriptLoad => script::load(arguments.at(2))?,
            Self::ScriptExists => Command::ScriptExists { hashes: arguments.from(2) },
            Self::Multi => Command::Multi,
            Self::Exec => Command::Exec,
            Self::Discard => Command::Discard,
            Self::Watch => Command::Watch { keys: arguments.from(1) },
            Self::Unwatch => Command::Unwatch,
            _ => return self.parse_of_connection(arguments),
        })
    }

    /// The same of what concerns the connection or the server, and no key.
    fn parse_of_connection(self, arguments: Arguments<'_>) -> Result<Command<'_>, CommandError<'_>> {
        let rest = arguments.from(1);
        Ok(match self {
            Self::Auth => match arguments.len() {
                2 => Command::Auth { user: None, password: arguments.at(1) },
                3 => Command::Auth { user: arguments.get(1), password: arguments.at(2) },
                _ => return Err(CommandError::Syntax),
            },
            Self::Hello => Command::Hello(Hello::parse(arguments)?),
            Self::Select => {
                let database = integer_of(arguments.at(1))?;
                Command::Select { database: i32::try_from(database).map_err(|_| CommandError::DatabaseOutOfRange)? }
            }
            Self::Ping if arguments.len() > 2 => return Err(CommandError::Arity(self)),
            Self::Ping => Command::Ping { message: arguments.get(1) },
            Self::Echo => Command::Echo { message: arguments.at(1) },
            Self::Quit => Command::Quit,
            Self::Reset => Command::Reset,
            Self::Info => Command::Info { sections: rest },
            Self::ClientId => Command::ClientId,
            Self::ClientInfo => Command::ClientInfo,
            Self::ClientGetName => Command::ClientGetName,
            Self::ClientSetName => Command::ClientSetName { name: client_name(arguments.at(2))? },
            Self::ClientSetInfo => client_attribute(arguments.at(2), arguments.at(3))?,
            Self::ClientNoEvict | Self::ClientNoTouch => {
                let known = is(arguments.at(2), "on") || is(arguments.at(2), "off");
                if known { Command::ClientHint } else { return Err(CommandError::Syntax) }
            }
            Self::Command => Command::Command,
            Self::CommandCount => Command::CommandCount,
            Self::CommandDocs => Command::CommandDocs,
            Self::CommandInfo => Command::CommandInfo { names: arguments.from(2) },
            Self::ConfigGet => Command::ConfigGet { parameters: patterns(arguments.from(2))? },
            Self::Subscribe => Command::Subscribe { channels: rest },
            Self::Unsubscribe => Command::Unsubscribe { channels: rest },
            Self::PSubscribe => Command::PSubscribe { patterns: patterns(rest)? },
            Self::PUnsubscribe => Command::PUnsubscribe { patterns: rest },
            // A command that only groups others. `Name::of` lets none of them pass: it wants a subcommand.
            other => return Err(CommandError::Arity(other)),
        })
    }
}

fn pairs<'a>(name: Name, key: &'a [u8], pairs: Arguments<'a>) -> Result<Command<'a>, CommandError<'a>> {
    let whole = pairs.len().is_multiple_of(2);
    let command = Command::HSet { key, pairs, answers_count: name == Name::HSet };
    if whole { Ok(command) } else { Err(CommandError::Arity(name)) }
}

fn patterns(patterns: Arguments<'_>) -> Result<Arguments<'_>, CommandError<'_>> {
    let short = patterns.iter().all(|pattern| pattern.len() <= LONGEST_PATTERN);
    if short { Ok(patterns) } else { Err(CommandError::PatternTooLong) }
}

/// A connection's name has to fit into lists with blanks between the columns.
pub(super) fn client_name(name: &[u8]) -> Result<&[u8], CommandError<'_>> {
    if prints(name) { Ok(name) } else { Err(CommandError::ClientName) }
}

fn prints(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

fn client_attribute<'a>(name: &'a [u8], value: &'a [u8]) -> Result<Command<'a>, CommandError<'a>> {
    if !is(name, "lib-name") && !is(name, "lib-ver") {
        return Err(CommandError::ClientAttribute(Word(name)));
    }
    if prints(c_string(value)) { Ok(Command::ClientHint) } else { Err(CommandError::ClientAttributeValue(Word(name))) }
}
