//! Patterns: redis-server finds the same keys.

use std::collections::BTreeSet;

use sessgate::session::glob::matches;

use super::{read_whole, request};
use crate::support::redis_server::RedisServer;
use crate::support::seed::Random;

const END: &[u8] = b"$3\r\nEND\r\n";

fn text(random: &mut Random, alphabet: &[u8], most: u64) -> Vec<u8> {
    (0..random.below(most)).map(|_| *random.pick(alphabet)).collect()
}

#[test]
fn redis_server_finds_the_same_keys() {
    let server = RedisServer::start();
    let mut random = Random::from_env();
    eprintln!("SESSGATE_SEED={}", random.seed());
    let keys: BTreeSet<Vec<u8>> = (0..300).map(|_| text(&mut random, b"aaabbc-]^[\\*?\x7f\x80\xff\0", 7)).collect();
    let stored: Vec<u8> = keys.iter().flat_map(|key| request(&[&b"SET"[..], key, b"x"])).collect();
    let patterns: Vec<Vec<u8>> =
        (0..4000).map(|_| text(&mut random, b"aaabbcc***??[[]]]^^--\\\\\x7f\x80\xff\0", 9)).collect();

    let mut connection = server.connect();
    connection.exchange(&[&*stored, &request(&["ECHO", "END"])].concat(), |answer| answer.ends_with(END));
    for pattern in &patterns {
        let asked = [request(&[&b"KEYS"[..], pattern]), request(&["ECHO", "END"])].concat();
        let answer = connection.exchange(&asked, |answer| answer.ends_with(END));
        // An array of strings is the same in both directions.
        let found = read_whole(&answer[..answer.len() - END.len()]).requests.pop().unwrap_or_default();
        let expected = keys.iter().filter(|key| pattern == b"*" || matches(pattern, key)).cloned();
        assert_eq!(BTreeSet::from_iter(found), expected.collect(), "{}", pattern.escape_ascii());
    }
}
