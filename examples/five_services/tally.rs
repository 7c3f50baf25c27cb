//! The results of the users of one service.

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

/// The phases of the killed service.
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
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since the last call of `turn`.
    recent: Waits,
    /// Before the last call of `turn`, by phase.
    phases: [Waits; 3],
    first_failure: Option<String>,
}

impl Tally {
    pub(crate) fn note_wait(&self, waited: Duration) {
        self.state().recent.note(waited);
    }

    /// Counts an answer. `right`: it belongs to the question.
    pub(crate) fn note_answer(&self, right: bool) {
        let counter = if right { &self.served } else { &self.wrong };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a failed get or a failed request.
    pub(crate) fn note_failure(&self, error: &(dyn Error + 'static)) {
        self.failed.fetch_add(1, Relaxed);
        let mut state = self.state();
        if state.first_failure.is_none() {
            state.first_failure = Some(Causes(error).to_string());
        }
    }

    /// Moves the waits since the last turn into their phase.
    pub(crate) fn turn(&self, phase: Phase) {
        let State { recent, phases, .. } = &mut *self.state();
        phases[phase as usize].absorb(recent);
    }

    /// Calls and their 99th percentile since the last turn.
    pub(crate) fn recent(&self) -> (u64, Duration) {
        let state = self.state();
        (state.recent.count(), state.recent.percentile(0.99))
    }

    pub(crate) fn waits(&self, phase: Phase) -> Waits {
        self.state().phases[phase as usize].clone()
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
        self.state().first_failure.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes, in one line.
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
