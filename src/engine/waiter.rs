//! A waiter: its place in the wait queue, and the cell in which its outcome arrives.

use super::permits::Permit;
use super::slot::Checkout;
use crate::sync::{AtomicU64, Condvar, Mutex, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Instant;

/// How a wait ends. The thread that takes the waiter off the queue stores the outcome under the pool's
/// lock, so a wait ends exactly once.
pub(crate) enum Outcome<T: Send + 'static, F: Send + 'static> {
    /// A connection that was handed off to the waiter.
    Checkout(Checkout<T>),
    /// A permit to create a connection. Only pools without threads send this outcome.
    Permit(Permit<T, F>),
    /// A failure other than a timeout.
    Fail(F),
}

/// One caller that waits for a connection.
pub(crate) struct Waiter<T: Send + 'static, F: Send + 'static> {
    /// The place in the queue: set at the first enqueue and kept when the waiter queues again. 0: not set.
    number: AtomicU64,
    since: Instant,
    state: Mutex<State<T, F>>,
    wake: Condvar,
}

struct State<T: Send + 'static, F: Send + 'static> {
    outcome: Option<Outcome<T, F>>,
    notified: bool,
}

impl<T: Send + 'static, F: Send + 'static> Waiter<T, F> {
    pub(crate) fn new(since: Instant) -> Arc<Self> {
        Arc::new(Self {
            number: AtomicU64::new(0),
            since,
            state: Mutex::new(State {
                outcome: None,
                notified: false,
            }),
            wake: Condvar::new(),
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.number.load(Relaxed)
    }

    pub(super) fn set_number(&self, number: u64) {
        self.number.store(number, Relaxed);
    }

    /// Since when the caller has waited for a connection.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Stores the outcome. The caller wakes the waiter by [`wake`](Self::wake) after it releases the lock.
    pub(super) fn complete(&self, outcome: Outcome<T, F>) {
        let before = self.state.lock().outcome.replace(outcome);
        debug_assert!(before.is_none(), "bug: a waiter ends twice");
    }

    /// Asks the waiter to search the slots itself.
    pub(super) fn notify(&self) {
        self.state.lock().notified = true;
    }

    pub(super) fn clear_notify(&self) {
        self.state.lock().notified = false;
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn take_outcome(&self) -> Option<Outcome<T, F>> {
        self.state.lock().outcome.take()
    }

    /// Sleeps until an outcome arrives, a notification arrives or the time is `until`.
    ///
    /// Returns None after a notification, and at `until` if no outcome has arrived.
    pub(super) fn sleep(&self, until: Option<Instant>) -> Option<Outcome<T, F>> {
        let mut state = self.state.lock();
        loop {
            if let Some(outcome) = state.outcome.take() {
                return Some(outcome);
            }
            if std::mem::take(&mut state.notified) {
                return None;
            }
            match until {
                None => self.wake.wait(&mut state),
                Some(until) if self.wake.wait_until(&mut state, until).timed_out() => {
                    return state.outcome.take();
                }
                Some(_) => {}
            }
        }
    }
}

impl<T: Send + 'static, F: Send + 'static> std::fmt::Debug for Waiter<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter")
            .field("number", &self.number())
            .finish_non_exhaustive()
    }
}
