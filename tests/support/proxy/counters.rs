//! What the proxy counts.

/// A snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients that were let in.
    pub accepted: u64,
    /// Clients whose link is not closed yet. Falls after the client can see its end.
    pub open: usize,
    /// Clients that were closed because the server behind could not be reached.
    pub unreached: u64,
    /// Links that ended with a reset, whoever began it.
    pub reset: u64,
    /// Bytes passed on to the server.
    pub upstream: u64,
    /// Bytes passed on to clients.
    pub downstream: u64,
}
