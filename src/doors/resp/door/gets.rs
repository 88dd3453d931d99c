//! The hot path: plain `GET`s, answered from memory, several of a pipeline at a time.

use super::client::Client;
use super::conversation::{Counts, OUTPUT_BYTES};
use super::{RedisDoor, Writer, errors};
use crate::doors::resp::frame::Parser;
use crate::gateway::{MemoryLookUp, Slide};
use crate::metrics::labels::RequestOutcome;
use crate::session::{Content, SessionKey};

/// Requests whose keys are hashed one right behind the other: a hash is a chain of steps that each wait for the one
/// before, and a processor works on several chains at once.
const TOGETHER: usize = 4;

impl RedisDoor {
    /// Answers the plain `GET`s that `bytes` begin with, up to the first that memory does not hold: how many bytes they
    /// were. Whatever comes then is to be answered as any other request.
    #[inline]
    pub(super) fn gets_at_once(
        &self,
        client: &mut Client,
        parser: &mut Parser,
        bytes: &[u8],
        out: &mut Vec<u8>,
        counts: &mut Counts,
    ) -> usize {
        let mut used = 0;
        loop {
            let (mut names, mut ends, mut end) = ([&[][..]; TOGETHER], [0; TOGETHER], used);
            let mut count = 0;
            while count < TOGETHER
                && let Some((name, length)) = parser.plain_get(&bytes[end..])
            {
                end += length;
                (names[count], ends[count]) = (name, end);
                count += 1;
            }
            let mut keys = [SessionKey::from_bytes([0; 32]); TOGETHER];
            for (key, name) in keys.iter_mut().zip(names).take(count) {
                *key = SessionKey::of_raw(client.database, name);
            }
            for (key, end) in keys.into_iter().zip(ends).take(count) {
                if !self.get_at_once(client, key, out, counts) {
                    return used;
                }
                used = end;
            }
            if count < TOGETHER {
                return used;
            }
        }
    }

    /// Whether it could answer.
    #[inline]
    fn get_at_once(&self, client: &mut Client, key: SessionKey, out: &mut Vec<u8>, counts: &mut Counts) -> bool {
        if out.len() >= OUTPUT_BYTES {
            return false;
        }
        let mut to = Writer::new(out, client.protocol);
        let outcome = match self.gateway.look_up_in_memory(&key, Slide::Touch) {
            MemoryLookUp::Hit(view) if view.entry.content == Content::Hash => {
                to.error(errors::WRONG_TYPE);
                RequestOutcome::Refused
            }
            MemoryLookUp::Hit(view) => {
                to.bulk(&view.entry.session.data);
                RequestOutcome::Ok
            }
            MemoryLookUp::Expired => {
                to.null();
                client.told_absent(key, self.gateway.now());
                RequestOutcome::Ok
            }
            MemoryLookUp::Absent => return false,
        };
        counts.add(outcome);
        true
    }
}
