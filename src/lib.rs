//! Sessgate: a session gateway sidecar.
//!
//! Data flows one way: door → gateway → store. Read the modules in this order:
//!
//! 0. [`clock`], [`session`], [`shutdown`]: time, what a session is, and the signal to stop; pure.
//! 1. [`config`], [`metrics`]: what an operator sets and sees; [`http_client`]: requests that go out.
//! 2. [`store`]: the storage tier.
//! 3. [`gateway`]: memory tier, limits, sweep, hooks: the rules.
//! 4. [`doors`]: the wire formats.
//! 5. [`app`], [`logging`], [`cli`]: the only wiring.
//!
//! A module uses only modules on lower floors. ARCHITECTURE.md has the rest.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doors;
pub mod gateway;
pub mod http_client;
pub mod logging;
pub mod metrics;
pub mod session;
pub mod shutdown;
pub mod store;
