//! The Redis protocol, as Redis 7 speaks it: what a client's bytes ask for, and the bytes of an answer. Pure: no I/O.
//!
//! ```text
//! bytes ──frame::Parser──▶ Arguments ──command::Name::of──▶ Name ──Name::parse──▶ Command      reply::Writer ──▶ bytes
//! ```
//!
//! Every step fails with the very text that Redis answers. The step from [`Arguments`](frame::Arguments) to
//! [`Name`](command::Name) is apart because Redis makes it apart: it judges a name and the number of its arguments
//! when a command comes in, but its arguments only when it runs, which inside of `MULTI` is later.

pub mod command;
pub mod door;
pub mod frame;
pub mod number;
pub mod reply;
pub mod server;
