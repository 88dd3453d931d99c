//! Fixtures: gateway, client, scrape and server processes.

pub mod client;
pub mod door;
pub mod gateway;
pub mod schema;
