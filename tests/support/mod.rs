//! Fixtures: gateway, client, scrape and server processes.

pub mod exposition;
pub mod http;
pub mod seed;
pub mod sidecar;
