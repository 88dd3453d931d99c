//! Answers as bytes, in RESP2 or RESP3.

/// The version of Redis that we answer as. Clients choose by it what they dare to send.
pub const REDIS_VERSION: &str = "7.0.15";

/// Answers that depend on what a connection or a key is, in the words of Redis, with their code.
pub mod errors {
    /// The client has to authenticate itself first.
    pub const NO_AUTH: &str = "NOAUTH Authentication required.";
    /// The same, of `HELLO`.
    pub const NO_AUTH_HELLO: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
         HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version \
         at the same time";
    /// A wrong user or password.
    pub const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
    /// A password where none is set.
    pub const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for the default \
         user. Are you sure your configuration is correct?";
    /// The key holds a hash where a string is expected, or the other way round.
    pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
    /// `RENAME` of nothing.
    pub const NO_SUCH_KEY: &str = "ERR no such key";
    /// `SELECT` beyond the last database.
    pub const DATABASE_OUT_OF_RANGE: &str = "ERR DB index is out of range";
    /// `HINCRBY` of something else.
    pub const HASH_VALUE_NOT_AN_INTEGER: &str = "ERR hash value is not an integer";
    /// `HINCRBY` beyond 64 bits.
    pub const OVERFLOW: &str = "ERR increment or decrement would overflow";
    /// `EXEC` of a transaction in which a command was refused when it came in.
    pub const TRANSACTION_ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
    /// `EXEC` alone.
    pub const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";
    /// `DISCARD` alone.
    pub const DISCARD_WITHOUT_MULTI: &str = "ERR DISCARD without MULTI";
    /// `MULTI` twice.
    pub const NESTED_MULTI: &str = "ERR MULTI calls can not be nested";
    /// What comes before the reason why an `EXEC` is refused, which ends its transaction.
    pub const EXEC_REFUSED: &str = "EXECABORT Transaction discarded because of: ";
    /// `WATCH` too late.
    pub const WATCH_INSIDE_MULTI: &str = "ERR WATCH inside MULTI is not allowed";
    /// There is no room, and nothing that could be ended instead.
    pub const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
}

/// The protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// What every client begins with.
    #[default]
    Resp2,
    /// What a client has asked for with `HELLO 3`.
    Resp3,
}

/// Appends answers to a buffer, and allocates nothing but that buffer's room.
///
/// Who writes the head of an array, a map or a push owes as many values as it says.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    protocol: Protocol,
}

/// The line of an error, while it is written.
#[derive(Debug)]
pub struct ErrorLine<'w>(&'w mut Vec<u8>);

impl ErrorLine<'_> {
    /// Appends to it, with a blank for what would end it: parts may come from a client.
    pub fn push(&mut self, part: &[u8]) {
        self.0.extend(part.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    }
}

impl<'b> Writer<'b> {
    /// Writes to the end of `out`.
    #[inline]
    pub fn new(out: &'b mut Vec<u8>, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    /// The protocol it writes.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.simple("OK");
    }

    /// A short text without a line's end.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error: its code and a text, without a line's end.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text.as_bytes());
    }

    /// An error in parts, of which some may come from a client.
    pub fn error_of(&mut self, parts: &[&[u8]]) {
        self.error_by(|line| parts.iter().for_each(|part| line.push(part)));
    }

    /// An error that is written piece by piece.
    pub fn error_by(&mut self, write: impl FnOnce(&mut ErrorLine<'_>)) {
        self.out.push(b'-');
        write(&mut ErrorLine(self.out));
        self.end();
    }

    /// A whole number.
    pub fn integer(&mut self, value: i64) {
        self.out.push(b':');
        if value < 0 {
            self.out.push(b'-');
        }
        self.digits(value.unsigned_abs());
        self.end();
    }

    /// How many there are of something.
    pub fn count(&mut self, value: usize) {
        self.head(b':', value);
    }

    /// A string of bytes.
    #[inline]
    pub fn bulk(&mut self, value: &[u8]) {
        self.out.reserve(value.len() + 32);
        self.head(b'$', value.len());
        self.out.extend_from_slice(value);
        self.end();
    }

    /// A string of bytes that is known only once it is written.
    pub fn bulk_by(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.measured(b'$', write);
    }

    /// A text to be shown as it is: a string to RESP2.
    pub fn verbatim_by(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.resp3() {
            self.measured(b'=', |out| {
                out.extend_from_slice(b"txt:");
                write(out);
            });
        } else {
            self.measured(b'$', write);
        }
    }

    /// Nothing, where a string could be.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Nothing, where an array could be: a transaction that did not run.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// Yes or no: 1 or 0 to RESP2.
    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.protocol, value) {
            (Protocol::Resp3, true) => b"#t\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp2, false) => b":0\r\n",
        });
    }

    /// A number, with as many digits as are needed to read it back: a string to RESP2.
    pub fn double(&mut self, value: f64) {
        use std::io::Write as _;
        let write = |out: &mut Vec<u8>| {
            // Writing to a vector cannot fail.
            let _ = if value.is_nan() { write!(out, "nan") } else { write!(out, "{value:?}") };
            if out.ends_with(b".0") {
                out.truncate(out.len() - 2);
            }
        };
        if self.resp3() {
            self.out.push(b',');
            write(self.out);
            self.end();
        } else {
            self.bulk_by(write);
        }
    }

    /// Begins an array of so many values.
    pub fn array(&mut self, length: usize) {
        self.head(b'*', length);
    }

    /// Begins a map of so many keys, each with its value: an array of both to RESP2.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3() { self.head(b'%', pairs) } else { self.head(b'*', pairs * 2) }
    }

    /// Begins a message of so many values that is no answer: an array to RESP2.
    pub fn push(&mut self, length: usize) {
        self.head(if self.resp3() { b'>' } else { b'*' }, length);
    }

    /// Tells how it went with a subscription: `subscribe`, `unsubscribe`, `psubscribe` or `punsubscribe` of a channel
    /// or pattern (or of none that was left), and how many subscriptions the connection has now.
    pub fn subscription(&mut self, what: &str, channel: Option<&[u8]>, left: usize) {
        self.push(3);
        self.bulk(what.as_bytes());
        match channel {
            Some(channel) => self.bulk(channel),
            None => self.null(),
        }
        self.count(left);
    }

    /// A message to those who have subscribed to its channel, or to a pattern that the channel matches.
    pub fn message(&mut self, pattern: Option<&[u8]>, channel: &[u8], message: &[u8]) {
        self.push(if pattern.is_some() { 4 } else { 3 });
        self.bulk(if pattern.is_some() { b"pmessage" } else { b"message" });
        if let Some(pattern) = pattern {
            self.bulk(pattern);
        }
        self.bulk(channel);
        self.bulk(message);
    }

    /// `PONG`, which while subscribed in RESP2 has to look like a message.
    pub fn pong(&mut self, message: Option<&[u8]>, subscribed: bool) {
        if subscribed && !self.resp3() {
            self.array(2);
            self.bulk(b"pong");
            self.bulk(message.unwrap_or_default());
        } else {
            match message {
                Some(message) => self.bulk(message),
                None => self.simple("PONG"),
            }
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.end();
    }

    #[inline]
    fn head(&mut self, kind: u8, length: usize) {
        if let Some((head, bytes)) = short_head(kind, length) {
            let end = self.out.len() + bytes;
            self.out.extend_from_slice(&head);
            self.out.truncate(end);
        } else {
            self.out.push(kind);
            self.digits(length as u64);
            self.end();
        }
    }

    #[inline]
    fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn digits(&mut self, value: u64) {
        let mut digits = [0; MOST_DIGITS];
        let begin = decimal(value, &mut digits);
        self.out.extend_from_slice(&digits[begin..]);
    }

    /// A string whose length is known only afterwards: its head is then moved to where it belongs.
    fn measured(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        write(self.out);
        let length = self.out.len() - start;
        self.end();
        let body = self.out.len();
        self.head(kind, length);
        let head = self.out.len() - body;
        self.out[start..].rotate_right(head);
    }
}

/// As many digits as a number of 64 bits can have.
const MOST_DIGITS: usize = 20;

/// The head of something shorter than 100 kB, in as many bytes as one register has, and how many of them it is.
#[inline]
fn short_head(kind: u8, length: usize) -> Option<([u8; 8], usize)> {
    let mut left = u32::try_from(length).ok().filter(|length| *length < 100_000)?;
    // From its end to its beginning, which is the lowest byte.
    let (mut head, mut bytes) = (u64::from(u16::from_le_bytes(*b"\r\n")), 2);
    loop {
        (head, bytes) = (head << 8 | u64::from(b'0') | u64::from(left % 10), bytes + 1);
        left /= 10;
        if left == 0 {
            return Some(((head << 8 | u64::from(kind)).to_le_bytes(), bytes + 1));
        }
    }
}

/// Writes a number to the end of `digits`. Where it begins.
#[inline]
fn decimal(mut value: u64, digits: &mut [u8; MOST_DIGITS]) -> usize {
    let mut at = MOST_DIGITS;
    loop {
        at -= 1;
        let digit = (value % 10) as u8;
        digits[at] = b'0' + digit;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl Fn(&mut Writer<'_>), resp2: &str, resp3: &str) {
        for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
            let mut out = b"before".to_vec();
            write(&mut Writer::new(&mut out, protocol));
            assert_eq!(String::from_utf8_lossy(&out).strip_prefix("before"), Some(expected));
        }
    }

    #[test]
    fn values_are_written_as_each_protocol_has_them() {
        check(
            |to| {
                to.ok();
            },
            "+OK\r\n",
            "+OK\r\n",
        );
        check(|to| to.error("ERR no"), "-ERR no\r\n", "-ERR no\r\n");
        check(|to| to.error_of(&[b"ERR '", b"a\r\nb", b"'"]), "-ERR 'a  b'\r\n", "-ERR 'a  b'\r\n");
        check(|to| to.bulk(b"a\r\n"), "$3\r\na\r\n\r\n", "$3\r\na\r\n\r\n");
        check(|to| to.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n");
        check(
            |to| {
                to.null();
            },
            "$-1\r\n",
            "_\r\n",
        );
        check(
            |to| {
                to.null_array();
            },
            "*-1\r\n",
            "_\r\n",
        );
        check(|to| to.boolean(true), ":1\r\n", "#t\r\n");
        check(|to| to.boolean(false), ":0\r\n", "#f\r\n");
        check(|to| to.array(0), "*0\r\n", "*0\r\n");
        check(|to| to.map(3), "*6\r\n", "%3\r\n");
        check(|to| to.push(3), "*3\r\n", ">3\r\n");
        check(|to| to.verbatim_by(|out| out.extend(b"text")), "$4\r\ntext\r\n", "=8\r\ntxt:text\r\n");
        check(|to| to.bulk_by(|out| out.extend([b'x'; 12])), "$12\r\nxxxxxxxxxxxx\r\n", "$12\r\nxxxxxxxxxxxx\r\n");
    }

    #[test]
    fn heads_have_all_their_digits() {
        for length in [0, 9, 10, 12_345, 99_999, 100_000, 123_456_789] {
            check(|to| to.array(length), &format!("*{length}\r\n"), &format!("*{length}\r\n"));
        }
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for value in [0, 9, 10, -1, 1_234_567_890, i64::MAX, i64::MIN] {
            check(|to| to.integer(value), &format!(":{value}\r\n"), &format!(":{value}\r\n"));
        }
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1e300, "1e300"),
            (1e-9, "1e-9"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (0.1, "0.1"),
        ] {
            check(|to| to.double(value), &format!("${}\r\n{text}\r\n", text.len()), &format!(",{text}\r\n"));
        }
    }

    #[test]
    fn what_comes_unasked_is_a_push() {
        check(
            |to| to.subscription("subscribe", Some(b"c"), 1),
            "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
            ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
        );
        check(
            |to| to.subscription("unsubscribe", None, 0),
            "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
            ">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n",
        );
        check(
            |to| to.message(Some(b"*"), b"c", b"m"),
            "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$1\r\nm\r\n",
            ">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$1\r\nm\r\n",
        );
        check(
            |to| to.message(None, b"c", b"m"),
            "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
            ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
        );
        check(|to| to.pong(None, false), "+PONG\r\n", "+PONG\r\n");
        check(|to| to.pong(Some(b"x"), false), "$1\r\nx\r\n", "$1\r\nx\r\n");
        check(|to| to.pong(None, true), "*2\r\n$4\r\npong\r\n$0\r\n\r\n", "+PONG\r\n");
    }
}
