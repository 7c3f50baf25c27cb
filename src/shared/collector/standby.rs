//! Standby: lets surplus connections idle out, however many threads take turns.
//!
//! A thread takes the connection that it used last. Threads that never overlap would therefore keep one
//! connection each from idling out, forever. Four times within `idle_timeout`, the collector puts every idle
//! connection on *standby*. A checkout takes a connection on standby only if no other is idle, and thereby
//! takes the connection off standby. As many connections come off standby as are in use at once, and the
//! others idle out.
//!
//! A fast checkout does no extra work for standby. It compares the age of the connection with a limit anyway,
//! and on standby that limit is 0.

use crate::engine::{Now, Stamp};
use crate::shared::collector::{SweepActions, SweepState};
use crate::shared::{PoolCheckout, Shared};
use crate::{ConnectionManager, IdleOrder};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How many connections off standby a checkout tries after it has found one on standby. The bound keeps the
/// cost constant when thousands of connections are open.
const RECENT: usize = 32;

impl<M: ConnectionManager> Shared<M> {
    /// Returns the ticks between two rounds of standby. None if connections do not idle out.
    pub(in crate::shared) fn standby_interval(&self) -> Option<u64> {
        self.running.idle().map(|limit| (limit / 4).max(1))
    }

    /// Puts every idle connection on standby if a round is due, unless min_idle needs all connections.
    pub(in crate::shared) fn put_on_standby(
        self: &Arc<Self>,
        sweep_state: &mut SweepState,
        now: Now,
        found: &mut SweepActions<M>,
    ) {
        let Some(interval) = self.standby_interval() else {
            return;
        };
        if self.config.idle_order == IdleOrder::Fifo {
            // Every connection takes its turn, so none is surplus.
            return;
        }
        let needed = self.min_idle.load(Relaxed).max(1);
        if self.engine.lock().open <= needed {
            return;
        }
        let mut in_use = false;
        let next_round = now.tick.saturating_add(interval);
        // The first round comes soon, but leaves the threads time to settle on their connections.
        let first_round = now.tick.saturating_add((interval / 16).max(1));
        let at = *sweep_state.standby_at.get_or_insert(first_round);
        let is_time = now.tick >= at;
        if is_time {
            sweep_state.standby_at = Some(next_round);
            self.off_standby.lock().clear();
        }
        for slot in self.engine.table.all() {
            match slot.stamp() {
                Stamp::Vacant => {}
                Stamp::Idle(_) if slot.is_on_standby() => {}
                Stamp::Idle(_) if is_time => {
                    let mark = |checkout: &mut PoolCheckout<M>| {
                        checkout.entry.expires = 0;
                        checkout.slot.set_on_standby(true);
                        None
                    };
                    self.take_if(slot, now, found, mark);
                }
                Stamp::Idle(_) => in_use = true,
                Stamp::InUse(_) => {
                    in_use = true;
                    if is_time {
                        self.off_standby.lock().push(slot.index());
                    }
                }
            }
        }
        if in_use {
            found.next.at_tick(if is_time { next_round } else { at });
        }
    }

    /// Exchanges a connection on standby for one off standby, if there is one.
    pub(in crate::shared) fn prefer_off_standby(
        self: &Arc<Self>,
        checkout: PoolCheckout<M>,
        now: u64,
    ) -> PoolCheckout<M> {
        if !checkout.slot.is_on_standby() {
            return checkout;
        }
        let recent: Vec<_> = {
            let known = self.off_standby.lock();
            known.iter().rev().take(RECENT).copied().collect()
        };
        let other = recent.into_iter().find_map(|index| {
            let slot = self.engine.table.get(index)?;
            let is_candidate = matches!(slot.stamp(), Stamp::Idle(_)) && !slot.is_on_standby();
            is_candidate.then(|| slot.take(now)).flatten()
        });
        // Otherwise take the lowest slot. With the last used slot of each thread, every round would keep
        // another connection from idling out.
        let other = other.or_else(|| self.engine.table.find_below(checkout.slot.index(), now));
        let Some(other) = other else {
            return checkout;
        };
        self.return_unused(checkout);
        other
    }

    /// Takes a connection off standby for a checkout.
    pub(in crate::shared) fn take_off_standby(&self, checkout: &mut PoolCheckout<M>) {
        if !checkout.slot.is_on_standby() {
            return;
        }
        checkout.slot.set_on_standby(false);
        self.off_standby.lock().push(checkout.slot.index());
        checkout.entry.expires = checkout.slot.expires();
        if let Some(interval) = self.standby_interval() {
            let now = self.now();
            self.wake_at_tick(now.tick.saturating_add(interval), now);
        }
    }
}
