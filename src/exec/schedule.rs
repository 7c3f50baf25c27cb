//! Which pools of a keyed pool the collector has to sweep, and when. All of them share one collector, which
//! must not look at ten thousand pools because one of them has something due.

use crate::clock::real_now;
use crate::sync::outer::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// Which pools the collector should look at, and when.
#[derive(Default)]
pub(crate) struct SweepSchedule(Mutex<Schedule>);

#[derive(Default)]
struct Schedule {
    due: BTreeSet<(Instant, u64)>,
    of: HashMap<u64, Instant>,
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
    pub(crate) fn wake(&self, id: u64) {
        self.0.lock().wake_now.insert(id);
    }

    /// This pool is to be looked at by then.
    pub(crate) fn wake_by(&self, id: u64, due: Instant) {
        let mut schedule = self.0.lock();
        if schedule.of.get(&id).is_none_or(|planned| due < *planned) {
            schedule.forget(id);
            schedule.due.insert((due, id));
            schedule.of.insert(id, due);
        }
    }

    /// Nobody has to look at this pool any more.
    pub(crate) fn forget(&self, id: u64) {
        let mut schedule = self.0.lock();
        schedule.forget(id);
        schedule.wake_now.remove(&id);
    }

    /// Those that are to be looked at now.
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
            // Its pass says when to come again.
            schedule.forget(*id);
        }
        ids
    }

    /// When the next one is due; at once, if one was named meanwhile.
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
    fn the_collector_looks_at_those_that_are_due_and_at_no_others() {
        let schedule = SweepSchedule::default();
        let now = real_now();
        let later = now + Duration::from_secs(60);
        schedule.wake_by(1, now);
        schedule.wake_by(2, later);
        schedule.wake_by(3, later);
        schedule.wake(3);
        schedule.wake(4);
        assert_eq!(schedule.take_due().into_iter().collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(schedule.next(), Some(later), "of the second");
        assert!(schedule.take_due().is_empty());
    }

    #[test]
    fn the_earliest_plan_counts_and_a_forgotten_one_does_not() {
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
