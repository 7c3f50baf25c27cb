//! The counters of the proxy.

/// A snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accepted clients.
    pub accepted: u64,
    /// Clients whose link is not closed yet. Decremented after the client can see its end.
    pub open: usize,
    /// Clients that were closed because the server could not be reached.
    pub unreached: u64,
    /// Links that ended with a reset, from any side.
    pub reset: u64,
    /// Bytes passed on to the server.
    pub upstream: u64,
    /// Bytes passed on to clients.
    pub downstream: u64,
}
