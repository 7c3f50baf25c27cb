//! The state that the engine's lock protects.

use super::counts::Counts;
use super::idle_order::IdleOrder;
use super::shared_limit::Followup;
use super::wait_queue::WaitQueue;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

/// The state that the lock protects.
pub(crate) struct State<T: Send + 'static, F: Send + 'static> {
    pub(crate) counts: Counts,
    pub(crate) queue: WaitQueue<T, F>,
    /// The order in which entries became idle, in a pool that checks the oldest out first.
    pub(super) idle_order: Option<IdleOrder>,
    /// Members of the shared limit that must act because this engine freed a slot.
    pub(super) followups: Vec<Followup>,
}

impl<T: Send + 'static, F: Send + 'static> Deref for State<T, F> {
    type Target = Counts;
    fn deref(&self) -> &Counts {
        &self.counts
    }
}

impl<T: Send + 'static, F: Send + 'static> DerefMut for State<T, F> {
    fn deref_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }
}

impl<T: Send + 'static, F: Send + 'static> State<T, F> {
    /// The number of waiters for which no create and no check is under way.
    pub(crate) fn waiters_without_job(&self) -> usize {
        self.queue.len().saturating_sub(self.jobs_with_waiter())
    }

    /// Returns when the pause after a failed create ends. The pause is shorter while the queue has waiters.
    pub(crate) fn backoff_until(&self) -> Option<Instant> {
        match self.queue.is_empty() {
            true => self.paused_until,
            false => self.paused_for_waiters_until,
        }
    }

    /// Whether creates are paused after a failed create.
    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        self.backoff_until().is_some_and(|until| until > now)
    }

    /// Whether a create may start now.
    pub(crate) fn may_create(&self, now: Instant) -> bool {
        self.has_room()
            && !self.closed
            && !self.suspended
            && self.creating < self.max_creating
            && !self.is_paused(now)
    }

    /// Whether the backend is down as far as the pool knows, and the next create must wait for the end of
    /// the pause or for a create that is under way.
    pub(crate) fn is_in_outage(&self, now: Instant) -> bool {
        let must_wait = self.is_paused(now) || self.creating > 0;
        self.failing && self.open == 0 && !self.closed && must_wait
    }

    /// Whether no connection is open or under way and the wait queue is empty.
    pub(crate) fn is_empty_and_unused(&self) -> bool {
        self.is_drained() && self.queue.is_empty()
    }
}
