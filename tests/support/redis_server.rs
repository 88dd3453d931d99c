//! A real redis-server to compare with: on a socket in a directory of its own, ended when it is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long an answer may take before it counts as missing.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A running server, of Redis 7.0, with nothing in it.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    socket: PathBuf,
    _directory: TempDir,
}

impl RedisServer {
    /// Starts it, and waits until it serves.
    #[track_caller]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("redis.sock");
        let mut command = Command::new("redis-server");
        command.current_dir(directory.path()).args(["--port", "0", "--save", "", "--appendonly", "no"]);
        command.arg("--unixsocket").arg(&socket).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("redis-server is installed: see scripts/setup");
        let mut log = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        // What it logs from then on is lost, which it does not mind.
        let ready = log.any(|line| line.to_lowercase().contains("ready to accept connections"));
        let server = Self { child, socket, _directory: directory };
        assert!(ready, "redis-server did not start");
        server
    }

    /// A new connection.
    pub fn connect(&self) -> Connection {
        let stream = UnixStream::connect(&self.socket).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a timeout can be set");
        Connection { stream }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to it: bytes in, bytes out.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
}

impl Connection {
    /// Sends bytes while it reads until it has read so many as `enough` says, or the server has closed.
    ///
    /// Both at once, since neither side may wait for the other to read.
    #[track_caller]
    pub fn exchange(&mut self, bytes: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut sender = self.stream.try_clone().expect("a socket can be cloned");
        std::thread::scope(|scope| {
            // A server that closes has read enough.
            scope.spawn(move || drop(sender.write_all(bytes)));
            let mut answer = Vec::new();
            let mut buffer = vec![0; 64 * 1024];
            while !enough(&answer) {
                match self.stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => answer.extend_from_slice(&buffer[..length]),
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                    Err(error) => panic!("{error}; so far: {}", String::from_utf8_lossy(&answer)),
                }
            }
            answer
        })
    }
}
