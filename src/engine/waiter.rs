//! A waiter's ticket: its place in the queue, and the letter box in which its outcome arrives.

use super::permits::Permit;
use super::slot::Checkout;
use crate::sync::{AtomicU64, Condvar, Mutex, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Instant;

/// What a waiter finds in its letter box. Posted under the pool's lock by whoever takes the ticket
/// off the queue, so a ticket ends exactly once.
pub(crate) enum Outcome<T: Send + 'static, F: Send + 'static> {
    /// A connection, handed over.
    Checkout(Checkout<T>),
    /// Leave to create one (only in pools without threads).
    Permit(Permit<T, F>),
    /// The end, for a reason that is no timeout.
    Fail(F),
}

pub(crate) struct Waiter<T: Send + 'static, F: Send + 'static> {
    /// The place in line: given at the first enqueue and kept when a waiter has to queue again.
    number: AtomicU64,
    since: Instant,
    state: Mutex<State<T, F>>,
    wake: Condvar,
}

struct State<T: Send + 'static, F: Send + 'static> {
    outcome: Option<Outcome<T, F>>,
    poked: bool,
}

impl<T: Send + 'static, F: Send + 'static> Waiter<T, F> {
    pub(crate) fn new(since: Instant) -> Arc<Self> {
        Arc::new(Self {
            number: AtomicU64::new(0),
            since,
            state: Mutex::new(State {
                outcome: None,
                poked: false,
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

    /// Since when its caller wants a connection.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Leaves the outcome. The waiter is woken afterwards, by [`wake`](Self::wake), outside the lock.
    pub(super) fn complete(&self, mail: Outcome<T, F>) {
        let before = self.state.lock().outcome.replace(mail);
        debug_assert!(before.is_none(), "bug: a waiter ends twice");
    }

    /// Asks the waiter to look for itself.
    pub(super) fn notify(&self) {
        self.state.lock().poked = true;
    }

    pub(super) fn clear_notify(&self) {
        self.state.lock().poked = false;
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn take_outcome(&self) -> Option<Outcome<T, F>> {
        self.state.lock().outcome.take()
    }

    /// Sleeps until there is mail, a poke, or it is `until`.
    pub(super) fn sleep(&self, until: Option<Instant>) -> Option<Outcome<T, F>> {
        let mut state = self.state.lock();
        loop {
            if let Some(mail) = state.outcome.take() {
                return Some(mail);
            }
            if std::mem::take(&mut state.poked) {
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
        f.debug_struct("Ticket")
            .field("number", &self.number())
            .finish_non_exhaustive()
    }
}
