//! `sessgate import`: moves sessions in that exist already, through the Redis door of the running sidecar.
//!
//! Nothing is lost: every key is moved, is there already, had expired, or is counted by what the target had against it.
//! A key that is there is left as it is, so an import may be run again, and goes on where it was interrupted.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::admin_client::AdminClient;
use super::{Exit, refuse, say};
use crate::app::Configuration;
use crate::config::files::read_secret;
use crate::config::settings::{Settings, StoreSettings};
use crate::session::{EndReason, Lifetimes};

use address::{NoServer, Server};
use connection::Connection;
use progress::{Point, Progress};
use redis::Source;
use state::StateFile;
use tally::Tally;
use target::Target;

mod address;
mod connection;
mod json;
mod progress;
mod redis;
mod state;
mod tally;
mod target;

/// How often the sidecar is asked which sessions have ended.
const ASKED: Duration = Duration::from_secs(2);
/// How long an import that is told to stop may take for what it has begun.
const GRACE: Duration = Duration::from_secs(10);

/// What to move, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// From a Redis or Valkey: `redis://[[user]:password@]host[:port][/database]` or `unix:/path`
    #[arg(long, value_name = "URL", required_unless_present = "sessions_json", conflicts_with = "sessions_json")]
    redis: Option<String>,
    /// Its password, out of a file: what stands in a URL, others see in the list of processes
    #[arg(long, value_name = "FILE", requires = "redis")]
    redis_password_file: Option<PathBuf>,
    /// From a file with one JSON object, each key with its session
    #[arg(long, value_name = "FILE")]
    sessions_json: Option<PathBuf>,
    /// The configuration of the running sidecar [default: config.yaml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The sidecar's Redis door [default: `listen.redis` of the configuration, and the database of `--redis`]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Where to keep how far `--redis` has come [default: a file beside the store, or here]
    #[arg(long, value_name = "FILE", conflicts_with = "sessions_json")]
    state: Option<PathBuf>,
}

/// Why an import stopped before its end. What was moved until then stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A server cannot be reached, or any more.
    #[error("{whom}: {source}\n  hint: start it or mend the way to it, and run the same command again: it goes on")]
    Away { whom: String, source: io::Error },
    /// A server does not let us in, or not into this database.
    #[error("{whom}: {said}\n  hint: see the user, the password and the database of the URL or the configuration")]
    Login { whom: String, said: String },
    /// A server cannot do its part at all.
    #[error("{whom} says: {said}\n  hint: see to that, and run the same command again: it goes on")]
    Server { whom: String, said: String },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The file is not what it should be.
    #[error("{}:{line}:{column}: {what}\n  hint: what stands before that is moved; mend it, and run the same command again",
        path.display())]
    Json { path: PathBuf, line: usize, column: usize, what: String },
    /// The state is not ours.
    #[error("{}: belongs to the import {route}\n  hint: name another file with --state", path.display())]
    OtherImport { path: PathBuf, route: String },
    /// Somebody wants it to stop.
    #[error("interrupted\n  hint: run the same command again: it goes on")]
    Interrupted,
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Away { .. } | Self::Server { .. } => Exit::Internal,
            Self::Login { .. } | Self::File { .. } | Self::Json { .. } | Self::OtherImport { .. } => Exit::Usage,
            Self::Interrupted => Exit::Interrupted,
        }
    }
}

/// Where from.
enum From {
    Redis { server: Server, file: StateFile },
    Json(PathBuf),
}

/// All that is known before the first connection.
struct Plan {
    from: From,
    to: Server,
    database: u32,
    lifetimes: Lifetimes,
    /// Who says which sessions have ended; `None`: with `--to` nobody knows whose door that is.
    ends: Option<AdminClient>,
}

impl Plan {
    fn of(import: &Import, settings: &Settings) -> Result<Self, String> {
        let named = |option: &'static str, text: &str| {
            Server::parse(text).map_err(|error: NoServer| format!("`{option}` {error}"))
        };
        let mut source = import.redis.as_deref().map(|url| named("--redis", url)).transpose()?;
        if let (Some(source), Some(path)) = (&mut source, &import.redis_password_file) {
            let password = read_secret(path).map_err(|error| format!("`--redis-password-file` {error}"))?;
            source.password = Some(password);
        }
        let listen = &settings.listen;
        let to = match (&import.to, &listen.redis) {
            (Some(url), _) => named("--to", url)?,
            (None, Some(door)) => Server::of_listener(door, listen.redis_user.as_deref(), listen.redis_password()),
            (None, None) => {
                let hint =
                    "set `listen.redis` in the configuration of the sidecar and restart it, or name it with --to";
                return Err(format!("sessions move in through the Redis door, and there is none\n  hint: {hint}"));
            }
        };
        let same = source.as_ref().and_then(|source| source.database);
        let database = to.database.or(same).unwrap_or(0);
        let ends = match import.to {
            None => Some(AdminClient::to_listener(&listen.api, listen.api_key.as_ref())?),
            Some(_) => None,
        };
        let from = match (source, &import.sessions_json) {
            (None, path) => From::Json(path.clone().unwrap_or_default()),
            (Some(server), _) => {
                let StoreSettings::Embedded { path } = &settings.store;
                let route = format!("{server}/{} to {to}/{database}", server.database.unwrap_or(0));
                From::Redis { server, file: StateFile::new(import.state.as_deref(), path, route) }
            }
        };
        Ok(Self { from, to, database, lifetimes: settings.lifetimes.clocks, ends })
    }
}

/// An import under way.
struct Work {
    target: Target,
    tally: Tally,
    progress: Progress,
    stop: Arc<AtomicBool>,
    ends: Option<Ends>,
}

impl Work {
    /// Between two batches: tells where it is, and whether to stop.
    fn step(&mut self, done: (u64, Option<u64>)) -> Result<(), Failure> {
        self.progress.tell(Point { keys: self.tally.seen(), refused: self.tally.refusals(), done });
        if self.stop.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }

    fn say(&self, text: &str) {
        self.progress.end();
        eprintln!("sessgate: {text}");
    }

    fn go_on_from(&mut self, tally: Tally) {
        self.progress = Progress::new(tally.seen());
        self.tally = tally;
    }

    /// Counts which sessions have ended to make room, if it is time to or has to be `now`.
    fn note_ends(&mut self, now: bool) {
        if let Some(ends) = &mut self.ends {
            ends.note(&mut self.tally, now);
        }
    }
}

/// Asks the sidecar which sessions have ended to make room. Those that the app's own writes have cost count, too: the
/// sidecar does not say which write it was.
struct Ends {
    client: AdminClient,
    runtime: Handle,
    asked: Instant,
    before: Option<BTreeMap<String, u64>>,
}

/// What `/v1/stats` says of that.
#[derive(Deserialize)]
struct Stats {
    evictions: Evictions,
}

#[derive(Deserialize)]
struct Evictions {
    storage: BTreeMap<String, u64>,
}

impl Ends {
    fn new(client: AdminClient, runtime: Handle) -> Self {
        let mut this = Self { client, runtime, asked: Instant::now(), before: None };
        this.before = this.ask();
        this
    }

    /// `None`: it does not say. The import goes on without.
    fn ask(&mut self) -> Option<BTreeMap<String, u64>> {
        self.asked = Instant::now();
        let text = self.runtime.block_on(self.client.get("/v1/stats")).ok()?;
        serde_json::from_str::<Stats>(&text).ok().map(|stats| stats.evictions.storage)
    }

    fn note(&mut self, tally: &mut Tally, now: bool) {
        if !now && self.asked.elapsed() < ASKED {
            return;
        }
        let (Some(before), Some(after)) = (self.before.take(), self.ask()) else { return };
        for reason in [EndReason::UserLimit, EndReason::StorageCap].map(EndReason::as_str) {
            let of = |counts: &BTreeMap<String, u64>| counts.get(reason).copied().unwrap_or(0);
            // A sidecar that has restarted counts from 0.
            let more = of(&after).checked_sub(of(&before)).unwrap_or(of(&after));
            if more > 0 {
                tally.end(reason, more);
            }
        }
        self.before = Some(after);
    }
}

/// Moves, and says how it went.
pub(super) async fn run(import: Import) -> Exit {
    let settings = match Configuration::read(import.config.as_deref()) {
        Ok(configuration) => configuration.settings(),
        Err(problems) => return refuse(&problems),
    };
    let plan = match Plan::of(&import, &settings) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("sessgate: {error}");
            return Exit::Usage;
        }
    };
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        eprintln!("sessgate: the system does not let us listen for signals");
        return Exit::Internal;
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut work = {
        let (stop, runtime) = (Arc::clone(&stop), Handle::current());
        tokio::task::spawn_blocking(move || move_all(plan, stop, runtime))
    };
    let ended = tokio::select! {
        ended = &mut work => Some(ended),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let ended = if ended.is_some() {
        ended
    } else {
        // What is under way is finished, unless a server hangs or somebody is in a hurry.
        stop.store(true, Ordering::Relaxed);
        tokio::select! {
            ended = &mut work => Some(ended),
            () = tokio::time::sleep(GRACE) => None,
            _ = interrupt.recv() => None,
        }
    };
    match ended {
        Some(Ok(exit)) => exit,
        Some(Err(error)) => {
            eprintln!("sessgate: the import has failed: {error}");
            Exit::Internal
        }
        None => {
            eprintln!("sessgate: {}", Failure::Interrupted);
            Exit::Interrupted
        }
    }
}

fn move_all(plan: Plan, stop: Arc<AtomicBool>, runtime: Handle) -> Exit {
    let Plan { from, to, database, lifetimes, ends } = plan;
    let opened = match &from {
        From::Redis { server, .. } => {
            let connection = Connection::open(server, server.database.unwrap_or(0));
            connection.and_then(Source::new).map(Some)
        }
        From::Json(_) => Ok(None),
    };
    let opened = opened.and_then(|source| Ok((source, Target::open(&to, database)?)));
    let (source, target) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            eprintln!("sessgate: {failure}");
            return failure.exit();
        }
    };
    let ends = ends.map(|client| Ends::new(client, runtime));
    let mut work = Work { target, tally: Tally::default(), progress: Progress::new(0), stop, ends };
    let moved = match (&from, source) {
        (From::Redis { file, .. }, Some(mut source)) => source.run(&mut work, file),
        (From::Json(path), _) => json::run(path, lifetimes, &mut work),
        // A source was opened above.
        (From::Redis { .. }, None) => Ok(()),
    };
    work.note_ends(true);
    work.progress.end();
    say(&work.tally.to_string());
    let (per_second, took) = work.progress.speed(work.tally.seen());
    eprintln!("sessgate: {per_second} keys/s, {:.1} s", took.as_secs_f64());
    match moved {
        Err(failure) => {
            eprintln!("sessgate: {failure}");
            failure.exit()
        }
        Ok(()) if work.tally.refusals() > 0 => Exit::Unhealthy,
        Ok(()) => Exit::Clean,
    }
}
