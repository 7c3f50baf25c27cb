//! The comparison: everything that can be seen of the engine against what the model counts.

use super::super::{JobKind, Mail, Stamp, TELL};
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
            let mail = caller.ticket.collect();
            let letter = mail.as_ref().map(|mail| match mail {
                Mail::Loan(loan) => Letter::Entry(loan.entry.0),
                Mail::Permit(permit) => Letter::Permit(permit.job()),
                Mail::Fail(()) => Letter::Failure,
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
        let core = self.engine.lock();
        let working = |job: &&mut Job| !job.abandoned;
        let mut expected = self.model.jobs.iter_mut().filter(working);
        for (number, job) in core.jobs() {
            let expected = expected.next().expect("a job that should have ended");
            let slot = *expected.slot.get_or_insert(job.slot);
            assert_eq!(
                (number, job.kind, job.slot, job.covers, job.started),
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
                (job.since, job.deadline, job.patience, job.generation),
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
        let (core, model) = (self.engine.lock(), &self.model);
        let jobs = |kind| model.working(kind);
        assert_eq!(core.open, model.idle() + model.out(), "open");
        assert_eq!(core.creating, jobs(JobKind::Create), "creating");
        assert_eq!(core.checking, jobs(JobKind::Check), "checking");
        assert_eq!(core.disposing, jobs(JobKind::Dispose), "disposing");
        assert_eq!(core.abandoned, model.abandoned(), "abandoned");
        assert_eq!(core.covering(), model.covering(), "covering");
        assert_eq!(core.size(), model.size(), "size");
        assert_eq!(core.taken(), model.taken(), "taken");
        assert_eq!(core.is_quiet(), model.taken() + model.abandoned() == 0);
        let passed = (core.created, core.added, core.disposed, core.detached);
        let expected = (model.created, model.added, model.disposed, model.detached);
        assert_eq!(passed, expected, "created, added, disposed, detached");
        assert_eq!(core.max_size, model.max_size, "max_size");
        assert_eq!(core.generation, model.generation, "generation");
        assert_eq!(
            (core.closed, core.suspended),
            (model.closed, model.suspended)
        );
        assert_eq!(core.may_create(model.now), model.may_create(), "may_create");
        let uncovered = model.line.len().saturating_sub(model.covering());
        assert_eq!(core.uncovered(), uncovered, "uncovered");
        // After a shrink there may be too many, but never more than there were.
        let taken = core.taken();
        assert!(
            taken <= core.max_size.max(self.taken_before),
            "{taken} of {} taken",
            core.max_size
        );
        self.taken_before = taken;
    }

    /// Each entry is in one place, and no two of anything share a slot.
    fn compare_slots(&self) {
        let (core, model) = (self.engine.lock(), &self.model);
        assert_eq!(self.engine.in_use(&core), model.out(), "in use");
        drop(core);
        let ready = self.engine.table.seems_idle(usize::MAX);
        assert_eq!(ready, model.idle(), "idle entries that a search finds");
        let mut taken = BTreeSet::new();
        for entry in &model.entries {
            if entry.place == Place::Stray {
                continue;
            }
            assert!(taken.insert(entry.slot), "two in slot {}", entry.slot);
            let slot = self.engine.table.get(entry.slot).expect("it was made");
            match (entry.place, slot.stamp()) {
                (Place::Idle(since), stamp) => assert_eq!(stamp, Stamp::Idle(since)),
                (Place::Out, Stamp::InUse(_)) | (Place::Leaving, Stamp::Vacant) => {}
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
        let (core, model) = (self.engine.lock(), &self.model);
        assert_eq!(core.queue.len(), model.line.len(), "waiters");
        let head = core.queue.head().map(|head| head.number());
        let expected = model.line.first().map(|head| head.number);
        assert_eq!(head, expected, "the head");
        drop(core);
        let engine = &self.engine;
        assert_eq!(engine.has_line(), expected.is_some(), "the gate on a line");
        let may = model.may_overtake();
        assert_eq!(engine.may_overtake(), may, "the gate on a head that is due");
        assert_eq!(engine.is_open_road(), may, "the open road");
        let Some(head) = model.line.first() else {
            return;
        };
        if engine.gate.load(Relaxed) & TELL == 0 {
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
