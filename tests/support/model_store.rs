//! The store contract in the plainest terms: a list of sessions, searched from end to end for every question.
//!
//! It shares no code with any store. Whatever it answers follows from the documentation of [`Store`]; where that
//! leaves an order open, ties go to what was inserted first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use sessgate::clock::Timestamp;
use sessgate::session::{
    Capacity, EndReason, Ended, EventId, Generator, NameKeys, OnExcess, RawName, SessionId, SessionKey, StoredSession,
    UserLimit, UserLimits, UserName, Verdict,
};
use sessgate::store::raw::{RawBatch, RawFound, RawOutcome, RawPage};
use sessgate::store::{
    CreateError, CreateLimits, Cursor, Figures, FiguresQuery, MAX_DISPLACED, MAX_NOTICES, NOTICE_LEASE, Notice,
    Settlement, Store, StoreError, Terms, Update, UpdateError, Waiting, Whom,
};

/// A store in memory that is obviously right.
pub struct ModelStore {
    state: Mutex<State>,
    generator: Arc<dyn Generator>,
}

#[derive(Clone, Default)]
struct State {
    /// In the order of insertion.
    sessions: Vec<StoredSession>,
    /// In the order in which they ended, each with the time from which it is visible.
    outbox: Vec<(Notice, Timestamp)>,
    overflowed: u64,
    closed: bool,
}

impl ModelStore {
    pub fn new(generator: Arc<dyn Generator>) -> Self {
        Self { state: Mutex::default(), generator }
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock().unwrap();
        if state.closed { Err(StoreError::Unavailable("it is closed".to_owned())) } else { Ok(state) }
    }

    fn end_all(&self, state: &mut State, victims: Vec<(StoredSession, EndReason)>, terms: &Terms) -> Vec<Ended> {
        let ended: Vec<Ended> = victims
            .into_iter()
            .map(|(victim, reason)| Ended {
                event_id: EventId::generate(terms.now, &*self.generator),
                key: victim.key,
                name: None,
                id: victim.session.id,
                user: victim.session.user,
                reason,
                at: terms.now,
                idle: terms.now.since(victim.last_activity),
            })
            .collect();
        state.sessions.retain(|session| ended.iter().all(|ended| ended.key != session.key));
        if terms.notify {
            for Ended { event_id, id, user, reason, at, .. } in ended.clone() {
                state.outbox.push((Notice { event_id, id, user, reason, at, attempts: 0 }, at));
            }
            while state.outbox.len() as u64 > MAX_NOTICES {
                state.outbox.remove(0);
                state.overflowed += 1;
            }
        }
        ended
    }
}

/// Sessions that remain, and those that are to go.
struct Plan {
    remaining: Vec<StoredSession>,
    victims: Vec<(StoredSession, EndReason)>,
    terms: Terms,
}

impl Plan {
    fn new(state: &State, terms: &Terms) -> Self {
        Self { remaining: state.sessions.clone(), victims: Vec::new(), terms: *terms }
    }

    fn take(&mut self, victim: &StoredSession, reason: EndReason) {
        self.remaining.retain(|session| session.key != victim.key);
        self.victims.push((victim.clone(), reason));
    }

    fn count(&self, user: &UserName) -> usize {
        self.remaining.iter().filter(|session| session.session.user.as_ref() == Some(user)).count()
    }

    /// The heaviest user, the first by name among equals.
    fn heaviest(&self) -> Option<(UserName, usize)> {
        let mut counts: BTreeMap<&UserName, usize> = BTreeMap::new();
        for user in self.remaining.iter().filter_map(|session| session.session.user.as_ref()) {
            *counts.entry(user).or_default() += 1;
        }
        let (user, count) = counts.into_iter().min_by_key(|(_, count)| Reverse(*count))?;
        Some((user.clone(), count))
    }

    /// The expired, the longest overdue first.
    fn expired(&self) -> Vec<(StoredSession, EndReason)> {
        let ends =
            self.remaining.iter().filter_map(|session| Some((over(session, self.terms.grace, &self.terms)?, session)));
        in_order(ends)
    }

    /// Takes a user's expired, the longest overdue first.
    fn take_expired_of(&mut self, user: &UserName) {
        let of_user = self.remaining.iter().filter(|session| session.session.user.as_ref() == Some(user));
        let ends =
            of_user.filter_map(|session| Some((over(session, own_grace(session, &self.terms), &self.terms)?, session)));
        for (victim, reason) in in_order(ends) {
            self.take(&victim, reason);
        }
    }

    /// The stale, the longest unused first.
    fn stale(&self) -> Vec<StoredSession> {
        let Terms { now, lifetimes, grace, .. } = self.terms;
        let is_stale = |session: &&StoredSession| now.since(session.last_activity) >= lifetimes.stale_after + grace;
        let mut stale: Vec<_> = self.remaining.iter().filter(is_stale).cloned().collect();
        stale.sort_by_key(|session| session.last_activity);
        stale
    }

    /// Sessions of a user, or anonymous ones, by creation.
    fn oldest(&self, user: Option<&UserName>) -> Vec<StoredSession> {
        by_creation(&self.remaining, user)
    }

    fn by_policy(&self, user: &UserName, policy: OnExcess) -> Vec<StoredSession> {
        let mut sessions = self.oldest(Some(user));
        match policy {
            OnExcess::EvictOldest => {}
            OnExcess::EvictIdlest => {
                sessions.clone_from(&self.remaining);
                sessions.retain(|session| session.session.user.as_ref() == Some(user));
                sessions.sort_by_key(|session| session.last_activity);
            }
            OnExcess::Reject => sessions.clear(),
        }
        sessions
    }

    fn fits(&self, newcomer: Option<&StoredSession>, cap: Capacity) -> bool {
        let sessions = self.remaining.iter().chain(newcomer);
        let count = sessions.clone().count() as u64;
        let bytes: u64 = sessions.map(|session| session.session.stored_bytes()).sum();
        cap.sessions.is_none_or(|cap| count <= cap) && cap.bytes.is_none_or(|cap| bytes <= cap)
    }

    /// Ends sessions until the newcomer, if there is one, fits; at most `max`. Each kind of victim is used up before
    /// the next is looked at.
    fn make_room(&mut self, newcomer: Option<&StoredSession>, cap: Capacity, max: usize) {
        type Kind = fn(&Plan, Option<&UserName>) -> Option<StoredSession>;
        let expired: Kind = |plan, _| plan.expired().into_iter().map(|(session, _)| session).next();
        let own: Kind = |plan, user| {
            let heaviest = plan.heaviest().map_or(0, |(_, most)| most);
            plan.oldest(user).into_iter().next().filter(|_| user.is_some_and(|user| plan.count(user) == heaviest))
        };
        let stale: Kind = |plan, _| plan.stale().into_iter().next();
        let stale_anonymous: Kind = |plan, _| plan.stale().into_iter().find(|session| session.session.user.is_none());
        let anonymous: Kind = |plan, _| plan.oldest(None).into_iter().next();
        let heaviest: Kind = |plan, user| {
            let (heaviest, count) = plan.heaviest()?;
            let kept = count - 1;
            let newcomers = user.map_or(1, |user| plan.count(user) + 1);
            plan.oldest(Some(&heaviest)).into_iter().next().filter(|_| kept >= newcomers)
        };
        let user = newcomer.and_then(|newcomer| newcomer.session.user.as_ref());
        let kinds = match (newcomer, user) {
            (Some(_), None) => vec![expired, stale_anonymous, anonymous],
            (Some(_), Some(_)) => vec![expired, own, stale_anonymous, anonymous, stale, heaviest],
            (None, _) => vec![expired, stale_anonymous, anonymous, stale, heaviest],
        };
        let most = self.victims.len() + max;
        for kind in kinds {
            while self.victims.len() < most && !self.fits(newcomer, cap) {
                let Some(victim) = kind(self, user) else { break };
                let Terms { now, lifetimes, grace, .. } = self.terms;
                let reason = match lifetimes.judge(&victim.session, victim.last_activity + grace, now) {
                    Verdict::Expired(reason) => reason,
                    Verdict::Live { .. } => EndReason::StorageCap,
                };
                self.take(&victim, reason);
            }
        }
    }

    fn keep_user_limit(&mut self, user: &UserName, limit: UserLimit) -> bool {
        let count = self.count(user) as u64;
        if count < limit.sessions {
            return true;
        }
        if limit.on_excess == OnExcess::Reject || limit.sessions == 0 {
            return false;
        }
        let surplus = usize::try_from(count + 1 - limit.sessions).unwrap();
        for victim in self.by_policy(user, limit.on_excess).into_iter().take(surplus) {
            self.take(&victim, EndReason::UserLimit);
        }
        true
    }
}

#[async_trait]
impl Store for ModelStore {
    fn kind(&self) -> &'static str {
        "model"
    }

    fn id(&self) -> &'static str {
        "00"
    }

    fn names(&self) -> NameKeys {
        NameKeys::new(0)
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn create(&self, new: StoredSession, limits: CreateLimits, terms: Terms) -> Result<Vec<Ended>, CreateError> {
        let mut state = self.open()?;
        let mut plan = Plan::new(&state, &terms);
        if let Some(user) = &new.session.user {
            plan.take_expired_of(user);
            if let Some(limit) = limits.user
                && !plan.keep_user_limit(user, limit)
            {
                return Err(CreateError::UserLimit);
            }
        }
        plan.make_room(Some(&new), limits.capacity, MAX_DISPLACED);
        if !plan.fits(Some(&new), limits.capacity) {
            return Err(CreateError::StorageFull);
        }
        if state.sessions.iter().any(|there| there.key == new.key || there.session.id == new.session.id) {
            return Err(StoreError::Unavailable("there is one already".to_owned()).into());
        }
        state.sessions.push(new);
        Ok(self.end_all(&mut state, plan.victims, &terms))
    }

    async fn load(&self, key: SessionKey) -> Result<Option<StoredSession>, StoreError> {
        Ok(self.open()?.sessions.iter().find(|session| session.key == key).cloned())
    }

    async fn find(&self, id: SessionId) -> Result<Option<StoredSession>, StoreError> {
        Ok(self.open()?.sessions.iter().find(|session| session.session.id == id).cloned())
    }

    async fn update(&self, update: Update) -> Result<StoredSession, UpdateError> {
        let mut state = self.open()?;
        let held: u64 = state.sessions.iter().map(|session| session.session.stored_bytes()).sum();
        let Some(session) = state.sessions.iter_mut().find(|session| session.key == update.key) else {
            return Err(UpdateError::NotFound);
        };
        let current = session.session.revision;
        if update.if_revision.is_some_and(|expected| expected != current) {
            return Err(UpdateError::RevisionMismatch { current });
        }
        let (old, new) = (session.session.data.len() as u64, update.data.len() as u64);
        if new > old && update.capacity.bytes.is_some_and(|cap| held - old + new > cap) {
            return Err(UpdateError::StorageFull);
        }
        session.session.data = update.data;
        session.session.revision += 1;
        session.last_activity = session.last_activity.max(update.now);
        Ok(session.clone())
    }

    async fn rotate(
        &self,
        old: SessionKey,
        new: SessionKey,
        now: Timestamp,
    ) -> Result<Option<StoredSession>, StoreError> {
        let mut state = self.open()?;
        if old != new && state.sessions.iter().any(|session| session.key == new) {
            return Err(StoreError::Unavailable("there is one already".to_owned()));
        }
        let Some(session) = state.sessions.iter_mut().find(|session| session.key == old) else { return Ok(None) };
        session.key = new;
        session.last_activity = session.last_activity.max(now);
        Ok(Some(session.clone()))
    }

    async fn touch(&self, touches: Vec<(SessionKey, Timestamp)>) -> Result<(), StoreError> {
        let mut state = self.open()?;
        for (key, at) in touches {
            for session in state.sessions.iter_mut().filter(|session| session.key == key) {
                session.last_activity = session.last_activity.max(at);
            }
        }
        Ok(())
    }

    async fn end(&self, whom: Whom, reason: EndReason, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        let mut state = self.open()?;
        let plan = Plan::new(&state, &terms);
        let mut found = match whom {
            Whom::Key(key) => plan.remaining.into_iter().filter(|session| session.key == key).collect(),
            Whom::Id(id) => plan.remaining.into_iter().filter(|session| session.session.id == id).collect(),
            Whom::User(user) => plan.oldest(Some(&user)),
        };
        found.truncate(max);
        let judged = |session: StoredSession| {
            let reason = over(&session, own_grace(&session, &terms), &terms).map_or(reason, |(_, clock)| clock);
            (session, reason)
        };
        let victims = found.into_iter().map(judged).collect();
        Ok(self.end_all(&mut state, victims, &terms))
    }

    async fn claim_due(&self, close_stale: bool, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        let mut state = self.open()?;
        let mut plan = Plan::new(&state, &terms);
        for (victim, reason) in plan.expired() {
            plan.take(&victim, reason);
        }
        if close_stale {
            for victim in plan.stale() {
                plan.take(&victim, EndReason::Stale);
            }
        }
        plan.victims.truncate(max);
        Ok(self.end_all(&mut state, plan.victims, &terms))
    }

    async fn trim_users(&self, limits: &UserLimits, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        let mut state = self.open()?;
        let mut plan = Plan::new(&state, &terms);
        let mut users: Vec<_> = plan.remaining.iter().filter_map(|session| session.session.user.clone()).collect();
        users.sort_by_key(|user| (Reverse(plan.count(user)), user.clone()));
        users.dedup();
        for user in users {
            let Some(limit) = limits.of(user.as_str()) else { continue };
            if limit.on_excess == OnExcess::Reject || plan.count(&user) as u64 <= limit.sessions {
                continue;
            }
            plan.take_expired_of(&user);
            let surplus = (plan.count(&user) as u64).saturating_sub(limit.sessions);
            let by_policy = plan.by_policy(&user, limit.on_excess);
            for victim in by_policy.into_iter().take(usize::try_from(surplus).unwrap()) {
                plan.take(&victim, EndReason::UserLimit);
            }
        }
        plan.victims.truncate(max);
        Ok(self.end_all(&mut state, plan.victims, &terms))
    }

    async fn make_room(&self, target: Capacity, max: usize, terms: Terms) -> Result<Vec<Ended>, StoreError> {
        let mut state = self.open()?;
        let mut plan = Plan::new(&state, &terms);
        plan.make_room(None, target, max);
        Ok(self.end_all(&mut state, plan.victims, &terms))
    }

    async fn user_sessions(
        &self,
        user: UserName,
        after: Option<Cursor>,
        max: usize,
    ) -> Result<Vec<StoredSession>, StoreError> {
        let state = self.open()?;
        let mut sessions = by_creation(&state.sessions, Some(&user));
        sessions.retain(|StoredSession { session, .. }| {
            after.is_none_or(|after| (session.created_at, session.id) > (after.created_at, after.id))
        });
        sessions.truncate(max);
        for listed in &mut sessions {
            listed.session.data = Box::default();
        }
        Ok(sessions)
    }

    async fn figures(&self, query: FiguresQuery) -> Result<Figures, StoreError> {
        let state = self.open()?;
        let mut counts: BTreeMap<UserName, u64> = BTreeMap::new();
        for user in state.sessions.iter().filter_map(|session| session.session.user.clone()) {
            *counts.entry(user).or_default() += 1;
        }
        let at_limit = counts
            .iter()
            .filter(|(user, count)| query.user_limits.of(user.as_str()).is_some_and(|limit| **count >= limit.sessions))
            .count();
        let mut top_users: Vec<_> = counts.clone().into_iter().collect();
        top_users.sort_by_key(|(user, count)| (Reverse(*count), user.clone()));
        top_users.truncate(query.top);
        Ok(Figures {
            sessions: state.sessions.len() as u64,
            bytes: state.sessions.iter().map(|session| session.session.stored_bytes()).sum(),
            stale: state.sessions.iter().filter(|session| session.last_activity <= query.stale_before).count() as u64,
            oldest_activity: state.sessions.iter().map(|session| session.last_activity).min(),
            users: counts.len() as u64,
            users_at_limit: at_limit as u64,
            top_users,
        })
    }

    async fn take_notices(&self, now: Timestamp, max: usize) -> Result<Vec<Notice>, StoreError> {
        let mut state = self.open()?;
        let mut due: Vec<_> = state.outbox.iter_mut().filter(|(_, next_at)| *next_at <= now).collect();
        due.sort_by_key(|(_, next_at)| *next_at);
        due.truncate(max);
        let take = |(notice, next_at): &mut (Notice, Timestamp)| {
            *next_at = now + NOTICE_LEASE;
            notice.clone()
        };
        Ok(due.into_iter().map(take).collect())
    }

    async fn settle_notices(&self, settled: Vec<(EventId, Settlement)>) -> Result<(), StoreError> {
        let mut state = self.open()?;
        for (event, settlement) in settled {
            match settlement {
                Settlement::Remove => state.outbox.retain(|(notice, _)| notice.event_id != event),
                Settlement::RetryAt(at) => {
                    for (notice, next_at) in state.outbox.iter_mut().filter(|(notice, _)| notice.event_id == event) {
                        notice.attempts += 1;
                        *next_at = at;
                    }
                }
            }
        }
        Ok(())
    }

    async fn drop_notices(&self, until: Timestamp, max: usize) -> Result<u64, StoreError> {
        let mut state = self.open()?;
        let old = |(notice, _): &mut (Notice, Timestamp)| notice.at <= until;
        let oldest = state.outbox.len().min(max);
        Ok(state.outbox.extract_if(..oldest, old).count() as u64)
    }

    async fn notices(&self) -> Result<Waiting, StoreError> {
        let state = self.open()?;
        Ok(Waiting { queued: state.outbox.len() as u64, overflowed: state.overflowed })
    }

    // Keys that apps name are told by a model of their own.
    async fn load_raw(&self, _: RawName, _: Timestamp) -> Result<Option<RawFound>, StoreError> {
        Ok(None)
    }

    async fn run_raw(&self, _: RawBatch) -> Result<RawOutcome, StoreError> {
        Err(StoreError::Unavailable("the model has none".to_owned()))
    }

    async fn scan_raw(&self, _: u16, _: u64, _: usize, _: Terms) -> Result<RawPage, StoreError> {
        Ok(RawPage::default())
    }

    async fn count_raw(&self, _: u16) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.open().map(drop)
    }

    async fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }
}

/// When a session ended and by which clock, if it has; its idle clock runs `grace` longer.
fn over(session: &StoredSession, grace: Duration, terms: &Terms) -> Option<(Timestamp, EndReason)> {
    let used = session.last_activity + grace;
    match terms.lifetimes.judge(&session.session, used, terms.now) {
        Verdict::Expired(reason) => Some((terms.lifetimes.end_of(&session.session, used).0, reason)),
        Verdict::Live { .. } => None,
    }
}

/// The grace where a session is judged by itself: no more than its own activity may be unsaved.
fn own_grace(session: &StoredSession, terms: &Terms) -> Duration {
    let unsaved = terms.lifetimes.clocks().touch_interval_of(&session.session);
    terms.grace.min(Duration::from_millis(u64::try_from(unsaved).unwrap()))
}

/// The longest overdue first.
fn in_order<'s>(
    ends: impl Iterator<Item = ((Timestamp, EndReason), &'s StoredSession)>,
) -> Vec<(StoredSession, EndReason)> {
    let mut ends: Vec<_> = ends.collect();
    ends.sort_by_key(|((end, _), _)| *end);
    ends.into_iter().map(|((_, reason), session)| (session.clone(), reason)).collect()
}

fn by_creation(sessions: &[StoredSession], user: Option<&UserName>) -> Vec<StoredSession> {
    let mut sessions: Vec<_> =
        sessions.iter().filter(|session| session.session.user.as_ref() == user).cloned().collect();
    sessions.sort_by_key(|session| (session.session.created_at, session.session.id));
    sessions
}
