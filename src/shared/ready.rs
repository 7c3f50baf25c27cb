//! Readiness: waits until a number of connections is open, and opens those that are missing.

use super::create::{Failed, Purpose};
use super::{Failure, Shared};
use crate::ConfigError;
use crate::ConnectionManager;
use crate::clock::real_now;
use crate::config::deadline;
use crate::engine::CreateReason;
use crate::error::{GetError, ReadyError};
use crate::sync::outer::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What callers of `wait_ready` wait for.
#[derive(Default)]
pub(super) struct Ready {
    state: Mutex<Changes>,
    changed: Condvar,
}

#[derive(Default)]
struct Changes {
    waiting: usize,
    /// Counts the events that may make the pool ready, or that end the wait.
    events: u64,
    /// Counts the creates that failed permanently.
    permanent_failures: u64,
}

impl Ready {
    /// Wakes the callers of `wait_ready`: a create has ended, a slot is free, or the pool was closed or resumed.
    pub(super) fn note(&self, failed_permanently: bool) {
        let mut state = self.state.lock();
        state.events += 1;
        state.permanent_failures += u64::from(failed_permanently);
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.events, state.permanent_failures)
    }

    /// Sleeps until there are other than `seen` events, or until the deadline.
    fn sleep(&self, seen: u64, until: Option<Instant>) {
        let mut state = self.state.lock();
        state.waiting += 1;
        while state.events == seen {
            match until {
                None => self.changed.wait(&mut state),
                Some(until) => {
                    if self.changed.wait_until(&mut state, until).timed_out() {
                        break;
                    }
                }
            }
        }
        state.waiting -= 1;
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Waits until `n` connections are open, and opens those that are missing.
    pub(crate) fn wait_ready(
        self: &Arc<Self>,
        n: usize,
        timeout: Duration,
    ) -> Result<(), ReadyError<M::Error>> {
        let since = real_now();
        self.wait_ready_until(n, since, deadline(since, timeout))
    }

    /// Waits as [`wait_ready`](Self::wait_ready) does, for a caller that waits since `since`.
    pub(crate) fn wait_ready_until(
        self: &Arc<Self>,
        n: usize,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Result<(), ReadyError<M::Error>> {
        let (_, failures_before) = self.ready.counts();
        loop {
            // Read the count before the state: an event after this line ends the sleep below.
            let (events, failures) = self.ready.counts();
            let now = real_now();
            let mut permits = Vec::new();
            let pause = {
                let mut state = self.engine.lock();
                if n > state.max_size {
                    let rule = format!("must be at most max_size ({})", state.max_size);
                    return Err(ConfigError::new("n", n, rule).into());
                }
                if state.closed {
                    drop(state);
                    return Err(self.get_error(Failure::Closed).into());
                }
                if state.open >= n {
                    return Ok(());
                }
                if let Some(most) = state.max_idle.filter(|most| n > *most) {
                    // A connection beyond max_idle is evicted as soon as it is open.
                    let rule = format!("must be at most max_idle ({most})");
                    return Err(ConfigError::new("n", n, rule).into());
                }
                if failures > failures_before && state.open == 0 {
                    drop(state);
                    if let Some(error) = self.permanent_error() {
                        return Err(error.into());
                    }
                    state = self.engine.lock();
                }
                while state.size() < n && state.may_create(now) {
                    let reason = CreateReason::Spare;
                    match self.engine.reserve_create(&mut state, reason, now) {
                        Some(permit) => permits.push(permit),
                        None => break,
                    }
                }
                state.backoff_until().filter(|until| *until > now)
            };
            let started = !permits.is_empty();
            for permit in permits {
                self.start_create(permit, Purpose::Ready);
            }
            if started && self.executor.is_inline() {
                // The creates have ended on this thread.
                continue;
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                // In a keyed pool this caller may have been offered a slot that another pool can use.
                self.pass_on_spare();
                let timeout = self.timeout(since, deadline, true);
                return Err(GetError::TimedOut(Box::new(timeout)).into());
            }
            // The collector ends a pause, and it may do so a little later than this thread wakes.
            let until = [deadline, pause].into_iter().flatten().min();
            self.ready.sleep(events, until);
        }
    }

    /// Returns the failure of the last create.
    fn permanent_error(&self) -> Option<GetError<M::Error>> {
        let cause = self.last_create_failure.lock().clone()?;
        let failed = Failed {
            cause,
            transient: false,
        };
        Some(self.get_error(failed.failure()))
    }
}
