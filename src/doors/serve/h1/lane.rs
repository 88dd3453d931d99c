//! The fast lane: who reads a connection's bytes, message by message.
//!
//! A connection is either *between messages*: hyper, if there is one, has been given whole messages only and has
//! answered all of them, so the next byte begins a request, and it is ours to look at. Or it is *in a message*: hyper
//! is given the bytes up to the end of that message and no further, and its answers pass through. The end is known
//! because only two kinds of message are let in this way: no body, or one `Content-Length`. Whatever else comes
//! (`Transfer-Encoding`, two lengths, an upgrade, what does not parse) makes the connection *opaque*: from then on
//! hyper has it to itself, for good. So there is one reader of every byte, and the two never disagree about where a
//! message ends.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::super::event_loop::Link;
use super::super::watch::Phase;
use super::{MAX_HEAD_BYTES, MAX_HEADERS, Service};

/// Once so many bytes of answers have piled up, they are sent before more requests are looked at.
const OUTPUT_BYTES: usize = 64 * 1024;
/// A connection that waits keeps no larger buffer than this.
const KEPT_BYTES: usize = 4 * 1024;

/// The line and headers of a request without a body, on a connection that stays open.
#[derive(Debug)]
pub struct Head<'a> {
    /// `GET` and so on.
    pub method: &'a str,
    /// Path and query, as sent.
    pub target: &'a str,
    headers: &'a [httparse::Header<'a>],
}

impl Head<'_> {
    /// The value of a header that is there exactly once; `None` if it is not. `name` is in lower case.
    #[must_use]
    pub fn only(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (Some(header), None) => Some(header.value),
            _ => None,
        }
    }
}

/// Whose the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Ours.
    Between,
    /// So many more are hyper's.
    Message(u64),
    /// All are hyper's.
    Opaque,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There are bytes for hyper.
    Message,
    /// The client is gone.
    Gone,
}

/// What the first bytes between two messages are.
enum Looked {
    /// Not a whole head yet.
    Partial,
    /// So many bytes of a request that has been answered.
    Answered(usize),
    /// So many bytes of a message for hyper.
    Message(u64),
    /// Something whose end only hyper can tell.
    Opaque,
}

/// Where an answer is on its way out of hyper.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// hyper has taken the last byte of it.
    pub(super) taken: Cell<bool>,
    /// And has handed all it had to the socket.
    pub(super) flushed: Cell<bool>,
}

/// A connection, and who reads it.
pub(super) struct Lane {
    pub(super) link: Link,
    pub(super) progress: Rc<Progress>,
    state: State,
    /// Received and not used up: the beginning of a head, or what is hyper's, or messages behind it.
    held: Vec<u8>,
    /// How much of `held` was found to be the beginning of a head.
    looked_at: usize,
    /// Answers of ours that did not fit into the socket's buffer.
    unsent: Vec<u8>,
}

impl Lane {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            progress: Rc::default(),
            state: State::Between,
            held: Vec::new(),
            looked_at: 0,
            unsent: Vec::new(),
        }
    }

    /// Answers requests for as long as it can; ready when hyper has to take over, or when the client is gone.
    pub(super) fn poll_next<S: Service>(&mut self, cx: &mut Context<'_>, service: &S) -> Poll<Next> {
        loop {
            if !self.unsent.is_empty() && ready!(self.poll_send_rest(cx)).is_break() {
                return Poll::Ready(Next::Gone);
            }
            if self.state != State::Between {
                return Poll::Ready(Next::Message);
            }
            if ready!(self.poll_between(cx, service)).is_break() {
                return Poll::Ready(Next::Gone);
            }
        }
    }

    /// One round of reading, answering and sending; broken off when the client is gone.
    fn poll_between<S: Service>(&mut self, cx: &mut Context<'_>, service: &S) -> Poll<ControlFlow<()>> {
        let shared = Rc::clone(&self.link.shared);
        let mut input = shared.input.borrow_mut();
        let had = self.held.len();
        input[..had].copy_from_slice(&self.held);
        let filled = if self.looked_at < had {
            had
        } else {
            match ready!(self.link.stream.poll_read(cx, &mut input[had..])) {
                Ok(count @ 1..) => had + count,
                Ok(0) | Err(_) => return Poll::Ready(ControlFlow::Break(())),
            }
        };

        let mut output = shared.output.borrow_mut();
        output.clear();
        let (mut rest, mut looked_at) = (&input[..filled], self.looked_at);
        while !rest.is_empty() && output.len() < OUTPUT_BYTES {
            match self.look(service, rest, looked_at, &mut output) {
                Looked::Answered(count) => {
                    (rest, looked_at) = (&rest[count..], 0);
                    continue;
                }
                Looked::Partial => looked_at = rest.len(),
                Looked::Message(bytes) => self.state = State::Message(bytes),
                Looked::Opaque => self.state = State::Opaque,
            }
            break;
        }
        self.hold(rest, looked_at);
        self.enter_phase(!output.is_empty());
        self.send(cx, &output)
    }

    /// Times what the connection does now. `anew`: whatever has begun has only just begun.
    fn enter_phase(&self, anew: bool) {
        let (watched, limits) = (&self.link.watched, &self.link.shared.limits);
        match self.state {
            State::Message(_) => watched.enter(Phase::Busy, None),
            State::Between | State::Opaque if self.held.is_empty() => {
                let limit = if watched.is_draining() { limits.linger } else { limits.idle };
                watched.enter(Phase::Idle, Some(limit));
            }
            // A slow head is timed from its first byte, not from its last.
            State::Between | State::Opaque if anew || watched.phase() != Phase::Head => {
                watched.enter(Phase::Head, Some(limits.head_read));
            }
            State::Between | State::Opaque => {}
        }
    }

    /// Keeps `rest` for later.
    fn hold(&mut self, rest: &[u8], looked_at: usize) {
        self.held.clear();
        if self.held.capacity() > KEPT_BYTES && rest.len() <= KEPT_BYTES {
            self.held.shrink_to(KEPT_BYTES);
        }
        self.held.extend_from_slice(rest);
        self.looked_at = looked_at;
    }

    /// Looks at the bytes that begin a request; the first `looked_at` are known not to be a whole head.
    fn look<S: Service>(&self, service: &S, bytes: &[u8], looked_at: usize, output: &mut Vec<u8>) -> Looked {
        // A head ends with a line, so whoever sends it byte by byte is parsed once a line, not once a byte.
        if looked_at > 0 && !bytes[looked_at..].contains(&b'\n') {
            return if bytes.len() > MAX_HEAD_BYTES { Looked::Opaque } else { Looked::Partial };
        }
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        let head_bytes = match request.parse_with_uninit_headers(bytes, &mut headers) {
            Ok(httparse::Status::Complete(count)) if count <= MAX_HEAD_BYTES => count,
            Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD_BYTES => return Looked::Partial,
            // hyper comes to the same result and finds the words for it.
            _ => return Looked::Opaque,
        };
        let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version) else {
            return Looked::Opaque;
        };
        match framing(method, request.headers) {
            Framing::NoBody => {
                let head = Head { method, target, headers: request.headers };
                // When draining, answers have to say so: hyper's do.
                let outcome = (!self.link.watched.is_draining())
                    .then(|| service.answer_at_once(&head, &self.link.shared.date(), output))
                    .flatten();
                match outcome {
                    Some(outcome) => {
                        self.link.shared.metrics.request(S::DOOR, outcome);
                        Looked::Answered(head_bytes)
                    }
                    None => Looked::Message(head_bytes as u64),
                }
            }
            Framing::Body(bytes) => Looked::Message((head_bytes as u64).saturating_add(bytes)),
            Framing::Opaque => Looked::Opaque,
        }
    }

    /// Sends answers of ours; what does not fit is kept for [`poll_send_rest`](Self::poll_send_rest).
    fn send(&mut self, cx: &mut Context<'_>, mut output: &[u8]) -> Poll<ControlFlow<()>> {
        let mut taken = false;
        while !output.is_empty() {
            match self.link.stream.poll_write(cx, output) {
                Poll::Ready(Ok(count @ 1..)) => (output, taken) = (&output[count..], true),
                Poll::Ready(_) => return Poll::Ready(ControlFlow::Break(())),
                Poll::Pending => {
                    self.unsent.extend_from_slice(output);
                    // Only a client that takes something gets more time.
                    if taken || self.link.watched.phase() != Phase::Writing {
                        self.link.watched.enter(Phase::Writing, Some(self.link.shared.limits.write_stall));
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(ControlFlow::Continue(()))
    }

    fn poll_send_rest(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<()>> {
        let unsent = std::mem::take(&mut self.unsent);
        let sent = self.send(cx, &unsent);
        if sent.is_ready() {
            self.enter_phase(true);
        }
        sent
    }

    /// hyper has tried to write: a client that takes nothing is not waited for.
    pub(super) fn note_write(&self, written: &Poll<std::io::Result<usize>>) {
        let watched = &self.link.watched;
        match written {
            Poll::Ready(_) if watched.phase() == Phase::Writing => watched.enter(Phase::Busy, None),
            Poll::Pending if watched.phase() != Phase::Writing => {
                watched.enter(Phase::Writing, Some(self.link.shared.limits.write_stall));
            }
            Poll::Ready(_) | Poll::Pending => {}
        }
    }

    /// hyper has read a head and an answer is being made.
    pub(super) fn begin_answer(&self) {
        self.progress.taken.set(false);
        self.progress.flushed.set(false);
        self.link.watched.enter(Phase::Busy, None);
    }

    /// hyper has done what it could: whether the bytes are ours again.
    pub(super) fn settle(&mut self) -> bool {
        let is_answered = self.progress.taken.get() && self.progress.flushed.get();
        match self.state {
            State::Message(0) if is_answered => self.state = State::Between,
            State::Opaque if is_answered => {}
            _ => return false,
        }
        self.progress.taken.set(false);
        self.progress.flushed.set(false);
        self.looked_at = 0;
        self.enter_phase(true);
        self.state == State::Between
    }

    /// Gives hyper what is its own: up to `most` bytes. Nothing before it has answered.
    pub(super) fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        give: impl FnOnce(&[u8]),
    ) -> Poll<std::io::Result<()>> {
        let most = match self.state {
            State::Between => return Poll::Pending,
            State::Message(left) => most.min(usize::try_from(left).unwrap_or(usize::MAX)),
            State::Opaque => most,
        };
        if most == 0 {
            return Poll::Pending;
        }
        let count = if self.held.is_empty() {
            let shared = Rc::clone(&self.link.shared);
            let mut input = shared.input.borrow_mut();
            let most = most.min(input.len());
            let count = ready!(self.link.stream.poll_read(cx, &mut input[..most]))?;
            give(&input[..count]);
            count
        } else {
            let count = most.min(self.held.len());
            give(&self.held[..count]);
            self.held.drain(..count);
            count
        };
        match &mut self.state {
            State::Message(left) => *left -= count as u64,
            State::Opaque if count > 0 && self.link.watched.phase() == Phase::Idle => {
                self.link.watched.enter(Phase::Head, Some(self.link.shared.limits.head_read));
            }
            State::Opaque | State::Between => {}
        }
        Poll::Ready(Ok(()))
    }
}

/// Where a message ends, by its head.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    /// With its head, and it asks for nothing out of the ordinary.
    NoBody,
    /// So many bytes behind its head.
    Body(u64),
    /// Only hyper can tell.
    Opaque,
}

fn framing(method: &str, headers: &[httparse::Header<'_>]) -> Framing {
    let mut framing = Framing::NoBody;
    let mut length = None;
    for httparse::Header { name, value } in headers {
        // By length first: it rules out nearly every header with one comparison.
        match name.len() {
            6 if name.eq_ignore_ascii_case("expect") => framing = Framing::Body(0),
            7 if name.eq_ignore_ascii_case("upgrade") => return Framing::Opaque,
            10 if name.eq_ignore_ascii_case("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => {
                framing = Framing::Body(0);
            }
            14 if name.eq_ignore_ascii_case("content-length") => match (length, decimal(value)) {
                (None, Some(bytes)) => length = Some(bytes),
                _ => return Framing::Opaque,
            },
            17 if name.eq_ignore_ascii_case("transfer-encoding") => return Framing::Opaque,
            _ => {}
        }
    }
    match length {
        _ if method == "CONNECT" => Framing::Opaque,
        Some(bytes) => Framing::Body(bytes),
        None => framing,
    }
}

/// A number of at most 18 digits and nothing else, so that it fits.
fn decimal(value: &[u8]) -> Option<u64> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> Framing {
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut headers);
        assert!(request.parse(head.as_bytes()).unwrap().is_complete());
        framing(request.method.unwrap(), request.headers)
    }

    #[test]
    fn only_a_plain_length_tells_where_a_message_ends() {
        for (fields, expected) in [
            ("", Framing::NoBody),
            ("Accept: */*\r\nConnection: Keep-Alive\r\n", Framing::NoBody),
            ("Connection: close\r\n", Framing::Body(0)),
            ("Expect: 100-continue\r\n", Framing::Body(0)),
            ("content-LENGTH: 12\r\n", Framing::Body(12)),
            ("Content-Length: 0\r\n", Framing::Body(0)),
            ("Content-Length: 12\r\nContent-Length: 12\r\n", Framing::Opaque),
            ("Content-Length: +12\r\n", Framing::Opaque),
            ("Content-Length: 1_2\r\n", Framing::Opaque),
            ("Content-Length: 12, 12\r\n", Framing::Opaque),
            ("Content-Length:\r\n", Framing::Opaque),
            ("Content-Length: 9999999999999999999\r\n", Framing::Opaque),
            ("Transfer-Encoding: chunked\r\n", Framing::Opaque),
            ("Content-Length: 12\r\nTransfer-Encoding: identity\r\n", Framing::Opaque),
            ("Connection: upgrade\r\nUpgrade: h2c\r\n", Framing::Opaque),
        ] {
            assert_eq!(of(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), expected, "{fields:?}");
        }
        assert_eq!(of("CONNECT a:1 HTTP/1.1\r\n\r\n"), Framing::Opaque);
    }
}
