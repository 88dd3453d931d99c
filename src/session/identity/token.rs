//! What every format comes down to: values, one after another.

/// The deepest nesting that is read. No session library nests its values anywhere near it; `serde_json` draws the line
/// at the same depth.
pub(super) const MAX_DEPTH: usize = 128;

/// The most values that a format which refers back to earlier ones keeps at a time. One takes at most 56 bytes.
pub(super) const MAX_KEPT: usize = 16_384;

/// Bytes that are not what their format allows, or more of something than the bounds allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// What a reader has to say.
pub(super) type Read<T> = Result<T, Unreadable>;

/// One step through a value. In a map, keys and values take turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A container begins.
    Open(Shape),
    /// The container last begun ends.
    Close,
    /// A value without parts.
    Scalar(Scalar<'a>),
}

/// What a container holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Keys and values.
    Map,
    /// Values, counted from 0.
    List,
}

/// A value without parts. It borrows from the bytes read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Text or bytes, as they stand.
    Text(&'a [u8]),
    /// The inside of a JSON string with escapes in it.
    Escaped(&'a [u8]),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Real(f64),
    /// `null` or `false`: explicitly nothing.
    Nothing,
    /// Something that can be neither a name, an address nor a time.
    Opaque,
}

/// A reader of one format. It never allocates what a length claims, nor nests deeper than [`MAX_DEPTH`].
pub(super) trait Tokens<'a> {
    /// The next step. After the last one of the value it may say anything.
    fn next(&mut self) -> Read<Token<'a>>;

    /// Passes over the rest of the container last begun.
    fn skip(&mut self) -> Read<()> {
        let mut open = 1_usize;
        while open > 0 {
            match self.next()? {
                Token::Open(_) => open += 1,
                Token::Close => open -= 1,
                Token::Scalar(_) => {}
            }
        }
        Ok(())
    }

    /// Checks that the bytes end where the value does.
    fn finish(&mut self) -> Read<()>;
}

/// The bytes still to be read.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next byte.
    pub(super) fn byte(&mut self) -> Read<u8> {
        let (&first, rest) = self.0.split_first().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(first)
    }

    /// The next `length` bytes, whatever `length` claims.
    pub(super) fn take(&mut self, length: u64) -> Read<&'a [u8]> {
        let length = usize::try_from(length).map_err(|_| Unreadable)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (&taken, rest) = self.0.split_first_chunk().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The bytes up to `end`, which is passed over.
    pub(super) fn until(&mut self, end: u8) -> Read<&'a [u8]> {
        let at = self.0.iter().position(|&byte| byte == end).ok_or(Unreadable)?;
        let taken = &self.0[..at];
        self.0 = &self.0[at + 1..];
        Ok(taken)
    }

    /// Passes over `bytes`, which must come next.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Read<()> {
        self.0 = self.0.strip_prefix(bytes).ok_or(Unreadable)?;
        Ok(())
    }

    /// Checks that nothing is left.
    pub(super) fn finish(&self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Unreadable) }
    }
}

/// A number written in ASCII.
pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Read<T> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Unreadable)
}

/// Puts one more element on a list that is bounded by `most`.
pub(super) fn push<T>(list: &mut Vec<T>, element: T, most: usize) -> Read<()> {
    if list.len() >= most {
        return Err(Unreadable);
    }
    list.push(element);
    Ok(())
}
