//! The arguments of a request, where they stand.

use std::fmt;

/// Where an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A command's name and its arguments: slices of the read buffer. At least the name is there.
#[derive(Clone, Copy)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Arguments<'a> {
    pub(super) fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none, as can be of a part.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument `index`; 0 is the command's name. Empty if there is none: who asks has checked how many there are.
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    /// The argument `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| &self.bytes[span.start..span.end])
    }

    /// Those from `index` on.
    #[must_use]
    pub fn from(&self, index: usize) -> Self {
        Self { bytes: self.bytes, spans: self.spans.get(index..).unwrap_or_default() }
    }

    /// The first `count`, and the rest.
    pub fn split_at(&self, count: usize) -> (Self, Self) {
        let (first, rest) = self.spans.split_at(count.min(self.spans.len()));
        (Self { bytes: self.bytes, spans: first }, Self { bytes: self.bytes, spans: rest })
    }

    /// Each in turn.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |span| &bytes[span.start..span.end])
    }

    /// The key, if this is a plain `GET`: what most requests are.
    pub fn as_get(&self) -> Option<&'a [u8]> {
        let is_get = self.len() == 2 && self.at(0).eq_ignore_ascii_case(b"get");
        is_get.then(|| self.at(1))
    }

    /// A copy that outlives the read buffer, for a command that waits in a transaction.
    pub fn keep(&self) -> KeptArguments {
        let mut bytes = Vec::with_capacity(self.iter().map(<[u8]>::len).sum());
        let mut span = |argument: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(argument);
            Span { start, end: bytes.len() }
        };
        let spans = self.iter().map(&mut span).collect();
        KeptArguments { bytes: bytes.into(), spans }
    }
}

/// Numbers only: arguments are session data and secrets.
impl fmt::Debug for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(<[u8]>::len)).finish()
    }
}

/// A command's name and its arguments, kept.
#[derive(Clone)]
pub struct KeptArguments {
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
}

impl KeptArguments {
    /// The arguments.
    pub fn get(&self) -> Arguments<'_> {
        Arguments { bytes: &self.bytes, spans: &self.spans }
    }

    /// What it takes of the heap, in bytes.
    pub fn allocated(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.spans)
    }
}

impl fmt::Debug for KeptArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
