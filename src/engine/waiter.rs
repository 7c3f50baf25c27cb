//! A waiter: its place in the wait queue, and the cell in which its outcome arrives.

use super::permits::Permit;
use super::slot::Checkout;
use crate::foreign::{Caught, guarded};
use crate::sync::{AtomicU64, Condvar, Mutex, Ordering::Relaxed};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// How a wait ends.
///
/// The thread that takes the waiter off the queue stores the outcome under the pool's lock, so a wait ends exactly
/// once. A waiting thread returns `Found` and `TimedOut` itself.
pub(crate) enum Outcome<T: Send + 'static, F: Send + 'static> {
    /// A connection that was handed off to the waiter.
    Checkout(Checkout<T>),
    /// An entry that was idle in its slot.
    Found(Checkout<T>),
    /// A permit to create a connection. Only pools without threads send this outcome.
    Permit(Permit<T, F>),
    /// A failure other than a timeout.
    Fail(F),
    /// The deadline has passed.
    TimedOut,
}

/// One caller that waits for a connection: a thread that sleeps, or a task that was polled.
///
/// A notified thread searches the slots itself. A task may be polled late or never again, so the engine searches on
/// behalf of a task, and a task gets nothing but outcomes.
pub(crate) struct Waiter<T: Send + 'static, F: Send + 'static> {
    /// The place in the queue: set at the first enqueue and kept when the waiter queues again. 0: not set.
    number: AtomicU64,
    since: Instant,
    kind: Kind,
    state: Mutex<State<T, F>>,
}

enum Kind {
    Thread(Condvar),
    Task { deadline: Option<Instant> },
}

struct State<T: Send + 'static, F: Send + 'static> {
    outcome: Option<Outcome<T, F>>,
    notified: bool,
    /// How to wake the task. Clone, Drop and `wake` of a waker are code of its executor, which may panic or call
    /// the pool, so they run outside of every lock.
    waker: Option<Caught<Waker>>,
}

impl<T: Send + 'static, F: Send + 'static> Waiter<T, F> {
    /// Creates the waiter of a thread.
    pub(crate) fn new(since: Instant) -> Arc<Self> {
        Self::of(since, Kind::Thread(Condvar::new()))
    }

    /// Creates the waiter of a task. The collector ends its wait at the deadline.
    pub(crate) fn of_task(since: Instant, deadline: Option<Instant>) -> Arc<Self> {
        Self::of(since, Kind::Task { deadline })
    }

    fn of(since: Instant, kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            number: AtomicU64::new(0),
            since,
            kind,
            state: Mutex::new(State {
                outcome: None,
                notified: false,
                waker: None,
            }),
        })
    }

    pub(super) fn is_task(&self) -> bool {
        matches!(self.kind, Kind::Task { .. })
    }

    /// Returns the deadline that the collector must watch.
    pub(super) fn task_deadline(&self) -> Option<Instant> {
        match self.kind {
            Kind::Thread(_) => None,
            Kind::Task { deadline } => deadline,
        }
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

    /// Asks the thread to search the slots itself.
    pub(super) fn notify(&self) {
        debug_assert!(!self.is_task(), "bug: a task searches nothing itself");
        self.state.lock().notified = true;
    }

    pub(super) fn clear_notify(&self) {
        self.state.lock().notified = false;
    }

    /// Wakes the thread or the task. The caller must hold no lock.
    pub(super) fn wake(&self) {
        match &self.kind {
            Kind::Thread(condvar) => {
                condvar.notify_one();
            }
            Kind::Task { .. } => {
                let waker = self.state.lock().waker.take();
                if let Some(waker) = waker {
                    guarded(|| waker.into_inner().wake());
                }
            }
        }
    }

    pub(super) fn take_outcome(&self) -> Option<Outcome<T, F>> {
        self.state.lock().outcome.take()
    }

    /// Returns the outcome of a task, or keeps the waker for it.
    pub(super) fn poll_outcome(&self, waker: &Waker) -> Option<Outcome<T, F>> {
        {
            let mut state = self.state.lock();
            let outcome = state.outcome.take();
            let is_same = |own: &Caught<Waker>| own.will_wake(waker);
            if outcome.is_some() || state.waker.as_ref().is_some_and(is_same) {
                return outcome;
            }
        }
        let waker = Caught::new(waker.clone());
        let mut state = self.state.lock();
        let before = state.waker.replace(waker);
        let outcome = state.outcome.take();
        drop(state);
        drop(before);
        outcome
    }

    /// Sleeps until an outcome arrives, a notification arrives or the time is `until`.
    ///
    /// Returns None after a notification, and at `until` if no outcome has arrived.
    pub(super) fn sleep(&self, until: Option<Instant>) -> Option<Outcome<T, F>> {
        let Kind::Thread(condvar) = &self.kind else {
            unreachable!("bug: a task sleeps");
        };
        let mut state = self.state.lock();
        loop {
            if let Some(outcome) = state.outcome.take() {
                return Some(outcome);
            }
            if std::mem::take(&mut state.notified) {
                return None;
            }
            match until {
                None => condvar.wait(&mut state),
                Some(until) if condvar.wait_until(&mut state, until).timed_out() => {
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
