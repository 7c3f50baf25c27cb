//! Shared by tests, examples and benches. Not part of the crate's API.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "every target that includes this uses another part of it, on threads and clocks of its own"
)]

pub mod client;
pub mod emulator;
pub mod proxy;
pub mod sockets;
pub mod telegram;
