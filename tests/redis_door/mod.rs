//! The Redis door: what session libraries send, and what they are answered.

mod differential;
mod rules;
mod sessions;
