//! The operations of checks: they begin, start and end.

use super::super::{CheckFor, CheckId, JobKind};
use super::model::Place;
use super::operation::End;
use super::world::{Abandoned, Check, HeldEntry, World, pick};
use std::sync::Arc;

impl World {
    /// Records a check that began.
    pub(super) fn note_check(&mut self, id: CheckId, checkout: HeldEntry, purpose: CheckFor) {
        let slot = Some(checkout.slot.index());
        let soft_deadline = match purpose {
            CheckFor::Waiter(soft_deadline) => soft_deadline,
            CheckFor::Pool | CheckFor::Inspect | CheckFor::Reset => None,
        };
        let generation = self.model.entry(checkout.entry.0).generation;
        let has_waiter = soft_deadline.is_some() && generation == self.model.generation;
        let number = self.model.begin(JobKind::Check, slot, has_waiter);
        let job = self.model.job(number);
        (job.soft_deadline, job.generation) = (soft_deadline, generation);
        job.background = purpose == CheckFor::Pool;
        job.is_reset = purpose == CheckFor::Reset;
        let job = number;
        self.checks.push(Check { id, job, checkout });
    }

    pub(super) fn begin_check(&mut self, which: u8) {
        let Some(checkout) = self.pick_held(which) else {
            return;
        };
        let (now, engine) = (self.now(), Arc::clone(&self.engine));
        let of = (7, self.model.entry(checkout.entry.0).generation);
        let purpose = CheckFor::Pool;
        let id = engine.begin_check(&mut engine.lock(), &checkout, of, now, purpose);
        self.note_check(id, checkout, purpose);
        // A waiter may rely on the check from the next settling on.
        self.settle();
    }

    pub(super) fn begin_reset(&mut self, which: u8) {
        let Some(checkout) = self.pick_held(which) else {
            return;
        };
        let generation = self.model.entry(checkout.entry.0).generation;
        let rejected = self.model.reject_reason(generation).is_some();
        let begun = self
            .engine
            .begin_reset(&checkout, (7, generation), self.now());
        assert_eq!(begun.is_none(), rejected, "only what is kept is reset");
        let Some((id, actions)) = begun else {
            let tick = self.tick();
            return self.return_entry(checkout, tick, false);
        };
        self.note_check(id, checkout, CheckFor::Reset);
        self.model.settle();
        self.run(actions);
        self.settled = true;
    }

    pub(super) fn take_to_check(&mut self, which: u8) {
        let entries = &self.model.entries;
        let Some(entry) = entries.get(usize::from(which) % entries.len().max(1)) else {
            return;
        };
        let (expected, place) = (entry.id, entry.place);
        let slot = self.engine.table.get(entry.slot).expect("it was made");
        if !matches!(place, Place::Idle(_)) {
            return;
        }
        let purpose = [CheckFor::Pool, CheckFor::Inspect][usize::from(which) % 2];
        let generation = self.model.entry(expected).generation;
        let may = purpose == CheckFor::Inspect || self.model.may_check();
        let taken = (self.engine).take_to_check(
            slot,
            |_| (7, generation),
            self.engine_now(),
            purpose,
            || true,
        );
        assert_eq!(
            taken.is_some(),
            may,
            "a few background checks at a time, and never of the last idle entry"
        );
        let Some((id, checkout)) = taken else { return };
        assert_eq!(checkout.entry.0, expected, "in another slot");
        self.found(checkout);
        let checkout = self.held.pop().expect("it was just found");
        self.note_check(id, checkout, purpose);
        self.settle();
    }

    pub(super) fn start_check(&mut self, which: u8, deadline: Option<u8>) {
        let planned = |check: &&Check| !self.is_started(check.job);
        let planned: Vec<_> = self.checks.iter().filter(planned).collect();
        if planned.is_empty() {
            return;
        }
        let check = planned[usize::from(which) % planned.len()];
        let (id, job) = (check.id, check.job);
        let deadline = self.later(deadline);
        self.engine.start_check(id, self.now(), deadline);
        self.model.start(job, deadline);
    }

    pub(super) fn end_check(&mut self, which: u8, end: End) {
        let Some(Check { id, job, checkout }) = pick(&mut self.checks, which) else {
            return;
        };
        let (entry, idle_since) = (checkout.entry.0, checkout.idle_since);
        let generation = self.model.entry(entry).generation;
        let begun = self.model.job(job).clone();
        let abandoned = begun.abandoned;
        let (now, tick) = (self.now(), self.tick());
        if !abandoned {
            self.model.end(job);
        }
        // An inspection is no hook: no waiter relies on an inspection, and the pool never abandons one.
        let end = match end {
            End::Looked if begun.is_reset || begun.started || begun.has_waiter || abandoned => {
                End::Badly
            }
            end => end,
        };
        match end {
            End::Well if begun.is_reset => {
                let returned = self
                    .engine
                    .finish_reset(id, checkout, tick, generation, now);
                match returned {
                    Ok(returned) => {
                        assert!(!abandoned, "finished though abandoned");
                        let expected = self.model.return_entry(entry, tick, true);
                        self.returned(returned, expected);
                    }
                    Err(checkout) => self.note_abandoned(checkout, job, abandoned),
                }
            }
            End::Well => match self
                .engine
                .finish_check(id, checkout, generation, tick, now)
            {
                Ok(returned) => {
                    assert!(!abandoned, "finished though abandoned");
                    let expected = self.model.return_entry(entry, idle_since, true);
                    self.returned(returned, expected);
                }
                Err(checkout) => self.note_abandoned(checkout, job, abandoned),
            },
            End::Looked => {
                let returned = self.engine.end_inspection(id, checkout, generation, now);
                let expected = self.model.return_entry(entry, idle_since, false);
                self.returned(returned, expected);
            }
            End::Badly if self.engine.end_check(id) => {
                assert!(!abandoned, "ended though abandoned");
                self.evict(checkout);
                self.settle();
            }
            End::Badly => self.note_abandoned(checkout, job, abandoned),
        }
    }

    fn note_abandoned(&mut self, checkout: HeldEntry, job: u64, abandoned: bool) {
        assert!(abandoned, "was the check abandoned?");
        let (create, entry) = (None, checkout.entry);
        self.abandoned.push(Abandoned { create, job, entry });
    }
}
