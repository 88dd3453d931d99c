//! Keys that apps name themselves: sessions under the same rules as all others, and plain keys beside them.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::api::{GatewayError, Slide, View};
use super::change::to_the_end;
use super::limits::creation_rate::CreationLimiter;
use super::memory::Entry;
use super::{Gateway, MemoryLookUp};
use crate::clock::Timestamp;
use crate::metrics::labels::{CreationOutcome, StoreOp};
use crate::session::{Content, EndReason, Ended, RawName, SessionKey, UserName};
use crate::store::StoreError;
use crate::store::raw::{Admission, Counted, PlainValue, RawBatch, RawOp, RawOutcome, RawPage, RawRefusal, RawReply};

/// Ends that wait for a subscriber who does not keep up; beyond, it misses the oldest.
const ENDS: usize = 1_024;

/// What is under a name.
#[derive(Debug)]
pub enum RawView {
    /// A session.
    Session(View),
    /// A plain key.
    Plain(PlainValue),
}

impl RawView {
    /// What its data is.
    #[must_use]
    pub fn content(&self) -> Content {
        match self {
            Self::Session(view) => view.entry.content,
            Self::Plain(value) => value.content,
        }
    }

    /// The value.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match self {
            Self::Session(view) => &view.entry.session.data,
            Self::Plain(value) => &value.data,
        }
    }

    /// When it ends, if the app has said so.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Plain(value) => value.deadline,
            Self::Session(view) => view.entry.session.own_end(),
        }
    }

    /// Changes with every write.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            Self::Session(view) => view.entry.session.revision,
            Self::Plain(value) => value.revision,
        }
    }
}

/// The end of a session that an app has named.
#[derive(Clone, Debug)]
pub struct RawEnd {
    /// Its name.
    pub name: RawName,
    /// Whether its time was over; otherwise it was ended.
    pub expired: bool,
}

/// Operations that are to be done as one.
#[derive(Clone, Debug, Default)]
pub struct RawRequest {
    /// The operations, in order.
    pub ops: Vec<RawOp>,
    /// Keys that must be at these revisions still, 0 being "absent".
    pub watched: Vec<(RawName, u64)>,
    /// Keys of which the client has been told that they are not there, and when.
    pub told_absent: Vec<(SessionKey, Timestamp)>,
}

/// Tells those who subscribe to ends.
pub(super) struct Ends(broadcast::Sender<RawEnd>);

impl Default for Ends {
    fn default() -> Self {
        Self(broadcast::Sender::new(ENDS))
    }
}

impl Ends {
    pub(super) fn tell(&self, ended: &Ended) {
        if self.0.receiver_count() > 0
            && let Some(name) = &ended.name
        {
            let expired = matches!(ended.reason, EndReason::Idle | EndReason::Absolute | EndReason::Stale);
            // All subscribers may have gone since.
            let _ = self.0.send(RawEnd { name: name.clone(), expired });
        }
    }
}

impl Admission for CreationLimiter {
    fn admit(&self, ip: IpAddr, now: Timestamp) -> Option<Counted> {
        Self::admit(self, ip, now).ok()
    }
}

impl Gateway {
    /// What is under a name, `None` if nothing is, or its time is over.
    ///
    /// # Errors
    /// [`GatewayError::Unavailable`].
    pub async fn look_up_raw(self: &Arc<Self>, name: &RawName, slide: Slide) -> Result<Option<RawView>, GatewayError> {
        let key = self.names.of(name);
        match self.look_up_in_memory(&key, slide) {
            MemoryLookUp::Hit(view) => return Ok(Some(RawView::Session(view))),
            MemoryLookUp::Expired => return Ok(None),
            MemoryLookUp::Absent => {}
        }
        let is_session = self.settings.load().redis_door.rule_of(&name.name).is_some();
        let read = self.store.load_raw(name.clone(), self.now());
        self.look_up_in_store(&key, slide, is_session, read).await
    }

    /// Does operations as one. `None`: a watched key has changed, and nothing was done.
    ///
    /// # Errors
    /// [`GatewayError::StorageFull`] or [`GatewayError::Unavailable`]; then nothing was done, either. What is wrong with
    /// one operation is its reply.
    pub async fn run_raw(self: &Arc<Self>, request: RawRequest) -> Result<Option<Vec<RawReply>>, GatewayError> {
        let this = Arc::clone(self);
        to_the_end(async move { this.run_raw_to_the_end(request).await }).await
    }

    async fn run_raw_to_the_end(self: Arc<Self>, request: RawRequest) -> Result<Option<Vec<RawReply>>, GatewayError> {
        let RawRequest { ops, watched, told_absent } = request;
        let settings = self.settings.load_full();
        let is_session = |name: &RawName| settings.redis_door.rule_of(&name.name).is_some();
        let saves_sessions = ops.iter().filter_map(RawOp::saved).any(is_session);
        // What one operation writes goes to memory; whoever looks it up meanwhile waits for it.
        let key = match &ops[..] {
            [RawOp::Set(set)] if saves_sessions => Some(self.names.of(&set.name)),
            _ => None,
        };
        let mut reservation = match &key {
            Some(key) => self.memory.get_or_reserve(key).await.err(),
            None => None,
        };
        let now = self.now();
        let names = ops.iter().flat_map(RawOp::names).chain(watched.iter().map(|(name, _)| name));
        let used = names
            .map(|name| self.names.of(name))
            .filter_map(|key| Some((key, self.memory.last_activity(&key)?)))
            .collect();
        let batch = RawBatch {
            used,
            terms: self.terms(now),
            admission: Arc::clone(&self.creations) as Arc<dyn Admission>,
            ops,
            watched,
            told_absent,
            settings,
        };
        let outcome = self.timed(StoreOp::Update, self.store.run_raw(batch)).await.map_err(|error| {
            let (outcome, error) = match error {
                StoreError::Full(_) => (CreationOutcome::StorageFull, GatewayError::StorageFull),
                error => (CreationOutcome::StoreError, GatewayError::Unavailable(error)),
            };
            if saves_sessions {
                self.metrics.creation(outcome);
            }
            error
        })?;
        self.ended(&outcome.ended);
        for key in &outcome.moved {
            self.memory.remove(key);
        }
        self.count_raw_outcome(&outcome);
        outcome.counted.into_iter().for_each(Counted::keep);
        for stored in outcome.written {
            match reservation.take() {
                Some(reservation) if Some(stored.key) == key => reservation.fill_written(&Arc::new(Entry::of(stored))),
                _ => drop(self.memory.refresh(&stored)),
            }
        }
        for (key, stored) in outcome.read {
            // An entry of its own only carries the use to the store, if that has not heard of one for long enough.
            let entry = self.memory.get(&key).unwrap_or_else(|| Arc::new(Entry::of(stored)));
            let _ = self.view(&key, entry, Slide::Touch, now);
        }
        Ok(outcome.replies)
    }

    /// Says whose the session of that name is, whatever its value says; `None`: what the value says. Does not count as use.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`], also if the name is that of a plain key; [`GatewayError::UserLimit`] if the user may
    /// not have one more; [`GatewayError::Unavailable`].
    pub async fn bind(self: &Arc<Self>, name: RawName, user: Option<UserName>) -> Result<(), GatewayError> {
        let request = RawRequest { ops: vec![RawOp::Bind { name, user }], ..RawRequest::default() };
        match self.run_raw(request).await?.as_deref() {
            Some([RawReply::Integer(1)]) => Ok(()),
            Some([RawReply::Refused(RawRefusal::UserLimit { limit })]) => {
                Err(GatewayError::UserLimit { limit: *limit })
            }
            Some([RawReply::Refused(RawRefusal::StorageFull)]) => Err(GatewayError::StorageFull),
            // It says that it has bound no session; no other refusal is about bindings.
            _ => Err(GatewayError::NotFound),
        }
    }

    fn count_raw_outcome(&self, outcome: &RawOutcome) {
        for _ in 0..outcome.created {
            self.metrics.creation(CreationOutcome::Created);
        }
        for refusal in &outcome.refused {
            match refusal {
                RawRefusal::UserLimit { .. } => self.metrics.creation(CreationOutcome::UserLimit),
                RawRefusal::CreationRate => self.metrics.creation(CreationOutcome::CreationRate),
                RawRefusal::StorageFull => self.metrics.creation(CreationOutcome::StorageFull),
                RawRefusal::TooLarge { .. } => self.metrics.creation(CreationOutcome::TooLarge),
                _ => {}
            }
        }
        self.metrics.raw_writes(outcome.late, outcome.unknown);
    }

    /// A part of the names of a key space, behind a place.
    ///
    /// # Errors
    /// [`GatewayError::Unavailable`].
    pub async fn scan_raw(&self, database: u16, after: u64, max: usize) -> Result<RawPage, GatewayError> {
        let step = self.store.scan_raw(database, after, max, self.terms(self.now()));
        self.timed(StoreOp::List, step).await.map_err(GatewayError::Unavailable)
    }

    /// How many keys a key space has.
    ///
    /// # Errors
    /// [`GatewayError::Unavailable`].
    pub async fn count_raw(&self, database: u16) -> Result<u64, GatewayError> {
        self.timed(StoreOp::List, self.store.count_raw(database)).await.map_err(GatewayError::Unavailable)
    }

    /// Hears of sessions that end from now on.
    pub fn raw_ends(&self) -> broadcast::Receiver<RawEnd> {
        self.ends.0.subscribe()
    }
}
