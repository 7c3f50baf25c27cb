//! Validation: decides by age, check and `on_checkout` whether a connection may be checked out.

use crate::clock::real_now;
use crate::engine::Slot;
use crate::error::Cause;
use crate::foreign::Caught;
use crate::shared::create::Failed;
use crate::shared::pooled::{Freshness, PooledConnection};
use crate::shared::{Entry, PoolCheckout, Shared};
use crate::{ConnectionManager, EvictReason, HealthCheck};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// The result of validating a connection.
pub(in crate::shared) enum Validated<M: ConnectionManager> {
    Ready(PoolCheckout<M>),
    /// The connection was unfit and has been evicted.
    Evicted,
    /// The connection needs a check that may block.
    NeedsCheck(PoolCheckout<M>),
    /// `on_checkout` failed for a new connection, which counts as a failed create.
    Failed(Failed<M::Error>),
}

/// The result of a check on the fast path.
pub(in crate::shared) enum InPlace {
    Passed,
    /// The connection needs more than a check that never blocks.
    NeedsValidation,
    Failed(EvictReason),
}

impl<M: ConnectionManager> Shared<M> {
    /// Checks a connection on the fast path, if a check that never blocks is all that it needs.
    #[inline(never)]
    pub(in crate::shared) fn check_in_place(
        slot: &Slot<Entry<M>>,
        pooled: &mut PooledConnection<M>,
        idle_since: u64,
        now: u64,
    ) -> InPlace {
        let shared = &pooled.shared;
        // `expires` is 0 on standby.
        if shared.check_may_block
            || shared
                .running
                .verdict(pooled.expires, idle_since, now)
                .is_some()
            || idle_since > now
        {
            return InPlace::NeedsValidation;
        }
        if shared.check_is_due(slot, idle_since, now) {
            if let Err(reason) = shared.run_check(pooled.id, &mut pooled.connection) {
                return InPlace::Failed(reason);
            }
            shared.record_success_if_failing();
            slot.set_checked(now);
        }
        InPlace::Passed
    }

    /// Validates a connection before its checkout.
    ///
    /// `non_blocking`: the caller waits for nothing. `handed_off`: the connection was handed to a waiter and
    /// did not come from a slot.
    pub(in crate::shared) fn validate(
        self: &Arc<Self>,
        mut checkout: PoolCheckout<M>,
        non_blocking: bool,
        handed_off: bool,
    ) -> Validated<M> {
        let now = self.ticker.tick();
        let freshness = std::mem::replace(&mut checkout.entry.freshness, Freshness::Not);
        self.take_off_standby(&mut checkout);
        self.renew_expiry(&mut checkout);
        let is_new = handed_off && freshness == Freshness::Created;
        let used = !handed_off || freshness == Freshness::Not;
        let verdict = self
            .running
            .verdict(checkout.entry.expires, checkout.idle_since, now);
        // This connection is out of its slot already, so the other idle connections must satisfy min_idle.
        let verdict = verdict.filter(|reason| {
            *reason != EvictReason::IdleTimeout
                || used && self.engine.has_idle(self.min_idle.load(Relaxed))
        });
        if let Some(reason) = verdict {
            self.evict(checkout, reason);
            return Validated::Evicted;
        }
        if used && self.check_is_due(checkout.slot, checkout.idle_since, now) {
            if self.check_may_block && (non_blocking || !self.executor.is_inline()) {
                return Validated::NeedsCheck(checkout);
            }
            let pooled = &mut *checkout.entry;
            match self.run_check(pooled.id, &mut pooled.connection) {
                Ok(()) => {
                    self.record_success_if_failing();
                    checkout.slot.set_checked(now);
                }
                Err(reason) => {
                    self.evict(checkout, reason);
                    return Validated::Evicted;
                }
            }
        }
        match self.call_on_checkout(&mut checkout.entry.connection) {
            Ok(()) => Validated::Ready(checkout),
            Err((reason, cause)) => {
                let since = real_now();
                self.evict(checkout, reason);
                match cause.filter(|_| is_new) {
                    Some(cause) => Validated::Failed(self.fail_new(cause, since)),
                    None => Validated::Evicted,
                }
            }
        }
    }

    /// Records that `on_checkout` failed for a new connection.
    fn fail_new(
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
        self.backoff.lock().fails_at_checkout = true;
        match self.create_failed::<()>(None, since, failed, error) {
            Err(failed) => failed,
            Ok(_) => unreachable!("bug: a create without a permit cannot have been given up"),
        }
    }

    fn check_is_due(&self, slot: &Slot<Entry<M>>, idle_since: u64, now: u64) -> bool {
        match self.config.health_check {
            HealthCheck::Never => false,
            HealthCheck::OnCheckout => true,
            HealthCheck::AfterIdle(window) => {
                let since = idle_since.max(slot.checked());
                crate::shared::limit(Some(window))
                    .is_some_and(|window| now.saturating_sub(since) >= window)
            }
        }
    }
}
