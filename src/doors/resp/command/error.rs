//! Requests that Redis refuses as they stand, in its own words.

use std::fmt;

use super::Name;
use crate::doors::resp::frame::Arguments;
use crate::doors::resp::number::c_string;
use crate::doors::resp::reply::Writer;

/// What a client wrote. It is repeated to that client only, and shows itself nowhere else.
#[derive(Clone, Copy)]
pub struct Word<'a>(pub &'a [u8]);

impl fmt::Debug for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

/// What is wrong with a request. The connection stays, but for [`CommandError::OtherProtocol`].
#[derive(Clone, Copy, Debug)]
pub enum CommandError<'a> {
    /// There is no such command.
    UnknownCommand(Arguments<'a>),
    /// There is no such subcommand.
    UnknownSubcommand {
        /// The command that has subcommands.
        container: Name,
        /// As the client wrote it.
        subcommand: Word<'a>,
    },
    /// A browser that was tricked into talking to us (cross-protocol scripting). Close the connection without a word.
    OtherProtocol,
    /// It takes another number of arguments. Of `EXEC`, this also discards its transaction.
    Arity(Name),
    /// An option that is unknown, lacks its value, or is at odds with another.
    Syntax,
    /// Not a number, or none of 64 bits.
    NotAnInteger,
    /// A database's number beyond 32 bits.
    DatabaseOutOfRange,
    /// A time to live that is not positive, or beyond what can be counted.
    ExpireTime(Name),
    /// A protocol's version that is no number.
    ProtocolNotAnInteger,
    /// Neither RESP2 nor RESP3.
    UnsupportedProtocol,
    /// An unknown option of `HELLO`, or one without its value.
    HelloOption(Word<'a>),
    /// A connection's name with a blank or another byte that does not print.
    ClientName,
    /// An unknown attribute of `CLIENT SETINFO`.
    ClientAttribute(Word<'a>),
    /// A value of that attribute with a blank or another byte that does not print.
    ClientAttributeValue(Word<'a>),
    /// An unknown option of `EXPIRE` and its like.
    ExpireOption(Word<'a>),
    /// `NX` of `EXPIRE` together with another condition.
    ExpireNxAndOther,
    /// `GT` of `EXPIRE` together with `LT`.
    ExpireGtAndLt,
    /// A cursor that is no number.
    Cursor,
    /// A pattern longer than [`LONGEST_PATTERN`](crate::session::glob::LONGEST_PATTERN). Redis has no limit.
    PatternTooLong,
    /// A key longer than [`LONGEST_KEY`](super::LONGEST_KEY), under which nothing is to be kept. Redis allows 512 MiB.
    KeyTooLong,
    /// A script that is said to have more keys than there are arguments.
    TooManyKeys,
    /// A script that is said to have less than no keys.
    NegativeKeys,
    /// A script that is not known by this hash.
    NoScript,
    /// A script that is not known by what it says, or is given too few keys or arguments.
    NoLua,
}

/// The most that Redis repeats of a client's word.
const MOST_REPEATED: usize = 128;

impl CommandError<'_> {
    /// Answers it as Redis does; [`OtherProtocol`](Self::OtherProtocol) not at all.
    pub fn reply(&self, to: &mut Writer<'_>) {
        match *self {
            Self::UnknownCommand(arguments) => unknown_command(arguments, to),
            Self::UnknownSubcommand { container, subcommand } => {
                // No name is longer than this.
                let mut upper = [0; 16];
                let name = container.full_name().as_bytes();
                upper[..name.len()].copy_from_slice(name);
                upper.make_ascii_uppercase();
                let (subcommand, upper) = (repeated(subcommand.0), &upper[..name.len()]);
                to.error_of(&[b"ERR unknown subcommand '", subcommand, b"'. Try ", upper, b" HELP."]);
            }
            Self::OtherProtocol => {}
            // Whatever is wrong with an `EXEC`, it ends its transaction, and says so.
            Self::Arity(Name::Exec) => {
                to.error("EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command");
            }
            Self::Arity(name) => {
                to.error_of(&[b"ERR wrong number of arguments for '", name.full_name().as_bytes(), b"' command"]);
            }
            Self::ExpireTime(name) => {
                to.error_of(&[b"ERR invalid expire time in '", name.full_name().as_bytes(), b"' command"]);
            }
            Self::HelloOption(option) => {
                to.error_of(&[b"ERR Syntax error in HELLO option '", c_string(option.0), b"'"]);
            }
            Self::ClientAttribute(name) => to.error_of(&[b"ERR Unrecognized option '", c_string(name.0), b"'"]),
            Self::ClientAttributeValue(name) => {
                to.error_of(&[b"ERR ", c_string(name.0), b" cannot contain spaces, newlines or special characters."]);
            }
            Self::ExpireOption(option) => {
                let mut option = c_string(option.0);
                while let [shorter @ .., b'\r' | b'\n'] = option {
                    option = shorter;
                }
                to.error_of(&[b"ERR Unsupported option ", option]);
            }
            Self::Syntax => to.error("ERR syntax error"),
            Self::NotAnInteger => to.error("ERR value is not an integer or out of range"),
            Self::DatabaseOutOfRange => {
                to.error("ERR value is out of range, value must between -2147483648 and 2147483647");
            }
            Self::ProtocolNotAnInteger => to.error("ERR Protocol version is not an integer or out of range"),
            Self::UnsupportedProtocol => to.error("NOPROTO unsupported protocol version"),
            Self::ClientName => to.error("ERR Client names cannot contain spaces, newlines or special characters."),
            Self::ExpireNxAndOther => {
                to.error("ERR NX and XX, GT or LT options at the same time are not compatible");
            }
            Self::ExpireGtAndLt => to.error("ERR GT and LT options at the same time are not compatible"),
            Self::Cursor => to.error("ERR invalid cursor"),
            Self::KeyTooLong => to.error("ERR the key is longer than 1,024 bytes"),
            Self::PatternTooLong => to.error("ERR pattern is too long"),
            Self::TooManyKeys => to.error("ERR Number of keys can't be greater than number of args"),
            Self::NegativeKeys => to.error("ERR Number of keys can't be negative"),
            Self::NoScript => to.error("NOSCRIPT No matching script. Please use EVAL."),
            Self::NoLua => {
                to.error("ERR there is no Lua here; of scripts, those are known that locks are released with");
            }
        }
    }
}

fn repeated(word: &[u8]) -> &[u8] {
    let word = c_string(word);
    &word[..word.len().min(MOST_REPEATED)]
}

fn unknown_command(arguments: Arguments<'_>, to: &mut Writer<'_>) {
    to.error_by(|line| {
        line.push(b"ERR unknown command '");
        line.push(repeated(arguments.at(0)));
        line.push(b"', with args beginning with: ");
        let mut shown = 0;
        for argument in arguments.from(1).iter() {
            if shown >= MOST_REPEATED {
                break;
            }
            let argument = c_string(argument);
            let argument = &argument[..argument.len().min(MOST_REPEATED - shown)];
            line.push(b"'");
            line.push(argument);
            line.push(b"' ");
            shown += argument.len() + b"'' ".len();
        }
    });
}
