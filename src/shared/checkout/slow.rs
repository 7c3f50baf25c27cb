//! A checkout that is not warm: looks, queues, waits, until there is an outcome.

use crate::shared::checkout::{GetResult, Request};
use crate::shared::create::{Failed, Purpose};
use crate::shared::checkout::validate::Validated;
use crate::shared::{Failure, PoolCheckout, PoolWaiter, Shared};
use crate::engine::{CHECK_SOFT_LIMIT, CheckFor, Outcome, WaitResult, Waiter};
use crate::error::GetError;
use crate::{ConnectionManager, EvictReason};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

enum Enqueued<M: ConnectionManager> {
    Found(PoolCheckout<M>),
    Waiting,
}

impl<M: ConnectionManager> Shared<M> {
    /// Everything beyond the warm way: looks, queues, waits, until there is an outcome.
    pub(in crate::shared) fn get_queued(
        self: &Arc<Self>,
        request: &Request,
        mut found: Option<PoolCheckout<M>>,
    ) -> GetResult<M> {
        let mut waiter: Option<Arc<PoolWaiter<M>>> = None;
        loop {
            // A caller that has queued before keeps its place and does not go round the line.
            let unproven = if waiter.is_none() || found.is_some() {
                match self.try_idle(request, found.take()) {
                    Ok(Some(checkout)) => {
                        return Ok(self.record_wait(checkout, request, waiter.is_some()));
                    }
                    // What it found was stale, and finding that out took all its time.
                    Ok(None) if !request.non_blocking && request.is_over() => {
                        return Err(self.timeout_error(request, true));
                    }
                    Ok(None) => None,
                    Err(checkout) => Some(checkout),
                }
            } else {
                None
            };
            if request.non_blocking {
                return Err(self.timeout_error(request, false));
            }
            match self.enqueue(request, &mut waiter, unproven)? {
                Enqueued::Found(checkout) => {
                    found = Some(checkout);
                    continue;
                }
                Enqueued::Waiting => {}
            }
            let Some(waiter) = &waiter else { continue };
            let moment = || self.now();
            let waited = self
                .engine
                .wait(waiter, request.deadline, moment, |actions| {
                    self.run(actions)
                });
            let mailed = match waited {
                WaitResult::TimedOut => return Err(self.timeout_error(request, true)),
                WaitResult::Found(checkout) => {
                    found = Some(checkout);
                    continue;
                }
                WaitResult::Outcome(Outcome::Fail(failure)) => return Err(self.get_error(failure)),
                WaitResult::Outcome(Outcome::Checkout(checkout)) => checkout,
                WaitResult::Outcome(Outcome::Permit(permit)) => {
                    match self.run_create(permit, Purpose::Waiter) {
                        Ok(Some(checkout)) => checkout,
                        Ok(None) => continue,
                        Err(failed) => {
                            // Nobody else could be told: this caller ran the create.
                            if !self.is_final(&failed) {
                                continue;
                            }
                            return Err(self.get_error(failed.failure()));
                        }
                    }
                }
            };
            match self.validate(mailed, false, true) {
                Validated::Ready(checkout) => {
                    let checkout = self.checkout_for(request, checkout, self.ticker.tick());
                    return Ok(self.record_wait(checkout, request, true));
                }
                Validated::Evicted => {}
                Validated::NeedsCheck(checkout) => found = Some(checkout),
                Validated::Failed(failed) => {
                    if self.is_final(&failed) {
                        return Err(self.get_error(failed.failure()));
                    }
                }
            }
        }
    }

    /// Joins the line, with every idle connection looked at and every create under way that helps.
    fn enqueue(
        self: &Arc<Self>,
        request: &Request,
        waiter: &mut Option<Arc<PoolWaiter<M>>>,
        unproven: Option<PoolCheckout<M>>,
    ) -> Result<Enqueued<M>, GetError<M::Error>> {
        let newcomer = waiter.is_none();
        let waiter = waiter.get_or_insert_with(|| Waiter::new(request.since));
        let now = self.now();
        if self.config.fail_fast && newcomer && unproven.is_none() {
            if let Some(error) = self.outage_error(now.real) {
                return Err(error);
            }
        }
        let mut state = self.engine.lock();
        if state.closed {
            drop(state);
            if let Some(checkout) = unproven {
                self.evict(checkout, EvictReason::Closed);
            }
            return Err(self.get_error(Failure::Closed));
        }
        self.engine.enqueue(&mut state, waiter, now.real);
        let check = unproven.map(|checkout| {
            let patience = now.real.checked_add(CHECK_SOFT_LIMIT);
            let (of, purpose) = (
                checkout.entry.id_and_generation(),
                CheckFor::Waiter(patience),
            );
            let check = (self.engine).begin_check(&mut state, &checkout, of, now.real, purpose);
            (check, checkout, patience)
        });
        if state.suspended {
            // It takes nothing now, but what comes back from now on must not pass it by.
            self.engine.mark_all_slots(&mut state, now.tick);
        } else if check.is_some() {
            // It looks again when the check has failed or takes long. What comes back before sees in the
            // gate that somebody waits; a mark in every slot would cost a walk over all that are idle.
        } else if let Some(checkout) = self.engine.search(&mut state, waiter, now.tick) {
            let actions = self.engine.dequeue(&mut state, waiter, now.real);
            drop(state);
            actions.into_iter().for_each(|actions| self.run(actions));
            return Ok(Enqueued::Found(checkout));
        }
        let actions = self.engine.settle(&mut state, now.real);
        if newcomer && self.is_saturated(&state) {
            let after = self.engine.dequeue(&mut state, waiter, now.real);
            drop(state);
            self.run(actions);
            after.into_iter().for_each(|actions| self.run(actions));
            if let Some((check, checkout, patience)) = check {
                self.wake_by(patience);
                self.start_check(check, checkout);
            }
            let max_waiters = self.config.max_waiters.unwrap_or_default();
            self.meter.saturated.fetch_add(1, Relaxed);
            let pool = Arc::clone(&self.name);
            return Err(GetError::Saturated { pool, max_waiters });
        }
        if newcomer {
            request.has_waited.set(true);
        }
        self.meter
            .peak_waiters
            .fetch_max(state.queue.len(), Relaxed);
        if check.is_none() && !state.suspended {
            // It has found none at rest: all are in use.
            self.meter.peak_in_use.fetch_max(state.open, Relaxed);
        }
        let pause = state.backoff_until().filter(|until| *until > now.real);
        drop(state);
        self.run(actions);
        // Shorter than it was while nobody waited.
        self.wake_by(pause);
        if let Some((check, checkout, patience)) = check {
            self.wake_by(patience);
            self.start_check(check, checkout);
        }
        Ok(Enqueued::Waiting)
    }

    /// Nothing is left to wait for, after this failure of a create.
    fn is_final(&self, failed: &Failed<M::Error>) -> bool {
        let hopeless = !failed.transient || self.config.fail_fast;
        hopeless && self.engine.lock().open == 0
    }

    /// More callers blocked than may be, beyond what is on its way to them.
    fn is_saturated(&self, state: &crate::shared::PoolState<M>) -> bool {
        let Some(max_waiters) = self.config.max_waiters else {
            return false;
        };
        let coming = state.creating + state.checking;
        let blocked = state.queue.len().saturating_sub(coming);
        blocked > max_waiters && !self.engine.has_idle(blocked - max_waiters)
    }
}
