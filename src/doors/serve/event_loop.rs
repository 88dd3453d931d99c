//! One event loop: accepts connections, serves them, keeps their time, and drains.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::answers::Answers;
use super::listen::{BACKLOG, Listener};
use super::permits::{Permit, Permits};
use super::watch::{Ticks, Watched, Watches};
use super::{Protocol, ServeLimits, Surroundings};
use crate::clock::Clock;
use crate::metrics::labels::Label;
use crate::metrics::{ConnectionGuard, Metrics};

/// What a loop reads into: several requests of the largest head, so that most reads take all there is.
const INPUT_BYTES: usize = 64 * 1024;

/// How long to wait when the process has no file descriptors left, before the next try.
const OUT_OF_RESOURCES_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may take to hear that its connection is closed: many round trips, and time to stop sending.
const CLOSING: Duration = Duration::from_secs(2);

/// The longest tick: connections are watched with this precision or better.
const MAX_TICK: Duration = Duration::from_millis(250);
/// The shortest: below it the watching would cost more than it saves.
const MIN_TICK: Duration = Duration::from_millis(5);

/// A client's connection. Its clones are the same one.
#[derive(Clone, Debug)]
pub struct Stream(Rc<RefCell<Socket>>);

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self(Rc::new(RefCell::new(Socket::Tcp(stream))))
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self(Rc::new(RefCell::new(Socket::Unix(stream))))
    }
}

impl Stream {
    /// Reads what is there into `buffer`; 0: the client has said all it will.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let done = match &mut *self.0.borrow_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
        };
        done.map_ok(|()| buffer.filled().len())
    }

    /// Writes as much of `bytes` as fits.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self.0.borrow_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Writes as much of each of `slices` in turn as fits.
    pub fn poll_write_vectored(&self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut *self.0.borrow_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    /// Tells the client that nothing more will come.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// Writes as much of `bytes` as fits now; an error, if nothing does.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &*self.0.borrow() {
            Socket::Tcp(stream) => stream.try_write(bytes),
            Socket::Unix(stream) => stream.try_write(bytes),
        }
    }
}

/// The time limits of a loop's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Between two requests.
    pub idle: Ticks,
    /// From the first byte of a request to the end of its head.
    pub head_read: Ticks,
    /// Without the client taking a single byte.
    pub write_stall: Ticks,
    /// Between two requests, when draining.
    pub linger: Ticks,
    /// From the end of the last answer until the client closes.
    pub closing: Ticks,
}

/// What the connections of one loop share. All of it stays on the loop's thread.
pub struct Shared {
    /// Their time.
    pub watches: Rc<Watches>,
    /// Their time limits.
    pub limits: Limits,
    /// Where their requests are counted.
    pub metrics: Arc<Metrics>,
    /// Filled and used up within one poll of one connection.
    pub input: RefCell<Box<[u8]>>,
    /// The same for what HTTP sends at once.
    pub output: RefCell<Vec<u8>>,
    /// What the Redis door sends a moment later.
    pub answers: Rc<Answers>,
    date: Cell<[u8; 29]>,
    nobody_left: Notify,
}

impl Shared {
    /// The time as a `Date` field has it, at most one tick old.
    #[must_use]
    pub fn date(&self) -> [u8; 29] {
        self.date.get()
    }

    fn set_date(&self, clock: &dyn Clock) {
        let since_epoch = Duration::from_millis(u64::try_from(clock.wall().as_millis()).unwrap_or(0));
        if let Ok(date) = httpdate::fmt_http_date(UNIX_EPOCH + since_epoch).into_bytes().try_into() {
            self.date.set(date);
        }
    }
}

/// A connection, and all that is held for it.
pub struct Link {
    /// The connection.
    pub stream: Stream,
    /// Its time.
    pub watched: Watched,
    /// What it shares with the others of its loop.
    pub shared: Rc<Shared>,
    _permit: Permit,
    _counted: ConnectionGuard,
}

impl Drop for Link {
    fn drop(&mut self) {
        // This one is still watched while it drops.
        if self.shared.watches.len() <= 1 {
            self.shared.nobody_left.notify_one();
        }
    }
}

enum Queue {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Queue {
    fn register(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (stream.into(), Some(peer.ip()))
            }
            Self::Unix(listener) => (listener.accept().await?.0.into(), None),
        })
    }

    /// Takes what the kernel has completed already, without the detour over readiness events.
    fn into_remaining(self) -> io::Result<Vec<(Stream, Option<IpAddr>)>> {
        match self {
            Self::Tcp(listener) => {
                let listener = listener.into_std()?;
                let accepted = std::iter::from_fn(|| listener.accept().ok()).take(BACKLOG.into());
                let registered = accepted.map(|(stream, peer)| {
                    stream.set_nonblocking(true)?;
                    Ok((TcpStream::from_std(stream)?.into(), Some(peer.ip())))
                });
                registered.collect()
            }
            Self::Unix(listener) => {
                let listener = listener.into_std()?;
                let accepted = std::iter::from_fn(|| listener.accept().ok()).take(BACKLOG.into());
                let registered = accepted.map(|(stream, _)| {
                    stream.set_nonblocking(true)?;
                    Ok((UnixStream::from_std(stream)?.into(), None))
                });
                registered.collect()
            }
        }
    }
}

/// Says to the other loops of a listener that this one still lets clients in, until it is dropped.
#[derive(Clone, Debug)]
pub(super) struct Open {
    open: watch::Sender<()>,
    any_open: watch::Receiver<()>,
}

impl Open {
    /// The first; each loop gets a clone.
    pub(super) fn new() -> Self {
        let (open, any_open) = watch::channel(());
        Self { open, any_open }
    }

    /// Returns when the last has closed.
    async fn close(mut self) {
        drop(self.open);
        // Nothing is ever sent: it ends with the last sender.
        let _ = self.any_open.changed().await;
    }
}

/// Serves the connections of one accept queue until the signal to drain and, for a while, after it.
pub(super) async fn run<P: Protocol>(
    listener: Listener,
    protocol: Arc<P>,
    surroundings: Surroundings,
    permits: Arc<Permits>,
    open: Open,
) {
    let Surroundings { limits, metrics, clock, mut drain } = surroundings;
    let queue = match Queue::register(listener) {
        Ok(queue) => queue,
        Err(error) => return tracing::error!(door = P::DOOR.as_str(), %error, "cannot accept connections"),
    };
    let shared = Rc::new(shared(&limits, metrics));
    shared.set_date(&*clock);
    let tick = shared.watches.tick_length();
    let hand = tokio::task::spawn_local(turn_the_hand(Rc::clone(&shared), clock, tick));
    let sender = tokio::task::spawn_local(Rc::clone(&shared.answers).send());
    let entrance = Entrance { protocol, permits, shared: Rc::clone(&shared) };

    loop {
        tokio::select! {
            biased;
            () = drain.begun() => break,
            accepted = queue.accept() => match accepted {
                Ok((stream, peer)) => entrance.admit(stream, peer),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(door = P::DOOR.as_str(), %error, "cannot accept connections for a moment");
                    sleep(OUT_OF_RESOURCES_PAUSE).await;
                }
            },
        }
    }

    // Clients whom the kernel has already told that they are connected are not turned away.
    match queue.into_remaining() {
        Ok(remaining) => remaining.into_iter().for_each(|(stream, peer)| entrance.admit(stream, peer)),
        Err(error) => tracing::warn!(door = P::DOOR.as_str(), %error, "cannot accept the last connections"),
    }
    let drained = async {
        // Nobody is told to go before every queue is closed: who comes again at once would get into one that closes the
        // next moment, and be cut off.
        open.close().await;
        shared.watches.drain(shared.limits.linger);
        nobody_left(&shared).await;
    };
    if timeout(limits.drain_deadline, drained).await.is_err() {
        let left = shared.watches.len();
        tracing::warn!(door = P::DOOR.as_str(), connections = left, "connections were still busy and are cut off");
    }
    hand.abort();
    sender.abort();
}

async fn nobody_left(shared: &Shared) {
    while !shared.watches.is_empty() {
        shared.nobody_left.notified().await;
    }
}

fn shared(limits: &ServeLimits, metrics: Arc<Metrics>) -> Shared {
    let shortest = limits.idle.min(limits.head_read).min(limits.write_stall).min(limits.drain_linger);
    let watches = Rc::new(Watches::new((shortest / 8).clamp(MIN_TICK, MAX_TICK)));
    Shared {
        limits: Limits {
            idle: watches.ticks(limits.idle),
            head_read: watches.ticks(limits.head_read),
            write_stall: watches.ticks(limits.write_stall),
            linger: watches.ticks(limits.drain_linger),
            closing: watches.ticks(CLOSING),
        },
        watches,
        metrics,
        input: RefCell::new(vec![0; INPUT_BYTES].into_boxed_slice()),
        output: RefCell::default(),
        answers: Rc::default(),
        date: Cell::new(*b"Thu, 01 Jan 1970 00:00:00 GMT"),
        nobody_left: Notify::new(),
    }
}

async fn turn_the_hand(shared: Rc<Shared>, clock: Arc<dyn Clock>, tick: Duration) {
    let mut ticks = interval(tick);
    // A loop that was held up must not make up for it: that would cut the limits of its connections short.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.watches.tick();
        shared.set_date(&*clock);
    }
}

/// Whether the failure concerns the connection that was to be accepted, and not the process.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    // Linux reports network errors that are already pending on the new socket as errors of `accept`.
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected | InvalidInput)
}

/// Where a connection gets in, or not.
struct Entrance<P> {
    protocol: Arc<P>,
    permits: Arc<Permits>,
    shared: Rc<Shared>,
}

impl<P: Protocol> Entrance<P> {
    fn admit(&self, stream: Stream, peer: Option<IpAddr>) {
        let Some(permit) = self.permits.take(peer) else {
            // A courtesy: it fits into an empty socket buffer, and if it does not, the close says it as well.
            let _ = stream.try_write(P::TOO_MANY);
            return;
        };
        let link = Link {
            stream,
            watched: self.shared.watches.add(),
            shared: Rc::clone(&self.shared),
            _permit: permit,
            _counted: self.shared.metrics.connection_opened(P::DOOR),
        };
        link.watched.enter(super::watch::Phase::Idle, Some(self.shared.limits.idle));
        tokio::task::spawn_local(Arc::clone(&self.protocol).converse(link));
    }
}

/// Says all of `bytes`, and then that there is no more to come, and waits until the client has heard it.
///
/// Closing a socket with unread input makes the kernel reset the connection, which can destroy an answer that the
/// client has not read yet. So what the client still sends is read and thrown away, for as long as its watch allows.
pub async fn close(link: &mut Link) {
    link.watched.enter(super::watch::Phase::Closing, Some(link.shared.limits.closing));
    let shared = Rc::clone(&link.shared);
    poll_fn(|cx| {
        link.watched.register(cx.waker());
        if link.watched.is_due() || std::task::ready!(link.stream.poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        let mut input = shared.input.borrow_mut();
        while let Ok(1..) = std::task::ready!(link.stream.poll_read(cx, &mut input)) {}
        Poll::Ready(())
    })
    .await;
}
