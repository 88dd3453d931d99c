//! The ways in: each turns a wire format into calls of the gateway, and answers back.
//!
//! [`serve`] is what they share: listeners, event loops, connection limits, timers and draining. Doors never use
//! each other.

pub mod http;
pub mod serve;
