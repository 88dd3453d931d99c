//! The servers that are compared: the sidecar itself, nginx, Redis and Valkey, each in a directory of its own.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::Result;
use crate::exchanges::{command, create_request, http_answer, token_in};
use crate::machine::{Program, REDIS};
use crate::process::{Process, free_address};

/// The sidecar, as `cargo bench` built it.
const SESSGATE: &str = env!("CARGO_BIN_EXE_sessgate");
/// Where files go: on the disk that the build is on, because /tmp may be memory, where a sync costs nothing.
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A directory for one server; it goes when this does.
pub fn scratch() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("compare-").tempdir_in(SCRATCH)?)
}

/// A running sidecar.
pub struct Sidecar {
    // Before the directory, so that it is stopped before its files go.
    pub process: Process,
    /// The session API.
    pub api: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The Redis door.
    pub redis: SocketAddr,
    start: String,
    dir: TempDir,
}

impl Sidecar {
    /// Starts one with `event_loops` and the live part of a configuration.
    pub fn start(event_loops: usize, live: &str) -> Result<Self> {
        Self::start_with(event_loops, live, None)
    }

    /// The same, with a password of the Redis door.
    pub fn start_with(event_loops: usize, live: &str, password: Option<&str>) -> Result<Self> {
        let dir = scratch()?;
        let (api, admin, redis) = (free_address()?, free_address()?, free_address()?);
        let store = dir.path().join("store");
        let password = match password {
            None => "null".to_owned(),
            Some(password) => {
                let file = dir.path().join("redis.password");
                fs::write(&file, password)?;
                fs::set_permissions(&file, Permissions::from_mode(0o600))?;
                format!("\"{}\"", file.display())
            }
        };
        let start = format!(
            "listen:\n  api: \"{api}\"\n  admin: \"{admin}\"\n  redis: \"{redis}\"\n  \
             redis_password_file: {password}\n  event_loops: {event_loops}\n\
             store: {{ embedded: {{ path: \"{}\" }} }}\n",
            store.display()
        );
        let config = dir.path().join("config.yaml");
        fs::write(&config, format!("{start}{live}"))?;
        let mut command = Command::new(SESSGATE);
        command.arg("run").arg("--config").arg(&config);
        let process = Process::serve("sessgate", &mut command, dir.path(), api)?;
        Ok(Self { process, api, admin, redis, start, dir })
    }

    /// Creates a session from a request body and returns its token.
    pub fn create(&self, body: &str) -> Result<String> {
        let (status, answer) = ask(self.api, &create_request(body))?;
        match token_in(answer.as_bytes()).filter(|_| status == 201) {
            Some(token) => Ok(token.to_owned()),
            None => Err(format!("a creation answered {status}: {answer}").into()),
        }
    }

    /// Where its configuration is.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    /// The whole configuration with another live part.
    pub fn config_text(&self, live: &str) -> String {
        format!("{}{live}", self.start)
    }
}

/// A running nginx: one process, one event loop.
pub struct Nginx {
    pub process: Process,
    pub address: SocketAddr,
    _dir: TempDir,
}

impl Nginx {
    /// Starts one that answers every request with `body`.
    pub fn start(body: &str) -> Result<Self> {
        if body.contains(['\'', '$', '\\']) {
            return Err(format!("the body cannot be quoted for nginx: {body}").into());
        }
        let dir = scratch()?;
        let address = free_address()?;
        let config = dir.path().join("nginx.conf");
        fs::write(
            &config,
            format!(
                "daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{\n\
                 access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
                 client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
                 uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
                 default_type application/json;\n\
                 server {{ listen {address}; location / {{ return 200 '{body}'; }} }}\n\
                 }}\n"
            ),
        )?;
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-p"]).arg(dir.path()).arg("-c").arg(&config);
        let process = Process::serve("nginx", &mut command, dir.path(), address)?;
        Ok(Self { process, address, _dir: dir })
    }
}

/// A running Redis, or Valkey.
pub struct Redis {
    pub process: Process,
    pub address: SocketAddr,
    _dir: TempDir,
}

/// What Redis does about durability.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: memory only.
    None,
    /// A command is on the disk before it is answered, as with our creations.
    Always,
}

impl Redis {
    /// Starts redis-server, without a password.
    pub fn start(durability: Durability) -> Result<Self> {
        Self::start_as(&REDIS, durability, "")
    }

    /// Starts `program`, which is one or the other. An empty password is none.
    pub fn start_as(program: &Program, durability: Durability, password: &str) -> Result<Self> {
        let dir = scratch()?;
        let address = free_address()?;
        let append = if durability == Durability::Always { "yes" } else { "no" };
        let mut command = program.command();
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", append, "--appendfsync", "always"])
            // It would rewrite its log in the middle of a round.
            .args(["--auto-aof-rewrite-percentage", "0"])
            .args(["--requirepass", password])
            .arg("--dir")
            .arg(dir.path());
        let process = Process::serve(program.name, &mut command, dir.path(), address)?;
        Ok(Self { process, address, _dir: dir })
    }

    /// The memory it counts itself.
    pub fn used_memory(&self) -> Result<u64> {
        let mut connection = TcpStream::connect(self.address)?;
        connection.set_read_timeout(Some(ANSWER_DEADLINE))?;
        connection.write_all(b"INFO memory\r\nQUIT\r\n")?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used.ok_or("no used_memory")?.trim().parse()?)
    }
}

/// One request on a connection of its own: the status and the body.
pub fn ask(address: SocketAddr, request: &[u8]) -> Result<(u16, String)> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(ANSWER_DEADLINE))?;
    connection.write_all(request)?;
    let mut received = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        if let Some((status, body)) = http_answer(&received) {
            return Ok((status, String::from_utf8(body.to_vec())?));
        }
        match connection.read(&mut part)? {
            0 => return Err("the connection ended before the answer".into()),
            more => received.extend_from_slice(&part[..more]),
        }
    }
}

/// Commands on a connection of its own, which have to be answered like this.
pub fn say(address: SocketAddr, commands: &[&[&[u8]]], expected: &[u8]) -> Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(ANSWER_DEADLINE))?;
    let mut request = Vec::new();
    for words in commands {
        command(&mut request, words);
    }
    connection.write_all(&request)?;
    let mut received = vec![0; expected.len()];
    let read = connection.read_exact(&mut received);
    if received == expected {
        Ok(())
    } else {
        Err(format!("{address} answered {:?} ({read:?})", String::from_utf8_lossy(&received)).into())
    }
}

/// Asks for a path and expects it to be there.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    match ask(address, format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes())? {
        (200, body) => Ok(body),
        (status, body) => Err(format!("{path} answered {status}: {body}").into()),
    }
}

/// Replaces a file in one step, as editors and deployments do.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let draft = path.with_extension("new");
    fs::write(&draft, text)?;
    Ok(fs::rename(draft, path)?)
}
