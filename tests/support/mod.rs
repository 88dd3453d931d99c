//! Fixtures: gateway, client, scrape and server processes; sessions, and the store contract as a plain model.

pub mod client;
pub mod disk;
pub mod door;
pub mod exposition;
pub mod faulty_store;
pub mod gateway;
pub mod http;
pub mod mailbox;
pub mod model_store;
pub mod once;
pub mod proxy;
pub mod redis_door;
pub mod redis_server;
pub mod schema;
pub mod seed;
pub mod sessions;
pub mod sidecar;
pub mod stores;

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
