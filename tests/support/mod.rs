//! Fixtures: sessions, stores, gateway, doors, clients, and the program as a process.

pub mod client;
pub mod door;
pub mod exposition;
pub mod gateway;
pub mod http;
pub mod mailbox;
pub mod model_store;
pub mod schema;
pub mod sessions;
pub mod sidecar;
pub mod stores;
