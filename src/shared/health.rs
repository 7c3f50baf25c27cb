//! What the pool believes of its backend, from what happens anyway: nothing is asked for it, and a warm
//! checkout does not touch it.
//!
//! The state says what a caller would meet. Failures in a row alone make it [`Degraded`]: it is
//! [`Unhealthy`] only while no connection is open and creates fail, for only then a get would fail.
//!
//! [`Degraded`]: HealthState::Degraded
//! [`Unhealthy`]: HealthState::Unhealthy

use super::Shared;
use crate::foreign::guarded;
use crate::sync::outer::{AtomicBool, AtomicUsize, Mutex};
use crate::{ConnectionManager, HealthState};
use std::sync::atomic::Ordering::Relaxed;

/// So many failures in a row are no accident.
const UNHEALTHY_AFTER: usize = 3;

#[derive(Default)]
pub(super) struct HealthTracker {
    /// Failures in a row.
    failures: AtomicUsize,
    /// The last check succeeded, but slowly.
    slow: AtomicBool,
    /// The state as it was logged last. Taken before the engine's lock.
    logged: Mutex<HealthState>,
}

impl HealthTracker {
    /// `serves_nobody` is asked only where it decides.
    fn state(&self, serves_nobody: impl FnOnce() -> bool) -> HealthState {
        match self.failures.load(Relaxed) {
            0 if !self.slow.load(Relaxed) => HealthState::Healthy,
            failures if failures >= UNHEALTHY_AFTER && serves_nobody() => HealthState::Unhealthy,
            _ => HealthState::Degraded,
        }
    }

    /// A create or a check has succeeded. True if that is news: then
    /// [`log_health`](Shared::log_health) follows, once no lock is held.
    pub(super) fn succeed(&self, slow: bool) -> bool {
        let failures = self.failures.load(Relaxed);
        if failures == 0 && self.slow.load(Relaxed) == slow {
            return false;
        }
        self.failures.store(0, Relaxed);
        self.slow.store(slow, Relaxed);
        true
    }

    /// A create or a check has failed, and none has succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        self.failures.load(Relaxed) > 0
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// What a caller would meet, as far as is known.
    pub(super) fn health_state(&self) -> HealthState {
        self.health.state(|| {
            let state = self.engine.lock();
            state.open == 0 && state.failing
        })
    }

    /// A create or a check has failed, or a connection came back broken.
    #[cold]
    pub(super) fn record_failure(&self) {
        self.health.failures.fetch_add(1, Relaxed);
        self.log_health();
    }

    /// A check has succeeded.
    pub(super) fn record_success(&self, slow: bool) {
        if self.health.succeed(slow) {
            self.log_health();
        }
    }

    /// The same for a check of which nobody knows how long it took.
    pub(super) fn record_success_if_failing(&self) {
        if self.health.is_failing() {
            self.record_success(false);
        }
    }

    /// A connection is open no longer, which counts where creates fail.
    pub(super) fn connection_closed(&self) {
        if self.health.is_failing() {
            self.log_health();
        }
    }

    /// Logs the state if it has changed. A subscriber is user code: no lock is held by then.
    pub(super) fn log_health(&self) {
        let mut logged = self.health.logged.lock();
        let after = self.health_state();
        let before = std::mem::replace(&mut *logged, after);
        drop(logged);
        if before == after {
            return;
        }
        let pool = &*self.name;
        let (from, to) = (before.as_str(), after.as_str());
        guarded(|| match after > before {
            true => tracing::warn!(target: "conpool", pool, from, to, "health changed"),
            false => tracing::info!(target: "conpool", pool, from, to, "health changed"),
        });
    }
}
