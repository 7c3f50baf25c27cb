//! A checkout that is not warm: looks, queues, waits, until there is an outcome.

use super::accept::Accepted;
use super::checkout::{Errand, Got};
use super::create::{Failed, Purpose};
use super::{Failure, PoolLoan, PoolTicket, Shared};
use crate::engine::{CHECK_SOFT_LIMIT, CheckFor, Outcome, Waiter, WaitResult};
use crate::error::GetError;
use crate::{ConnectionManager, EvictReason};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

enum Queued<M: ConnectionManager> {
    Found(PoolLoan<M>),
    Waiting,
}

impl<M: ConnectionManager> Shared<M> {
    /// Everything beyond the warm way: looks, queues, waits, until there is an outcome.
    pub(super) fn seek(
        self: &Arc<Self>,
        errand: &Errand,
        mut found: Option<PoolLoan<M>>,
    ) -> Got<M> {
        let mut ticket: Option<Arc<PoolTicket<M>>> = None;
        loop {
            // A caller that has queued before keeps its place and does not go round the line.
            let unproven = if ticket.is_none() || found.is_some() {
                match self.look(errand, found.take()) {
                    Ok(Some(loan)) => return Ok(self.note_wait(loan, errand, ticket.is_some())),
                    // What it found was stale, and finding that out took all its time.
                    Ok(None) if !errand.impatient && errand.is_over() => {
                        return Err(self.give_up(errand, true));
                    }
                    Ok(None) => None,
                    Err(loan) => Some(loan),
                }
            } else {
                None
            };
            if errand.impatient {
                return Err(self.give_up(errand, false));
            }
            match self.queue(errand, &mut ticket, unproven)? {
                Queued::Found(loan) => {
                    found = Some(loan);
                    continue;
                }
                Queued::Waiting => {}
            }
            let Some(ticket) = &ticket else { continue };
            let moment = || self.moment();
            let waited = self
                .engine
                .wait(ticket, errand.deadline, moment, |effects| self.run(effects));
            let mailed = match waited {
                WaitResult::TimedOut => return Err(self.give_up(errand, true)),
                WaitResult::Found(loan) => {
                    found = Some(loan);
                    continue;
                }
                WaitResult::Mail(Outcome::Fail(failure)) => return Err(self.fail(failure)),
                WaitResult::Mail(Outcome::Loan(loan)) => loan,
                WaitResult::Mail(Outcome::Permit(permit)) => {
                    match self.create_loan(permit, Purpose::Waiter) {
                        Ok(Some(loan)) => loan,
                        Ok(None) => continue,
                        Err(failed) => {
                            // Nobody else could be told: this caller ran the create.
                            if !self.ends_waiting(&failed) {
                                continue;
                            }
                            return Err(self.fail(failed.failure()));
                        }
                    }
                }
            };
            match self.accept(mailed, false, true) {
                Accepted::Ready(loan) => {
                    let loan = self.hand_out_to(errand, loan, self.ticker.tick());
                    return Ok(self.note_wait(loan, errand, true));
                }
                Accepted::Gone => {}
                Accepted::Unproven(loan) => found = Some(loan),
                Accepted::Failed(failed) => {
                    if self.ends_waiting(&failed) {
                        return Err(self.fail(failed.failure()));
                    }
                }
            }
        }
    }

    /// Joins the line, with every idle connection looked at and every create under way that helps.
    fn queue(
        self: &Arc<Self>,
        errand: &Errand,
        ticket: &mut Option<Arc<PoolTicket<M>>>,
        unproven: Option<PoolLoan<M>>,
    ) -> Result<Queued<M>, GetError<M::Error>> {
        let newcomer = ticket.is_none();
        let ticket = ticket.get_or_insert_with(|| Waiter::new(errand.since));
        let now = self.moment();
        if self.config.fail_fast && newcomer && unproven.is_none() {
            if let Some(error) = self.outage(now.real) {
                return Err(error);
            }
        }
        let mut core = self.engine.lock();
        if core.closed {
            drop(core);
            if let Some(loan) = unproven {
                self.evict(loan, EvictReason::Closed);
            }
            return Err(self.fail(Failure::Closed));
        }
        self.engine.enqueue(&mut core, ticket, now.real);
        let check = unproven.map(|loan| {
            let patience = now.real.checked_add(CHECK_SOFT_LIMIT);
            let (of, purpose) = (loan.entry.numbers(), CheckFor::Waiter(patience));
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
            return Ok(Queued::Found(loan));
        }
        let effects = self.engine.settle(&mut core, now.real);
        if newcomer && self.is_crowded(&core) {
            let after = self.engine.dequeue(&mut core, ticket, now.real);
            drop(core);
            self.run(effects);
            after.into_iter().for_each(|effects| self.run(effects));
            if let Some((check, loan, patience)) = check {
                self.call_at(patience);
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
        self.call_at(pause);
        if let Some((check, loan, patience)) = check {
            self.call_at(patience);
            self.start_check(check, loan);
        }
        Ok(Queued::Waiting)
    }

    /// Nothing is left to wait for, after this failure of a create.
    fn ends_waiting(&self, failed: &Failed<M::Error>) -> bool {
        let hopeless = !failed.transient || self.config.fail_fast;
        hopeless && self.engine.lock().open == 0
    }

    /// More callers blocked than may be, beyond what is on its way to them.
    fn is_crowded(&self, core: &super::PoolCore<M>) -> bool {
        let Some(max_waiters) = self.config.max_waiters else {
            return false;
        };
        let coming = core.creating + core.checking;
        let blocked = core.queue.len().saturating_sub(coming);
        blocked > max_waiters && !self.engine.has_idle(blocked - max_waiters)
    }
}
