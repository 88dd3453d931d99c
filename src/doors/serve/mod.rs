//! What every door shares: listeners, event loops, connection limits, timers and draining.
//!
//! [`bind`] takes the addresses, early and in the caller's thread; [`Bound::serve`] starts the event loops, later.
//! Each loop is one thread with one single-threaded runtime and, on TCP, an accept queue of its own, so connections
//! never change threads and what they share needs no lock. Reading order: [`listen`], [`event_loop`], [`permits`],
//! [`watch`], [`answers`], then [`h1`], which speaks HTTP/1.1 on an accepted connection.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::config::settings::Address;
use crate::metrics::Metrics;
use crate::metrics::labels::{Door, Label};
use crate::shutdown::Drain;

pub mod answers;
pub mod event_loop;
pub mod h1;
pub mod listen;
pub mod permits;
pub mod watch;

pub use event_loop::Link;
pub use listen::{BindError, Bound, bind};

/// How long, how many and how large: what one listener allows its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// From the first byte of a request to the end of its head.
    pub head_read: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// From the end of a request's head to the end of its body.
    pub body_read: Duration,
    /// Without the client taking a single byte of an answer.
    pub write_stall: Duration,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
    /// Connections of this listener.
    pub connections: usize,
    /// Connections of one client address. Addresses of this host are not counted: see [`permits`].
    pub connections_per_peer: usize,
    /// How long an idle connection stays open when draining, so that a request already on its way is answered.
    pub drain_linger: Duration,
    /// How long draining takes at most; what is not answered by then is cut off.
    pub drain_deadline: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            head_read: Duration::from_secs(5),
            // What nginx allows by default; longer than the pools of most clients keep an unused connection.
            idle: Duration::from_secs(75),
            // A body of 1 MiB at 35 kB/s.
            body_read: Duration::from_secs(30),
            write_stall: Duration::from_secs(10),
            body_bytes: 1 << 20,
            // An idle connection takes 1.4 KiB (measured) and a busy one 15 KiB and its body: 23 to 240 MiB when all are used.
            connections: 16_384,
            // Far more than the pool of an app, far fewer than all.
            connections_per_peer: 1_024,
            drain_linger: Duration::from_millis(500),
            // Container runtimes kill after 10 s by default, and what is left is still to be saved.
            drain_deadline: Duration::from_secs(8),
        }
    }
}

/// What a listener needs of its surroundings.
#[derive(Clone)]
pub struct Surroundings {
    /// What its clients may do.
    pub limits: ServeLimits,
    /// Where its connections and requests are counted.
    pub metrics: Arc<Metrics>,
    /// Dates its answers.
    pub clock: Arc<dyn Clock>,
    /// Tells it to stop.
    pub drain: Drain,
}

/// A conversation that an event loop holds with each client.
pub trait Protocol: Send + Sync + 'static {
    /// The door that it belongs to.
    const DOOR: Door;
    /// What a client is told for whom there is no connection left.
    const TOO_MANY: &'static [u8];

    /// Talks to one client until either side has enough. Runs on the thread of its event loop.
    fn converse(self: Arc<Self>, link: Link) -> impl Future<Output = ()> + 'static;
}

/// Event loops that are serving.
#[derive(Debug)]
pub struct Serving {
    loops: Vec<oneshot::Receiver<()>>,
    address: Address,
    socket_file: Option<listen::SocketFile>,
}

/// An event loop ended before it was told to: a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event loop of the `{door}` listener has failed")]
pub struct LoopFailed {
    /// The listener's door.
    pub door: &'static str,
}

impl Serving {
    /// Where clients find it.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits until every loop has drained, then removes the socket file, if there is one.
    ///
    /// # Errors
    /// If a loop failed.
    pub async fn finished(self, door: Door) -> Result<(), LoopFailed> {
        for event_loop in self.loops {
            event_loop.await.map_err(|_| LoopFailed { door: door.as_str() })?;
        }
        drop(self.socket_file);
        Ok(())
    }
}
