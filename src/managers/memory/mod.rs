//! Connections that exist only in memory, with scripted faults.
//!
//! Use the manager to try the pool without a server, or to test code that uses a pool against a backend that
//! fails, hangs, panics or dies at a chosen moment.

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
