//! The example app as a process, with a sidecar beside it: what `examples/mailbox/README.md` starts by hand.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sessgate::config::settings::Address;
use sha2::Sha256;

use super::client::{self, Reply};
use super::http::Client;
use super::sidecar::{Place, Sidecar};

/// Longer than anything takes here; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the hook's calls are signed with.
pub const KEY: &str = "the hook's own key";

/// Where the example is.
pub fn example(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "examples/mailbox", file].iter().collect()
}

/// The example app, a sidecar that calls its hook, and the directory of both.
pub struct Mailbox {
    pub sidecar: Sidecar,
    pub app: App,
    pub place: Place,
}

impl Mailbox {
    /// Starts both. `config` is the sidecar's but for where it listens and whom it calls, which goes under `hooks`.
    pub fn start(config: &str, app_options: &[&str]) -> Self {
        let place = Place::new("");
        let app = App::start(&place, app_options);
        place.write_config(&format!("{}{config}", hooks(&place, &app.hook_url())));
        let sidecar = place.start();
        Self { sidecar, app, place }
    }
}

/// The head of a configuration: the API on a socket that the app knows, and a hook.
pub fn hooks(place: &Place, url: &str) -> String {
    let secret = place.path().join("hook.secret");
    if !secret.exists() {
        // As the standard writes secrets.
        fs::write(&secret, format!("whsec_{}\n", STANDARD.encode(KEY))).expect("the secret is written");
    }
    format!(
        "listen: {{ api: \"unix:{}\", admin: 127.0.0.1:0 }}\n\
         hooks: {{ session_closed: {{ url: \"{url}\", secret_file: {}, timeout: 500ms }} }}\n",
        socket(place).display(),
        secret.display()
    )
}

fn socket(place: &Place) -> PathBuf {
    place.path().join("api.sock")
}

/// The app's process.
pub struct App {
    child: Child,
    address: Address,
    lines: Receiver<String>,
    closed: Cell<usize>,
}

/// A user who is logged in.
#[derive(Clone, Debug)]
pub struct Login {
    pub token: String,
    pub id: String,
}

impl App {
    /// Starts it on a free port, for a sidecar in that place.
    pub fn start(place: &Place, options: &[&str]) -> Self {
        hooks(place, "");
        let mut child = Command::new("python3")
            .arg(example("app.py"))
            .args(["--port", "0", "--sessgate", &format!("unix:{}", socket(place).display())])
            .arg("--secret-file")
            .arg(place.path().join("hook.secret"))
            .args(options)
            // Nothing is written beside the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("python3 is installed");
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let first = lines.recv_timeout(PATIENCE).expect("the app says where it listens");
        let address = first.strip_prefix("listening on http://").expect("an address").parse().expect("an address");
        Self { child, address: Address::Tcp(address), lines, closed: Cell::new(0) }
    }

    /// Where it wants to be told of ended sessions.
    pub fn hook_url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A connection of its own to it.
    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    pub fn try_login(&self, user: &str) -> Reply {
        self.client().request("POST", "/login", None, &json!({ "user": user }).to_string())
    }

    #[track_caller]
    pub fn login(&self, user: &str) -> Login {
        let reply = self.try_login(user);
        assert_eq!(reply.status, 201, "{reply:?}");
        let text = |name: &str| reply.json()[name].as_str().expect("a text").to_owned();
        Login { token: text("token"), id: text("id") }
    }

    /// The status of a look into the inbox: 200, or 401 if nobody is logged in with that token.
    pub fn inbox(&self, login: &Login) -> u16 {
        self.client().request("GET", "/inbox", Some(&login.token), "").status
    }

    pub fn logout(&self, login: &Login) -> u16 {
        self.client().request("POST", "/logout", Some(&login.token), "").status
    }

    /// Calls the hook as the sidecar would, signed with `key`: the status of the answer.
    pub fn call_hook(&self, message: &str, sent: i64, key: Option<&str>, body: &str) -> u16 {
        let mut headers = vec![("webhook-id", message.to_owned()), ("webhook-timestamp", sent.to_string())];
        if let Some(key) = key {
            let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
            mac.update(format!("{message}.{sent}.{body}").as_bytes());
            headers.push(("webhook-signature", format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))));
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut connection = client::Client::connect(&self.address).expect("the app listens");
        connection.call("POST", "/hook", &headers, body.as_bytes()).status
    }

    /// `open`, `users` and `closed`, by reason.
    pub fn connections(&self) -> Value {
        self.client().get("/connections").json()
    }

    /// Waits until one more connection is closed, and says which session's; `None` if that takes longer.
    pub fn next_closed(&self, patience: Duration) -> Option<String> {
        let until = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(closed) = line.strip_prefix("closed ") {
                        self.closed.set(self.closed.get() + 1);
                        return closed.split(' ').next().map(str::to_owned);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("the app has ended"),
            }
        }
    }

    /// Waits until so many connections were closed since the start.
    #[track_caller]
    pub fn wait_for_closed(&self, total: usize) {
        while self.closed.get() < total {
            let closed = self.next_closed(PATIENCE);
            assert!(closed.is_some(), "{} of {total} connections were closed", self.closed.get());
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the sweep has ended so many sessions since the sidecar was started.
#[track_caller]
pub fn wait_for_swept(sidecar: &Sidecar, total: u64) {
    let swept = Cell::new(0);
    let found = sidecar.log().wait_for(PATIENCE, |line| {
        if let Some((_, count)) = line.split_once("sweep closed sessions ended=") {
            let count = count.split(' ').next().expect("a first word");
            swept.set(swept.get() + count.parse::<u64>().expect("a number"));
        }
        swept.get() >= total
    });
    assert!(found.is_some(), "{} of {total} sessions were swept:\n{}", swept.get(), sidecar.log().text());
}
