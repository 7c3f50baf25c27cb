//! The parts of the stress mix: a backend that counts and fails, random settings, and the checks at any
//! instant and at the end.

pub(crate) mod audit;
pub(crate) mod backend;
pub(crate) mod settings;
pub(crate) mod user;
