//! The ways in. Only a door knows its wire format; doors never import each other, nor a concrete store.

pub mod admin;
