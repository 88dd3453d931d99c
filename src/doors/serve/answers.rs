//! Answers of the Redis door that wait for each other, so that they are sent one right behind the other.
//!
//! A client that talks over several connections sleeps when there is nothing to read, and whoever sends to a client that
//! sleeps pays for waking it. So small answers that memory gives wait until the other connections that are ready have been
//! answered, too: the client wakes once, and finds the rest when it is done with the first.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Answers that may wait at the same time: more would push each other out of the processor's cache.
const WAITING: usize = 64;
/// An answer of more bytes does not wait.
const LARGEST: usize = 16 * 1024;
/// Room of all buffers that are kept, and of one of them: several times what a connection sends at once.
const KEPT_BYTES: (usize, usize) = (2 * 1024 * 1024, 256 * 1024);

/// The buffers that the answers of one event loop take turns at, and how many of them wait.
#[derive(Debug, Default)]
pub struct Answers {
    /// The last one used comes first: it is still in the processor's cache.
    unused: RefCell<Vec<Vec<u8>>>,
    /// The room of the unused.
    kept: Cell<usize>,
    waiting: Cell<usize>,
}

/// An answer that waits until this is dropped.
#[derive(Debug)]
pub struct Waiting(Rc<Answers>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

impl Answers {
    /// An empty buffer.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        let buffer = self.unused.borrow_mut().pop().unwrap_or_default();
        self.kept.set(self.kept.get() - buffer.capacity());
        buffer
    }

    /// Gives a buffer back. It is kept if there is room for it.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        let ((all, one), kept) = (KEPT_BYTES, self.kept.get() + buffer.capacity());
        if (1..=one).contains(&buffer.capacity()) && kept <= all {
            buffer.clear();
            self.unused.borrow_mut().push(buffer);
            self.kept.set(kept);
        }
    }

    /// A place to wait for an answer of so many bytes, if it is to wait.
    #[must_use]
    pub fn wait(self: &Rc<Self>, bytes: usize) -> Option<Waiting> {
        let waits = (1..=LARGEST).contains(&bytes) && self.waiting.get() < WAITING;
        waits.then(|| {
            self.waiting.set(self.waiting.get() + 1);
            Waiting(Rc::clone(self))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_and_no_more_and_none_that_is_empty_or_large() {
        let answers = Rc::new(Answers::default());
        assert!(answers.wait(0).is_none() && answers.wait(LARGEST + 1).is_none());
        let mut waiting: Vec<_> = (0..WAITING).map(|_| answers.wait(LARGEST).unwrap()).collect();
        assert!(answers.wait(1).is_none());
        waiting.pop();
        waiting.push(answers.wait(1).unwrap());
        assert!(answers.wait(1).is_none());
        waiting.clear();
        assert_eq!(answers.waiting.get(), 0);
    }

    #[test]
    fn buffers_come_back_empty_and_their_room_is_bounded() {
        let (answers, (all, one)) = (Answers::default(), KEPT_BYTES);
        answers.give_back(b"an answer".to_vec());
        answers.give_back(Vec::with_capacity(one + 1));
        answers.give_back(Vec::new());
        let buffer = answers.buffer();
        assert!(buffer.is_empty() && (9..one).contains(&buffer.capacity()));
        assert_eq!((answers.buffer().capacity(), answers.kept.get()), (0, 0));
        (0..2 * all / one).for_each(|_| answers.give_back(Vec::with_capacity(one)));
        assert_eq!((answers.unused.borrow().len(), answers.kept.get()), (all / one, all));
        drop(answers.buffer());
        assert_eq!(answers.kept.get(), all - one);
    }
}
