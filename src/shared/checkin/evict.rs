//! Eviction: a connection is counted first and then disposed exactly once, off the paths of callers.

use crate::clock::real_now;
use crate::engine::{DisposePermit, Evicted, RejectReason};
use crate::shared::pooled::{PooledConnection, span};
use crate::shared::{Entry, PoolCheckout, Shared};
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub(in crate::shared) type PoolEvicted<M> = Evicted<Entry<M>, crate::shared::Err<M>>;
type PoolDisposePermit<M> = DisposePermit<Entry<M>, crate::shared::Err<M>>;

impl<M: ConnectionManager> Shared<M> {
    /// Evicts a connection that is out of its slot.
    #[cold]
    pub(in crate::shared) fn evict(
        self: &Arc<Self>,
        checkout: PoolCheckout<M>,
        reason: EvictReason,
    ) {
        self.count_reason(reason);
        self.evict_counted(checkout, reason);
    }

    pub(in crate::shared) fn count_reason(&self, reason: EvictReason) {
        self.meter.evictions[reason.index()].fetch_add(1, Relaxed);
    }

    /// Evicts a connection whose eviction is counted already.
    pub(in crate::shared) fn evict_counted(
        self: &Arc<Self>,
        checkout: PoolCheckout<M>,
        reason: EvictReason,
    ) {
        self.dispose_later(self.engine.begin_dispose(checkout, real_now()), reason);
        if self.engine.has_waiters() {
            // A create may have been deferred because this connection would come back.
            self.settle();
        }
    }

    /// Evicts a connection that the engine rejected, and settles, because a waiter may have relied on the
    /// connection.
    #[cold]
    pub(in crate::shared) fn evict_rejected(
        self: &Arc<Self>,
        evicted: PoolEvicted<M>,
        reason: RejectReason,
    ) {
        let reason = match reason {
            RejectReason::Closed => EvictReason::Closed,
            RejectReason::Cleared => EvictReason::Cleared,
            RejectReason::Interrupted => EvictReason::Interrupted,
            RejectReason::Shrunk => EvictReason::Shrunk,
            RejectReason::Surplus => EvictReason::Surplus,
            RejectReason::MadeRoom => EvictReason::MadeRoom,
        };
        self.count_reason(reason);
        self.dispose_later(evicted, reason);
        self.settle();
    }

    /// Reports the eviction and submits the dispose to the executor.
    fn dispose_later(self: &Arc<Self>, evicted: PoolEvicted<M>, reason: EvictReason) {
        let Evicted {
            entry: pooled,
            uses,
            permit,
        } = evicted;
        self.report_evicted(&pooled, uses, reason, self.ticker.tick());
        self.connection_closed();
        let shared = Arc::clone(self);
        (self.executor).submit(false, move || shared.dispose(pooled, permit));
        if self.min_idle.load(Relaxed) > 0 {
            self.wake_collector();
        }
    }

    /// Counts and reports the eviction of a connection that has no slot.
    pub(in crate::shared) fn count_eviction(
        &self,
        pooled: &PooledConnection<M>,
        uses: u64,
        reason: EvictReason,
        now: u64,
    ) {
        self.count_reason(reason);
        self.report_evicted(pooled, uses, reason, now);
    }

    fn report_evicted(
        &self,
        pooled: &PooledConnection<M>,
        uses: u64,
        reason: EvictReason,
        now: u64,
    ) {
        let uses = uses.saturating_sub(pooled.uses_before);
        self.emit_evicted(pooled.id, reason, span(pooled.created, now), uses);
    }

    pub(in crate::shared) fn emit_evicted(
        &self,
        id: u64,
        reason: EvictReason,
        age: Duration,
        uses: u64,
    ) {
        self.emit(|pool| PoolEvent::Evicted {
            pool,
            id,
            reason,
            age,
            uses,
        });
    }

    fn dispose(self: &Arc<Self>, pooled: Box<PooledConnection<M>>, permit: PoolDisposePermit<M>) {
        let now = real_now();
        let deadline = self.hook_deadline(now, self.config.dispose_timeout);
        permit.start(now, deadline);
        self.wake_by(deadline);
        self.run_dispose(pooled);
        let actions = permit.finish(real_now());
        self.run(actions);
        self.hook_ended();
        // The free slot may serve min_idle. If this hook was overdue there is one abandoned hook less, so the
        // collector may abandon another one.
        let overdue = deadline.is_some_and(|due| due < real_now());
        if overdue || self.min_idle.load(Relaxed) > 0 || self.is_empty_key() {
            self.wake_collector();
        }
    }

    /// Calls `dispose`. A panic in the hook ends the connection all the same.
    pub(in crate::shared) fn run_dispose(&self, pooled: Box<PooledConnection<M>>) {
        if pooled.is_interruptible {
            // A second descriptor would keep the connection open after its dispose.
            self.interrupts.forget(pooled.id);
        }
        let PooledConnection { connection, .. } = *pooled;
        let _reported = self.call("dispose", |manager| manager.dispose(connection));
    }

    /// Makes the collector run now, if there is one.
    pub(in crate::shared) fn wake_collector(&self) {
        self.executor.wake();
    }
}
