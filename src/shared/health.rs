//! Health: derives the state of the backend from the results of creates, checks and check-ins.
//!
//! Tracking the health makes no calls to the backend, and a fast checkout does not touch it.
//!
//! The state says what a caller would experience. Consecutive failures alone make it [`Degraded`]. It is
//! [`Unhealthy`] only while no connection is open and creates fail, because only then a get would fail.
//!
//! [`Degraded`]: HealthState::Degraded
//! [`Unhealthy`]: HealthState::Unhealthy

use super::Shared;
use crate::foreign::guarded;
use crate::sync::outer::{AtomicBool, AtomicUsize, Mutex};
use crate::{ConnectionManager, HealthState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The number of consecutive failures after which the pool may be unhealthy.
const UNHEALTHY_AFTER: usize = 3;

#[derive(Default)]
pub(super) struct HealthTracker {
    /// The number of consecutive failures.
    failures: AtomicUsize,
    /// The last check succeeded, but slowly.
    slow: AtomicBool,
    /// The state that was logged last. This lock is taken before the engine's lock.
    logged: Mutex<HealthState>,
}

impl HealthTracker {
    /// Returns the state. `is_outage` tells whether no connection is open and creates fail; it takes the
    /// engine's lock and is called only if it decides.
    fn state(&self, is_outage: impl FnOnce() -> bool) -> HealthState {
        match self.failures.load(Relaxed) {
            0 if !self.slow.load(Relaxed) => HealthState::Healthy,
            failures if failures >= UNHEALTHY_AFTER && is_outage() => HealthState::Unhealthy,
            _ => HealthState::Degraded,
        }
    }

    /// Records the success of a create or a check. True if the record changed.
    ///
    /// The caller must then call [`log_health`](Shared::log_health) without a lock.
    pub(super) fn succeed(&self, slow: bool) -> bool {
        let failures = self.failures.load(Relaxed);
        if failures == 0 && self.slow.load(Relaxed) == slow {
            return false;
        }
        self.failures.store(0, Relaxed);
        self.slow.store(slow, Relaxed);
        true
    }

    /// Returns whether a create or a check has failed and none has succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        self.failures.load(Relaxed) > 0
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Returns the state that a caller would experience, as far as the pool knows.
    pub(super) fn health_state(&self) -> HealthState {
        self.health.state(|| {
            let state = self.engine.lock();
            state.open == 0 && state.failing
        })
    }

    /// Records that a create or a check has failed, or that a connection came back broken.
    #[cold]
    pub(super) fn record_failure(&self) {
        self.health.failures.fetch_add(1, Relaxed);
        self.log_health();
    }

    /// Records that a check has succeeded.
    pub(super) fn record_success(&self, slow: bool) {
        if self.health.succeed(slow) {
            self.log_health();
        }
    }

    /// Records that a check of unknown duration has succeeded. Changes the record only after failures.
    pub(super) fn record_success_if_failing(&self) {
        if self.health.is_failing() {
            self.record_success(false);
        }
    }

    /// Records that a connection is no longer open. While creates fail, this may change the health, and with
    /// `fail_fast` it ends the waits if the connection was the last one.
    pub(super) fn connection_closed(self: &Arc<Self>) {
        if self.health.is_failing() {
            self.log_health();
        }
        self.fail_all_in_outage();
    }

    /// Logs the state if it has changed. A subscriber is user code, so all locks are released before.
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
