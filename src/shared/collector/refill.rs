//! How `min_idle` is kept: refill, and replacement before expiry.
//!
//! # Without a counter
//!
//! A warm checkout tells nobody, so a collector that sleeps would not learn that fewer than
//! `min_idle` connections are left. In a pool with `min_idle` the collector therefore looks every
//! [`REFILL_INTERVAL`] while there are checkouts; when there are none any more it sets a bit in the gate, which
//! makes the next checkout ring, and sleeps for good. Pools without `min_idle` never do this.

use crate::shared::create::Purpose;
use crate::shared::collector::{NextWake, SweepActions, SweepState};
use crate::shared::{PoolCheckout, PoolState, Shared};
use crate::engine::{CreateReason, Now, Stamp};
use crate::{ConnectionManager, EvictReason};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

const REFILL_INTERVAL: Duration = Duration::from_millis(20);

impl<M: ConnectionManager> Shared<M> {
    /// An expired connection that min_idle needs: its replacement comes first where there is room. True
    /// if it is to stay until then. `idle_or_coming`: how many are idle or on their way, updated here.
    pub(in crate::shared) fn replace_expired(
        &self,
        sweep_state: &mut SweepState,
        slot: u32,
        coming: &mut usize,
        now: Instant,
        found: &mut SweepActions<M>,
    ) -> bool {
        if sweep_state.replacing.contains_key(&slot) {
            return true;
        }
        let mut state = self.engine.lock();
        if *coming >= self.min_idle.load(Relaxed) {
            // What is under way replaces it; the end of that calls the collector.
            return true;
        }
        if !state.has_room() || state.suspended || state.is_paused(now) || state.closed {
            return false;
        }
        if state.may_create(now) {
            let Some(permit) = self
                .engine
                .reserve_create(&mut state, CreateReason::Spare, now)
            else {
                // What several pools share has been used up.
                return false;
            };
            *coming += 1;
            sweep_state.replacing.insert(slot, permit.job());
            found.creates.push((permit, Purpose::Replace(slot)));
        }
        // With max_creating reached, the end of one of them calls the collector again; without one,
        // the sweep looks again at its end.
        true
    }

    /// The attempt to replace the connection in this slot is over, well or not.
    pub(in crate::shared) fn evict_replaced(self: &Arc<Self>, slot: u32) {
        let now = self.now();
        let mut found = SweepActions::new();
        {
            let mut sweep_state = self.sweep_state.lock();
            sweep_state.replacing.remove(&slot);
            if let Some(slot) = self.engine.table.get(slot) {
                if matches!(slot.stamp(), Stamp::Idle(_)) {
                    let expired =
                        |checkout: &mut PoolCheckout<M>| checkout.slot.expires() <= now.tick;
                    let reason = EvictReason::MaxLifetime;
                    if self.take_if(slot, now, reason, &mut found, expired)
                        && self.executor.is_inline()
                    {
                        sweep_state.replaced += 1;
                    }
                }
            }
        }
        self.run_sweep_actions(found);
    }

    /// How many idle connections are missing, beyond those under way. Below zero, so many of those
    /// under way are not wanted any more; zero while no more should be begun.
    pub(in crate::shared) fn refill_deficit(&self, state: &PoolState<M>, now: u64) -> isize {
        let min_idle = self.min_idle.load(Relaxed);
        if min_idle == 0 || state.suspended || state.closed || self.building.load(Acquire) {
            return -isize::from(min_idle == 0 || state.closed);
        }
        isize::try_from(min_idle).unwrap_or(isize::MAX)
            - isize::try_from(self.idle_or_coming(state, now)).unwrap_or(isize::MAX)
    }

    /// How many are idle, of those that min_idle needs, or on their way there from a create or a check.
    /// Counted under one lock, under which each of them goes from the one to the other.
    pub(in crate::shared) fn idle_or_coming(&self, state: &PoolState<M>, now: u64) -> usize {
        self.live_idle(now, self.min_idle.load(Relaxed)) + state.jobs_without_waiter()
    }

    /// Too few are idle, but only because others are in use, and only since a moment ago. Most checkouts
    /// are over by the next look, and nothing has to be opened for them.
    pub(in crate::shared) fn shortage_may_pass(
        &self,
        sweep_state: &mut SweepState,
        now: Now,
        next: &mut NextWake,
    ) -> bool {
        let state = self.engine.lock();
        let enough = state.size() >= self.min_idle.load(Relaxed);
        if self.executor.is_inline() || !enough || self.refill_deficit(&state, now.tick) <= 0 {
            sweep_state.short_since = None;
            return false;
        }
        let look_again = *sweep_state.short_since.get_or_insert(now.real) + REFILL_INTERVAL;
        let early = look_again > now.real;
        if early {
            next.at(look_again);
        }
        early
    }

    pub(in crate::shared) fn refill(&self, now: Now, found: &mut SweepActions<M>) {
        let mut state = self.engine.lock();
        let mut missing = self.refill_deficit(&state, now.tick);
        while missing > 0 && state.may_create(now.real) {
            let Some(permit) =
                self.engine
                    .reserve_create(&mut state, CreateReason::Spare, now.real)
            else {
                break;
            };
            found.creates.push((permit, Purpose::Refill));
            missing -= 1;
        }
    }

    pub(in crate::shared) fn update_wake_on_checkout(
        &self,
        sweep_state: &mut SweepState,
        now: Instant,
        next: &mut NextWake,
    ) {
        if self.min_idle.load(Relaxed) == 0 || self.executor.is_inline() {
            self.engine.set_wake_collector(false);
            return;
        }
        let uses = self.engine.table.all().map(|slot| slot.uses()).sum();
        let active = sweep_state.uses_seen != uses;
        sweep_state.uses_seen = uses;
        // After the bit is set, one more look: a checkout may have read the gate before.
        if active {
            self.engine.set_wake_collector(false);
            next.at(now + REFILL_INTERVAL);
        } else if !self.engine.set_wake_collector(true) {
            next.at(now + REFILL_INTERVAL);
        }
    }

    /// A checkout in a pool whose collector asked to hear of it.
    #[cold]
    pub(in crate::shared) fn checkout_wakes_collector(&self) {
        if self.engine.set_wake_collector(false) {
            self.wake_collector();
        }
    }
}
