//! E13: hundreds of reloads, a fifth of them garbage, in every way that files change, under full load: no request
//! fails, the last good configuration stays in force, and there is never a moment without limits.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::load::{Step, Worker};
use super::{is_whole, sized, until};
use crate::support::http::Client;
use crate::support::seed::Random;
use crate::support::sidecar::{Place, Sidecar};

/// The limits of the user who creates without end, one after the other.
const LIMITS: [u64; 3] = [3, 5, 9];
/// Threads of steady load, at most.
const WORKERS: u64 = 4;
/// Marks a configuration: the largest session in bytes, which the figures show.
const MARK: u64 = 60_000;
/// Too large for any mark.
const TOO_LARGE: usize = 100_000;
/// From the end of the write until it is in force.
const IN_FORCE: Duration = Duration::from_secs(1);

/// `limit` holds for all but the users of the steady load, who shall not lose sessions.
fn config(limit: u64, mark: u64) -> String {
    let steady: Vec<String> = (0..WORKERS).map(|worker| format!("steady{worker}-0: 1000000")).collect();
    format!(
        "limits: {{ session_bytes: {mark}, creation_per_ip: null, stored_bytes: null, \
         per_user: {{ sessions: {limit}, on_excess: evict_oldest, overrides: {{ {} }} }} }}\n",
        steady.join(", ")
    )
}

/// How a file comes to hold something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    InPlace,
    InTwoWrites,
    Rename,
    SymlinkSwap,
    RemoveAndCreate,
    Hangup,
    Request,
}

const WAYS: [Way; 7] = [
    Way::InPlace,
    Way::InTwoWrites,
    Way::Rename,
    Way::SymlinkSwap,
    Way::RemoveAndCreate,
    Way::Hangup,
    Way::Request,
];

/// What a file holds that must not be put in force.
#[derive(Clone, Copy, Debug)]
enum Garbage {
    BrokenYaml,
    HalfWritten,
    Empty,
    Removed,
    UnknownKey,
    RestartOnly,
    NoUtf8,
}

const GARBAGE: [Garbage; 7] = [
    Garbage::BrokenYaml,
    Garbage::HalfWritten,
    Garbage::Empty,
    Garbage::Removed,
    Garbage::UnknownKey,
    Garbage::RestartOnly,
    Garbage::NoUtf8,
];

impl Garbage {
    /// What the file then holds; `None`: there is no file. `good` would be in force, were it not for this.
    fn content(self, good: &str) -> Option<Vec<u8>> {
        Some(match self {
            Self::BrokenYaml => format!("{good}\nlimits: [").into_bytes(),
            // Ends within the section of limits.
            Self::HalfWritten => good.as_bytes()[..good.find("per_user").expect("a key") + 3].to_vec(),
            Self::Empty => Vec::new(),
            Self::Removed => return None,
            Self::UnknownKey => format!("{good}limts: {{ }}\n").into_bytes(),
            Self::RestartOnly => good.replace("admin: 127.0.0.1:0", "admin: 127.0.0.1:9").into_bytes(),
            Self::NoUtf8 => [good.as_bytes(), b"# \xff\xfe\n"].concat(),
        })
    }
}

/// What the threads share.
struct Shared {
    stop: AtomicBool,
    /// The largest limit of the crowd's that may be in force.
    bound: AtomicU64,
    /// Sessions that the crowd has created.
    crowd: AtomicU64,
    requests: AtomicU64,
}

#[test]
fn reloads_under_load_fail_nothing_and_limits_hold_throughout() {
    let mut random = Random::from_env();
    let reloads = sized(40, 500);
    let place = Place::new(&config(LIMITS[0], MARK));
    let sidecar = place.start();
    let shared = Shared {
        stop: AtomicBool::new(false),
        bound: AtomicU64::new(LIMITS[0]),
        crowd: AtomicU64::new(0),
        requests: AtomicU64::new(0),
    };
    // In a test the machine is busy with other tests, and the program is not optimised.
    let workers: Vec<Worker> =
        (0..sized(1, WORKERS)).map(|n| Worker::new(&format!("steady{n}"), 1, random.fork())).collect();

    let outcome = thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| steady_load(&sidecar, worker, &shared));
        }
        scope.spawn(|| create_without_end(&sidecar, &shared));
        scope.spawn(|| watch_the_limits(&sidecar, &shared));
        let stop = StopOnDrop(&shared);
        let outcome = reload_all(&place, &sidecar, &shared, &mut random, reloads);
        drop(stop);
        outcome
    });
    let requests = shared.requests.into_inner();
    println!(
        "E13 seed={} reloads={reloads} garbage={} requests={requests} failed=0 crowd={} slowest_in_force={:.1?} \
         median={:.1?} slowest_way={:?}",
        random.seed(),
        outcome.garbage,
        shared.crowd.into_inner(),
        outcome.slowest.0,
        outcome.median,
        outcome.slowest.1
    );
    assert!(outcome.slowest.0 <= IN_FORCE, "{:?}", outcome.slowest);
    if is_whole() {
        assert!((80..=120).contains(&outcome.garbage), "about a fifth");
    }
    sidecar.stop();
}

/// Lets the threads end, however the reloads went.
struct StopOnDrop<'s>(&'s Shared);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

struct Outcome {
    garbage: u64,
    slowest: (Duration, Way),
    median: Duration,
}

fn reload_all(place: &Place, sidecar: &Sidecar, shared: &Shared, random: &mut Random, reloads: u64) -> Outcome {
    let (mut limit, mut garbage) = (LIMITS[0], 0);
    let mut mark = MARK;
    let mut in_force = Vec::new();
    let mut files = Files { path: place.config_path(), generation: 0 };
    for n in 1..=reloads {
        let (way, next) = (*random.pick(&WAYS), *random.pick(&LIMITS));
        let good = place.complete(&config(next, MARK + n));
        if random.below(5) == 0 {
            garbage += 1;
            let refused = refusals(sidecar);
            let kind = *random.pick(&GARBAGE);
            files.put(way, kind.content(&good).as_deref(), sidecar, false);
            until(Duration::from_secs(10), "garbage is refused", || (refusals(sidecar) > refused).then_some(()));
            assert_eq!(mark_in_force(sidecar), mark, "the last good one stays in force: {kind:?} by {way:?}");
            continue;
        }
        shared.bound.fetch_max(next, Ordering::SeqCst);
        files.put(way, Some(good.as_bytes()), sidecar, true);
        let written = Instant::now();
        until(Duration::from_secs(10), "the change is in force", || {
            (mark_in_force(sidecar) == MARK + n).then_some(())
        });
        in_force.push((written.elapsed(), way));
        mark = MARK + n;
        // The creation that was under way may have seen the old limit; the one after it has not, and trims the rest.
        let crowd = shared.crowd.load(Ordering::SeqCst);
        until(Duration::from_secs(10), "the crowd goes on", || {
            (shared.crowd.load(Ordering::SeqCst) >= crowd + 2).then_some(())
        });
        limit = next;
        shared.bound.store(limit, Ordering::SeqCst);
    }
    let _ = limit;
    in_force.sort_unstable_by_key(|(took, _)| *took);
    Outcome {
        garbage,
        slowest: *in_force.last().expect("some were good"),
        median: in_force[in_force.len() / 2].0,
    }
}

fn mark_in_force(sidecar: &Sidecar) -> u64 {
    sidecar.client().get("/v1/stats").expect(200).json()["limits"]["session_bytes"].as_u64().expect("a number")
}

/// Reloads that were refused, whatever the trigger.
fn refusals(sidecar: &Sidecar) -> f64 {
    ["file", "signal", "request"]
        .iter()
        .map(|trigger| {
            sidecar.metric(&format!(r#"sessgate_config_reloads_total{{result="error",trigger="{trigger}"}}"#))
        })
        .sum()
}

/// The configuration file, however it is made.
struct Files {
    path: std::path::PathBuf,
    generation: u64,
}

impl Files {
    /// Makes the file hold `content`, or vanish, and reloads if that is part of the way. `valid`: what a request
    /// for a reload must say.
    fn put(&mut self, way: Way, content: Option<&[u8]>, sidecar: &Sidecar, valid: bool) {
        self.generation += 1;
        let Some(content) = content else {
            fs::remove_file(&self.path).unwrap();
            return;
        };
        let beside = |name: &str| self.path.with_file_name(name);
        match way {
            Way::InPlace | Way::Hangup | Way::Request => fs::write(&self.path, content).unwrap(),
            Way::InTwoWrites => {
                let (first, second) = content.split_at(content.len() / 2);
                let mut file = fs::File::create(&self.path).unwrap();
                file.write_all(first).unwrap();
                file.sync_all().unwrap();
                file.write_all(second).unwrap();
            }
            Way::Rename => {
                fs::write(beside("config.yaml~"), content).unwrap();
                fs::rename(beside("config.yaml~"), &self.path).unwrap();
            }
            Way::RemoveAndCreate => {
                let _ = fs::remove_file(&self.path);
                fs::write(&self.path, content).unwrap();
            }
            Way::SymlinkSwap => {
                // As Kubernetes updates a ConfigMap: a new directory, and `..data` is renamed over to it.
                let directory = format!("..{}", self.generation);
                fs::create_dir(beside(&directory)).unwrap();
                fs::write(beside(&directory).join("config.yaml"), content).unwrap();
                symlink(&directory, beside("..data_tmp")).unwrap();
                let old = fs::read_link(beside("..data")).ok();
                fs::rename(beside("..data_tmp"), beside("..data")).unwrap();
                if fs::read_link(&self.path).ok().as_deref() != Some(Path::new("..data/config.yaml")) {
                    symlink("..data/config.yaml", beside("config.link")).unwrap();
                    fs::rename(beside("config.link"), &self.path).unwrap();
                }
                if let Some(old) = old {
                    fs::remove_dir_all(beside(old.to_str().expect("our own name"))).unwrap();
                }
            }
        }
        match way {
            Way::Hangup => sidecar.signal("HUP"),
            Way::Request => {
                let reply = sidecar.admin_client().request("POST", "/-/reload", None, "");
                assert_eq!(reply.status, if valid { 200 } else { 422 }, "{}", reply.text());
            }
            _ => {}
        }
    }
}

/// Uses sessions in every way, and insists on the right answer to each request.
fn steady_load(sidecar: &Sidecar, mut worker: Worker, shared: &Shared) {
    let (mut client, acknowledged) = (sidecar.client(), AtomicU64::new(0));
    while !shared.stop.load(Ordering::SeqCst) {
        if let Step::Lost(lost) = worker.step(&mut client, &acknowledged) {
            panic!("a request failed: {lost:?}");
        }
        shared.requests.fetch_add(1, Ordering::Relaxed);
    }
    let verified = worker.verify(&mut client, true);
    assert_eq!((verified.lost, verified.lost_updates, verified.undead), (0, 0, 0), "{verified:?}");
}

fn create_without_end(sidecar: &Sidecar, shared: &Shared) {
    let mut client = sidecar.client();
    let body = json!({ "user": "crowd" }).to_string();
    let too_large = json!({ "user": "large", "data": "x".repeat(TOO_LARGE) }).to_string();
    while !shared.stop.load(Ordering::SeqCst) {
        client.request("POST", "/v1/sessions", None, &body).expect(201);
        shared.crowd.fetch_add(1, Ordering::SeqCst);
        client.request("POST", "/v1/sessions", None, &too_large).expect(413);
        shared.requests.fetch_add(2, Ordering::Relaxed);
    }
}

/// Counts the crowd's sessions over and over.
fn watch_the_limits(sidecar: &Sidecar, shared: &Shared) {
    let mut client: Client = sidecar.client();
    while !shared.stop.load(Ordering::SeqCst) {
        let before = shared.bound.load(Ordering::SeqCst);
        let listed = client.get("/v1/users/crowd/sessions?limit=1000").expect(200).json();
        let held = listed["sessions"].as_array().expect("a list").len() as u64;
        let bound = before.max(shared.bound.load(Ordering::SeqCst));
        assert!(held <= bound, "the crowd has {held} sessions, and {bound} is the most that was ever allowed");
        shared.requests.fetch_add(1, Ordering::Relaxed);
    }
}
