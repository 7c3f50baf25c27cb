//! The comparison: everything that can be seen of the engine against what the model counts.

use super::super::{JobKind, NOTIFY_HEAD, Outcome, Stamp};
use super::model::{Job, Letter, Place};
use super::world::{State, World};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

impl World {
    pub(super) fn compare(&mut self) {
        if self.model.line.is_empty() {
            let entries = &mut self.model.entries;
            entries.iter_mut().for_each(|entry| entry.news = false);
        }
        self.compare_letters();
        self.compare_jobs();
        self.compare_counts();
        self.compare_slots();
        self.compare_line();
        if self.settled {
            self.nobody_sleeps_in_vain();
        }
    }

    /// Who was served, and with what.
    fn compare_letters(&mut self) {
        let served = std::mem::take(&mut self.model.served);
        for (at, caller) in self.callers.iter_mut().enumerate() {
            if caller.state != State::InLine {
                continue;
            }
            let mail = caller.waiter.take_outcome();
            let letter = mail.as_ref().map(|mail| match mail {
                Outcome::Checkout(checkout) => Letter::Entry(checkout.entry.0),
                Outcome::Permit(permit) => Letter::Permit(permit.job()),
                Outcome::Fail(()) => Letter::Failure,
            });
            let expected = served.iter().find(|(served, _)| *served == at);
            assert_eq!(
                letter,
                expected.map(|(_, letter)| *letter),
                "letter of {at}"
            );
            if mail.is_some() {
                let woken = caller.awake || caller.notified;
                assert!(woken, "caller {at} was served and not woken");
                (caller.state, caller.notified) = (State::Mailed, false);
                caller.mail = mail;
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
                    expected.covers,
                    expected.started
                ),
                "number, kind, slot, covers, started"
            );
            assert_eq!(
                (job.since, job.deadline, job.soft_deadline, job.generation),
                (
                    expected.since,
                    expected.deadline,
                    expected.patience,
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
        assert_eq!(state.open, model.idle() + model.out(), "open");
        assert_eq!(state.creating, jobs(JobKind::Create), "creating");
        assert_eq!(state.checking, jobs(JobKind::Check), "checking");
        assert_eq!(state.disposing, jobs(JobKind::Dispose), "disposing");
        assert_eq!(state.abandoned, model.abandoned(), "abandoned");
        assert_eq!(state.jobs_with_waiter(), model.covering(), "covering");
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
        let uncovered = model.line.len().saturating_sub(model.covering());
        assert_eq!(state.waiters_without_job(), uncovered, "uncovered");
        // After a shrink there may be too many, but never more than there were.
        let taken = state.taken();
        assert!(
            taken <= state.max_size.max(self.taken_before),
            "{taken} of {} taken",
            state.max_size
        );
        self.taken_before = taken;
    }

    /// Each entry is in one place, and no two of anything share a slot.
    fn compare_slots(&self) {
        let (state, model) = (self.engine.lock(), &self.model);
        assert_eq!(self.engine.in_use(&state), model.out(), "in use");
        drop(state);
        let ready = self.engine.table.count_idle(usize::MAX);
        assert_eq!(ready, model.idle(), "idle entries that a search finds");
        let mut taken = BTreeSet::new();
        for entry in &model.entries {
            if entry.place == Place::AbandonedConnection {
                continue;
            }
            assert!(taken.insert(entry.slot), "two in slot {}", entry.slot);
            let slot = self.engine.table.get(entry.slot).expect("it was made");
            match (entry.place, slot.stamp()) {
                (Place::Idle(since), stamp) => assert_eq!(stamp, Stamp::Idle(since)),
                (Place::Out, Stamp::InUse(_)) | (Place::DisposePermit, Stamp::Vacant) => {}
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
        assert_eq!(filled, model.idle() + model.out(), "filled slots");
    }

    fn compare_line(&self) {
        let (state, model) = (self.engine.lock(), &self.model);
        assert_eq!(state.queue.len(), model.line.len(), "waiters");
        let head = state.queue.head().map(|head| head.number());
        let expected = model.line.first().map(|head| head.number);
        assert_eq!(head, expected, "the head");
        drop(state);
        let engine = &self.engine;
        assert_eq!(
            engine.has_waiters(),
            expected.is_some(),
            "the gate on a line"
        );
        let may = model.may_overtake();
        assert_eq!(engine.may_barge(), may, "the gate on a head that is due");
        assert_eq!(engine.fast_path_open(), may, "the open road");
        let Some(head) = model.line.first() else {
            return;
        };
        if engine.gate.load(Relaxed) & NOTIFY_HEAD == 0 {
            // Check-ins rely on it.
            let head = &self.callers[head.caller];
            assert!(
                head.awake || head.alarm.is_some(),
                "the head sleeps, and nobody will tell it"
            );
            assert!(!model.suspended && model.bound.is_some() && !model.is_due());
        }
    }

    /// The head may sleep only if there is nothing for it, or if something is on its way to it. It may
    /// count on a check of one entry beside others that rested before, but not beside one that came
    /// since: that is how it would miss it.
    fn nobody_sleeps_in_vain(&self) {
        let model = &self.model;
        let (Some(head), false) = (model.line.first(), model.suspended) else {
            return;
        };
        let head = &self.callers[head.caller];
        let uncovered = model.line.len().saturating_sub(model.covering());
        if uncovered == 0 && !model.has_news() || head.awake {
            return;
        }
        assert!(
            model.idle() == 0 || head.alarm.is_some(),
            "the head sleeps beside an idle entry"
        );
        let few = model.working(JobKind::Create) < model.max_creating;
        if model.has_room() && few && model.idle() < uncovered {
            // Only a pause can be the reason why no create has begun. Its end is the collector's to
            // settle; without one the head looks then.
            let until = model.pause();
            let until = until.expect("a waiter without a create that could begin");
            let resumes = head.alarm.is_some_and(|alarm| alarm <= until);
            assert!(!model.inline || resumes, "nobody ends the pause");
        }
    }
}
