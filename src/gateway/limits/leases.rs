//! Leases: how many operations a user runs at once. A lease ends when it is given back, or by itself after `ttl`, so
//! that a crashed worker does not block its user for long.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::config::settings::LeaseLimits;
use crate::gateway::api::{GatewayError, Lease};
use crate::session::{LeaseId, UserName};

/// The most leases of one user where the configuration sets no limit: it bounds memory, not the user.
const UNLIMITED: u32 = 10_000;

#[derive(Default)]
pub(in crate::gateway) struct Leases {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    users: HashMap<UserName, Held>,
    /// Who is forgotten next: users without leases first, and of those the longest unused.
    by_use: BTreeSet<Place>,
    owners: HashMap<LeaseId, UserName>,
    /// Leases by the time at which they end by themselves.
    by_end: BTreeSet<(Timestamp, LeaseId)>,
    /// Leases that ended because their user was forgotten, and that nobody has counted yet.
    forgotten: u64,
}

/// Whether a user holds leases, the last request, and who it is.
type Place = (bool, Timestamp, UserName);

struct Held {
    used_at: Timestamp,
    /// Each lease and its end; a handful a user.
    leases: Vec<(LeaseId, Timestamp)>,
}

impl Held {
    fn place(&self, user: &UserName) -> Place {
        (!self.leases.is_empty(), self.used_at, user.clone())
    }
}

impl Leases {
    /// Gives `user` the lease `id`.
    ///
    /// # Errors
    /// [`GatewayError::LeaseLimit`] if the user holds as many as allowed.
    pub(in crate::gateway) fn take(
        &self,
        user: &UserName,
        id: LeaseId,
        limits: &LeaseLimits,
        now: Timestamp,
    ) -> Result<Lease, GatewayError> {
        let mut table = self.table();
        table.used(user, limits, now);
        let Some(Held { leases, .. }) = table.users.get(user) else { return Err(GatewayError::NotFound) };
        let limit = limits.per_user.unwrap_or(UNLIMITED);
        if leases.len() >= limit as usize {
            let first_end = leases.iter().map(|(_, end)| *end).min().unwrap_or(now);
            return Err(GatewayError::LeaseLimit { limit, retry_after: first_end.since(now) });
        }
        let expires_at = now + limits.ttl;
        let in_use = table.change(user, |held| {
            held.leases.push((id, expires_at));
            count(&held.leases)
        });
        table.owners.insert(id, user.clone());
        table.by_end.insert((expires_at, id));
        Ok(Lease { id, expires_at, in_use: in_use.unwrap_or(0), limit: limits.per_user })
    }

    /// Extends a lease by the whole `ttl` from `now`.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] if it has ended.
    pub(in crate::gateway) fn renew(
        &self,
        id: LeaseId,
        limits: &LeaseLimits,
        now: Timestamp,
    ) -> Result<Lease, GatewayError> {
        let mut table = self.table();
        let user = table.owners.get(&id).cloned().ok_or(GatewayError::NotFound)?;
        let expires_at = now + limits.ttl;
        let held = table.users.get_mut(&user).ok_or(GatewayError::NotFound)?;
        let in_use = count(&held.leases);
        let end = held.leases.iter_mut().find(|(held, _)| *held == id).map(|(_, end)| end);
        let old = std::mem::replace(end.ok_or(GatewayError::NotFound)?, expires_at);
        table.by_end.remove(&(old, id));
        table.by_end.insert((expires_at, id));
        table.used(&user, limits, now);
        Ok(Lease { id, expires_at, in_use, limit: limits.per_user })
    }

    /// Takes a lease back.
    ///
    /// # Errors
    /// [`GatewayError::NotFound`] if it has ended already.
    pub(in crate::gateway) fn give_back(&self, id: LeaseId) -> Result<(), GatewayError> {
        if self.table().remove(id) { Ok(()) } else { Err(GatewayError::NotFound) }
    }

    /// Ends leases whose time is over and forgets users who have asked for nothing for `track_for`, with what they hold.
    /// How many leases ended, those of users who were forgotten to make room included.
    pub(in crate::gateway) fn expire(&self, limits: &LeaseLimits, now: Timestamp) -> u64 {
        let mut table = self.table();
        let mut ended = 0;
        while let Some((_, id)) = table.by_end.first().filter(|(end, _)| *end <= now).copied() {
            table.remove(id);
            ended += 1;
        }
        for holds in [false, true] {
            let is_over = |place: &&Place| place.0 == holds && now.since(place.1) >= limits.track_for;
            while let Some((.., user)) = table.longest_unused(holds).filter(is_over).cloned() {
                table.forget(&user);
            }
        }
        ended + std::mem::take(&mut table.forgotten)
    }

    /// Leases held by all users together.
    pub(in crate::gateway) fn held(&self) -> u64 {
        self.table().owners.len() as u64
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Notes a request of `user`, and makes room for a new user by forgetting whoever is next.
    fn used(&mut self, user: &UserName, limits: &LeaseLimits, now: Timestamp) {
        if self.change(user, |held| held.used_at = now).is_some() {
            return;
        }
        while self.users.len() >= limits.tracked_users.max(1) {
            let Some((.., next)) = self.by_use.first().cloned() else { break };
            self.forget(&next);
        }
        let held = Held { used_at: now, leases: Vec::new() };
        self.by_use.insert(held.place(user));
        self.users.insert(user.clone(), held);
    }

    /// Changes what is known of a user, and the user's place with it. `None`: nothing is known.
    fn change<T>(&mut self, user: &UserName, change: impl FnOnce(&mut Held) -> T) -> Option<T> {
        let held = self.users.get_mut(user)?;
        let before = held.place(user);
        let result = change(held);
        self.by_use.remove(&before);
        self.by_use.insert(held.place(user));
        Some(result)
    }

    /// The longest unused of those who hold leases or of those who do not; behind the last of these come the others.
    fn longest_unused(&self, holds: bool) -> Option<&Place> {
        self.by_use.range((holds, Timestamp::default(), UserName::from_stored(""))..).next()
    }

    fn forget(&mut self, user: &UserName) {
        let Some(held) = self.users.remove(user) else { return };
        self.by_use.remove(&held.place(user));
        self.forgotten += held.leases.len() as u64;
        for (id, end) in held.leases {
            self.owners.remove(&id);
            self.by_end.remove(&(end, id));
        }
    }

    fn remove(&mut self, id: LeaseId) -> bool {
        let Some(user) = self.owners.remove(&id) else { return false };
        let ended = self.change(&user, |held| {
            let at = held.leases.iter().position(|(held, _)| *held == id)?;
            Some(held.leases.swap_remove(at))
        });
        if let Some(Some((_, end))) = ended {
            self.by_end.remove(&(end, id));
        }
        true
    }
}

fn count(leases: &[(LeaseId, Timestamp)]) -> u32 {
    u32::try_from(leases.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::OsGenerator;

    const LIMITS: LeaseLimits = LeaseLimits {
        per_user: Some(3),
        ttl: Duration::from_secs(300),
        tracked_users: 100,
        track_for: Duration::from_secs(86_400),
    };

    fn user(name: &str) -> UserName {
        UserName::from_stored(name)
    }

    fn take(leases: &Leases, name: &str, now: Timestamp) -> Result<Lease, GatewayError> {
        leases.take(&user(name), LeaseId::generate(now, &OsGenerator), &LIMITS, now)
    }

    #[test]
    fn three_at_once_and_a_returned_one_may_be_taken_again() {
        let (leases, now) = (Leases::default(), Timestamp::from_millis(1_000_000));
        let first = take(&leases, "ada", now).expect("free");
        assert_eq!(take(&leases, "ada", now).expect("free").in_use, 2);
        assert_eq!(take(&leases, "ada", now).expect("free").in_use, 3);
        let refused = take(&leases, "ada", now);
        assert!(
            matches!(refused, Err(GatewayError::LeaseLimit { limit: 3, retry_after }) if retry_after == LIMITS.ttl)
        );
        assert!(take(&leases, "bob", now).is_ok(), "others are not concerned");
        assert!(leases.give_back(first.id).is_ok());
        assert!(matches!(leases.give_back(first.id), Err(GatewayError::NotFound)));
        assert!(take(&leases, "ada", now).is_ok());
        assert_eq!(leases.held(), 4);
    }

    #[test]
    fn a_lease_ends_by_itself_unless_it_is_renewed() {
        let (leases, now) = (Leases::default(), Timestamp::from_millis(1_000_000));
        let kept = take(&leases, "ada", now).expect("free");
        let lost = take(&leases, "ada", now).expect("free");
        let half = now + LIMITS.ttl / 2;
        assert_eq!(leases.renew(kept.id, &LIMITS, half).expect("held").expires_at, half + LIMITS.ttl);
        assert_eq!(leases.expire(&LIMITS, now + LIMITS.ttl), 1);
        assert!(matches!(leases.renew(lost.id, &LIMITS, half), Err(GatewayError::NotFound)));
        assert_eq!(leases.held(), 1);
    }

    #[test]
    fn who_holds_a_lease_is_forgotten_last_and_the_lease_is_counted() {
        let (leases, start) = (Leases::default(), Timestamp::from_millis(1_000_000));
        let held = take(&leases, "ada", start).expect("free");
        let at = |n| start + Duration::from_millis(n);
        for n in 1..200 {
            let lease = take(&leases, &format!("user-{n}"), at(n)).expect("free");
            leases.give_back(lease.id).expect("held");
        }
        assert_eq!((leases.held(), leases.expire(&LIMITS, at(200))), (1, 0));
        assert_eq!(leases.renew(held.id, &LIMITS, at(200)).expect("held").in_use, 1);
        for n in 201..301 {
            take(&leases, &format!("user-{n}"), at(n)).expect("free");
        }
        assert!(matches!(leases.renew(held.id, &LIMITS, at(301)), Err(GatewayError::NotFound)), "all others hold one");
        assert_eq!((leases.held(), leases.expire(&LIMITS, at(301)), leases.expire(&LIMITS, at(301))), (100, 1, 0));
    }

    #[test]
    fn the_table_is_bounded_in_users_and_in_time() {
        let (leases, start) = (Leases::default(), Timestamp::from_millis(1_000_000));
        for n in 0..1_000 {
            take(&leases, &format!("user-{n}"), start + Duration::from_millis(n)).expect("free");
        }
        assert_eq!(leases.table().users.len(), 100, "the most recent hundred");
        assert_eq!(leases.held(), 100);
        assert_eq!(leases.expire(&LIMITS, start), 900);
        leases.expire(&LIMITS, start + LIMITS.track_for + Duration::from_secs(10));
        let table = leases.table();
        assert_eq!((table.users.len(), table.by_use.len(), table.owners.len(), table.by_end.len()), (0, 0, 0, 0));
    }
}
