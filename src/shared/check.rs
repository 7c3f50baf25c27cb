//! Checks: on the caller's thread when they never block, else on a thread of the pool.

use super::node::{PooledConnection, Freshness};
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
    pub(super) fn run_check(&self, loan: &mut PoolCheckout<M>) -> Result<(), EvictReason> {
        let connection = &mut loan.entry.connection;
        let hook = "check_aliveness";
        let (reason, cause) = match self.call(hook, |manager| manager.check_aliveness(connection)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => {
                let error = Arc::new(error);
                self.record_error(self.now(), &*error);
                self.log_failed_check(loan.entry.id, &*error);
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
    pub(super) fn start_check(self: &Arc<Self>, check: CheckId, loan: PoolCheckout<M>) {
        self.submit_check(true, check, loan, |_| ());
    }

    /// Has a connection checked that nobody waits for; it comes back to rest if it is well, and at once if
    /// as many as may be are checked already.
    pub(super) fn check_in_background(self: &Arc<Self>, loan: PoolCheckout<M>) {
        let of = loan.entry.id_and_generation();
        let check = {
            let mut core = self.engine.lock();
            let may = self.bell.is_some() && core.may_check(|| true);
            let purpose = CheckFor::Pool;
            may.then(|| (self.engine).begin_check(&mut core, &loan, of, real_now(), purpose))
        };
        match check {
            Some(check) => self.run_background_check(check, loan, |_| ()),
            None => self.put_back(loan),
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
        loan: PoolCheckout<M>,
        then: impl FnOnce(bool) + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        self.submit_check(false, check, loan, move |well| {
            // A pass meanwhile saw it in use: what was due then has to be looked at now.
            shared.wake_collector();
            then(well);
        });
    }

    fn submit_check(
        self: &Arc<Self>,
        urgent: bool,
        check: CheckId,
        loan: PoolCheckout<M>,
        then: impl FnOnce(bool) + Send + 'static,
    ) {
        let Some(bell) = &self.bell else {
            return then(self.check(check, loan));
        };
        let shared = Arc::clone(self);
        bell.submit(urgent, move || then(shared.check(check, loan)));
    }

    /// A whole check on this thread; true if the connection is well.
    fn check(self: &Arc<Self>, check: CheckId, mut loan: PoolCheckout<M>) -> bool {
        // It counts as proven from the beginning of the check: what the backend did since is not known.
        let proven = self.ticker.tick();
        let now: Instant = real_now();
        let deadline = self.hook_deadline(now, self.config.check_timeout);
        self.engine.start_check(check, now, deadline);
        self.wake_by(deadline);
        let result = self.run_check(&mut loan);
        if let Err(reason) = result {
            return self.fail_check(check, loan, reason);
        }
        // Half of its time is no sign of good health.
        self.record_success(real_now().saturating_duration_since(now) > self.config.check_timeout / 2);
        loan.entry.freshness = Freshness::Checked;
        let generation = loan.entry.generation;
        match self
            .engine
            .finish_check(check, loan, generation, proven, real_now())
        {
            Ok(handed) => self.run_returned(handed),
            Err(loan) => {
                self.dispose_abandoned(loan);
                return false;
            }
        }
        true
    }

    fn fail_check(self: &Arc<Self>, check: CheckId, loan: PoolCheckout<M>, reason: EvictReason) -> bool {
        if self.engine.end_check(check) {
            self.evict(loan, reason);
            // Whoever counted on this check must look for something else.
            self.settle();
        } else {
            self.dispose_abandoned(loan);
        }
        false
    }

    /// The pool gave up on this check meanwhile, and counted that: the connection has no slot any more.
    fn dispose_abandoned(&self, loan: PoolCheckout<M>) {
        let Checkout { entry, .. } = loan;
        self.run_dispose(entry);
        self.engine.end_abandoned();
        self.wake_collector();
    }

    /// Serves whoever can be served now.
    pub(super) fn settle(self: &Arc<Self>) {
        let now = real_now();
        let effects = self.engine.settle(&mut self.engine.lock(), now);
        self.run(effects);
    }
}
