//! Keyspace notices: who subscribes hears of sessions that ended, under the names that Redis gives such channels.

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::client::Client;
use super::{Command, Step, Writer};
use crate::doors::resp::reply::Protocol;
use crate::gateway::raw::RawEnd;
use crate::metrics::labels::RequestOutcome;
use crate::session::glob;

/// Channels and patterns that a client may subscribe to.
const MOST: usize = 1_024;
/// Bytes that their names may have together: every end is compared with all of them.
const MOST_BYTES: usize = 64 * 1024;

/// What a client has subscribed to: never nothing.
pub(super) struct Subscriptions {
    /// Taken while somebody waits for it.
    pub(super) ends: Option<Receiver<RawEnd>>,
    channels: Vec<Box<[u8]>>,
    patterns: Vec<Box<[u8]>>,
}

impl Subscriptions {
    fn len(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    fn bytes(&self) -> usize {
        self.channels.iter().chain(&self.patterns).map(|name| name.len()).sum()
    }

    /// Tells of an end, on the channels that are wanted.
    pub(super) fn tell(&self, end: &RawEnd, out: &mut Vec<u8>, protocol: Protocol) {
        let event: &[u8] = if end.expired { b"expired" } else { b"del" };
        let database = end.name.database.to_string();
        let by_key = [b"__keyspace@".as_slice(), database.as_bytes(), b"__:", &end.name.name].concat();
        let by_event = [b"__keyevent@".as_slice(), database.as_bytes(), b"__:", event].concat();
        let mut to = Writer::new(out, protocol);
        for (channel, message) in [(by_key, event), (by_event, &*end.name.name)] {
            if self.channels.iter().any(|wanted| **wanted == *channel) {
                to.message(None, &channel, message);
            }
            for pattern in self.patterns.iter().filter(|pattern| glob::matches(pattern, &channel)) {
                to.message(Some(pattern), &channel, message);
            }
        }
    }
}

impl Client {
    /// Subscribes, or ends subscriptions.
    pub(super) fn subscribe(
        &mut self,
        command: &Command<'_>,
        ends: impl FnOnce() -> Receiver<RawEnd>,
        out: &mut Vec<u8>,
    ) -> Step {
        let protocol = self.protocol;
        let mut to = Writer::new(out, protocol);
        let (what, names, is_pattern, adds) = match *command {
            Command::Subscribe { channels } => ("subscribe", channels, false, true),
            Command::PSubscribe { patterns } => ("psubscribe", patterns, true, true),
            Command::PUnsubscribe { patterns } => ("punsubscribe", patterns, true, false),
            Command::Unsubscribe { channels } => ("unsubscribe", channels, false, false),
            _ => return Step::Later,
        };
        let slot = &mut self.more().subscriptions;
        let mut all =
            slot.take().unwrap_or_else(|| Subscriptions { ends: Some(ends()), channels: vec![], patterns: vec![] });
        let new_bytes: usize = names.iter().map(<[u8]>::len).sum();
        if adds && (all.len() + names.len() > MOST || all.bytes() + new_bytes > MOST_BYTES) {
            to.error("ERR too many subscriptions: 1,024 of 64 KiB together at most");
            *slot = Some(all).filter(|all| all.len() > 0);
            return Step::Done(RequestOutcome::Refused);
        }
        if names.is_empty() {
            let gone = std::mem::take(if is_pattern { &mut all.patterns } else { &mut all.channels });
            let mut left = all.len() + gone.len();
            if gone.is_empty() {
                to.subscription(what, None, left);
            }
            for name in gone {
                left -= 1;
                to.subscription(what, Some(&name), left);
            }
        }
        for name in names.iter() {
            let list = if is_pattern { &mut all.patterns } else { &mut all.channels };
            let place = list.iter().position(|known| **known == *name);
            match (place, adds) {
                (None, true) => list.push(name.into()),
                (Some(place), false) => drop(list.remove(place)),
                _ => {}
            }
            to.subscription(what, Some(name), all.len());
        }
        *slot = Some(all).filter(|all| all.len() > 0);
        Step::Done(RequestOutcome::Ok)
    }
}

/// Waits for the next end. One that comes too fast is lost, as Redis's notices are; the stream goes on.
pub(super) async fn next(ends: &mut Receiver<RawEnd>) -> Option<RawEnd> {
    loop {
        match ends.recv().await {
            Ok(end) => return Some(end),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}
