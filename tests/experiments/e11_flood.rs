//! E11: a flood through the Redis door: a million addresses, one user who hoards, the largest values. Memory keeps its cap,
//! and nobody else's session ends.

use std::net::Ipv4Addr;
use std::thread;

use super::door::{Client, address};
use super::sized;
use crate::support::seed::Random;
use crate::support::sidecar::Place;

/// Bytes in memory that sessions may take.
const MEMORY_BYTES: u64 = 64 << 20;
/// Sessions that may be stored.
const STORED: u64 = 5_000;
/// People who were there before.
const PEOPLE: usize = 200;
/// Commands that a client has under way.
const PIPELINE: usize = 64;
/// What a process may take beside its sessions: the caches of the store (64 MiB at most), the table of addresses (its bound is
/// a million), buffers and code.
const BESIDE: u64 = 160 << 20;

fn config() -> String {
    format!(
        "listen: {{ api: 127.0.0.1:0, admin: 127.0.0.1:0, redis: 127.0.0.1:0 }}\n\
         limits: {{ memory_bytes: {MEMORY_BYTES}, stored_sessions: {STORED}, per_user: {{ sessions: 10 }} }}\n\
         log: {{ level: info }}\n"
    )
}

fn person(n: usize) -> (String, String) {
    (format!("sess:person-{n}"), format!(r#"{{"user":{{"id":"person-{n}"}}}}"#))
}

#[test]
fn a_flood_ends_nobody_elses_session_and_memory_keeps_its_cap() {
    let mut random = Random::from_env();
    let sidecar = Place::new(&config()).start();
    let door = address(&sidecar);
    let mut client = Client::connect(door);
    for n in 0..PEOPLE {
        let (key, value) = person(n);
        assert_eq!(client.call(&[b"SET", key.as_bytes(), value.as_bytes(), b"EX", b"86400"]), b"+OK\r\n");
    }
    let each: usize = sized(4_000, 250_000);
    let filler = "x".repeat(60_000);
    let seeds: Vec<_> = (0..4).map(|_| random.fork()).collect();
    let refused: usize = thread::scope(|scope| {
        let floods: Vec<_> = seeds
            .into_iter()
            .enumerate()
            .map(|(flood, mut random)| {
                let filler = &filler;
                scope.spawn(move || {
                    let mut client = Client::connect(door);
                    let (mut sent, mut refused) = (0, 0);
                    while sent < each {
                        let sessions: Vec<_> = (sent..(sent + PIPELINE).min(each))
                            .map(|n| {
                                // Each address once, each attacker in another way: anonymous, one hoarder, large, mixed.
                                let ip = Ipv4Addr::from(0x0a00_0000 + u32::try_from(flood * each + n).unwrap());
                                let kind = if flood == 3 { random.below(3) } else { flood as u64 };
                                let value = match kind {
                                    0 => format!(r#"{{"ip":"{ip}"}}"#),
                                    1 => format!(r#"{{"ip":"{ip}","user":{{"id":"hoarder"}}}}"#),
                                    // One in sixteen, or the disk would be what is measured.
                                    _ if n % 16 == 0 => format!(r#"{{"ip":"{ip}","blob":"{filler}"}}"#),
                                    _ => format!(r#"{{"ip":"{ip}","blob":"small"}}"#),
                                };
                                (format!("sess:flood-{flood}-{n}"), value)
                            })
                            .collect();
                        let commands: Vec<Vec<&[u8]>> = sessions
                            .iter()
                            .map(|(key, value)| vec![&b"SETEX"[..], key.as_bytes(), b"3600", value.as_bytes()])
                            .collect();
                        for answer in client.ask(&commands) {
                            assert!(
                                answer == b"+OK\r\n" || answer.starts_with(b"-"),
                                "{}",
                                String::from_utf8_lossy(&answer)
                            );
                            refused += usize::from(answer.starts_with(b"-"));
                        }
                        sent += commands.len();
                    }
                    refused
                })
            })
            .collect();
        floods.into_iter().map(|flood| flood.join().expect("it ends")).sum()
    });
    // The first connection may have been idle for too long by now.
    let mut client = Client::connect(door);
    let ended = (0..PEOPLE).filter(|&n| client.call(&[b"GET", person(n).0.as_bytes()]) == b"$-1\r\n").count();
    let resident = sidecar.count("process_resident_memory_bytes");
    let stored = sidecar.count("sessgate_sessions{tier=\"storage\",scope=\"local\"}");
    let hoarded = sidecar.client().get("/v1/users/hoarder/sessions").expect(200).json();
    let hoarded = hoarded["sessions"].as_array().expect("a list").len();
    println!(
        "E11 seed={} sent={} refused={refused} people_ended={ended} stored={stored} hoarded={hoarded} resident={} MiB",
        random.seed(),
        each * 4,
        resident >> 20
    );
    assert_eq!(ended, 0, "sessions of others ended");
    assert!(stored <= STORED, "{stored} are stored");
    assert!(hoarded <= 10, "one user has {hoarded}");
    assert!(resident <= BESIDE + MEMORY_BYTES * 11 / 10, "{} MiB", resident >> 20);
    drop(client);
    sidecar.stop();
}
