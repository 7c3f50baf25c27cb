//! Key activity: tracks whether the key of a pool in a keyed pool is used.
//!
//! When a key was unused for `idle_timeout`, its `min_idle` lapses, and a pool without open connections is
//! removed.

use crate::clock::real_now;
use crate::engine::Stamp;
use crate::shared::Shared;
use crate::shared::collector::{NextWake, SweepState};
use crate::{ConnectionManager, PoolConfig};
use std::sync::atomic::Ordering::Relaxed;

/// The state that passes keep between them.
#[derive(Default)]
pub(in crate::shared) struct KeyActivity {
    /// The use count of all slots at the last pass.
    uses: u64,
    /// The tick of the last known use. None before the first pass.
    seen: Option<u64>,
}

impl<M: ConnectionManager> Shared<M> {
    /// Records the end of a checkout whose connection may not return to its slot.
    ///
    /// A connection in its slot bears the tick of its return. Without it this record is the only trace.
    pub(in crate::shared) fn record_use_end(&self, now: u64) {
        if self.group.is_some() {
            self.used_at.fetch_max(now, Relaxed);
        }
    }

    /// Updates the key activity and `min_idle` from the slots, and schedules the next pass.
    pub(in crate::shared) fn update_key_activity(
        &self,
        sweep_state: &mut SweepState,
        now: u64,
        next: &mut NextWake,
    ) {
        if self.group.is_none() {
            return;
        }
        let min_idle = self.running.min_idle();
        let Some(limit) = self.running.idle() else {
            // A change of idle_timeout may have ended the time after which min_idle lapses.
            self.min_idle.store(min_idle, Relaxed);
            return;
        };
        let (mut uses, mut held, mut back) = (0, false, None);
        for slot in self.engine.table.all() {
            uses += slot.uses();
            held |= slot.holder().is_some();
            if let Stamp::Idle(since) = slot.stamp() {
                back = back.max(Some(since));
            }
        }
        let activity = &mut sweep_state.usage;
        let more = activity.uses != uses;
        activity.uses = uses;
        // The latest idle stamp is the tick of the last return, however late this pass runs. A connection
        // that did not return has left a record instead.
        let reported = Some(self.used_at.load(Relaxed)).filter(|at| *at > 0);
        let last = match () {
            () if held => Some(now),
            () if more => Some(back.max(reported).unwrap_or(now)),
            () => reported,
        };
        activity.seen = activity.seen.max(last).or(Some(now));
        let ends = activity.seen.unwrap_or(now).saturating_add(limit);
        if now <= ends {
            next.at_tick(ends + 1);
        }
        let min_idle = if now <= ends { min_idle } else { 0 };
        self.min_idle.store(min_idle, Relaxed);
    }

    /// Wakes the collector at the first use of a connection if `min_idle` has lapsed. The next pass then
    /// restores `min_idle`.
    pub(in crate::shared) fn renew_min_idle(&self) {
        if self.group.is_some() && self.min_idle.load(Relaxed) < self.running.min_idle() {
            self.wake_collector();
        }
    }

    /// Returns whether `min_idle` has lapsed, given the settings in force.
    pub(in crate::shared) fn is_min_idle_lapsed(&self, config: &PoolConfig) -> bool {
        self.group.is_some() && self.min_idle.load(Relaxed) < config.min_idle
    }

    /// Returns whether the key was unused for longer than `idle_timeout` and no pause after a failure is
    /// under way.
    pub(in crate::shared) fn is_unused(&self) -> bool {
        let now = self.ticker.tick();
        let paused = self.engine.lock().paused_until;
        if paused.is_some_and(|until| until > real_now()) {
            return false;
        }
        let Some(limit) = self.running.idle() else {
            return false;
        };
        let seen = self.sweep_state.lock().usage.seen;
        seen.is_some_and(|seen| now.saturating_sub(seen) > limit)
    }
}
