//! Whether the key of a pool in a keyed pool is used: `min_idle` lapses when it was not for as long as a
//! connection may idle, and a pool with nothing open is let go.

use crate::shared::Shared;
use crate::shared::collector::{NextWake, SweepState};
use crate::ConnectionManager;
use crate::clock::real_now;
use crate::engine::Stamp;
use std::sync::atomic::Ordering::Relaxed;

/// What a pass remembers.
#[derive(Default)]
pub(in crate::shared) struct KeyActivity {
    uses: u64,
    /// When it was last used, as far as is known; None before the first pass.
    seen: Option<u64>,
}

impl<M: ConnectionManager> Shared<M> {
    /// A checkout ends out of the ordinary: perhaps its connection does not come back to tell when.
    pub(in crate::shared) fn record_use_end(&self, now: u64) {
        if self.group.is_some() {
            self.used_at.fetch_max(now, Relaxed);
        }
    }

    /// Looks at the slots, for a pass of the collector; says when to look again.
    pub(in crate::shared) fn update_key_activity(
        &self,
        sweep_state: &mut SweepState,
        now: u64,
        next: &mut NextWake,
    ) {
        let (Some(_), Some(limit)) = (&self.group, self.ages.idle) else {
            return;
        };
        let (mut uses, mut held, mut back) = (0, false, None);
        for slot in self.engine.table.all() {
            uses += slot.uses();
            held |= slot.holder() != 0;
            if let Stamp::Idle(since) = slot.stamp() {
                back = back.max(Some(since));
            }
        }
        let usage = &mut sweep_state.usage;
        let more = usage.uses != uses;
        usage.uses = uses;
        // The last to come back tells when that was, however late this looks. What did not come back has
        // left its own note.
        let reported = Some(self.used_at.load(Relaxed)).filter(|at| *at > 0);
        let last = match () {
            () if held => Some(now),
            () if more => Some(back.max(reported).unwrap_or(now)),
            () => reported,
        };
        usage.seen = usage.seen.max(last).or(Some(now));
        let ends = usage.seen.unwrap_or(now).saturating_add(limit);
        if now <= ends {
            next.at_tick(ends + 1);
        }
        let min_idle = if now <= ends { self.config.min_idle } else { 0 };
        self.min_idle.store(min_idle, Relaxed);
    }

    /// A connection is used for the first time: if `min_idle` has lapsed, it holds again.
    pub(in crate::shared) fn renew_min_idle(&self) {
        if self.group.is_some() && self.min_idle.load(Relaxed) < self.config.min_idle {
            self.wake_collector();
        }
    }

    /// Not used for as long as a connection may idle, nor told to pause by its backend.
    pub(in crate::shared) fn is_unused(&self) -> bool {
        let now = self.ticker.tick();
        let paused = self.engine.lock().paused_until;
        if paused.is_some_and(|until| until > real_now()) {
            return false;
        }
        let Some(limit) = self.ages.idle else {
            return false;
        };
        let seen = self.sweep_state.lock().usage.seen;
        seen.is_some_and(|seen| now.saturating_sub(seen) > limit)
    }
}
