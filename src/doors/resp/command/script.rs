//! Scripts. There is no Lua here: what session libraries and their locks run is known by its text or hash, and done
//! without.

use super::{Command, CommandError, Expiry, Name, integer_of};
use crate::doors::resp::frame::Arguments;

/// How long the hash of a script is: SHA-1 in hexadecimal digits.
const HASH_LENGTH: usize = 40;

/// What a script does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    /// Deletes it if its value is the first argument, and answers how many keys that were: 1 or 0.
    CompareAndDelete,
    /// If its value is the first argument, lets it live for as many milliseconds as the second says. Answers 1 or 0.
    CompareAndExpire,
    /// The same if the third argument is not 0. If it is, it lives so much longer than it would have; a key that lives
    /// for ever is left alone, and the answer is 0.
    CompareAndExtend,
    /// Answers its value and, if it does not live for ever, lets it live for as many seconds as the first argument says.
    GetAndRenew,
}

/// What a script is to do to its key, with its arguments understood.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Delete it, if that is its value. Answers how many keys that were: 1 or 0.
    Delete {
        /// The value.
        value: &'a [u8],
    },
    /// Let it live until then, if that is its value. Answers 1 or 0.
    Expire {
        /// The value.
        value: &'a [u8],
        /// When it is to expire.
        expiry: Expiry,
    },
    /// Let it live longer, if that is its value and it does not live for ever. Answers 1 or 0.
    Extend {
        /// The value.
        value: &'a [u8],
        /// By how many milliseconds.
        by: i64,
    },
    /// Answer its value, and let it live until then unless it lives for ever.
    Renew {
        /// When it is to expire.
        expiry: Expiry,
    },
}

/// A script that is known: what it does, how its text reads, and the hash by which the library that has it just so asks
/// for it. Others have the same over several lines, or in single quotes.
struct Known {
    script: Script,
    text: &'static str,
    hash: &'static str,
}

const KNOWN: [Known; 6] = [
    // The release of a lock: phpredis, Laravel, Redlock.
    Known {
        script: Script::CompareAndDelete,
        text: r#"if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end"#,
        hash: "b70c2384248f88e6b75b9f89241a180f856ad852",
    },
    // redis-py 3.5 to 8.1, and valkey-py.
    Known {
        script: Script::CompareAndDelete,
        text: r#"local token = redis.call("get", KEYS[1]) if not token or token ~= ARGV[1] then return 0 end
            redis.call("del", KEYS[1]) return 1"#,
        hash: "c3f8721cbb97f72bc19e972846bd7aaf91901658",
    },
    // A lock is held on to: Redlock, redsync.
    Known {
        script: Script::CompareAndExpire,
        text: r#"if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("pexpire",KEYS[1],ARGV[2])
            else return 0 end"#,
        hash: "36e94d1c6e02fcefaa7ee5d79eee614dbac55f10",
    },
    // `Lock.reacquire` of redis-py.
    Known {
        script: Script::CompareAndExpire,
        text: r#"local token = redis.call("get", KEYS[1]) if not token or token ~= ARGV[1] then return 0 end
            redis.call("pexpire", KEYS[1], ARGV[2]) return 1"#,
        hash: "1cac51482acf5858da00f6d685d68f886cd6b6b2",
    },
    // `Lock.extend` of redis-py.
    Known {
        script: Script::CompareAndExtend,
        text: r#"local token = redis.call("get", KEYS[1]) if not token or token ~= ARGV[1] then return 0 end
            local expiration = redis.call("pttl", KEYS[1]) if not expiration then expiration = 0 end
            if expiration < 0 then return 0 end
            local newttl = ARGV[2] if ARGV[3] == "0" then newttl = ARGV[2] + expiration end
            redis.call("pexpire", KEYS[1], newttl) return 1"#,
        hash: "a4e8783852e6b949f9ef3a97212805108459a890",
    },
    // A look-up of Litestar's server-side sessions.
    Known {
        script: Script::GetAndRenew,
        text: r#"local key = KEYS[1] local renew = tonumber(ARGV[1])
            local data = redis.call("GET", key) local ttl = redis.call("TTL", key)
            if ttl > 0 then redis.call("EXPIRE", key, renew) end return data"#,
        hash: "54ea03b66da5fbbf9c19520232b7fc68354b94eb",
    },
];

/// What `EVAL` and `EVALSHA` ask for.
pub(super) fn parse(name: Name, arguments: Arguments<'_>) -> Result<Command<'_>, CommandError<'_>> {
    let code = arguments.at(1);
    let by_hash = name == Name::EvalSha;
    if by_hash && code.len() != HASH_LENGTH {
        return Err(CommandError::NoScript);
    }
    let count = integer_of(arguments.at(2))?;
    let rest = arguments.from(3);
    let Ok(count) = usize::try_from(count) else { return Err(CommandError::NegativeKeys) };
    if count > rest.len() {
        return Err(CommandError::TooManyKeys);
    }
    let known = if by_hash { of_hash(code).ok_or(CommandError::NoScript) } else { of_text(code) };
    let script = known?.script;
    let (keys, arguments) = rest.split_at(count);
    let least = match script {
        Script::CompareAndDelete | Script::GetAndRenew => 1,
        Script::CompareAndExpire => 2,
        Script::CompareAndExtend => 3,
    };
    if keys.is_empty() || arguments.len() < least {
        return Err(CommandError::NoLua);
    }
    let value = arguments.at(0);
    let effect = match script {
        Script::CompareAndDelete => Effect::Delete { value },
        Script::CompareAndExtend if arguments.at(2) == b"0" => {
            Effect::Extend { value, by: integer_of(arguments.at(1))? }
        }
        Script::CompareAndExpire | Script::CompareAndExtend => {
            Effect::Expire { value, expiry: Expiry::from_now(Name::PExpire, arguments.at(1))? }
        }
        Script::GetAndRenew => Effect::Renew { expiry: Expiry::from_now(Name::Expire, value)? },
    };
    Ok(Command::Eval { key: keys.at(0), effect })
}

/// What `SCRIPT LOAD` asks for.
pub(super) fn load(text: &[u8]) -> Result<Command<'_>, CommandError<'_>> {
    Ok(Command::ScriptLoad { hash: of_text(text)?.hash })
}

/// Whether a script is known by a hash, in upper or lower case.
#[must_use]
pub fn is_known(hash: &[u8]) -> bool {
    of_hash(hash).is_some()
}

fn of_hash(hash: &[u8]) -> Option<&'static Known> {
    KNOWN.iter().find(|known| hash.eq_ignore_ascii_case(known.hash.as_bytes()))
}

fn of_text(text: &[u8]) -> Result<&'static Known, CommandError<'static>> {
    KNOWN.iter().find(|known| says_the_same(text, known.text)).ok_or(CommandError::NoLua)
}

/// Whether two scripts differ in nothing but white space, the kind of quotes and the case of letters.
fn says_the_same(script: &[u8], other: &str) -> bool {
    fn letters(script: &[u8]) -> impl Iterator<Item = u8> {
        let visible = script.iter().filter(|byte| !byte.is_ascii_whitespace());
        visible.map(|byte| if *byte == b'\'' { b'"' } else { byte.to_ascii_lowercase() })
    }
    letters(script).eq(letters(other.as_bytes()))
}
