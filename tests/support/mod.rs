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
pub mod schema;
pub mod seed;
pub mod sessions;
pub mod sidecar;
pub mod stores;
