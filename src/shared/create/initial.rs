//! The build: opens the initial connections and waits for them.

use crate::clock::real_now;
use crate::config::deadline;
use crate::engine::{Outcome, Waiter};
use crate::error::{BuildError, Cause};
use crate::foreign::{guarded, with_causes};
use crate::shared::checkout::outcome::set_last_cause;
use crate::shared::create::Purpose;
use crate::shared::{Failure, PoolCheckout, PoolWaiter, Shared};
use crate::{ConnectionManager, EvictReason};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

/// The slack of slow creates during the build. See the engine's `Counts::slack`.
///
/// The builder wants an exact number of connections. A create that a later create has overtaken therefore
/// gets more time here before the pool opens another connection in its place.
const SLACK: Duration = Duration::from_millis(500);

/// Threads without work end within this time.
const CLEAN_UP_TIME: Duration = Duration::from_millis(100);

/// The minimum time between two warnings of a build that waits after failures.
const WARN_INTERVAL: Duration = Duration::from_secs(1);

impl<M: ConnectionManager> Shared<M> {
    /// Starts or ends the build phase. During the build nothing else refills to min_idle, and a create that
    /// fails for good fails the build.
    pub(crate) fn set_building(&self, on: bool) {
        self.building.store(on, Release);
    }

    /// Opens max(1, min_idle) connections within get_timeout.
    ///
    /// On failure the pool is closed, and the disposes of the opened connections are under way.
    pub(crate) fn open_initial(self: &Arc<Self>) -> Result<(), BuildError<M::Error>> {
        let opened = self.open_first(self.min_idle.load(Relaxed).max(1));
        let opened = opened.map(|checkouts| {
            for checkout in checkouts {
                self.return_unused(checkout);
            }
        });
        // End the build phase after the connections are idle. Before that the refill would open more.
        self.set_building(false);
        self.wake_collector();
        opened
    }

    /// Puts a waiter back into the wait queue after a create that must be repeated.
    fn rejoin(self: &Arc<Self>, waiter: &Arc<PoolWaiter<M>>) {
        let now = real_now();
        let mut state = self.engine.lock();
        self.engine.enqueue(&mut state, waiter, now);
        let actions = self.engine.settle(&mut state, now);
        drop(state);
        self.run(actions);
    }

    /// Warns that a create has failed and that the build goes on.
    ///
    /// The first failure is logged at once, and later failures about once a second, so that a long
    /// `get_timeout` is not a long silence. The builder sleeps, so the thread that counts the failure calls
    /// this.
    pub(in crate::shared) fn warn_that_build_waits(
        &self,
        now: Instant,
        error: &(dyn Error + 'static),
    ) {
        {
            let mut warned_at = self.build_warned_at.lock();
            if warned_at.is_some_and(|at| now < at + WARN_INTERVAL) {
                return;
            }
            *warned_at = Some(now);
        }
        let failures = self.meter.create_errors.load(Relaxed);
        // The Display of the error is user code and may panic.
        guarded(|| {
            let (pool, error) = (&*self.name, with_causes(error));
            tracing::warn!(target: "conpool", pool, error, failures, "build waits, creates fail");
        });
    }

    fn open_first(
        self: &Arc<Self>,
        target: usize,
    ) -> Result<Vec<PoolCheckout<M>>, BuildError<M::Error>> {
        let since = real_now();
        let mut timeout = self.config.get_timeout;
        if timeout.is_zero() {
            // A `get_timeout` of zero applies to callers. With a build timeout of zero no pool could be
            // built.
            timeout = self.config.create_timeout;
        }
        let deadline = deadline(since, timeout);
        // Queue all waiters before the first wait, so that their creates run concurrently.
        let waiters: Vec<_> = (0..target).map(|_| Waiter::new(since)).collect();
        let usual_slack = {
            let mut state = self.engine.lock();
            let usual_slack = state.slack;
            // A small timeout must leave enough time for the second create.
            state.slack = (timeout / 4).clamp(usual_slack, SLACK);
            for waiter in &waiters {
                self.engine.enqueue(&mut state, waiter, since);
            }
            let actions = self.engine.settle(&mut state, since);
            drop(state);
            self.run(actions);
            usual_slack
        };
        let mut checkouts = Vec::with_capacity(target);
        let mut error = None;
        for waiter in &waiters {
            while error.is_none() {
                let clock = || self.now();
                let run = |actions| self.run(actions);
                error = match self.engine.wait(waiter, deadline, clock, run) {
                    Outcome::Found(checkout) | Outcome::Checkout(checkout) => {
                        checkouts.push(checkout);
                        break;
                    }
                    Outcome::Permit(permit) => match self.run_create(permit, Purpose::Waiter) {
                        Ok(Some(checkout)) => {
                            checkouts.push(checkout);
                            break;
                        }
                        Err(failed) if !failed.transient || self.config.fail_fast => {
                            Some(BuildError::from_get(self.get_error(failed.failure())))
                        }
                        Ok(None) | Err(_) => {
                            self.rejoin(waiter);
                            None
                        }
                    },
                    Outcome::Fail(Failure::TimedOut { hook, after }) => {
                        // Unlike a caller that gets an older failure at once, the builder has waited.
                        let mut timeout = self.timeout(since, Some(real_now()), true);
                        set_last_cause(&mut timeout, Cause::TimedOut { hook, after });
                        Some(BuildError::TimedOut(Box::new(timeout)))
                    }
                    Outcome::Fail(failure) => Some(BuildError::from_get(self.get_error(failure))),
                    Outcome::TimedOut => {
                        let timeout = self.timeout(since, deadline, true);
                        Some(BuildError::TimedOut(Box::new(timeout)))
                    }
                };
            }
        }
        let Some(error) = error else {
            self.engine.lock().slack = usual_slack;
            return Ok(checkouts);
        };
        // Close first, so that a connection that still arrives is disposed.
        self.close();
        for waiter in &waiters {
            if let Some(Outcome::Checkout(checkout)) = self.engine.cancel(waiter) {
                checkouts.push(checkout);
            }
        }
        for checkout in checkouts {
            self.evict(checkout, EvictReason::Closed);
        }
        self.clean_up(deadline);
        Err(error)
    }

    /// Waits for the hooks that a failed build has left: for disposes until the deadline, and for creates
    /// under way only briefly.
    ///
    /// The error is known already, and a create that hangs must not delay the error.
    fn clean_up(&self, deadline: Option<Instant>) {
        let briefly = real_now() + CLEAN_UP_TIME;
        loop {
            let now = real_now();
            let step = now + CLEAN_UP_TIME / 10;
            if self.engine.wait_drained(Some(step)) {
                break;
            }
            let over = match self.engine.lock().disposing {
                0 => briefly <= now,
                _ => deadline.unwrap_or(briefly) <= now,
            };
            if over {
                return;
            }
        }
        if let Some(workers) = self.own_workers() {
            workers.wait_gone(Some(real_now() + CLEAN_UP_TIME));
        }
    }
}
