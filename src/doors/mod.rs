//! The ways in: each turns a wire format into calls of the gateway, and answers back.
//!
//! [`serve`] is what they share: listeners, event loops, connection limits, timers and draining. Only a door knows
//! its wire format; doors never import each other, nor a concrete store.

pub mod admin;
pub mod http;
pub mod resp;
pub mod serve;
