//! Every integration test, in one binary. Each module is one subject.

mod metrics;
mod support;
