//! c
pub mod settings;
