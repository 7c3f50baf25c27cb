//! The request of one caller for a connection, and its timeout.

use crate::clock::real_now;
use crate::config::deadline;
use crate::engine::Waiter;
use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a caller waits for a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GetTimeout {
    For(Duration),
    Until(Instant),
    /// The start of a wait that began elsewhere, and its deadline.
    Since(Instant, Option<Instant>),
}

impl GetTimeout {
    /// Returns the start and the deadline of the wait. `now` is the start, unless the wait began elsewhere.
    pub(crate) fn from(self, now: Instant) -> (Instant, Option<Instant>) {
        match self {
            Self::For(timeout) => (now, deadline(now, timeout)),
            Self::Until(deadline) => (now, Some(deadline)),
            Self::Since(since, deadline) => (since, deadline),
        }
    }
}

/// The request of one caller for a connection.
pub(in crate::shared) struct Request {
    pub(in crate::shared) since: Instant,
    pub(in crate::shared) deadline: Option<Instant>,
    /// True if the caller waits for nothing at all, not even for a check.
    pub(in crate::shared) non_blocking: bool,
    /// True for a task, which is polled and must never block.
    pub(in crate::shared) is_task: bool,
    /// True for `try_get`, which is not counted among the gets.
    pub(in crate::shared) is_try_get: bool,
    /// True once the caller has joined the wait queue.
    pub(in crate::shared) has_waited: Cell<bool>,
    pub(in crate::shared) at: &'static Location<'static>,
}

impl Request {
    /// Returns a waiter for this request.
    pub(in crate::shared) fn waiter<T: Send + 'static, F: Send + 'static>(
        &self,
    ) -> Arc<Waiter<T, F>> {
        match self.is_task {
            true => Waiter::of_task(self.since, self.deadline),
            false => Waiter::new(self.since),
        }
    }

    pub(in crate::shared) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= real_now())
    }
}
