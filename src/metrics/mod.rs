//! What an operator sees: the catalogue of metrics, and the only code that may name one.

pub mod labels;
