//! Fixtures: sessions, and the store contract as a plain model.

pub mod model_store;
pub mod sessions;
pub mod stores;
