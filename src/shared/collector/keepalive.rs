//! Keepalive: checks idle connections in the background.

use super::NextWake;
use crate::ConnectionManager;
use crate::engine::{BACKGROUND_CHECKS, CheckFor, Now, Stamp};
use crate::shared::Shared;
use crate::sync::outer::AtomicUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The divisor for the spread of keepalive checks: the checks of many connections are spread over the last
/// tenth of the interval. HikariCP varies its keepalive by as much.
const KEEPALIVE_SPREAD: u64 = 10;

/// Returns how many ticks before the end of the interval a connection is checked, if it was proven alive at
/// tick `proven`.
///
/// The result is evenly distributed below `spread`, so that connections that were opened together are not
/// checked together.
fn early_by(slot: u32, proven: u64, spread: u64) -> u64 {
    if spread == 0 {
        return 0;
    }
    // The finalizer of SplitMix64 (Steele, Lea and Flood 2014) gives neighbouring slots unlike numbers.
    let mut mixed = proven ^ (u64::from(slot) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % spread
}

impl<M: ConnectionManager> Shared<M> {
    /// Returns how many ticks a connection may be idle before it is checked.
    pub(super) fn keepalive(&self) -> Option<u64> {
        self.running.keepalive()
    }

    /// Starts the keepalive checks that are due, as many as may run at once, and returns how many.
    ///
    /// The end of each check wakes the collector, which starts the next one.
    pub(super) fn check_due(
        self: &Arc<Self>,
        now: Now,
        next: &mut NextWake,
        failed: &Arc<AtomicUsize>,
    ) -> usize {
        let Some(interval) = self.keepalive() else {
            return 0;
        };
        // A few connections can be checked concurrently, so their checks need no spread.
        let spread = match self.engine.lock().open > BACKGROUND_CHECKS {
            true => interval / KEEPALIVE_SPREAD,
            false => 0,
        };
        let mut started = 0;
        for slot in self.engine.table.all() {
            let Stamp::Idle(since) = slot.stamp() else {
                continue;
            };
            if slot.expires() <= now.tick {
                continue;
            }
            let due = || {
                let proven = since.max(slot.checked());
                proven.saturating_add(interval - early_by(slot.index(), proven, spread))
            };
            let (due_at, is_due) = (due(), || due() <= now.tick);
            if due_at > now.tick {
                next.at_tick(due_at);
            } else if let Some((check, checkout)) =
                self.take_to_check(slot, now, CheckFor::Pool, is_due)
            {
                started += 1;
                let failed = Arc::clone(failed);
                self.run_background_check(check, checkout, move |succeeded| {
                    failed.fetch_add(usize::from(!succeeded), Relaxed);
                });
            }
        }
        started
    }
}
