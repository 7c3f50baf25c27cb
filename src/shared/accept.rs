//! May a connection be handed out? Its age, its health and its own hook have a say.

use super::create::Failed;
use super::node::Vouched;
use super::{PoolLoan, Shared};
use crate::clock::real_now;
use crate::error::Cause;
use crate::foreign::Caught;
use crate::{ConnectionManager, EvictReason, HealthCheck};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

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
        self.take_off_standby(&mut loan);
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
                if self.check_may_block && (impatient || self.bell.is_some()) {
                    return Accepted::Unproven(loan);
                }
                match self.prove(&mut loan) {
                    Ok(()) => {
                        self.note_well_again();
                        loan.set_checked(now);
                    }
                    Err(reason) => {
                        self.evict(loan, reason);
                        return Accepted::Gone;
                    }
                }
            }
        }
        match self.prepare(&mut loan.entry.connection) {
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

    fn fail_newborn(
        self: &Arc<Self>,
        cause: Caught<Cause<M::Error>>,
        since: Instant,
    ) -> Failed<M::Error> {
        let (transient, error): (bool, Arc<dyn Error + Send + Sync>) = match &*cause {
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
        idle_for > limit && self.engine.has_idle(self.min_idle.load(Relaxed))
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
