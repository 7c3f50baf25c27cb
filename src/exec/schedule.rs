//! The sweep schedule: which pools of a keyed pool the collector must sweep, and when.
//!
//! All pools share one collector. The collector must not sweep ten thousand pools because one of them has
//! something due.

use crate::clock::real_now;
use crate::sync::outer::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// Records which pools the collector must sweep, and when.
#[derive(Default)]
pub(crate) struct SweepSchedule(Mutex<Schedule>);

#[derive(Default)]
struct Schedule {
    /// The due times, in order.
    due: BTreeSet<(Instant, u64)>,
    /// The due time of each pool.
    of: HashMap<u64, Instant>,
    /// The pools to sweep at once.
    wake_now: BTreeSet<u64>,
}

impl Schedule {
    fn forget(&mut self, id: u64) {
        if let Some(due) = self.of.remove(&id) {
            self.due.remove(&(due, id));
        }
    }
}

impl SweepSchedule {
    /// Makes this pool due now.
    pub(crate) fn wake(&self, id: u64) {
        self.0.lock().wake_now.insert(id);
    }

    /// Makes this pool due at `due` at the latest.
    pub(crate) fn wake_by(&self, id: u64, due: Instant) {
        let mut schedule = self.0.lock();
        if schedule.of.get(&id).is_none_or(|planned| due < *planned) {
            schedule.forget(id);
            schedule.due.insert((due, id));
            schedule.of.insert(id, due);
        }
    }

    /// Removes a pool from the schedule.
    pub(crate) fn forget(&self, id: u64) {
        let mut schedule = self.0.lock();
        schedule.forget(id);
        schedule.wake_now.remove(&id);
    }

    /// Takes the pools that are due now.
    pub(crate) fn take_due(&self) -> BTreeSet<u64> {
        let now = real_now();
        let mut schedule = self.0.lock();
        let mut ids = std::mem::take(&mut schedule.wake_now);
        while let Some((due, id)) = schedule.due.first().copied() {
            if due > now {
                break;
            }
            schedule.forget(id);
            ids.insert(id);
        }
        for id in &ids {
            // The pass over this pool sets its next due time.
            schedule.forget(*id);
        }
        ids
    }

    /// Returns when the next pool is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let schedule = self.0.lock();
        match schedule.wake_now.is_empty() {
            true => schedule.due.first().map(|(due, _)| *due),
            false => Some(real_now()),
        }
    }
}

#[cfg(all(test, not(conpool_shuttle)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn take_due_returns_the_pools_that_are_due_and_no_others() {
        let schedule = SweepSchedule::default();
        let now = real_now();
        let later = now + Duration::from_secs(60);
        schedule.wake_by(1, now);
        schedule.wake_by(2, later);
        schedule.wake_by(3, later);
        schedule.wake(3);
        schedule.wake(4);
        assert_eq!(
            schedule.take_due().into_iter().collect::<Vec<_>>(),
            [1, 3, 4]
        );
        assert_eq!(schedule.next(), Some(later), "of the second");
        assert!(schedule.take_due().is_empty());
    }

    #[test]
    fn the_earliest_wake_up_counts_and_a_forgotten_one_does_not() {
        let schedule = SweepSchedule::default();
        let now = real_now();
        schedule.wake_by(1, now + Duration::from_secs(2));
        schedule.wake_by(1, now + Duration::from_secs(1));
        schedule.wake_by(1, now + Duration::from_secs(3));
        assert_eq!(schedule.next(), Some(now + Duration::from_secs(1)));
        schedule.forget(1);
        assert_eq!(schedule.next(), None);
    }
}
