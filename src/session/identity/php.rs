//! What PHP writes: `serialize()`, and the three formats of `session.serialize_handler`.

use super::token::{Cursor, MAX_DEPTH, Read, Scalar, Shape, Token, Tokens, Unreadable, number, push};

/// How the variables of a session stand one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One serialized value: `php_serialize`, and what a cache keeps.
    Value,
    /// `name|value name|value …`: handler `php`, the default.
    Names,
    /// A byte for the length of the name, the name, the value: handler `php_binary`.
    Binary,
}

/// Where a session of several variables is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Begin,
    Name,
    Value,
    End,
}

/// A reader of serialized PHP values.
pub(super) struct Php<'a> {
    rest: Cursor<'a>,
    layout: Layout,
    place: Place,
    /// How many keys and values the open arrays and objects still wait for.
    waiting: Vec<u64>,
}

impl<'a> Php<'a> {
    /// Reads these bytes.
    pub(super) fn new(bytes: &'a [u8], layout: Layout) -> Self {
        Self { rest: Cursor(bytes), layout, place: Place::Begin, waiting: Vec::new() }
    }

    /// The next step outside of every array and object; `None`: a value comes.
    fn outermost(&mut self) -> Read<Option<Token<'a>>> {
        let (place, token) = match (self.place, self.layout) {
            (Place::Begin, Layout::Value) => (Place::End, None),
            (Place::Begin, _) => (Place::Name, Some(Token::Open(Shape::Map))),
            (Place::Name, layout) => match self.name(layout)? {
                Some(name) => (Place::Value, Some(Token::Scalar(Scalar::Text(name)))),
                None => (Place::End, Some(Token::Close)),
            },
            (Place::Value, _) => (Place::Name, None),
            (Place::End, _) => return Err(Unreadable),
        };
        self.place = place;
        Ok(token)
    }

    /// The name of the next variable that has a value; `None` at the end.
    fn name(&mut self, layout: Layout) -> Read<Option<&'a [u8]>> {
        while !self.rest.0.is_empty() {
            let (name, undefined) = if layout == Layout::Binary {
                let length = self.rest.byte()?;
                (self.rest.take((length & 0x7f).into())?, length & 0x80 != 0)
            } else {
                let name = self.rest.until(b'|')?;
                (name, name.starts_with(b"!"))
            };
            // With a quote in it, this is what is left of a serialized text that was cut short.
            if name.contains(&b'"') {
                return Err(Unreadable);
            }
            if !undefined {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn digits<T: std::str::FromStr>(&mut self, end: u8) -> Read<T> {
        number(self.rest.until(end)?)
    }

    /// `<length>:"…"`.
    fn quoted(&mut self) -> Read<&'a [u8]> {
        let length = self.digits(b':')?;
        self.rest.pass(b"\"")?;
        let text = self.rest.take(length)?;
        self.rest.pass(b"\"")?;
        Ok(text)
    }

    /// `<length>:"…"` with the bytes beyond ASCII as `\xx`, of which the length counts one each.
    fn escaped(&mut self) -> Read<()> {
        let length: u64 = self.digits(b':')?;
        self.rest.pass(b"\"")?;
        for _ in 0..length {
            if self.rest.byte()? == b'\\' {
                self.rest.take(2)?;
            }
        }
        self.rest.pass(b"\"")
    }

    /// `<count>:{`, and what closes it is seen to by `next`.
    fn open(&mut self) -> Read<Token<'a>> {
        let pairs: u32 = self.digits(b':')?;
        self.rest.pass(b"{")?;
        push(&mut self.waiting, 2 * u64::from(pairs), MAX_DEPTH)?;
        Ok(Token::Open(Shape::Map))
    }

    fn value(&mut self) -> Read<Token<'a>> {
        let kind = self.rest.byte()?;
        if kind == b'N' {
            self.rest.pass(b";")?;
            return Ok(Token::Scalar(Scalar::Nothing));
        }
        self.rest.pass(b":")?;
        let scalar = match kind {
            b'b' => match self.rest.until(b';')? {
                b"0" => Scalar::Nothing,
                b"1" => Scalar::Opaque,
                _ => return Err(Unreadable),
            },
            b'i' => Scalar::Integer(self.digits(b';')?),
            b'd' => Scalar::Real(self.digits(b';')?),
            b's' => {
                let text = self.quoted()?;
                self.rest.pass(b";")?;
                Scalar::Text(text)
            }
            b'S' => {
                self.escaped()?;
                self.rest.pass(b";")?;
                Scalar::Opaque
            }
            // References to earlier values: nobody's name is only that.
            b'r' | b'R' => {
                self.digits::<u32>(b';')?;
                Scalar::Opaque
            }
            b'E' => {
                self.quoted()?;
                self.rest.pass(b";")?;
                Scalar::Opaque
            }
            b'a' => return self.open(),
            b'O' => {
                self.quoted()?;
                self.rest.pass(b":")?;
                return self.open();
            }
            b'C' => {
                self.quoted()?;
                self.rest.pass(b":")?;
                let length = self.digits(b':')?;
                self.rest.pass(b"{")?;
                self.rest.take(length)?;
                self.rest.pass(b"}")?;
                Scalar::Opaque
            }
            _ => return Err(Unreadable),
        };
        Ok(Token::Scalar(scalar))
    }
}

impl<'a> Tokens<'a> for Php<'a> {
    fn next(&mut self) -> Read<Token<'a>> {
        match self.waiting.last_mut() {
            Some(0) => {
                self.rest.pass(b"}")?;
                self.waiting.pop();
                return Ok(Token::Close);
            }
            Some(waiting) => *waiting -= 1,
            None => {
                if let Some(token) = self.outermost()? {
                    return Ok(token);
                }
            }
        }
        self.value()
    }

    fn finish(&mut self) -> Read<()> {
        self.rest.finish()
    }
}
