//! Where in a value something is.

use std::fmt;
use std::str::FromStr;

use super::token::number;

/// The most steps of a path. What is deeper in a value is passed over without a look.
pub const MAX_STEPS: usize = 8;

/// The longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 512;

/// A place in a value, written like a JSON pointer (RFC 6901): `/user/id`.
///
/// A step names a key of a map or, as a number, an element of a list. A `*` in it stands for any text, and alone for
/// any key or element: `/warden.user.*.key/0/0`. A name's own `/`, `~` and `*` are written `~1`, `~0` and `~2`. The
/// empty path is the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Step>);

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A path is empty or begins with a slash.
    #[error("a path begins with `/`, as in `/user/id`")]
    NoSlash,
    /// More than [`MAX_STEPS`].
    #[error("a path has at most {MAX_STEPS} steps")]
    TooDeep,
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("a path has at most {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// Two stars in a step could be matched in many ways.
    #[error("a step of a path has at most one `*`; a star of the name itself is written `~2`")]
    Stars,
    /// A tilde that stands for nothing.
    #[error("in a path, `~` is written `~0`, `/` is `~1` and `*` is `~2`")]
    Tilde,
}

impl Path {
    /// The steps, from the outermost value on.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether several places of one value may be meant.
    pub(super) fn is_pattern(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Pattern { .. }))
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let steps = text.strip_prefix('/').ok_or(PathError::NoSlash)?.split('/');
        if steps.clone().count() > MAX_STEPS {
            return Err(PathError::TooDeep);
        }
        steps.map(Step::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// As it is written.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |name: &str| name.replace('~', "~0").replace('/', "~1").replace('*', "~2");
        self.0.iter().try_for_each(|step| match step {
            Step::Name { name, .. } => write!(f, "/{}", escape(name)),
            Step::Pattern { before, after } => write!(f, "/{}*{}", escape(before), escape(after)),
        })
    }
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This key or, if it is a number, this element.
    Name { name: Box<str>, number: Option<i128> },
    /// Any key that begins and ends so.
    Pattern { before: Box<str>, after: Box<str> },
}

/// What a step is held against.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    Name(&'a [u8]),
    Number(i128),
}

impl Step {
    fn parse(text: &str) -> Result<Self, PathError> {
        match text.split_once('*') {
            Some((_, after)) if after.contains('*') => Err(PathError::Stars),
            Some((before, after)) => Ok(Self::Pattern { before: plain(before)?.into(), after: plain(after)?.into() }),
            None => {
                let name = plain(text)?;
                // `007` is a name, as it is in every language whose values these are.
                let value = number::<i128>(name.as_bytes()).ok().filter(|value| value.to_string() == name);
                Ok(Self::Name { name: name.into(), number: value })
            }
        }
    }

    /// Whether this key is meant.
    ///
    /// Names of an object's variables are bare: without the class that PHP puts before them, between two NULs, and
    /// without the `@` of Ruby.
    pub(super) fn matches(&self, key: Key<'_>) -> bool {
        match (self, key) {
            (Self::Name { number, .. }, Key::Number(key)) => *number == Some(key),
            (Self::Pattern { before, after }, Key::Number(_)) => before.is_empty() && after.is_empty(),
            (_, Key::Name(key)) => self.is_called(key) || bare(key).is_some_and(|key| self.is_called(key)),
        }
    }

    fn is_called(&self, key: &[u8]) -> bool {
        match self {
            Self::Name { name, .. } => name.as_bytes() == key,
            Self::Pattern { before, after } => {
                key.strip_prefix(before.as_bytes()).is_some_and(|rest| rest.ends_with(after.as_bytes()))
            }
        }
    }
}

fn bare(key: &[u8]) -> Option<&[u8]> {
    match key {
        [0, mangled @ ..] => Some(&mangled[mangled.iter().position(|&byte| byte == 0)? + 1..]),
        [b'@', name @ ..] => Some(name),
        _ => None,
    }
}

/// A part of a step without its escapes.
fn plain(part: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(part.len());
    let mut rest = part.chars();
    while let Some(character) = rest.next() {
        out.push(match character {
            '~' => match rest.next() {
                Some('0') => '~',
                Some('1') => '/',
                Some('2') => '*',
                _ => return Err(PathError::Tilde),
            },
            other => other,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_it_is_written() {
        for text in ["", "/", "/user", "/user/id", "/a~1b/~0/~2", "/login_web_*", "/*/*/7", "/warden.user.*.key/0/0"] {
            assert_eq!(text.parse::<Path>().map(|path| path.to_string()).as_deref(), Ok(text));
        }
        let long = format!("/{}", "x".repeat(MAX_PATH_BYTES));
        for (text, error) in [
            ("user", PathError::NoSlash),
            ("/1/2/3/4/5/6/7/8/9", PathError::TooDeep),
            (long.as_str(), PathError::TooLong),
            ("/a*b*", PathError::Stars),
            ("/**", PathError::Stars),
            ("/~", PathError::Tilde),
            ("/~3", PathError::Tilde),
        ] {
            assert_eq!(text.parse::<Path>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_step_matches_what_it_names() {
        let step = |text: &str| Step::parse(text).unwrap();
        let name = |text: &'static str| Key::Name(text.as_bytes());
        for (text, key, expected) in [
            ("id", name("id"), true),
            ("id", name("id2"), false),
            ("7", name("7"), true),
            ("7", Key::Number(7), true),
            ("-7", Key::Number(-7), true),
            ("07", Key::Number(7), false),
            ("*", Key::Number(7), true),
            ("7*", Key::Number(7), false),
            ("*", name(""), true),
            ("a*b", name("ab"), true),
            ("a*b", name("axb"), true),
            ("aa*aa", name("aaa"), false),
            ("~2", name("*"), true),
            ("~2", name("x"), false),
            ("id", name("\0App\\User\0id"), true),
            ("id", name("\0*\0id"), true),
            ("id", name("\0id"), false),
            ("id", name("@id"), true),
            ("@id", name("@id"), true),
            ("@id", name("id"), false),
        ] {
            assert_eq!(step(text).matches(key), expected, "{text}");
        }
    }
}
