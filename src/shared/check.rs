//! Checks: on the caller's thread when they never block, else on a thread of the pool.

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
    /// Runs check_aliveness on this thread.
    pub(super) fn run_check(&self, checkout: &mut PoolCheckout<M>) -> Result<(), EvictReason> {
        let connection = &mut checkout.entry.connection;
        let hook = "check_aliveness";
        let (reason, cause) = match self.call(hook, |manager| manager.check_aliveness(connection)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => {
                let error = Arc::new(error);
                self.record_error(self.now(), &*error);
                self.log_failed_check(checkout.entry.id, &*error);
                (EvictReason::CheckFailed, Cause::Check(error))
            }
            Err(message) => (EvictReason::Panicked, Cause::Panicked { hook, message }),
        };
        self.record_failed_check(Caught::new(cause));
        Err(reason)
    }

    pub(super) fn record_failed_check(&self, cause: Caught<Cause<M::Error>>) {
        self.meter.check_failures.fetch_add(1, Relaxed);
        self.record_failure();
        self.set_last_failure(Some((real_now(), cause)));
    }

    /// Has a connection checked for the waiter who counts on it.
    pub(super) fn start_check(self: &Arc<Self>, check: CheckId, checkout: PoolCheckout<M>) {
        self.submit_check(true, check, checkout, |_| ());
    }

    /// Has a connection checked that nobody waits for; it comes back to rest if it is well, and at once if
    /// as many as may be are checked already.
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

    /// Takes an idle connection out to check it, or to show it to the user.
    pub(super) fn take_to_check(
        &self,
        slot: &'static Slot<Entry<M>>,
        now: Now,
        purpose: CheckFor,
        due: impl FnOnce() -> bool,
    ) -> Option<(CheckId, PoolCheckout<M>)> {
        (self.engine).take_to_check(slot, PooledConnection::id_and_generation, now, purpose, due)
    }

    pub(super) fn run_background_check(
        self: &Arc<Self>,
        check: CheckId,
        checkout: PoolCheckout<M>,
        then: impl FnOnce(bool) + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        self.submit_check(false, check, checkout, move |well| {
            // A pass meanwhile saw it in use: what was due then has to be looked at now.
            shared.wake_collector();
            then(well);
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
        (self.executor).submit(urgent, move || then(shared.check(check, checkout)));
    }

    /// A whole check on this thread; true if the connection is well.
    fn check(self: &Arc<Self>, check: CheckId, mut checkout: PoolCheckout<M>) -> bool {
        // It counts as proven from the beginning of the check: what the backend did since is not known.
        let proven = self.ticker.tick();
        let now: Instant = real_now();
        let deadline = self.hook_deadline(now, self.config.check_timeout);
        self.engine.start_check(check, now, deadline);
        self.wake_by(deadline);
        let result = self.run_check(&mut checkout);
        if let Err(reason) = result {
            return self.fail_check(check, checkout, reason);
        }
        // Half of its time is no sign of good health.
        self.record_success(
            real_now().saturating_duration_since(now) > self.config.check_timeout / 2,
        );
        checkout.entry.freshness = Freshness::Checked;
        let generation = checkout.entry.generation;
        match self
            .engine
            .finish_check(check, checkout, generation, proven, real_now())
        {
            Ok(returned) => self.run_returned(returned),
            Err(checkout) => {
                self.dispose_abandoned(checkout);
                return false;
            }
        }
        true
    }

    fn fail_check(
        self: &Arc<Self>,
        check: CheckId,
        checkout: PoolCheckout<M>,
        reason: EvictReason,
    ) -> bool {
        if self.engine.end_check(check) {
            self.evict(checkout, reason);
            // Whoever counted on this check must look for something else.
            self.settle();
        } else {
            self.dispose_abandoned(checkout);
        }
        false
    }

    /// The pool gave up on this check meanwhile, and counted that: the connection has no slot any more.
    fn dispose_abandoned(&self, checkout: PoolCheckout<M>) {
        let Checkout { entry, .. } = checkout;
        self.run_dispose(entry);
        self.engine.end_abandoned();
        self.wake_collector();
    }

    /// Serves whoever can be served now.
    pub(super) fn settle(self: &Arc<Self>) {
        let now = real_now();
        let actions = self.engine.settle(&mut self.engine.lock(), now);
        self.run(actions);
    }
}
