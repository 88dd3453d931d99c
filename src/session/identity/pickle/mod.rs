//! Python pickles, protocols 0 to 5.
//!
//! A pickle is a program for a machine with a stack and a memo. This one walks the program and keeps only which texts,
//! numbers and containers it puts where. Nothing is imported, called or built: what would be an object is an empty
//! container, which takes the items and the attributes that the program sets.

mod heap;
mod op;

pub(super) use heap::Tree;
use heap::{Heap, Item};

use super::token::{Cursor, MAX_KEPT, Read, Shape, Unreadable, number, push};

/// Walks the program; the tree of what it leaves on its stack.
pub(super) fn load(bytes: &[u8]) -> Read<Tree<'_>> {
    let mut machine = Machine {
        rest: Cursor(bytes),
        stack: Vec::with_capacity(32),
        marks: Vec::new(),
        memo: Vec::with_capacity(32),
        heap: Heap::default(),
    };
    while machine.step()? {}
    machine.rest.finish()?;
    let root = machine.pop()?;
    Ok(Tree::new(machine.heap, root))
}

struct Machine<'a> {
    rest: Cursor<'a>,
    stack: Vec<Item<'a>>,
    /// The heights of the stack at which a mark lies.
    marks: Vec<usize>,
    memo: Vec<Item<'a>>,
    heap: Heap<'a>,
}

impl<'a> Machine<'a> {
    fn u8(&mut self) -> Read<u64> {
        Ok(self.rest.byte()?.into())
    }

    fn u32(&mut self) -> Read<u64> {
        Ok(u32::from_le_bytes(self.rest.array()?).into())
    }

    fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.rest.array()?))
    }

    fn line(&mut self) -> Read<&'a [u8]> {
        self.rest.until(b'\n')
    }

    fn push(&mut self, item: Item<'a>) -> Read<()> {
        push(&mut self.stack, item, MAX_KEPT)
    }

    /// The lowest height that values may be taken from: that of the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Read<Item<'a>> {
        if self.stack.len() <= self.floor() {
            return Err(Unreadable);
        }
        self.stack.pop().ok_or(Unreadable)
    }

    fn top(&self) -> Read<Item<'a>> {
        if self.stack.len() <= self.floor() {
            return Err(Unreadable);
        }
        self.stack.last().copied().ok_or(Unreadable)
    }

    /// Takes the last mark off; its height.
    fn mark(&mut self) -> Read<usize> {
        self.marks.pop().ok_or(Unreadable)
    }

    fn text(&mut self, length: u64) -> Read<()> {
        let text = self.rest.take(length)?;
        self.push(Item::Text(text))
    }

    /// A number of `length` bytes, little-endian, in two's complement; one that no id needs is opaque.
    fn long(&mut self, length: u64) -> Read<()> {
        let bytes = self.rest.take(length)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut padded = [if negative { 0xff } else { 0 }; 8];
        let item = match padded.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Item::Integer(i64::from_le_bytes(padded))
            }
            None => Item::Opaque,
        };
        self.push(item)
    }

    /// A number in ASCII; of protocol 0, where `00` and `01` are booleans.
    fn decimal(&mut self) -> Read<()> {
        let line = self.line()?;
        let item = match line.strip_suffix(b"L").unwrap_or(line) {
            b"00" => Item::Nothing,
            b"01" => Item::Opaque,
            digits => number(digits).map_or(Item::Opaque, Item::Integer),
        };
        self.push(item)
    }

    /// A text of protocol 0; with escapes in it, it is no name we know.
    fn plain(&mut self, text: &'a [u8]) -> Read<()> {
        self.push(if text.contains(&b'\\') { Item::Opaque } else { Item::Text(text) })
    }

    /// A new container, of the items from height `from` on: keys and values, or values.
    fn container(&mut self, shape: Shape, from: usize) -> Read<()> {
        let node = self.heap.node(shape)?;
        self.fill(node, shape, from)?;
        self.push(Item::Node(node))
    }

    /// A new container of the last `count` items.
    fn tuple(&mut self, count: usize) -> Read<()> {
        let from = self.stack.len().checked_sub(count).filter(|&from| from >= self.floor()).ok_or(Unreadable)?;
        self.container(Shape::List, from)
    }

    /// Moves the items from height `from` on into `node`.
    fn fill(&mut self, node: u32, shape: Shape, from: usize) -> Read<()> {
        let items = self.stack.get(from..).ok_or(Unreadable)?;
        match shape {
            Shape::List => {
                for &item in items {
                    self.heap.append(node, shape, Item::Nothing, item)?;
                }
            }
            Shape::Map => {
                let (pairs, odd) = items.as_chunks::<2>();
                if !odd.is_empty() {
                    return Err(Unreadable);
                }
                for &[key, value] in pairs {
                    self.heap.append(node, shape, key, value)?;
                }
            }
        }
        self.stack.truncate(from);
        Ok(())
    }

    /// Moves the items from height `from` on into the container below them.
    fn extend(&mut self, shape: Shape, from: usize) -> Read<()> {
        let below = from.checked_sub(1).filter(|&at| at >= self.floor()).and_then(|at| self.stack.get(at));
        match below.copied() {
            Some(Item::Node(node)) => self.fill(node, shape, from),
            _ => Err(Unreadable),
        }
    }

    /// Takes `count` items off and puts an object there, which may be given items and attributes.
    fn object(&mut self, count: usize) -> Read<()> {
        for _ in 0..count {
            self.pop()?;
        }
        let node = self.heap.node(Shape::List)?;
        self.push(Item::Node(node))
    }

    /// Takes the state off and gives it to the object below.
    fn build(&mut self) -> Read<()> {
        let state = self.pop()?;
        if let (Item::Node(object), Item::Node(state)) = (self.top()?, state) {
            self.heap.adopt(object, state);
        }
        Ok(())
    }

    fn remember(&mut self, at: u64) -> Read<()> {
        let at = usize::try_from(at).ok().filter(|&at| at < MAX_KEPT).ok_or(Unreadable)?;
        let item = self.top()?;
        if at >= self.memo.len() {
            self.memo.resize(at + 1, Item::Opaque);
        }
        self.memo[at] = item;
        Ok(())
    }

    fn recall(&mut self, at: u64) -> Read<()> {
        let item = usize::try_from(at).ok().and_then(|at| self.memo.get(at)).copied().ok_or(Unreadable)?;
        self.push(item)
    }

    /// Takes `count` items off and puts something there that nothing is known of.
    fn opaque(&mut self, count: usize) -> Read<()> {
        for _ in 0..count {
            self.pop()?;
        }
        self.push(Item::Opaque)
    }

    /// One instruction; whether it was not the last.
    #[expect(clippy::too_many_lines, reason = "one arm an instruction")]
    fn step(&mut self) -> Read<bool> {
        match self.rest.byte()? {
            op::STOP => return Ok(false),
            op::PROTO => self.rest.take(1).map(drop)?,
            op::FRAME => self.rest.take(8).map(drop)?,

            op::NONE | op::NEWFALSE => self.push(Item::Nothing)?,
            op::NEWTRUE | op::NEXT_BUFFER => self.opaque(0)?,
            op::INT | op::LONG => self.decimal()?,
            op::LONG1 => self.u8().and_then(|length| self.long(length))?,
            op::LONG4 => self.u32().and_then(|length| self.long(length))?,
            op::BININT => self.long(4)?,
            op::BININT1 => {
                let value = self.rest.byte()?;
                self.push(Item::Integer(value.into()))?;
            }
            op::BININT2 => {
                let value = u16::from_le_bytes(self.rest.array()?);
                self.push(Item::Integer(value.into()))?;
            }
            op::FLOAT => {
                let value = number(self.line()?)?;
                self.push(Item::Real(value))?;
            }
            op::BINFLOAT => {
                let value = f64::from_be_bytes(self.rest.array()?);
                self.push(Item::Real(value))?;
            }

            op::STRING => {
                let line = self.line()?;
                let quoted = |quote: &[u8]| line.strip_prefix(quote)?.strip_suffix(quote);
                self.plain(quoted(b"'").or_else(|| quoted(b"\"")).ok_or(Unreadable)?)?;
            }
            op::UNICODE => {
                let line = self.line()?;
                self.plain(line)?;
            }
            op::SHORT_BINSTRING | op::SHORT_BINBYTES | op::SHORT_BINUNICODE => {
                self.u8().and_then(|length| self.text(length))?;
            }
            op::BINSTRING | op::BINBYTES | op::BINUNICODE => self.u32().and_then(|length| self.text(length))?,
            op::BINBYTES8 | op::BYTEARRAY8 | op::BINUNICODE8 => self.u64().and_then(|length| self.text(length))?,

            op::MARK => {
                let height = self.stack.len();
                push(&mut self.marks, height, MAX_KEPT)?;
            }
            // A mark lies on the stack like a value.
            op::POP if self.marks.last() == Some(&self.stack.len()) => self.mark().map(drop)?,
            op::POP => self.pop().map(drop)?,
            op::POP_MARK => {
                let from = self.mark()?;
                self.stack.truncate(from);
            }
            op::DUP => {
                let item = self.top()?;
                self.push(item)?;
            }

            op::EMPTY_DICT => self.container(Shape::Map, self.stack.len())?,
            op::EMPTY_LIST | op::EMPTY_TUPLE | op::EMPTY_SET => self.container(Shape::List, self.stack.len())?,
            op::DICT => self.mark().and_then(|from| self.container(Shape::Map, from))?,
            op::LIST | op::TUPLE | op::FROZENSET => self.mark().and_then(|from| self.container(Shape::List, from))?,
            op::TUPLE1 => self.tuple(1)?,
            op::TUPLE2 => self.tuple(2)?,
            op::TUPLE3 => self.tuple(3)?,
            op::SETITEM => self.extend(Shape::Map, self.stack.len().saturating_sub(2))?,
            op::APPEND => self.extend(Shape::List, self.stack.len().saturating_sub(1))?,
            op::SETITEMS => self.mark().and_then(|from| self.extend(Shape::Map, from))?,
            op::APPENDS | op::ADDITEMS => self.mark().and_then(|from| self.extend(Shape::List, from))?,

            op::PUT => {
                let at = number(self.line()?)?;
                self.remember(at)?;
            }
            op::BINPUT => self.u8().and_then(|at| self.remember(at))?,
            op::LONG_BINPUT => self.u32().and_then(|at| self.remember(at))?,
            op::MEMOIZE => self.remember(self.memo.len() as u64)?,
            op::GET => {
                let at = number(self.line()?)?;
                self.recall(at)?;
            }
            op::BINGET => self.u8().and_then(|at| self.recall(at))?,
            op::LONG_BINGET => self.u32().and_then(|at| self.recall(at))?,

            op::GLOBAL => {
                self.line()?;
                self.line()?;
                self.opaque(0)?;
            }
            op::STACK_GLOBAL => self.opaque(2)?,
            kind @ (op::INST | op::OBJ) => {
                if kind == op::INST {
                    self.line()?;
                    self.line()?;
                }
                let from = self.mark()?;
                self.stack.truncate(from);
                self.object(0)?;
            }
            op::REDUCE | op::NEWOBJ => self.object(2)?,
            op::NEWOBJ_EX => self.object(3)?,
            op::BUILD => self.build()?,

            op::PERSID => {
                self.line()?;
                self.opaque(0)?;
            }
            op::BINPERSID => self.opaque(1)?,
            op::EXT1 => self.rest.take(1).and_then(|_| self.opaque(0))?,
            op::EXT2 => self.rest.take(2).and_then(|_| self.opaque(0))?,
            op::EXT4 => self.rest.take(4).and_then(|_| self.opaque(0))?,
            op::READONLY_BUFFER => {}
            _ => return Err(Unreadable),
        }
        Ok(true)
    }
}
