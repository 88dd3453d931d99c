//! A client of the Redis protocol: blocking, pipelined by hand, over a socket of the standard library.
//!
//! Our own, because an import has to bound what it reads: a string that is too long to be moved is passed over as it
//! comes in, where client libraries hand out whole values only. It needs no more of the protocol than this file.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Failure;
use super::address::{Place, Server};
use crate::doors::resp::number::integer;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may be silent. A Redis that saves or is blocked by a script answers again within seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest line: a header, or an error.
const LINE_BYTES: u64 = 64 * 1024;
/// How deep replies may nest: `SCAN` and `EXEC` answer arrays in an array.
const DEPTH: u8 = 3;

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
    /// More than was asked for. It is passed over, and this is what is left of it.
    TooLarge,
}

/// A connection that is logged in.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    unsent: Vec<u8>,
    /// Whom it leads to, for people.
    whom: String,
}

impl Connection {
    /// Connects, logs in and chooses a database.
    pub(super) fn open(server: &Server, database: u32) -> Result<Self, Failure> {
        let whom = server.to_string();
        let stream = connect(&server.place).map_err(|source| Failure::Away { whom: whom.clone(), source })?;
        let mut this = Self { stream: BufReader::with_capacity(64 * 1024, stream), unsent: Vec::new(), whom };
        if let Some(password) = &server.password {
            match &server.user {
                Some(user) => this.push(&[b"AUTH", user.as_bytes(), password.expose()]),
                None => this.push(&[b"AUTH", password.expose()]),
            }
            this.expect_login()?;
        }
        let database = database.to_string();
        this.push(&[b"SELECT", database.as_bytes()]);
        this.expect_login()?;
        Ok(this)
    }

    fn expect_login(&mut self) -> Result<(), Failure> {
        match self.call()? {
            Reply::Error(said) => Err(Failure::Login { whom: self.whom.clone(), said }),
            _ => Ok(()),
        }
    }

    /// Whom it leads to.
    pub(super) fn whom(&self) -> &str {
        &self.whom
    }

    /// Adds a command to what is sent next.
    pub(super) fn push(&mut self, words: &[&[u8]]) {
        self.begin(words.len());
        for word in words {
            self.word(word);
        }
    }

    /// Begins a command of so many words.
    pub(super) fn begin(&mut self, words: usize) {
        self.unsent.extend_from_slice(format!("*{words}\r\n").as_bytes());
    }

    /// The next word of a command that was begun.
    pub(super) fn word(&mut self, word: &[u8]) {
        self.unsent.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        self.unsent.extend_from_slice(word);
        self.unsent.extend_from_slice(b"\r\n");
    }

    /// Sends what was pushed.
    pub(super) fn send(&mut self) -> Result<(), Failure> {
        let sent = self.stream.get_mut().write_all(&self.unsent);
        self.unsent.clear();
        // One batch with large values is no reason to keep so much for all others.
        self.unsent.shrink_to(256 * 1024);
        sent.map_err(|source| self.away(source))
    }

    /// Sends what was pushed, and takes the one reply there is to it.
    pub(super) fn call(&mut self) -> Result<Reply, Failure> {
        self.send()?;
        self.take(usize::try_from(LINE_BYTES).unwrap_or(usize::MAX))
    }

    /// What `INFO server` says under `field`; `None`: nothing, or it is not answered.
    pub(super) fn about(&mut self, field: &str) -> Result<Option<String>, Failure> {
        self.push(&[b"INFO", b"server"]);
        let text = match self.call()? {
            Reply::Bulk(text) => text,
            Reply::Error(said) if said.starts_with("NOAUTH") => return Err(self.unexpected(&Reply::Error(said))),
            _ => return Ok(None),
        };
        let text = String::from_utf8_lossy(&text);
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found.map(str::to_owned))
    }

    /// Takes the next reply, of at most so many bytes.
    pub(super) fn take(&mut self, most: usize) -> Result<Reply, Failure> {
        let mut left = most;
        self.read(&mut left, DEPTH).map_err(|source| self.away(source))
    }

    /// What it means that a server has answered this, where no key is to blame.
    pub(super) fn unexpected(&self, reply: &Reply) -> Failure {
        let whom = self.whom.clone();
        match reply {
            Reply::Error(said) if said.starts_with("NOAUTH") => Failure::Login { whom, said: said.clone() },
            Reply::Error(said) => Failure::Server { whom, said: said.clone() },
            _ => Failure::Server { whom, said: "an answer that does not fit the request".to_owned() },
        }
    }

    fn away(&self, source: io::Error) -> Failure {
        Failure::Away { whom: self.whom.clone(), source }
    }

    fn read(&mut self, left: &mut usize, depth: u8) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_first().ok_or_else(no_protocol)?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        let number = || integer(rest).ok_or_else(no_protocol);
        Ok(match kind {
            b'+' => Reply::Simple(text()),
            b'-' => Reply::Error(text()),
            b':' => Reply::Integer(number()?),
            b'_' => Reply::Nil,
            b'$' => match u64::try_from(number()?) {
                Ok(length) => self.bulk(length, left)?,
                Err(_) => Reply::Nil,
            },
            b'*' => match usize::try_from(number()?) {
                Ok(count) if depth > 0 => self.array(count, left, depth - 1)?,
                Ok(_) => return Err(no_protocol()),
                Err(_) => Reply::Nil,
            },
            _ => return Err(no_protocol()),
        })
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.stream).take(LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(closed());
        }
        line.strip_suffix(b"\r\n").map(<[u8]>::to_vec).ok_or_else(no_protocol)
    }

    fn bulk(&mut self, length: u64, left: &mut usize) -> io::Result<Reply> {
        match usize::try_from(length) {
            Ok(length) if length <= *left => {
                *left -= length;
                // Room is made as bytes come, whatever was announced.
                let mut bytes = Vec::with_capacity(length.min(64 * 1024));
                (&mut self.stream).take(length as u64).read_to_end(&mut bytes)?;
                if bytes.len() < length {
                    return Err(closed());
                }
                let mut end = [0; 2];
                self.stream.read_exact(&mut end)?;
                Ok(Reply::Bulk(bytes))
            }
            _ => {
                let passed = io::copy(&mut (&mut self.stream).take(length.saturating_add(2)), &mut io::sink())?;
                if passed < length.saturating_add(2) { Err(closed()) } else { Ok(Reply::TooLarge) }
            }
        }
    }

    fn array(&mut self, count: usize, left: &mut usize, depth: u8) -> io::Result<Reply> {
        let mut replies = Vec::new();
        let mut is_too_large = false;
        for _ in 0..count {
            // A place in the list takes room, too.
            is_too_large |= *left < size_of::<Reply>();
            *left = left.saturating_sub(size_of::<Reply>());
            let reply = self.read(left, depth)?;
            if is_too_large { replies.clear() } else { replies.push(reply) }
        }
        Ok(if is_too_large { Reply::TooLarge } else { Reply::Array(replies) })
    }
}

fn connect(place: &Place) -> io::Result<Box<dyn Stream>> {
    match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.set_write_timeout(Some(SILENCE))?;
            Ok(Box::new(stream))
        }
        Place::Tcp(host, port) => {
            let host = host.trim_matches(['[', ']']);
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in (host, *port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, CONNECT) {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        stream.set_read_timeout(Some(SILENCE))?;
                        stream.set_write_timeout(Some(SILENCE))?;
                        return Ok(Box::new(stream));
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection")
}

fn no_protocol() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it does not speak the Redis protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of these bytes, with room for so many.
    fn read(bytes: &[u8], room: usize) -> Vec<Result<Reply, io::ErrorKind>> {
        let stream: Box<dyn Stream> = Box::new(io::Cursor::new(bytes.to_vec()));
        let mut connection = Connection { stream: BufReader::new(stream), unsent: vec![], whom: String::new() };
        let mut replies = Vec::new();
        loop {
            let reply = connection.read(&mut { room }, DEPTH).map_err(|error| error.kind());
            let is_last = reply.is_err();
            replies.push(reply);
            if is_last {
                return replies;
            }
        }
    }

    #[test]
    fn replies_are_read_one_after_another() {
        let bulk = |text: &str| Reply::Bulk(text.into());
        let all = read(
            b"+OK\r\n-ERR no\r\n:-2\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n_\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n",
            4096,
        );
        let expected = [
            Ok(Reply::Simple("OK".to_owned())),
            Ok(Reply::Error("ERR no".to_owned())),
            Ok(Reply::Integer(-2)),
            Ok(bulk("a\r\n")),
            Ok(Reply::Nil),
            Ok(Reply::Nil),
            Ok(Reply::Nil),
            Ok(Reply::Array(vec![bulk("0"), Reply::Array(vec![bulk("k")])])),
            Err(io::ErrorKind::UnexpectedEof),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn what_is_too_large_is_passed_over_and_the_next_is_read() {
        let ok = || Ok(Reply::Simple("OK".to_owned()));
        assert_eq!(read(b"$5\r\nabcde\r\n+OK\r\n", 4)[..2], [Ok(Reply::TooLarge), ok()]);
        assert_eq!(read(b"*3\r\n:1\r\n:2\r\n:3\r\n+OK\r\n", size_of::<Reply>() * 2)[..2], [Ok(Reply::TooLarge), ok()]);
    }

    #[test]
    fn what_is_no_protocol_is_an_error() {
        for bytes in
            [&b"HTTP/1.1 400\r\n"[..], b"\r\n", b"$x\r\n", b":\r\n", b"+OK\n", b"*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"]
        {
            assert_eq!(read(bytes, 4096), [Err(io::ErrorKind::InvalidData)], "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in [&b"$5\r\nab"[..], b"$5000\r\nab", b"*2\r\n:1\r\n", b""] {
            assert_eq!(read(bytes, 4096), [Err(io::ErrorKind::UnexpectedEof)], "{}", String::from_utf8_lossy(bytes));
        }
    }
}
