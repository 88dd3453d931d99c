//! Every integration test, in one binary. Each module is one subject.

mod http_api;
mod http_connections;
mod http_hostile;
mod http_lane;
mod http_openapi;
mod support;
