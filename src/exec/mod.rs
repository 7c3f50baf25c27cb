//! The executor: runs the hooks of a pool on threads of the pool or on the threads of its callers.

mod channel;
mod own_job;
mod resumes;
mod schedule;
mod stranded;
mod threads;
mod workers;

pub(crate) use schedule::SweepSchedule;
pub(crate) use workers::{Collector, WorkerPool};

use std::sync::Arc;
use std::time::Instant;

pub(crate) enum Executor {
    /// Workers run the hooks, and the collector sweeps.
    Threads {
        workers: Arc<WorkerPool>,
        /// The schedule of a keyed pool, whose pools share the threads, and the id of this pool in the
        /// schedule.
        schedule: Option<(Arc<SweepSchedule>, u64)>,
    },
    /// `background_collector(false)`: each hook runs on the thread that calls [`submit`](Executor::submit),
    /// and callers sweep.
    Inline,
}

impl Executor {
    /// Returns an executor for a pool that does not belong to a keyed pool.
    pub(crate) fn with_threads(workers: Arc<WorkerPool>) -> Self {
        Self::Threads {
            workers,
            schedule: None,
        }
    }

    #[inline]
    pub(crate) fn is_inline(&self) -> bool {
        matches!(self, Self::Inline)
    }

    /// Returns the workers, if they work for this pool alone.
    pub(crate) fn own_workers(&self) -> Option<&Arc<WorkerPool>> {
        match self {
            Self::Threads {
                workers,
                schedule: None,
            } => Some(workers),
            _ => None,
        }
    }

    /// Returns the workers, if the pool has threads.
    pub(crate) fn workers(&self) -> Option<&Arc<WorkerPool>> {
        match self {
            Self::Threads { workers, .. } => Some(workers),
            Self::Inline => None,
        }
    }

    /// Runs this job on a worker, or on this thread if there are no workers. `urgent`: a caller waits for the
    /// job.
    pub(crate) fn submit(&self, urgent: bool, job: impl FnOnce() + Send + 'static) {
        match self {
            Self::Threads { workers, .. } => workers.submit(urgent, job),
            Self::Inline => job(),
        }
    }

    /// Announces that the present job of this thread is about to end. See
    /// [`announce_end`](WorkerPool::announce_end).
    pub(crate) fn announce_end(&self) {
        if let Self::Threads { workers, .. } = self {
            workers.announce_end();
        }
    }

    /// Makes the collector sweep this pool at `due` at the latest.
    pub(crate) fn wake_by(&self, due: Instant) {
        if let Self::Threads { workers, schedule } = self {
            if let Some((schedule, id)) = schedule {
                schedule.wake_by(*id, due);
            }
            workers.wake_by(due);
        }
    }

    /// Makes the collector sweep this pool now.
    pub(crate) fn wake(&self) {
        if let Self::Threads { workers, schedule } = self {
            if let Some((schedule, id)) = schedule {
                schedule.wake(*id);
            }
            workers.wake();
        }
    }
}
