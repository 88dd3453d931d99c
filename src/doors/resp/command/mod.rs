//! What a request asks for: a command with its arguments understood.
//!
//! Nothing is copied or allocated: a [`Command`] borrows from the read buffer.

use std::fmt;

pub use error::{CommandError, Word};
pub use hello::{Hello, HelloOption};
pub use name::Name;
pub use options::{Condition, Expire, Expiry, GetEx, Lifetime, Scan, Set};
pub use script::{Effect, is_known};

use super::frame::Arguments;
use super::number::integer;

mod error;
mod hello;
mod name;
mod options;
mod parse;
mod script;

/// The longest key under which something can be kept, in bytes. Those of sessions have about a hundred.
pub const LONGEST_KEY: usize = 1_024;

/// What Redis's commands ask for, those that mean the same as one.
pub enum Command<'a> {
    /// `HELLO`: which protocol to speak from now on, and who and what the client is.
    Hello(Hello<'a>),
    /// `AUTH`.
    Auth {
        /// `None` stands for the default user.
        user: Option<&'a [u8]>,
        /// The password.
        password: &'a [u8],
    },
    /// `SELECT`: the key space to use from now on.
    Select {
        /// Its number, which need not exist.
        database: i32,
    },
    /// `PING`.
    Ping {
        /// What to answer instead of `PONG`.
        message: Option<&'a [u8]>,
    },
    /// `ECHO`.
    Echo {
        /// What to answer.
        message: &'a [u8],
    },
    /// `QUIT`: answer, and close.
    Quit,
    /// `RESET`: the connection is as new.
    Reset,
    /// `INFO`.
    Info {
        /// The sections wanted; all if there are none.
        sections: Arguments<'a>,
    },
    /// `CLIENT ID`.
    ClientId,
    /// `CLIENT INFO`.
    ClientInfo,
    /// `CLIENT GETNAME`.
    ClientGetName,
    /// `CLIENT SETNAME`.
    ClientSetName {
        /// The name; none if empty.
        name: &'a [u8],
    },
    /// `CLIENT SETINFO`, `CLIENT NO-EVICT` and `CLIENT NO-TOUCH`: to be answered with `OK`, and nothing else.
    ClientHint,
    /// `COMMAND`.
    Command,
    /// `COMMAND COUNT`.
    CommandCount,
    /// `COMMAND DOCS`.
    CommandDocs,
    /// `COMMAND INFO`.
    CommandInfo {
        /// The commands asked for; all if there are none.
        names: Arguments<'a>,
    },
    /// `CONFIG GET`.
    ConfigGet {
        /// Names, or patterns of names.
        parameters: Arguments<'a>,
    },
    /// `DBSIZE`.
    DbSize,
    /// `GET`.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// `GETDEL`.
    GetDel {
        /// The key.
        key: &'a [u8],
    },
    /// `GETEX`.
    GetEx(GetEx<'a>),
    /// `MGET`.
    MGet {
        /// The keys.
        keys: Arguments<'a>,
    },
    /// `SET`, `SETEX` and `PSETEX`.
    Set(Set<'a>),
    /// `SETNX`, which answers with a number.
    SetNx {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// `DEL` and `UNLINK`.
    Del {
        /// The keys.
        keys: Arguments<'a>,
    },
    /// `EXISTS`.
    Exists {
        /// The keys. One that is named twice counts twice.
        keys: Arguments<'a>,
    },
    /// `TOUCH`.
    Touch {
        /// The keys.
        keys: Arguments<'a>,
    },
    /// `EXPIRE`, `PEXPIRE`, `EXPIREAT` and `PEXPIREAT`.
    Expire(Expire<'a>),
    /// `PERSIST`.
    Persist {
        /// The key.
        key: &'a [u8],
    },
    /// `TTL` and `PTTL`.
    Ttl {
        /// The key.
        key: &'a [u8],
        /// Whether to answer in milliseconds. Redis rounds seconds to the nearest.
        in_milliseconds: bool,
    },
    /// `TYPE`.
    Type {
        /// The key.
        key: &'a [u8],
    },
    /// `RENAME`.
    Rename {
        /// The key there is.
        from: &'a [u8],
        /// The key there will be.
        to: &'a [u8],
    },
    /// `SCAN`.
    Scan(Scan<'a>),
    /// `HSET` and `HMSET`.
    HSet {
        /// The key.
        key: &'a [u8],
        /// Fields and values by turns, at least one of each.
        pairs: Arguments<'a>,
        /// Whether to answer how many fields are new, as `HSET` does, or `OK`.
        answers_count: bool,
    },
    /// `HGET`.
    HGet {
        /// The key.
        key: &'a [u8],
        /// The field.
        field: &'a [u8],
    },
    /// `HMGET`.
    HMGet {
        /// The key.
        key: &'a [u8],
        /// The fields.
        fields: Arguments<'a>,
    },
    /// `HGETALL`.
    HGetAll {
        /// The key.
        key: &'a [u8],
    },
    /// `HDEL`.
    HDel {
        /// The key.
        key: &'a [u8],
        /// The fields.
        fields: Arguments<'a>,
    },
    /// `HINCRBY`.
    HIncrBy {
        /// The key.
        key: &'a [u8],
        /// The field.
        field: &'a [u8],
        /// By how much.
        by: i64,
    },
    /// `EVAL` and `EVALSHA` of a script that is known.
    Eval {
        /// The first of the script's `KEYS`.
        key: &'a [u8],
        /// What it does to that.
        effect: Effect<'a>,
    },
    /// `SCRIPT LOAD`.
    ScriptLoad {
        /// The hash of the script, which is known.
        hash: &'static str,
    },
    /// `SCRIPT EXISTS`.
    ScriptExists {
        /// The hashes of scripts.
        hashes: Arguments<'a>,
    },
    /// `MULTI`.
    Multi,
    /// `EXEC`.
    Exec,
    /// `DISCARD`.
    Discard,
    /// `WATCH`.
    Watch {
        /// The keys.
        keys: Arguments<'a>,
    },
    /// `UNWATCH`.
    Unwatch,
    /// `SUBSCRIBE`.
    Subscribe {
        /// The channels.
        channels: Arguments<'a>,
    },
    /// `UNSUBSCRIBE`.
    Unsubscribe {
        /// The channels; all if there are none.
        channels: Arguments<'a>,
    },
    /// `PSUBSCRIBE`.
    PSubscribe {
        /// The patterns of channels.
        patterns: Arguments<'a>,
    },
    /// `PUNSUBSCRIBE`.
    PUnsubscribe {
        /// The patterns; all if there are none.
        patterns: Arguments<'a>,
    },
}

/// Nothing of it: keys and values are secrets and session data.
impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").finish_non_exhaustive()
    }
}

impl<'a> Command<'a> {
    /// What a request asks for: both steps at once.
    ///
    /// # Errors
    ///
    /// Those of [`Name::of`] and [`Name::parse`].
    #[inline]
    pub fn of(arguments: Arguments<'a>) -> Result<Self, CommandError<'a>> {
        match arguments.as_get() {
            Some(key) => Ok(Self::Get { key }),
            None => Name::of(&arguments)?.parse(arguments),
        }
    }
}

fn integer_of(argument: &[u8]) -> Result<i64, CommandError<'_>> {
    integer(argument).ok_or(CommandError::NotAnInteger)
}

fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}
