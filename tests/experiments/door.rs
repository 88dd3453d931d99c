//! The Redis door of a running program, and a client that sends many commands at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::resp::request;
use crate::support::sidecar::Sidecar;

/// How long an answer may take before it counts as missing.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Where the door is, by the log of the program.
pub fn address(sidecar: &Sidecar) -> SocketAddr {
    let text = sidecar.log().text();
    let line = text.split("serving the Redis protocol redis=").nth(1).expect("it has a Redis door");
    line.split_whitespace().next().expect("an address").parse().expect("a TCP address")
}

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("TCP");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a timeout can be set");
        Self { stream, received: Vec::new() }
    }

    /// Sends commands at once and reads their answers, each of one line, or a bulk string.
    pub fn ask(&mut self, commands: &[Vec<&[u8]>]) -> Vec<Vec<u8>> {
        let bytes: Vec<u8> = commands.iter().flat_map(|command| request(command)).collect();
        self.stream.write_all(&bytes).expect("it is read");
        let answers = commands.iter().map(|_| self.answer()).collect();
        assert!(self.received.is_empty(), "more answers than commands");
        answers
    }

    /// The same with one.
    pub fn call(&mut self, command: &[&[u8]]) -> Vec<u8> {
        self.ask(&[command.to_vec()]).remove(0)
    }

    fn answer(&mut self) -> Vec<u8> {
        loop {
            if let Some(length) = whole(&self.received) {
                return self.received.drain(..length).collect();
            }
            let mut buffer = vec![0; 64 * 1024];
            let count = self.stream.read(&mut buffer).expect("an answer");
            assert!(count > 0, "the connection was closed");
            self.received.extend_from_slice(&buffer[..count]);
        }
    }
}

/// How long the first answer is, if it is all there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let length = match bytes[0] {
        b'$' => std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok()?,
        _ => -1,
    };
    let whole = usize::try_from(length).map_or(line, |length| line + length + 2);
    (bytes.len() >= whole).then_some(whole)
}
