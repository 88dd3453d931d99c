//! Requests out of bytes: any cut gives the same, limits hold, and redis-server says the same.

use proptest::collection::vec;
use proptest::prelude::*;
use sessgate::doors::resp::command::{Command, CommandError};
use sessgate::doors::resp::frame::{BEFORE_AUTH, Frame, LONGEST_LINE, Limits, Parser, ProtocolError};

use super::{Read, Words, read, read_whole, reply, request};
use crate::support::redis_server::RedisServer;
use crate::support::seed::Random;

/// A server's answer ends here, when it was asked to say so.
const END: &[u8] = b"$3\r\nEND\r\n";

fn requests() -> impl Strategy<Value = Vec<Words>> {
    let word = prop_oneof![vec(any::<u8>(), 0..40), Just(b"GET".to_vec()), vec(any::<u8>(), 1000..1100)];
    let get =
        (prop_oneof![Just(b"GET".to_vec()), Just(b"gEt".to_vec()), Just(b"TTL".to_vec())], vec(any::<u8>(), 0..40));
    let request = prop_oneof![vec(word, 1..6), get.prop_map(|(name, key)| vec![name, key])];
    vec(request, 0..8)
}

/// Cuts bytes into pieces at these places, which may repeat.
fn pieces<'b>(bytes: &'b [u8], cuts: &mut Vec<usize>) -> Vec<&'b [u8]> {
    for cut in &mut *cuts {
        *cut %= bytes.len() + 1;
    }
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}

proptest! {
    #[test]
    fn what_was_sent_is_what_is_read(requests in requests(), mut cuts in vec(any::<usize>(), 0..20)) {
        let bytes: Vec<u8> = requests.iter().flat_map(|words| request(words)).collect();
        let mut parser = Parser::new(Limits::default(), true);
        let expected = Read { requests, error: None, left: 0 };
        prop_assert_eq!(&read_whole(&bytes), &expected);
        prop_assert_eq!(read(&mut parser, pieces(&bytes, &mut cuts)), expected);
    }

    #[test]
    fn bytes_mean_the_same_however_they_are_cut(
        bytes in vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), b'0'..=b'3', any::<u8>()], 0..200),
        mut cuts in vec(any::<usize>(), 0..20),
    ) {
        let whole = read_whole(&bytes);
        let mut parser = Parser::new(Limits::default(), true);
        prop_assert_eq!(read(&mut parser, pieces(&bytes, &mut cuts)), whole);
        let mut parser = Parser::new(Limits::default(), true);
        prop_assert_eq!(read(&mut parser, bytes.chunks(1)), read_whole(&bytes));
    }

    #[test]
    fn a_kept_request_is_the_same(words in vec(vec(any::<u8>(), 0..40), 1..6)) {
        let bytes = request(&words);
        let mut parser = Parser::new(Limits::default(), true);
        let Ok(Frame::Request { arguments, length }) = parser.next(&bytes) else { panic!("it is a whole request") };
        prop_assert_eq!(length, bytes.len());
        let kept = arguments.keep();
        prop_assert_eq!(super::words(kept.get()), words);
        prop_assert_eq!(super::words(kept.get().from(1)).len(), kept.get().len() - 1);
    }
}

#[track_caller]
fn fails(bytes: &[u8], expected: ProtocolError) {
    assert_eq!(read_whole(bytes).error, Some(expected), "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    let mut parser = Parser::new(Limits::default(), true);
    assert_eq!(read(&mut parser, bytes.chunks(7)).error, Some(expected));
}

#[test]
fn what_is_no_request_is_refused() {
    for bytes in ["*x\r\n", "*1025\r\n", "*2147483648\r\n", "*01\r\n", "*+1\r\n", "*\r\n", "* 1\r\n"] {
        fails(bytes.as_bytes(), ProtocolError::InvalidMultibulkLength);
    }
    for bytes in ["*1\r\n$-1\r\n", "*1\r\n$x\r\n", "*1\r\n$1048577\r\n", "*1\r\n$01\r\n", "*1\r\n$\r\n"] {
        fails(bytes.as_bytes(), ProtocolError::InvalidBulkLength);
    }
    fails(b"*1\r\n:1\r\n", ProtocolError::ExpectedBulk(b':'));
    fails(b"*1\r\n\r\n", ProtocolError::ExpectedBulk(b'\r'));
    fails(b"*2\r\n$3\r\nGET\r\n3\r\n", ProtocolError::ExpectedBulk(b'3'));
    fails(b"set \"a\r\n", ProtocolError::UnbalancedQuotes);
    let digits = b"1".repeat(LONGEST_LINE);
    fails(&b"1".repeat(LONGEST_LINE + 1), ProtocolError::InlineTooBig);
    fails(&[&b"*"[..], &digits].concat(), ProtocolError::MultibulkLengthTooBig);
    fails(&[&b"*1\r\n$"[..], &digits].concat(), ProtocolError::BulkLengthTooBig);
    fails(&b"a ".repeat(1025).into_iter().chain(*b"\r\n").collect::<Vec<_>>(), ProtocolError::InvalidMultibulkLength);
    let large = vec![b'x'; 1024 * 1024];
    fails(&request(&[&*large, &large, &large, &large]), ProtocolError::RequestTooBig);
}

#[test]
fn what_asks_for_nothing_is_passed_over() {
    let read = read_whole(b"\r\n\n*0\r\n*-1\r\n  \r\nPING\r\n*1\r\n$4\r\nPING\r\nPING\n*1\r\n$1");
    assert_eq!(read, Read { requests: vec![vec![b"PING".to_vec()]; 3], error: None, left: b"*1\r\n$1".len() });
}

#[test]
fn before_authentication_there_is_less_room() {
    let (most, longest) = BEFORE_AUTH;
    let error_of = |parser: &mut Parser, words: &[&[u8]]| parser.next(&request(words)).err();
    let new = || Parser::new(Limits::default(), false);
    let large = vec![b'x'; longest + 1];
    assert_eq!(error_of(&mut new(), &vec![&b"a"[..]; most]), None);
    assert_eq!(error_of(&mut new(), &[b"AUTH", &large[1..]]), None);
    assert_eq!(error_of(&mut new(), &vec![&b"a"[..]; most + 1]), Some(ProtocolError::UnauthenticatedMultibulkLength));
    assert_eq!(error_of(&mut new(), &[b"AUTH", &large]), Some(ProtocolError::UnauthenticatedBulkLength));
    assert_eq!(error_of(&mut new(), &[b"GET", &large]), Some(ProtocolError::UnauthenticatedBulkLength));
    let line = [&*b"a ".repeat(most + 1), b"\r\n"].concat();
    assert_eq!(new().next(&line).err(), Some(ProtocolError::UnauthenticatedMultibulkLength));
    // The limit is the one of the moment: `AUTH` and what needs it may come in one piece.
    let mut parser = new();
    assert!(matches!(parser.next(&request(&["AUTH", "secret"])), Ok(Frame::Request { .. })));
    parser.set_authenticated(true);
    assert_eq!(error_of(&mut parser, &[b"GET", &large]), None);
}

#[test]
fn a_claim_costs_nothing_and_a_large_request_is_forgotten() {
    let mut parser = Parser::new(Limits::default(), true);
    assert!(matches!(parser.next(b"*1024\r\n"), Ok(Frame::Incomplete { wanted: 1 })));
    assert!(parser.allocated() < 1024);
    let wanted = parser.next(b"*1024\r\n$1048576\r\nx").expect("it is allowed");
    assert!(matches!(wanted, Frame::Incomplete { wanted } if wanted == 1024 * 1024 + 1));
    assert!(parser.allocated() < 1024);

    let mut parser = Parser::new(Limits::default(), true);
    let large = request(&vec!["x"; 1024]);
    assert!(matches!(parser.next(&large), Ok(Frame::Request { .. })));
    assert!(parser.allocated() <= 64 * 1024);
    assert!(matches!(parser.next(&[&b"ECHO "[..], &b"x".repeat(60_000), b"\n"].concat()), Ok(Frame::Request { .. })));
    assert!(parser.allocated() > 60_000);
    assert!(matches!(parser.next(b"*1\r\n$4\r\nPING\r\n"), Ok(Frame::Request { .. })));
    assert!(parser.allocated() < 1024);
}

#[test]
fn arguments_show_nothing_of_themselves() {
    let mut parser = Parser::new(Limits::default(), true);
    let bytes = request(&["SET", "canary", "canary"]);
    let frame = parser.next(&bytes).expect("a request");
    assert_eq!(format!("{frame:?}"), "Request { arguments: [3, 6, 6], length: 37 }");
    let Frame::Request { arguments, .. } = frame else { panic!("a request") };
    let command = Command::of(arguments);
    let shown = format!("{:?} {:?} {command:?}", arguments.keep(), CommandError::UnknownCommand(arguments));
    assert!(!shown.contains("canary"), "{shown}");
}

/// What redis-server answers to these bytes, if it does not close: up to [`END`], which is asked for behind them.
///
/// `None` if it depends on more than on the bytes.
fn expected(bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
    let read = read_whole(bytes);
    let mut answer = Vec::new();
    for words in &read.requests {
        let mut parser = Parser::new(Limits::default(), true);
        let bytes = request(words);
        let Ok(Frame::Request { arguments, .. }) = parser.next(&bytes) else { return None };
        match Command::of(arguments) {
            Ok(Command::Echo { message }) => answer.extend(reply(|to| to.bulk(message))),
            Err(CommandError::OtherProtocol) => return Some((answer, true)),
            Err(error) => answer.extend(reply(|to| error.reply(to))),
            Ok(_) => return None,
        }
    }
    if let Some(error) = read.error {
        answer.extend(reply(|to| error.reply(to)));
    }
    (read.error.is_some() || read.left == 0).then_some((answer, read.error.is_some()))
}

fn random_stream(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(4) {
        let word = *random.pick(&["a", "", "hello world", "\"", "'", "\\x41", "*1", "$3", "é", "a\r\nb", "x\\\"y"]);
        match random.below(4) {
            0 | 1 => bytes.extend(request(&["ECHO", word])),
            2 => bytes.extend(format!("  echo \"{word}\" \r\n").bytes()),
            _ => bytes.extend(format!("echo '{word}'\n").bytes()),
        }
    }
    for _ in 0..random.below(3) {
        let at = usize::try_from(random.below(bytes.len() as u64)).expect("an index");
        match random.below(3) {
            0 => bytes[at] = *random.pick(b"*$\r\n0123456789-+ \"'\\xEeHh:\x0b\x0c\t\x80"),
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, *random.pick(b"*$\r\n019- \"'\\")),
        }
    }
    bytes
}

#[test]
fn redis_server_reads_the_same_bytes_as_the_same_requests() {
    let server = RedisServer::start();
    let mut random = Random::from_env();
    eprintln!("SESSGATE_SEED={}", random.seed());
    let mut compared = 0;
    for _ in 0..4000 {
        let bytes = random_stream(&mut random);
        let Some((expected, closes)) = expected(&bytes) else { continue };
        compared += 1;
        let whole = if closes { bytes.clone() } else { [&*bytes, &request(&["ECHO", "END"])].concat() };
        let expected = if closes { expected } else { [&*expected, END].concat() };
        // If it closes, we read to the end; else up to what we expect, of which the end tells that it is all.
        let answer = server.connect().exchange(&whole, |answer| !closes && answer.ends_with(END));
        assert_eq!(
            String::from_utf8_lossy(&answer),
            String::from_utf8_lossy(&expected),
            "to {:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
    assert!(compared > 2000, "only {compared} streams were compared");
}

#[test]
fn redis_server_refuses_with_the_same_words() {
    let server = RedisServer::start();
    let long = |head: &str| [head.as_bytes(), &b"1".repeat(70_000)].concat();
    let cases = [
        b"*x\r\n".to_vec(),
        b"*2147483648\r\n".to_vec(),
        b"*1\r\n$-1\r\n".to_vec(),
        b"*1\r\n$536870913\r\n".to_vec(),
        b"*1\r\n:1\r\n".to_vec(),
        b"*1\r\n\n1\r\n".to_vec(),
        b"*1\r\n\xff1\r\n".to_vec(),
        b"set \"a\r\n".to_vec(),
        long("*"),
        long("*1\r\n$"),
        long("1"),
    ];
    let protected = |bytes: &[u8]| {
        let mut connection = server.connect();
        connection.exchange(&request(&["CONFIG", "SET", "requirepass", "x"]), |answer| answer.ends_with(b"\r\n"));
        let answer = server.connect().exchange(bytes, |_| false);
        connection.exchange(&request(&["CONFIG", "SET", "requirepass", ""]), |answer| answer.ends_with(b"\r\n"));
        answer
    };
    for bytes in &cases {
        let error = read_whole(bytes).error.expect("it is no request");
        let expected = reply(|to| error.reply(to));
        assert_eq!(
            String::from_utf8_lossy(&server.connect().exchange(bytes, |_| false)),
            String::from_utf8_lossy(&expected)
        );
    }
    for bytes in [&b"*11\r\n"[..], b"*2147483648\r\n", b"*1\r\n$16385\r\n", b"*1\r\n$536870913\r\n"] {
        let error = Parser::new(Limits::default(), false).next(bytes).expect_err("it is no request");
        let expected = reply(|to| error.reply(to));
        assert_eq!(String::from_utf8_lossy(&protected(bytes)), String::from_utf8_lossy(&expected));
    }
    // A browser that was tricked gets no answer at all.
    for bytes in [&b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"hOST: a\r\n", b"*1\r\n$4\r\npost\r\n"] {
        assert_eq!(server.connect().exchange(bytes, |_| false), b"");
        let request = &read_whole(bytes).requests[0];
        let bytes = super::request(request);
        let mut parser = Parser::new(Limits::default(), true);
        let Ok(Frame::Request { arguments, .. }) = parser.next(&bytes) else { panic!("a request") };
        assert!(matches!(Command::of(arguments), Err(CommandError::OtherProtocol)));
    }
}
