//! The Redis door: what session libraries send, and what they are answered.

mod differential;
mod hostile;
mod pipelines;
mod rules;
mod sessions;
