//! One connection: reads requests, sends answers, and keeps its time.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::client::Client;
use super::notices;
use super::{RedisDoor, Step, Writer};
use crate::doors::resp::frame::{Frame, KeptArguments, Limits, Parser};
use crate::doors::serve::event_loop::{Link, close};
use crate::doors::serve::watch::Phase;
use crate::metrics::labels::{Door, RequestOutcome};

/// Once so many bytes of answers have piled up, they are sent before more requests are looked at.
const OUTPUT_BYTES: usize = 64 * 1024;
/// Notices that a subscriber may leave unread, in bytes; beyond, its connection is closed.
const UNREAD_BYTES: usize = 1024 * 1024;
/// A connection that waits keeps no larger buffer than this.
const KEPT_BYTES: usize = 4 * 1024;

/// What comes next.
enum Next {
    /// A request that has to be waited for.
    Later(KeptArguments),
    /// The client has subscribed: from now on there is more to wait for.
    Subscribed,
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
    Later(KeptArguments),
    Close,
}

/// Requests that were answered.
#[derive(Default)]
struct Counts {
    ok: u64,
    refused: u64,
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
    /// Answers on their way, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// Whether a request has come to its end since the phase was last entered.
    has_advanced: bool,
    /// Nothing more is to be read.
    is_closing: bool,
}

impl<'d> Conversation<'d> {
    pub(super) fn new(door: &'d RedisDoor, link: Link) -> Self {
        let client = door.client();
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
            has_advanced: false,
            is_closing: false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.next().await {
                Next::Later(request) => {
                    self.link.watched.enter(Phase::Busy, None);
                    let outcome = self.door.answer_later(&mut self.client, request.get(), &mut self.unsent).await;
                    self.link.shared.metrics.request(Door::Redis, outcome);
                }
                Next::Subscribed => {}
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
                match poll_fn(|cx| self.poll(cx)).await {
                    Next::Subscribed => continue,
                    next => return next,
                }
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
                    subscriptions.tell(&end, &mut self.unsent, protocol);
                }
            }
            if self.unsent.len() - self.sent > UNREAD_BYTES {
                return Next::Gone;
            }
            match next {
                None | Some(Next::Subscribed) => {}
                Some(next) => return next,
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.link.watched.register(cx.waker());
        let polled = self.poll_work(cx);
        // Asked last: whatever has come in the meantime is answered and begins a new phase.
        if polled.is_pending() && self.link.watched.is_due() { Poll::Ready(Next::Gone) } else { polled }
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
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
                    None => return Poll::Ready(Next::Gone),
                }
            };
            match stop {
                Stop::NeedsMore => self.is_fresh = false,
                Stop::OutputFull => self.is_fresh = true,
                Stop::Close => self.is_closing = true,
                Stop::Later(request) => {
                    self.is_fresh = true;
                    // What is answered already need not wait; if the client does not take it now, it comes later.
                    if self.sent < self.unsent.len() && self.poll_send_unsent(cx) == Poll::Ready(false) {
                        return Poll::Ready(Next::Gone);
                    }
                    return Poll::Ready(Next::Later(request));
                }
            }
            self.enter_phase();
            if self.has_subscribed() {
                return Poll::Ready(Next::Subscribed);
            }
        }
    }

    /// Whether there are subscriptions that nobody waits for.
    fn has_subscribed(&self) -> bool {
        let subscriptions = self.client.more.as_ref().and_then(|more| more.subscriptions.as_ref());
        subscriptions.is_some_and(|subscriptions| subscriptions.ends.is_some())
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
        let mut output = shared.output.borrow_mut();
        output.clear();
        let (used, stop) = self.work(&input[..count], &mut output);
        self.held.clear();
        self.start = 0;
        self.held.extend_from_slice(&input[used..count]);
        self.unsent.clear();
        self.sent = 0;
        // Straight to the socket, which takes it all nearly always.
        let mut rest = &output[..];
        while !rest.is_empty() {
            match self.link.stream.poll_write(cx, rest) {
                Poll::Ready(Ok(count @ 1..)) => rest = &rest[count..],
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => {
                    self.unsent.extend_from_slice(rest);
                    break;
                }
            }
        }
        Poll::Ready(Some(stop))
    }

    fn work_on_held(&mut self) -> Stop {
        let held = std::mem::take(&mut self.held);
        let mut output = std::mem::take(&mut self.unsent);
        let (used, stop) = self.work(&held[self.start..], &mut output);
        self.unsent = output;
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

    /// Answers request after request: how many bytes that were, and why no more.
    fn work(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
        let (mut used, mut counts) = (0, Counts::default());
        let stop = loop {
            if out.len() >= OUTPUT_BYTES {
                break Stop::OutputFull;
            }
            let authenticated = self.client.authenticated;
            match self.parser.next(&bytes[used..]) {
                Ok(Frame::Request { arguments, length }) => {
                    match self.door.answer_at_once(&mut self.client, arguments, out) {
                        Step::Done(RequestOutcome::Ok) => counts.ok += 1,
                        Step::Done(_) => counts.refused += 1,
                        Step::Later => {
                            let request = arguments.keep();
                            used += length;
                            break Stop::Later(request);
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

    fn count(&self, counts: &Counts) {
        let metrics = &self.link.shared.metrics;
        metrics.requests(Door::Redis, RequestOutcome::Ok, counts.ok);
        metrics.requests(Door::Redis, RequestOutcome::Refused, counts.refused);
        self.door.count_commands(counts.ok + counts.refused);
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
        } else if watched.is_draining() {
            watched.enter(Phase::Idle, Some(limits.linger));
        } else {
            // A subscriber only listens.
            let listens = self.client.more.as_ref().is_some_and(|more| more.subscriptions.is_some());
            watched.enter(Phase::Idle, (!listens).then_some(limits.idle));
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
        self.unsent.clear();
        self.unsent.shrink_to(KEPT_BYTES);
        self.sent = 0;
        if self.link.watched.phase() == Phase::Writing {
            self.link.watched.enter(Phase::Busy, None);
            self.enter_phase();
        }
        Poll::Ready(true)
    }
}
