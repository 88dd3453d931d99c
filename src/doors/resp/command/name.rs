//! The commands there are: names, and how many arguments each takes.

use std::fmt;

use super::error::{CommandError, Word};
use crate::doors::resp::frame::Arguments;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $text:literal $arity:literal,)*) => {
        /// A command, or a command with its subcommand.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Name {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl Name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As Redis writes it: in lower case, a subcommand behind a bar.
            #[must_use]
            pub const fn full_name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How many arguments it takes, its own name (and subcommand) among them; at least so many if negative.
            #[must_use]
            pub const fn arity(self) -> i32 {
                match self { $(Self::$name => $arity,)* }
            }

            fn of_packed(packed: u128) -> Option<Self> {
                #[expect(non_upper_case_globals, reason = "each is called as the name it belongs to")]
                mod packed_names {
                    $(pub(super) const $name: u128 = super::packed(super::EMPTY, $text.as_bytes());)*
                }
                Some(match packed { $(packed_names::$name => Self::$name,)* _ => return None })
            }
        }
    };
}

names! {
    Auth "auth" -2,
    Client "client" -2,
    ClientGetName "client|getname" 2,
    ClientId "client|id" 2,
    ClientInfo "client|info" 2,
    ClientNoEvict "client|no-evict" 3,
    ClientNoTouch "client|no-touch" 3,
    ClientSetInfo "client|setinfo" 4,
    ClientSetName "client|setname" 3,
    Command "command" -1,
    CommandCount "command|count" 2,
    CommandDocs "command|docs" -2,
    CommandInfo "command|info" -2,
    Config "config" -2,
    ConfigGet "config|get" -3,
    DbSize "dbsize" 1,
    Del "del" -2,
    Discard "discard" 1,
    Echo "echo" 2,
    Eval "eval" -3,
    EvalSha "evalsha" -3,
    Exec "exec" 1,
    Exists "exists" -2,
    Expire "expire" -3,
    ExpireAt "expireat" -3,
    Get "get" 2,
    GetDel "getdel" 2,
    GetEx "getex" -2,
    HDel "hdel" -3,
    Hello "hello" -1,
    HGet "hget" 3,
    HGetAll "hgetall" 2,
    HIncrBy "hincrby" 4,
    HMGet "hmget" -3,
    HMSet "hmset" -4,
    HSet "hset" -4,
    Info "info" -1,
    MGet "mget" -2,
    Multi "multi" 1,
    Persist "persist" 2,
    PExpire "pexpire" -3,
    PExpireAt "pexpireat" -3,
    Ping "ping" -1,
    PSetEx "psetex" 4,
    PSubscribe "psubscribe" -2,
    PTtl "pttl" 2,
    PUnsubscribe "punsubscribe" -1,
    Quit "quit" -1,
    Rename "rename" 3,
    Reset "reset" 1,
    Scan "scan" -2,
    Script "script" -2,
    ScriptExists "script|exists" -3,
    ScriptLoad "script|load" 3,
    Select "select" 2,
    Set "set" -3,
    SetEx "setex" 4,
    SetNx "setnx" 3,
    Subscribe "subscribe" -2,
    Touch "touch" -2,
    Ttl "ttl" 2,
    Type "type" 2,
    Unlink "unlink" -2,
    Unsubscribe "unsubscribe" -1,
    Unwatch "unwatch" 1,
    Watch "watch" -2,
}

impl Name {
    /// What a request calls, if it exists and is given as many arguments as it takes.
    ///
    /// # Errors
    ///
    /// There is no such command or subcommand, or it takes another number of arguments. In a transaction, such a
    /// command dooms it.
    #[inline]
    pub fn of<'a>(arguments: &Arguments<'a>) -> Result<Self, CommandError<'a>> {
        let name = Self::find(arguments)?;
        let count = arguments.len();
        let least = name.arity().unsigned_abs() as usize;
        let fits = if name.arity() < 0 { count >= least } else { count == least };
        if fits { Ok(name) } else { Err(CommandError::Arity(name)) }
    }

    #[inline]
    fn find<'a>(arguments: &Arguments<'a>) -> Result<Self, CommandError<'a>> {
        let first = arguments.at(0);
        let word = packed(EMPTY, first);
        let Some(name) = Self::of_packed(word).filter(|name| !name.is_subcommand()) else {
            let other_protocol = first.eq_ignore_ascii_case(b"post") || first.eq_ignore_ascii_case(b"host:");
            return Err(if other_protocol {
                CommandError::OtherProtocol
            } else {
                CommandError::UnknownCommand(*arguments)
            });
        };
        match arguments.get(1) {
            Some(second) if name.is_container() => Self::of_packed(packed(packed(word, b"|"), second))
                .ok_or(CommandError::UnknownSubcommand { container: name, subcommand: Word(second) }),
            _ => Ok(name),
        }
    }

    const fn is_container(self) -> bool {
        matches!(self, Self::Client | Self::Command | Self::Config | Self::Script)
    }

    const fn is_subcommand(self) -> bool {
        matches!(
            self,
            Self::ClientGetName
                | Self::ClientId
                | Self::ClientInfo
                | Self::ClientNoEvict
                | Self::ClientNoTouch
                | Self::ClientSetInfo
                | Self::ClientSetName
                | Self::CommandCount
                | Self::CommandDocs
                | Self::CommandInfo
                | Self::ConfigGet
                | Self::ScriptExists
                | Self::ScriptLoad
        )
    }

    /// Whether a client may call it that is not authenticated.
    #[must_use]
    pub const fn is_allowed_before_auth(self) -> bool {
        matches!(self, Self::Auth | Self::Hello | Self::Quit | Self::Reset)
    }

    /// Whether it runs at once inside of `MULTI`, instead of waiting for `EXEC`.
    #[must_use]
    pub const fn is_never_queued(self) -> bool {
        matches!(self, Self::Exec | Self::Discard | Self::Multi | Self::Watch | Self::Quit | Self::Reset)
    }

    /// Whether a client may call it that has subscribed and speaks RESP2, where messages and answers look the same.
    #[must_use]
    pub const fn is_allowed_while_subscribed(self) -> bool {
        matches!(
            self,
            Self::Ping
                | Self::Subscribe
                | Self::Unsubscribe
                | Self::PSubscribe
                | Self::PUnsubscribe
                | Self::Quit
                | Self::Reset
        )
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.full_name())
    }
}

/// The empty word, packed: a bit that marks where a word begins, so that no NUL is lost.
const EMPTY: u128 = 1;

/// The longest word that can be packed.
#[cfg(test)]
const LONGEST_PACKED: usize = 15;

/// Appends a word in lower case to a packed one; 0 if that is longer than any name. No two words are packed alike.
#[inline]
const fn packed(mut onto: u128, word: &[u8]) -> u128 {
    let room = onto.leading_zeros() / 8;
    if word.len() > room as usize || onto == 0 {
        return 0;
    }
    let mut index = 0;
    while index < word.len() {
        onto = onto << 8 | word[index].to_ascii_lowercase() as u128;
        index += 1;
    }
    onto
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_by_itself_only() {
        for name in Name::ALL {
            let text = name.full_name();
            assert!(text.len() <= LONGEST_PACKED, "{text}");
            assert_eq!(Name::of_packed(packed(EMPTY, text.as_bytes())), Some(*name));
            assert_eq!(Name::of_packed(packed(EMPTY, text.to_uppercase().as_bytes())), Some(*name));
            assert_eq!(name.is_subcommand(), text.contains('|'));
            for other in [format!("\0{text}"), format!("{text}\0"), format!("{text} "), format!("{text}|")] {
                assert_eq!(Name::of_packed(packed(EMPTY, other.as_bytes())), None, "{other}");
            }
        }
        assert_eq!(packed(EMPTY, &[b'x'; 16]), 0);
        assert_eq!(packed(packed(EMPTY, &[b'x'; 10]), b"123456"), 0);
    }
}
