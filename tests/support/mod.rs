//! Fixtures: gateway, client, scrape and server processes.

pub mod exposition;
