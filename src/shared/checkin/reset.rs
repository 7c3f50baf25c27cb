//! Reset: between a check-in and the next checkout, on a thread of the pool if the reset may block.

use crate::clock::real_now;
use crate::engine::CheckId;
use crate::shared::pooled::Freshness;
use crate::shared::{PoolCheckout, Shared};
use crate::{ConnectionManager, EvictReason};
use std::sync::Arc;

impl<M: ConnectionManager> Shared<M> {
    /// Resets a connection that was checked in, and then returns it.
    pub(in crate::shared) fn reset(self: &Arc<Self>, mut checkout: PoolCheckout<M>) {
        checkout.entry.freshness = Freshness::Not;
        self.renew_expiry(&mut checkout);
        if !self.reset_may_block || self.executor.is_inline() {
            return self.reset_here(checkout);
        }
        let of = checkout.entry.id_and_generation();
        let Some((reset, actions)) = self.engine.begin_reset(&checkout, of, real_now()) else {
            let now = self.ticker.tick();
            return self.return_connection(checkout, now, false);
        };
        self.run(actions);
        let shared = Arc::clone(self);
        (self.executor).submit(true, move || shared.run_reset(reset, checkout));
    }

    fn reset_here(self: &Arc<Self>, mut checkout: PoolCheckout<M>) {
        match self.call_reset(&mut checkout.entry.connection) {
            Ok(()) => {
                let now = self.ticker.tick();
                self.return_connection(checkout, now, false);
            }
            Err(reason) => self.evict(checkout, reason),
        }
        if self.executor.is_inline() {
            self.sweep_some();
        }
    }

    /// Runs a reset to its end on this thread.
    fn run_reset(self: &Arc<Self>, reset: CheckId, mut checkout: PoolCheckout<M>) {
        let now = real_now();
        let deadline = self.hook_deadline(now, self.config.check_timeout);
        self.engine.start_check(reset, now, deadline);
        self.wake_by(deadline);
        if let Err(reason) = self.call_reset(&mut checkout.entry.connection) {
            self.fail_check(reset, checkout, reason);
            return;
        }
        let (idle_since, generation) = (self.ticker.tick(), checkout.entry.generation);
        let returned =
            (self.engine).finish_reset(reset, checkout, idle_since, generation, real_now());
        match returned {
            Ok(returned) => self.run_returned(returned),
            Err(checkout) => self.dispose_abandoned(checkout),
        }
        if self.min_idle.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            // A pass during the reset saw the connection in use.
            self.wake_collector();
        }
    }

    /// Calls `reset`. Err carries the reason to evict the connection.
    fn call_reset(&self, connection: &mut M::Connection) -> Result<(), EvictReason> {
        let reason = match self.call("reset", |manager| manager.reset(connection)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => {
                self.record_error(self.now(), &error);
                self.log_failed_hook("reset", &error);
                EvictReason::ResetFailed
            }
            Err(_) => EvictReason::Panicked,
        };
        self.record_failure();
        Err(reason)
    }
}
