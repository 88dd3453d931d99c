//! Every integration test, in one binary. Each module is one subject.

mod admin;
mod config;
mod config_watch;
mod metrics;
mod support;
