//! Activity on its way to the store: whatever fails, is slow or comes in between, no session ends whose last use is not
//! saved yet.

use std::sync::Arc;
use std::time::Duration;

use sessgate::clock::Timestamp;
use sessgate::config::Settings;
use sessgate::gateway::Gateway;
use sessgate::gateway::api::{CreateRequest, Slide};
use sessgate::session::SessionKey;
use sessgate::store::Store;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::support::faulty_store::{FaultyStore, Op, Point};
use crate::support::gateway::TestGateway;
use crate::support::sessions::MINUTE;
use crate::support::stores::{self, Opened};

const SECOND: Duration = Duration::from_secs(1);

struct Fixture {
    store: Arc<FaultyStore>,
    on: TestGateway,
}

/// Sessions live for 20 minutes, so that a minute of activity may be unsaved.
fn fixture() -> Fixture {
    let mut settings = Settings::default();
    settings.lifetimes.clocks.idle_timeout = MINUTE * 20;
    settings.lifetimes.memory_idle = MINUTE * 10;
    let store = FaultyStore::over(Arc::clone(&stores::model().store));
    let on = TestGateway::on(settings, Opened::of(Arc::clone(&store) as _));
    Fixture { store, on }
}

impl Fixture {
    fn gateway(&self) -> &Arc<Gateway> {
        &self.on.gateway
    }

    async fn log_in(&self) -> SessionKey {
        self.gateway().create(CreateRequest::default()).await.expect("room").token.key()
    }

    fn advance(&self, by: Duration) {
        self.on.clock.advance(by);
    }

    async fn use_it(&self, key: SessionKey) {
        self.gateway().look_up(key, Slide::Touch).await.expect("it is alive");
    }

    /// The last use that the store knows.
    async fn saved(&self, key: SessionKey) -> Timestamp {
        self.store.load(key).await.expect("a store").expect("it is there").last_activity
    }
}

/// Gives every other task its turn, and those that they wake.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test]
async fn what_could_not_be_saved_is_saved_by_the_next_round() {
    let fixture = fixture();
    let (one, other) = (fixture.log_in().await, fixture.log_in().await);
    fixture.advance(MINUTE);
    fixture.use_it(one).await;
    fixture.store.set_down(true);
    fixture.gateway().keep_up().await;
    fixture.store.set_down(false);
    fixture.use_it(other).await;
    fixture.gateway().keep_up().await;
    for key in [one, other] {
        assert_eq!(fixture.saved(key).await, fixture.gateway().now());
    }
    let saves = fixture.store.calls(Op::Touch);
    fixture.gateway().keep_up().await;
    assert_eq!(fixture.store.calls(Op::Touch), saves, "nothing waits any more");
}

#[tokio::test]
async fn a_failed_save_does_not_let_the_sweep_end_an_active_session() {
    let fixture = fixture();
    let key = fixture.log_in().await;
    fixture.advance(MINUTE * 19);
    fixture.use_it(key).await;
    fixture.store.set_down(true);
    fixture.gateway().keep_up().await;
    fixture.store.set_down(false);
    fixture.advance(MINUTE * 2 + SECOND);
    assert_eq!(fixture.gateway().sweep().await, 0, "it was used two minutes ago");
    fixture.use_it(key).await;
}

#[tokio::test]
async fn a_store_in_trouble_is_asked_once_a_round_however_much_waits() {
    let fixture = fixture();
    let mut keys = Vec::new();
    for _ in 0..2_500 {
        keys.push(fixture.log_in().await);
    }
    fixture.advance(MINUTE);
    for key in &keys {
        fixture.use_it(*key).await;
    }
    fixture.store.set_failing(Op::Touch, true);
    let before = fixture.store.calls(Op::Touch);
    fixture.gateway().keep_up().await;
    assert_eq!(fixture.store.calls(Op::Touch), before + 1, "each save that fails may take the store's whole deadline");
    fixture.store.set_failing(Op::Touch, false);
    fixture.gateway().keep_up().await;
    for key in keys {
        assert_eq!(fixture.saved(key).await, fixture.gateway().now());
    }
}

#[tokio::test]
async fn no_sweep_while_activity_cannot_be_saved() {
    let fixture = fixture();
    let (used, due) = (fixture.log_in().await, fixture.log_in().await);
    fixture.advance(MINUTE * 19);
    fixture.use_it(used).await;
    fixture.store.set_failing(Op::Touch, true);
    fixture.advance(MINUTE * 2 + SECOND);
    assert_eq!(fixture.gateway().sweep().await, 0, "the store does not know who is active");
    assert_eq!(fixture.on.figure("sessgate_sweep_runs_total{result=\"error\"}"), 1);
    fixture.store.set_failing(Op::Touch, false);
    assert_eq!(fixture.gateway().sweep().await, 1);
    fixture.use_it(used).await;
    assert!(fixture.gateway().look_up(due, Slide::Touch).await.is_err());
}

#[tokio::test]
async fn the_sweep_waits_for_a_save_under_way() {
    let fixture = fixture();
    let key = fixture.log_in().await;
    fixture.advance(MINUTE * 19);
    fixture.use_it(key).await;
    let mut held = fixture.store.hold(Point::Before(Op::Touch));
    let gateway = Arc::clone(fixture.gateway());
    let upkeep = tokio::spawn(async move { gateway.keep_up().await });
    held.reached().await;
    fixture.advance(MINUTE * 2 + SECOND);
    let gateway = Arc::clone(fixture.gateway());
    let sweep = tokio::spawn(async move { gateway.sweep().await });
    settle().await;
    held.release();
    upkeep.await.expect("no panic");
    assert_eq!(sweep.await.expect("no panic"), 0, "it was used two minutes ago");
    fixture.use_it(key).await;
}

#[tokio::test]
async fn a_session_used_while_the_sweep_saves_others_lives_on() {
    let fixture = fixture();
    let (first, second) = (fixture.log_in().await, fixture.log_in().await);
    fixture.advance(MINUTE * 19);
    fixture.use_it(first).await;
    let mut held = fixture.store.hold(Point::Before(Op::Touch));
    let gateway = Arc::clone(fixture.gateway());
    let sweep = tokio::spawn(async move { gateway.sweep().await });
    held.reached().await;
    fixture.use_it(second).await;
    fixture.advance(MINUTE * 2 + SECOND);
    held.release();
    assert_eq!(sweep.await.expect("no panic"), 0, "both were used two minutes ago");
    fixture.use_it(second).await;
}

#[tokio::test]
async fn more_than_can_wait_is_saved_all_the_same() {
    let fixture = fixture();
    // It asks to be saved every second, and so fills the queue by itself.
    let brief = CreateRequest { idle_timeout: Some(SECOND * 20), ..CreateRequest::default() };
    let brief = fixture.gateway().create(brief).await.expect("room").token.key();
    for _ in 0..65_536 {
        fixture.advance(SECOND);
        fixture.use_it(brief).await;
    }
    let key = fixture.log_in().await;
    fixture.advance(MINUTE);
    fixture.use_it(key).await;
    fixture.gateway().keep_up().await;
    assert_eq!(fixture.saved(key).await, fixture.gateway().now());
}

#[tokio::test]
async fn stopping_saves_what_waits_behind_a_save_under_way() {
    let fixture = fixture();
    let mut keys = Vec::new();
    // One more than are saved at once.
    for _ in 0..1_001 {
        keys.push(fixture.log_in().await);
    }
    fixture.advance(MINUTE);
    for key in &keys {
        fixture.use_it(*key).await;
    }
    let mut held = fixture.store.hold(Point::Before(Op::Touch));
    let (stop, stopped) = oneshot::channel::<()>();
    let gateway = Arc::clone(fixture.gateway());
    let run = tokio::spawn(gateway.run(async move { stopped.await.expect("it comes") }));
    held.reached().await;
    stop.send(()).expect("it runs");
    run.await.expect("no panic");
    for key in keys {
        assert_eq!(fixture.saved(key).await, fixture.gateway().now());
    }
}

#[tokio::test]
async fn stopping_saves_the_last_use() {
    let fixture = fixture();
    let key = fixture.log_in().await;
    fixture.advance(SECOND * 59);
    fixture.use_it(key).await;
    Arc::clone(fixture.gateway()).run(async {}).await;
    assert_eq!(fixture.saved(key).await, fixture.gateway().now());
}

#[tokio::test]
async fn a_session_that_leaves_memory_takes_its_last_use_along() {
    for pushed_out in [true, false] {
        let fixture = fixture();
        let key = fixture.log_in().await;
        fixture.advance(SECOND * 59);
        fixture.use_it(key).await;
        let used = fixture.gateway().now();
        fixture.gateway().keep_up().await;
        assert!(fixture.saved(key).await < used, "its next save is not due yet");
        if pushed_out {
            fixture.on.forget();
        }
        fixture.advance(MINUTE * 11);
        fixture.gateway().keep_up().await;
        assert_eq!(fixture.gateway().stats().await.expect("a store").memory, 0);
        fixture.advance(MINUTE * 8 + SECOND * 59);
        fixture.use_it(key).await;
    }
}

#[tokio::test]
async fn a_shorter_timeout_counts_from_the_last_use() {
    let fixture = fixture();
    let key = fixture.log_in().await;
    fixture.advance(SECOND * 59);
    fixture.use_it(key).await;
    let mut settings = Settings::clone(&fixture.gateway().settings());
    settings.lifetimes.clocks.idle_timeout = MINUTE;
    fixture.gateway().apply(&Arc::new(settings));
    fixture.advance(SECOND * 59);
    assert_eq!(fixture.gateway().sweep().await, 0, "it was used 59 seconds ago");
    fixture.use_it(key).await;
}
