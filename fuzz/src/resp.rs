//! The parser of the Redis protocol, and commands: no panic, the same requests however the bytes are cut into reads, and
//! no memory for what a client only announces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sessgate::doors::resp::command::{Command, HelloOption};
use sessgate::doors::resp::frame::{Frame, Limits, Parser, ProtocolError};
use sessgate::doors::resp::reply::{Protocol, Writer};
use sessgate::session::glob;

/// The most that a parser may hold for itself: 1,024 places of arguments, or a line.
const MOST_ALLOCATED: usize = 192 * 1024;

/// What a stream of bytes asked for.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    requests: Vec<Vec<Vec<u8>>>,
    error: Option<ProtocolError>,
}

/// Reads a stream in pieces whose lengths repeat `cuts`; if there are any, plain `GET`s by their own way.
fn hear(bytes: &[u8], cuts: &[u8], authenticated: bool) -> Heard {
    let mut parser = Parser::new(Limits::default(), authenticated);
    let (mut heard, mut start, mut end) = (Heard::default(), 0, 0);
    let mut lengths = cuts.iter().cycle();
    while end < bytes.len() {
        let more = lengths.next().map_or(usize::MAX, |length| usize::from(*length).max(1));
        end = end.saturating_add(more).min(bytes.len());
        loop {
            if !cuts.is_empty()
                && let Some((key, length)) = parser.plain_get(&bytes[start..end])
            {
                let name = bytes[start..end].iter().copied().filter(u8::is_ascii_alphabetic).take(3).collect();
                heard.requests.push(vec![name, key.to_vec()]);
                start += length;
                continue;
            }
            match parser.next(&bytes[start..end]) {
                Ok(Frame::Request { arguments, length }) => {
                    heard.requests.push(arguments.iter().map(<[u8]>::to_vec).collect());
                    start += length;
                }
                Ok(Frame::Nothing { length }) => start += length,
                Ok(Frame::Incomplete { wanted }) => {
                    assert!(wanted > 0);
                    break;
                }
                Err(error) => {
                    heard.error = Some(error);
                    return heard;
                }
            }
        }
        assert!(parser.allocated() <= MOST_ALLOCATED, "{}", parser.allocated());
    }
    heard
}

/// Understands every request, and answers those that are refused.
fn understand(bytes: &[u8]) {
    let mut parser = Parser::new(Limits::default(), true);
    let (mut start, mut out) = (0, Vec::new());
    while let Ok(Frame::Request { arguments, length }) = parser.next(&bytes[start..]) {
        match Command::of(arguments) {
            Ok(Command::Hello(hello)) => {
                let _ = hello.options().filter(|option| matches!(option, Ok(HelloOption::SetName(_)))).count();
            }
            Ok(Command::Scan(scan)) => {
                let _ = scan.pattern.is_some_and(|pattern| glob::matches(pattern, &bytes[..bytes.len().min(256)]));
            }
            Ok(_) => {}
            Err(error) => {
                out.clear();
                error.reply(&mut Writer::new(&mut out, Protocol::Resp3));
                let lines = out.iter().filter(|byte| **byte == b'\n').count();
                assert!(lines <= 1 && (out.is_empty() || out.ends_with(b"\r\n")), "an answer of several lines");
            }
        }
        start += length;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (cuts, stream) = bytes.split_at(bytes.len().min(4));
    for authenticated in [false, true] {
        let whole = hear(stream, &[], authenticated);
        let pieces = hear(stream, cuts, authenticated);
        assert_eq!(whole.requests, pieces.requests);
        assert_eq!(whole.error, pieces.error);
    }
    understand(stream);
});
