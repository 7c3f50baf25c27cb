//! The statistics: gauges in one consistent look, counters gathered from slots and meter.

use super::pooled::span;
use super::{Meter, PoolState, Shared};
use crate::engine::Stamp;
use crate::stats::Recorder;
use crate::sync::outer::AtomicUsize;
use crate::{ConnectionManager, EvictReason, Latency, PoolConfig, PoolStats};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn stats(&self) -> PoolStats {
        let gauges = self.gauges(&self.engine.lock());
        self.with_counts(&gauges)
    }

    /// What must be consistent, for one who has the lock. Quick: no histogram is read.
    pub(super) fn gauges(&self, state: &PoolState<M>) -> PoolStats {
        let now = self.ticker.tick();
        let (mut in_use, mut oldest) = (0, None::<u64>);
        for slot in self.engine.table.all().take(state.slots()) {
            let stamp = slot.stamp();
            in_use += usize::from(matches!(stamp, Stamp::InUse(_)));
            if stamp != Stamp::Vacant {
                let born = state.opened_in(slot.index()).tick;
                oldest = Some(oldest.map_or(born, |oldest| oldest.min(born)));
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
            oldest_age: oldest.map(|born| span(born, now)),
            created: state.created,
            disposed: state.disposed,
            added: state.added,
            detached: state.detached,
            ..PoolStats::default()
        }
    }

    /// With what is counted elsewhere, and needs no lock.
    pub(super) fn with_counts(&self, gauges: &PoolStats) -> PoolStats {
        let meter = &self.meter;
        // First, so that no part is larger than the whole.
        let gets_waited = meter.gets_waited.load(Acquire);
        let (timeouts, saturated) = (meter.timeouts.load(Relaxed), meter.saturated.load(Relaxed));
        let (mut held, mut gets, mut uses) = (0, 0, 0);
        for slot in self.engine.table.all() {
            let got = slot.gets();
            gets += got;
            uses += got + slot.try_gets();
            held += u64::from(slot.holder() != 0);
        }
        // A get that failed so is on its way back to its caller, who is counted last.
        let failed_gets = meter.failed.load(Relaxed).max(timeouts + saturated);
        let waited = meter.wait.snapshot(0).count;
        let noted = meter.held.snapshot(0).count;
        // A checkout that is over and left no record was shorter than the clock can tell.
        let instant = uses.saturating_sub(noted + held);
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
            wait: meter.wait.snapshot(gets.saturating_sub(waited)),
            create: meter.create.snapshot(0),
            held: meter.held.snapshot(instant),
            name: Arc::clone(&self.name),
            evictions: EvictReason::EACH
                .map(|reason| meter.evictions[reason.index()].load(Relaxed)),
            reused: uses.saturating_sub(meter.first_uses.load(Relaxed)),
            checkouts: uses,
            failed_gets,
            ..gauges.clone()
        }
    }

    /// The settings in force.
    pub(crate) fn config(&self) -> PoolConfig {
        let mut config = self.config.clone();
        config.max_size = self.engine.lock().max_size;
        config.min_idle = self.min_idle.load(Relaxed);
        config.keepalive_interval = *self.keepalive_interval.lock();
        config
    }
}

/// Of so many samples; those that took no time are in no histogram.
pub(super) fn with_zeros(count: u64, times: &Recorder) -> Latency {
    let recorded = times.snapshot(0).count;
    times.snapshot(count.saturating_sub(recorded))
}

impl Meter {
    /// Adds what has the form of a histogram; the other counts are added as statistics.
    pub(super) fn absorb(&self, other: &Self) {
        self.wait.absorb(&other.wait);
        self.create.absorb(&other.create);
        self.held.absorb(&other.held);
    }
}
