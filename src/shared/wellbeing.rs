//! What the pool believes of its backend, from what happens anyway: nothing is asked for it, and a warm
//! checkout does not touch it.

use super::Shared;
use crate::sync::outer::{AtomicBool, AtomicUsize};
use crate::workers::guarded;
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

impl Wellbeing {
    fn state(&self) -> HealthState {
        match self.failures.load(Relaxed) {
            0 if self.slow.load(Relaxed) => HealthState::Degraded,
            0 => HealthState::Healthy,
            1..ILL => HealthState::Degraded,
            _ => HealthState::Unhealthy,
        }
    }
}

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn health(&self) -> HealthState {
        self.wellbeing.state()
    }

    /// A create or a check has failed, or a connection came back broken.
    #[cold]
    pub(super) fn note_ill(&self) {
        self.note(|wellbeing| {
            wellbeing.failures.fetch_add(1, Relaxed);
        });
    }

    /// A create or a check has succeeded.
    pub(super) fn note_well(&self, slow: bool) {
        if self.wellbeing.state() != HealthState::Healthy || slow {
            self.note(|wellbeing| {
                wellbeing.failures.store(0, Relaxed);
                wellbeing.slow.store(slow, Relaxed);
            });
        }
    }

    /// The same for a check of which nobody knows how long it took.
    pub(super) fn note_well_again(&self) {
        if self.wellbeing.failures.load(Relaxed) > 0 {
            self.note_well(false);
        }
    }

    fn note(&self, change: impl FnOnce(&Wellbeing)) {
        let before = self.wellbeing.state();
        change(&self.wellbeing);
        let after = self.wellbeing.state();
        if before == after {
            return;
        }
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
