//! The comparison of the visible state of the engine with the reference model.

use super::super::{JobKind, NOTIFY_HEAD, Outcome, Stamp};
use super::model::{ExpectedOutcome, Job, Place};
use super::world::{State, World};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

impl World {
    pub(super) fn compare(&mut self) {
        if self.model.queue.is_empty() {
            let entries = &mut self.model.entries;
            entries.iter_mut().for_each(|entry| entry.unseen = false);
        }
        self.compare_outcomes();
        self.compare_jobs();
        self.compare_counts();
        self.compare_slots();
        self.compare_queue();
        assert!(!self.model.has_surplus(), "more than max_idle are idle");
        if self.settled {
            self.assert_no_waiter_sleeps_in_vain();
        }
    }

    /// Compares the served callers and their outcomes.
    fn compare_outcomes(&mut self) {
        let served = std::mem::take(&mut self.model.served);
        for (at, caller) in self.callers.iter_mut().enumerate() {
            if caller.state != State::Queued {
                continue;
            }
            let outcome = caller.waiter.take_outcome();
            let actual = outcome.as_ref().map(|outcome| match outcome {
                Outcome::Checkout(checkout) | Outcome::Found(checkout) => {
                    ExpectedOutcome::Entry(checkout.entry.0)
                }
                Outcome::Permit(permit) => ExpectedOutcome::Permit(permit.job()),
                Outcome::Fail(()) => ExpectedOutcome::Failure,
                Outcome::TimedOut => ExpectedOutcome::TimedOut,
            });
            let expected = served.iter().find(|(served, _)| *served == at);
            assert_eq!(
                actual,
                expected.map(|(_, outcome)| *outcome),
                "outcome of {at}"
            );
            if outcome.is_some() {
                let woken = caller.awake || caller.notified;
                assert!(woken, "caller {at} was served and not woken");
                (caller.state, caller.notified) = (State::Served, false);
                caller.outcome = outcome;
            }
        }
    }

    fn compare_jobs(&mut self) {
        let state = self.engine.lock();
        let working = |job: &&mut Job| !job.abandoned;
        let mut expected = self.model.jobs.iter_mut().filter(working);
        for (number, job) in state.jobs() {
            let expected = expected.next().expect("a job that should have ended");
            let slot = *expected.slot.get_or_insert(job.slot);
            assert_eq!(
                (number, job.kind, job.slot, job.has_waiter, job.started),
                (
                    expected.number,
                    expected.kind,
                    slot,
                    expected.has_waiter,
                    expected.started
                ),
                "number, kind, slot, has_waiter, started"
            );
            assert_eq!(
                (job.since, job.deadline, job.soft_deadline, job.generation),
                (
                    expected.since,
                    expected.deadline,
                    expected.soft_deadline,
                    expected.generation
                ),
                "times and generation of job {number}"
            );
        }
        let missing = expected.next();
        assert!(missing.is_none(), "{missing:?} has no job");
    }

    fn compare_counts(&mut self) {
        let (state, model) = (self.engine.lock(), &self.model);
        let jobs = |kind| model.working(kind);
        assert_eq!(state.open, model.idle() + model.in_use(), "open");
        assert_eq!(state.creating, jobs(JobKind::Create), "creating");
        assert_eq!(state.checking, jobs(JobKind::Check), "checking");
        assert_eq!(state.disposing, jobs(JobKind::Dispose), "disposing");
        assert_eq!(state.abandoned, model.abandoned(), "abandoned");
        assert_eq!(
            state.jobs_with_waiter(),
            model.jobs_with_waiter(),
            "jobs with a waiter"
        );
        assert_eq!(state.size(), model.size(), "size");
        assert_eq!(state.taken(), model.taken(), "taken");
        assert_eq!(state.is_drained(), model.taken() + model.abandoned() == 0);
        let passed = (state.created, state.added, state.disposed, state.detached);
        let expected = (model.created, model.added, model.disposed, model.detached);
        assert_eq!(passed, expected, "created, added, disposed, detached");
        assert_eq!(state.max_size, model.max_size, "max_size");
        assert_eq!(state.generation, model.generation, "generation");
        assert_eq!(
            (state.closed, state.suspended),
            (model.closed, model.suspended)
        );
        assert_eq!(
            state.may_create(model.now),
            model.may_create(),
            "may_create"
        );
        let without_job = model.queue.len().saturating_sub(model.jobs_with_waiter());
        assert_eq!(
            state.waiters_without_job(),
            without_job,
            "waiters without a job"
        );
        // After a shrink more slots may be taken than `max_size`, but never more than before.
        let taken = state.taken();
        assert!(
            taken <= state.max_size.max(self.taken_before),
            "{taken} of {} taken",
            state.max_size
        );
        self.taken_before = taken;
    }

    /// Asserts that each entry is in one place, and that no two entries or creates share a slot.
    fn compare_slots(&self) {
        let (state, model) = (self.engine.lock(), &self.model);
        assert_eq!(self.engine.in_use(&state), model.in_use(), "in use");
        drop(state);
        let ready = self.engine.table.count_idle(usize::MAX);
        assert_eq!(ready, model.idle(), "idle entries that a search finds");
        let mut taken = BTreeSet::new();
        for entry in &model.entries {
            if entry.place == Place::Abandoned {
                continue;
            }
            assert!(
                taken.insert(entry.slot),
                "two entries in slot {}",
                entry.slot
            );
            let slot = self.engine.table.get(entry.slot).expect("it was made");
            match (entry.place, slot.stamp()) {
                (Place::Idle(since), stamp) => assert_eq!(stamp, Stamp::Idle(since)),
                (Place::Out, Stamp::InUse(_)) | (Place::Disposing, Stamp::Vacant) => {}
                (place, stamp) => panic!("{place:?} in a slot that says {stamp:?}"),
            }
        }
        let creates = model.jobs.iter();
        let creates = creates.filter(|job| job.kind == JobKind::Create && !job.abandoned);
        for slot in creates.filter_map(|job| job.slot) {
            assert!(taken.insert(slot), "a create in the taken slot {slot}");
        }
        let stamps = self.engine.table.all().map(|slot| slot.stamp());
        let filled = stamps.filter(|stamp| *stamp != Stamp::Vacant).count();
        assert_eq!(filled, model.idle() + model.in_use(), "filled slots");
    }

    fn compare_queue(&self) {
        let (state, model) = (self.engine.lock(), &self.model);
        assert_eq!(state.queue.len(), model.queue.len(), "waiters");
        let head = state.queue.head().map(|head| head.number());
        let expected = model.queue.first().map(|head| head.number);
        assert_eq!(head, expected, "the head");
        drop(state);
        let engine = &self.engine;
        assert_eq!(
            engine.has_waiters(),
            expected.is_some(),
            "the gate says that there are waiters"
        );
        let may = model.may_barge();
        assert_eq!(
            engine.may_barge(),
            may,
            "the gate says that the head is due"
        );
        assert_eq!(
            engine.fast_path_open(),
            may && !model.fifo,
            "the gate opens the fast path"
        );
        let Some(head) = model.queue.first() else {
            return;
        };
        if engine.gate.load(Relaxed) & NOTIFY_HEAD == 0 {
            // Check-ins rely on the head to search.
            let head = &self.callers[head.caller];
            assert!(
                head.awake || head.alarm.is_some(),
                "the head sleeps, and no check-in will notify it"
            );
            assert!(!model.suspended && model.bound.is_some() && !model.is_due());
        }
    }

    /// Asserts that the head sleeps only if the engine has no entry for it, or if a job will serve it.
    ///
    /// The head may rely on a check of one entry although other entries have been idle since before. The head
    /// may not sleep if an entry became idle since then, because the head would miss that entry.
    fn assert_no_waiter_sleeps_in_vain(&self) {
        let model = &self.model;
        let (Some(head), false) = (model.queue.first(), model.suspended) else {
            return;
        };
        let head = &self.callers[head.caller];
        let without_job = model.queue.len().saturating_sub(model.jobs_with_waiter());
        if without_job == 0 && !model.has_unseen() || head.awake {
            return;
        }
        assert!(
            model.idle() == 0 || head.alarm.is_some(),
            "the head sleeps although an entry is idle"
        );
        let few = model.working(JobKind::Create) < model.max_creating;
        if model.has_room() && few && model.idle() < without_job {
            // Only a pause can be the reason why no create has begun. The collector settles at the end of the
            // pause. In a pool without a collector the head wakes then.
            let until = model.pause();
            let until = until.expect("a waiter without a create that could begin");
            let resumes = head.alarm.is_some_and(|alarm| alarm <= until);
            assert!(!model.inline || resumes, "no alarm ends the pause");
        }
    }
}
