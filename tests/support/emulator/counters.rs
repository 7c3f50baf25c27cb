//! The counters of the emulator.

/// A snapshot; a restart keeps the counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Accepted clients.
    pub accepted: u64,
    /// Connected clients. Decremented before the client can see its end.
    pub open: usize,
    /// The highest value of `open`.
    pub peak_open: usize,
    /// Clients that were refused by the limit.
    pub refused: u64,
    /// Requests understood, answered or not.
    pub requests: u64,
    /// Clients closed for their silence.
    pub idle_closed: u64,
    /// Clients dropped instead of answered.
    pub dropped: u64,
    /// Unsolicited telegrams, each counted once for all clients.
    pub pushed: u64,
}
