//! The door: connections that speak the Redis protocol, and the gateway behind them.
//!
//! `conversation` reads, writes and keeps the time of one connection; `client` is what it remembers; `gets` is
//! the hot path; `keys` says what a
//! command about keys asks of the gateway, and how the answer reads; `together` does several as one; `notices` tells of
//! ends to who subscribes.
//!
//! What memory can answer is answered where it is read, without waiting and without a copy. Everything else is kept and
//! awaited, and what was sent behind it waits its turn: a connection's answers come in the order of its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use self::client::Client;
use self::conversation::Conversation;
use super::command::{Command, CommandError, HelloOption, Name, is_known};
use super::frame::Arguments;
use super::reply::{Protocol, Writer, errors};
use super::server::{self, About};
use crate::clock::Timestamp;
use crate::config::settings::Secret;
use crate::doors::serve::event_loop::Link;
use crate::doors::serve::{self, ServeLimits};
use crate::gateway::Gateway;
use crate::metrics::labels::{Door, RequestOutcome};
use crate::session::glob;

mod client;
mod conversation;
mod gets;
mod keys;
mod notices;
mod together;

/// Key spaces, as Redis has them unless told otherwise.
pub const DATABASES: u16 = 16;

/// How long the numbers of keys that `INFO` tells may be old.
const COUNTED_FOR: Duration = Duration::from_secs(1);

/// What `CONFIG GET` tells: what session libraries ask for, as it is here.
const PARAMETERS: [(&str, &str); 6] = [
    ("appendonly", "yes"),
    ("databases", "16"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("notify-keyspace-events", "KEgx"),
    ("save", ""),
];

/// What one listener of this door allows its clients.
///
/// A client of Redis keeps its connections, so they may be idle for longer than those of HTTP: for ten minutes, as with
/// hosted servers.
#[must_use]
pub fn limits() -> ServeLimits {
    ServeLimits {
        idle: Duration::from_secs(600),
        // All of a request: 4 MiB at 140 kB/s.
        head_read: Duration::from_secs(30),
        ..ServeLimits::default()
    }
}

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The user that clients must give; `None`: any, or none.
    pub user: Option<String>,
    /// The password; `None`: there is none.
    pub password: Option<Secret>,
}

/// The door.
pub struct RedisDoor {
    gateway: Arc<Gateway>,
    access: Access,
    port: u16,
    opened: Timestamp,
    connections: AtomicI64,
    counted: Mutex<Counted>,
}

/// How many keys there were in each key space that had some, and when.
#[derive(Default)]
struct Counted {
    keys: Vec<(u16, u64)>,
    at: Option<Timestamp>,
}

/// What became of a request.
enum Step {
    /// It is answered.
    Done(RequestOutcome),
    /// Only the store, or others, can answer it.
    Later,
    /// It is answered, if it was to be, and the last one.
    Close,
}

impl RedisDoor {
    /// A door to `gateway`, at that port; 0, if it is none.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, access: Access, port: u16) -> Self {
        let opened = gateway.now();
        Self { gateway, access, port, opened, connections: AtomicI64::new(0), counted: Mutex::default() }
    }

    /// A client that has just come in.
    fn client(&self) -> Client {
        Client::new(self.connections.fetch_add(1, Ordering::Relaxed) + 1, self.access.password.is_none())
    }

    /// Answers a request, if that takes no waiting.
    fn answer_at_once(&self, client: &mut Client, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Step {
        let name = match Name::of(&arguments) {
            Ok(name) => name,
            Err(CommandError::OtherProtocol) => return Step::Close,
            Err(error) => {
                if matches!(error, CommandError::Arity(Name::Exec)) {
                    client.take_transaction();
                }
                client.doom();
                return refuse(client, &error, out);
            }
        };
        if !client.authenticated && !name.is_allowed_before_auth() {
            return reject(client, name, &[errors::NO_AUTH.as_bytes()], out);
        }
        if client.is_subscriber() && !name.is_allowed_while_subscribed() {
            let error: [&[u8]; 4] = [
                if name == Name::Exec { b"" } else { b"ERR " },
                b"Can't execute '",
                name.full_name().as_bytes(),
                b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            ];
            return reject(client, name, &error, out);
        }
        if client.is_queueing() && !name.is_never_queued() {
            return match client.queue(&arguments) {
                Ok(()) => {
                    Writer::new(out, client.protocol).simple("QUEUED");
                    Step::Done(RequestOutcome::Ok)
                }
                Err(error) => say(client, error, out),
            };
        }
        match name.parse(arguments) {
            Ok(command) => self.command_at_once(client, &command, out),
            Err(error) => refuse(client, &error, out),
        }
    }

    fn command_at_once(&self, client: &mut Client, command: &Command<'_>, out: &mut Vec<u8>) -> Step {
        if let Some(step) = self.read_at_once(client, command, out) {
            return step;
        }
        match *command {
            Command::Quit => {
                Writer::new(out, client.protocol).ok();
                return Step::Close;
            }
            Command::Multi => match client.begin_transaction() {
                Ok(()) => Writer::new(out, client.protocol).ok(),
                Err(error) => return say(client, error, out),
            },
            Command::Discard if !client.forget_transaction() => {
                return say(client, errors::DISCARD_WITHOUT_MULTI, out);
            }
            Command::Discard => Writer::new(out, client.protocol).ok(),
            Command::Exec if !client.is_queueing() => return say(client, errors::EXEC_WITHOUT_MULTI, out),
            Command::Exec if client.is_doomed() => {
                client.forget_transaction();
                return say(client, errors::TRANSACTION_ABORTED, out);
            }
            Command::Watch { .. } if client.is_queueing() => return say(client, errors::WATCH_INSIDE_MULTI, out),
            Command::Unwatch => {
                client.forget_watched();
                Writer::new(out, client.protocol).ok();
            }
            Command::Reset => {
                client.reset(self.access.password.is_none());
                Writer::new(out, client.protocol).simple("RESET");
            }
            Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::PSubscribe { .. }
            | Command::PUnsubscribe { .. } => return client.subscribe(command, || self.gateway.raw_ends(), out),
            Command::Hello(hello) => {
                for option in hello.options() {
                    match option {
                        Ok(HelloOption::Auth { user, password }) => {
                            if let Err(error) = self.authenticate(client, Some(user), password) {
                                return say(client, error, out);
                            }
                        }
                        Ok(HelloOption::SetName(name)) => client.set_name(name),
                        Err(error) => return refuse(client, &error, out),
                    }
                }
                if !client.authenticated {
                    return say(client, errors::NO_AUTH_HELLO, out);
                }
                client.protocol = hello.protocol.unwrap_or(client.protocol);
                server::hello(&mut Writer::new(out, client.protocol), client.id);
            }
            Command::Auth { user, password } => match self.authenticate(client, user, password) {
                Ok(()) => Writer::new(out, client.protocol).ok(),
                Err(error) => return say(client, error, out),
            },
            _ => return say_about_the_connection(client, command, out),
        }
        Step::Done(RequestOutcome::Ok)
    }

    /// Lets a client in, or says why not. Takes the same time for all passwords of the right length.
    fn authenticate(&self, client: &mut Client, user: Option<&[u8]>, password: &[u8]) -> Result<(), &'static str> {
        let Some(expected) = &self.access.password else {
            // Without a password anybody is the default user, whatever is said.
            return match user {
                None => Err(errors::NO_PASSWORD_SET),
                Some(user) if self.is_user(user) => {
                    client.authenticated = true;
                    Ok(())
                }
                Some(_) => Err(errors::WRONG_PASSWORD),
            };
        };
        let right = bool::from(expected.expose().ct_eq(password));
        if right && user.is_none_or(|user| self.is_user(user)) {
            client.authenticated = true;
            Ok(())
        } else {
            Err(errors::WRONG_PASSWORD)
        }
    }

    /// The user that is configured, or Redis's name for nobody in particular.
    fn is_user(&self, user: &[u8]) -> bool {
        self.access.user.as_deref().is_none_or(|known| known.as_bytes() == user) || user == b"default"
    }

    /// How many keys each key space has, as far as it is known. Every client may ask as it connects, and counting is
    /// as much work as there are keys: so it is done once a second at most, and who asks meanwhile waits for the result.
    async fn count_keys(&self) -> Vec<(u16, u64)> {
        let mut counted = self.counted.lock().await;
        let now = self.gateway.now();
        if counted.at.is_none_or(|at| now.since(at) >= COUNTED_FOR) {
            counted.keys.clear();
            for database in 0..DATABASES {
                match self.gateway.count_raw(database).await {
                    Ok(0) => {}
                    Ok(count) => counted.keys.push((database, count)),
                    // Nor would it answer the others in time.
                    Err(_) => break,
                }
            }
            counted.at = Some(self.gateway.now());
        }
        counted.keys.clone()
    }

    /// What `INFO` tells.
    async fn about(&self) -> About {
        let keys = self.count_keys().await;
        // That nearly all of them have a time to live, is as near as anybody needs it.
        let databases = keys.into_iter().map(|(database, keys)| (i32::from(database), keys, keys)).collect();
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store_id: self.gateway.store_id().to_owned(),
            process_id: std::process::id(),
            port: self.port,
            uptime_seconds: self.gateway.now().since(self.opened).as_secs(),
            clients: self.gateway.metrics().connections_open(Door::Redis),
            memory_bytes: resident_bytes(),
            connections_received: self.connections.load(Ordering::Relaxed).unsigned_abs(),
            commands_processed: self.gateway.metrics().requests_answered(Door::Redis),
            databases,
        }
    }
}

impl serve::Protocol for RedisDoor {
    const DOOR: Door = Door::Redis;
    const TOO_MANY: &'static [u8] = b"-ERR max number of clients reached\r\n";

    async fn converse(self: Arc<Self>, link: Link) {
        Conversation::new(&self, link).run().await;
    }
}

/// Answers what concerns the connection or the server only, and may stand in a transaction.
fn say_about_the_connection(client: &mut Client, command: &Command<'_>, out: &mut Vec<u8>) -> Step {
    let mut to = Writer::new(out, client.protocol);
    match *command {
        Command::Ping { message } => to.pong(message, client.is_subscriber()),
        Command::Echo { message } => to.bulk(message),
        Command::Select { database } => match u16::try_from(database).ok().filter(|it| *it < DATABASES) {
            Some(database) => {
                client.database = database;
                to.ok();
            }
            None => return say(client, errors::DATABASE_OUT_OF_RANGE, out),
        },
        Command::ClientId => to.integer(client.id),
        Command::ClientInfo => to.verbatim_by(|out| client.describe(out)),
        Command::ClientGetName if client.name().is_empty() => to.null(),
        Command::ClientGetName => to.bulk(client.name()),
        Command::ClientSetName { name } => {
            client.set_name(name);
            to.ok();
        }
        Command::ClientHint => to.ok(),
        Command::ScriptLoad { hash } => to.bulk(hash.as_bytes()),
        Command::ScriptExists { hashes } => {
            to.array(hashes.len());
            for hash in hashes.iter() {
                to.integer(is_known(hash).into());
            }
        }
        Command::Command => to.array(0),
        Command::CommandDocs => to.map(0),
        Command::CommandCount => server::command_count(&mut to),
        Command::CommandInfo { names } => server::command_info(&mut to, names),
        Command::ConfigGet { parameters } => {
            let wanted = |name: &str| parameters.iter().any(|pattern| matches(pattern, name));
            let told: Vec<_> = PARAMETERS.into_iter().filter(|(name, _)| wanted(name)).collect();
            to.map(told.len());
            for (name, value) in told {
                to.bulk(name.as_bytes());
                to.bulk(value.as_bytes());
            }
        }
        _ => return Step::Later,
    }
    Step::Done(RequestOutcome::Ok)
}

fn matches(pattern: &[u8], name: &str) -> bool {
    glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes())
}

/// Answers an error of the request.
fn refuse(client: &Client, error: &CommandError<'_>, out: &mut Vec<u8>) -> Step {
    error.reply(&mut Writer::new(out, client.protocol));
    Step::Done(RequestOutcome::Refused)
}

/// Answers that a command may not be called now, which dooms or ends a transaction.
fn reject(client: &mut Client, name: Name, error: &[&[u8]], out: &mut Vec<u8>) -> Step {
    client.doom();
    let mut to = Writer::new(out, client.protocol);
    if name == Name::Exec {
        client.take_transaction();
        to.error_of(&[&[errors::EXEC_REFUSED.as_bytes()], error].concat());
    } else {
        to.error_of(error);
    }
    Step::Done(RequestOutcome::Refused)
}

/// Answers another error.
fn say(client: &Client, error: &str, out: &mut Vec<u8>) -> Step {
    Writer::new(out, client.protocol).error(error);
    Step::Done(RequestOutcome::Refused)
}

/// Bytes of the process in memory; 0 if the system does not say.
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).map_or(0, |pages| pages * PAGE_BYTES)
}
