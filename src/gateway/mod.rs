//! Stand-in, replaced on merge: everything in memory, good enough to run and test the door.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::{Clock, Timestamp};
use crate::config::settings::Settings;
use crate::session::{LeaseId, OnExcess, OsGenerator, Session, SessionId, SessionKey, Token, UserName, Verdict};
use crate::store::{Cursor, StoreError};

pub mod api;
pub mod memory;

use api::{CreateRequest, Created, GatewayError, Lease, Slide, Stats, View};
use memory::Entry;

/// What memory says.
#[derive(Debug)]
pub enum MemoryLookUp {
    /// Found.
    Hit(View),
    /// Over.
    Expired,
    /// Ask the store.
    Absent,
}

#[derive(Default)]
struct Inner {
    by_id: HashMap<SessionId, (SessionKey, Arc<Entry>)>,
    leases: HashMap<LeaseId, UserName>,
    per_ip: HashMap<std::net::IpAddr, u32>,
}

/// Stand-in gateway.
pub struct Gateway {
    settings: ArcSwap<Settings>,
    clock: Arc<dyn Clock>,
    cache: quick_cache::sync::Cache<SessionKey, Arc<Entry>>,
    inner: Mutex<Inner>,
    broken: AtomicU8,
    lookups: AtomicU64,
}

#[allow(clippy::unused_async, missing_docs, clippy::missing_errors_doc, clippy::unwrap_used)]
impl Gateway {
    pub fn stand_in(settings: Settings, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            settings: ArcSwap::from_pointee(settings),
            clock,
            cache: quick_cache::sync::Cache::new(100_000),
            inner: Mutex::default(),
            broken: AtomicU8::new(0),
            lookups: AtomicU64::new(0),
        })
    }

    pub fn break_store(&self) {
        self.broken.store(1, Ordering::Relaxed);
        self.cache.clear();
    }

    pub fn forget(&self) {
        self.cache.clear();
    }

    fn check(&self) -> Result<(), GatewayError> {
        match self.broken.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(GatewayError::Unavailable(StoreError::Unavailable("broken".into()))),
        }
    }

    fn judge(&self, entry: Arc<Entry>, slide: Slide) -> Option<View> {
        let now = self.clock.now();
        let settings = self.settings.load();
        let last = Timestamp::from_millis(entry.last.load(Ordering::Relaxed));
        match settings.lifetimes.clocks.judge(&entry.session, last, now.at) {
            Verdict::Expired(_) => None,
            Verdict::Live { mut expires_at, stale } => {
                let mut last_activity = last;
                if slide == Slide::Touch {
                    entry.last.store(now.at.as_millis(), Ordering::Relaxed);
                    last_activity = now.at;
                    expires_at = settings.lifetimes.clocks.end_of(&entry.session, now.at).0;
                }
                Some(View { entry, last_activity, expires_at, stale })
            }
        }
    }

    pub fn look_up_in_memory(&self, key: &SessionKey, slide: Slide) -> MemoryLookUp {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        match self.cache.get(key) {
            None => MemoryLookUp::Absent,
            Some(entry) => self.judge(entry, slide).map_or(MemoryLookUp::Expired, MemoryLookUp::Hit),
        }
    }

    pub async fn look_up(self: &Arc<Self>, key: SessionKey, slide: Slide) -> Result<View, GatewayError> {
        match self.look_up_in_memory(&key, slide) {
            MemoryLookUp::Hit(view) => return Ok(view),
            MemoryLookUp::Expired => return Err(GatewayError::NotFound),
            MemoryLookUp::Absent => {}
        }
        tokio::task::yield_now().await;
        self.check()?;
        let entry = self.inner.lock().unwrap().by_id.values().find(|(k, _)| *k == key).map(|(_, e)| Arc::clone(e));
        let entry = entry.ok_or(GatewayError::NotFound)?;
        self.cache.insert(key, Arc::clone(&entry));
        self.judge(entry, slide).ok_or(GatewayError::NotFound)
    }

    pub async fn create(self: &Arc<Self>, request: CreateRequest) -> Result<Created, GatewayError> {
        let settings = self.settings.load();
        let now = self.clock.now().at;
        if request.data.len() as u64 > settings.limits.session_bytes {
            return Err(GatewayError::SessionTooLarge {
                bytes: request.data.len() as u64,
                limit: settings.limits.session_bytes,
            });
        }
        if request.idle_timeout.is_some_and(|t| t > Duration::from_secs(3_153_600_000)) {
            return Err(GatewayError::InvalidTimeout("a timeout has at most 100 years"));
        }
        let mut inner = self.inner.lock().unwrap();
        if let (Some(ip), Some(rate)) = (request.ip, settings.limits.creation_per_ip) {
            let n = inner.per_ip.entry(ip).or_default();
            if *n >= rate.count {
                return Err(GatewayError::CreationRate { retry_after: rate.per / rate.count });
            }
            *n += 1;
        }
        self.check()?;
        if settings.limits.stored.sessions.is_some_and(|n| inner.by_id.len() as u64 >= n) {
            return Err(GatewayError::StorageFull);
        }
        let mut evicted = Vec::new();
        if let Some(user) = &request.user
            && let Some(limit) = settings.limits.per_user.of(user.as_str())
        {
            let mut theirs: Vec<_> = inner
                .by_id
                .values()
                .filter(|(_, e)| e.session.user.as_ref() == Some(user))
                .map(|(k, e)| (e.session.created_at, e.session.id, *k))
                .collect();
            theirs.sort_unstable();
            if theirs.len() as u64 >= limit.sessions {
                if limit.on_excess == OnExcess::Reject {
                    return Err(GatewayError::UserLimit { limit: limit.sessions });
                }
                let (_, id, key) = theirs[0];
                inner.by_id.remove(&id);
                self.cache.remove(&key);
                evicted.push(id);
            }
        }
        let token = Token::mint(&OsGenerator);
        let session = Session {
            id: SessionId::generate(now, &OsGenerator),
            user: request.user,
            created_at: now,
            idle_timeout: request.idle_timeout,
            absolute_timeout: request.absolute_timeout,
            revision: 1,
            data: request.data,
        };
        let id = session.id;
        let entry = Arc::new(Entry { session, last: AtomicI64::new(now.as_millis()) });
        inner.by_id.insert(id, (token.key(), Arc::clone(&entry)));
        self.cache.insert(token.key(), Arc::clone(&entry));
        drop(inner);
        let view = self.judge(entry, Slide::Peek).ok_or(GatewayError::NotFound)?;
        Ok(Created { token, view, evicted })
    }

    pub async fn update(
        self: &Arc<Self>,
        key: SessionKey,
        data: Box<[u8]>,
        if_revision: Option<u64>,
    ) -> Result<View, GatewayError> {
        let limit = self.settings.load().limits.session_bytes;
        if data.len() as u64 > limit {
            return Err(GatewayError::SessionTooLarge { bytes: data.len() as u64, limit });
        }
        let view = self.look_up(key, Slide::Touch).await?;
        self.check()?;
        let mut session = view.entry.session.clone();
        if let Some(expected) = if_revision
            && expected != session.revision
        {
            return Err(GatewayError::RevisionMismatch { current: session.revision });
        }
        if self
            .settings
            .load()
            .limits
            .stored
            .bytes
            .is_some_and(|most| session.stored_bytes() + data.len() as u64 > most)
        {
            return Err(GatewayError::StorageFull);
        }
        session.revision += 1;
        session.data = data;
        let entry = Arc::new(Entry { last: AtomicI64::new(view.entry.last.load(Ordering::Relaxed)), session });
        self.inner.lock().unwrap().by_id.insert(entry.session.id, (key, Arc::clone(&entry)));
        self.cache.insert(key, Arc::clone(&entry));
        self.judge(entry, Slide::Touch).ok_or(GatewayError::NotFound)
    }

    pub async fn touch(self: &Arc<Self>, key: SessionKey) -> Result<(), GatewayError> {
        self.look_up(key, Slide::Touch).await.map(drop)
    }

    pub async fn rotate(self: &Arc<Self>, key: SessionKey) -> Result<(Token, View), GatewayError> {
        let view = self.look_up(key, Slide::Touch).await?;
        self.check()?;
        let token = Token::mint(&OsGenerator);
        self.cache.remove(&key);
        let mut inner = self.inner.lock().unwrap();
        inner.by_id.insert(view.entry.session.id, (token.key(), Arc::clone(&view.entry)));
        self.cache.insert(token.key(), Arc::clone(&view.entry));
        Ok((token, view))
    }

    pub async fn revoke(self: &Arc<Self>, key: SessionKey) -> Result<(), GatewayError> {
        self.check()?;
        self.cache.remove(&key);
        self.inner.lock().unwrap().by_id.retain(|_, (k, _)| *k != key);
        Ok(())
    }

    pub async fn find(self: &Arc<Self>, id: SessionId) -> Result<View, GatewayError> {
        self.check()?;
        let entry = self.inner.lock().unwrap().by_id.get(&id).map(|(_, e)| Arc::clone(e));
        entry.and_then(|entry| self.judge(entry, Slide::Peek)).ok_or(GatewayError::NotFound)
    }

    pub async fn revoke_id(self: &Arc<Self>, id: SessionId) -> Result<bool, GatewayError> {
        self.check()?;
        let gone = self.inner.lock().unwrap().by_id.remove(&id);
        Ok(gone.is_some_and(|(key, _)| {
            self.cache.remove(&key);
            true
        }))
    }

    pub async fn user_sessions(
        self: &Arc<Self>,
        user: UserName,
        after: Option<Cursor>,
        max: usize,
    ) -> Result<(Vec<View>, Option<Cursor>), GatewayError> {
        self.check()?;
        let mut theirs: Vec<_> = {
            let inner = self.inner.lock().unwrap();
            inner
                .by_id
                .values()
                .map(|(_, e)| Arc::clone(e))
                .filter(|e| e.session.user.as_ref() == Some(&user))
                .collect()
        };
        let place = |e: &Entry| (e.session.created_at, e.session.id);
        theirs.sort_by_key(|e| place(e));
        theirs.retain(|e| after.is_none_or(|c| place(e) > (c.created_at, c.id)));
        let more = theirs.len() > max;
        theirs.truncate(max);
        let next =
            theirs.last().filter(|_| more).map(|e| Cursor { created_at: e.session.created_at, id: e.session.id });
        Ok((theirs.into_iter().filter_map(|e| self.judge(e, Slide::Peek)).collect(), next))
    }

    pub async fn revoke_user(self: &Arc<Self>, user: UserName) -> Result<u64, GatewayError> {
        self.check()?;
        let mut n = 0;
        self.inner.lock().unwrap().by_id.retain(|_, (key, e)| {
            let theirs = e.session.user.as_ref() == Some(&user);
            if theirs {
                self.cache.remove(key);
                n += 1;
            }
            !theirs
        });
        Ok(n)
    }

    pub fn take_lease(&self, user: &UserName) -> Result<Lease, GatewayError> {
        let settings = self.settings.load();
        let mut inner = self.inner.lock().unwrap();
        let held = inner.leases.values().filter(|u| *u == user).count();
        if let Some(limit) = settings.limits.leases.per_user
            && held as u64 >= u64::from(limit)
        {
            return Err(GatewayError::LeaseLimit { limit, retry_after: settings.limits.leases.ttl });
        }
        let now = self.clock.now().at;
        let id = LeaseId::generate(now, &OsGenerator);
        inner.leases.insert(id, user.clone());
        drop(inner);
        self.renew_lease(id)
    }

    pub fn renew_lease(&self, id: LeaseId) -> Result<Lease, GatewayError> {
        let settings = self.settings.load();
        let inner = self.inner.lock().unwrap();
        let user = inner.leases.get(&id).ok_or(GatewayError::NotFound)?;
        let in_use = u32::try_from(inner.leases.values().filter(|u| *u == user).count()).unwrap();
        let expires_at = self.clock.now().at + settings.limits.leases.ttl;
        Ok(Lease { id, expires_at, in_use, limit: settings.limits.leases.per_user })
    }

    pub fn return_lease(&self, id: LeaseId) -> Result<(), GatewayError> {
        self.inner.lock().unwrap().leases.remove(&id).map(drop).ok_or(GatewayError::NotFound)
    }

    pub async fn stats(self: &Arc<Self>) -> Result<Stats, GatewayError> {
        self.check()?;
        let inner = self.inner.lock().unwrap();
        let storage = inner.by_id.len() as u64;
        Ok(Stats {
            memory: self.cache.len() as u64,
            storage,
            active: storage,
            stale: 0,
            storage_bytes: inner.by_id.values().map(|(_, e)| e.session.stored_bytes()).sum(),
            evictions: vec![("memory", "lru", 0), ("storage", "idle", 0), ("storage", "user_limit", 0)],
            top_users: inner
                .by_id
                .values()
                .filter_map(|(_, e)| e.session.user.clone())
                .map(|u| (u, 1))
                .take(1)
                .collect(),
        })
    }

    pub fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }
}
