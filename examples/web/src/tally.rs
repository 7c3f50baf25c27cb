//! What became of the requests.

use crate::waits::Waits;
use std::{collections::BTreeMap, time::Duration};

/// Where the folder of the database was when a request began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Before,
    Away,
    Back,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::Before, Self::Away, Self::Back];
}

pub(crate) enum Outcome {
    Answered {
        is_write: bool,
    },
    /// The service answered that it failed, with this reason.
    Failed(String),
    /// The client hung up before an answer.
    Cancelled {
        is_write: bool,
    },
    /// There was no answer.
    Lost(String),
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) phases: [PhaseTally; 3],
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) lost: u64,
    pub(crate) first_lost: Option<String>,
    /// The notes whose write was answered.
    pub(crate) written: u64,
    /// The writes that may have happened.
    pub(crate) maybe_written: u64,
}

#[derive(Default)]
pub(crate) struct PhaseTally {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    /// The times of those that were answered.
    pub(crate) waits: Waits,
}

impl Tally {
    pub(crate) fn note(&mut self, phase: Phase, outcome: Outcome, took: Duration) {
        let of_phase = &mut self.phases[phase as usize];
        match outcome {
            Outcome::Answered { is_write } => {
                of_phase.answered += 1;
                of_phase.waits.note(took);
                self.written += u64::from(is_write);
            }
            Outcome::Failed(kind) => {
                of_phase.failed += 1;
                *self.failed.entry(kind).or_default() += 1;
            }
            Outcome::Cancelled { is_write } => {
                of_phase.cancelled += 1;
                self.maybe_written += u64::from(is_write);
            }
            Outcome::Lost(error) => {
                self.lost += 1;
                self.first_lost.get_or_insert(error);
            }
        }
    }

    /// Moves the counts of `other` into this one.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        for (mine, theirs) in self.phases.iter_mut().zip(&mut other.phases) {
            mine.answered += theirs.answered;
            mine.failed += theirs.failed;
            mine.cancelled += theirs.cancelled;
            mine.waits.absorb(&mut theirs.waits);
        }
        for (kind, count) in other.failed {
            *self.failed.entry(kind).or_default() += count;
        }
        self.lost += other.lost;
        self.first_lost = self.first_lost.take().or(other.first_lost);
        self.written += other.written;
        self.maybe_written += other.maybe_written;
    }

    pub(crate) fn sum(&self, count: impl Fn(&PhaseTally) -> u64) -> u64 {
        self.phases.iter().map(count).sum()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.sum(|phase| phase.answered + phase.failed + phase.cancelled) + self.lost
    }
}
