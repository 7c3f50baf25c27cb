//! How a pool reaches the threads that work for it.
//!
//! A pool of its own has a crew of its own. The pools of a keyed pool share one crew, and its collector
//! must not look at ten thousand of them because one has something due: a [`SweepSchedule`] notes who.

use crate::clock::real_now;
use crate::sync::outer::Mutex;
use crate::workers::WorkerPool;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Executor {
    workers: Arc<WorkerPool>,
    desk: Option<(Arc<SweepSchedule>, u64)>,
}

impl Executor {
    pub(super) fn own(workers: Arc<WorkerPool>) -> Self {
        Self {
            workers,
            desk: None,
        }
    }

    /// The bell of one pool among several.
    pub(super) fn shared(workers: Arc<WorkerPool>, desk: Arc<SweepSchedule>, id: u64) -> Self {
        let desk = Some((desk, id));
        Self { workers, desk }
    }

    /// The crew, if it is this pool's own.
    pub(super) fn own_crew(&self) -> Option<&Arc<WorkerPool>> {
        self.desk.is_none().then_some(&self.workers)
    }

    /// See [`WorkerPool::submit`].
    pub(super) fn submit(&self, urgent: bool, work: impl FnOnce() + Send + 'static) {
        self.workers.submit(urgent, work);
    }

    /// The collector should come at `due`, at the latest.
    pub(super) fn wake_by(&self, due: Instant) {
        if let Some((desk, id)) = &self.desk {
            desk.wake_by(*id, due);
        }
        self.workers.wake_by(due);
    }

    /// The collector should come now.
    pub(super) fn wake(&self) {
        if let Some((desk, id)) = &self.desk {
            desk.wake(*id);
        }
        self.workers.wake();
    }
}

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
        let mut plans = self.0.lock();
        if plans.of.get(&id).is_none_or(|planned| due < *planned) {
            plans.forget(id);
            plans.due.insert((due, id));
            plans.of.insert(id, due);
        }
    }

    /// Nobody has to look at this pool any more.
    pub(crate) fn forget(&self, id: u64) {
        let mut plans = self.0.lock();
        plans.forget(id);
        plans.wake_now.remove(&id);
    }

    /// Those that are to be looked at now.
    pub(crate) fn take_due(&self) -> BTreeSet<u64> {
        let now = real_now();
        let mut plans = self.0.lock();
        let mut ids = std::mem::take(&mut plans.wake_now);
        while let Some((due, id)) = plans.due.first().copied() {
            if due > now {
                break;
            }
            plans.forget(id);
            ids.insert(id);
        }
        for id in &ids {
            // Its pass says when to come again.
            plans.forget(*id);
        }
        ids
    }

    /// When the next one is due; at once, if one was named meanwhile.
    pub(crate) fn next(&self) -> Option<Instant> {
        let plans = self.0.lock();
        match plans.wake_now.is_empty() {
            true => plans.due.first().map(|(due, _)| *due),
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
        let desk = SweepSchedule::default();
        let now = real_now();
        let later = now + Duration::from_secs(60);
        desk.wake_by(1, now);
        desk.wake_by(2, later);
        desk.wake_by(3, later);
        desk.wake(3);
        desk.wake(4);
        assert_eq!(desk.take_due().into_iter().collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(desk.next(), Some(later), "of the second");
        assert!(desk.take_due().is_empty());
    }

    #[test]
    fn the_earliest_plan_counts_and_a_forgotten_one_does_not() {
        let desk = SweepSchedule::default();
        let now = real_now();
        desk.wake_by(1, now + Duration::from_secs(2));
        desk.wake_by(1, now + Duration::from_secs(1));
        desk.wake_by(1, now + Duration::from_secs(3));
        assert_eq!(desk.next(), Some(now + Duration::from_secs(1)));
        desk.forget(1);
        assert_eq!(desk.next(), None);
    }
}
