//! What the users of one service saw.

use crate::waits::Waits;
use std::{
    error::Error,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Of the service that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Before,
    Outage,
    After,
}

#[derive(Default)]
pub(crate) struct Tally {
    served: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// Since the last turn.
    recent: Waits,
    /// Of the turns before, by phase.
    phases: [Waits; 3],
    first_failure: Option<String>,
}

impl Tally {
    pub(crate) fn note_wait(&self, waited: Duration) {
        self.inside().recent.note(waited);
    }

    /// An answer came. `right`: to the question that was asked.
    pub(crate) fn note_answer(&self, right: bool) {
        let counter = if right { &self.served } else { &self.wrong };
        counter.fetch_add(1, Relaxed);
    }

    /// No connection, or no answer on it.
    pub(crate) fn note_failure(&self, error: &(dyn Error + 'static)) {
        self.failed.fetch_add(1, Relaxed);
        let mut inside = self.inside();
        if inside.first_failure.is_none() {
            inside.first_failure = Some(Causes(error).to_string());
        }
    }

    /// Puts what was noted since the last turn to its phase.
    pub(crate) fn turn(&self, phase: Phase) {
        let Inside { recent, phases, .. } = &mut *self.inside();
        phases[phase as usize].absorb(recent);
    }

    /// Calls and their 99th percentile since the last turn.
    pub(crate) fn recent(&self) -> (u64, Duration) {
        let inside = self.inside();
        (inside.recent.count(), inside.recent.percentile(0.99))
    }

    pub(crate) fn waits(&self, phase: Phase) -> Waits {
        self.inside().phases[phase as usize].clone()
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }

    pub(crate) fn wrong(&self) -> u64 {
        self.wrong.load(Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    pub(crate) fn first_failure(&self) -> Option<String> {
        self.inside().first_failure.clone()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error and what is behind it, in one line.
struct Causes<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
