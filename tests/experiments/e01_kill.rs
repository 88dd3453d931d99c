//! E1: `kill -9`, over and over, during creations, updates, rotations and revocations. What was acknowledged is
//! there, what was revoked is gone, and all figures agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sessgate::clock::{Clock, SystemClock};
use sessgate::session::{Content, Generator, OsGenerator, Session, SessionId, StoredSession, Token, UserName};
use sessgate::store::embedded::EmbeddedStore;
use sessgate::store::{CreateLimits, Store, Terms};
use tokio::task::JoinSet;

use super::load::{Step, Verified, Worker};
use super::{is_whole, sized, until};
use crate::support::disk::SmallDisk;
use crate::support::http::Client;
use crate::support::seed::Random;
use crate::support::sidecar::{Place, Sidecar};

/// Sessions that a user may have.
const PER_USER: u64 = 8;
const WORKERS: u64 = 8;
/// How soon a store must be open again, with a million sessions in it.
const OPEN: Duration = Duration::from_secs(5);
const MILLION: u64 = 1_000_000;
/// What a million sessions take, and room for the log and the reserve.
const MILLION_MEBIBYTES: u64 = 2_048;

fn config() -> String {
    format!(
        "limits: {{ stored_bytes: null, creation_per_ip: null, per_user: {{ sessions: {PER_USER} }} }}\n\
         top_users: {{ count: 100 }}\n"
    )
}

/// What is stored beside the workers' sessions.
#[derive(Clone, Copy, Default)]
struct Others {
    sessions: u64,
    users: u64,
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_revoked_comes_back() {
    let mut random = Random::from_env();
    let seed = random.seed();
    let place = Place::new(&config());
    let kills = sized(8, 90);
    let small = kill_repeatedly(&place, kills, Others::default(), &mut random);
    println!("E1 seed={seed} kills={kills} {small}");
    if is_whole() {
        // On a disk in memory, where a million creations take no hundred thousand flushes.
        let disk = SmallDisk::mount(MILLION_MEBIBYTES);
        let place = Place::with_store(&config(), &disk.path().join("store"));
        let began = Instant::now();
        let others = fill(&place);
        let filling = began.elapsed();
        let large = kill_repeatedly(&place, 10, others, &mut random);
        println!("E1 seed={seed} kills=10 stored={} filled_in={filling:.0?} {large}", others.sessions);
    }
}

struct Figures {
    acknowledged: u64,
    verified: Verified,
    slowest_start: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Verified { sessions, lost, lost_updates, undead, .. } = &self.verified;
        let (acknowledged, start) = (self.acknowledged, self.slowest_start);
        write!(f, "acknowledged={acknowledged} verified={sessions} lost={lost} lost_updates={lost_updates} ")?;
        write!(f, "undead={undead} slowest_start={start:.2?}")
    }
}

fn kill_repeatedly(place: &Place, kills: u64, others: Others, random: &mut Random) -> Figures {
    let mut workers: Vec<Worker> = (0..WORKERS).map(|n| Worker::new(&format!("w{n}"), 12, random.fork())).collect();
    let mut figures = Figures { acknowledged: 0, verified: Verified::default(), slowest_start: Duration::ZERO };
    for kill in 0..=kills {
        let sidecar = place.start();
        figures.slowest_start = figures.slowest_start.max(sidecar.start_took());
        let verified = verify(&sidecar, &mut workers, kill == kills, others);
        let Verified { lost, lost_updates, undead, .. } = verified;
        assert_eq!((lost, lost_updates, undead), (0, 0, 0), "after kill {kill}: {verified:?}");
        figures.verified.add(&verified);
        if kill == kills {
            sidecar.stop();
            break;
        }
        figures.acknowledged += load_and_kill(sidecar, &mut workers, 20 + random.below(400));
    }
    assert!(figures.slowest_start <= OPEN, "open after {:?}", figures.slowest_start);
    check_file(place);
    figures
}

/// Works until so many changes are acknowledged, and kills the process in the middle of the next ones.
fn load_and_kill(sidecar: Sidecar, workers: &mut [Worker], changes: u64) -> u64 {
    let (acknowledged, killed) = (AtomicU64::new(0), AtomicBool::new(false));
    let api = sidecar.api().clone();
    thread::scope(|scope| {
        for worker in workers {
            let (api, acknowledged, killed) = (&api, &acknowledged, &killed);
            scope.spawn(move || {
                let mut client = Client::new(api);
                loop {
                    if let Step::Lost(lost) = worker.step(&mut client, acknowledged) {
                        assert!(killed.load(Ordering::SeqCst), "lost before the kill: {lost}");
                        return;
                    }
                }
            });
        }
        until(Duration::from_secs(60), "enough changes", || {
            (acknowledged.load(Ordering::Relaxed) >= changes).then_some(())
        });
        killed.store(true, Ordering::SeqCst);
        sidecar.kill();
    });
    acknowledged.into_inner()
}

/// Compares everything: what workers know, listings, and the figures of `/v1/stats` and `/metrics`.
fn verify(sidecar: &Sidecar, workers: &mut [Worker], all: bool, others: Others) -> Verified {
    let mut client = sidecar.client();
    let mut verified = Verified::default();
    for worker in workers.iter_mut() {
        let of_worker = worker.verify(&mut client, all);
        assert!(of_worker.strays <= worker.unanswered, "{} sessions come from nowhere", of_worker.strays);
        verified.add(&of_worker);
        verified.listed.extend(of_worker.listed);
    }
    assert!(verified.listed.iter().all(|(_, sessions)| *sessions <= PER_USER), "{:?}", verified.listed);

    let stats = client.get("/v1/stats").expect(200).json();
    let listed: u64 = verified.listed.iter().map(|(_, sessions)| sessions).sum();
    assert_eq!(stats["sessions"]["storage"], others.sessions + listed, "the total is the sum of the listings");
    for top in stats["top_users"].as_array().expect("a list") {
        let known = verified.listed.iter().find(|(user, _)| *user == top["user"]);
        assert!(known.is_some() || others.sessions > 0, "{top}");
        assert!(known.is_none_or(|(_, sessions)| *sessions == top["sessions"]), "{top}, but {known:?}");
    }
    let users = sidecar.count("sessgate_users");
    assert_eq!(users, others.users + verified.listed.len() as u64, "users with a session");
    verified
}

/// The database is sound.
fn check_file(place: &Place) {
    let file = rusqlite::Connection::open(place.store_path().join("sessgate.db")).unwrap();
    let verdict: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// A million sessions, through the library, because that is faster.
fn fill(place: &Place) -> Others {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let generator: Arc<dyn Generator> = Arc::new(OsGenerator);
        let now = SystemClock::new().now().at;
        let lifetimes = sessgate::config::settings::Settings::default().lifetimes.clocks;
        let terms = Terms { now, lifetimes, grace: Duration::ZERO, notify: false, tombstone: Duration::from_secs(60) };
        let store = Arc::new(EmbeddedStore::open(place.store_path(), now, Arc::clone(&generator)).unwrap());
        let mut creations = JoinSet::new();
        for n in 0..MILLION {
            let session = Session {
                id: SessionId::generate(now, &*generator),
                user: Some(UserName::new(&format!("stored-{}", n / PER_USER)).unwrap()),
                created_at: now,
                idle_timeout: None,
                absolute_timeout: None,
                revision: 1,
                data: vec![b'1'; 256].into(),
            };
            let new = StoredSession {
                key: Token::mint(&*generator).key(),
                session,
                last_activity: now,
                content: Content::Json,
            };
            let store = Arc::clone(&store);
            creations.spawn(async move { store.create(new, CreateLimits::default(), terms).await.unwrap() });
            // Far below what the store's queue holds.
            if creations.len() >= 2_048 {
                creations.join_next().await.unwrap().unwrap();
            }
        }
        creations.join_all().await;
        store.close().await;
        Others { sessions: MILLION, users: MILLION / PER_USER }
    })
}
