//! A small blocking HTTP/1.1 client: one connection, kept alive, opened anew when the server has closed it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sessgate::config::settings::Address;

/// How long an answer may take before the server counts as hanging.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON; null if there is none.
    pub fn json(&self) -> serde_json::Value {
        if self.body.is_empty() {
            return serde_json::Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Insists on a status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

/// How far a request came that was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No connection could be made.
    Connect,
    /// The connection broke, or ended without a byte of an answer. The request may have been carried out.
    Exchange,
    /// The answer broke off.
    Answer,
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Unanswered {
    /// How far it came.
    pub stage: Stage,
    /// Whether the connection had carried requests before.
    pub reused: bool,
    /// What the system said.
    pub error: io::Error,
}

/// A client with one connection at most.
#[derive(Debug)]
pub struct Client {
    address: Address,
    socket: Option<Socket>,
    used: bool,
    /// Received and not used up.
    held: Vec<u8>,
}

impl Client {
    /// A client that connects when it is first used.
    pub fn new(address: &Address) -> Self {
        Self { address: address.clone(), socket: None, used: false, held: Vec::new() }
    }

    /// `GET` without headers.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, &[], None)
    }

    /// Makes a request that must be answered.
    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        match self.try_request(method, path, headers, body) {
            Ok(answer) => answer,
            Err(lost) => panic!("{method} {path} was not answered: {lost:?}"),
        }
    }

    /// Makes a request with a session's token, which must be answered.
    #[track_caller]
    pub fn as_session(&mut self, method: &str, path: &str, token: &str, body: Option<&str>) -> Answer {
        self.request(method, path, &[("authorization", &format!("Bearer {token}"))], body)
    }

    /// Makes a request. Never makes it twice; after a failure the next one opens a new connection.
    pub fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, Unanswered> {
        let reused = self.used;
        let result = self.exchange(method, path, headers, body);
        let keep = result.as_ref().is_ok_and(|answer| !answer.header("connection").eq_ignore_ascii_case("close"));
        if keep {
            self.used = true;
        } else {
            self.disconnect();
        }
        result.map_err(|(stage, error)| Unanswered { stage, reused, error })
    }

    /// Gives the connection up.
    pub fn disconnect(&mut self) {
        self.socket = None;
        self.used = false;
        self.held.clear();
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, (Stage, io::Error)> {
        use std::fmt::Write as _;
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        if let Some(body) = body {
            write!(request, "content-type: application/json\r\ncontent-length: {}\r\n", body.len()).unwrap();
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or(""));

        if self.socket.is_none() {
            self.socket = Some(Socket::connect(&self.address).map_err(|error| (Stage::Connect, error))?);
        }
        let Self { socket: Some(socket), held, .. } = self else { unreachable!("connected above") };
        socket.write_all(request.as_bytes()).map_err(|error| (Stage::Exchange, error))?;
        read_answer(socket, held).map_err(|error| {
            let stage = if held.is_empty() { Stage::Exchange } else { Stage::Answer };
            (stage, error)
        })
    }
}

/// Reads one answer; `held` keeps what was received of it, should it break off.
fn read_answer(socket: &mut Socket, held: &mut Vec<u8>) -> io::Result<Answer> {
    let (head, status, headers) = loop {
        let mut parsed = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut parsed);
        match answer.parse(held).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))? {
            httparse::Status::Complete(head) => {
                let headers: Vec<_> = answer
                    .headers
                    .iter()
                    .map(|header| {
                        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
                    })
                    .collect();
                break (head, answer.code.unwrap_or(0), headers);
            }
            httparse::Status::Partial => socket.receive(held)?,
        }
    };
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(Ok(0), |(_, value)| value.parse());
    let end = head + length.map_err(|error: std::num::ParseIntError| io::Error::new(ErrorKind::InvalidData, error))?;
    while held.len() < end {
        socket.receive(held)?;
    }
    let body = held[head..end].to_vec();
    held.drain(..end);
    Ok(Answer { status, headers, body })
}

/// A connection.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn connect(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
                Self::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
                Self::Unix(stream)
            }
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let count = match self {
            Self::Tcp(stream) => stream.read(&mut chunk)?,
            Self::Unix(stream) => stream.read(&mut chunk)?,
        };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        into.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}
