//! The jobs of the reference model: hooks that began or are planned. And the order of its idle entries.

use super::super::JobKind;
use super::model::{Entry, Job, Model, Place};
use std::time::{Duration, Instant};

impl Model {
    // ---- begin and end -------------------------------------------------------------------------

    pub(super) fn begin(&mut self, kind: JobKind, slot: Option<u32>, has_waiter: bool) -> u64 {
        self.jobs_ever += 1;
        self.jobs.push(Job {
            number: self.jobs_ever,
            kind,
            slot,
            since: self.now,
            deadline: None,
            started: false,
            has_waiter,
            soft_deadline: None,
            generation: self.generation,
            background: false,
            is_reset: false,
            abandoned: false,
        });
        self.jobs_ever
    }

    pub(super) fn job(&mut self, number: u64) -> &mut Job {
        let found = self.jobs.iter_mut().find(|job| job.number == number);
        found.expect("the job exists")
    }

    /// Ends a job whose hook has returned or will never run.
    pub(super) fn end(&mut self, number: u64) -> Job {
        let job = self.job(number).clone();
        self.jobs.retain(|job| job.number != number);
        job
    }

    pub(super) fn start(&mut self, number: u64, deadline: Option<Instant>) {
        let now = self.now;
        let job = self.job(number);
        if !job.abandoned {
            (job.started, job.since, job.deadline) = (true, now, deadline);
        }
    }

    /// Sets a soft deadline for older creates after a create that began at `since` has ended.
    pub(super) fn note_faster_create(&mut self, since: Instant) {
        let allowance = 2 * self.now.saturating_duration_since(since) + Duration::from_millis(50);
        for job in &mut self.jobs {
            let create = job.kind == JobKind::Create && job.started && !job.abandoned;
            if create && job.since < since && job.soft_deadline.is_none() {
                job.soft_deadline = Some(job.since + allowance);
            }
        }
    }

    /// Abandons a job, unless too many hooks are abandoned already.
    pub(super) fn abandon(&mut self, number: u64) -> bool {
        if self.abandoned() >= self.max_size.max(4) {
            return false;
        }
        let job = self.job(number);
        (job.abandoned, job.has_waiter) = (true, false);
        let (kind, slot) = (job.kind, job.slot);
        let place = match kind {
            JobKind::Create => return true,
            JobKind::Check => Place::Out,
            JobKind::Dispose => Place::Disposing,
        };
        let its = |entry: &&mut Entry| entry.place == place && Some(entry.slot) == slot;
        let entry = self.entries.iter_mut().find(its);
        entry.expect("it is in the hook").place = Place::Abandoned;
        true
    }

    // ---- the order in which entries became idle ------------------------------------------------

    /// The entry that became idle first of those that are idle.
    pub(super) fn first_idle(&self) -> Option<u64> {
        let idle = |entry: &&Entry| matches!(entry.place, Place::Idle(_));
        let first = self
            .entries
            .iter()
            .filter(idle)
            .min_by_key(|entry| entry.turn);
        first.map(|entry| entry.id)
    }

    // ---- background checks and a clear ---------------------------------------------------------

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
            let serves = job.background || job.is_reset;
            if !serves || job.has_waiter || job.abandoned || job.generation < generation {
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
