//! A client that keeps its connection, opens a new one when the server has closed it, and can say how far a request
//! came that was not answered: for loads and experiments.

use std::fmt::{self, Write as _};
use std::io;
use std::time::{Duration, Instant};

use sessgate::config::settings::Address;

use super::client::{self, Reply};

/// How far a request came that was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No connection could be made.
    Connect,
    /// The connection ended without a byte of an answer. The request may have been carried out.
    Request,
    /// The answer broke off.
    Answer,
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Unanswered {
    /// How far it came.
    pub stage: Stage,
    /// Whether the connection had carried requests before, and what the system said.
    pub why: String,
    /// How long the connection had been unused at most: from before the request ahead of it was sent until it was sent
    /// itself. Zero on a new connection.
    pub unused: Duration,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not answered ({:?}): {}", self.stage, self.why)
    }
}

/// The client.
pub struct Client {
    address: Address,
    connection: Option<client::Client>,
    reused: bool,
    /// Before the last request was sent, and after.
    sent: Option<(Instant, Instant)>,
}

impl Client {
    /// Connects when it is first used.
    pub fn new(address: &Address) -> Self {
        Self { address: address.clone(), connection: None, reused: false, sent: None }
    }

    /// `GET` without a token.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Reply {
        self.request("GET", path, None, "")
    }

    /// Makes a request, with a session's token if there is one and a body unless it is empty, which must be answered.
    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str, token: Option<&str>, body: &str) -> Reply {
        match self.try_request(method, path, token, body) {
            Ok(reply) => reply,
            Err(lost) => panic!("{method} {path}: {lost}"),
        }
    }

    /// Makes a request once, and says so if it is not answered. The next one then opens a new connection.
    pub fn try_request(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> Result<Reply, Unanswered> {
        let reused = self.reused;
        let before = self.sent.filter(|_| reused).map(|(before, _)| before);
        let result = self.exchange(method, path, token, body);
        let closing = |reply: &Reply| reply.header("connection").is_some_and(|value| value == "close");
        self.reused = matches!(&result, Ok(reply) if !closing(reply));
        if !self.reused {
            self.connection = None;
        }
        result.map_err(|(stage, error)| {
            let connection = if reused { "kept" } else { "new" };
            let unused = before.zip(self.sent).map_or(Duration::ZERO, |(before, (_, after))| after - before);
            Unanswered { stage, why: format!("{error}, on a {connection} connection, unused for {unused:?}"), unused }
        })
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> Result<Reply, (Stage, io::Error)> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        if let Some(token) = token {
            // Writing to a string cannot fail.
            let _ = write!(request, "Authorization: Bearer {token}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(request, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        request.push_str("\r\n");
        request.push_str(body);

        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(client::Client::connect(&self.address).map_err(|error| (Stage::Connect, error))?),
        };
        let before = Instant::now();
        let sent = connection.send(request.as_bytes());
        self.sent = Some((before, Instant::now()));
        sent.map_err(|error| (Stage::Request, error))?;
        connection.reply(method).map_err(|error| {
            let stage = if connection.has_received() { Stage::Answer } else { Stage::Request };
            (stage, error)
        })
    }
}
