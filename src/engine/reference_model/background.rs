//! Background checks, and the effect of a clear on jobs, in the reference model.

use super::super::JobKind;
use super::model::{Job, Model};
use std::time::Duration;

impl Model {
    /// Whether another background check may begin.
    pub(super) fn may_check(&self) -> bool {
        let background = |job: &&Job| job.background && !job.abandoned;
        match self.jobs.iter().filter(background).count() {
            0 => true,
            1..4 => self.idle() > 1,
            _ => false,
        }
    }

    /// Assigns a waiter to a background check, unless the check takes too long or its connection is outdated.
    pub(super) fn assign_check(&mut self) -> bool {
        let (now, generation) = (self.now, self.generation);
        for job in &mut self.jobs {
            if !job.background || job.has_waiter || job.abandoned || job.generation < generation {
                continue;
            }
            let since = if job.started { job.since } else { now };
            let until = *(job.soft_deadline).get_or_insert(since + Duration::from_millis(100));
            job.has_waiter = until > now;
            if job.has_waiter {
                return true;
            }
        }
        false
    }

    /// Releases the jobs that began before a clear from their waiters, except creates that have not started.
    pub(super) fn release_outdated(&mut self) {
        let generation = self.generation;
        for job in &mut self.jobs {
            if job.generation < generation && (job.started || job.kind != JobKind::Create) {
                job.has_waiter = false;
            }
        }
    }
}
