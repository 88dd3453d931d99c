//! The Redis door: what session libraries send, and what they are answered.

mod differential;
mod hostile;
mod pipelines;
mod redis_crate;
mod rules;
mod sessions;
