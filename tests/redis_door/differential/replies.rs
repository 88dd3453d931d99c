//! Replies, as far as they have to be understood to be compared.

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Anything without parts: its bytes, with the line's end.
    Flat(Vec<u8>),
    Integer(i64),
    /// What kind of a list it is, and its parts.
    Parts(u8, Vec<Reply>),
}

/// The reply that bytes begin with, and how many bytes it has; `None`: it is not whole yet.
pub fn read(bytes: &[u8]) -> Option<(Reply, usize)> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let number = || std::str::from_utf8(&bytes[1..line]).unwrap().parse::<i64>().unwrap();
    let mut length = line + 2;
    let kind = bytes[0];
    let reply = match kind {
        b':' => Reply::Integer(number()),
        b'$' | b'=' if number() >= 0 => {
            length += usize::try_from(number()).unwrap() + 2;
            Reply::Flat(bytes.get(..length)?.to_vec())
        }
        b'*' | b'%' | b'>' | b'~' if number() >= 0 => {
            let count = number() * if kind == b'%' { 2 } else { 1 };
            let mut parts = Vec::new();
            for _ in 0..count {
                let (part, of_part) = read(&bytes[length..])?;
                parts.push(part);
                length += of_part;
            }
            Reply::Parts(kind, parts)
        }
        b'+' | b'-' | b'$' | b'*' | b'_' | b'#' => Reply::Flat(bytes[..length].to_vec()),
        other => panic!("no reply begins with {}", other.escape_ascii()),
    };
    Some((reply, length))
}

/// Seconds that a command takes at most, and milliseconds: what is left of a lifetime may differ by so much.
const TOLERANCE: [(i64, i64); 2] = [(1_000_000, 30_000), (1_000, 30)];

/// Whether two replies say the same. Lifetimes, which are hours, are read at slightly different times.
pub fn alike(one: &Reply, other: &Reply) -> bool {
    match (one, other) {
        (Reply::Integer(one), Reply::Integer(other)) => {
            let tolerance = TOLERANCE.iter().find(|(least, _)| one.min(other) >= least).map_or(0, |(_, by)| *by);
            one.abs_diff(*other) <= tolerance.unsigned_abs()
        }
        (Reply::Parts(kind, ones), Reply::Parts(other_kind, others)) => {
            kind == other_kind && ones.len() == others.len() && ones.iter().zip(others).all(|(a, b)| alike(a, b))
        }
        _ => one == other,
    }
}

pub fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Flat(bytes) => bytes.escape_ascii().to_string(),
        Reply::Integer(number) => format!(":{number}"),
        Reply::Parts(kind, parts) => {
            format!("{}[{}]", char::from(*kind), parts.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
    }
}
