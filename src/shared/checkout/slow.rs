//! The slow path of a checkout: searches, queues and waits until there is an outcome.
//!
//! [`QueuedGet`] goes on in steps. A thread sleeps between two steps; a task returns to its executor.

use crate::engine::{CHECK_SOFT_LIMIT, CheckFor, Outcome};
use crate::error::GetError;
use crate::shared::checkout::validate::Validated;
use crate::shared::checkout::{GetResult, Request};
use crate::shared::create::{Failed, Purpose};
use crate::shared::{Failure, PoolCheckout, PoolEntry, PoolWaiter, Shared};
use crate::{ConnectionManager, EvictReason, OnSuspend};
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

enum Enqueued<M: ConnectionManager> {
    Found(PoolCheckout<M>),
    Waiting,
}

/// How a wait ended.
type PoolOutcome<M> = Outcome<PoolEntry<M>, Failure<<M as ConnectionManager>::Error>>;

/// A request on the slow path.
pub(in crate::shared) struct QueuedGet<M: ConnectionManager> {
    pub(in crate::shared) request: Request,
    /// The place in the queue, from the first time that the request queued.
    pub(in crate::shared) waiter: Option<Arc<PoolWaiter<M>>>,
}

impl<M: ConnectionManager> QueuedGet<M> {
    /// Searches for a connection, and queues if there is none. Continue: the request must wait now.
    pub(in crate::shared) fn start(
        &mut self,
        shared: &Arc<Shared<M>>,
        mut found: Option<PoolCheckout<M>>,
    ) -> ControlFlow<GetResult<M>> {
        let request = &self.request;
        loop {
            // A caller that has queued before keeps its place and does not barge.
            let unchecked = if self.waiter.is_none() || found.is_some() {
                match shared.try_idle(request, found.take()) {
                    Ok(Some(checkout)) => {
                        let waited = self.waiter.is_some();
                        return Break(Ok(shared.record_wait(checkout, request, waited)));
                    }
                    // The idle connections were stale, and their checks took all the time of this request.
                    Ok(None) if !request.non_blocking && request.is_over() => {
                        return Break(Err(shared.timeout_error(request, true)));
                    }
                    Ok(None) => None,
                    Err(checkout) => Some(checkout),
                }
            } else {
                None
            };
            if request.non_blocking {
                return Break(Err(shared.would_wait(request)));
            }
            match shared.enqueue(request, &mut self.waiter, unchecked) {
                Ok(Enqueued::Found(checkout)) => found = Some(checkout),
                Ok(Enqueued::Waiting) => return Continue(()),
                Err(error) => return Break(Err(error)),
            }
        }
    }

    /// Goes on after a wait. Continue: the request must wait again.
    pub(in crate::shared) fn resume(
        &mut self,
        shared: &Arc<Shared<M>>,
        ended: PoolOutcome<M>,
    ) -> ControlFlow<GetResult<M>> {
        let found = self.found(shared, ended)?;
        self.start(shared, found)
    }

    /// Returns the result, or the connection that needs a search's second look.
    fn found(
        &self,
        shared: &Arc<Shared<M>>,
        ended: PoolOutcome<M>,
    ) -> ControlFlow<GetResult<M>, Option<PoolCheckout<M>>> {
        let request = &self.request;
        let handed_off = match ended {
            Outcome::TimedOut => {
                return Break(Err(shared.timeout_error(request, true)));
            }
            Outcome::Found(checkout) => return Continue(Some(checkout)),
            Outcome::Fail(failure) => {
                return Break(Err(shared.get_error(failure)));
            }
            Outcome::Checkout(checkout) => checkout,
            Outcome::Permit(permit) => {
                match shared.run_create(permit, Purpose::Waiter) {
                    Ok(Some(checkout)) => checkout,
                    Ok(None) => return Continue(None),
                    // This caller ran the create itself, so no other caller receives the failure.
                    Err(failed) => return shared.end_or_repeat(&failed),
                }
            }
        };
        match shared.validate(handed_off, false, true) {
            Validated::Ready(checkout) => {
                let checkout = shared.checkout_for(request, checkout, shared.ticker.tick());
                Break(Ok(shared.record_wait(checkout, request, true)))
            }
            Validated::Evicted => Continue(None),
            Validated::NeedsCheck(checkout) => Continue(Some(checkout)),
            Validated::Failed(failed) => shared.end_or_repeat(&failed),
        }
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Searches, queues and waits until the request has a connection or an error.
    pub(in crate::shared) fn get_queued(
        self: &Arc<Self>,
        get: &mut QueuedGet<M>,
        found: Option<PoolCheckout<M>>,
    ) -> GetResult<M> {
        let mut step = get.start(self, found);
        loop {
            if let Break(result) = step {
                return result;
            }
            let waiter = get.waiter.as_ref().expect("bug: no wait without a waiter");
            let (clock, run) = (|| self.now(), |actions| self.run(actions));
            let ended = self.engine.wait(waiter, get.request.deadline, clock, run);
            step = get.resume(self, ended);
        }
    }

    /// Ends the wait with this failure of a create, or lets the caller queue again.
    fn end_or_repeat(
        &self,
        failed: &Failed<M::Error>,
    ) -> ControlFlow<GetResult<M>, Option<PoolCheckout<M>>> {
        match self.is_final(failed) {
            true => Break(Err(self.get_error(failed.failure()))),
            false => Continue(None),
        }
    }

    /// Joins the wait queue after a search of every slot, and starts the necessary creates.
    ///
    /// `unchecked` is a connection whose check starts on behalf of this waiter.
    fn enqueue(
        self: &Arc<Self>,
        request: &Request,
        waiter: &mut Option<Arc<PoolWaiter<M>>>,
        unchecked: Option<PoolCheckout<M>>,
    ) -> Result<Enqueued<M>, GetError<M::Error>> {
        let newcomer = waiter.is_none();
        let waiter = waiter.get_or_insert_with(|| request.waiter());
        let now = self.now();
        if self.config.fail_fast && newcomer && unchecked.is_none() {
            if let Some(error) = self.outage_error(now.real) {
                return Err(error);
            }
        }
        let durations = self.durations(now.tick);
        let mut state = self.engine.lock();
        if state.closed {
            drop(state);
            if let Some(checkout) = unchecked {
                self.evict(checkout, EvictReason::Closed);
            }
            return Err(self.get_error(Failure::Closed));
        }
        if state.suspended && self.config.on_suspend == OnSuspend::Fail {
            drop(state);
            unchecked
                .into_iter()
                .for_each(|checkout| self.return_unused(checkout));
            return Err(self.get_error(Failure::Suspended));
        }
        state.growth.durations = durations;
        self.engine.enqueue(&mut state, waiter, now.real);
        let check = unchecked.map(|checkout| {
            let soft_deadline = now.real.checked_add(CHECK_SOFT_LIMIT);
            let (of, purpose) = (
                checkout.entry.id_and_generation(),
                CheckFor::Waiter(soft_deadline),
            );
            let check = (self.engine).begin_check(&mut state, &checkout, of, now.real, purpose);
            (check, checkout, soft_deadline)
        });
        if state.suspended {
            // The waiter takes no connection while the pool is suspended, but every later check-in must go
            // through the lock.
            self.engine.mark_all_slots(&mut state, now.tick);
        } else if check.is_some() {
            // The waiter searches again when its check has failed or takes long. Until then check-ins read in
            // the gate that there is a waiter. Marking the slots would cost a walk over every idle
            // connection.
        } else if let Some(checkout) = self.engine.search(&mut state, waiter, now.tick) {
            let actions = self.engine.dequeue(&mut state, waiter, now.real);
            drop(state);
            actions.into_iter().for_each(|actions| self.run(actions));
            return Ok(Enqueued::Found(checkout));
        }
        let actions = self.engine.settle(&mut state, now.real);
        if newcomer && self.is_saturated(&state, now.real) {
            let after = self.engine.dequeue(&mut state, waiter, now.real);
            drop(state);
            self.run(actions);
            after.into_iter().for_each(|actions| self.run(actions));
            if let Some((check, checkout, soft_deadline)) = check {
                self.wake_by(soft_deadline);
                self.start_check(check, checkout);
            }
            let max_waiters = self.running.max_waiters().unwrap_or_default();
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
            // The search has found no idle connection, so all are in use.
            self.meter.peak_in_use.fetch_max(state.open, Relaxed);
        }
        let pause = state.backoff_until().filter(|until| *until > now.real);
        drop(state);
        self.run(actions);
        // A pause after failures is shorter while there are waiters, so the collector must wake earlier.
        self.wake_by(pause);
        if request.is_task {
            self.wake_by(request.deadline);
        }
        if let Some((check, checkout, soft_deadline)) = check {
            self.wake_by(soft_deadline);
            self.start_check(check, checkout);
        }
        Ok(Enqueued::Waiting)
    }

    /// Returns whether this failure of a create ends the wait: the error is permanent or the pool fails fast,
    /// and no connection is open that could be returned.
    fn is_final(&self, failed: &Failed<M::Error>) -> bool {
        let hopeless = !failed.transient || self.config.fail_fast;
        hopeless && self.engine.lock().open == 0
    }

    /// Returns whether more than `max_waiters` callers are blocked. Callers that a create or a check under
    /// way will serve do not count.
    fn is_saturated(&self, state: &crate::shared::PoolState<M>, now: Instant) -> bool {
        let Some(max_waiters) = self.running.max_waiters() else {
            return false;
        };
        let coming = state.creating + state.checking + self.engine.deferred_creates(state, now);
        let blocked = state.queue.len().saturating_sub(coming);
        blocked > max_waiters && !self.engine.has_idle(blocked - max_waiters)
    }
}
