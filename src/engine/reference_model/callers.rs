//! What callers do: take, give back, stand in line; and what is done to the pool as a whole.

use super::super::{CheckFor, Checkout, Outcome, WaitResult};
use super::operation::Op;
use super::world::{CALLERS, Caller, State, World};
use std::cell::RefCell;
use std::sync::Arc;

impl World {
    pub(super) fn perform(&mut self, operation: Op) {
        match operation {
            Op::Pass(steps) => self.pass(steps),
            Op::Take => self.take(),
            Op::CheckIn(which) => self.check_in(which),
            Op::Give(which, fresh) => self.give_one(which, fresh),
            Op::Join(which, anew) => self.join(which, anew, None),
            Op::JoinToCheck(which, hand) => self.join(which, false, Some(hand)),
            Op::Look(which) => self.look(which),
            Op::Leave(which) => self.leave(which),
            Op::Open(which) => self.open(which),
            Op::FailHead => self.fail_head(),
            Op::Resize(max_size, drain) => {
                self.resize(usize::from(max_size));
                if drain {
                    self.drain_surplus();
                }
            }
            Op::DrainSurplus => self.drain_surplus(),
            Op::Suspend(on) => self.suspend(on),
            Op::NextGeneration => self.next_generation(),
            Op::Drain => self.drain(),
            Op::Close => self.close(),
            Op::Settle => self.settle(),
            _ => self.perform_hook(operation),
        }
    }

    fn pass(&mut self, steps: i8) {
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
            Some(checkout) => self.found(checkout),
            None => assert_eq!(self.model.idle(), 0, "an idle entry is not found"),
        }
    }

    fn check_in(&mut self, which: u8) {
        let Some(Checkout { slot, entry, .. }) = self.hand(which) else {
            return;
        };
        let (id, now, tick) = (entry.0, self.now(), self.tick());
        let passes = !self.engine.has_waiters() || self.engine.may_skip_handoff(|| now);
        let model = &self.model;
        let deaf = model.suspended || model.bound.is_none() || model.is_due() || model.is_late();
        assert!(
            !passes || model.line.is_empty() || !deaf,
            "{id} passes a head that needs it"
        );
        let put = match passes {
            true => slot.try_return(entry, tick),
            false => Err(entry),
        };
        let Err(entry) = put else {
            assert!(!self.model.entry(id).awaited, "{id} is not noticed");
            return self.model.rest(id, tick);
        };
        let idle_since = tick;
        let checkout = Checkout {
            slot,
            entry,
            idle_since,
        };
        self.give(checkout, idle_since, false);
    }

    fn give_one(&mut self, which: u8, fresh: bool) {
        if let Some(checkout) = self.hand(which) {
            let tick = self.tick();
            self.give(checkout, tick, fresh);
        }
    }

    // ---- the line ------------------------------------------------------------------------------

    fn join(&mut self, which: u8, anew: bool, unproven: Option<u8>) {
        let outside = |caller: &Caller| caller.state == State::Outside;
        let Some(at) = self.caller(which, outside) else {
            return;
        };
        if self.model.closed {
            return;
        }
        let now = self.moment();
        if anew {
            self.callers[at] = Caller::new(now.real);
        }
        let unproven = unproven.and_then(|hand| self.hand(hand));
        let waiter = Arc::clone(&self.callers[at].waiter);
        let engine = Arc::clone(&self.engine);
        let before = waiter.number();
        let number = self.model.join(at, before, waiter.since());
        let mut state = engine.lock();
        engine.enqueue(&mut state, &waiter, now.real);
        assert_eq!(waiter.number(), number, "its place in line");
        let mut found = None;
        let checks = unproven.is_some();
        if let Some(checkout) = unproven {
            let patience = self.later(Some(1));
            let purpose = CheckFor::Waiter(patience);
            let of = (7, self.model.entry(checkout.entry.0).generation);
            let id = engine.begin_check(&mut state, &checkout, of, now.real, purpose);
            self.note_check(id, checkout, purpose);
        }
        if self.model.suspended {
            engine.mark_all_slots(&mut state, now.tick);
            self.model.await_all();
        } else if !checks {
            found = engine.search(&mut state, &waiter, now.tick);
            let may = self.model.is_head(at) || self.model.may_overtake();
            let expected = may && self.model.idle() > 0;
            assert_eq!(found.is_some(), expected, "what a newcomer finds");
            if may && found.is_none() {
                self.model.await_all();
            }
        }
        let actions = match found {
            Some(checkout) => {
                self.found(checkout);
                self.model.leave(at);
                let actions = engine.dequeue(&mut state, &waiter, now.real);
                actions.expect("it stood in line")
            }
            None => {
                self.callers[at].state = State::InLine;
                self.model.settle();
                engine.settle(&mut state, now.real)
            }
        };
        drop(state);
        self.run(actions);
        self.settled = true;
        if self.callers[at].state == State::InLine {
            self.set_alarm(at);
        }
    }

    /// One that was woken looks once, and sleeps again if there is nothing.
    fn look(&mut self, which: u8) {
        let woken = |caller: &Caller| caller.state == State::InLine && caller.awake;
        let Some(at) = self.caller(which, woken) else {
            return;
        };
        let waiter = Arc::clone(&self.callers[at].waiter);
        let (engine, now) = (Arc::clone(&self.engine), self.moment());
        let never = now.real + 1000 * super::world::STEP;
        let outcome = RefCell::new(None);
        // A false letter ends the wait after the first look. A true one comes before it.
        let settled = |actions| {
            *outcome.borrow_mut() = Some(actions);
            waiter.complete(waiter.take_outcome().unwrap_or(Outcome::Fail(())));
        };
        let waited = engine.wait(&waiter, Some(never), || now, settled);
        let actions = outcome.into_inner().expect("it has looked");
        let looks = self.model.is_head(at) && !self.model.suspended;
        let expected = looks && self.model.idle() > 0;
        match waited {
            WaitResult::Found(checkout) => {
                drop(waiter.take_outcome());
                assert!(expected, "found out of turn");
                self.found(checkout);
                let caller = &mut self.callers[at];
                (caller.state, caller.awake, caller.alarm) = (State::Outside, false, None);
                self.model.leave(at);
                self.run(actions);
            }
            WaitResult::Outcome(mail) => {
                assert!(!expected, "an idle entry is not found by the head");
                if looks {
                    self.model.await_all();
                }
                self.model.settle();
                self.run(actions);
                if !matches!(mail, Outcome::Fail(())) {
                    // Found again by the comparison.
                    waiter.complete(mail);
                }
                self.callers[at].awake = false;
                self.set_alarm(at);
            }
            WaitResult::TimedOut => panic!("it had all the time"),
        }
        self.settled = true;
    }

    /// Its deadline is over. Another call has another ticket.
    fn leave(&mut self, which: u8) {
        let Some(at) = self.caller(which, |caller| caller.state == State::InLine) else {
            return;
        };
        let waiter = Arc::clone(&self.callers[at].waiter);
        let (engine, now) = (Arc::clone(&self.engine), self.moment());
        let outcome = RefCell::new(None);
        let settled = |actions| *outcome.borrow_mut() = Some(actions);
        let waited = engine.wait(&waiter, Some(now.real), || now, settled);
        assert!(matches!(waited, WaitResult::TimedOut), "it ends twice");
        self.model.leave(at);
        self.run(outcome.into_inner().expect("it stood in line"));
        self.callers[at] = Caller::new(now.real);
        self.settled = true;
    }

    /// A letter is opened.
    fn open(&mut self, which: u8) {
        let Some(at) = self.caller(which, |caller| caller.state == State::Mailed) else {
            return;
        };
        // What it was told before it was served it still looks for, should it stand in line again.
        let caller = &mut self.callers[at];
        (caller.state, caller.alarm) = (State::Outside, None);
        match caller.mail.take().expect("there is a letter") {
            Outcome::Checkout(checkout) => self.hands.push(checkout),
            Outcome::Permit(permit) => self.permits.push(permit),
            Outcome::Fail(()) => *caller = Caller::new(self.model.now),
        }
    }

    fn fail_head(&mut self) {
        let now = self.now();
        let mut once = Some(());
        let failure = |_: &_| once.take();
        let actions = self
            .engine
            .fail_waiters(&mut self.engine.lock(), failure, now);
        if !self.model.line.is_empty() {
            self.model.serve(super::model::Letter::Failure);
        }
        self.model.settle();
        self.run(actions);
        self.settled = true;
    }

    // ---- the whole pool ------------------------------------------------------------------------

    fn resize(&mut self, max_size: usize) {
        self.model.max_size = max_size;
        let actions = self.engine.resize(max_size, self.now());
        self.model.settle();
        self.run(actions);
        self.settled = true;
    }

    fn drain_surplus(&mut self) {
        let mut expected = Vec::new();
        while self.model.is_over() {
            let idle = |entry: &&mut super::model::Entry| {
                matches!(entry.place, super::model::Place::Idle(_))
            };
            let entries = self.model.entries.iter_mut().filter(idle);
            let Some(id) = entries.max_by_key(|entry| entry.slot).map(|entry| entry.id) else {
                self.model.await_all();
                break;
            };
            self.model.take(id);
            expected.push((id, self.model.retire(id)));
        }
        let evicted = self.engine.evict_excess(self.moment());
        let ids: Vec<_> = evicted.iter().map(|evicted| evicted.entry.0).collect();
        let wanted: Vec<_> = expected.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, wanted, "the highest idle slots go");
        for (evicted, (_, job)) in evicted.into_iter().zip(expected) {
            self.depart(evicted, job);
        }
        self.settle();
    }

    fn suspend(&mut self, on: bool) {
        let actions = self.engine.suspend(on, self.now());
        let expected = !self.model.closed && self.model.suspended != on;
        assert_eq!(actions.is_some(), expected, "suspend({on}) is news");
        if let Some(actions) = actions {
            self.model.suspended = on;
            self.model.settle();
            self.run(actions);
            self.settled = true;
        }
    }

    fn next_generation(&mut self) {
        let before = self.model.generation;
        let generation = self.engine.announce_generation(Some(before));
        assert_eq!(generation, Some(before + 1), "the generation that it ends");
        let again = self.engine.announce_generation(Some(before));
        assert_eq!(again, None, "a second clear of one generation");
        self.model.generation += 1;
        self.model.uncover_outdated();
        self.model.settle();
        let actions = (self.engine).begin_generation(self.model.generation, self.now());
        self.run(actions);
        self.settled = true;
    }

    /// What a clear or a close does next: all that is idle is looked through.
    pub(super) fn drain(&mut self) {
        self.model.await_all();
        let idle = self.model.idle();
        let drained: Vec<_> = self.engine.take_all(self.tick()).collect();
        assert_eq!(drained.len(), idle, "everything idle is drained");
        // All are out before the first goes back: a waiter may want a create in the place of the next.
        let held = self.hands.len();
        for checkout in drained {
            self.found(checkout);
        }
        for checkout in self.hands.split_off(held) {
            let generation = self.model.entry(checkout.entry.0).generation;
            if self.model.closed || generation != self.model.generation {
                self.retire(checkout);
            } else {
                let idle_since = checkout.idle_since;
                self.give(checkout, idle_since, false);
            }
        }
    }

    pub(super) fn close(&mut self) {
        let actions = self.engine.close(self.now(), || ());
        assert_eq!(actions.is_some(), !self.model.closed, "closed twice");
        self.model.closed = true;
        while !self.model.line.is_empty() {
            self.model.serve(super::model::Letter::Failure);
        }
        if let Some(actions) = actions {
            self.run(actions);
        }
    }

    // ---- the end -------------------------------------------------------------------------------

    /// Everybody goes home. What is idle then is found, each entry once, and goes as well.
    pub(super) fn finish(mut self) {
        self.step(Op::Suspend(false));
        for _ in 0..CALLERS {
            self.step(Op::Leave(0));
            self.step(Op::Open(0));
        }
        self.finish_hooks();
        while !self.hands.is_empty() {
            self.step(Op::CheckIn(0));
        }
        self.finish_hooks();
        while !self.model.closed && self.model.idle() > 0 {
            self.step(Op::Take);
        }
        self.step(Op::Take);
        self.step(Op::Close);
        self.step(Op::Drain);
        while !self.hands.is_empty() {
            self.step(Op::CheckIn(0));
        }
        self.finish_hooks();
        assert!(self.model.entries.is_empty(), "{:?}", self.model.entries);
        assert!(self.engine.wait_drained(Some(self.now())), "not quiet");
    }

    pub(super) fn step(&mut self, operation: Op) {
        self.perform(operation);
        self.compare();
    }
}
