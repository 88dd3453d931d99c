//! Answers of the Redis door that wait for each other, so that they are sent one right behind the other.
//!
//! A client that talks over several connections sleeps when there is nothing to read, and whoever sends to a client that
//! sleeps pays for waking it. So small answers that memory gives wait until the other connections that are ready have been
//! answered, too: then one task sends them all, the client wakes once, and finds the rest when it is done with the first.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::event_loop::{Link, Stream};
use super::watch::Alarm;

/// Answers that may wait at the same time: more would push each other out of the processor's cache.
const WAITING: usize = 64;
/// An answer of more bytes does not wait.
const LARGEST: usize = 16 * 1024;
/// Room of all buffers that are kept, and of one of them: several times what a connection sends at once.
const KEPT_BYTES: (usize, usize) = (2 * 1024 * 1024, 256 * 1024);

/// The buffers that the answers of one event loop take turns at, and the connections whose answers wait.
#[derive(Debug, Default)]
pub struct Answers {
    /// The last one used comes first: it is still in the processor's cache.
    unused: RefCell<Vec<Vec<u8>>>,
    /// The room of the unused.
    kept: Cell<usize>,
    waiting: RefCell<Vec<Rc<Waiting>>>,
    /// Wakes the task that sends them.
    sender: RefCell<Option<Waker>>,
}

/// A connection's place to wait, and its answer that does.
#[derive(Debug)]
pub struct Waiting {
    stream: Stream,
    alarm: Alarm,
    /// Empty, if none waits.
    answer: RefCell<Vec<u8>>,
    /// What the client has taken of it. The connection itself has to see to the rest.
    sent: Cell<usize>,
    /// Whether the task that sends will come to it.
    is_listed: Cell<bool>,
}

impl Waiting {
    /// The place of a connection.
    #[must_use]
    pub fn of(link: &Link) -> Rc<Self> {
        Rc::new(Self {
            stream: link.stream.clone(),
            alarm: link.watched.alarm(),
            answer: RefCell::default(),
            sent: Cell::new(0),
            is_listed: Cell::new(false),
        })
    }

    /// The answer that waits, and how many of its bytes have been sent. From now on none waits.
    pub fn take_back(&self) -> (Vec<u8>, usize) {
        (self.answer.take(), self.sent.take())
    }

    fn send(&self, answers: &Answers) {
        self.is_listed.set(false);
        let answer = self.answer.take();
        if answer.is_empty() {
            return;
        }
        // If it fails, it fails again when the connection tries, which knows what to do.
        let sent = self.stream.try_write(&answer).unwrap_or(0);
        if sent == answer.len() {
            answers.give_back(answer);
        } else {
            self.answer.replace(answer);
            self.sent.set(sent);
            self.alarm.ring();
        }
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

    /// Has an answer wait in a place where none does, if it is to wait; else it stays where it is.
    pub fn wait(&self, place: &Rc<Waiting>, answer: &mut Vec<u8>) {
        let mut waiting = self.waiting.borrow_mut();
        if !(1..=LARGEST).contains(&answer.len()) || (waiting.len() >= WAITING && !place.is_listed.get()) {
            return;
        }
        place.answer.replace(std::mem::take(answer));
        if !place.is_listed.replace(true) {
            if waiting.is_empty()
                && let Some(sender) = &*self.sender.borrow()
            {
                sender.wake_by_ref();
            }
            waiting.push(Rc::clone(place));
        }
    }

    /// Sends what waits, again and again: its turn comes after that of all connections that are ready.
    pub(super) async fn send(self: Rc<Self>) {
        poll_fn(|cx| {
            self.sender.replace(Some(cx.waker().clone()));
            for waiting in self.waiting.borrow_mut().drain(..) {
                waiting.send(&self);
            }
            Poll::<()>::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Wake};
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::doors::serve::watch::{Watched, Watches};

    /// A connection, the client's end of it, and how often the connection has been woken.
    struct End {
        waiting: Rc<Waiting>,
        watched: Watched,
        client: UnixStream,
        woken: Arc<Woken>,
    }

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn times(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn end() -> End {
        let (client, stream) = UnixStream::pair().unwrap();
        let watched = Rc::new(Watches::new(Duration::from_secs(1))).add();
        let woken = Arc::new(Woken::default());
        watched.register(&Arc::clone(&woken).into());
        let waiting = Rc::new(Waiting {
            stream: stream.into(),
            alarm: watched.alarm(),
            answer: RefCell::default(),
            sent: Cell::new(0),
            is_listed: Cell::new(false),
        });
        End { waiting, watched, client, woken }
    }

    /// Has the task that sends have its turn; `woken` is told of the next that it asks for.
    fn send(sender: &mut std::pin::Pin<Box<impl Future<Output = ()>>>, woken: &Arc<Woken>) {
        let waker = Arc::clone(woken).into();
        assert!(sender.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }

    #[tokio::test]
    async fn answers_that_wait_are_sent_once_and_in_turn() {
        let answers = Rc::new(Answers::default());
        let (mut ends, woken) = ([end(), end()], Arc::new(Woken::default()));
        let mut sender = Box::pin(Rc::clone(&answers).send());
        send(&mut sender, &woken);
        for round in 1..=3 {
            let mut answer = b"early ".to_vec();
            answers.wait(&ends[1].waiting, &mut answer);
            assert!(answer.is_empty());
            // More has come before its turn.
            let (mut answer, sent) = ends[1].waiting.take_back();
            assert_eq!((&*answer, sent), (&b"early "[..], 0));
            answer.extend_from_slice(b"late");
            answers.wait(&ends[1].waiting, &mut answer);
            answers.wait(&ends[0].waiting, &mut b"other".to_vec());
            // It is to be woken once, by the first that waits.
            assert_eq!((woken.times(), answers.waiting.borrow().len()), (round, 2));
            send(&mut sender, &woken);
            for (end, expected) in ends.iter_mut().zip([&b"other"[..], b"early late"]) {
                let mut received = vec![0; expected.len()];
                end.client.read_exact(&mut received).await.unwrap();
                assert_eq!(received, expected);
                assert_eq!((end.waiting.take_back(), end.woken.times()), ((Vec::new(), 0), 0));
            }
            assert_eq!(answers.waiting.borrow().len(), 0);
        }
    }

    #[tokio::test]
    async fn what_a_client_does_not_take_is_left_to_its_connection() {
        let answers = Rc::new(Answers::default());
        let (mut slow, gone, woken) = (end(), end(), Arc::new(Woken::default()));
        let mut sender = Box::pin(Rc::clone(&answers).send());
        let (mut answer, mut all) = (Vec::new(), Vec::new());
        while slow.woken.times() == 0 {
            let begun = all.len();
            assert!(begun < 64 * 1024 * 1024, "so much is waiting, and its connection has not been told");
            answer.extend((0..=250).cycle().skip(begun % 251).take(LARGEST));
            all.extend_from_slice(&answer);
            answers.wait(&slow.waiting, &mut answer);
            send(&mut sender, &woken);
        }
        let (left, sent) = slow.waiting.take_back();
        assert!(sent < left.len() && left.len() == LARGEST);
        let mut received = vec![0; all.len() - (left.len() - sent)];
        slow.client.read_exact(&mut received).await.unwrap();
        received.extend_from_slice(&left[sent..]);
        assert!(received == all);

        drop(gone.client);
        answers.wait(&gone.waiting, &mut b"too late".to_vec());
        send(&mut sender, &woken);
        assert_eq!((gone.woken.times(), gone.waiting.take_back()), (1, (b"too late".to_vec(), 0)));
        drop((slow.watched, gone.watched));
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more_and_none_that_is_empty_or_large() {
        let (answers, ends) = (Answers::default(), (0..=WAITING).map(|_| end()).collect::<Vec<_>>());
        for bytes in [0, LARGEST + 1] {
            let mut answer = vec![0; bytes];
            answers.wait(&ends[0].waiting, &mut answer);
            assert_eq!((answer.len(), answers.waiting.borrow().len()), (bytes, 0));
        }
        let (last, ends) = ends.split_last().unwrap();
        for end in ends {
            answers.wait(&end.waiting, &mut vec![0; LARGEST]);
        }
        let mut answer = vec![0];
        answers.wait(&last.waiting, &mut answer);
        assert_eq!((answer.len(), answers.waiting.borrow().len()), (1, WAITING));
        // Who has a place keeps it.
        let (mut answer, _) = ends[0].waiting.take_back();
        answers.wait(&ends[0].waiting, &mut answer);
        assert_eq!((answer.len(), answers.waiting.borrow().len()), (0, WAITING));
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
