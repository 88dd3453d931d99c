//! Noise: streams of requests, bent in every way, for as long as `SESSGATE_FUZZ_SECONDS` says.

use std::time::{Duration, Instant};

use sessgate::doors::resp::command::{Command, HelloOption, Name};
use sessgate::doors::resp::frame::{Frame, Limits, Parser};
use sessgate::session::glob;

use super::{read, read_whole, reply, request};
use crate::support::seed::Random;

/// The most that a parser may hold for itself: 1,024 places of arguments, or a line.
const MOST_ALLOCATED: usize = 192 * 1024;

/// How long to go on.
fn budget() -> Duration {
    let seconds = std::env::var("SESSGATE_FUZZ_SECONDS").ok();
    Duration::from_secs(seconds.map_or(2, |seconds| seconds.parse().expect("SESSGATE_FUZZ_SECONDS is a number")))
}

fn index(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length as u64)).expect("an index")
}

fn word(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => Vec::new(),
        1 => random.next().cast_signed().to_string().into_bytes(),
        2 => (0..random.below(300)).map(|_| random.next().to_le_bytes()[0]).collect(),
        3 => vec![b'x'; index(random, 20_000)],
        _ => {
            let options = ["EX", "px", "NX", "GET", "MATCH", "count", "AUTH", "s", "h", "0", "1", "-1", "*a*[b-c]?"];
            random.pick(&options).as_bytes().to_vec()
        }
    }
}

/// Requests as clients send them: most in arrays, some typed.
fn stream(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(6) {
        let name = random.pick(Name::ALL).full_name().split('|').map(|part| part.as_bytes().to_vec());
        let count = if random.below(50) == 0 { 1100 } else { random.below(8) };
        let words: Vec<_> = name.chain((0..count).map(|_| word(random))).collect();
        if random.below(5) == 0 {
            bytes.extend(words.join(&[*random.pick(b" \t\"'")][..]));
            bytes.extend(random.pick(&["\r\n", "\n"]).bytes());
        } else {
            bytes.extend(request(&words));
        }
    }
    bytes
}

fn bend(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(6) {
        let at = index(random, bytes.len() + 1);
        let special = *random.pick(b"*$\r\n0123456789-+\"'\\ \0\xff");
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] = special,
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, random.next().to_string().into_bytes())),
            5 => {
                let end = at + index(random, bytes.len() - at + 1).min(100);
                let copy = bytes[at..end].to_vec();
                let to = index(random, bytes.len() + 1);
                drop(bytes.splice(to..to, copy));
            }
            _ => bytes.insert(at, special),
        }
    }
}

/// Pieces as reads bring them.
fn cut<'b>(random: &mut Random, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let most = *random.pick(&[1, 10, 1000, 100_000]);
        let (piece, rest) = bytes.split_at((1 + index(random, most)).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Everything that can be done with a request.
fn use_up(words: &[Vec<u8>]) {
    let bytes = request(words);
    let mut parser = Parser::new(Limits::default(), true);
    let Ok(Frame::Request { arguments, length }) = parser.next(&bytes) else { panic!("it was read before") };
    assert_eq!(length, bytes.len());
    match Command::of(arguments) {
        Err(error) => {
            let answer = reply(|to| error.reply(to));
            let line = answer.strip_suffix(b"\r\n").unwrap_or_default();
            assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "an error is one line");
            assert!(answer.is_empty() || answer.starts_with(b"-"));
        }
        Ok(Command::Hello(hello)) => {
            let options = hello.options().filter(|option| matches!(option, Ok(HelloOption::Auth { .. }))).count();
            assert!(options <= words.len());
        }
        Ok(Command::Scan(scan)) => {
            let pattern = scan.pattern.unwrap_or_default();
            let _ = words.iter().filter(|word| glob::matches(pattern, word)).count();
        }
        Ok(_) => {}
    }
}

#[test]
fn noise_is_read_the_same_however_it_is_cut_and_nothing_panics() {
    let mut random = Random::from_env();
    eprintln!("SESSGATE_SEED={}", random.seed());
    let until = Instant::now() + budget();
    let (mut streams, mut requests, mut errors) = (0_u64, 0, 0_u64);
    while Instant::now() < until {
        let mut bytes = stream(&mut random);
        bend(&mut random, &mut bytes);
        let whole = read_whole(&bytes);
        let mut parser = Parser::new(Limits::default(), true);
        let pieces = cut(&mut random, &bytes);
        assert_eq!(read(&mut parser, pieces), whole, "{}", bytes.escape_ascii());
        assert!(parser.allocated() <= MOST_ALLOCATED, "{} bytes", parser.allocated());
        let mut unknown = Parser::new(Limits::default(), false);
        let pieces = cut(&mut random, &bytes);
        assert!(read(&mut unknown, pieces).requests.len() <= whole.requests.len());
        whole.requests.iter().for_each(|words| use_up(words));
        streams += 1;
        requests += whole.requests.len();
        errors += u64::from(whole.error.is_some());
    }
    println!("{streams} streams, {requests} requests, {errors} protocol errors");
    assert!(requests > 0 && errors > 0, "there is something to see");
}
