//! Inline commands: a line of words, as one types it into `telnet`.

use super::arguments::Span;

/// A quote that is not closed, or is followed by something else than a blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Splits a line into words as Redis does (`sdssplitargs`): blanks separate, quotes hold together, and within double
/// quotes `\n`, `\r`, `\t`, `\b`, `\a` and `\xff` mean a byte. The words' bytes go to `bytes`.
pub(super) fn split(line: &[u8], bytes: &mut Vec<u8>, spans: &mut Vec<Span>) -> Result<(), Unbalanced> {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        // Redis counts the vertical tab among blanks, but only here: within a word it is a byte as others.
        while let [0x0b, behind @ ..] = rest {
            rest = behind.trim_ascii_start();
        }
        if rest.is_empty() {
            return Ok(());
        }
        let start = bytes.len();
        rest = word(rest, bytes)?;
        spans.push(Span { start, end: bytes.len() });
    }
}

/// Takes one word; what follows it.
fn word<'l>(mut rest: &'l [u8], bytes: &mut Vec<u8>) -> Result<&'l [u8], Unbalanced> {
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok(rest),
            [b'"', quoted @ ..] => return closed(double_quoted(quoted, bytes)?),
            [b'\'', quoted @ ..] => return closed(single_quoted(quoted, bytes)?),
            [byte, behind @ ..] => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
}

/// A closing quote ends the word: what follows must be a blank.
fn closed(rest: &[u8]) -> Result<&[u8], Unbalanced> {
    match rest {
        [] | [b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c, ..] => Ok(rest),
        _ => Err(Unbalanced),
    }
}

fn double_quoted<'l>(mut rest: &'l [u8], bytes: &mut Vec<u8>) -> Result<&'l [u8], Unbalanced> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    loop {
        let (byte, behind) = match rest {
            [] => return Err(Unbalanced),
            [b'"', behind @ ..] => return Ok(behind),
            [b'\\', b'x', high, low, behind @ ..] if let (Some(high), Some(low)) = (digit(*high), digit(*low)) => {
                (high * 16 + low, behind)
            }
            [b'\\', escaped, behind @ ..] => (unescaped(*escaped), behind),
            [byte, behind @ ..] => (*byte, behind),
        };
        bytes.push(byte);
        rest = behind;
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn single_quoted<'l>(mut rest: &'l [u8], bytes: &mut Vec<u8>) -> Result<&'l [u8], Unbalanced> {
    loop {
        let (byte, behind) = match rest {
            [] => return Err(Unbalanced),
            [b'\\', b'\'', behind @ ..] => (b'\'', behind),
            [b'\'', behind @ ..] => return Ok(behind),
            [byte, behind @ ..] => (*byte, behind),
        };
        bytes.push(byte);
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<Vec<u8>>, Unbalanced> {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        split(line.as_bytes(), &mut bytes, &mut spans)?;
        Ok(spans.iter().map(|span| bytes[span.start..span.end].to_vec()).collect())
    }

    #[test]
    fn a_line_is_split_as_redis_splits_it() {
        for (line, expected) in [
            ("", vec![]),
            (" \t ", vec![]),
            ("PING", vec!["PING"]),
            ("  set  a\tb \x0b c\x0bd", vec!["set", "a", "b", "c\x0bd"]),
            (r#"set a "x y" 'p q'"#, vec!["set", "a", "x y", "p q"]),
            (r#"a"b c" "" ''"#, vec!["ab c", "", ""]),
            (r#""\x41\n\q\"" '\n\'' "\xg1""#, vec!["A\nq\"", "\\n'", "xg1"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|word| word.as_bytes().to_vec()).collect();
            assert_eq!(words(line), Ok(expected), "{line}");
        }
        for line in [r#""a"#, "'a", r#""a"b"#, "'a'b", r#"""""#, r#""\"#, r"'\'"] {
            assert_eq!(words(line), Err(Unbalanced), "{line}");
        }
    }
}
