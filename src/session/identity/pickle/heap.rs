//! What a pickle leaves behind: containers, and which item is in which.

use super::super::token::{MAX_DEPTH, MAX_KEPT, Read, Scalar, Shape, Token, Tokens, Unreadable, push};

/// A value, on the stack or in a container.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    Text(&'a [u8]),
    Integer(i64),
    Real(f64),
    Nothing,
    Opaque,
    /// A container, by its place in the heap.
    Node(u32),
}

/// No entry.
const END: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    shape: Shape,
    first: u32,
    last: u32,
}

/// An entry of a container. The ones of a container are linked, since they come between those of others.
#[derive(Clone, Copy)]
struct Entry<'a> {
    key: Item<'a>,
    value: Item<'a>,
    /// Always a later entry, so that the links cannot go round.
    next: u32,
}

/// Every container that there is. Containers may hold one another in any way, even themselves.
#[derive(Default)]
pub(super) struct Heap<'a> {
    nodes: Vec<Node>,
    entries: Vec<Entry<'a>>,
}

/// The place that the next element of a list gets.
fn place<T>(list: &[T]) -> Read<u32> {
    u32::try_from(list.len()).map_err(|_| Unreadable)
}

impl<'a> Heap<'a> {
    /// A new container.
    pub(super) fn node(&mut self, shape: Shape) -> Read<u32> {
        let at = place(&self.nodes)?;
        push(&mut self.nodes, Node { shape, first: END, last: END }, MAX_KEPT)?;
        Ok(at)
    }

    /// Adds to a container. An empty one takes the shape of what it gets first; what has another shape then is dropped.
    pub(super) fn append(&mut self, node: u32, shape: Shape, key: Item<'a>, value: Item<'a>) -> Read<()> {
        let at = place(&self.entries)?;
        let node = self.nodes.get_mut(node as usize).ok_or(Unreadable)?;
        if node.first == END {
            node.shape = shape;
            node.first = at;
        } else if node.shape != shape {
            return Ok(());
        }
        if let Some(last) = self.entries.get_mut(node.last as usize) {
            last.next = at;
        }
        node.last = at;
        push(&mut self.entries, Entry { key, value, next: END }, MAX_KEPT)
    }

    /// Gives an object without items the entries of its state.
    pub(super) fn adopt(&mut self, object: u32, state: u32) {
        let state = self.nodes.get(state as usize).copied();
        if let (Some(object), Some(state)) = (self.nodes.get_mut(object as usize), state)
            && object.first == END
        {
            *object = state;
        }
    }
}

/// A value with all that is in it, read step by step.
pub(crate) struct Tree<'a> {
    heap: Heap<'a>,
    root: Option<Item<'a>>,
    open: Vec<Position>,
}

#[derive(Clone, Copy)]
struct Position {
    shape: Shape,
    entry: u32,
    /// The key was told, the value is to follow.
    value_due: bool,
}

impl<'a> Tree<'a> {
    pub(super) fn new(heap: Heap<'a>, root: Item<'a>) -> Self {
        Self { heap, root: Some(root), open: Vec::new() }
    }

    fn tell(&mut self, item: Item<'a>) -> Read<Token<'a>> {
        Ok(Token::Scalar(match item {
            Item::Text(text) => Scalar::Text(text),
            Item::Integer(value) => Scalar::Integer(value.into()),
            Item::Real(value) => Scalar::Real(value),
            Item::Nothing => Scalar::Nothing,
            Item::Opaque => Scalar::Opaque,
            Item::Node(node) => {
                let Node { shape, first, .. } = *self.heap.nodes.get(node as usize).ok_or(Unreadable)?;
                push(&mut self.open, Position { shape, entry: first, value_due: false }, MAX_DEPTH)?;
                return Ok(Token::Open(shape));
            }
        }))
    }
}

impl<'a> Tokens<'a> for Tree<'a> {
    fn next(&mut self) -> Read<Token<'a>> {
        let Some(position) = self.open.last_mut() else {
            let root = self.root.take().ok_or(Unreadable)?;
            return self.tell(root);
        };
        let Some(entry) = self.heap.entries.get(position.entry as usize).copied() else {
            self.open.pop();
            return Ok(Token::Close);
        };
        if position.shape == Shape::Map && !position.value_due {
            position.value_due = true;
            return self.tell(entry.key);
        }
        position.value_due = false;
        position.entry = entry.next;
        self.tell(entry.value)
    }

    /// At once: containers that hold one another many times over would take for ever.
    fn skip(&mut self) -> Read<()> {
        self.open.pop();
        Ok(())
    }

    fn finish(&mut self) -> Read<()> {
        Ok(())
    }
}
