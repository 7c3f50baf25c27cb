//! How connections go: counted first, then disposed exactly once, off every caller's path.

use super::node::{Node, span};
use super::{Of, PoolLoan, Shared};
use crate::clock::real_now;
use crate::engine::{DisposePermit, Evicted, RejectReason};
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) type PoolRetired<M> = Evicted<Of<M>, super::Err<M>>;
type PoolLeaving<M> = DisposePermit<Of<M>, super::Err<M>>;

impl<M: ConnectionManager> Shared<M> {
    /// Ends a connection that is out of its slot.
    #[cold]
    pub(super) fn evict(self: &Arc<Self>, loan: PoolLoan<M>, reason: EvictReason) {
        self.count_reason(reason);
        self.evict_counted(loan, reason);
    }

    pub(super) fn count_reason(&self, reason: EvictReason) {
        self.meter.evictions[reason.index()].fetch_add(1, Relaxed);
    }

    /// Like [`evict`](Self::evict), for one that is counted already.
    pub(super) fn evict_counted(self: &Arc<Self>, loan: PoolLoan<M>, reason: EvictReason) {
        self.send_off(self.engine.begin_dispose(loan, real_now()), reason);
    }

    /// Ends a connection that the engine would not take back. Whoever counted on it looks for something
    /// else.
    #[cold]
    pub(super) fn evict_surplus(self: &Arc<Self>, retired: PoolRetired<M>, surplus: RejectReason) {
        let reason = match surplus {
            RejectReason::Closed => EvictReason::Closed,
            RejectReason::Cleared => EvictReason::Cleared,
            RejectReason::Shrunk => EvictReason::Shrunk,
            RejectReason::MadeRoom => EvictReason::MadeRoom,
        };
        self.count_reason(reason);
        self.send_off(retired, reason);
        self.settle();
    }

    fn send_off(self: &Arc<Self>, retired: PoolRetired<M>, reason: EvictReason) {
        let Evicted {
            entry: node,
            uses,
            leaving,
        } = retired;
        self.tell_eviction(&node, uses, reason, self.ticker.tick());
        self.note_closed_connection();
        self.end_waits_in_outage();
        let Some(bell) = &self.bell else {
            return self.dispose(node, leaving);
        };
        let shared = Arc::clone(self);
        bell.submit(false, move || shared.dispose(node, leaving));
        if self.min_idle.load(Relaxed) > 0 {
            self.nudge();
        }
    }

    /// Counts and reports an eviction of a connection that has no slot any more.
    pub(super) fn count_eviction(&self, node: &Node<M>, uses: u64, reason: EvictReason, now: u64) {
        self.count_reason(reason);
        self.tell_eviction(node, uses, reason, now);
    }

    fn tell_eviction(&self, node: &Node<M>, uses: u64, reason: EvictReason, now: u64) {
        self.emit(|pool| PoolEvent::Evicted {
            pool,
            id: node.id,
            reason,
            age: span(node.created, now),
            uses: uses.saturating_sub(node.before),
        });
    }

    fn dispose(self: &Arc<Self>, node: Box<Node<M>>, leaving: PoolLeaving<M>) {
        let now = real_now();
        let deadline = self.hook_deadline(now, self.config.dispose_timeout);
        leaving.start(now, deadline);
        self.call_at(deadline);
        self.run_dispose(node);
        let effects = leaving.finish(real_now());
        self.run(effects);
        self.note_end_of_hook();
        // A slot is free that min_idle may want, or there is one abandoned hook less, and another may
        // be given up on now.
        let overdue = deadline.is_some_and(|due| due < real_now());
        if overdue || self.min_idle.load(Relaxed) > 0 || self.is_one_of_many_and_empty() {
            self.nudge();
        }
    }

    /// The hook itself. A panic in it ends the connection all the same.
    pub(super) fn run_dispose(&self, node: Box<Node<M>>) {
        let Node { connection, .. } = *node;
        let _reported = self.call("dispose", |manager| manager.dispose(connection));
    }

    /// Has the collector look at once, if there is one.
    pub(super) fn nudge(&self) {
        if let Some(bell) = &self.bell {
            bell.nudge();
        }
    }
}
