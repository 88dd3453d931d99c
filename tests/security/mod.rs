//! The security checks: what an attacker tries, and what must never be seen.
//!
//! Elsewhere: limits of heads, bodies, times and connections in `http_hostile` and `http_connections`; sizes, depths
//! and aliases of the configuration in `config::hostile`, its secrets in `config::secrets`; owner-only files in
//! `embedded_store`; comparisons in constant time in `tidy`.

mod canary;
mod doors;
mod receiver;
mod tokens;
