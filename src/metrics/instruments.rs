//! The metrics of one pool, registered once and then kept.

use super::names::{self, Register};
use crate::{EvictReason, PoolEvent, PoolStats};
use ::metrics::{Counter, Gauge, Histogram};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub(super) struct Instruments {
    pub(super) pool: String,
    /// Whether events of this pool arrive. If they do, counters come from events and not from the statistics.
    observed: AtomicBool,

    idle: Gauge,
    used: Gauge,
    idle_max: Gauge,
    idle_min: Gauge,
    max: Gauge,
    pending_requests: Gauge,
    creating: Gauge,
    disposing: Gauge,
    abandoned: Gauge,

    create_time: Histogram,
    wait_time: Histogram,
    use_time: Histogram,

    timeouts: Counter,
    create_errors: Counter,
    saturated: Counter,
    panics: Counter,
    leaks: Counter,
    /// The counters in the order of [`EvictReason::ALL`]. All reasons are registered as zeros, so that the
    /// first eviction for a reason shows as a rise.
    evictions: [Counter; EvictReason::EACH.len()],
}

impl Instruments {
    pub(super) fn register(register: &Register<'_>) -> Self {
        Self {
            pool: register.pool.to_owned(),
            observed: AtomicBool::new(false),
            idle: register.gauge_of(&names::COUNT, "idle"),
            used: register.gauge_of(&names::COUNT, "used"),
            idle_max: register.gauge(&names::IDLE_MAX),
            idle_min: register.gauge(&names::IDLE_MIN),
            max: register.gauge(&names::MAX),
            pending_requests: register.gauge(&names::PENDING_REQUESTS),
            creating: register.gauge(&names::CREATING),
            disposing: register.gauge(&names::DISPOSING),
            abandoned: register.gauge(&names::ABANDONED),
            create_time: register.histogram(&names::CREATE_TIME),
            wait_time: register.histogram(&names::WAIT_TIME),
            use_time: register.histogram(&names::USE_TIME),
            timeouts: register.counter(&names::TIMEOUTS),
            create_errors: register.counter(&names::CREATE_ERRORS),
            saturated: register.counter(&names::SATURATED),
            panics: register.counter(&names::PANICS),
            leaks: register.counter(&names::LEAKS),
            evictions: EvictReason::EACH
                .map(|reason| register.counter_for(&names::EVICTIONS, reason.as_str())),
        }
    }

    pub(super) fn expect_events(&self) {
        self.observed.store(true, Relaxed);
    }

    pub(super) fn count(&self, event: &PoolEvent) {
        match event {
            PoolEvent::Created { took, .. } => self.create_time.record(took.as_secs_f64()),
            PoolEvent::CheckedOut { waited, .. } => self.wait_time.record(waited.as_secs_f64()),
            PoolEvent::CheckedIn { held, .. } => self.use_time.record(held.as_secs_f64()),
            PoolEvent::CreateFailed { .. } => self.create_errors.increment(1),
            PoolEvent::TimedOut { .. } => self.timeouts.increment(1),
            PoolEvent::Panicked { .. } => self.panics.increment(1),
            PoolEvent::LeakSuspected { .. } => self.leaks.increment(1),
            PoolEvent::Evicted { reason, .. } => self.eviction(*reason).increment(1),
            PoolEvent::LeakResolved { .. }
            | PoolEvent::Cleared { .. }
            | PoolEvent::Interrupted { .. }
            | PoolEvent::WaitersCleared { .. }
            | PoolEvent::Resized { .. }
            | PoolEvent::Suspended { .. }
            | PoolEvent::Resumed { .. }
            | PoolEvent::Closed { .. } => {}
        }
    }

    pub(super) fn set(&self, stats: &PoolStats) {
        let gauges = [
            (&self.idle, stats.idle),
            (&self.used, stats.in_use),
            (&self.idle_max, stats.max_size),
            (&self.idle_min, stats.min_idle),
            (&self.max, stats.max_size),
            (&self.pending_requests, stats.waiters),
            (&self.creating, stats.creating),
            (&self.disposing, stats.disposing),
            (&self.abandoned, stats.abandoned),
        ];
        for (gauge, value) in gauges {
            gauge.set(value as f64);
        }
        // `saturated` is the only counter without an event.
        self.saturated.absolute(stats.saturated);
        if self.observed.load(Relaxed) {
            return;
        }
        self.timeouts.absolute(stats.timeouts);
        self.create_errors.absolute(stats.create_errors);
        self.panics.absolute(stats.panics);
        for reason in EvictReason::EACH {
            self.eviction(reason).absolute(stats.evicted(reason));
        }
    }

    fn eviction(&self, reason: EvictReason) -> &Counter {
        // The variants are declared in the order of ALL.
        &self.evictions[reason as usize]
    }
}
