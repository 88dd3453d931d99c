//! Ruby's Marshal, version 4.8.
//!
//! Nothing is built: objects and structs are maps of their variables, what they write of themselves (`_dump`) is
//! passed over, and what they are made from (`marshal_dump`) stands for them.

use super::token::{Cursor, MAX_DEPTH, MAX_KEPT, Read, Scalar, Shape, Token, Tokens, Unreadable, number, push};

/// What is still to come of something that was begun.
#[derive(Clone, Copy)]
enum Frame {
    /// So many keys and values of a container; then it closes.
    Items(u64),
    /// The variables of the value before, which has come.
    Variables,
    /// The default of the hash before, which has closed.
    Default,
    /// An object that gets its number only now.
    Number,
    /// So many values that are passed over.
    Silent(u64),
}

/// A reader of Marshal.
pub(super) struct Marshal<'a> {
    rest: Cursor<'a>,
    started: bool,
    frames: Vec<Frame>,
    /// How many of the frames are silent: within one nothing is told.
    silent: usize,
    /// The symbols so far; later ones may refer to them.
    symbols: Vec<&'a [u8]>,
    /// The objects so far; containers stand there as opaque.
    objects: Vec<Scalar<'a>>,
}

impl<'a> Marshal<'a> {
    /// Reads these bytes, which begin with the version.
    pub(super) fn new(bytes: &'a [u8]) -> Read<Self> {
        let mut rest = Cursor(bytes);
        rest.pass(&[4, 8])?;
        Ok(Self {
            rest,
            started: false,
            frames: Vec::with_capacity(8),
            silent: 0,
            symbols: Vec::with_capacity(16),
            objects: Vec::with_capacity(32),
        })
    }

    /// A number in the short form, which lengths have too.
    fn fixnum(&mut self) -> Read<i64> {
        let first = i8::from_le_bytes(self.rest.array()?);
        Ok(match first {
            0 => 0,
            5.. => i64::from(first) - 5,
            ..=-5 => i64::from(first) + 5,
            _ => {
                let bytes = self.rest.take(first.unsigned_abs().into())?;
                let mut padded = [if first < 0 { 0xff } else { 0 }; 8];
                padded[..bytes.len()].copy_from_slice(bytes);
                i64::from_le_bytes(padded)
            }
        })
    }

    fn count(&mut self) -> Read<u64> {
        u64::try_from(self.fixnum()?).map_err(|_| Unreadable)
    }

    fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.count()?;
        self.rest.take(length)
    }

    fn frame(&mut self, frame: Frame) -> Read<()> {
        // A container has at most two more frames beside its own.
        push(&mut self.frames, frame, 3 * MAX_DEPTH)
    }

    /// Gives the next number to an object. What is beyond the bound is not kept; a link to it tells nothing.
    fn object(&mut self, scalar: Scalar<'a>) -> Scalar<'a> {
        if self.objects.len() < MAX_KEPT {
            self.objects.push(scalar);
        }
        scalar
    }

    fn open(&mut self, shape: Shape, items: u64) -> Read<Token<'a>> {
        self.object(Scalar::Opaque);
        self.frame(Frame::Items(items))?;
        Ok(Token::Open(shape))
    }

    fn new_symbol(&mut self) -> Read<&'a [u8]> {
        let symbol = self.bytes()?;
        push(&mut self.symbols, symbol, MAX_KEPT)?;
        Ok(symbol)
    }

    fn old_symbol(&mut self) -> Read<&'a [u8]> {
        let at = usize::try_from(self.count()?).map_err(|_| Unreadable)?;
        self.symbols.get(at).copied().ok_or(Unreadable)
    }

    /// A symbol, where nothing else can be: the name of a class or of a variable.
    fn symbol(&mut self) -> Read<&'a [u8]> {
        match self.rest.byte()? {
            b':' => self.new_symbol(),
            b';' => self.old_symbol(),
            b'I' => {
                self.rest.pass(b":")?;
                let symbol = self.new_symbol()?;
                for _ in 0..self.count()? {
                    self.encoding()?;
                }
                Ok(symbol)
            }
            _ => Err(Unreadable),
        }
    }

    /// The encoding of a symbol: a variable that is true, false or the name of an encoding.
    fn encoding(&mut self) -> Read<()> {
        match self.rest.byte()? {
            b':' => self.new_symbol(),
            b';' => self.old_symbol(),
            _ => Err(Unreadable),
        }?;
        match self.rest.byte()? {
            b'T' | b'F' => Ok(()),
            b'"' => {
                let name = self.bytes()?;
                self.object(Scalar::Text(name));
                Ok(())
            }
            b'@' => self.count().map(drop),
            _ => Err(Unreadable),
        }
    }

    /// A number beyond the short form: its sign, and how many pairs of bytes it has.
    fn bignum(&mut self) -> Read<Scalar<'a>> {
        let negative = match self.rest.byte()? {
            b'+' => false,
            b'-' => true,
            _ => return Err(Unreadable),
        };
        let pairs = self.count()?;
        let bytes = self.rest.take(pairs.saturating_mul(2))?;
        let mut padded = [0; 16];
        // Of sixteen bytes, the sign needs its bit.
        let Some(place) = padded[..14].get_mut(..bytes.len()) else { return Ok(Scalar::Opaque) };
        place.copy_from_slice(bytes);
        let value = i128::from_le_bytes(padded);
        Ok(Scalar::Integer(if negative { -value } else { value }))
    }

    /// A value, of which a container has only begun. What stands before it says nothing by itself.
    fn value(&mut self) -> Read<Token<'a>> {
        let mut has_variables = false;
        loop {
            let scalar = match self.rest.byte()? {
                b'I' if !has_variables => {
                    has_variables = true;
                    self.frame(Frame::Variables)?;
                    continue;
                }
                // A module that extends it, or a class derived from a plain one.
                b'e' | b'C' => {
                    self.symbol()?;
                    continue;
                }
                // Made from another value, which follows.
                b'U' => {
                    self.symbol()?;
                    self.object(Scalar::Opaque);
                    has_variables = false;
                    continue;
                }
                b'0' | b'F' => Scalar::Nothing,
                b'T' => Scalar::Opaque,
                b'i' => Scalar::Integer(self.fixnum()?.into()),
                b'l' => {
                    let value = self.bignum()?;
                    self.object(value)
                }
                b'f' => {
                    let value = number(self.bytes()?).map_or(Scalar::Opaque, Scalar::Real);
                    self.object(value)
                }
                b'"' => {
                    let text = self.bytes()?;
                    self.object(Scalar::Text(text))
                }
                b':' => Scalar::Text(self.new_symbol()?),
                b';' => Scalar::Text(self.old_symbol()?),
                b'@' => {
                    let at = usize::try_from(self.count()?).map_err(|_| Unreadable)?;
                    self.objects.get(at).copied().unwrap_or(Scalar::Opaque)
                }
                // A class or a module; a regular expression has a byte of options.
                kind @ (b'c' | b'm' | b'M' | b'/') => {
                    self.bytes()?;
                    if kind == b'/' {
                        self.rest.byte()?;
                    }
                    self.object(Scalar::Opaque)
                }
                b'u' => {
                    self.symbol()?;
                    self.bytes()?;
                    // It gets its number after its variables have theirs.
                    if has_variables {
                        self.frames.pop();
                        self.frame(Frame::Number)?;
                        self.frame(Frame::Variables)?;
                    } else {
                        self.object(Scalar::Opaque);
                    }
                    Scalar::Opaque
                }
                b'[' => {
                    let items = self.count()?;
                    return self.open(Shape::List, items);
                }
                kind @ (b'{' | b'}') => {
                    let pairs = self.count()?;
                    if kind == b'}' {
                        self.frame(Frame::Default)?;
                    }
                    return self.open(Shape::Map, 2 * pairs);
                }
                // An object or a struct: its class, and its variables by name.
                b'o' | b'S' => {
                    self.symbol()?;
                    let variables = self.count()?;
                    return self.open(Shape::Map, 2 * variables);
                }
                _ => return Err(Unreadable),
            };
            return Ok(Token::Scalar(scalar));
        }
    }

    /// One step; `None` if there is nothing to tell of it.
    fn step(&mut self) -> Read<Option<Token<'a>>> {
        match self.frames.last_mut() {
            None if self.started => return Err(Unreadable),
            None => self.started = true,
            Some(Frame::Items(0)) => {
                self.frames.pop();
                return Ok(Some(Token::Close).filter(|_| self.silent == 0));
            }
            Some(Frame::Silent(0)) => {
                self.frames.pop();
                self.silent -= 1;
                return Ok(None);
            }
            Some(Frame::Items(left) | Frame::Silent(left)) => *left -= 1,
            Some(frame @ Frame::Default) => {
                *frame = Frame::Silent(1);
                self.silent += 1;
                return Ok(None);
            }
            Some(Frame::Variables) => {
                let variables = self.count()?;
                self.frames.pop();
                self.frame(Frame::Silent(2 * variables))?;
                self.silent += 1;
                return Ok(None);
            }
            Some(Frame::Number) => {
                self.frames.pop();
                self.object(Scalar::Opaque);
                return Ok(None);
            }
        }
        let token = self.value()?;
        Ok(Some(token).filter(|_| self.silent == 0))
    }
}

impl<'a> Tokens<'a> for Marshal<'a> {
    fn next(&mut self) -> Read<Token<'a>> {
        loop {
            if let Some(token) = self.step()? {
                return Ok(token);
            }
        }
    }

    fn finish(&mut self) -> Read<()> {
        while !self.frames.is_empty() {
            if self.step()?.is_some() {
                return Err(Unreadable);
            }
        }
        self.rest.finish()
    }
}
