//! `MessagePack`, by its specification of 2013. Extensions are passed over.

use super::token::{Cursor, MAX_DEPTH, Read, Scalar, Shape, Token, Tokens, Unreadable, push};

/// A reader of `MessagePack`.
pub(super) struct MessagePack<'a> {
    rest: Cursor<'a>,
    /// How many keys and values the open containers still wait for.
    waiting: Vec<u64>,
}

impl<'a> MessagePack<'a> {
    /// Reads these bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: Cursor(bytes), waiting: Vec::new() }
    }

    fn u8(&mut self) -> Read<u64> {
        Ok(self.rest.byte()?.into())
    }

    fn u16(&mut self) -> Read<u64> {
        Ok(u16::from_be_bytes(self.rest.array()?).into())
    }

    fn u32(&mut self) -> Read<u64> {
        Ok(u32::from_be_bytes(self.rest.array()?).into())
    }

    fn text(&mut self, length: u64) -> Read<Scalar<'a>> {
        self.rest.take(length).map(Scalar::Text)
    }

    /// An extension: a byte for its type, and its data.
    fn extension(&mut self, length: u64) -> Read<Scalar<'a>> {
        self.rest.take(length + 1).map(|_| Scalar::Opaque)
    }

    fn open(&mut self, shape: Shape, length: u64) -> Read<Token<'a>> {
        let waiting = if shape == Shape::Map { 2 * length } else { length };
        push(&mut self.waiting, waiting, MAX_DEPTH)?;
        Ok(Token::Open(shape))
    }
}

impl<'a> Tokens<'a> for MessagePack<'a> {
    fn next(&mut self) -> Read<Token<'a>> {
        if let Some(waiting) = self.waiting.last_mut() {
            let Some(less) = waiting.checked_sub(1) else {
                self.waiting.pop();
                return Ok(Token::Close);
            };
            *waiting = less;
        }
        let first = self.rest.byte()?;
        let scalar = match first {
            0x00..=0x7f => Scalar::Integer(first.into()),
            0x80..=0x8f => return self.open(Shape::Map, (first & 0x0f).into()),
            0x90..=0x9f => return self.open(Shape::List, (first & 0x0f).into()),
            0xa0..=0xbf => self.text((first & 0x1f).into())?,
            0xc0 | 0xc2 => Scalar::Nothing,
            0xc1 => return Err(Unreadable),
            0xc3 => Scalar::Opaque,
            0xc4 | 0xd9 => self.u8().and_then(|length| self.text(length))?,
            0xc5 | 0xda => self.u16().and_then(|length| self.text(length))?,
            0xc6 | 0xdb => self.u32().and_then(|length| self.text(length))?,
            0xc7 => self.u8().and_then(|length| self.extension(length))?,
            0xc8 => self.u16().and_then(|length| self.extension(length))?,
            0xc9 => self.u32().and_then(|length| self.extension(length))?,
            0xca => Scalar::Real(f32::from_be_bytes(self.rest.array()?).into()),
            0xcb => Scalar::Real(f64::from_be_bytes(self.rest.array()?)),
            0xcc => Scalar::Integer(self.u8()?.into()),
            0xcd => Scalar::Integer(self.u16()?.into()),
            0xce => Scalar::Integer(self.u32()?.into()),
            0xcf => Scalar::Integer(u64::from_be_bytes(self.rest.array()?).into()),
            0xd0 => Scalar::Integer(i8::from_be_bytes(self.rest.array()?).into()),
            0xd1 => Scalar::Integer(i16::from_be_bytes(self.rest.array()?).into()),
            0xd2 => Scalar::Integer(i32::from_be_bytes(self.rest.array()?).into()),
            0xd3 => Scalar::Integer(i64::from_be_bytes(self.rest.array()?).into()),
            0xd4..=0xd8 => self.extension(1 << (first - 0xd4))?,
            0xdc => return self.u16().and_then(|length| self.open(Shape::List, length)),
            0xdd => return self.u32().and_then(|length| self.open(Shape::List, length)),
            0xde => return self.u16().and_then(|length| self.open(Shape::Map, length)),
            0xdf => return self.u32().and_then(|length| self.open(Shape::Map, length)),
            0xe0..=0xff => Scalar::Integer(i8::from_be_bytes([first]).into()),
        };
        Ok(Token::Scalar(scalar))
    }

    fn finish(&mut self) -> Read<()> {
        self.rest.finish()
    }
}
