//! Statistics: gauges, read consistently under one lock, and counters, gathered from the slots and the meter.

use super::pooled::span;
use super::{Meter, PoolState, Shared};
use crate::engine::{HeldCheckout, Stamp};
use crate::stats::Origin;
use crate::sync::outer::AtomicUsize;
use crate::{ConnectionManager, EvictReason, Latency, PoolStats};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn stats(&self) -> PoolStats {
        let taken_at = self.ticker.precise_now();
        let mut stats = self.stats_without_latencies();
        stats.origin = Origin::new(self.id_in_group(), self.built_at, taken_at);
        self.meter.set_latencies(&mut stats);
        stats
    }

    /// Returns the statistics without latencies, except for their counts, and without their origin.
    pub(super) fn stats_without_latencies(&self) -> PoolStats {
        let (gauges, out) = {
            let state = self.engine.lock();
            (self.gauges(&state), self.engine.checkouts(&state))
        };
        self.with_counts(&self.with_holders(gauges, out))
    }

    /// Reads the values that must be consistent, under the lock of the caller. Fast, because no histogram is
    /// read.
    pub(super) fn gauges(&self, state: &PoolState<M>) -> PoolStats {
        let now = self.ticker.tick();
        let (mut in_use, mut oldest) = (0, None::<u64>);
        for slot in self.engine.table.all().take(state.slots()) {
            let stamp = slot.stamp();
            in_use += usize::from(matches!(stamp, Stamp::InUse(_)));
            if stamp != Stamp::Vacant {
                let opened_at = state.opened_in(slot.index()).tick;
                oldest = Some(oldest.map_or(opened_at, |oldest| oldest.min(opened_at)));
            }
        }
        PoolStats {
            max_size: state.max_size,
            min_idle: self.min_idle.load(Relaxed),
            size: state.size(),
            idle: state.open - in_use,
            in_use,
            creating: state.creating,
            disposing: state.disposing,
            abandoned: state.abandoned,
            waiters: state.queue.len(),
            oldest_age: oldest.map(|opened_at| span(opened_at, now)),
            created: state.created,
            disposed: state.disposed,
            added: state.added,
            detached: state.detached,
            ..PoolStats::default()
        }
    }

    /// Adds the longest of these holders to the gauges.
    pub(super) fn with_holders(&self, gauges: PoolStats, out: Vec<HeldCheckout>) -> PoolStats {
        let (longest_holders, more_holders) = self.longest_holders(out);
        PoolStats {
            longest_holders,
            more_holders,
            ..gauges
        }
    }

    /// Adds the counters, which need no lock, and the counts of `wait` and `held` to the gauges.
    pub(super) fn with_counts(&self, gauges: &PoolStats) -> PoolStats {
        let meter = &self.meter;
        // Read the parts before the totals, so that no part is larger than its total.
        let gets_waited = meter.gets_waited.load(Acquire);
        let (timeouts, saturated) = (meter.timeouts.load(Relaxed), meter.saturated.load(Relaxed));
        let (mut held, mut gets, mut uses) = (0, 0, 0);
        for slot in self.engine.table.all() {
            let got = slot.gets();
            gets += got;
            uses += got + slot.try_gets();
            held += u64::from(slot.holder().is_some());
        }
        // A get that timed out or was rejected increments `failed` last, so `failed` may lag behind.
        let failed_gets = meter.failed.load(Relaxed).max(timeouts + saturated);
        let peak = |peak: &AtomicUsize, value: usize| peak.fetch_max(value, Relaxed).max(value);
        PoolStats {
            health: self.health_state(),
            peak_in_use: peak(&meter.peak_in_use, gauges.in_use),
            peak_waiters: peak(&meter.peak_waiters, gauges.waiters),
            gets: gets + failed_gets,
            gets_waited,
            timeouts,
            saturated,
            create_errors: meter.create_errors.load(Relaxed),
            check_failures: meter.check_failures.load(Relaxed),
            panics: meter.panics.load(Relaxed),
            last_error: self.last_error.lock().clone(),
            wait: Latency::of_count(gets),
            held: Latency::of_count(uses.saturating_sub(held)),
            name: Arc::clone(&self.name),
            evictions: EvictReason::EACH
                .map(|reason| meter.evictions[reason.index()].load(Relaxed)),
            reused: uses.saturating_sub(meter.first_uses.load(Relaxed)),
            checkouts: uses,
            failed_gets,
            ..gauges.clone()
        }
    }
}

impl Meter {
    /// Adds the histograms of another meter. The other counters are added as statistics.
    pub(super) fn absorb(&self, other: &Self) {
        self.wait.absorb(&other.wait);
        self.create.absorb(&other.create);
        self.held.absorb(&other.held);
    }

    /// Sets the latencies of statistics that have the counts of `wait` and `held`. The gets that did not wait, and
    /// the checkouts that were too short for the clock, are in these counts only.
    pub(super) fn set_latencies(&self, stats: &mut PoolStats) {
        stats.set_latencies(&self.wait, &self.create, &self.held);
    }
}
