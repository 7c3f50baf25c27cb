//! How connections that nobody needs come to idle out, however many threads take turns.
//!
//! A thread takes the connection that it used last. Threads that never overlap would so keep one connection
//! young each, for ever. Four times within `idle_timeout`, the collector therefore puts every idle
//! connection on *standby*: a checkout takes one on standby only where no other is idle, and takes it off
//! standby with that. So as many connections come off standby as are in use at once, and the others idle
//! out.
//!
//! A warm checkout does no more work for it: it compares the age of what it takes with a limit anyway, and
//! on standby the limit that it reads is 0.

use crate::shared::collector::{SweepActions, SweepState};
use crate::shared::{PoolCheckout, Shared};
use crate::engine::{Now, Stamp};
use crate::{ConnectionManager, EvictReason};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A checkout that met a connection on standby looks at so many others that are not: it costs no more where
/// thousands are open.
const RECENT: usize = 32;

impl<M: ConnectionManager> Shared<M> {
    /// The time from one round of this to the next, in ticks; None where nothing idles out.
    pub(in crate::shared) fn standby_interval(&self) -> Option<u64> {
        self.ages.idle.map(|limit| (limit / 4).max(1))
    }

    /// Puts every idle connection on standby if it is time, unless min_idle needs them all.
    pub(in crate::shared) fn put_on_standby(
        self: &Arc<Self>,
        sweep_state: &mut SweepState,
        now: Now,
        found: &mut SweepActions<M>,
    ) {
        let Some(interval) = self.standby_interval() else {
            return;
        };
        let needed = self.min_idle.load(Relaxed).max(1);
        if self.engine.lock().open <= needed {
            return;
        }
        let mut in_use = false;
        let next_round = now.tick.saturating_add(interval);
        // The first round comes soon, but not while the first connections find their threads.
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
                        false
                    };
                    self.take_if(slot, now, EvictReason::IdleTimeout, found, mark);
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

    /// What a checkout takes that has found this: one that is not on standby, where there is one.
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
            let rests = matches!(slot.stamp(), Stamp::Idle(_)) && !slot.is_on_standby();
            rests.then(|| slot.take(now)).flatten()
        });
        // Else the lowest: were it the one that each thread used last, every round would keep another young.
        let other = other.or_else(|| self.engine.table.find_below(checkout.slot.index(), now));
        let Some(other) = other else {
            return checkout;
        };
        self.return_unused(checkout);
        other
    }

    /// A checkout needs this connection.
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
