//! The way of a connection to a caller.

use super::create::Failed;
use super::hooks::is_traced;
use super::node::{Odd, Vouched};
use super::{PoolEngine, PoolLoan, PoolNear, Shared};
use crate::clock::real_now;
use crate::config::is_unlimited;
use crate::engine::this_thread;
use crate::error::{Cause, GetError};
use crate::{ConnectionManager, EvictReason, HealthCheck, PoolEvent};
use std::error::Error;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long a caller is ready to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Budget {
    For(Duration),
    Until(Instant),
}

pub(super) type Got<M> = Result<PoolLoan<M>, GetError<<M as ConnectionManager>::Error>>;

/// One caller's errand.
pub(super) struct Errand {
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
    /// Waits for nothing at all.
    pub(super) impatient: bool,
    /// It is a `try_get`, which is not counted among the gets.
    tries: bool,
    at: &'static Location<'static>,
}

impl Errand {
    pub(super) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= real_now())
    }
}

/// What came of a connection that was to be handed out.
pub(super) enum Accepted<M: ConnectionManager> {
    Ready(PoolLoan<M>),
    /// Evicted.
    Gone,
    /// A check that may block is due.
    Unproven(PoolLoan<M>),
    /// A new connection whose on_checkout failed: a failed create.
    Failed(Failed<M::Error>),
}

impl<M: ConnectionManager> Shared<M> {
    /// The whole of a warm checkout: the slot this thread used last, one swap, no lock. Err with what
    /// it took and could not vouch for, if anything.
    #[inline]
    pub(crate) fn get_warm(
        self: &Arc<Self>,
        engine: &PoolEngine<M>,
        near: PoolNear<M>,
    ) -> Result<PoolLoan<M>, Option<PoolLoan<M>>> {
        if !engine.is_open_road() {
            return Err(None);
        }
        let now = self.ticker.tick();
        let hinted = near.hinted().or_else(|| engine.table.hinted());
        let Some(mut loan) = hinted.and_then(|slot| slot.take(now)) else {
            return Err(None);
        };
        // Wraps where another thread put it back at a later tick: then it gets a second look.
        let fresh = now.wrapping_sub(loan.idle_since) < self.fresh;
        if !fresh || now >= loan.entry.expires || is_traced() {
            return Err(Some(loan));
        }
        match self.prepare(&mut loan) {
            Ok(()) => Ok(self.hand_out(loan)),
            Err((reason, _)) => {
                self.evict(loan, reason);
                Err(None)
            }
        }
    }

    /// The last word of the connection's own hook. An error comes with what it was.
    #[inline]
    fn prepare(
        &self,
        loan: &mut PoolLoan<M>,
    ) -> Result<(), (EvictReason, Option<Cause<M::Error>>)> {
        let connection = &mut loan.entry.connection;
        match self.call("on_checkout", |manager| manager.on_checkout(connection)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err((
                EvictReason::HookFailed,
                Some(Cause::Create(Arc::new(error))),
            )),
            Err(message) => {
                let hook = "on_checkout";
                Err((
                    EvictReason::Panicked,
                    Some(Cause::Panicked { hook, message }),
                ))
            }
        }
    }

    /// Counts the checkout. From here on the connection is the caller's.
    #[inline]
    fn hand_out(self: &Arc<Self>, loan: PoolLoan<M>) -> PoolLoan<M> {
        loan.count_use(this_thread());
        self.hand_out_counted(loan)
    }

    #[inline]
    fn hand_out_counted(self: &Arc<Self>, mut loan: PoolLoan<M>) -> PoolLoan<M> {
        loan.entry.until_notable -= 1;
        if loan.entry.until_notable == 0 {
            self.note_use(&mut loan);
        }
        if std::thread::panicking() {
            loan.entry.mark(Odd::AmidPanic);
        }
        loan
    }

    /// The first use of a connection, or its last.
    #[cold]
    fn note_use(self: &Arc<Self>, loan: &mut PoolLoan<M>) {
        let uses = loan.slot.uses() - loan.entry.before;
        if uses == 1 {
            self.meter.first_uses.fetch_add(1, Relaxed);
            self.back_on(None);
        }
        let left = self.config.max_uses.map(|max| max.saturating_sub(uses));
        if left == Some(0) {
            loan.entry.mark(Odd::Spent);
        }
        loan.entry.until_notable = left.filter(|left| *left > 0).unwrap_or(u64::MAX);
    }

    pub(super) fn hand_out_loudly(
        self: &Arc<Self>,
        loan: PoolLoan<M>,
        errand: &Errand,
        now: u64,
    ) -> PoolLoan<M> {
        let mut loan = if errand.tries {
            loan.count_try(this_thread());
            self.hand_out_counted(loan)
        } else {
            self.hand_out(loan)
        };
        if self.is_loud() {
            // Asked once, so that what is told of the checkout is also told of its check-in.
            loan.entry.mark(Odd::Loud);
        }
        loan.slot.remember();
        if let Some(leaks) = &self.leaks {
            leaks.note(&loan, errand.at, now);
            self.call_for(leaks.due(now), self.moment());
        }
        let id = loan.entry.id;
        self.emit(|pool| PoolEvent::CheckedOut {
            pool,
            id,
            waited: real_now().saturating_duration_since(errand.since),
        });
        if self.engine.is_listening() {
            self.wake_up();
        }
        loan
    }

    pub(crate) fn get_cold(
        self: &Arc<Self>,
        budget: Budget,
        at: &'static Location<'static>,
        found: Option<PoolLoan<M>>,
    ) -> Got<M> {
        let since = real_now();
        let deadline = match budget {
            Budget::For(budget) => since.checked_add(budget).filter(|_| !is_unlimited(budget)),
            Budget::Until(deadline) => Some(deadline),
        };
        let errand = Errand {
            since,
            deadline,
            impatient: deadline.is_some_and(|deadline| deadline <= since),
            tries: false,
            at,
        };
        let got = self.seek(&errand, found);
        if got.is_err() {
            self.meter.failed.fetch_add(1, Relaxed);
        }
        if self.crew.is_none() {
            self.tend_a_little();
        }
        got
    }

    /// An idle connection now or none: never waits, never creates.
    pub(crate) fn try_get(self: &Arc<Self>, at: &'static Location<'static>) -> Option<PoolLoan<M>> {
        let since = real_now();
        let errand = Errand {
            since,
            deadline: Some(since),
            impatient: true,
            tries: true,
            at,
        };
        self.look(&errand, None).ok()?
    }

    /// Looks for an idle connection without queueing. `Err` carries one whose check may block.
    pub(super) fn look(
        self: &Arc<Self>,
        errand: &Errand,
        mut found: Option<PoolLoan<M>>,
    ) -> Result<Option<PoolLoan<M>>, PoolLoan<M>> {
        // Those that an errand without time cannot wait for. They are seen to afterwards, so that it
        // does not meet them again.
        let mut passed = Vec::new();
        let result = loop {
            let now = self.ticker.tick();
            let next = found.take().or_else(|| {
                let free = self.engine.may_overtake();
                free.then(|| self.engine.take_any(now)).flatten()
            });
            let Some(loan) = next else { break Ok(None) };
            match self.accept(loan, errand.impatient, false) {
                Accepted::Ready(loan) => {
                    break Ok(Some(self.hand_out_loudly(loan, errand, now)));
                }
                Accepted::Gone | Accepted::Failed(_) => {
                    if self.crew.is_none() && !errand.impatient && errand.is_over() {
                        break Ok(None);
                    }
                }
                Accepted::Unproven(loan) if !errand.impatient => break Err(loan),
                Accepted::Unproven(loan) => passed.push(loan),
            }
        };
        for loan in passed {
            if self.crew.is_some() {
                self.check_aside(loan);
            } else {
                self.put_back(loan);
            }
        }
        result
    }

    /// May this connection be handed out? `impatient`: its caller waits for nothing. `mailed`: it came
    /// by mail, not from a slot.
    pub(super) fn accept(
        self: &Arc<Self>,
        mut loan: PoolLoan<M>,
        impatient: bool,
        mailed: bool,
    ) -> Accepted<M> {
        let now = self.ticker.tick();
        let vouched = std::mem::replace(&mut loan.entry.vouched, Vouched::Not);
        let newborn = mailed && vouched == Vouched::Created;
        if now >= loan.entry.expires {
            self.evict(loan, EvictReason::MaxLifetime);
            return Accepted::Gone;
        }
        if !mailed || vouched == Vouched::Not {
            if self.is_idled_out(&loan, now) {
                self.evict(loan, EvictReason::IdleTimeout);
                return Accepted::Gone;
            }
            if self.check_is_due(&loan, now) {
                if self.check_may_block && (impatient || self.crew.is_some()) {
                    return Accepted::Unproven(loan);
                }
                match self.prove(&mut loan) {
                    Ok(()) => loan.set_checked(now),
                    Err(reason) => {
                        self.evict(loan, reason);
                        return Accepted::Gone;
                    }
                }
            }
        }
        match self.prepare(&mut loan) {
            Ok(()) => Accepted::Ready(loan),
            Err((reason, cause)) => {
                let since = real_now();
                self.evict(loan, reason);
                match cause.filter(|_| newborn) {
                    Some(cause) => Accepted::Failed(self.fail_newborn(cause, since)),
                    None => Accepted::Gone,
                }
            }
        }
    }

    fn fail_newborn(self: &Arc<Self>, cause: Cause<M::Error>, since: Instant) -> Failed<M::Error> {
        let (transient, error): (bool, Arc<dyn Error + Send + Sync>) = match &cause {
            Cause::Create(error) | Cause::Check(error) => {
                (self.ask_transient(error), Arc::clone(error) as _)
            }
            Cause::Panicked { message, .. } => (false, Arc::from(Box::from(message.clone()))),
            Cause::TimedOut { hook, .. } => (true, Arc::from(Box::from(*hook))),
        };
        let failed = Failed { cause, transient };
        self.backing.lock().fails_at_checkout = true;
        match self.failed::<()>(None, since, failed, error) {
            Err(failed) => failed,
            Ok(_) => unreachable!("bug: a create without a permit cannot have been given up"),
        }
    }

    fn is_idled_out(&self, loan: &PoolLoan<M>, now: u64) -> bool {
        let Some(limit) = self.ages.idle else {
            return false;
        };
        let idle_for = now.saturating_sub(loan.idle_since);
        // This one is out already: what is still idle must be enough without it.
        idle_for > limit && self.engine.idle_count() >= self.min_idle.load(Relaxed)
    }

    fn check_is_due(&self, loan: &PoolLoan<M>, now: u64) -> bool {
        match self.config.health_check {
            HealthCheck::Never => false,
            HealthCheck::OnCheckout => true,
            HealthCheck::AfterIdle(window) => {
                let since = loan.idle_since.max(loan.slot.checked());
                super::limit(Some(window)).is_some_and(|window| now.saturating_sub(since) >= window)
            }
        }
    }
}
