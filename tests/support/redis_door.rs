//! The Redis door on a free port, in this process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use sessgate::config::settings::{Address, Secret};
use sessgate::doors::resp::door::{self, Access, RedisDoor};
use sessgate::doors::serve::{ServeLimits, Serving, Surroundings, bind};
use sessgate::metrics::labels::Door;
use sessgate::shutdown::Shutdown;

use super::gateway::TestGateway;
use crate::resp::request;

/// How long an answer may take before it counts as missing.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A door that is open.
pub struct TestRedisDoor {
    address: SocketAddr,
    shutdown: Shutdown,
    serving: Serving,
}

impl TestRedisDoor {
    /// One without a password, with one event loop.
    pub fn open(gateway: &TestGateway) -> Self {
        Self::with(gateway, None, door::limits())
    }

    /// One that asks for a user and a password, if they are given.
    pub fn with(gateway: &TestGateway, access: Option<(&str, &str)>, limits: ServeLimits) -> Self {
        let bound = bind(&Address::Tcp(([127, 0, 0, 1], 0).into()), 1).expect("a free port");
        let Address::Tcp(address) = *bound.address() else { unreachable!("it was bound to TCP") };
        let access = access.map_or_else(Access::default, |(user, password)| Access {
            user: Some(user.to_owned()),
            password: Some(Secret::new(password.into())),
        });
        let door = RedisDoor::new(Arc::clone(&gateway.gateway), access, address.port());
        let (shutdown, drain) = Shutdown::new();
        let surroundings = Surroundings {
            limits,
            metrics: Arc::clone(&gateway.metrics),
            clock: Arc::clone(&gateway.clock) as _,
            drain,
        };
        let serving = bound.serve(&Arc::new(door), &surroundings).expect("threads");
        Self { address, shutdown, serving }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection.
    pub fn connect(&self) -> RedisClient {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("TCP");
        RedisClient { stream }
    }

    /// Has it begin to drain.
    pub fn begin_stop(&self) {
        self.shutdown.begin();
    }

    /// Drains it.
    pub async fn close(self) {
        self.shutdown.begin();
        self.serving.finished(Door::Redis).await.expect("no loop has failed");
    }
}

/// A connection to it.
pub struct RedisClient {
    pub stream: TcpStream,
}

impl RedisClient {
    /// Sends a command of words.
    pub fn send(&mut self, words: &[&[u8]]) {
        self.stream.write_all(&request(words)).expect("it is read");
    }

    /// Reads exactly the bytes that are expected, and says what came instead if they do not.
    #[track_caller]
    pub fn expect(&mut self, expected: &str) {
        let mut answer = vec![0; expected.len()];
        let mut got = 0;
        while got < answer.len() && expected.as_bytes().starts_with(&answer[..got]) {
            match self.stream.read(&mut answer[got..]) {
                Ok(0) | Err(_) => break,
                Ok(count) => got += count,
            }
        }
        assert_eq!(String::from_utf8_lossy(&answer[..got]), expected);
    }

    /// Sends a command, in words with blanks between them, and reads its answer.
    #[track_caller]
    pub fn call(&mut self, command: &str, expected: &str) {
        let words: Vec<_> = command.split(' ').map(str::as_bytes).collect();
        self.send(&words);
        self.expect(expected);
    }

    /// Sends bytes as they are. The other side may have closed already.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends commands at once, in words with blanks between them.
    pub fn send_all(&mut self, commands: &[&str]) {
        let words = |command: &&str| command.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let bytes: Vec<u8> = commands.iter().flat_map(|command| request(&words(command))).collect();
        self.stream.write_all(&bytes).expect("it is read");
    }

    /// Speaks RESP3 from now on.
    pub fn greet(&mut self) {
        self.send_all(&["HELLO 3"]);
        let mut answer = Vec::new();
        while !answer.ends_with(b"modules\r\n*0\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("an answer");
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"%7\r\n"));
    }

    /// Waits until the other side has closed the connection.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        let was_reset = read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(read.is_ok() || was_reset, "{read:?}");
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}
