//! Checks that no caller asked for, and what a clear makes of jobs, in the naive model.

use super::super::JobKind;
use super::model::{Job, Model};
use std::time::Duration;

impl Model {
    /// Whether another check may begin that no caller asked for.
    pub(super) fn may_check(&self) -> bool {
        let background = |job: &&Job| job.background && !job.abandoned;
        match self.jobs.iter().filter(background).count() {
            0 => true,
            1..4 => self.idle() > 1,
            _ => false,
        }
    }

    /// Lets a waiter count on a check that began for the pool itself, unless it takes too long or its
    /// connection is outdated.
    pub(super) fn count_on_a_check(&mut self) -> bool {
        let (now, generation) = (self.now, self.generation);
        for job in &mut self.jobs {
            if !job.background || job.covers || job.abandoned || job.generation < generation {
                continue;
            }
            let since = if job.started { job.since } else { now };
            let until = *(job.patience).get_or_insert(since + Duration::from_millis(100));
            job.covers = until > now;
            if job.covers {
                return true;
            }
        }
        false
    }

    /// A clear: what began before cannot serve a waiter, but for creates that have not started.
    pub(super) fn uncover_outdated(&mut self) {
        let generation = self.generation;
        for job in &mut self.jobs {
            if job.generation < generation && (job.started || job.kind != JobKind::Create) {
                job.covers = false;
            }
        }
    }
}
