//! Every integration test, in one binary. Each module is one subject.

mod config;
mod config_watch;
mod support;
