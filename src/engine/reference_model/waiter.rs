//! A waiter of the reference model.

use std::time::Instant;

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Thread,
    /// The collector ends the wait at the deadline.
    Task(Option<Instant>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) caller: usize,
    pub(super) number: u64,
    pub(super) since: Instant,
    pub(super) kind: Kind,
}

impl Waiter {
    pub(super) fn is_task(&self) -> bool {
        self.kind != Kind::Thread
    }
}
