//! Limits that change while sessions are there: newcomers meet the new ones at once, what is there goes gently.

use std::sync::Arc;

use sessgate::config::settings::{Hook, HookUrl, Settings};
use sessgate::gateway::api::{CreateRequest, Slide};
use sessgate::gateway::{Gateway, GatewayError, MemoryLookUp};
use sessgate::session::{Capacity, OnExcess, SessionKey};

use crate::support::gateway::TestGateway;
use crate::support::sessions::{MINUTE, user};

/// Sessions that one second's upkeep trims at most.
const RATE: u64 = 100;

fn request(name: &str) -> CreateRequest {
    CreateRequest { user: Some(user(name)), data: Box::from(*b"{}"), ..CreateRequest::default() }
}

impl TestGateway {
    /// Changes the settings in force, as a reload does.
    fn reload(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings::clone(&self.gateway.settings());
        change(&mut settings);
        self.gateway.apply(&Arc::new(settings));
    }

    async fn stored(&self) -> u64 {
        self.gateway.stats().await.expect("a store").storage
    }

    async fn in_memory(&self) -> u64 {
        self.gateway.stats().await.expect("a store").memory
    }

    /// Creates sessions for a user, one a minute; the keys in that order.
    async fn log_in(&self, name: &str, times: usize) -> Vec<SessionKey> {
        let mut keys = Vec::new();
        for _ in 0..times {
            keys.push(self.gateway.create(request(name)).await.expect("room").token.key());
            self.clock.advance(MINUTE);
        }
        keys
    }

    /// Creates one session each for so many users.
    async fn crowd(&self, users: usize) -> Vec<SessionKey> {
        let creating: Vec<_> = (0..users)
            .map(|n| {
                let gateway = Arc::clone(&self.gateway);
                tokio::spawn(async move { gateway.create(request(&format!("one-of-{n:05}"))).await })
            })
            .collect();
        let mut keys = Vec::new();
        for created in creating {
            keys.push(created.await.expect("no panic").expect("room").token.key());
        }
        keys
    }
}

async fn alive(gateway: &Arc<Gateway>, keys: &[SessionKey]) -> Vec<bool> {
    let mut alive = Vec::new();
    for key in keys {
        alive.push(gateway.look_up(*key, Slide::Peek).await.is_ok());
    }
    alive
}

#[tokio::test]
async fn a_lowered_user_limit_trims_the_whole_surplus_at_a_bounded_rate() {
    let fixture = TestGateway::with(|settings| settings.limits.per_user.sessions = None);
    // 60 users with 8 sessions: 300 too many under a limit of 3.
    for n in 0..60 {
        let creating = (0..8).map(|_| fixture.gateway.create(request(&format!("user-{n:02}"))));
        assert!(futures_util::future::join_all(creating).await.iter().all(Result::is_ok));
    }
    fixture.gateway.keep_up().await;
    assert_eq!(fixture.stored().await, 480, "without a limit nobody goes");
    fixture.reload(|settings| settings.limits.per_user.sessions = Some(3));
    assert_eq!(fixture.stored().await, 480, "no mass log-out at the reload");
    for left in [380, 280, 180, 180] {
        fixture.gateway.keep_up().await;
        assert_eq!(fixture.stored().await, left, "at most {RATE} a second, and no more than the surplus");
    }
    for n in 0..60 {
        let (listed, _) =
            fixture.gateway.user_sessions(user(&format!("user-{n:02}")), None, 10).await.expect("a store");
        assert_eq!(listed.len(), 3, "user {n}");
    }
}

#[tokio::test]
async fn a_lowered_user_limit_holds_for_newcomers_at_once() {
    let fixture = TestGateway::new();
    let keys = fixture.log_in("ada", 8).await;
    fixture.reload(|settings| settings.limits.per_user.sessions = Some(3));
    let created = fixture.gateway.create(request("ada")).await.expect("room");
    assert_eq!(created.evicted.len(), 6, "the whole surplus goes, not one");
    let expected = [false, false, false, false, false, false, true, true];
    assert_eq!(alive(&fixture.gateway, &keys).await, expected);
}

#[tokio::test]
async fn who_is_trimmed_follows_the_policy() {
    for (policy, expected) in [
        (OnExcess::EvictOldest, [false, false, true, true]),
        (OnExcess::EvictIdlest, [true, false, false, true]),
        (OnExcess::Reject, [true, true, true, true]),
    ] {
        let fixture = TestGateway::with(|settings| settings.limits.per_user.on_excess = policy);
        let keys = fixture.log_in("ada", 4).await;
        // The first is the one used last.
        assert!(fixture.gateway.look_up(keys[0], Slide::Touch).await.is_ok());
        fixture.reload(|settings| settings.limits.per_user.sessions = Some(2));
        fixture.gateway.keep_up().await;
        assert_eq!(alive(&fixture.gateway, &keys).await, expected, "{policy:?}");
    }
}

#[tokio::test]
async fn who_makes_room_for_a_newcomer_follows_the_policy() {
    for (policy, expected) in [
        (OnExcess::EvictOldest, Some([false, true, true])),
        (OnExcess::EvictIdlest, Some([true, false, true])),
        (OnExcess::Reject, None),
    ] {
        let fixture = TestGateway::with(|settings| settings.limits.per_user.sessions = Some(3));
        let keys = fixture.log_in("ada", 3).await;
        assert!(fixture.gateway.look_up(keys[0], Slide::Touch).await.is_ok());
        // Which of them was used last is known once it is saved.
        fixture.gateway.keep_up().await;
        fixture.reload(|settings| settings.limits.per_user.on_excess = policy);
        let created = fixture.gateway.create(request("ada")).await;
        if let Some(expected) = expected {
            assert!(created.is_ok());
            assert_eq!(alive(&fixture.gateway, &keys).await, expected, "{policy:?}");
        } else {
            assert!(matches!(created, Err(GatewayError::UserLimit { limit: 3 })));
            assert_eq!(alive(&fixture.gateway, &keys).await, [true; 3]);
            assert!(fixture.gateway.create(request("bob")).await.is_ok(), "others are not concerned");
        }
    }
}

#[tokio::test]
async fn overrides_come_and_go() {
    let fixture = TestGateway::new();
    let (ada, bob) = (fixture.log_in("ada", 4).await, fixture.log_in("bob", 4).await);
    fixture.reload(|settings| {
        settings.limits.per_user.sessions = Some(2);
        settings.limits.per_user.overrides = [("ada".to_owned(), 3)].into();
    });
    fixture.gateway.keep_up().await;
    assert_eq!(alive(&fixture.gateway, &ada).await, [false, true, true, true]);
    assert_eq!(alive(&fixture.gateway, &bob).await, [false, false, true, true]);
    fixture.reload(|settings| settings.limits.per_user.overrides.clear());
    fixture.gateway.keep_up().await;
    assert_eq!(alive(&fixture.gateway, &ada).await, [false, false, true, true]);
    fixture.reload(|settings| settings.limits.per_user.overrides = [("bob".to_owned(), 0)].into());
    let refused = fixture.gateway.create(request("bob")).await;
    assert!(matches!(refused, Err(GatewayError::UserLimit { limit: 0 })), "a user who is to have none");
}

#[tokio::test]
async fn fewer_memory_sessions_leave_the_rest_in_storage() {
    let fixture = TestGateway::new();
    let keys = fixture.crowd(2_000).await;
    assert_eq!(fixture.in_memory().await, 2_000);
    for cap in [1_000, 100, 1] {
        fixture.reload(|settings| settings.limits.memory_sessions = cap);
        assert!(fixture.in_memory().await <= cap, "{cap} at most, at once");
        for key in &keys[..200] {
            assert!(fixture.gateway.look_up(*key, Slide::Peek).await.is_ok(), "nobody is logged out");
            assert!(fixture.in_memory().await <= cap, "{cap} at most, reloaded ones included");
        }
    }
    fixture.reload(|settings| settings.limits.memory_sessions = 50_000);
    assert_eq!(alive(&fixture.gateway, &keys).await, vec![true; keys.len()]);
    assert_eq!(fixture.in_memory().await, 2_000, "more room is used again");
    assert_eq!(fixture.stored().await, 2_000);
}

#[tokio::test]
async fn fewer_memory_bytes_leave_the_rest_in_storage() {
    let fixture = TestGateway::new();
    let mut keys = Vec::new();
    for n in 0..64 {
        let large = CreateRequest { data: vec![b' '; 60 * 1024].into(), ..request(&format!("user-{n}")) };
        keys.push(fixture.gateway.create(large).await.expect("room").token.key());
    }
    assert_eq!(fixture.in_memory().await, 64);
    fixture.reload(|settings| settings.limits.memory_bytes = 2 << 20);
    // Two MiB hold 34 of 60 KiB; the cache's parts are filled each for itself.
    let held = fixture.in_memory().await;
    assert!((8..=34).contains(&held), "{held} in memory");
    assert_eq!(alive(&fixture.gateway, &keys).await, vec![true; keys.len()]);
    assert!(fixture.in_memory().await <= 34);
}

#[tokio::test]
async fn what_grows_in_memory_displaces_others_from_it() {
    let fixture = TestGateway::with(|settings| settings.limits.memory_bytes = 2 << 20);
    let keys = fixture.log_in("grows", 10).await;
    let keys = [keys, fixture.crowd(190).await].concat();
    assert_eq!(fixture.in_memory().await, 200);
    for key in &keys {
        fixture.gateway.update(*key, vec![b' '; 60 * 1024].into(), None).await.expect("it is there");
    }
    let held = fixture.in_memory().await;
    assert!((8..=34).contains(&held), "{held} in memory");
    assert_eq!(alive(&fixture.gateway, &keys).await, vec![true; keys.len()]);
}

#[tokio::test]
async fn fewer_stored_sessions_go_gently_and_newcomers_meet_the_limit_at_once() {
    let fixture = TestGateway::new();
    let keys = fixture.log_in("heavy", 10).await;
    fixture.crowd(50).await;
    fixture.reload(|settings| settings.limits.stored.sessions = Some(55));
    assert_eq!(fixture.stored().await, 60);
    fixture.gateway.keep_up().await;
    assert_eq!(fixture.stored().await, 55);
    let expected: Vec<_> = (0..10).map(|n| n >= 5).collect();
    assert_eq!(alive(&fixture.gateway, &keys).await, expected, "the heaviest user's oldest");
    let created = fixture.gateway.create(request("newcomer")).await.expect("the heaviest user makes room");
    assert_eq!((created.evicted.len(), fixture.stored().await), (1, 55));
    fixture.reload(|settings| settings.limits.stored.sessions = Some(52));
    fixture.gateway.keep_up().await;
    assert_eq!(fixture.stored().await, 52);
    let refused = fixture.gateway.create(request("another")).await;
    assert!(matches!(refused, Err(GatewayError::StorageFull)), "nobody loses the last session");
}

#[tokio::test]
async fn a_lowered_byte_cap_is_reached_and_raised_again() {
    let fixture = TestGateway::new();
    let keys = fixture.log_in("heavy", 10).await;
    fixture.crowd(10).await;
    let bytes = fixture.gateway.stats().await.expect("a store").storage_bytes;
    fixture.reload(|settings| settings.limits.stored.bytes = Some(bytes * 4 / 5));
    let refused = fixture.gateway.create(CreateRequest { user: None, ..request("x") }).await;
    assert!(matches!(refused, Err(GatewayError::StorageFull)), "for newcomers it holds at once");
    fixture.gateway.keep_up().await;
    let left = fixture.gateway.stats().await.expect("a store").storage_bytes;
    assert!(left <= bytes * 4 / 5 * 85 / 100, "{left} of {bytes} bytes");
    assert!(!alive(&fixture.gateway, &keys).await[0] && alive(&fixture.gateway, &keys).await[9]);
    fixture.reload(|settings| settings.limits.stored.bytes = None);
    assert!(fixture.gateway.create(request("x")).await.is_ok());
}

#[tokio::test]
async fn a_lowered_cap_of_storage_trims_the_whole_surplus_at_a_bounded_rate() {
    let fixture = TestGateway::new();
    fixture.crowd(400).await;
    fixture.log_in("heavy", 10).await;
    // More than one session each, so that all may be trimmed but one.
    fixture.crowd(400).await;
    fixture.gateway.keep_up().await;
    fixture.reload(|settings| settings.limits.stored.sessions = Some(560));
    for left in [710, 610, 560, 560] {
        fixture.gateway.keep_up().await;
        assert_eq!(fixture.stored().await, left, "at most {RATE} a second, and no more than the surplus");
    }
    let bytes = fixture.gateway.stats().await.expect("a store").storage_bytes;
    fixture.reload(|settings| settings.limits.stored = Capacity { sessions: None, bytes: Some(bytes * 9 / 10) });
    fixture.gateway.keep_up().await;
    assert_eq!(fixture.stored().await, 460);
    fixture.gateway.keep_up().await;
    let left = fixture.gateway.stats().await.expect("a store").storage_bytes;
    assert!(left <= bytes * 9 / 10 * 85 / 100, "{left} of {bytes} bytes");
}

#[tokio::test]
async fn a_changed_lease_limit_holds_for_the_next_request() {
    let fixture = TestGateway::new();
    let gateway = &fixture.gateway;
    let ada = user("ada");
    let leases: Vec<_> = (0..3).map(|_| gateway.take_lease(&ada).expect("free")).collect();
    fixture.reload(|settings| settings.limits.leases.per_user = Some(1));
    assert!(matches!(gateway.take_lease(&ada), Err(GatewayError::LeaseLimit { limit: 1, .. })));
    let renewed = gateway.renew_lease(leases[0].id).expect("what is held is not taken away");
    assert_eq!((renewed.in_use, renewed.limit), (3, Some(1)));
    for lease in &leases {
        gateway.return_lease(lease.id).expect("held");
    }
    assert!(gateway.take_lease(&ada).is_ok());
    assert!(gateway.take_lease(&ada).is_err());
    fixture.reload(|settings| settings.limits.leases.per_user = Some(2));
    assert!(gateway.take_lease(&ada).is_ok());
}

#[tokio::test]
async fn changed_lifetimes_hold_for_sessions_that_are_there() {
    let fixture = TestGateway::new();
    let key = fixture.log_in("ada", 1).await[0];
    fixture.reload(|settings| settings.lifetimes.clocks.idle_timeout = MINUTE);
    assert!(matches!(fixture.gateway.look_up_in_memory(&key, Slide::Touch), MemoryLookUp::Expired));
    fixture.reload(|settings| settings.lifetimes.clocks.idle_timeout = MINUTE * 60);
    assert!(matches!(fixture.gateway.look_up_in_memory(&key, Slide::Touch), MemoryLookUp::Hit(_)));
}

#[tokio::test]
async fn a_changed_creation_rate_holds_for_the_next_request() {
    let fixture = TestGateway::new();
    let from = |n: u8| CreateRequest { ip: Some([192, 0, 2, n].into()), ..request("ada") };
    fixture.reload(|settings| settings.limits.creation_per_ip.as_mut().expect("a default").count = 1);
    assert!(fixture.gateway.create(from(1)).await.is_ok());
    assert!(matches!(fixture.gateway.create(from(1)).await, Err(GatewayError::CreationRate { .. })));
    fixture.reload(|settings| settings.limits.creation_per_ip.as_mut().expect("a default").count = 3);
    for _ in 0..2 {
        assert!(fixture.gateway.create(from(1)).await.is_ok(), "one of three was used");
    }
    assert!(matches!(fixture.gateway.create(from(1)).await, Err(GatewayError::CreationRate { .. })));
    fixture.reload(|settings| settings.limits.creation_per_ip = None);
    assert!(fixture.gateway.create(from(1)).await.is_ok());
}

#[tokio::test]
async fn notices_that_wait_when_the_hook_is_turned_off_go_by_their_age() {
    let fixture = TestGateway::with(|settings| {
        let url = HookUrl::new("http://127.0.0.1:9/ended", "http://127.0.0.1:9/ended");
        settings.hooks.session_closed = Some(Hook { url, secret: None, timeout: MINUTE, max_attempts: 1 });
        settings.hooks.max_age = MINUTE * 10;
    });
    let queued = async || fixture.store.notices().await.expect("a store").queued;
    fixture.log_in("ada", 1).await;
    fixture.gateway.revoke_user(user("ada")).await.expect("a store");
    fixture.clock.advance(MINUTE * 10);
    fixture.gateway.keep_up().await;
    assert_eq!(queued().await, 1, "with a hook it is for an attempt to give it up");
    fixture.reload(|settings| (settings.hooks.session_closed, settings.hooks.max_age) = (None, MINUTE * 11));
    fixture.gateway.keep_up().await;
    assert_eq!(queued().await, 1, "it may still be told");
    fixture.clock.advance(MINUTE);
    fixture.gateway.keep_up().await;
    assert_eq!(queued().await, 0);
    assert_eq!(fixture.figure("sessgate_hook_deliveries_total{result=\"dropped\"}"), 1);
}
