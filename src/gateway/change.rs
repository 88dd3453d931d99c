//! Changes: store first, memory second, each run to its end.

use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::api::{CreateRequest, Created, GatewayError, Slide, View};
use super::memory::Entry;
use super::{BATCH, Gateway};
use crate::clock::Timestamp;
use crate::config::settings::Settings;
use crate::metrics::labels::{CreationOutcome, StoreOp};
use crate::session::{Content, EndReason, Ended, Session, SessionId, SessionKey, StoredSession, Timeout, Token};
use crate::store::raw::Counted;
use crate::store::{CreateError, CreateLimits, LEAST_STEP, StoreError, Update, UpdateError, Whom};

/// What a session's own timeouts may be: as the configuration's, so that every deadline can be stored.
const OWN_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 365 * 86_400);

impl Gateway {
    /// Creates a session.
    ///
    /// # Errors
    /// One for each limit that stands against it, or [`GatewayError::Unavailable`].
    pub async fn create(self: &Arc<Self>, request: CreateRequest) -> Result<Created, GatewayError> {
        for own in [request.idle_timeout, request.absolute_timeout].into_iter().flatten() {
            if !OWN_TIMEOUT.contains(&own) {
                return Err(GatewayError::InvalidTimeout("a timeout lies between one second and ten years"));
            }
        }
        let result = match self.admit(&request) {
            Ok(counted) => {
                let this = Arc::clone(self);
                to_the_end(async move {
                    let created = this.create_admitted(request).await?;
                    counted.keep();
                    Ok(created)
                })
                .await
            }
            Err(refusal) => Err(refusal),
        };
        self.metrics.creation(match &result {
            Ok(_) => CreationOutcome::Created,
            Err(GatewayError::UserLimit { .. }) => CreationOutcome::UserLimit,
            Err(GatewayError::CreationRate { .. }) => CreationOutcome::CreationRate,
            Err(GatewayError::StorageFull) => CreationOutcome::StorageFull,
            Err(GatewayError::SessionTooLarge { .. }) => CreationOutcome::TooLarge,
            Err(_) => CreationOutcome::StoreError,
        });
        result
    }

    /// Checks what can be checked without the store. Against the creation rate only what is created counts: what is
    /// refused here does not come to it, and what the store refuses is given back.
    fn admit(&self, request: &CreateRequest) -> Result<Counted, GatewayError> {
        Self::fits(&request.data, &self.settings.load())?;
        let Some(ip) = request.ip else { return Ok(Counted::for_good()) };
        self.creations.admit(ip, self.now()).map_err(|retry_after| GatewayError::CreationRate { retry_after })
    }

    fn fits(data: &[u8], settings: &Settings) -> Result<(), GatewayError> {
        let (bytes, limit) = (data.len() as u64, settings.limits.session_bytes);
        if bytes > limit { Err(GatewayError::SessionTooLarge { bytes, limit }) } else { Ok(()) }
    }

    async fn create_admitted(self: Arc<Self>, request: CreateRequest) -> Result<Created, GatewayError> {
        let now = self.now();
        let settings = self.settings.load_full();
        let token = Token::mint(&*self.generator);
        let key = token.key();
        let session = Session {
            id: SessionId::generate(now, &*self.generator),
            user: request.user,
            created_at: now,
            idle_timeout: request.idle_timeout.map(Timeout::of),
            absolute_timeout: request.absolute_timeout.map(Timeout::of),
            revision: 1,
            data: request.data,
        };
        let user_limit = session.user.as_ref().and_then(|user| settings.limits.per_user.of(user.as_str()));
        let limits = CreateLimits { user: user_limit, capacity: settings.limits.stored };
        let new = StoredSession { key, session, last_activity: now, content: Content::Json };
        let entry = Arc::new(Entry::of(new.clone()));
        let reservation = self.memory.get_or_reserve(&key).await;
        let ended =
            self.timed(StoreOp::Create, self.store.create(new, limits, self.terms(now))).await.map_err(|error| {
                match error {
                    CreateError::UserLimit => {
                        GatewayError::UserLimit { limit: user_limit.map_or(0, |limit| limit.sessions) }
                    }
                    CreateError::StorageFull | CreateError::Store(StoreError::Full(_)) => GatewayError::StorageFull,
                    CreateError::Store(error) => GatewayError::Unavailable(error),
                }
            })?;
        if let Err(reservation) = reservation {
            reservation.fill(&entry);
        }
        let evicted = ended.iter().map(|ended| ended.id).collect();
        self.ended(&ended);
        let (expires_at, _) = settings.lifetimes.clocks.end_of(&entry.session, now);
        Ok(Created { token, view: View { entry, last_activity: now, expires_at, stale: false }, evicted })
    }

    /// Replaces a session's data; counts as use.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`], [`GatewayError::SessionTooLarge`], [`GatewayError::RevisionMismatch`],
    /// [`GatewayError::StorageFull`] or [`GatewayError::Unavailable`].
    pub async fn update(
        self: &Arc<Self>,
        key: SessionKey,
        data: Box<[u8]>,
        if_revision: Option<u64>,
    ) -> Result<View, GatewayError> {
        Self::fits(&data, &self.settings.load())?;
        let this = Arc::clone(self);
        to_the_end(async move {
            let before = this.look_up(key, Slide::Peek).await?;
            let now = this.now();
            let capacity = this.settings.load().limits.stored;
            let update = Update { key, data, if_revision, now, capacity };
            let stored = this.timed(StoreOp::Update, this.store.update(update)).await.map_err(|error| match error {
                UpdateError::NotFound => GatewayError::NotFound,
                UpdateError::RevisionMismatch { current } => GatewayError::RevisionMismatch { current },
                UpdateError::StorageFull | UpdateError::Store(StoreError::Full(_)) => GatewayError::StorageFull,
                UpdateError::Store(error) => GatewayError::Unavailable(error),
            });
            if matches!(stored, Err(GatewayError::NotFound)) {
                this.memory.remove(&key);
            }
            Ok(this.view_of(&stored?, now, before.stale))
        })
        .await
    }

    /// Counts as use of a session, nothing else.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up).
    pub async fn touch(self: &Arc<Self>, key: SessionKey) -> Result<(), GatewayError> {
        self.look_up(key, Slide::Touch).await.map(|_| ())
    }

    /// Gives a session a new token; the old one is dead at once.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up).
    pub async fn rotate(self: &Arc<Self>, old: SessionKey) -> Result<(Token, View), GatewayError> {
        let this = Arc::clone(self);
        to_the_end(async move {
            let before = this.look_up(old, Slide::Peek).await?;
            let now = this.now();
            let token = Token::mint(&*this.generator);
            let new = token.key();
            let reservation = this.memory.get_or_reserve(&new).await;
            let rotated = this.timed(StoreOp::Update, this.store.rotate(old, new, now)).await;
            this.memory.remove(&old);
            let stored = rotated.map_err(GatewayError::Unavailable)?.ok_or(GatewayError::NotFound)?;
            let entry = Arc::new(Entry::of(stored));
            if let Err(reservation) = reservation {
                reservation.fill(&entry);
            }
            let (expires_at, _) = this.settings.load().lifetimes.clocks.end_of(&entry.session, now);
            Ok((token, View { entry, last_activity: now, expires_at, stale: before.stale }))
        })
        .await
    }

    /// Ends the session under a key. Well, too, if there is none.
    ///
    /// # Errors
    /// [`GatewayError::Unavailable`].
    pub async fn revoke(self: &Arc<Self>, key: SessionKey) -> Result<(), GatewayError> {
        let this = Arc::clone(self);
        to_the_end(async move {
            let result = this.end(Whom::Key(key), EndReason::Revoked).await;
            // Whatever the store says, it is not served from here any more.
            this.memory.remove(&key);
            result.map(|_| ())
        })
        .await
    }

    /// Ends sessions for good: in the store, in memory, in the figures. How many, without those whose time was over.
    pub(super) async fn end(&self, whom: Whom, reason: EndReason) -> Result<u64, GatewayError> {
        let mut total = 0;
        loop {
            let terms = self.terms(self.now());
            let step = self.store.end(whom.clone(), reason, BATCH, terms);
            let ended = self.timed(StoreOp::End, step).await.map_err(GatewayError::Unavailable)?;
            total += ended.iter().filter(|one| one.reason == reason).count() as u64;
            self.ended(&ended);
            if ended.len() < LEAST_STEP {
                return Ok(total);
            }
        }
    }

    /// What follows everywhere else when the store has ended sessions.
    pub(super) fn ended(&self, ended: &[Ended]) {
        for one in ended {
            self.memory.remove(&one.key);
            self.metrics.session_ended(one.reason, one.idle);
            self.ends.tell(one);
            // The audit trail: who was logged out, and why. Ends by the clock are too many and say nothing.
            match one.reason {
                EndReason::Idle | EndReason::Absolute | EndReason::Stale => {
                    tracing::debug!(session = %one.id, reason = one.reason.as_str(), "session ended");
                }
                EndReason::UserLimit | EndReason::StorageCap | EndReason::Revoked | EndReason::Admin => {
                    tracing::info!(session = %one.id, reason = one.reason.as_str(), "session ended");
                }
            }
        }
        if !ended.is_empty() {
            self.courier.wake();
        }
    }

    /// The view of a session as it was just written.
    fn view_of(&self, stored: &StoredSession, now: Timestamp, stale: bool) -> View {
        let entry = self.memory.refresh(stored);
        let (expires_at, _) = self.settings.load().lifetimes.clocks.end_of(&entry.session, now);
        View { entry, last_activity: now, expires_at, stale }
    }
}

/// Runs a change to its end, even if the caller is dropped meanwhile because its client went away.
pub(super) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, GatewayError>> + Send + 'static,
) -> Result<T, GatewayError> {
    match tokio::spawn(change).await {
        Ok(result) => result,
        Err(error) => {
            Err(GatewayError::Unavailable(StoreError::Unavailable(format!("the change was cut off: {error}"))))
        }
    }
}
