//! The operations of callers: take, return, wait.

use super::super::{CheckFor, Checkout, Outcome};
use super::operation::Op;
use super::waiter::Kind;
use super::world::{Caller, State, World};
use std::cell::RefCell;
use std::sync::Arc;

impl World {
    pub(super) fn perform(&mut self, operation: Op) {
        match operation {
            Op::Advance(steps) => self.advance(steps),
            Op::Take => self.take(),
            Op::CheckIn(which) => self.check_in(which),
            Op::Return(which, fresh) => self.return_one(which, fresh),
            Op::Enqueue(which, new) => self.enqueue(which, new, None),
            Op::EnqueueTask(which, deadline) => self.enqueue_task(which, deadline),
            Op::EnqueueAndCheck(which, hand) => self.enqueue(which, false, Some(hand)),
            Op::Search(which) => self.search(which),
            Op::TimeOut(which) => self.time_out(which),
            Op::TakeOutcome(which) => self.take_outcome(which),
            Op::FailHead => self.fail_head(),
            Op::Resize(max_size, drain) => {
                self.resize(usize::from(max_size));
                if drain {
                    self.evict_excess();
                }
            }
            Op::EvictExcess => self.evict_excess(),
            Op::SetMaxIdle(max_idle) => {
                self.model.max_idle = max_idle.map(usize::from);
                self.resize(self.model.max_size);
                self.evict_excess();
            }
            Op::Suspend(on) => self.suspend(on),
            Op::SuspendAndFail => self.suspend_and_fail(),
            Op::NextGeneration => self.next_generation(),
            Op::Drain => self.drain(),
            Op::Close => self.close(),
            Op::Settle => self.settle(),
            _ => self.perform_hook(operation),
        }
    }

    fn advance(&mut self, steps: i8) {
        let step = super::world::STEP * u32::from(steps.unsigned_abs());
        let now = self.model.now;
        self.model.now = if steps < 0 {
            (now - step).max(*super::world::START)
        } else {
            now + step
        };
        self.ring_alarms();
    }

    // ---- without waiting -----------------------------------------------------------------------

    fn take(&mut self) {
        if !self.engine.may_barge() {
            return;
        }
        match self.engine.take_idle(self.tick()) {
            Some(checkout) => self.found_for_caller(checkout),
            None => assert_eq!(self.model.idle(), 0, "an idle entry is not found"),
        }
    }

    fn check_in(&mut self, which: u8) {
        let Some(Checkout { slot, entry, .. }) = self.pick_used(which) else {
            return;
        };
        let (id, now, tick) = (entry.0, self.now(), self.tick());
        let skips_handoff = !self.engine.has_waiters() || self.engine.may_skip_handoff(|| now);
        let model = &self.model;
        let must_hand_off =
            model.suspended || model.bound.is_none() || model.is_due() || model.is_late();
        assert!(
            !skips_handoff || model.queue.is_empty() || !must_hand_off,
            "{id} skips the hand-off to a head that needs it"
        );
        let stored = match skips_handoff {
            true => slot.try_return(entry, tick),
            false => Err(entry),
        };
        let Err(entry) = stored else {
            assert!(!self.model.entry(id).marked, "{id} returned past the mark");
            return self.model.store(id, tick);
        };
        let idle_since = tick;
        let checkout = Checkout {
            slot,
            entry,
            idle_since,
        };
        self.return_entry(checkout, idle_since, false);
    }

    fn return_one(&mut self, which: u8, fresh: bool) {
        if let Some(checkout) = self.pick_used(which) {
            let tick = self.tick();
            self.return_entry(checkout, tick, fresh);
        }
    }

    // ---- waiting -------------------------------------------------------------------------------

    fn enqueue(&mut self, which: u8, new: bool, unproven: Option<u8>) {
        let outside = |caller: &Caller| caller.state == State::Outside;
        let Some(at) = self.caller(which, outside) else {
            return;
        };
        if self.model.closed {
            return;
        }
        let now = self.engine_now();
        if new {
            self.callers[at] = Caller::new(now.real);
        }
        let unproven = unproven.and_then(|hand| self.pick_held(hand));
        let waiter = Arc::clone(&self.callers[at].waiter);
        let engine = Arc::clone(&self.engine);
        let before = waiter.number();
        let kind = self.callers[at].kind;
        let number = self.model.enqueue(at, before, waiter.since(), kind);
        let mut state = engine.lock();
        engine.enqueue(&mut state, &waiter, now.real);
        assert_eq!(waiter.number(), number, "its number in the queue");
        let mut found = None;
        let checks = unproven.is_some();
        if let Some(checkout) = unproven {
            let soft_deadline = self.later(Some(1));
            let purpose = CheckFor::Waiter(soft_deadline);
            let of = (7, self.model.entry(checkout.entry.0).generation);
            let id = engine.begin_check(&mut state, &checkout, of, now.real, purpose);
            self.note_check(id, checkout, purpose);
        }
        if self.model.suspended {
            engine.mark_all_slots(&mut state, now.tick);
            self.model.mark_all();
        } else if !checks {
            found = engine.search(&mut state, &waiter, now.tick);
            let may = self.model.is_head(at) || self.model.may_barge();
            let expected = may && self.model.idle() > 0;
            assert_eq!(found.is_some(), expected, "what a newcomer finds");
            if may && found.is_none() {
                self.model.mark_all();
            }
        }
        let actions = match found {
            Some(checkout) => {
                self.found_for_caller(checkout);
                self.model.dequeue(at);
                let actions = engine.dequeue(&mut state, &waiter, now.real);
                actions.expect("it was queued")
            }
            None => {
                self.callers[at].state = State::Queued;
                self.model.settle();
                engine.settle(&mut state, now.real)
            }
        };
        drop(state);
        self.run(actions);
        self.settled = true;
        if self.callers[at].state == State::Queued {
            self.set_alarm(at);
        }
    }

    fn enqueue_task(&mut self, which: u8, deadline: Option<u8>) {
        let outside = |caller: &Caller| caller.state == State::Outside;
        // A pool without threads gives no task a place in the queue.
        let at = self.caller(which, outside).filter(|_| !self.model.inline);
        if let Some(at) = at {
            self.callers[at] = Caller::task(self.now(), self.later(deadline));
            self.enqueue(which, false, None);
        }
    }

    /// A woken waiter searches once, and sleeps again if it finds no entry.
    fn search(&mut self, which: u8) {
        let woken = |caller: &Caller| caller.state == State::Queued && caller.awake;
        let Some(at) = self.caller(which, woken) else {
            return;
        };
        let waiter = Arc::clone(&self.callers[at].waiter);
        let (engine, now) = (Arc::clone(&self.engine), self.engine_now());
        let far_deadline = now.real + 1000 * super::world::STEP;
        let left = RefCell::new(None);
        // A fake failure ends the wait after the first search. A real outcome takes precedence.
        let run_actions = |actions| {
            *left.borrow_mut() = Some(actions);
            waiter.complete(waiter.take_outcome().unwrap_or(Outcome::Fail(())));
        };
        let ended = engine.wait(&waiter, Some(far_deadline), || now, run_actions);
        let actions = left.into_inner().expect("it has searched");
        let searches = self.model.is_head(at) && !self.model.suspended;
        let expected = searches && self.model.idle() > 0;
        match ended {
            Outcome::Found(checkout) => {
                drop(waiter.take_outcome());
                assert!(expected, "found out of turn");
                self.found_for_caller(checkout);
                let caller = &mut self.callers[at];
                (caller.state, caller.awake, caller.alarm) = (State::Outside, false, None);
                self.model.dequeue(at);
                self.run(actions);
            }
            outcome => {
                assert!(!expected, "an idle entry is not found by the head");
                if searches {
                    self.model.mark_all();
                }
                self.model.settle();
                self.run(actions);
                if !matches!(outcome, Outcome::Fail(())) {
                    // Store the outcome again for the comparison.
                    waiter.complete(outcome);
                }
                self.callers[at].awake = false;
                self.set_alarm(at);
            }
        }
        self.settled = true;
    }

    /// The deadline of a waiter passes. The caller's next wait has a new waiter.
    fn time_out(&mut self, which: u8) {
        let Some(at) = self.caller(which, |caller| caller.state == State::Queued) else {
            return;
        };
        let waiter = Arc::clone(&self.callers[at].waiter);
        let (engine, now) = (Arc::clone(&self.engine), self.engine_now());
        if self.callers[at].kind != Kind::Thread {
            // The task is dropped.
            let actions = engine.abandon_wait(&waiter, now.real);
            self.model.dequeue(at);
            self.run(actions.unwrap_or_else(|_| panic!("it was queued")));
            self.callers[at] = Caller::new(now.real);
            self.settled = true;
            return;
        }
        let left = RefCell::new(None);
        let run_actions = |actions| *left.borrow_mut() = Some(actions);
        let ended = engine.wait(&waiter, Some(now.real), || now, run_actions);
        assert!(matches!(ended, Outcome::TimedOut), "it ends twice");
        self.model.dequeue(at);
        self.run(left.into_inner().expect("it was queued"));
        self.callers[at] = Caller::new(now.real);
        self.settled = true;
    }

    /// A caller takes its outcome.
    fn take_outcome(&mut self, which: u8) {
        let Some(at) = self.caller(which, |caller| caller.state == State::Served) else {
            return;
        };
        // `awake` stays set: a notification from before the outcome is still pending if the caller queues
        // again.
        let caller = &mut self.callers[at];
        (caller.state, caller.alarm) = (State::Outside, None);
        match caller.outcome.take().expect("there is an outcome") {
            Outcome::Checkout(checkout) | Outcome::Found(checkout) => self.held.push(checkout),
            Outcome::Permit(permit) => self.permits.push(permit),
            Outcome::Fail(()) | Outcome::TimedOut => *caller = Caller::new(self.model.now),
        }
    }

    fn fail_head(&mut self) {
        let now = self.now();
        let mut once = Some(());
        let failure = |_: &_| once.take();
        let actions = self
            .engine
            .fail_waiters(&mut self.engine.lock(), failure, now);
        if !self.model.queue.is_empty() {
            self.model.hand_off(super::model::ExpectedOutcome::Failure);
        }
        self.model.settle();
        self.run(actions);
        self.settled = true;
    }
}
