//! Building: opens the first connections and waits for them.

use crate::shared::create::Purpose;
use crate::shared::checkout::outcome::set_last_cause;
use crate::shared::{Failure, PoolCheckout, PoolWaiter, Shared};
use crate::clock::real_now;
use crate::config::is_unlimited;
use crate::engine::{Outcome, WaitResult, Waiter};
use crate::error::{BuildError, Cause};
use crate::foreign::{guarded, with_causes};
use crate::{ConnectionManager, EvictReason};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

/// Nobody waits but the builder, who has asked for so many connections and for no more: a create that
/// another one has overtaken gets longer here before one is opened in its place.
const SLACK: Duration = Duration::from_millis(500);

/// Threads that have nothing left to do end within this.
const CLEAN_UP_TIME: Duration = Duration::from_millis(100);

/// A build that waits after failures warns at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(1);

impl<M: ConnectionManager> Shared<M> {
    /// While this is on, nobody else looks after min_idle, and a create that fails for good fails
    /// the build.
    pub(crate) fn set_building(&self, on: bool) {
        self.building.store(on, Release);
    }

    /// Opens max(1, min_idle) connections within get_timeout. On failure the pool is closed and what
    /// was opened is on its way out.
    pub(crate) fn open_initial(self: &Arc<Self>) -> Result<(), BuildError<M::Error>> {
        let primed = self.open_first(self.min_idle.load(Relaxed).max(1));
        let primed = primed.map(|checkouts| {
            for checkout in checkouts {
                self.put_back(checkout);
            }
        });
        // Only now: until they are idle, the refill would find them missing.
        self.set_building(false);
        self.wake_collector();
        primed
    }

    /// Back in line after a create that has to be repeated.
    fn rejoin(self: &Arc<Self>, waiter: &Arc<PoolWaiter<M>>) {
        let now = real_now();
        let mut state = self.engine.lock();
        self.engine.enqueue(&mut state, waiter, now);
        let actions = self.engine.settle(&mut state, now);
        drop(state);
        self.run(actions);
    }

    /// A create has failed, and the build goes on. Said at once and then about once a second, so that a
    /// long `get_timeout` is not a long silence. Called where the failure is counted: the builder sleeps.
    pub(in crate::shared) fn warn_that_build_waits(&self, now: Instant, error: &(dyn Error + 'static)) {
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
        let mut budget = self.config.get_timeout;
        if budget.is_zero() {
            // "Never wait" is said of callers. Taken literally here, no such pool could ever be built.
            budget = self.config.create_timeout;
        }
        let deadline = since.checked_add(budget).filter(|_| !is_unlimited(budget));
        // Like so many callers, all queued before the first wait: their creates run side by side.
        let waiters: Vec<_> = (0..target).map(|_| Waiter::new(since)).collect();
        let usual = {
            let mut state = self.engine.lock();
            let usual = state.slack;
            // Of a small budget enough must be left for the other one.
            state.slack = (budget / 4).clamp(usual, SLACK);
            for waiter in &waiters {
                self.engine.enqueue(&mut state, waiter, since);
            }
            let actions = self.engine.settle(&mut state, since);
            drop(state);
            self.run(actions);
            usual
        };
        let mut checkouts = Vec::with_capacity(target);
        let mut error = None;
        for waiter in &waiters {
            while error.is_none() {
                let moment = || self.now();
                let run = |actions| self.run(actions);
                error = match self.engine.wait(waiter, deadline, moment, run) {
                    WaitResult::Found(checkout)
                    | WaitResult::Outcome(Outcome::Checkout(checkout)) => {
                        checkouts.push(checkout);
                        break;
                    }
                    WaitResult::Outcome(Outcome::Permit(permit)) => {
                        match self.run_create(permit, Purpose::Waiter) {
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
                        }
                    }
                    WaitResult::Outcome(Outcome::Fail(Failure::TimedOut { hook, after })) => {
                        // The builder has waited, where a caller may be told of an older failure.
                        let mut timeout = self.timeout(since, Some(real_now()), true);
                        set_last_cause(&mut timeout, Cause::TimedOut { hook, after });
                        Some(BuildError::TimedOut(Box::new(timeout)))
                    }
                    WaitResult::Outcome(Outcome::Fail(failure)) => {
                        Some(BuildError::from_get(self.get_error(failure)))
                    }
                    WaitResult::TimedOut => {
                        let timeout = self.timeout(since, deadline, true);
                        Some(BuildError::TimedOut(Box::new(timeout)))
                    }
                };
            }
        }
        let Some(error) = error else {
            self.engine.lock().slack = usual;
            return Ok(checkouts);
        };
        // Closing first, so that what still arrives is disposed and not kept.
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

    /// Waits for what a failed build has left: for disposes until the deadline, and for creates under way
    /// only briefly. The error is known, and a create that hangs must not hold it back.
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
