//! The operations of hooks: creates and disposes begin and end, and hooks are abandoned.

use super::super::{CreateReason, JobKind};
use super::model::Place;
use super::operation::{End, Op};
use super::world::{Abandoned, Dispose, Returned, World, pick};
use std::time::Instant;

impl World {
    pub(super) fn perform_hook(&mut self, operation: Op) {
        match operation {
            Op::Pause(steps) => self.pause(steps),
            Op::Evict(which) => {
                if let Some(checkout) = self.pick_held(which) {
                    self.evict(checkout);
                }
            }
            Op::Detach(which) => self.detach(which),
            Op::Add => self.add(),
            Op::Reserve => self.reserve(),
            Op::StartCreate {
                which,
                deadline,
                wanted,
            } => self.start_create(which, deadline, wanted),
            Op::Install(which) => self.install(which),
            Op::FailCreate(which) => self.fail_create(which),
            Op::DropPermit(which) => self.drop_permit(which),
            Op::BeginCheck(which) => self.begin_check(which),
            Op::TakeToCheck(which) => self.take_to_check(which),
            Op::BeginReset(which) => self.begin_reset(which),
            Op::StartCheck(which, deadline) => self.start_check(which, deadline),
            Op::EndCheck(which, end) => self.end_check(which, end),
            Op::StartDispose(which, deadline) => self.start_dispose(which, deadline),
            Op::FinishDispose(which) => self.finish_dispose(which),
            Op::EndAbandoned(which) => self.end_abandoned(which),
            Op::AbandonOverdue => self.abandon_overdue(),
            Op::ExpireSoftDeadlines => self.expire_deadlines(),
            _ => unreachable!("{operation:?} is no operation of a hook"),
        }
    }

    // ---- in and out of the pool ----------------------------------------------------------------

    fn add(&mut self) {
        let entry = self.new_entry();
        let (id, generation) = (entry.0, self.model.generation);
        let expected = self.model.has_room() && !self.model.closed;
        let now = self.engine_now();
        let added = self
            .engine
            .add(&mut self.engine.lock(), entry, now, u64::MAX);
        assert_eq!(added.is_ok(), expected, "room to add");
        if let Ok(checkout) = added {
            self.model.added += 1;
            self.model.open(id, checkout.slot.index(), generation);
            self.held.push(checkout);
        }
    }

    fn detach(&mut self, which: u8) {
        let Some(checkout) = self.pick_held(which) else {
            return;
        };
        self.model.forget(checkout.entry.0);
        self.model.detached += 1;
        self.model.settle();
        let (_, actions) = self.engine.detach(checkout, self.now());
        self.run(actions);
        self.settled = true;
    }

    // ---- creates -------------------------------------------------------------------------------

    fn pause(&mut self, steps: Option<u8>) {
        let until = self.later(steps);
        let for_waiters = self.later(steps.map(|steps| steps / 2));
        self.model.paused_until = until;
        self.model.paused_for_waiters_until = for_waiters;
        let mut state = self.engine.lock();
        state.paused_until = until;
        state.paused_for_waiters_until = for_waiters;
        drop(state);
        self.settle();
    }

    fn reserve(&mut self) {
        let expected = self.model.has_room() && !self.model.closed;
        let now = self.now();
        let permit = self
            .engine
            .reserve_create(&mut self.engine.lock(), CreateReason::Spare, now);
        assert_eq!(permit.is_some(), expected, "room to create");
        if let Some(permit) = permit {
            let job = self.model.begin(JobKind::Create, None, false);
            assert_eq!(permit.job(), job);
            self.permits.push(permit);
        }
    }

    pub(super) fn is_started(&self, job: u64) -> bool {
        self.job(job).is_some_and(|job| job.started)
    }

    fn start_create(&mut self, which: u8, deadline: Option<u8>, wanted: bool) {
        let planned = |at: &usize| !self.is_started(self.permits[*at].job());
        let planned: Vec<_> = (0..self.permits.len()).filter(planned).collect();
        if planned.is_empty() {
            return;
        }
        let permit = &self.permits[planned[usize::from(which) % planned.len()]];
        let deadline = self.later(deadline);
        let started = permit.start(self.now(), deadline, wanted);
        let model = &mut self.model;
        let stopped = model.closed || model.suspended;
        let generation = model.generation;
        let job = model.job(permit.job());
        let expected = !stopped && !job.abandoned && (job.has_waiter || wanted);
        assert_eq!(started, expected.then_some(generation), "a create begins");
        if expected {
            job.generation = generation;
            model.start(permit.job(), deadline);
        }
    }

    fn install(&mut self, which: u8) {
        let started = |at: &usize| self.is_started(self.permits[*at].job());
        let started: Vec<_> = (0..self.permits.len()).filter(started).collect();
        if started.is_empty() {
            return;
        }
        let at = started[usize::from(which) % started.len()];
        let permit = self.permits.remove(at);
        let (entry, now, number) = (self.new_entry(), self.engine_now(), permit.job());
        let (id, inline) = (entry.0, self.model.inline);
        let job = self.model.job(number).clone();
        let generation = job.generation;
        let installed = permit.install(
            entry,
            now,
            u64::MAX,
            |engine, state, checkout| -> Returned {
                assert_eq!(Some(checkout.slot.index()), job.slot, "the slot of {id}");
                if inline && engine.reject_reason(state, generation).is_none() {
                    return Ok((Some(checkout), engine.settle(state, now.real)));
                }
                let given =
                    engine.return_locked(state, checkout, now.tick, generation, true, now.real);
                given.map(|actions| (None, actions))
            },
        );
        self.model.created += 1;
        let slot = job.slot.expect("every create has one");
        self.model.open(id, slot, generation);
        match installed {
            Ok(returned) => {
                assert!(!job.abandoned, "installed though abandoned");
                self.model.end(number);
                self.model.note_faster_create(job.since);
                let settles = inline && self.model.reject_reason(generation).is_none();
                let expected = if settles {
                    self.model.settle();
                    self.settled = true;
                    Ok(())
                } else {
                    self.model.return_entry(id, now.tick, true)
                };
                self.apply_return(returned, expected);
            }
            Err((entry, abandoned)) => {
                assert!(job.abandoned, "was the create abandoned?");
                self.model.entry(id).place = Place::Abandoned;
                let create = Some(abandoned);
                let job = number;
                self.abandoned.push(Abandoned { create, job, entry });
            }
        }
    }

    fn fail_create(&mut self, which: u8) {
        let Some(permit) = pick(&mut self.permits, which) else {
            return;
        };
        let job = self.model.end(permit.job());
        // A third of the failures reach no waiter, a third reach the head, and a third reach all waiters.
        let mut failures = [0, 1, u32::MAX][usize::from(which % 3)];
        for _ in 0..failures.min(self.model.queue.len() as u32) {
            if !job.abandoned {
                self.model.hand_off(super::model::ExpectedOutcome::Failure);
            }
        }
        self.model.settle();
        let failure = |_: &_| {
            failures = failures.checked_sub(1)?;
            Some(())
        };
        let (attached, actions) = permit.fail_and_notify(self.now(), failure);
        assert_eq!(attached, !job.abandoned, "was the create abandoned?");
        self.run(actions);
        self.settled = true;
    }

    /// Drops a permit, as in an outcome that no waiter takes. The next event settles.
    fn drop_permit(&mut self, which: u8) {
        if let Some(permit) = pick(&mut self.permits, which) {
            self.model.end(permit.job());
            drop(permit);
            self.settled = false;
        }
    }

    // ---- disposes ------------------------------------------------------------------------------

    fn start_dispose(&mut self, which: u8, deadline: Option<u8>) {
        let deadline = self.later(deadline);
        let planned = |at: &Dispose| !self.is_started(at.job);
        let planned: Vec<_> = self.disposes.iter().filter(|at| planned(at)).collect();
        if planned.is_empty() {
            return;
        }
        let dispose = planned[usize::from(which) % planned.len()];
        dispose.permit.start(self.now(), deadline);
        self.model.start(dispose.job, deadline);
    }

    fn finish_dispose(&mut self, which: u8) {
        let Some(dispose) = pick(&mut self.disposes, which) else {
            return;
        };
        let Dispose { permit, job, entry } = dispose;
        self.model.end(job);
        self.model.forget(entry.0);
        self.model.disposed += 1;
        self.model.settle();
        let actions = permit.finish(self.now());
        self.run(actions);
        self.settled = true;
    }

    fn end_abandoned(&mut self, which: u8) {
        let Some(Abandoned { create, job, entry }) = pick(&mut self.abandoned, which) else {
            return;
        };
        self.model.end(job);
        self.model.forget(entry.0);
        self.model.disposed += 1;
        match create {
            Some(abandoned) => drop(abandoned),
            None => self.engine.end_abandoned(),
        }
    }

    // ---- the collector -------------------------------------------------------------------------

    /// Abandons every hook past its deadline, one after the other, as the collector does.
    fn abandon_overdue(&mut self) {
        let now = self.now();
        let late = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let overdue = self.model.jobs.iter();
        let overdue = overdue.filter(|job| !job.abandoned && late(job.deadline));
        let overdue: Vec<_> = overdue.map(|job| job.number).collect();
        for number in overdue {
            let job = self.engine.abandon(&mut self.engine.lock(), number);
            let expected = self.model.abandon(number);
            assert_eq!(job.is_some(), expected, "{number} may be abandoned");
            self.settle();
        }
    }

    fn expire_deadlines(&mut self) {
        let now = self.now();
        self.model.time_out_tasks();
        let is_over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        for job in &mut self.model.jobs {
            job.has_waiter &= !is_over(job.soft_deadline);
        }
        for pause in [
            &mut self.model.paused_until,
            &mut self.model.paused_for_waiters_until,
        ] {
            if is_over(*pause) {
                *pause = None;
            }
        }
        self.model.settle();
        let actions = self.engine.expire_deadlines(now);
        self.run(actions);
        self.settled = true;
    }

    pub(super) fn finish_hooks(&mut self) {
        while !self.permits.is_empty() {
            self.step(Op::FailCreate(0));
        }
        while !self.checks.is_empty() {
            self.step(Op::EndCheck(0, End::Well));
        }
        while !self.abandoned.is_empty() {
            self.step(Op::EndAbandoned(0));
        }
        while !self.disposes.is_empty() {
            self.step(Op::FinishDispose(0));
        }
    }
}
