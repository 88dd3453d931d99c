//! JSON (RFC 8259).

use super::token::{MAX_DEPTH, Read, Scalar, Shape, Token, Tokens, Unreadable};

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    CommaOrClose,
}

/// A reader of JSON.
///
/// Strings that nobody asks for are passed over: their escapes and their UTF-8 are judged only where they are used.
pub(super) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
    due: Due,
    /// The open containers, the innermost in the lowest bit: 1 for an object. As many bits as [`MAX_DEPTH`].
    objects: u128,
    depth: usize,
}

impl<'a> Json<'a> {
    /// Reads these bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, due: Due::Value, objects: 0, depth: 0 }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no space.
    fn byte(&mut self) -> Read<u8> {
        self.space();
        let byte = *self.bytes.get(self.at).ok_or(Unreadable)?;
        self.at += 1;
        Ok(byte)
    }

    fn open(&mut self, shape: Shape) -> Read<Token<'a>> {
        if self.depth == MAX_DEPTH {
            return Err(Unreadable);
        }
        self.depth += 1;
        let object = shape == Shape::Map;
        self.objects = self.objects << 1 | u128::from(object);
        self.due = if object { Due::KeyOrClose } else { Due::ValueOrClose };
        Ok(Token::Open(shape))
    }

    fn close(&mut self, shape: Shape) -> Read<Token<'a>> {
        if self.depth == 0 || (self.objects & 1 == 1) != (shape == Shape::Map) {
            return Err(Unreadable);
        }
        self.depth -= 1;
        self.objects >>= 1;
        self.due = Due::CommaOrClose;
        Ok(Token::Close)
    }

    /// The string whose opening quote was just read.
    fn string(&mut self) -> Read<Scalar<'a>> {
        let begin = self.at;
        let mut escaped = false;
        loop {
            match *self.bytes.get(self.at).ok_or(Unreadable)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                0..=0x1f => return Err(Unreadable),
                _ => self.at += 1,
            }
        }
        let inside = &self.bytes[begin..self.at];
        self.at += 1;
        Ok(if escaped { Scalar::Escaped(inside) } else { Scalar::Text(inside) })
    }

    fn key(&mut self) -> Read<Token<'a>> {
        let key = self.string()?;
        if self.byte()? != b':' {
            return Err(Unreadable);
        }
        self.due = Due::Value;
        Ok(Token::Scalar(key))
    }

    fn word(&mut self, rest: &[u8], scalar: Scalar<'a>) -> Read<Scalar<'a>> {
        if !self.bytes[self.at..].starts_with(rest) {
            return Err(Unreadable);
        }
        self.at += rest.len();
        Ok(scalar)
    }

    /// The number whose first byte was just read.
    fn number(&mut self) -> Read<Scalar<'a>> {
        let begin = self.at - 1;
        while let Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[begin..self.at]).map_err(|_| Unreadable)?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit() {
            return Err(Unreadable);
        }
        match text.parse() {
            Ok(whole) => Ok(Scalar::Integer(whole)),
            Err(_) => text.parse().map(Scalar::Real).map_err(|_| Unreadable),
        }
    }

    fn value(&mut self, first: u8) -> Read<Token<'a>> {
        let scalar = match first {
            b'{' => return self.open(Shape::Map),
            b'[' => return self.open(Shape::List),
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b'n' => self.word(b"ull", Scalar::Nothing)?,
            b'f' => self.word(b"alse", Scalar::Nothing)?,
            b't' => self.word(b"rue", Scalar::Opaque)?,
            _ => return Err(Unreadable),
        };
        self.due = Due::CommaOrClose;
        Ok(Token::Scalar(scalar))
    }
}

impl<'a> Tokens<'a> for Json<'a> {
    fn next(&mut self) -> Read<Token<'a>> {
        let mut byte = self.byte()?;
        if self.due == Due::CommaOrClose && byte == b',' && self.depth > 0 {
            self.due = if self.objects & 1 == 1 { Due::Key } else { Due::Value };
            byte = self.byte()?;
        }
        match (self.due, byte) {
            (Due::KeyOrClose | Due::CommaOrClose, b'}') => self.close(Shape::Map),
            (Due::ValueOrClose | Due::CommaOrClose, b']') => self.close(Shape::List),
            (Due::Key | Due::KeyOrClose, b'"') => self.key(),
            (Due::Value | Due::ValueOrClose, first) => self.value(first),
            _ => Err(Unreadable),
        }
    }

    fn finish(&mut self) -> Read<()> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(Unreadable) }
    }
}

/// The bytes that the inside of a JSON string stands for: never more than it has itself.
pub(super) fn unescape(inside: &[u8]) -> Read<Vec<u8>> {
    let mut out = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let (&escape, after) = rest[at + 1..].split_first().ok_or(Unreadable)?;
        rest = after;
        let plain = match escape {
            b'"' | b'\\' | b'/' => escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = unicode(&mut rest)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return Err(Unreadable),
        };
        out.push(plain);
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// The character whose `\u` was just read: of two escapes, if it is beyond the basic plane.
fn unicode(rest: &mut &[u8]) -> Read<char> {
    let first = hex(rest)?;
    let code = if (0xd800..0xdc00).contains(&first) {
        *rest = rest.strip_prefix(b"\\u").ok_or(Unreadable)?;
        let second = hex(rest)?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(Unreadable);
        }
        0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00))
    } else {
        first
    };
    char::from_u32(code).ok_or(Unreadable)
}

fn hex(rest: &mut &[u8]) -> Read<u32> {
    let (digits, after) = rest.split_first_chunk::<4>().ok_or(Unreadable)?;
    *rest = after;
    digits.iter().try_fold(0, |code, &digit| Ok(code << 4 | char::from(digit).to_digit(16).ok_or(Unreadable)?))
}
