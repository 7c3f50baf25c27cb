//! The statistics: gauges in one consistent look, counters gathered from slots and meter.

use super::node::span;
use super::{PoolCore, Shared};
use crate::engine::Stamp;
use crate::{ConnectionManager, EvictReason, PoolConfig, PoolStats};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn stats(&self) -> PoolStats {
        self.stats_under(&self.engine.lock())
    }

    /// The same for one who has the lock.
    pub(super) fn stats_under(&self, core: &PoolCore<M>) -> PoolStats {
        let now = self.ticker.tick();
        let meter = &self.meter;
        let (mut in_use, mut held, mut gets, mut uses) = (0, 0, 0, 0);
        let mut oldest = None::<u64>;
        for slot in self.engine.table.all() {
            let got = slot.gets();
            gets += got;
            uses += got + slot.tries();
            held += u64::from(slot.holder() != 0);
            let stamp = slot.stamp();
            in_use += usize::from(matches!(stamp, Stamp::InUse(_)));
            if stamp != Stamp::Vacant {
                let born = core.birth(slot.index()).tick;
                oldest = Some(oldest.map_or(born, |oldest| oldest.min(born)));
            }
        }
        let failed_gets = meter.failed.load(Relaxed);
        let waited = meter.wait.snapshot(0).count;
        let noted = meter.held.snapshot(0).count;
        // A checkout that is over and left no record was shorter than the clock can tell.
        let instant = uses.saturating_sub(noted + held);
        let peak = |peak: &crate::sync::outer::AtomicUsize, value: usize| {
            peak.fetch_max(value, Relaxed).max(value)
        };
        PoolStats {
            max_size: core.max_size,
            min_idle: self.min_idle.load(Relaxed),
            size: core.size(),
            idle: core.open - in_use,
            in_use,
            creating: core.creating,
            disposing: core.disposing,
            abandoned: core.abandoned,
            waiters: core.queue.len(),
            health: self.health(),
            peak_in_use: peak(&meter.peak_in_use, in_use),
            peak_waiters: peak(&meter.peak_waiters, core.queue.len()),
            oldest_age: oldest.map(|born| span(born, now)),
            gets: gets + failed_gets,
            gets_waited: meter.gets_waited.load(Relaxed),
            timeouts: meter.timeouts.load(Relaxed),
            saturated: meter.saturated.load(Relaxed),
            created: core.created,
            create_errors: meter.create_errors.load(Relaxed),
            check_failures: meter.check_failures.load(Relaxed),
            disposed: core.disposed,
            added: core.added,
            detached: core.detached,
            panics: meter.panics.load(Relaxed),
            last_error: self.last_error.lock().clone(),
            wait: meter.wait.snapshot(gets.saturating_sub(waited)),
            create: meter.create.snapshot(0),
            held: meter.held.snapshot(instant),
            name: Arc::clone(&self.name),
            evictions: EvictReason::ALL.map(|reason| meter.evictions[reason.index()].load(Relaxed)),
            reused: uses.saturating_sub(meter.first_uses.load(Relaxed)),
            checkouts: uses,
            failed_gets,
        }
    }

    /// The settings in force.
    pub(crate) fn config(&self) -> PoolConfig {
        let mut config = self.config.clone();
        config.max_size = self.engine.lock().max_size;
        config.min_idle = self.min_idle.load(Relaxed);
        config.keepalive_interval = self.keepalive_interval();
        config
    }
}
