//! What the pool believes of its backend, from what happens anyway: nothing is asked for it, and a warm
//! checkout does not touch it.

use super::Shared;
use crate::foreign::guarded;
use crate::sync::outer::{AtomicBool, AtomicUsize};
use crate::{ConnectionManager, HealthState};
use std::sync::atomic::Ordering::Relaxed;

/// So many failures in a row are no accident.
const ILL: usize = 3;

#[derive(Default)]
pub(super) struct Wellbeing {
    /// Failures in a row.
    failures: AtomicUsize,
    /// The last check succeeded, but slowly.
    slow: AtomicBool,
}

/// From which state to which other.
type Change = Option<(HealthState, HealthState)>;

impl Wellbeing {
    fn state(&self) -> HealthState {
        match self.failures.load(Relaxed) {
            0 if self.slow.load(Relaxed) => HealthState::Degraded,
            0 => HealthState::Healthy,
            1..ILL => HealthState::Degraded,
            _ => HealthState::Unhealthy,
        }
    }

    /// A create or a check has succeeded. Whoever notes that under the engine's lock tells it afterwards:
    /// a subscriber is user code.
    pub(super) fn succeed(&self, slow: bool) -> Change {
        if self.state() == HealthState::Healthy && !slow {
            return None;
        }
        self.change(|wellbeing| {
            wellbeing.failures.store(0, Relaxed);
            wellbeing.slow.store(slow, Relaxed);
        })
    }

    fn change(&self, change: impl FnOnce(&Self)) -> Change {
        let before = self.state();
        change(self);
        let after = self.state();
        (before != after).then_some((before, after))
    }
}

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn health(&self) -> HealthState {
        self.wellbeing.state()
    }

    /// A create or a check has failed, or a connection came back broken.
    #[cold]
    pub(super) fn note_ill(&self) {
        let change = self.wellbeing.change(|wellbeing| {
            wellbeing.failures.fetch_add(1, Relaxed);
        });
        self.tell_health(change);
    }

    /// A check has succeeded.
    pub(super) fn note_well(&self, slow: bool) {
        self.tell_health(self.wellbeing.succeed(slow));
    }

    /// The same for a check of which nobody knows how long it took.
    pub(super) fn note_well_again(&self) {
        if self.wellbeing.failures.load(Relaxed) > 0 {
            self.note_well(false);
        }
    }

    pub(super) fn tell_health(&self, change: Change) {
        let Some((before, after)) = change else {
            return;
        };
        let pool = &*self.name;
        let (from, to) = (before.as_str(), after.as_str());
        guarded(|| match after {
            HealthState::Unhealthy => {
                tracing::warn!(target: "conpool", pool, from, to, "health changed");
            }
            _ => tracing::info!(target: "conpool", pool, from, to, "health changed"),
        });
    }
}
