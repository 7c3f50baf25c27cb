//! Check-in through the lock: an entry goes to the head waiter, into its slot, or to its dispose.

use super::{Actions, Checkout, Engine, Evicted, NOTIFY_HEAD, Outcome, State};
use crate::sync::Ordering;
use std::sync::Arc;
use std::time::Instant;

/// Why the pool rejects a returned entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RejectReason {
    /// The pool is closed.
    Closed,
    /// The entry belongs to an earlier generation.
    Cleared,
    /// The entry was interrupted while it was in use.
    Interrupted,
    /// The pool has more connections than `max_size`.
    Shrunk,
    /// The pool has as many idle connections as `max_idle` permits.
    Surplus,
    /// A waiter of another engine has waited longer and needs the entry's slot.
    MadeRoom,
}

/// The result of returning an entry: the actions to run after unlock, or the rejected entry, whose dispose
/// began under the same lock.
pub(crate) type ReturnResult<T, F> = Result<Actions<T, F>, (Evicted<T, F>, RejectReason)>;

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Returns an entry through the lock.
    ///
    /// `fresh` marks an entry that was just created, checked or added. A fresh entry goes to the head waiter
    /// even if the head is not due. The result of a rejected entry carries the entry; its dispose began
    /// under the same lock.
    pub(crate) fn return_entry(
        self: &Arc<Self>,
        checkout: Checkout<T>,
        idle_since: u64,
        generation: u64,
        fresh: bool,
        now: Instant,
    ) -> ReturnResult<T, F> {
        let mut state = self.lock();
        self.return_locked(&mut state, checkout, idle_since, generation, fresh, now)
    }

    /// Returns the reason to reject an entry of this generation, if there is one.
    pub(crate) fn reject_reason(
        &self,
        state: &State<T, F>,
        generation: u64,
    ) -> Option<RejectReason> {
        if state.closed {
            return Some(RejectReason::Closed);
        }
        if generation != state.generation {
            return Some(RejectReason::Cleared);
        }
        state.is_over_limit().then_some(RejectReason::Shrunk)
    }

    pub(crate) fn return_locked(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        checkout: Checkout<T>,
        idle_since: u64,
        generation: u64,
        fresh: bool,
        now: Instant,
    ) -> ReturnResult<T, F> {
        let interrupted = state.interrupted.remove(&checkout.slot.index());
        let interrupted = interrupted.then_some(RejectReason::Interrupted);
        if let Some(reason) = interrupted.or_else(|| self.reject_reason(state, generation)) {
            return Err((
                self.begin_dispose_locked(state, checkout, now, false),
                reason,
            ));
        }
        if self.claim_for_peer(state, fresh, now) {
            let evicted = self.begin_dispose_locked(state, checkout, now, true);
            return Err((evicted, RejectReason::MadeRoom));
        }
        if !state.queue.is_empty() && !state.suspended && (fresh || self.head_is_due(state, now)) {
            let mut actions = Actions::new();
            // The end of a create or a check is no check-in.
            if !fresh {
                Self::note_served(state);
            }
            let checkout = Checkout {
                idle_since,
                ..checkout
            };
            actions
                .wakes
                .extend(state.queue.hand_off(Outcome::Checkout(checkout)));
            self.settle_into(state, now, &mut actions);
            return Ok(actions);
        }
        if self.has_enough_idle(state) {
            let evicted = self.begin_dispose_locked(state, checkout, now, false);
            return Err((evicted, RejectReason::Surplus));
        }
        let mut actions = Actions::new();
        if !state.queue.is_empty() && !state.suspended {
            // The head is not due. Notify the head once that an entry came back. Barging callers may take
            // the entry before the head searches; then the head's alarm fires when the head is due.
            actions.wakes.extend(state.queue.notify_head(false));
            self.update_gate(state, now);
        }
        state.queue.has_unseen_return |= !state.queue.is_empty();
        let notify_head = self.gate.load(Ordering::Relaxed) & NOTIFY_HEAD != 0;
        // With max_idle every check-in is counted under the lock.
        let return_slow = notify_head || state.max_idle.is_some() || state.idle_order.is_some();
        if let Some(order) = &mut state.idle_order {
            order.push(checkout.slot.index(), checkout.slot.uses());
        }
        self.table.store_locked(checkout, idle_since, return_slow);
        Ok(actions)
    }
}
