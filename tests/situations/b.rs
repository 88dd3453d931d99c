//! Situation B: web sessions in two tiers, 50,000 in memory in front of 200,000 stored, and a client that floods.
//!
//! "Every setting documented" is `config::documentation`. Alerts on eviction spikes, on nearing the cap and on the
//! growth of storage are rules over the series shown here; they ship with the dashboards, which come later.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sessgate::config::settings::Settings;
use sessgate::gateway::api::{CreateRequest, Created, Slide};
use sessgate::gateway::{Gateway, GatewayError, MemoryLookUp};
use sessgate::session::{Capacity, Session, SessionKey};
use tokio::runtime::{Builder, Runtime};

use crate::support::door::TestDoor;
use crate::support::exposition::Exposition;
use crate::support::gateway::TestGateway;
use crate::support::sessions::{MINUTE, user};

const DAY: Duration = Duration::from_secs(86_400);
const STORED: usize = 200_000;
const IN_MEMORY: u64 = 50_000;
/// Each with as many sessions as the default allows.
const USERS: usize = STORED / 10;
/// Sessions that are used all the time, among the first created.
const HOT: usize = 2_000;
/// Sessions created at once: their writes share commits.
const AT_ONCE: usize = 1_000;

/// Both tiers as full as the situation has them.
struct Full {
    runtime: Runtime,
    gateway: TestGateway,
    /// In the order of creation.
    tokens: Vec<String>,
    keys: Vec<SessionKey>,
    /// The most that memory held at any look while it was filled.
    most_in_memory: u64,
    /// Hot sessions that were not in memory when they were used.
    hot_missed: usize,
    scrape: Exposition,
    stats: Value,
}

/// Filled once, for all tests that only look.
fn full() -> &'static Full {
    static FULL: OnceLock<Full> = OnceLock::new();
    FULL.get_or_init(|| {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let gateway = TestGateway::with(|_| {});
        runtime.block_on(gateway.gateway.keep_up());
        let (mut tokens, mut keys) = (Vec::with_capacity(STORED), Vec::with_capacity(STORED));
        let (mut most_in_memory, mut hot_missed) = (0, 0);
        for first in (0..STORED).step_by(AT_ONCE) {
            let requests = (first..first + AT_ONCE)
                .map(|n| CreateRequest { ip: Some(address(n % USERS)), ..of(&format!("user-{:05}", n % USERS)) });
            for created in runtime.block_on(create_at_once(&gateway.gateway, requests)) {
                let created = created.expect("room");
                assert_eq!(created.evicted, [], "nobody has more than ten");
                tokens.push(created.token.expose().to_owned());
                keys.push(created.token.key());
            }
            for key in keys.iter().take(HOT) {
                let found = gateway.gateway.look_up_in_memory(key, Slide::Touch);
                hot_missed += usize::from(!matches!(found, MemoryLookUp::Hit(_)));
            }
            let stats = runtime.block_on(gateway.gateway.stats()).expect("a store");
            most_in_memory = most_in_memory.max(stats.memory);
        }
        runtime.block_on(gateway.gateway.keep_up());
        let scrape = Exposition::parse(&gateway.metrics.encode().expect("text")).expect("the text format");
        let stats = TestDoor::open(&gateway).call("GET", "/v1/stats", &[], b"").expect(200).json();
        Full { runtime, gateway, tokens, keys, most_in_memory, hot_missed, scrape, stats }
    })
}

/// Creates sessions at the same time; the outcomes in the order of the requests.
async fn create_at_once(
    gateway: &Arc<Gateway>,
    requests: impl IntoIterator<Item = CreateRequest>,
) -> Vec<Result<Created, GatewayError>> {
    let creating: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let gateway = Arc::clone(gateway);
            tokio::spawn(async move { gateway.create(request).await })
        })
        .collect();
    let mut outcomes = Vec::with_capacity(creating.len());
    for one in creating {
        outcomes.push(one.await.expect("no panic"));
    }
    outcomes
}

/// A client address of its own for each number.
fn address(n: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x0A00_0000 | u32::try_from(n).expect("a small number")).into()
}

fn of(name: &str) -> CreateRequest {
    CreateRequest { user: Some(user(name)), ..anonymous() }
}

fn anonymous() -> CreateRequest {
    CreateRequest { data: Box::from(*br#"{"cart":[1,2,3]}"#), ..CreateRequest::default() }
}

async fn log_in(gateway: &Arc<Gateway>, request: CreateRequest) -> SessionKey {
    gateway.create(request).await.expect("room").token.key()
}

async fn is_alive(gateway: &Arc<Gateway>, key: &SessionKey) -> bool {
    match gateway.look_up(*key, Slide::Peek).await {
        Ok(_) => true,
        Err(GatewayError::NotFound) => false,
        Err(error) => panic!("{error}"),
    }
}

/// The one sample of a family with these labels.
#[track_caller]
fn sample(scrape: &Exposition, family: &str, labels: &[(&str, &str)]) -> f64 {
    let found = scrape.find(family, &labels.iter().copied().collect());
    assert_eq!(found.len(), 1, "{family} {labels:?}");
    found[0].value
}

#[test]
fn memory_holds_50_000_sessions_at_most_and_storage_all() {
    assert_eq!(Settings::default().limits.memory_sessions, IN_MEMORY);
    let full = full();
    assert!(full.most_in_memory <= IN_MEMORY, "{} in memory", full.most_in_memory);
    // The cache is split into parts that are not filled alike to the last entry.
    assert!(full.most_in_memory >= IN_MEMORY * 99 / 100, "only {} in memory", full.most_in_memory);
    assert_eq!(full.stats["sessions"]["storage"], STORED);
}

/// The cache approximates the least recently used by clocks that keep what was used again (S3-FIFO and CLOCK-Pro are
/// its models), so this is what it promises: what is used all the time stays, whatever else comes.
#[test]
fn what_is_used_all_the_time_stays_in_memory() {
    assert_eq!(full().hot_missed, 0);
}

#[test]
fn who_leaves_memory_stays_in_storage_and_is_reloaded_when_used() {
    let full = full();
    let gateway = &full.gateway.gateway;
    let gone: Vec<_> = full.keys[HOT..].iter().filter(|key| is_absent(gateway, key)).take(500).collect();
    assert_eq!(gone.len(), 500);
    full.runtime.block_on(async {
        for key in &gone {
            assert!(is_alive(gateway, key).await);
        }
    });
    assert!(!is_absent(gateway, gone[499]), "it is in memory again");
    assert_eq!(full.stats["evictions"]["storage"].as_object().expect("by reason").values().sum_all(), 0);
}

fn is_absent(gateway: &Gateway, key: &SessionKey) -> bool {
    matches!(gateway.look_up_in_memory(key, Slide::Peek), MemoryLookUp::Absent)
}

/// Adds up counters.
trait SumAll {
    fn sum_all(self) -> u64;
}

impl<'v, I: Iterator<Item = &'v Value>> SumAll for I {
    fn sum_all(self) -> u64 {
        self.map(|count| count.as_u64().expect("a count")).sum()
    }
}

#[test]
fn tokens_have_256_random_bits_and_never_repeat() {
    let full = full();
    let distinct: HashSet<_> = full.tokens.iter().collect();
    assert_eq!(distinct.len(), STORED);
    let mut ones = [0_u32; 256];
    for token in &full.tokens {
        let secret = URL_SAFE_NO_PAD.decode(token.strip_prefix("sg_").expect("the prefix")).expect("base64url");
        assert_eq!(secret.len(), 32);
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += u32::from(secret[bit / 8] >> (bit % 8) & 1);
        }
    }
    // Half of each bit's throws, within nine standard deviations (the deviation is 224 of 200,000).
    assert!(ones.iter().all(|ones| (98_000..102_000).contains(ones)), "{ones:?}");
}

#[test]
fn metrics_show_both_tiers_evictions_storage_and_the_heaviest_users() {
    let Full { scrape, stats, .. } = full();
    let memory = sample(scrape, "sessgate_sessions", &[("tier", "memory")]);
    assert_eq!(stats["sessions"]["memory"].as_f64(), Some(memory));
    assert_eq!(sample(scrape, "sessgate_sessions", &[("tier", "storage")]).to_string(), STORED.to_string());
    assert_eq!(sample(scrape, "sessgate_sessions_limit", &[("tier", "memory")]).to_string(), IN_MEMORY.to_string());
    let evicted = sample(scrape, "sessgate_session_evictions_total", &[("tier", "memory"), ("reason", "lru")]);
    assert_eq!((memory + evicted).to_string(), STORED.to_string(), "each session is in memory, or has left it");
    let bytes = sample(scrape, "sessgate_storage_bytes", &[]);
    assert_eq!(stats["storage"]["bytes"].as_f64(), Some(bytes));
    assert_eq!(stats["storage"]["limit_bytes"], 1 << 30);
    let one = bytes / 200_000.0;
    assert!((100.0..2_000.0).contains(&one), "{one} bytes a session");
    assert_eq!(sample(scrape, "sessgate_storage_limit_bytes", &[]).to_string(), (1_u64 << 30).to_string());
    let top = scrape.find("sessgate_top_user_sessions", &[].into());
    let top: Vec<_> = top.iter().map(|sample| sample.value.to_string()).collect();
    assert_eq!(top, vec!["10"; 10]);
    assert_eq!(stats["top_users"][0]["sessions"], 10);
    assert_eq!(sample(scrape, "sessgate_users", &[]).to_string(), USERS.to_string());
    assert_eq!(sample(scrape, "sessgate_users_at_limit", &[]).to_string(), USERS.to_string());
    let created = sample(scrape, "sessgate_session_creations_total", &[("outcome", "created")]);
    assert_eq!(created.to_string(), STORED.to_string());
}

#[tokio::test]
async fn a_session_that_is_used_lives_on_and_ends_90_days_after_its_last_use() {
    let TestGateway { gateway, clock, .. } = &TestGateway::new();
    assert_eq!(gateway.settings().lifetimes.clocks.idle_timeout, DAY * 90);
    let key = log_in(gateway, of("ada")).await;
    for _ in 0..4 {
        clock.advance(DAY * 89);
        let view = gateway.look_up(key, Slide::Touch).await.expect("live");
        assert_eq!(view.expires_at, gateway.now() + DAY * 90);
    }
    clock.advance((DAY * 90).saturating_sub(Duration::from_millis(1)));
    assert!(is_alive(gateway, &key).await);
    clock.advance(Duration::from_millis(1));
    assert!(!is_alive(gateway, &key).await, "no sweep is needed");
    clock.advance(MINUTE);
    assert_eq!(gateway.sweep().await, 1);
}

#[tokio::test]
async fn a_session_unused_for_30_days_leaves_memory_only_and_comes_back_with_its_next_use() {
    let TestGateway { gateway, clock, .. } = &TestGateway::new();
    assert_eq!(gateway.settings().lifetimes.memory_idle, DAY * 30);
    let (idle, busy) = (log_in(gateway, of("ada")).await, log_in(gateway, of("bob")).await);
    clock.advance(DAY * 15);
    assert!(gateway.look_up(busy, Slide::Touch).await.is_ok());
    clock.advance((DAY * 15).saturating_sub(Duration::from_millis(1)));
    gateway.keep_up().await;
    assert_eq!(gateway.stats().await.expect("a store").memory, 2);
    // The sweep that this replaces ran hourly; no entry stays longer than that.
    clock.advance(Duration::from_secs(3_600));
    gateway.keep_up().await;
    assert!(is_absent(gateway, &idle) && !is_absent(gateway, &busy));
    let stats = gateway.stats().await.expect("a store");
    assert_eq!((stats.memory, stats.storage), (1, 2));
    assert!(stats.evictions.contains(&("memory", "memory_idle", 1)), "{:?}", stats.evictions);
    assert!(gateway.look_up(idle, Slide::Touch).await.is_ok());
    assert_eq!(gateway.stats().await.expect("a store").memory, 2);
}

#[tokio::test]
async fn a_user_runs_at_most_three_heavy_operations_at_once() {
    let gateway = &TestGateway::new().gateway;
    assert_eq!(gateway.settings().limits.leases.per_user, Some(3));
    let ada = user("ada");
    let leases: Vec<_> = (0..3).map(|_| gateway.take_lease(&ada).expect("free")).collect();
    assert!(matches!(gateway.take_lease(&ada), Err(GatewayError::LeaseLimit { limit: 3, .. })));
    assert!(gateway.take_lease(&user("bob")).is_ok(), "others are not concerned");
    gateway.return_lease(leases[0].id).expect("held");
    assert!(gateway.take_lease(&ada).is_ok());
}

#[tokio::test]
async fn operations_are_tracked_for_50_000_users_at_most_and_for_24_hours() {
    let fixture = TestGateway::with(|settings| settings.limits.leases.ttl = DAY * 2);
    let TestGateway { gateway, clock, metrics, .. } = &fixture;
    let held = || {
        let scrape = Exposition::parse(&metrics.encode().expect("text")).expect("the text format");
        sample(&scrape, "sessgate_leases_held", &[]).to_string()
    };
    for n in 0..50_100 {
        gateway.take_lease(&user(&format!("user-{n}"))).expect("free");
        // So that it is known who was first.
        clock.advance(Duration::from_millis(1));
    }
    assert_eq!(held(), "50000");
    clock.advance(DAY);
    gateway.keep_up().await;
    assert_eq!(held(), "0");
}

#[tokio::test]
async fn at_most_ten_sessions_a_user_and_the_oldest_goes() {
    let TestGateway { gateway, clock, .. } = &TestGateway::new();
    assert_eq!(gateway.settings().limits.per_user.sessions, Some(10));
    let mut created = Vec::new();
    for _ in 0..12 {
        created.push(gateway.create(of("ada")).await.expect("room"));
        clock.advance(MINUTE);
    }
    for (n, one) in created.iter().enumerate() {
        assert_eq!(is_alive(gateway, &one.token.key()).await, n >= 2, "session {n}");
    }
    assert_eq!(created[11].evicted, [created[1].view.entry.session.id]);
}

#[tokio::test]
async fn an_address_creates_ten_sessions_an_hour() {
    let fixture = TestGateway::new();
    let door = TestDoor::open(&fixture);
    let create = |ip: &str| {
        let body = json!({ "ip": ip }).to_string();
        door.call("POST", "/v1/sessions", &[("content-type", "application/json")], body.as_bytes())
    };
    for _ in 0..10 {
        create("192.0.2.1").expect(201);
    }
    let refused = create("192.0.2.1");
    assert_eq!((refused.status, refused.code().as_str(), refused.header("retry-after")), {
        (429, "creation_rate", Some("360"))
    });
    create("192.0.2.2").expect(201);
    fixture.clock.advance(Duration::from_secs(360));
    create("192.0.2.1").expect(201);
    create("192.0.2.1").expect(429);
}

/// What a session of [`of`] a seven-letter user takes.
const BYTES: u64 = Session::STORED_OVERHEAD + 16 + 7;

/// A gateway whose storage has room for so many sessions of that size, before any limit a user.
fn with_room_for(sessions: u64) -> TestGateway {
    TestGateway::with(|settings| settings.limits.stored = Capacity { sessions: None, bytes: Some(sessions * BYTES) })
}

#[tokio::test]
async fn storage_is_cleaned_up_at_90_percent_of_its_cap_down_to_85() {
    let gateway = &with_room_for(1_000).gateway;
    // Two each: the clean-up takes nobody's last session.
    let created = create_at_once(gateway, (0..900).map(|n| of(&format!("u-{:05}", n / 2)))).await;
    assert!(created.iter().all(Result::is_ok));
    gateway.keep_up().await;
    assert_eq!(gateway.stats().await.expect("a store").storage_bytes, 900 * BYTES, "up to 90 % is as it may be");
    log_in(gateway, of("u-99999")).await;
    gateway.keep_up().await;
    assert_eq!(gateway.stats().await.expect("a store").storage, 850);
    gateway.keep_up().await;
    assert_eq!(gateway.stats().await.expect("a store").storage, 850, "and it rests there");
}

/// Expired, anonymous, stale, the heaviest user's oldest: five of each, and five users with one session.
#[tokio::test]
async fn storage_is_cleaned_up_in_the_order_of_victims() {
    let fixture = TestGateway::new();
    let TestGateway { gateway, clock, .. } = &fixture;
    let mut groups: [Vec<SessionKey>; 5] = Default::default();
    for n in 0..5 {
        let brief = CreateRequest { idle_timeout: Some(MINUTE), ..of(&format!("brief-{n}")) };
        groups[0].push(log_in(gateway, brief).await);
        groups[2].push(log_in(gateway, of(&format!("stale-{n}"))).await);
    }
    clock.advance(MINUTE * 26);
    for n in 0..5 {
        // So that it is known which is the oldest.
        clock.advance(Duration::from_millis(1));
        groups[1].push(log_in(gateway, CreateRequest { data: vec![b'7'; 23].into(), ..anonymous() }).await);
        groups[3].push(log_in(gateway, of("heavy-u")).await);
        groups[4].push(log_in(gateway, of(&format!("light-{n}"))).await);
    }
    // The heaviest user keeps one session, like everybody.
    let last = groups[3].pop().expect("five");
    groups[4].push(last);
    let mut left = 25;
    for step in 0..4 {
        left -= groups[step].len() as u64;
        let mut settings = Settings::clone(&gateway.settings());
        // 85 % of this is what the others take, and a little.
        settings.limits.stored.bytes = Some(left * BYTES * 100 / 85 + 2);
        gateway.apply(&Arc::new(settings));
        gateway.keep_up().await;
        assert_eq!(gateway.stats().await.expect("a store").storage, left, "after step {step}");
        for (group, keys) in groups.iter().enumerate() {
            for key in keys {
                let stored = fixture.store.load(*key).await.expect("a store").is_some();
                assert_eq!(stored, group > step, "group {group} after step {step}");
            }
        }
    }
    gateway.keep_up().await;
    assert_eq!(gateway.stats().await.expect("a store").storage, 6, "nobody's last session goes");
}

/// The people whom a flood must not log out: some of them with two or three sessions.
struct People {
    fixture: TestGateway,
    /// Each one's sessions, the newest last.
    sessions: Vec<Vec<SessionKey>>,
}

/// How often the flood tries.
const ATTEMPTS: usize = 3_000;

impl People {
    /// About half of what storage has room for.
    async fn at_home() -> Self {
        let fixture = with_room_for(1_000);
        let mut sessions = vec![Vec::new(); 300];
        for (nth, people) in [300, 100, 50].into_iter().enumerate() {
            // So that it is known which of a person's sessions is the newest.
            fixture.clock.advance(Duration::from_millis(1));
            let requests = (0..people).map(|n| of(&format!("p-{n:05}")));
            for (own, created) in sessions.iter_mut().zip(create_at_once(&fixture.gateway, requests).await) {
                own.push(created.expect("room").token.key());
                assert_eq!(own.len(), nth + 1);
            }
        }
        Self { fixture, sessions }
    }

    /// Floods, while the upkeep runs as often as it does under such a load; the outcome of each attempt.
    async fn flooded_by(&self, request: impl Fn(usize) -> CreateRequest) -> Vec<Result<Created, GatewayError>> {
        let gateway = &self.fixture.gateway;
        let mut outcomes = Vec::new();
        for first in (0..ATTEMPTS).step_by(100) {
            outcomes.extend(create_at_once(gateway, (first..first + 100).map(&request)).await);
            let bytes = gateway.stats().await.expect("a store").storage_bytes;
            assert!(bytes <= 1_000 * BYTES, "{bytes} bytes are above the cap");
            gateway.keep_up().await;
        }
        outcomes
    }

    async fn all_are_logged_in(&self) -> bool {
        for key in self.sessions.iter().flatten() {
            if !is_alive(&self.fixture.gateway, key).await {
                return false;
            }
        }
        true
    }
}

#[tokio::test]
async fn a_flood_from_one_address_logs_nobody_out() {
    let people = People::at_home().await;
    let outcomes = people.flooded_by(|n| CreateRequest { ip: Some(address(0)), ..of(&format!("f-{n:05}")) }).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
    let refused = |outcome: &&_| matches!(outcome, Err(GatewayError::CreationRate { .. }));
    assert_eq!(outcomes.iter().filter(refused).count(), ATTEMPTS - 10);
    assert!(people.all_are_logged_in().await);
}

#[tokio::test]
async fn a_flood_of_one_user_logs_nobody_else_out() {
    let people = People::at_home().await;
    let outcomes = people.flooded_by(|n| CreateRequest { ip: Some(address(n)), ..of("mallory") }).await;
    assert!(outcomes.iter().all(Result::is_ok), "it is only its own sessions that go");
    let (listed, _) = people.fixture.gateway.user_sessions(user("mallory"), None, 100).await.expect("a store");
    assert_eq!(listed.len(), 10);
    assert!(people.all_are_logged_in().await);
}

#[tokio::test]
async fn an_anonymous_flood_from_many_addresses_logs_nobody_out() {
    let people = People::at_home().await;
    people.flooded_by(|n| CreateRequest { ip: Some(address(n)), ..anonymous() }).await;
    assert!(people.all_are_logged_in().await);
    assert!(people.fixture.gateway.stats().await.expect("a store").storage > 800, "it has filled what was free");
}

#[tokio::test]
async fn an_anonymous_flood_does_not_log_out_who_has_been_away() {
    let people = People::at_home().await;
    people.fixture.clock.advance(MINUTE * 26);
    people.flooded_by(|n| CreateRequest { ip: Some(address(n)), ..anonymous() }).await;
    assert!(people.all_are_logged_in().await, "though all of them are stale");
}

#[tokio::test]
async fn an_anonymous_flood_into_a_full_store_is_refused() {
    let people = People::at_home().await;
    let gateway = &people.fixture.gateway;
    let bytes = gateway.stats().await.expect("a store").storage_bytes;
    people.fixture.reload_limits(|limits| limits.stored.bytes = Some(bytes));
    let outcomes = create_at_once(gateway, (0..200).map(|_| anonymous())).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(GatewayError::StorageFull))));
    assert!(people.all_are_logged_in().await);
}

/// The heaviest users' oldest are the last victims before newcomers are refused, so who had several sessions may be
/// left with one. Nobody loses the last.
#[tokio::test]
async fn a_flood_of_invented_users_from_many_addresses_takes_nobodys_last_session() {
    let people = People::at_home().await;
    let outcomes = people.flooded_by(|n| CreateRequest { ip: Some(address(n)), ..of(&format!("f-{n:05}")) }).await;
    let refused = |outcome: &&_| matches!(outcome, Err(GatewayError::StorageFull));
    assert!(outcomes.iter().filter(refused).count() > 1_000, "the flood is refused");
    for sessions in &people.sessions {
        let newest = sessions.last().expect("everybody has one");
        assert!(is_alive(&people.fixture.gateway, newest).await);
    }
}
