//! Connections that exist only in memory, with a remote control for their faults.
//!
//! Two uses: trying the pool without a server, and testing code that uses a pool against a backend
//! that fails, hangs, panics or dies exactly when the test says so.

mod backend;
mod connection;
mod counters;
mod error;
mod hook;
mod manager;
#[cfg(test)]
mod tests;

pub use self::{
    connection::MemoryConnection, counters::MemoryCounters, error::MemoryError, hook::Hook,
    manager::MemoryManager,
};
