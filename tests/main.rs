//! Every integration test, in one binary. Each module is one subject.

mod admin;
mod config;
mod config_watch;
mod disk_full;
mod embedded_store;
mod metrics;
mod storage_size;
mod store_conformance;
mod store_random;
mod support;
