//! A small HTTP/1.1 client that sends exactly what it is told to, and hides nothing of what comes back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sessgate::config::settings::Address;

/// Longer than anything takes here; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection.
pub struct Client {
    stream: Stream,
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// Insists on a status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The `code` of a problem, checked to be one.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        problem["code"].as_str().expect("a problem has a code").to_owned()
    }
}

impl Client {
    pub fn tcp(address: SocketAddr) -> Self {
        Self::connect(&Address::Tcp(address)).expect("the door listens")
    }

    pub fn unix(path: &Path) -> Self {
        Self::connect(&Address::Unix(path.to_owned())).expect("the door listens")
    }

    pub fn connect(address: &Address) -> io::Result<Self> {
        let stream = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Stream::Unix(stream)
            }
        };
        Ok(Self { stream, received: Vec::new() })
    }

    /// Whether a part of an answer, or more, has come and was not read.
    pub fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Sends a request and reads its answer.
    pub fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send(&request(method, path, headers, body)).expect("the request is sent");
        self.reply(method).unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"))
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Says that nothing more will come.
    pub fn finish(&mut self) {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write).unwrap(),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write).unwrap(),
        }
    }

    /// Reads one answer; `method` tells whether it can have a body.
    pub fn reply(&mut self, method: &str) -> io::Result<Reply> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut parsed = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(head) = parsed.parse(&self.received).map_err(io::Error::other)? {
                let status = parsed.code.unwrap();
                let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
                let headers: Vec<_> =
                    parsed.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect();
                let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
                let length = match length {
                    _ if method == "HEAD" || status == 204 || status == 100 => 0,
                    Some((_, length)) => length.parse().unwrap(),
                    None => panic!("an answer without length: {headers:?}"),
                };
                if self.received.len() >= head + length {
                    let body = self.received[head..head + length].to_vec();
                    self.received.drain(..head + length);
                    return Ok(Reply { status, headers, body });
                }
            }
            if self.receive()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads until the other side closes; an error if it does so by a reset.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.receive()? > 0 {}
        Ok(std::mem::take(&mut self.received))
    }

    /// Whether the other side closes before so much time has passed.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        let Stream::Tcp(stream) = &self.stream else { panic!("for TCP only") };
        stream.set_read_timeout(Some(time)).unwrap();
        let closed = match self.receive() {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        };
        let Stream::Tcp(stream) = &self.stream else { unreachable!("it was TCP before") };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        closed
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut buffer)?,
            Stream::Unix(stream) => stream.read(&mut buffer)?,
        };
        self.received.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

/// A request as it travels.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() {
        out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}
