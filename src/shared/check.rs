//! Checks: run on the caller's thread if they never block, otherwise on a thread of the pool.

use super::pooled::{Freshness, PooledConnection};
use super::{Entry, PoolCheckout, Shared};
use crate::clock::real_now;
use crate::engine::{CheckFor, CheckId, Checkout, Now, Slot};
use crate::error::Cause;
use crate::foreign::Caught;
use crate::{ConnectionManager, EvictReason};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

impl<M: ConnectionManager> Shared<M> {
    /// Runs `check_aliveness` on this thread. Err carries the reason to evict the connection.
    pub(super) fn run_check(
        &self,
        id: u64,
        connection: &mut M::Connection,
    ) -> Result<(), EvictReason> {
        let hook = "check_aliveness";
        let (reason, cause) = match self.call(hook, |manager| manager.check_aliveness(connection)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => {
                let error = Arc::new(error);
                self.record_error(self.now(), &*error);
                self.log_failed_check(id, &*error);
                (EvictReason::CheckFailed, Cause::Check(error))
            }
            Err(message) => (EvictReason::Panicked, Cause::Panicked { hook, message }),
        };
        self.record_failed_check(Caught::new(cause));
        Err(reason)
    }

    /// Counts a failed check and keeps its cause.
    pub(super) fn record_failed_check(&self, cause: Caught<Cause<M::Error>>) {
        self.meter.check_failures.fetch_add(1, Relaxed);
        self.record_failure();
        self.set_last_failure(Some((real_now(), cause)));
    }

    /// Submits the check of a connection that a waiter relies on.
    pub(super) fn start_check(self: &Arc<Self>, check: CheckId, checkout: PoolCheckout<M>) {
        self.submit_check(true, check, checkout, |_| ());
    }

    /// Submits the check of a connection that no waiter relies on.
    ///
    /// The connection becomes idle if the check succeeds. It becomes idle without a check if no further check
    /// may run now.
    pub(super) fn check_in_background(self: &Arc<Self>, checkout: PoolCheckout<M>) {
        let of = checkout.entry.id_and_generation();
        let check = {
            let mut state = self.engine.lock();
            let may = !self.executor.is_inline() && state.may_check(|| true);
            let purpose = CheckFor::Pool;
            may.then(|| (self.engine).begin_check(&mut state, &checkout, of, real_now(), purpose))
        };
        match check {
            Some(check) => self.run_background_check(check, checkout, |_| ()),
            None => self.return_unused(checkout),
        }
    }

    /// Takes an idle connection out of its slot, for a check or for an inspection by the user.
    pub(super) fn take_to_check(
        &self,
        slot: &'static Slot<Entry<M>>,
        now: Now,
        purpose: CheckFor,
        due: impl FnOnce() -> bool,
    ) -> Option<(CheckId, PoolCheckout<M>)> {
        (self.engine).take_to_check(slot, PooledConnection::id_and_generation, now, purpose, due)
    }

    /// Submits a background check. `then` runs afterwards, with true if the check succeeded.
    pub(super) fn run_background_check(
        self: &Arc<Self>,
        check: CheckId,
        checkout: PoolCheckout<M>,
        then: impl FnOnce(bool) + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        self.submit_check(false, check, checkout, move |succeeded| {
            // A pass during the check saw the connection in use, so the collector must look at it again.
            shared.wake_collector();
            then(succeeded);
        });
    }

    fn submit_check(
        self: &Arc<Self>,
        urgent: bool,
        check: CheckId,
        checkout: PoolCheckout<M>,
        then: impl FnOnce(bool) + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        let job = move || then(shared.check(check, checkout));
        self.executor.submit(urgent, job);
    }

    /// Runs a check to its end on this thread. True if the check succeeded.
    fn check(self: &Arc<Self>, check: CheckId, mut checkout: PoolCheckout<M>) -> bool {
        // A successful check proves the connection alive at the start of the check, because the later state
        // of the backend is unknown.
        let proven = self.ticker.tick();
        let now: Instant = real_now();
        let deadline = self.hook_deadline(now, self.config.check_timeout);
        self.engine.start_check(check, now, deadline);
        self.wake_by(deadline);
        let result = self.run_check(checkout.entry.id, &mut checkout.entry.connection);
        if let Err(reason) = result {
            return self.fail_check(check, checkout, reason);
        }
        // A check that takes more than half of its timeout counts as slow.
        self.record_success(
            real_now().saturating_duration_since(now) > self.config.check_timeout / 2,
        );
        checkout.entry.freshness = Freshness::Checked;
        let generation = checkout.entry.generation;
        match self
            .engine
            .finish_check(check, checkout, generation, proven, real_now())
        {
            Ok(returned) => {
                // The connection may be for a closure, with which this thread continues.
                self.executor.announce_end();
                self.run_returned(returned);
            }
            Err(checkout) => {
                self.dispose_abandoned(checkout);
                return false;
            }
        }
        true
    }

    /// Ends a failed check or reset and evicts the connection.
    pub(super) fn fail_check(
        self: &Arc<Self>,
        check: CheckId,
        checkout: PoolCheckout<M>,
        reason: EvictReason,
    ) -> bool {
        if self.engine.end_check(check) {
            self.evict(checkout, reason);
            // The waiter that relied on it needs another connection.
            self.settle();
        } else {
            self.dispose_abandoned(checkout);
        }
        false
    }

    /// Disposes a connection whose check the pool abandoned. The connection has no slot, and its eviction is
    /// counted.
    pub(super) fn dispose_abandoned(&self, checkout: PoolCheckout<M>) {
        let Checkout { entry, .. } = checkout;
        self.run_dispose(entry);
        self.engine.end_abandoned();
        self.wake_collector();
    }

    /// Serves the waiters that can be served and starts the necessary creates.
    pub(super) fn settle(self: &Arc<Self>) {
        let now = real_now();
        let actions = self.engine.settle(&mut self.engine.lock(), now);
        self.run(actions);
    }
}
