
//! Fixtures: gateway, client, scrape and server processes.
//! Fixtures: sessions, and the store contract as a plain model.
pub mod exposition;
pub mod model_store;
pub mod sessions;
pub mod stores;
