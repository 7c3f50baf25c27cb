/// What a [`MemoryManager`](crate::MemoryManager) and its clones have seen, as one consistent
/// snapshot.
///
/// In every snapshot `open = created − disposed − dropped_undisposed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryCounters {
    /// Connections that `create` returned.
    pub created: u64,
    /// Calls of `create` that returned an error; those that panicked are not among them.
    pub create_errors: u64,
    /// Connections that were passed to `dispose` and are gone, also when that call panicked.
    pub disposed: u64,
    /// Connections that are gone without `dispose`: detached ones, and nothing else as long as the
    /// pool keeps its word.
    pub dropped_undisposed: u64,
    /// Calls of `check_aliveness`, counted when they begin.
    pub checked: u64,
    /// Calls of `check_aliveness` that returned an error.
    pub check_errors: u64,
    /// Calls of `on_checkout`, counted when they begin.
    pub checkouts: u64,
    /// Calls of `on_checkin`, counted when they begin.
    pub checkins: u64,
    /// Commands that a living connection answered, error answers included.
    pub executed: u64,
    /// Connections whose value exists now, wherever it is.
    pub open: usize,
    /// The highest value of `open` so far.
    pub peak_open: usize,
    /// Hooks that are running now, on all threads.
    pub in_hook: usize,
}
