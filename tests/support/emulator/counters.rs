//! What the emulator counts.

/// A snapshot; kept across a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients that were let in.
    pub accepted: u64,
    /// Clients that are in now. Falls before the client can see its end.
    pub open: usize,
    /// The highest value of `open`.
    pub peak_open: usize,
    /// Clients that were turned away because there was no room.
    pub refused: u64,
    /// Requests understood, answered or not.
    pub requests: u64,
    /// Clients closed because they were silent.
    pub idle_closed: u64,
    /// Clients dropped instead of answered.
    pub dropped: u64,
    /// Telegrams sent without being asked, each counted once however many clients got it.
    pub pushed: u64,
}
