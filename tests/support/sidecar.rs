//! The program itself, as a process: started in a directory of its own, on free ports, killed when it is dropped.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sessgate::config::settings::Address;
use tempfile::TempDir;

use super::http::Client;

/// How long a start may take before it counts as failed.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Log lines that are kept for a look back.
const KEPT_LINES: usize = 20_000;

/// A directory with a configuration and a store, which outlives the processes that run on it.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    store: PathBuf,
    environment: Vec<(String, String)>,
}

impl Place {
    /// A new directory with this configuration, which need not say where to listen and to store.
    pub fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = directory.path().join("data");
        let place = Self { directory, store, environment: Vec::new() };
        place.write_config(config);
        place
    }

    /// The same with the store somewhere else.
    pub fn with_store(config: &str, store: &Path) -> Self {
        let mut place = Self::new("");
        store.clone_into(&mut place.store);
        place.write_config(config);
        place
    }

    /// Sets a variable for the processes started from now on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.path().join("config.yaml")
    }

    /// Where the store is.
    pub fn store_path(&self) -> &Path {
        &self.store
    }

    /// What is to be in the file for `config` to be in force: with free ports and a store in this directory, unless
    /// it says otherwise.
    pub fn complete(&self, config: &str) -> String {
        let mut whole = String::new();
        if !config.contains("listen:") {
            whole.push_str("listen: { api: 127.0.0.1:0, admin: 127.0.0.1:0 }\n");
        }
        if !config.contains("store:") {
            writeln!(whole, "store: {{ embedded: {{ path: {} }} }}", self.store.display()).unwrap();
        }
        whole + config
    }

    /// Writes the configuration file, as [`complete`](Self::complete) has it.
    pub fn write_config(&self, config: &str) {
        fs::write(self.config_path(), self.complete(config)).expect("the configuration is written");
    }

    /// The program, not yet started.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sessgate"));
        command.current_dir(self.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the program, and waits until it serves, which it logs at level `info`.
    #[track_caller]
    pub fn start(&self) -> Sidecar {
        let began = Instant::now();
        let mut child = self.command().spawn().expect("the program starts");
        let log = Log::follow(child.stderr.take().expect("it is piped"));
        let Some(line) = log.wait_for(START_DEADLINE, |line| line.contains("serving api=")) else {
            let _ = child.kill();
            let exit = child.wait();
            panic!("the program did not start ({exit:?}):\n{}", log.text());
        };
        let (api, admin) = (address(&line, "api="), address(&line, "admin="));
        let sidecar = Sidecar { child, api, admin, log, start_took: began.elapsed() };
        sidecar.admin_client().get("/readyz").expect(200);
        sidecar
    }
}

fn address(line: &str, field: &str) -> Address {
    let value = line.split(field).nth(1).and_then(|rest| rest.split_whitespace().next());
    let value = value.unwrap_or_else(|| panic!("no {field} in: {line}"));
    match value.strip_prefix("unix:") {
        Some(path) => Address::Unix(path.into()),
        None => Address::Tcp(value.parse::<SocketAddr>().unwrap_or_else(|error| panic!("{error} in: {line}"))),
    }
}

/// A running process.
#[derive(Debug)]
pub struct Sidecar {
    child: Child,
    api: Address,
    admin: Address,
    log: Log,
    start_took: Duration,
}

impl Sidecar {
    /// Where the API listens.
    pub fn api(&self) -> &Address {
        &self.api
    }

    /// Where the admin door listens.
    pub fn admin(&self) -> &Address {
        &self.admin
    }

    /// A client of the API.
    pub fn client(&self) -> Client {
        Client::new(&self.api)
    }

    /// A client of the admin door.
    pub fn admin_client(&self) -> Client {
        Client::new(&self.admin)
    }

    /// What it has logged.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// From the start of the process until it served.
    pub fn start_took(&self) -> Duration {
        self.start_took
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The value of a series, such as `sessgate_hook_queue_length` or `x_total{result="ok"}`, as it is scraped.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.admin_client().get("/metrics").expect(200).text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("there is no series {series}")).parse().expect("a number")
    }

    /// Sends a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        // The shell has it built in, so no package is needed, and the process has not been waited for yet.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.id())).status();
        assert!(sent.expect("a shell").success(), "SIG{name} could not be sent");
    }

    /// Kills it as a power cut would, without a chance to save anything. What it had logged.
    pub fn kill(mut self) -> String {
        self.end_now();
        self.log.wait_for_end(START_DEADLINE);
        self.log.text()
    }

    /// Waits until it ends by itself: its exit code, and how long that took.
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> (Option<i32>, Duration) {
        let began = Instant::now();
        assert!(self.log.wait_for_end(deadline), "it did not end within {deadline:?}:\n{}", self.log.text());
        (self.child.wait().expect("it is ours").code(), began.elapsed())
    }

    /// Asks it to stop, and insists that it does so cleanly.
    #[track_caller]
    pub fn stop(self) -> Duration {
        self.signal("TERM");
        let (code, took) = self.wait(START_DEADLINE);
        assert_eq!(code, Some(0), "a clean stop");
        took
    }

    fn end_now(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// What a process has written to its standard error.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    /// How many came before the first that is kept.
    gone: usize,
    ended: bool,
}

impl Log {
    fn follow(from: ChildStderr) -> Self {
        let log = Self::default();
        let ours = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                ours.change(|lines| {
                    if lines.kept.len() == KEPT_LINES {
                        lines.kept.pop_front();
                        lines.gone += 1;
                    }
                    lines.kept.push_back(line);
                });
            }
            ours.change(|lines| lines.ended = true);
        });
        log
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }

    /// The first line, from the start on, that is as wanted; `None` if the process ends or takes too long.
    pub fn wait_for(&self, deadline: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let until = Instant::now() + deadline;
        let mut seen = 0;
        let mut lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = lines.kept.iter().skip(seen.max(lines.gone) - lines.gone).find(|line| wanted(line));
            if let Some(found) = found {
                return Some(found.clone());
            }
            seen = lines.gone + lines.kept.len();
            let left = until.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return None;
            }
            lines = self.0.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_for_end(&self, deadline: Duration) -> bool {
        let lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(lines, deadline, |lines| !lines.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// All that is kept of it.
    pub fn text(&self) -> String {
        let lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.kept.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}
