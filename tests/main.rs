//! Every integration test, in one binary. Each module is one subject.

mod admin;
mod cli;
mod config;
mod config_watch;
mod disk_full;
mod embedded_store;
mod experiments;
mod gateway;
mod hostile;
mod http_api;
mod http_connections;
mod http_hostile;
mod http_lane;
mod http_openapi;
mod identity;
mod live_limits;
mod metrics;
mod raw;
mod resp;
mod security;
mod situations;
mod storage_size;
mod store_conformance;
mod store_random;
mod support;
mod tidy;
