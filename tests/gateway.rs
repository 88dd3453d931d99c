//! The gateway between memory and store: what must hold when changes, reads and failures cross.
//!
//! Every race is set up by holding a call of the store at a point, and awaited; nothing depends on speed. The tests
//! run on one thread, so a task that is not held has come to rest when all others have had their turn.

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sessgate::config::settings::{Hook, HookUrl};
use sessgate::gateway::api::{CreateRequest, Created, Slide};
use sessgate::gateway::{Gateway, GatewayError, MemoryLookUp};
use sessgate::session::{OnExcess, SessionKey};
use sessgate::store::{READ_DEADLINE, Store};
use tokio::task::{JoinHandle, yield_now};

use crate::support::door::TestDoor;
use crate::support::exposition::Exposition;
use crate::support::faulty_store::{FaultyStore, Held, Op, Point};
use crate::support::gateway::{START, TestGateway};
use crate::support::sessions::{MINUTE, user};
use crate::support::stores::{self, Opened};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

struct Fixture {
    store: Arc<FaultyStore>,
    on: TestGateway,
}

fn fixture() -> Fixture {
    let store = FaultyStore::over(Arc::clone(&stores::model().store));
    let on = TestGateway::on(sessgate::config::Settings::default(), Opened::of(Arc::clone(&store) as _));
    Fixture { store, on }
}

fn request(name: &str) -> CreateRequest {
    CreateRequest { user: Some(user(name)), data: Box::from(*b"1"), ..CreateRequest::default() }
}

impl Fixture {
    fn gateway(&self) -> &Arc<Gateway> {
        &self.on.gateway
    }

    async fn log_in(&self) -> Created {
        self.gateway().create(request("ada")).await.expect("room")
    }

    /// Starts something with the gateway.
    fn start<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Gateway>) -> F,
    ) -> JoinHandle<T> {
        tokio::spawn(work(Arc::clone(self.gateway())))
    }

    /// Starts something, and waits until it has come to `point`.
    async fn start_until<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        point: Point,
        work: impl FnOnce(Arc<Gateway>) -> F,
    ) -> (JoinHandle<T>, Held) {
        let mut held = self.store.hold(point);
        let task = self.start(work);
        held.reached().await;
        (task, held)
    }

    fn is_in_memory(&self, key: &SessionKey) -> bool {
        !matches!(self.gateway().look_up_in_memory(key, Slide::Peek), MemoryLookUp::Absent)
    }

    /// What is to be so when a session has ended, whatever happened on the way.
    #[track_caller]
    fn assert_gone(&self, key: SessionKey, how: &str) -> impl Future<Output = ()> {
        assert!(!self.is_in_memory(&key), "{how}: it is still in memory");
        async move {
            let found = self.gateway().look_up(key, Slide::Touch).await;
            assert!(matches!(found, Err(GatewayError::NotFound)), "{how}: {found:?}");
        }
    }
}

/// Gives every other task its turn, and those that they wake.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_read_under_way_cannot_bring_an_ended_session_back() {
    let ways = ["revoke", "by id", "by user", "rotate", "another login", "sweep"];
    for how in ways {
        let fixture = fixture();
        fixture.on.reload_limits(|limits| limits.per_user.on_excess = OnExcess::EvictOldest);
        let created = fixture.log_in().await;
        let (key, id) = (created.token.key(), created.view.entry.session.id);
        fixture.on.forget();
        let (reading, held) = fixture
            .start_until(Point::After(Op::Load), move |gateway| async move { gateway.look_up(key, Slide::Touch).await })
            .await;
        let gateway = fixture.gateway();
        match how {
            "revoke" => gateway.revoke(key).await.expect("a store"),
            "by id" => assert!(gateway.revoke_id(id).await.expect("a store")),
            "by user" => assert_eq!(gateway.revoke_user(user("ada")).await.expect("a store"), 1),
            "rotate" => {
                // It looks the session up first, and so waits for the same read.
                let rotating = fixture.start(move |gateway| async move { gateway.rotate(key).await.is_ok() });
                settle().await;
                held.release();
                assert!(reading.await.expect("no panic").is_ok());
                assert!(rotating.await.expect("no panic"));
                fixture.assert_gone(key, how).await;
                continue;
            }
            "another login" => {
                fixture.on.reload_limits(|limits| limits.per_user.sessions = Some(1));
                assert_eq!(fixture.log_in().await.evicted, [id]);
            }
            "sweep" => {
                fixture.on.clock.advance(MINUTE * 60 * 24 * 91);
                assert_eq!(gateway.sweep().await, 1);
            }
            _ => unreachable!(),
        }
        held.release();
        assert!(reading.await.expect("no panic").is_ok(), "{how}: it was read while it was alive");
        fixture.assert_gone(key, how).await;
    }
}

#[tokio::test]
async fn what_had_expired_is_not_there_to_be_revoked() {
    let fixture = fixture();
    let brief = || CreateRequest { idle_timeout: Some(SECOND * 2), ..request("ada") };
    let first = fixture.gateway().create(brief()).await.expect("room");
    fixture.gateway().create(brief()).await.expect("room");
    fixture.log_in().await;
    fixture.on.clock.advance(SECOND * 4);
    assert!(!fixture.gateway().revoke_id(first.view.entry.session.id).await.expect("a store"));
    assert_eq!(fixture.gateway().revoke_user(user("ada")).await.expect("a store"), 1);
}

#[tokio::test]
async fn a_session_revoked_while_it_is_created_is_not_in_memory() {
    let fixture = fixture();
    let (creating, held) = fixture
        .start_until(Point::After(Op::Create), |gateway| async move { gateway.create(request("ada")).await })
        .await;
    assert_eq!(fixture.gateway().revoke_user(user("ada")).await.expect("a store"), 1);
    held.release();
    let created = creating.await.expect("no panic").expect("it was created");
    fixture.assert_gone(created.token.key(), "create").await;
}

#[tokio::test]
async fn a_session_revoked_while_it_is_updated_stays_gone() {
    for point in [Point::Before(Op::Update), Point::After(Op::Update)] {
        let fixture = fixture();
        let key = fixture.log_in().await.token.key();
        let (updating, held) = fixture
            .start_until(point, move |gateway| async move { gateway.update(key, Box::from(*b"2"), None).await })
            .await;
        fixture.gateway().revoke(key).await.expect("a store");
        held.release();
        let updated = updating.await.expect("no panic");
        assert_eq!(updated.is_ok(), point == Point::After(Op::Update), "{point:?}: {updated:?}");
        fixture.assert_gone(key, "update").await;
    }
}

#[tokio::test]
async fn a_session_revoked_while_it_is_rotated_is_dead_under_both_tokens() {
    let fixture = fixture();
    let old = fixture.log_in().await.token.key();
    let (rotating, held) =
        fixture.start_until(Point::After(Op::Rotate), move |gateway| async move { gateway.rotate(old).await }).await;
    assert_eq!(fixture.gateway().revoke_user(user("ada")).await.expect("a store"), 1);
    held.release();
    let (token, _) = rotating.await.expect("no panic").expect("it was rotated");
    fixture.assert_gone(old, "old token").await;
    fixture.assert_gone(token.key(), "new token").await;
}

async fn revision(fixture: &Fixture, key: SessionKey) -> (u64, Box<[u8]>) {
    let view = fixture.gateway().look_up(key, Slide::Peek).await.expect("live");
    (view.entry.session.revision, view.entry.session.data.clone())
}

#[tokio::test]
async fn an_older_revision_never_replaces_a_newer_one_in_memory() {
    let fixture = fixture();
    let key = fixture.log_in().await.token.key();
    let (first, held) = fixture
        .start_until(Point::After(Op::Update), move |gateway| async move {
            gateway.update(key, Box::from(*b"first"), None).await
        })
        .await;
    let second = fixture.gateway().update(key, Box::from(*b"second"), None).await.expect("live");
    assert_eq!(second.entry.session.revision, 3);
    held.release();
    let first = first.await.expect("no panic").expect("live");
    assert_eq!(first.entry.session.revision, 2, "each is told its own");
    assert!(fixture.is_in_memory(&key));
    assert_eq!(revision(&fixture, key).await, (3, Box::from(*b"second")));
}

#[tokio::test]
async fn a_read_under_way_cannot_bring_older_data_back() {
    let fixture = fixture();
    let key = fixture.log_in().await.token.key();
    let (updating, update) = fixture
        .start_until(Point::Before(Op::Update), move |gateway| async move {
            gateway.update(key, Box::from(*b"new"), None).await
        })
        .await;
    fixture.on.forget();
    let (reading, read) = fixture
        .start_until(Point::After(Op::Load), move |gateway| async move { gateway.look_up(key, Slide::Peek).await })
        .await;
    update.release();
    assert_eq!(updating.await.expect("no panic").expect("live").entry.session.revision, 2);
    read.release();
    assert_eq!(reading.await.expect("no panic").expect("live").entry.session.revision, 1, "it was read before");
    assert_eq!(revision(&fixture, key).await, (2, Box::from(*b"new")));
}

#[tokio::test]
async fn many_misses_of_one_session_make_one_read() {
    let fixture = fixture();
    let key = fixture.log_in().await.token.key();
    fixture.on.forget();
    let look_up = move |gateway: Arc<Gateway>| async move { gateway.look_up(key, Slide::Touch).await };
    let (first, held) = fixture.start_until(Point::Before(Op::Load), look_up).await;
    let others: Vec<_> = (0..100).map(|_| fixture.start(look_up)).collect();
    settle().await;
    held.release();
    assert!(first.await.expect("no panic").is_ok());
    for other in others {
        assert!(other.await.expect("no panic").is_ok());
    }
    assert_eq!(fixture.store.calls(Op::Load), 1);
}

#[tokio::test]
async fn who_waits_for_a_read_that_is_given_up_reads_by_itself() {
    let fixture = fixture();
    let key = fixture.log_in().await.token.key();
    fixture.on.forget();
    let look_up = move |gateway: Arc<Gateway>| async move { gateway.look_up(key, Slide::Touch).await };
    let (first, _held) = fixture.start_until(Point::Before(Op::Load), look_up).await;
    let others: Vec<_> = (0..10).map(|_| fixture.start(look_up)).collect();
    settle().await;
    // Its client went away.
    first.abort();
    for other in others {
        assert!(other.await.expect("no panic").is_ok());
    }
    assert_eq!(fixture.store.calls(Op::Load), 2);
}

#[tokio::test]
async fn those_who_wait_for_a_read_that_hangs_give_up_together() {
    let fixture = fixture();
    let key = fixture.log_in().await.token.key();
    fixture.on.forget();
    let look_up = move |gateway: Arc<Gateway>| async move { gateway.look_up(key, Slide::Touch).await };
    let (_first, _held) = fixture.start_until(Point::Before(Op::Load), look_up).await;
    let began = Instant::now();
    let others: Vec<_> = (0..10).map(|_| fixture.start(look_up)).collect();
    for other in others {
        assert!(matches!(other.await.expect("no panic"), Err(GatewayError::Unavailable(_))));
    }
    let waited = began.elapsed();
    assert!((READ_DEADLINE..READ_DEADLINE * 5).contains(&waited), "{waited:?}");
    assert_eq!(fixture.store.calls(Op::Load), 1);
    let failed = fixture.on.figure("sessgate_lookup_duration_seconds_count{tier=\"none\",result=\"error\"}");
    assert_eq!(failed, 10);
}

#[tokio::test]
async fn a_change_whose_client_goes_away_runs_to_its_end() {
    let fixture = fixture();
    // A login that nobody waits for: it is there, and memory knows it as the store does.
    let (creating, held) = fixture
        .start_until(Point::Before(Op::Create), |gateway| async move { gateway.create(request("ada")).await })
        .await;
    creating.abort();
    held.release();
    settle().await;
    let (listed, _) = fixture.gateway().user_sessions(user("ada"), None, 10).await.expect("a store");
    assert_eq!(listed.len(), 1);

    for before in [true, false] {
        let point = |op| if before { Point::Before(op) } else { Point::After(op) };
        let key = fixture.log_in().await.token.key();
        let (updating, held) = fixture
            .start_until(
                point(Op::Update),
                move |gateway| async move { gateway.update(key, Box::from(*b"2"), None).await },
            )
            .await;
        updating.abort();
        held.release();
        settle().await;
        assert_eq!(revision(&fixture, key).await, (2, Box::from(*b"2")), "memory has what the store has");

        let (revoking, held) =
            fixture.start_until(point(Op::End), move |gateway| async move { gateway.revoke(key).await }).await;
        revoking.abort();
        held.release();
        settle().await;
        fixture.assert_gone(key, "revoke").await;
    }
}

#[tokio::test]
async fn a_store_that_fails_is_told_from_a_session_that_is_not_there() {
    let fixture = fixture();
    let gateway = fixture.gateway();
    let (hot, cold) = (fixture.log_in().await, fixture.log_in().await.token.key());
    let (hot, id) = (hot.token.key(), hot.view.entry.session.id);
    fixture.on.forget();
    gateway.look_up(hot, Slide::Touch).await.expect("live");
    fixture.store.set_down(true);
    assert!(gateway.look_up(hot, Slide::Touch).await.is_ok(), "hot ones are served");
    let unavailable = |error: GatewayError| matches!(error, GatewayError::Unavailable(_));
    assert!(unavailable(gateway.look_up(cold, Slide::Touch).await.unwrap_err()));
    assert!(unavailable(gateway.touch(cold).await.unwrap_err()));
    assert!(unavailable(gateway.create(request("bob")).await.unwrap_err()));
    assert!(unavailable(gateway.update(hot, Box::from(*b"2"), None).await.unwrap_err()));
    assert!(unavailable(gateway.find(id).await.unwrap_err()));
    assert!(unavailable(gateway.revoke_id(id).await.unwrap_err()));
    assert!(unavailable(gateway.revoke_user(user("ada")).await.unwrap_err()));
    assert!(unavailable(gateway.user_sessions(user("ada"), None, 1).await.unwrap_err()));
    assert!(unavailable(gateway.stats().await.unwrap_err()));
    assert_eq!(gateway.sweep().await, 0);
    gateway.keep_up().await;
    assert_eq!(scrape(&fixture, "sessgate_store_up", &[]).to_string(), "0");
    assert_eq!(scrape(&fixture, "sessgate_sweep_runs_total", &[("result", "error")]).to_string(), "1");

    fixture.store.set_down(false);
    assert_eq!(revision(&fixture, hot).await, (1, Box::from(*b"1")), "what failed has changed nothing");
    assert!(gateway.look_up(cold, Slide::Touch).await.is_ok());
    assert!(gateway.create(request("bob")).await.is_ok());
    assert_eq!(scrape(&fixture, "sessgate_store_up", &[]).to_string(), "0", "one that works is no proof");
    gateway.keep_up().await;
    assert_eq!(scrape(&fixture, "sessgate_store_up", &[]).to_string(), "1");
}

#[tokio::test]
async fn a_revocation_holds_here_even_if_the_store_cannot_be_told() {
    let fixture = fixture();
    let key = fixture.log_in().await.token.key();
    fixture.store.set_down(true);
    assert!(matches!(fixture.gateway().revoke(key).await, Err(GatewayError::Unavailable(_))));
    assert!(!fixture.is_in_memory(&key));
    assert!(matches!(fixture.gateway().look_up(key, Slide::Touch).await, Err(GatewayError::Unavailable(_))));
}

fn scrape(fixture: &Fixture, family: &str, labels: &[(&str, &str)]) -> f64 {
    let text = fixture.on.metrics.encode().expect("text");
    let found = Exposition::parse(&text).expect("the text format");
    found.find(family, &labels.iter().copied().collect())[0].value
}

#[tokio::test]
async fn a_session_in_use_is_saved_once_an_interval_and_a_crash_loses_no_more_than_that() {
    let fixture = fixture();
    let key = fixture.log_in().await.token.key();
    let interval = fixture.gateway().settings().lifetimes.clocks.touch_interval();
    assert_eq!(interval, MINUTE);
    for _ in 0..600 {
        fixture.on.clock.advance(SECOND);
        for _ in 0..3 {
            fixture.gateway().look_up(key, Slide::Touch).await.expect("live");
        }
        fixture.gateway().keep_up().await;
        // What a crash at this moment would leave.
        let stored = Store::load(&*fixture.store, key).await.expect("a store").expect("it is there");
        assert!(fixture.gateway().now().since(stored.last_activity) < interval);
    }
    assert_eq!(fixture.store.calls(Op::Touch), 10, "ten minutes, ten writes");
}

#[tokio::test]
async fn a_session_whose_time_is_over_is_refused_everywhere_without_any_sweep() {
    let own = |idle, absolute| CreateRequest { idle_timeout: idle, absolute_timeout: absolute, ..request("ada") };
    for (what, request, used_at, over_after) in [
        // The request, when it is used, and how long after that it is over.
        ("idle", own(Some(MINUTE), None), SECOND * 30, SECOND * 60),
        ("absolute", own(Some(MINUTE), Some(MINUTE)), SECOND * 30, SECOND * 30),
        ("the default", own(None, None), SECOND * 30, MINUTE * 60 * 24 * 90),
    ] {
        for in_memory in [true, false] {
            let fixture = fixture();
            let gateway = fixture.gateway();
            let created = gateway.create(request.clone()).await.expect("room");
            let (key, id) = (created.token.key(), created.view.entry.session.id);
            fixture.on.clock.advance(used_at);
            gateway.look_up(key, Slide::Touch).await.expect("live");
            gateway.keep_up().await;
            fixture.on.clock.advance(over_after.saturating_sub(MILLISECOND));
            assert!(gateway.look_up(key, Slide::Peek).await.is_ok(), "{what}: until then it lives");
            fixture.on.clock.advance(MILLISECOND);
            if !in_memory {
                fixture.on.forget();
            }
            let gone = |error: GatewayError| matches!(error, GatewayError::NotFound);
            assert!(gone(gateway.look_up(key, Slide::Peek).await.unwrap_err()), "{what}");
            assert!(gone(gateway.look_up(key, Slide::Touch).await.unwrap_err()), "{what}");
            assert!(gone(gateway.update(key, Box::from(*b"2"), None).await.unwrap_err()), "{what}");
            assert!(gone(gateway.rotate(key).await.unwrap_err()), "{what}");
            assert!(gone(gateway.find(id).await.unwrap_err()), "{what}");
            assert_eq!(gateway.user_sessions(user("ada"), None, 10).await.expect("a store").0.len(), 0, "{what}");
            assert_eq!(fixture.store.calls(Op::ClaimDue), 0);
        }
    }
}

/// Its activity is saved as often as its own timeout asks, not as the default's.
#[tokio::test]
async fn a_session_with_a_short_timeout_of_its_own_survives_leaving_memory() {
    let fixture = fixture();
    let brief = CreateRequest { idle_timeout: Some(SECOND * 20), ..request("ada") };
    let key = fixture.gateway().create(brief).await.expect("room").token.key();
    for _ in 0..6 {
        fixture.on.clock.advance(SECOND * 15);
        fixture.gateway().look_up(key, Slide::Touch).await.expect("in use");
        fixture.gateway().keep_up().await;
        fixture.on.forget();
        // Another login ends this user's expired sessions first; this is none.
        assert_eq!(fixture.log_in().await.evicted, []);
    }
}

/// On a full disk the embedded store ends few sessions at a time, and that is when ending them matters.
#[tokio::test]
async fn steps_that_are_cut_short_are_repeated_until_nothing_is_left() {
    const SESSIONS: u64 = 150;
    for how in ["revoke all", "sweep", "trim", "make room"] {
        let fixture = fixture();
        let gateway = fixture.gateway();
        fixture.on.reload_limits(|limits| limits.per_user.sessions = None);
        for _ in 0..SESSIONS {
            fixture.log_in().await;
        }
        gateway.keep_up().await;
        fixture.store.take_least_steps();
        let left = match how {
            "revoke all" => {
                assert_eq!(gateway.revoke_user(user("ada")).await.expect("a store"), SESSIONS);
                0
            }
            "sweep" => {
                fixture.on.clock.advance(MINUTE * 60 * 24 * 91);
                assert_eq!(gateway.sweep().await, SESSIONS);
                0
            }
            "trim" => {
                fixture.on.reload_limits(|limits| limits.per_user.sessions = Some(1));
                for _ in 0..3 {
                    gateway.keep_up().await;
                }
                1
            }
            _ => {
                fixture.on.reload_limits(|limits| limits.stored.sessions = Some(1));
                for _ in 0..3 {
                    gateway.keep_up().await;
                }
                1
            }
        };
        assert_eq!(gateway.stats().await.expect("a store").storage, left, "{how}");
    }
}

#[tokio::test]
async fn a_limit_lowered_while_an_earlier_one_is_trimmed_is_not_forgotten() {
    let fixture = fixture();
    let gateway = fixture.gateway();
    for _ in 0..8 {
        fixture.log_in().await;
    }
    let (upkeep, held) =
        fixture.start_until(Point::After(Op::TrimUsers), |gateway| async move { gateway.keep_up().await }).await;
    fixture.on.reload_limits(|limits| limits.per_user.sessions = Some(3));
    held.release();
    upkeep.await.expect("no panic");
    gateway.keep_up().await;
    assert_eq!(gateway.stats().await.expect("a store").storage, 3);
}

#[tokio::test]
async fn what_the_store_refuses_or_fails_to_create_does_not_count_against_the_address() {
    let fixture = fixture();
    let from = || CreateRequest { ip: Some([192, 0, 2, 7].into()), ..request("ada") };
    let refused_10_times = async |refusal: fn(&GatewayError) -> bool| {
        for _ in 0..10 {
            let refused = fixture.gateway().create(from()).await.expect_err("it is refused");
            assert!(refusal(&refused), "{refused}");
        }
    };
    fixture.store.set_down(true);
    refused_10_times(|refused| matches!(refused, GatewayError::Unavailable(_))).await;
    fixture.store.set_down(false);
    fixture.log_in().await;
    fixture.on.reload_limits(|limits| {
        (limits.per_user.sessions, limits.per_user.on_excess) = (Some(1), OnExcess::Reject);
    });
    refused_10_times(|refused| matches!(refused, GatewayError::UserLimit { .. })).await;
    fixture.on.reload_limits(|limits| {
        (limits.per_user.sessions, limits.stored.bytes) = (None, Some(1));
    });
    refused_10_times(|refused| matches!(refused, GatewayError::StorageFull)).await;
    fixture.on.reload_limits(|limits| limits.stored.bytes = None);
    for _ in 0..10 {
        fixture.gateway().create(from()).await.expect("the whole allowance is left");
    }
    assert!(matches!(fixture.gateway().create(from()).await, Err(GatewayError::CreationRate { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_others_compare_with_their_clocks_is_the_wall_clock_s_time() {
    let app = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/ended", app.local_addr().expect("bound"));
    let mut settings = sessgate::config::Settings::default();
    settings.hooks.session_closed =
        Some(Hook { url: HookUrl::new(&url, &url), secret: None, timeout: 30 * SECOND, max_attempts: 1 });
    let on = TestGateway::on(settings, stores::model());
    // As after an hour of suspension.
    let wall = START + 60 * MINUTE;
    on.clock.set_wall(wall);
    let created = on.gateway.create(request("ada")).await.expect("room");
    let door = TestDoor::open(&on);
    // hyper has a clock of its own; this is answered beneath it.
    let bearer = format!("Bearer {}", created.token.expose());
    let answered = door.call("GET", "/v1/session", &[("authorization", &bearer)], b"");
    assert_eq!(answered.header("date"), Some("Thu, 01 Jan 2026 01:00:00 GMT"), "{answered:?}");
    tokio::task::block_in_place(|| std::thread::scope(|scope| scope.spawn(|| door.close()).join())).expect("no panic");

    on.gateway.revoke_id(created.view.entry.session.id).await.expect("there");
    let receiving = std::thread::spawn(move || {
        let (mut caller, _) = app.accept().expect("a call");
        let lines = BufReader::new(&caller).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let head: Vec<_> = lines.collect();
        caller.write_all(b"HTTP/1.1 204 x\r\n\r\n").expect("it is read");
        head
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Arc::clone(&on.gateway).run(async { drop(stopped.await) }));
    let head = tokio::task::block_in_place(|| receiving.join()).expect("no panic");
    drop(stop);
    running.await.expect("no panic");
    let seconds = wall.as_millis() / 1_000;
    assert!(head.contains(&format!("webhook-timestamp: {seconds}")), "{head:?}");

    on.gateway.sweep().await;
    assert_eq!(on.figure("sessgate_sweep_last_success_timestamp_seconds"), seconds);
}
