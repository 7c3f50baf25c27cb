//! What a caller does to a pool: checkouts, waits and check-ins.

use super::super::Outcome;
use super::fixture::{Failure, Fixture, HeldEntry, TICK, WaiterRef};
use std::cell::Cell;
use std::time::Instant;

/// The result of a checkout.
pub(super) enum GetResult {
    Checkout(HeldEntry),
    TimedOut,
    Failed(Failure),
}

impl Fixture {
    // ---- checkout ------------------------------------------------------------------------------

    /// Takes an idle entry without queueing.
    pub(super) fn try_get(&self) -> Option<HeldEntry> {
        let free = self.engine.may_barge();
        let held = free.then(|| self.engine.take_idle(TICK)).flatten()?;
        held.entry.touch();
        Some(held)
    }

    /// Runs a whole checkout.
    pub(super) fn get(&self, deadline: Option<Instant>) -> GetResult {
        match self.try_get() {
            Some(held) => GetResult::Checkout(held),
            None => self.get_queued(deadline),
        }
    }

    /// Runs the part of a checkout that begins when no idle entry was found.
    pub(super) fn get_queued(&self, deadline: Option<Instant>) -> GetResult {
        let waiter = self.waiter();
        loop {
            let now = self.engine_now();
            let mut state = self.lock();
            if state.closed {
                return GetResult::Failed(Failure::Closed);
            }
            self.engine.enqueue(&mut state, &waiter, now.real);
            if state.suspended {
                self.engine.mark_all_slots(&mut state, now.tick);
            } else if let Some(held) = self.engine.search(&mut state, &waiter, now.tick) {
                let actions = self.engine.dequeue(&mut state, &waiter, now.real);
                drop(state);
                actions.into_iter().for_each(|actions| self.run(actions));
                held.entry.touch();
                return GetResult::Checkout(held);
            }
            let actions = self.engine.settle(&mut state, now.real);
            drop(state);
            self.run(actions);
            if let Some(got) = self.wait(&waiter, deadline) {
                return got;
            }
        }
    }

    /// Runs the part of a checkout that begins when no idle entry was found, without a deadline, and checks
    /// the connection in.
    pub(super) fn wait_in_queue(&self) {
        self.finish(self.get_queued(None));
    }

    /// Takes an idle connection, if there is one, and checks it in.
    pub(super) fn use_idle(&self) {
        if let Some(held) = self.try_get() {
            self.check_in(held);
        }
    }

    /// Waits with a queued waiter. None: the waiter has to queue again.
    pub(super) fn wait(&self, waiter: &WaiterRef, deadline: Option<Instant>) -> Option<GetResult> {
        let looks = Cell::new(0);
        let clock = || {
            // The first reading is at the start of the wait. A waiter that wakes for the second time finds
            // that time has passed.
            if looks.replace(looks.get() + 1) > 1 {
                self.pass_time();
            }
            self.engine_now()
        };
        let waited = self
            .engine
            .wait(waiter, deadline, clock, |actions| self.run(actions));
        let held = match waited {
            Outcome::TimedOut => return Some(GetResult::TimedOut),
            Outcome::Fail(failure) => return Some(GetResult::Failed(failure)),
            Outcome::Permit(permit) => self.create(permit)?,
            Outcome::Checkout(held) | Outcome::Found(held) => held,
        };
        held.entry.touch();
        Some(GetResult::Checkout(held))
    }

    // ---- check-in ------------------------------------------------------------------------------

    pub(super) fn check_in(&self, held: HeldEntry) {
        held.entry.touch();
        let (slot, engine) = (held.slot, &self.engine);
        let put = match engine.has_waiters() && !engine.may_skip_handoff(|| self.now()) {
            true => Err(held.entry),
            false => slot.try_return(held.entry, TICK),
        };
        if let Err(entry) = put {
            let idle_since = TICK;
            let held = HeldEntry {
                slot,
                entry,
                idle_since,
            };
            self.return_entry(held, false);
        }
    }

    /// Checks in the connection of a finished checkout, if the checkout brought one.
    pub(super) fn finish(&self, got: GetResult) {
        if let GetResult::Checkout(held) = got {
            self.check_in(held);
        }
    }

    /// Returns an entry through the lock.
    pub(super) fn return_entry(&self, held: HeldEntry, fresh: bool) {
        let generation = held.entry.generation;
        match self
            .engine
            .return_entry(held, TICK, generation, fresh, self.now())
        {
            Ok(actions) => self.run(actions),
            Err((evicted, _)) => self.run(self.dispose(evicted).finish(self.now())),
        }
    }
}
