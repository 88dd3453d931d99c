//! What the gateway remembers of keys is what the store has, however many write and read at once.

use std::sync::Arc;

use sessgate::config::settings::SessionRule;
use sessgate::gateway::Slide;
use sessgate::gateway::raw::{RawRequest, RawView};
use sessgate::session::identity::Rule;
use sessgate::session::{OnExcess, UserName};
use sessgate::store::raw::{RawFound, RawOp};
use tokio::task::JoinSet;

use super::differential::{NAMES, operation};
use super::name;
use crate::support::gateway::TestGateway;
use crate::support::seed::Random;
use crate::support::sessions::{everybody, user};

const ROUNDS: usize = 30;
const CLIENTS: usize = 6;

/// One client: transactions and look-ups.
async fn client(test: Arc<TestGateway>, mut random: Random) {
    for _ in 0..12 {
        let key = name(random.pick::<&str>(&NAMES));
        let ops = match random.below(6) {
            0..=2 => {
                test.gateway.look_up_raw(&key, Slide::Touch).await.unwrap();
                continue;
            }
            3 => vec![RawOp::Bind { name: key, user: (random.below(2) == 0).then(|| user("carl")) }],
            _ => (0..=random.below(3)).map(|_| operation(&mut random, test.gateway.now())).collect(),
        };
        // Nobody is late: this is about memory.
        let told_absent = NAMES.iter().map(|key| (test.gateway.key(0, key.as_bytes()), test.gateway.now())).collect();
        let request = RawRequest { ops, watched: Vec::new(), told_absent };
        assert!(test.gateway.run_raw(request).await.unwrap().is_some());
    }
}

/// What is to be seen of a key.
type Seen = Option<(Vec<u8>, u64, Option<UserName>)>;

async fn through_memory(test: &TestGateway, key: &str) -> Seen {
    let view = test.gateway.look_up_raw(&name(key), Slide::Peek).await.unwrap()?;
    let owner = match &view {
        RawView::Session(view) => view.entry.session.user.clone(),
        RawView::Plain(_) => None,
    };
    Some((view.data().to_vec(), view.revision(), owner))
}

async fn in_the_store(test: &TestGateway, key: &str) -> Seen {
    let found = test.store.load_raw(name(key), test.gateway.now()).await.unwrap()?;
    Some(match found {
        RawFound::Session(stored) => (stored.session.data.to_vec(), stored.session.revision, stored.session.user),
        RawFound::Plain(value) => (value.data.to_vec(), value.revision, None),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_never_behind_the_store() {
    let mut random = Random::from_env();
    eprintln!("SESSGATE_SEED={}", random.seed());
    let test = Arc::new(TestGateway::with(|settings| {
        settings.redis_door.sessions = vec![SessionRule { pattern: "s:".to_owned(), rule: Rule::default() }];
        settings.limits.per_user = everybody(Some(2), OnExcess::EvictIdlest);
    }));
    for _ in 0..ROUNDS {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(client(Arc::clone(&test), random.fork()));
        }
        clients.join_all().await;
        for key in NAMES {
            assert_eq!(through_memory(&test, key).await, in_the_store(&test, key).await);
        }
    }
}
