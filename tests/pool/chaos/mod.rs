//! What the stress mix is made of: a backend that counts and fails, settings thrown by dice, and the
//! checks that must hold at any instant and at the end.

pub(crate) mod audit;
pub(crate) mod backend;
pub(crate) mod settings;
pub(crate) mod user;
