//! A real redis-server to compare with: on a socket in a directory of its own, ended when it is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::resp::request;

/// How long an answer may take before it counts as missing.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A running server, of Redis 7.0, with nothing in it.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    directory: Option<TempDir>,
}

impl RedisServer {
    /// Starts it, and waits until it serves.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), &["--appendonly", "no"])
    }

    /// The same in a directory that may have what an earlier one has kept there, with these options besides.
    #[track_caller]
    pub fn start_in(directory: TempDir, options: &[&str]) -> Self {
        let mut command = Command::new("redis-server");
        command.current_dir(directory.path()).args(["--port", "0", "--save", "", "--unixsocket"]);
        command.arg(socket_in(directory.path())).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("redis-server is installed: see scripts/setup");
        let mut log = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        // What it logs from then on is lost, which it does not mind.
        let ready = log.any(|line| line.to_lowercase().contains("ready to accept connections"));
        let server = Self { child, directory: Some(directory) };
        assert!(ready, "redis-server did not start");
        server
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        socket_in(self.directory.as_ref().expect("it is there until it is killed").path())
    }

    /// A new connection.
    pub fn connect(&self) -> Connection {
        Connection::to(&self.socket())
    }

    /// Kills it. What it has kept is in its directory.
    pub fn kill(mut self) -> TempDir {
        self.end_now();
        self.directory.take().expect("it is there until now")
    }

    fn end_now(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("redis.sock")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// A connection to it: bytes in, bytes out.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
}

impl Connection {
    /// A connection to whatever listens there.
    pub fn to(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a timeout can be set");
        Self { stream }
    }

    /// Sends commands of words, and reads all answers to them.
    #[track_caller]
    pub fn call<W: AsRef<[u8]>>(&mut self, commands: impl IntoIterator<Item = impl IntoIterator<Item = W>>) -> Vec<u8> {
        const END: &[u8] = b"$15\r\nthat was it all\r\n";
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend(request(&command.into_iter().collect::<Vec<_>>()));
        }
        bytes.extend_from_slice(b"*2\r\n$4\r\nECHO\r\n");
        bytes.extend_from_slice(END);
        let mut answer = self.exchange(&bytes, |answer| answer.ends_with(END));
        assert!(answer.ends_with(END), "it has closed after: {}", String::from_utf8_lossy(&answer));
        answer.truncate(answer.len() - END.len());
        answer
    }

    /// One command, in words with blanks between them.
    #[track_caller]
    pub fn say(&mut self, command: &str) -> String {
        String::from_utf8_lossy(&self.call([command.split(' ')])).into_owned()
    }

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
