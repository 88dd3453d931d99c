//! Every integration test, in one binary. Each module is one subject.

mod admin;
mod metrics;
mod support;
