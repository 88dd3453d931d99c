//! Every integration test, in one binary. Each module is one subject.

mod admin;
mod config;
mod config_watch;
mod experiments;
mod metrics;
mod support;
