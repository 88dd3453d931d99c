//! Scripts. There is no Lua here: what is known by its text or hash is done without.

use super::{Command, CommandError, Name, integer_of};
use crate::doors::resp::frame::Arguments;

/// How long the hash of a script is: SHA-1 in hexadecimal digits.
const HASH_LENGTH: usize = 40;

/// The release of a lock, as phpredis has it for the locks of sessions, and its hash. Others have the same over several
/// lines, or in single quotes.
const COMPARE_AND_DELETE: (&[u8], &[u8]) = (
    br#"if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end"#,
    b"b70c2384248f88e6b75b9f89241a180f856ad852",
);

/// What a script does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Deletes the first key if its value is the first argument, and answers how many keys that were: 1 or 0.
    CompareAndDelete,
    /// Something else, of which we have only the hash: [`CommandError::NoScript`].
    UnknownHash,
    /// Something else.
    UnknownText,
}

impl Script {
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
        let (text, hash) = COMPARE_AND_DELETE;
        let known = if by_hash { code.eq_ignore_ascii_case(hash) } else { says_the_same(code, text) };
        let script = match (known, by_hash) {
            (true, _) => Self::CompareAndDelete,
            (false, true) => Self::UnknownHash,
            (false, false) => Self::UnknownText,
        };
        let (keys, arguments) = rest.split_at(count);
        Ok(Command::Eval { script, keys, arguments })
    }
}

/// Whether two scripts differ in nothing but white space and the kind of quotes.
fn says_the_same(script: &[u8], other: &[u8]) -> bool {
    fn letters(script: &[u8]) -> impl Iterator<Item = u8> {
        let visible = script.iter().filter(|byte| !byte.is_ascii_whitespace());
        visible.map(|byte| if *byte == b'\'' { b'"' } else { *byte })
    }
    letters(script).eq(letters(other))
}
