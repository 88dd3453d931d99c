//! Mutated values, thrown at the reader of every format. `SESSGATE_FUZZ_SECONDS` says how long each; the seed is
//! printed, and taken from `SESSGATE_SEED`. The fuzzers in `fuzz/` are guided by coverage; these always run.

use std::time::{Duration, Instant};

use sessgate::session::identity::{Format, Path, Raw, Rule};

use super::encode::{ENCODINGS, Value};
use super::payloads;
use crate::support::seed::Random;

/// The largest value that mutations grow to.
const LARGEST: usize = 16 * 1024;

/// Pieces that mean something to one of the readers.
const PIECES: [&[u8]; 44] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u",
    b"\\",
    b",",
    b":",
    b"null",
    b"1e5",
    b"-",
    b"a:1:{",
    b"s:3:\"",
    b"\";",
    b"O:1:\"A\":",
    b"C:1:\"A\":1:{",
    b"i:0;",
    b"N;",
    b"|",
    b"R:1;",
    b"user_id",
    b"user",
    b"id",
    b"\xdf\xff\xff\xff\xff",
    b"\xc9",
    b"\xdb\0\0\0\x01",
    b"\x80\x05",
    b"\x95",
    b"\x94",
    b"h\0",
    b"(",
    b"u",
    b"e",
    b"R",
    b"b",
    b".",
    b"\x8c\x02id",
    b"I\"",
    b":\x06E",
    b";\0",
    b"@\x06",
    b"\x04\xff\xff\xff\x7f",
    b"\x78\x9c",
];

fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(corpus).clone();
    for _ in 0..=random.below(6) {
        let at = |random: &mut Random, bytes: &[u8]| usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap();
        let (mut from, mut to) = (at(random, &bytes), at(random, &bytes));
        if from > to {
            (from, to) = (to, from);
        }
        let random_byte = random.next().to_le_bytes()[0];
        match random.below(8) {
            0 if from < bytes.len() => bytes[from] ^= 1 << random.below(8),
            1 if from < bytes.len() => bytes[from] = random_byte,
            2 => bytes.insert(from, random_byte),
            3 => drop(bytes.drain(from..to)),
            4 => {
                let piece = bytes[from..to].to_vec();
                bytes.splice(from..from, piece);
            }
            5 => {
                let other = random.pick(corpus);
                let (begin, end) = (at(random, other), at(random, other));
                bytes.splice(from..to, other[begin.min(end)..begin.max(end)].iter().copied());
            }
            6 => drop(bytes.splice(from..from, random.pick(&PIECES).iter().copied())),
            _ => {
                let piece = random.pick(&PIECES);
                let end = (from + piece.len()).min(bytes.len());
                bytes.splice(from..end, piece.iter().copied());
            }
        }
    }
    bytes.truncate(LARGEST);
    bytes
}

fn rules(format: Format) -> Vec<Rule> {
    let path = |text: &str| text.parse::<Path>().expect("a path");
    vec![
        Rule::new(format, None, None, None),
        Rule::new(format, Some(&path("/*/*/*")), Some(&path("/*")), Some(&path("/*/*"))),
        Rule::new(format, Some(&path("")), Some(&path("")), Some(&path("/a*d"))),
    ]
}

fn fuzz(format: Format) {
    let seconds = std::env::var("SESSGATE_FUZZ_SECONDS").map_or(2, |text| text.parse().expect("a number of seconds"));
    let mut random = Random::from_env();
    println!("SESSGATE_SEED={} format={format}", random.seed());
    let sample = Value::Map(vec![
        ("user".to_owned(), Value::Map(vec![("id".to_owned(), Value::Integer(1001))])),
        ("list".to_owned(), Value::List(vec![Value::Real(1.5), Value::Null, Value::Text("é\"\\".to_owned())])),
    ]);
    let recorded = payloads().into_iter().filter(|payload| is_of(payload.format, format)).map(|payload| payload.bytes);
    let written =
        ENCODINGS.iter().filter(|encoding| is_of(encoding.format, format)).map(|encoding| (encoding.encode)(&sample));
    let mut corpus: Vec<_> = recorded.chain(written).collect();
    let rules = rules(format);
    let (begun, mut runs, mut known) = (Instant::now(), 0_u64, 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..256 {
            let bytes = mutate(&mut random, &corpus);
            for rule in &rules {
                let identity = if format == Format::Hash {
                    rule.extract(Raw::Fields(&[(b"user", &bytes), (&bytes, b"5")]))
                } else {
                    rule.extract(Raw::Value(&bytes))
                };
                assert!(identity.known || identity.user.is_none());
                known += u64::from(identity.known);
                runs += 1;
            }
            if format == Format::Json {
                assert_json_is_read(&bytes);
            }
            // What still is a value leads further than what is none.
            if corpus.len() < 2_000 && random.below(64) == 0 && rules[0].extract(Raw::Value(&bytes)).known {
                corpus.push(bytes);
            }
        }
    }
    println!("{runs} runs, {known} of them of values that were understood");
    assert!(known > 0);
}

fn is_of(format: Format, asked: Format) -> bool {
    matches!(asked, Format::Auto | Format::Hash) || format == asked
}

/// What the JSON of the rest of the house reads, ours reads, too.
fn assert_json_is_read(bytes: &[u8]) {
    let nowhere: Path = "/no such key".parse().expect("a path");
    let rule = Rule::new(Format::Json, Some(&nowhere), Some(&nowhere), Some(&nowhere));
    // A text that is no value in turn is unknown, by intention.
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(serde_json::Value::String(_)) | Err(_) => {}
        Ok(_) => assert!(rule.extract(Raw::Value(bytes)).known, "{}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn auto() {
    fuzz(Format::Auto);
}

#[test]
fn json() {
    fuzz(Format::Json);
}

#[test]
fn message_pack() {
    fuzz(Format::MessagePack);
}

#[test]
fn django() {
    fuzz(Format::Django);
}

#[test]
fn php() {
    fuzz(Format::Php);
}

#[test]
fn ruby() {
    fuzz(Format::Ruby);
}

#[test]
fn hash() {
    fuzz(Format::Hash);
}
