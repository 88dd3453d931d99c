
//! Fixtures: gateway, client, scrape and server processes.

//! Fixtures: sessions, and the store contract as a plain model.
pub mod client;
pub mod door;
pub mod exposition;
pub mod gateway;
pub mod model_store;
pub mod schema;
pub mod sessions;
pub mod stores;
