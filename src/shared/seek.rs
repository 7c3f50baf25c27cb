//! A checkout that is not warm: looks, queues, waits, until there is an outcome.

use super::validate::Validated;
use super::checkout::{Request, GetResult};
use super::create::{Failed, Purpose};
use super::{Failure, PoolCheckout, PoolWaiter, Shared};
use crate::engine::{CHECK_SOFT_LIMIT, CheckFor, Outcome, Waiter, WaitResult};
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
    pub(super) fn get_queued(
        self: &Arc<Self>,
        errand: &Request,
        mut found: Option<PoolCheckout<M>>,
    ) -> GetResult<M> {
        let mut ticket: Option<Arc<PoolWaiter<M>>> = None;
        loop {
            // A caller that has queued before keeps its place and does not go round the line.
            let unproven = if ticket.is_none() || found.is_some() {
                match self.try_idle(errand, found.take()) {
                    Ok(Some(loan)) => return Ok(self.record_wait(loan, errand, ticket.is_some())),
                    // What it found was stale, and finding that out took all its time.
                    Ok(None) if !errand.non_blocking && errand.is_over() => {
                        return Err(self.timeout_error(errand, true));
                    }
                    Ok(None) => None,
                    Err(loan) => Some(loan),
                }
            } else {
                None
            };
            if errand.non_blocking {
                return Err(self.timeout_error(errand, false));
            }
            match self.enqueue(errand, &mut ticket, unproven)? {
                Enqueued::Found(loan) => {
                    found = Some(loan);
                    continue;
                }
                Enqueued::Waiting => {}
            }
            let Some(ticket) = &ticket else { continue };
            let moment = || self.now();
            let waited = self
                .engine
                .wait(ticket, errand.deadline, moment, |effects| self.run(effects));
            let mailed = match waited {
                WaitResult::TimedOut => return Err(self.timeout_error(errand, true)),
                WaitResult::Found(loan) => {
                    found = Some(loan);
                    continue;
                }
                WaitResult::Outcome(Outcome::Fail(failure)) => return Err(self.get_error(failure)),
                WaitResult::Outcome(Outcome::Checkout(loan)) => loan,
                WaitResult::Outcome(Outcome::Permit(permit)) => {
                    match self.run_create(permit, Purpose::Waiter) {
                        Ok(Some(loan)) => loan,
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
                Validated::Ready(loan) => {
                    let loan = self.checkout_for(errand, loan, self.ticker.tick());
                    return Ok(self.record_wait(loan, errand, true));
                }
                Validated::Evicted => {}
                Validated::NeedsCheck(loan) => found = Some(loan),
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
        errand: &Request,
        ticket: &mut Option<Arc<PoolWaiter<M>>>,
        unproven: Option<PoolCheckout<M>>,
    ) -> Result<Enqueued<M>, GetError<M::Error>> {
        let newcomer = ticket.is_none();
        let ticket = ticket.get_or_insert_with(|| Waiter::new(errand.since));
        let now = self.now();
        if self.config.fail_fast && newcomer && unproven.is_none() {
            if let Some(error) = self.outage_error(now.real) {
                return Err(error);
            }
        }
        let mut core = self.engine.lock();
        if core.closed {
            drop(core);
            if let Some(loan) = unproven {
                self.evict(loan, EvictReason::Closed);
            }
            return Err(self.get_error(Failure::Closed));
        }
        self.engine.enqueue(&mut core, ticket, now.real);
        let check = unproven.map(|loan| {
            let patience = now.real.checked_add(CHECK_SOFT_LIMIT);
            let (of, purpose) = (loan.entry.id_and_generation(), CheckFor::Waiter(patience));
            let check = (self.engine).begin_check(&mut core, &loan, of, now.real, purpose);
            (check, loan, patience)
        });
        if core.suspended {
            // It takes nothing now, but what comes back from now on must not pass it by.
            self.engine.mark_all_slots(&mut core, now.tick);
        } else if check.is_some() {
            // It looks again when the check has failed or takes long. What comes back before sees in the
            // gate that somebody waits; a mark in every slot would cost a walk over all that are idle.
        } else if let Some(loan) = self.engine.search(&mut core, ticket, now.tick) {
            let effects = self.engine.dequeue(&mut core, ticket, now.real);
            drop(core);
            effects.into_iter().for_each(|effects| self.run(effects));
            return Ok(Enqueued::Found(loan));
        }
        let effects = self.engine.settle(&mut core, now.real);
        if newcomer && self.is_saturated(&core) {
            let after = self.engine.dequeue(&mut core, ticket, now.real);
            drop(core);
            self.run(effects);
            after.into_iter().for_each(|effects| self.run(effects));
            if let Some((check, loan, patience)) = check {
                self.wake_by(patience);
                self.start_check(check, loan);
            }
            let max_waiters = self.config.max_waiters.unwrap_or_default();
            self.meter.saturated.fetch_add(1, Relaxed);
            let pool = Arc::clone(&self.name);
            return Err(GetError::Saturated { pool, max_waiters });
        }
        if newcomer {
            errand.has_waited.set(true);
        }
        self.meter.peak_waiters.fetch_max(core.queue.len(), Relaxed);
        if check.is_none() && !core.suspended {
            // It has found none at rest: all are in use.
            self.meter.peak_in_use.fetch_max(core.open, Relaxed);
        }
        let pause = core.backoff_until().filter(|until| *until > now.real);
        drop(core);
        self.run(effects);
        // Shorter than it was while nobody waited.
        self.wake_by(pause);
        if let Some((check, loan, patience)) = check {
            self.wake_by(patience);
            self.start_check(check, loan);
        }
        Ok(Enqueued::Waiting)
    }

    /// Nothing is left to wait for, after this failure of a create.
    fn is_final(&self, failed: &Failed<M::Error>) -> bool {
        let hopeless = !failed.transient || self.config.fail_fast;
        hopeless && self.engine.lock().open == 0
    }

    /// More callers blocked than may be, beyond what is on its way to them.
    fn is_saturated(&self, core: &super::PoolState<M>) -> bool {
        let Some(max_waiters) = self.config.max_waiters else {
            return false;
        };
        let coming = core.creating + core.checking;
        let blocked = core.queue.len().saturating_sub(coming);
        blocked > max_waiters && !self.engine.has_idle(blocked - max_waiters)
    }
}
