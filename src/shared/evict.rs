//! How connections go: counted first, then disposed exactly once, off every caller's path.

use super::node::{PooledConnection, span};
use super::{Entry, PoolCheckout, Shared};
use crate::clock::real_now;
use crate::engine::{DisposePermit, Evicted, RejectReason};
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) type PoolEvicted<M> = Evicted<Entry<M>, super::Err<M>>;
type PoolDisposePermit<M> = DisposePermit<Entry<M>, super::Err<M>>;

impl<M: ConnectionManager> Shared<M> {
    /// Ends a connection that is out of its slot.
    #[cold]
    pub(super) fn evict(self: &Arc<Self>, loan: PoolCheckout<M>, reason: EvictReason) {
        self.count_reason(reason);
        self.evict_counted(loan, reason);
    }

    pub(super) fn count_reason(&self, reason: EvictReason) {
        self.meter.evictions[reason.index()].fetch_add(1, Relaxed);
    }

    /// Like [`evict`](Self::evict), for one that is counted already.
    pub(super) fn evict_counted(self: &Arc<Self>, loan: PoolCheckout<M>, reason: EvictReason) {
        self.dispose_later(self.engine.begin_dispose(loan, real_now()), reason);
    }

    /// Ends a connection that the engine would not take back. Whoever counted on it looks for something
    /// else.
    #[cold]
    pub(super) fn evict_rejected(self: &Arc<Self>, retired: PoolEvicted<M>, surplus: RejectReason) {
        let reason = match surplus {
            RejectReason::Closed => EvictReason::Closed,
            RejectReason::Cleared => EvictReason::Cleared,
            RejectReason::Shrunk => EvictReason::Shrunk,
            RejectReason::MadeRoom => EvictReason::MadeRoom,
        };
        self.count_reason(reason);
        self.dispose_later(retired, reason);
        self.settle();
    }

    fn dispose_later(self: &Arc<Self>, retired: PoolEvicted<M>, reason: EvictReason) {
        let Evicted {
            entry: node,
            uses,
            leaving,
        } = retired;
        self.emit_evicted(&node, uses, reason, self.ticker.tick());
        self.connection_closed();
        self.fail_all_in_outage();
        let Some(bell) = &self.bell else {
            return self.dispose(node, leaving);
        };
        let shared = Arc::clone(self);
        bell.submit(false, move || shared.dispose(node, leaving));
        if self.min_idle.load(Relaxed) > 0 {
            self.wake_collector();
        }
    }

    /// Counts and reports an eviction of a connection that has no slot any more.
    pub(super) fn count_eviction(&self, node: &PooledConnection<M>, uses: u64, reason: EvictReason, now: u64) {
        self.count_reason(reason);
        self.emit_evicted(node, uses, reason, now);
    }

    fn emit_evicted(&self, node: &PooledConnection<M>, uses: u64, reason: EvictReason, now: u64) {
        self.emit(|pool| PoolEvent::Evicted {
            pool,
            id: node.id,
            reason,
            age: span(node.created, now),
            uses: uses.saturating_sub(node.uses_before),
        });
    }

    fn dispose(self: &Arc<Self>, node: Box<PooledConnection<M>>, leaving: PoolDisposePermit<M>) {
        let now = real_now();
        let deadline = self.hook_deadline(now, self.config.dispose_timeout);
        leaving.start(now, deadline);
        self.wake_by(deadline);
        self.run_dispose(node);
        let effects = leaving.finish(real_now());
        self.run(effects);
        self.hook_ended();
        // A slot is free that min_idle may want, or there is one abandoned hook less, and another may
        // be given up on now.
        let overdue = deadline.is_some_and(|due| due < real_now());
        if overdue || self.min_idle.load(Relaxed) > 0 || self.is_empty_key() {
            self.wake_collector();
        }
    }

    /// The hook itself. A panic in it ends the connection all the same.
    pub(super) fn run_dispose(&self, node: Box<PooledConnection<M>>) {
        let PooledConnection { connection, .. } = *node;
        let _reported = self.call("dispose", |manager| manager.dispose(connection));
    }

    /// Has the collector look at once, if there is one.
    pub(super) fn wake_collector(&self) {
        if let Some(bell) = &self.bell {
            bell.nudge();
        }
    }
}
