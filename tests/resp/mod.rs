//! The Redis protocol: against itself however the bytes are cut, against a real redis-server, against noise.

use sessgate::doors::resp::frame::{Arguments, Frame, Limits, Parser, ProtocolError};
use sessgate::doors::resp::reply::{Protocol, Writer};

pub mod commands;
mod frames;
mod fuzz;
mod glob;
mod server;

/// A request, its name first.
pub type Words = Vec<Vec<u8>>;

/// What a connection's bytes were, to a parser.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    pub requests: Vec<Words>,
    pub error: Option<ProtocolError>,
    /// Bytes that wait for the rest of a request.
    pub left: usize,
}

/// Reads bytes that come piece by piece, as a connection does: plain `GET`s by their own way.
pub fn read<'c>(parser: &mut Parser, pieces: impl IntoIterator<Item = &'c [u8]>) -> Read {
    read_by(parser, pieces, true)
}

fn read_by<'c>(parser: &mut Parser, pieces: impl IntoIterator<Item = &'c [u8]>, gets_apart: bool) -> Read {
    let mut read = Read { requests: Vec::new(), error: None, left: 0 };
    let mut buffer = Vec::new();
    'pieces: for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut at = 0;
        loop {
            if gets_apart && let Some((key, length)) = parser.plain_get(&buffer[at..]) {
                let name = buffer[at..].iter().copied().filter(u8::is_ascii_alphabetic).take(3).collect();
                read.requests.push(vec![name, key.to_vec()]);
                at += length;
                continue;
            }
            match parser.next(&buffer[at..]) {
                Ok(Frame::Request { arguments, length }) => {
                    read.requests.push(words(arguments));
                    at += length;
                }
                Ok(Frame::Nothing { length }) => at += length,
                Ok(Frame::Incomplete { wanted }) => {
                    assert!(wanted > 0);
                    break;
                }
                Err(error) => {
                    read.error = Some(error);
                    break 'pieces;
                }
            }
        }
        buffer.drain(..at);
    }
    read.left = if read.error.is_some() { 0 } else { buffer.len() };
    read
}

/// Reads bytes that come at once, all of them by the general way.
pub fn read_whole(bytes: &[u8]) -> Read {
    read_by(&mut Parser::new(Limits::default(), true), [bytes], false)
}

pub fn words(arguments: Arguments<'_>) -> Words {
    arguments.iter().map(<[u8]>::to_vec).collect()
}

/// A request as an array of bulk strings, as clients send it.
pub fn request<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, Protocol::Resp2);
    writer.array(words.len());
    for word in words {
        writer.bulk(word.as_ref());
    }
    bytes
}

/// What a writer writes.
pub fn reply(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Writer::new(&mut bytes, Protocol::Resp2));
    bytes
}
