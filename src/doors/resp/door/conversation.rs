//! One connection: reads requests, sends answers, and keeps its time.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::client::Client;
use super::notices;
use super::together::{RUN, RUN_BYTES};
use super::{RedisDoor, Step, Writer};
use crate::doors::resp::frame::{Frame, KeptArguments, Limits, Parser};
use crate::doors::serve::answers::Waiting;
use crate::doors::serve::event_loop::{Link, close};
use crate::doors::serve::watch::{Phase, Ticks};
use crate::metrics::labels::{Door, RequestOutcome};

/// Once so many bytes of answers have piled up, they are sent before more requests are looked at.
pub(super) const OUTPUT_BYTES: usize = 64 * 1024;
/// Notices that a subscriber may leave unread, in bytes; beyond, its connection is closed.
const UNREAD_BYTES: usize = 1024 * 1024;
/// A connection that waits keeps no more than this of what it has received.
const KEPT_BYTES: usize = 4 * 1024;

/// Reads of a connection, of 64 KiB each, until the others of its event loop have their turn: a millisecond or two.
const ROUNDS: usize = 4;

/// What comes next.
enum Next {
    /// Requests that have to be waited for.
    Later(Vec<KeptArguments>),
    /// It has subscribed: notices are to be listened for.
    Listen,
    /// The last answer is on its way, and must arrive.
    Goodbye,
    /// The client has left, or its time is over.
    Gone,
}

/// Why requests are not looked at any further.
enum Stop {
    /// There is no whole one left.
    NeedsMore,
    /// Answers are to be sent first.
    OutputFull,
    Later(Vec<KeptArguments>),
    Close,
}

/// Requests that were answered.
#[derive(Default)]
pub(super) struct Counts {
    ok: u64,
    refused: u64,
    failed: u64,
}

impl Counts {
    pub(super) fn of(outcome: RequestOutcome) -> Self {
        let mut counts = Self::default();
        counts.add(outcome);
        counts
    }

    #[inline]
    pub(super) fn add(&mut self, outcome: RequestOutcome) {
        match outcome {
            RequestOutcome::Ok => self.ok += 1,
            RequestOutcome::Refused => self.refused += 1,
            RequestOutcome::Failed => self.failed += 1,
        }
    }
}

/// A connection.
pub(super) struct Conversation<'d> {
    door: &'d RedisDoor,
    link: Link,
    client: Client,
    parser: Parser,
    /// Received, and not used up: from `start` on.
    held: Vec<u8>,
    start: usize,
    /// Whether there may be a whole request in `held`.
    is_fresh: bool,
    /// Answers on their way, from `sent` on, in a buffer that the event loop gets back.
    unsent: Vec<u8>,
    sent: usize,
    /// Where they wait instead, until the others that are ready have been answered.
    waiting: Rc<Waiting>,
    /// Bytes of notices that have been added to `unsent` since it was empty.
    unread: usize,
    /// Whether a request has come to its end since the phase was last entered.
    has_advanced: bool,
    /// Nothing more is to be read.
    is_closing: bool,
}

impl<'d> Conversation<'d> {
    pub(super) fn new(door: &'d RedisDoor, link: Link) -> Self {
        let (client, waiting) = (door.client(), Waiting::of(&link));
        let parser = Parser::new(Limits::default(), client.authenticated);
        Self {
            door,
            link,
            client,
            parser,
            held: Vec::new(),
            start: 0,
            is_fresh: false,
            unsent: Vec::new(),
            sent: 0,
            waiting,
            unread: 0,
            has_advanced: false,
            is_closing: false,
        }
    }

    /// How long it may wait for a request. Who has not said yet who it is comes to the point.
    fn idle_limit(&self) -> Ticks {
        let limits = &self.link.shared.limits;
        match self.client.authenticated {
            _ if self.link.watched.is_draining() => limits.linger,
            true => limits.idle,
            false => limits.head_read,
        }
    }

    /// Talks until either side has enough.
    pub(super) async fn run(mut self) {
        self.link.watched.enter(Phase::Idle, Some(self.idle_limit()));
        loop {
            match self.next().await {
                Next::Later(requests) => {
                    self.link.watched.enter(Phase::Busy, None);
                    let counts = self.door.answer_later(&mut self.client, &requests, &mut self.unsent).await;
                    self.count(&counts);
                }
                Next::Listen => {}
                Next::Gone => return,
                Next::Goodbye => break,
            }
        }
        close(&mut self.link).await;
    }

    /// Answers what it can, tells of ends meanwhile, and says what comes next.
    async fn next(&mut self) -> Next {
        loop {
            let subscriptions = self.client.more.as_mut().and_then(|more| more.subscriptions.as_mut());
            let Some(mut ends) = subscriptions.and_then(|subscriptions| subscriptions.ends.take()) else {
                return poll_fn(|cx| self.poll(cx)).await;
            };
            let (next, end) = tokio::select! {
                biased;
                next = poll_fn(|cx| self.poll(cx)) => (Some(next), None),
                end = notices::next(&mut ends) => (None, end),
            };
            let protocol = self.client.protocol;
            if let Some(subscriptions) = self.client.more.as_mut().and_then(|more| more.subscriptions.as_mut()) {
                subscriptions.ends = Some(ends);
                if let Some(end) = end {
                    let before = self.unsent.len();
                    subscriptions.tell(&end, &mut self.unsent, protocol);
                    self.unread += self.unsent.len() - before;
                }
            }
            if self.unread > UNREAD_BYTES {
                return Next::Gone;
            }
            if let Some(next) = next {
                return next;
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.link.watched.register(cx.waker());
        let polled = self.poll_work(cx);
        let subscriptions = self.client.more.as_ref().and_then(|more| more.subscriptions.as_ref());
        // Those that are listened to have been taken.
        if polled.is_pending() && subscriptions.is_some_and(|subscriptions| subscriptions.ends.is_some()) {
            return Poll::Ready(Next::Listen);
        }
        // Asked last: whatever has come in the meantime is answered and begins a new phase.
        if polled.is_pending() && self.link.watched.is_due() { Poll::Ready(Next::Gone) } else { polled }
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.take_back();
        for _ in 0..ROUNDS {
            if self.sent < self.unsent.len() && !ready!(self.poll_send_unsent(cx)) {
                return Poll::Ready(Next::Gone);
            }
            if self.is_closing {
                return Poll::Ready(Next::Goodbye);
            }
            let stop = if self.is_fresh {
                self.work_on_held()
            } else {
                match ready!(self.poll_read(cx)) {
                    Some(stop) => stop,
                    // Who says no more may still listen.
                    None if self.take_back() => continue,
                    None => return Poll::Ready(Next::Gone),
                }
            };
            match stop {
                Stop::NeedsMore => {
                    self.is_fresh = false;
                    self.link.shared.answers.wait(&self.waiting, &mut self.unsent);
                }
                Stop::OutputFull => self.is_fresh = true,
                Stop::Close => self.is_closing = true,
                Stop::Later(requests) => {
                    self.is_fresh = true;
                    // What is answered already need not wait; if the client does not take it now, it comes later.
                    if self.sent < self.unsent.len() && self.poll_send_unsent(cx) == Poll::Ready(false) {
                        return Poll::Ready(Next::Gone);
                    }
                    return Poll::Ready(Next::Later(requests));
                }
            }
            self.enter_phase();
        }
        // Its next turn comes after that of all who are ready now.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads what has come, and answers it. `None`: the client is gone.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stop>> {
        let shared = Rc::clone(&self.link.shared);
        let mut input = shared.input.borrow_mut();
        let Ok(count @ 1..) = ready!(self.link.stream.poll_read(cx, &mut input)) else { return Poll::Ready(None) };
        if self.start < self.held.len() {
            self.held.extend_from_slice(&input[..count]);
            return Poll::Ready(Some(self.work_on_held()));
        }
        let (used, stop) = self.work(&input[..count]);
        self.held.clear();
        self.start = 0;
        self.held.extend_from_slice(&input[used..count]);
        Poll::Ready(Some(stop))
    }

    fn work_on_held(&mut self) -> Stop {
        let held = std::mem::take(&mut self.held);
        let (used, stop) = self.work(&held[self.start..]);
        self.held = held;
        self.start += used;
        if self.start == self.held.len() {
            self.start = 0;
            self.held.clear();
            self.held.shrink_to(KEPT_BYTES);
        } else if self.start > OUTPUT_BYTES {
            self.held.drain(..self.start);
            self.start = 0;
        }
        stop
    }

    /// Takes an answer that waits back, in front of what is unsent: whether there is one.
    fn take_back(&mut self) -> bool {
        let (mut answer, sent) = self.waiting.take_back();
        if answer.is_empty() {
            return false;
        }
        answer.append(&mut self.unsent);
        (self.unsent, self.sent) = (answer, sent);
        true
    }

    /// Answers request after request: how many bytes that were, and why no more.
    fn work(&mut self, bytes: &[u8]) -> (usize, Stop) {
        self.take_back();
        let mut out = std::mem::take(&mut self.unsent);
        if out.capacity() == 0 {
            out = self.link.shared.answers.buffer();
        }
        let worked = self.work_into(bytes, &mut out);
        // Who waits for a request holds no buffer.
        if out.is_empty() {
            self.link.shared.answers.give_back(out);
        } else {
            self.unsent = out;
        }
        worked
    }

    fn work_into(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
        let (mut used, mut counts) = (0, Counts::default());
        let stop = loop {
            if self.client.is_free() {
                used += self.door.gets_at_once(&mut self.client, &mut self.parser, &bytes[used..], out, &mut counts);
            }
            if out.len() >= OUTPUT_BYTES {
                break Stop::OutputFull;
            }
            let authenticated = self.client.authenticated;
            match self.parser.next(&bytes[used..]) {
                Ok(Frame::Request { arguments, length }) => {
                    match self.door.answer_at_once(&mut self.client, arguments, out) {
                        Step::Done(outcome) => counts.add(outcome),
                        Step::Later => {
                            let first = arguments.keep();
                            used += length;
                            let (requests, length) = self.gather(first, &bytes[used..]);
                            used += length;
                            break Stop::Later(requests);
                        }
                        Step::Close => break Stop::Close,
                    }
                    used += length;
                }
                Ok(Frame::Nothing { length }) => used += length,
                Ok(Frame::Incomplete { .. }) => break Stop::NeedsMore,
                Err(error) => {
                    error.reply(&mut Writer::new(out, self.client.protocol));
                    counts.refused += 1;
                    break Stop::Close;
                }
            }
            if self.client.authenticated != authenticated {
                self.parser.set_authenticated(self.client.authenticated);
            }
        };
        self.count(&counts);
        self.has_advanced |= used > 0;
        (used, stop)
    }

    /// Adds to a request those of its run that have come already: and how many bytes they are.
    fn gather(&mut self, first: KeptArguments, bytes: &[u8]) -> (Vec<KeptArguments>, usize) {
        let (mut used, mut kept) = (0, first.allocated());
        let begins_run = RedisDoor::may_join_run(&self.client, first.get());
        let mut requests = vec![first];
        while begins_run && requests.len() < RUN && kept < RUN_BYTES {
            match self.parser.next(&bytes[used..]) {
                Ok(Frame::Request { arguments, length }) if RedisDoor::may_join_run(&self.client, arguments) => {
                    let request = arguments.keep();
                    kept += request.allocated();
                    requests.push(request);
                    used += length;
                }
                Ok(Frame::Nothing { length }) => used += length,
                // What is left here is looked at again, from its beginning, when the run is answered: an error is told
                // then, by a parser that has not met it yet.
                Ok(Frame::Request { .. } | Frame::Incomplete { .. }) => break,
                Err(_) => {
                    self.parser = Parser::new(Limits::default(), self.client.authenticated);
                    break;
                }
            }
        }
        (requests, used)
    }

    fn count(&self, counts: &Counts) {
        let Counts { ok, refused, failed } = *counts;
        for (outcome, count) in
            [(RequestOutcome::Ok, ok), (RequestOutcome::Refused, refused), (RequestOutcome::Failed, failed)]
        {
            self.link.shared.metrics.requests(Door::Redis, outcome, count);
        }
    }

    /// Times what the connection does now.
    fn enter_phase(&mut self) {
        let anew = std::mem::take(&mut self.has_advanced);
        let (watched, limits) = (&self.link.watched, &self.link.shared.limits);
        if self.start < self.held.len() {
            // A slow request is timed from its first byte, not from its last.
            if anew || watched.phase() != Phase::Head {
                watched.enter(Phase::Head, Some(limits.head_read));
            }
        } else {
            // A subscriber only listens.
            let subscribed = self.client.more.as_ref().is_some_and(|more| more.subscriptions.is_some());
            let listens = subscribed && !watched.is_draining();
            watched.enter(Phase::Idle, (!listens).then_some(self.idle_limit()));
        }
    }

    /// Sends answers that have piled up: false, if the client is gone.
    fn poll_send_unsent(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut taken = false;
        while self.sent < self.unsent.len() {
            match self.link.stream.poll_write(cx, &self.unsent[self.sent..]) {
                Poll::Ready(Ok(count @ 1..)) => (self.sent, taken) = (self.sent + count, true),
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => {
                    // Only a client that takes something gets more time.
                    if taken || self.link.watched.phase() != Phase::Writing {
                        self.link.watched.enter(Phase::Writing, Some(self.link.shared.limits.write_stall));
                    }
                    return Poll::Pending;
                }
            }
        }
        self.link.shared.answers.give_back(std::mem::take(&mut self.unsent));
        (self.sent, self.unread) = (0, 0);
        if self.link.watched.phase() == Phase::Writing {
            self.link.watched.enter(Phase::Busy, None);
            self.enter_phase();
        }
        Poll::Ready(true)
    }
}
