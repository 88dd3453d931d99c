//! The two situations that Sessgate came from. Every sentence of theirs is a test here.

mod a;
mod b;
