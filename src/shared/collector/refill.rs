//! Refill: keeps `min_idle` connections idle, and replaces connections before they expire.
//!
//! # Without a counter
//!
//! A fast checkout notifies no other thread, so a sleeping collector would not learn that fewer than
//! `min_idle` connections are idle. In a pool with `min_idle` the collector therefore runs every
//! [`REFILL_INTERVAL`] while there are checkouts. When there are no more checkouts, the collector sets a bit
//! in the gate that makes the next checkout wake it, and sleeps without a deadline. Pools without `min_idle`
//! never do this.

use crate::engine::{CreateReason, Now, Stamp};
use crate::shared::collector::{NextWake, SweepActions, SweepState};
use crate::shared::create::Purpose;
use crate::shared::pooled::span;
use crate::shared::{PoolState, Shared};
use crate::{ConnectionManager, EvictReason};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

const REFILL_INTERVAL: Duration = Duration::from_millis(20);

impl<M: ConnectionManager> Shared<M> {
    /// Starts the replacement of an expired connection that min_idle needs, if there is room.
    ///
    /// True if the expired connection must stay until its replacement is open. `coming` is the number of
    /// connections that are idle or will be after a create or a check. This function updates `coming`.
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
            // A create or a check under way replaces the connection, and its end wakes the collector.
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
                // The shared limit has no free slot.
                return false;
            };
            *coming += 1;
            sweep_state.replacing.insert(slot, permit.job());
            found.creates.push((permit, Purpose::Replace(slot)));
        }
        // If max_creating is reached, the end of a create wakes the collector. In a pool without a collector
        // the sweep evicts the expired connections at its end.
        true
    }

    /// Evicts the expired connection in this slot after the attempt to replace it, successful or not.
    pub(in crate::shared) fn evict_replaced(self: &Arc<Self>, slot: u32) {
        let now = self.now();
        let mut found = SweepActions::new();
        {
            let mut sweep_state = self.sweep_state.lock();
            sweep_state.replacing.remove(&slot);
            let slot = self.engine.table.get(slot);
            let slot = slot.filter(|slot| matches!(slot.stamp(), Stamp::Idle(_)));
            let evict = |slot| self.evict_aged(slot, now, EvictReason::MaxLifetime, &mut found);
            if slot.is_some_and(evict) && self.executor.is_inline() {
                sweep_state.replaced += 1;
            }
        }
        self.run_sweep_actions(found);
    }

    /// Returns how many idle connections are missing, beyond the creates and checks under way.
    ///
    /// A negative number says how many creates and checks under way are not needed any more. Zero also means
    /// that no create should start now.
    pub(in crate::shared) fn refill_deficit(&self, state: &PoolState<M>, now: u64) -> isize {
        let min_idle = self.min_idle.load(Relaxed);
        if min_idle == 0 || state.suspended || state.closed || self.building.load(Acquire) {
            return -isize::from(min_idle == 0 || state.closed);
        }
        isize::try_from(min_idle).unwrap_or(isize::MAX)
            - isize::try_from(self.idle_or_coming(state, now)).unwrap_or(isize::MAX)
    }

    /// Returns how many connections are idle, counted up to min_idle, or will be idle after a create or a
    /// check.
    ///
    /// Both are counted under one lock. A connection moves from one count to the other under that lock, so
    /// each connection counts once.
    pub(in crate::shared) fn idle_or_coming(&self, state: &PoolState<M>, now: u64) -> usize {
        self.live_idle(now, self.min_idle.load(Relaxed)) + state.jobs_without_waiter()
    }

    /// Returns whether a refill should wait: too few connections are idle, but only because others are in
    /// use.
    ///
    /// A refill waits for one [`REFILL_INTERVAL`], or for a quarter of a typical create if that is longer. Most
    /// checkouts have ended by then, and no connection has to be opened.
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
        drop(state);
        let create = self.durations(now.tick).create.unwrap_or_default();
        let patience = REFILL_INTERVAL.max(create / 4);
        let look_again = *sweep_state.short_since.get_or_insert(now.real) + patience;
        let early = look_again > now.real;
        if early {
            next.at(look_again);
        }
        early
    }

    /// Reserves the creates that min_idle needs.
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

    /// Decides whether the next checkout wakes the collector or the collector polls.
    pub(in crate::shared) fn update_wake_on_checkout(
        &self,
        sweep_state: &mut SweepState,
        now: Instant,
        next: &mut NextWake,
    ) {
        let leaks = self.leaks.as_ref().map(|leaks| span(0, leaks.threshold));
        let refill = (self.min_idle.load(Relaxed) > 0).then_some(REFILL_INTERVAL);
        let interval = [leaks, refill].into_iter().flatten().min();
        let Some(interval) = interval.filter(|_| !self.executor.is_inline()) else {
            self.engine.set_wake_collector(false);
            return;
        };
        let uses = self.engine.table.all().map(|slot| slot.uses()).sum();
        let active = sweep_state.uses_seen != uses;
        sweep_state.uses_seen = uses;
        let look_again = now.checked_add(interval);
        // Run once more after the bit is set, because a checkout may have read the gate before.
        if active {
            self.engine.set_wake_collector(false);
            next.at_opt(look_again);
        } else if !self.engine.set_wake_collector(true) {
            next.at_opt(look_again);
        }
    }

    /// Wakes the collector on behalf of a checkout that found the request in the gate.
    #[cold]
    pub(in crate::shared) fn checkout_wakes_collector(&self) {
        if self.engine.set_wake_collector(false) {
            self.wake_collector();
        }
    }
}
