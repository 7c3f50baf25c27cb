/// The counters of a [`MemoryManager`](crate::MemoryManager) and its clones, as one consistent snapshot.
///
/// In every snapshot `open = created − disposed − dropped_undisposed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryCounters {
    /// Connections that `create` returned.
    pub created: u64,
    /// Calls of `create` that returned an error. Panics are not counted.
    pub create_errors: u64,
    /// Connections that were passed to `dispose` and no longer exist, including those whose `dispose`
    /// panicked.
    pub disposed: u64,
    /// Connections that were dropped without `dispose`. In a correct pool these are only detached
    /// connections.
    pub dropped_undisposed: u64,
    /// Calls of `check_aliveness`, counted at their start.
    pub checked: u64,
    /// Calls of `check_aliveness` that returned an error.
    pub check_errors: u64,
    /// Calls of `on_checkout`, counted at their start.
    pub checkouts: u64,
    /// Calls of `on_checkin`, counted at their start.
    pub checkins: u64,
    /// Calls of `reset`, counted at their start.
    pub resets: u64,
    /// Commands that a live connection answered, including error answers.
    pub executed: u64,
    /// Connections whose value exists now.
    pub open: usize,
    /// The highest value of `open` so far.
    pub peak_open: usize,
    /// Hooks running now, on all threads.
    pub in_hook: usize,
}
