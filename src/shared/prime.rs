//! Building: opens the first connections and waits for them.

use super::create::Purpose;
use super::{PoolLoan, PoolTicket, Shared};
use crate::clock::real_now;
use crate::config::is_unlimited;
use crate::engine::{Mail, Ticket, Waited};
use crate::error::BuildError;
use crate::{ConnectionManager, EvictReason};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

/// Nobody waits but the builder, who has asked for so many connections and for no more: a create that
/// another one has overtaken gets longer here before one is opened in its place.
const GRACE: Duration = Duration::from_millis(500);

impl<M: ConnectionManager> Shared<M> {
    /// While this is on, nobody else looks after min_idle, and a create that fails for good fails
    /// the build.
    pub(crate) fn set_priming(&self, on: bool) {
        self.priming.store(on, Release);
    }

    /// Opens max(1, min_idle) connections within get_timeout. On failure the pool is closed and what
    /// was opened is on its way out.
    pub(crate) fn prime(self: &Arc<Self>) -> Result<(), BuildError<M::Error>> {
        let primed = self.open_first(self.min_idle.load(Relaxed).max(1));
        let primed = primed.map(|loans| {
            for loan in loans {
                self.put_back(loan);
            }
        });
        // Only now: until they are idle, the refill would find them missing.
        self.set_priming(false);
        self.nudge();
        primed
    }

    /// Back in line after a create that has to be repeated.
    fn rejoin(self: &Arc<Self>, ticket: &Arc<PoolTicket<M>>) {
        let now = real_now();
        let mut core = self.engine.lock();
        self.engine.join(&mut core, ticket, now);
        let effects = self.engine.settle(&mut core, now);
        drop(core);
        self.run(effects);
    }

    fn open_first(
        self: &Arc<Self>,
        target: usize,
    ) -> Result<Vec<PoolLoan<M>>, BuildError<M::Error>> {
        let since = real_now();
        let mut budget = self.config.get_timeout;
        if budget.is_zero() {
            // "Never wait" is said of callers. Taken literally here, no such pool could ever be built.
            budget = self.config.create_timeout;
        }
        let deadline = since.checked_add(budget).filter(|_| !is_unlimited(budget));
        // Like so many callers, all queued before the first wait: their creates run side by side.
        let tickets: Vec<_> = (0..target).map(|_| Ticket::new(since)).collect();
        let usual = {
            let mut core = self.engine.lock();
            let usual = core.grace;
            // Of a small budget enough must be left for the other one.
            core.grace = (budget / 4).clamp(usual, GRACE);
            for ticket in &tickets {
                self.engine.join(&mut core, ticket, since);
            }
            let effects = self.engine.settle(&mut core, since);
            drop(core);
            self.run(effects);
            usual
        };
        let mut loans = Vec::with_capacity(target);
        let mut error = None;
        for ticket in &tickets {
            while error.is_none() {
                let moment = || self.moment();
                let run = |effects| self.run(effects);
                error = match self.engine.wait(ticket, deadline, moment, run) {
                    Waited::Found(loan) | Waited::Mail(Mail::Loan(loan)) => {
                        loans.push(loan);
                        break;
                    }
                    Waited::Mail(Mail::Permit(permit)) => {
                        match self.create_loan(permit, Purpose::Waiter) {
                            Ok(Some(loan)) => {
                                loans.push(loan);
                                break;
                            }
                            Err(failed) if !failed.transient => {
                                Some(BuildError::from_get(self.fail(failed.failure())))
                            }
                            Ok(None) | Err(_) => {
                                self.rejoin(ticket);
                                None
                            }
                        }
                    }
                    Waited::Mail(Mail::Fail(failure)) => {
                        Some(BuildError::from_get(self.fail(failure)))
                    }
                    Waited::TimedOut => {
                        let timeout = self.timeout(since, deadline, true);
                        Some(BuildError::TimedOut(Box::new(timeout)))
                    }
                };
            }
        }
        let Some(error) = error else {
            self.engine.lock().grace = usual;
            return Ok(loans);
        };
        // Closing first, so that what still arrives is disposed and not kept.
        self.close();
        for ticket in &tickets {
            if let Some(Mail::Loan(loan)) = self.engine.withdraw(ticket) {
                loans.push(loan);
            }
        }
        for loan in loans {
            self.evict(loan, EvictReason::Closed);
        }
        // Nothing is left behind, as far as the budget and the hooks allow.
        let quiet = self
            .engine
            .wait_quiet(Some(deadline.unwrap_or(since + budget_for_cleaning())));
        if let Some(crew) = self.own_crew().filter(|_| quiet) {
            crew.wait_gone(Some(real_now() + budget_for_cleaning()));
        }
        Err(error)
    }
}

/// Threads that have nothing left to do end within this.
const fn budget_for_cleaning() -> Duration {
    Duration::from_millis(100)
}
