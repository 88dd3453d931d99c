//! The hot path: plain `GET`s, answered from memory, as many of a pipeline at a time as can be looked up together.

use super::client::Client;
use super::conversation::{Counts, OUTPUT_BYTES};
use super::{RedisDoor, Writer, errors};
use crate::doors::resp::frame::Parser;
use crate::gateway::memory::{Entry, TOGETHER};
use crate::gateway::{MemoryLookUp, Slide};
use crate::metrics::labels::RequestOutcome;
use crate::session::{Content, SessionKey};

/// A larger value is answered by itself, not while the sessions of others wait for it.
const LARGEST: usize = 4 * 1024;

impl RedisDoor {
    /// Answers the plain `GET`s that `bytes` begin with, up to the first that memory does not hold or that is large: how
    /// many bytes they were. Whatever comes then is to be answered as any other request.
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
        while out.len() < OUTPUT_BYTES {
            let (mut keys, mut ends) = ([SessionKey::from_bytes([0; 32]); TOGETHER], [0; TOGETHER]);
            let (mut count, mut end) = (0, used);
            while count < TOGETHER
                && let Some((name, length)) = parser.plain_get(&bytes[end..])
            {
                end += length;
                (keys[count], ends[count]) = (self.gateway.key(client.database, name), end);
                count += 1;
            }
            if count == 0 {
                break;
            }
            let mut answered = self.get_together(client, &keys[..count], out, counts);
            while answered < count {
                if out.len() >= OUTPUT_BYTES || !self.get_alone(client, keys[answered], out, counts) {
                    return if answered > 0 { ends[answered - 1] } else { used };
                }
                answered += 1;
            }
            used = ends[count - 1];
            if count < TOGETHER {
                break;
            }
        }
        used
    }

    /// Answers what is too large to be answered with others, or comes behind such a one. Whether memory holds it.
    fn get_alone(&self, client: &mut Client, key: SessionKey, out: &mut Vec<u8>, counts: &mut Counts) -> bool {
        let entry = match self.gateway.look_up_in_memory(&key, Slide::Touch) {
            MemoryLookUp::Hit(view) => Some(view.entry),
            MemoryLookUp::Expired => None,
            MemoryLookUp::Absent => return false,
        };
        self.answer_get(client, &key, entry.as_deref(), out, counts);
        true
    }

    /// How many it could answer.
    #[inline]
    fn get_together(&self, client: &mut Client, keys: &[SessionKey], out: &mut Vec<u8>, counts: &mut Counts) -> usize {
        let answer = |key: &SessionKey, entry: Option<&Entry>| self.answer_get(client, key, entry, out, counts);
        self.gateway.look_up_together(keys, LARGEST, answer)
    }

    #[expect(clippy::inline_always, reason = "it is most of what a look-up of a pipeline does here")]
    #[inline(always)]
    fn answer_get(
        &self,
        client: &mut Client,
        key: &SessionKey,
        entry: Option<&Entry>,
        out: &mut Vec<u8>,
        counts: &mut Counts,
    ) {
        let mut to = Writer::new(out, client.protocol);
        counts.add(match entry {
            Some(entry) if entry.content == Content::Hash => {
                to.error(errors::WRONG_TYPE);
                RequestOutcome::Refused
            }
            Some(entry) => {
                to.bulk(&entry.session.data);
                RequestOutcome::Ok
            }
            None => {
                to.null();
                client.told_absent(*key, self.gateway.now());
                RequestOutcome::Ok
            }
        });
    }
}
