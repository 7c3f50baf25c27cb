//! The operations on the whole pool: resize, suspend, clear and close.

use super::operation::Op;
use super::world::{CALLERS, World};
use crate::engine::RejectReason;

impl World {
    pub(super) fn resize(&mut self, max_size: usize) {
        self.model.max_size = max_size;
        let actions = self
            .engine
            .resize(max_size, self.model.max_idle, self.now());
        self.model.settle();
        self.run(actions);
        self.settled = true;
    }

    pub(super) fn evict_excess(&mut self) {
        let mut slots: Vec<_> = self.model.in_slots().collect();
        slots.sort_unstable_by_key(|(slot, _)| std::cmp::Reverse(*slot));
        let mut expected = Vec::new();
        for (_, id) in slots {
            let reason = match self.model.max_idle {
                _ if self.model.is_over() => Some(RejectReason::Shrunk),
                _ if self.model.has_surplus() => Some(RejectReason::Surplus),
                Some(_) => None,
                None => break,
            };
            let idle = self.model.is_idle(id);
            self.model.entry(id).marked = true;
            if let Some(reason) = reason.filter(|_| idle) {
                self.model.take(id);
                expected.push((id, self.model.evict(id), reason));
            }
        }
        let evicted = self.engine.evict_excess(self.engine_now());
        let ids: Vec<_> = evicted
            .iter()
            .map(|(one, reason)| (one.entry.0, *reason))
            .collect();
        let wanted: Vec<_> = expected
            .iter()
            .map(|(id, _, reason)| (*id, *reason))
            .collect();
        assert_eq!(ids, wanted, "the highest idle slots are evicted");
        for ((evicted, _), (_, job, _)) in evicted.into_iter().zip(expected) {
            self.begin_dispose(evicted, job);
        }
        self.settle();
    }

    pub(super) fn suspend(&mut self, on: bool) {
        let actions = self.engine.suspend(on, self.now());
        let expected = !self.model.closed && self.model.suspended != on;
        assert_eq!(
            actions.is_some(),
            expected,
            "suspend({on}) changes the state"
        );
        if let Some(actions) = actions {
            self.model.suspended = on;
            self.model.settle();
            self.run(actions);
            self.settled = true;
        }
    }

    /// Suspends the pool as a setting wants it that lets waiters fail instead of wait.
    pub(super) fn suspend_and_fail(&mut self) {
        self.suspend(true);
        if self.model.closed {
            return;
        }
        let actions = (self.engine).fail_waiters(&mut self.engine.lock(), |_| Some(()), self.now());
        while !self.model.queue.is_empty() {
            self.model.hand_off(super::model::ExpectedOutcome::Failure);
        }
        self.model.settle();
        self.run(actions);
        self.settled = true;
    }

    pub(super) fn next_generation(&mut self) {
        let before = self.model.generation;
        let generation = self.engine.announce_generation(Some(before));
        assert_eq!(generation, Some(before + 1), "the generation that it ends");
        let again = self.engine.announce_generation(Some(before));
        assert_eq!(again, None, "a second clear of one generation");
        self.model.generation += 1;
        self.model.release_outdated();
        self.model.settle();
        let actions = (self.engine).begin_generation(self.model.generation, self.now());
        self.run(actions);
        self.settled = true;
    }

    /// Looks through all idle entries, as a clear or a close does next.
    pub(super) fn drain(&mut self) {
        self.model.mark_all();
        let idle = self.model.idle();
        let drained: Vec<_> = self.engine.take_all(self.tick()).collect();
        assert_eq!(drained.len(), idle, "everything idle is drained");
        // Take all entries out before the first goes back, because a waiter may want a create in place of the
        // next one.
        let held = self.held.len();
        for checkout in drained {
            self.found(checkout);
        }
        for checkout in self.held.split_off(held) {
            let generation = self.model.entry(checkout.entry.0).generation;
            if self.model.closed || generation != self.model.generation {
                self.evict(checkout);
            } else {
                let idle_since = checkout.idle_since;
                self.return_entry(checkout, idle_since, false);
            }
        }
    }

    pub(super) fn close(&mut self) {
        let actions = self.engine.close(self.now(), || ());
        assert_eq!(actions.is_some(), !self.model.closed, "closed twice");
        self.model.closed = true;
        while !self.model.queue.is_empty() {
            self.model.hand_off(super::model::ExpectedOutcome::Failure);
        }
        if let Some(actions) = actions {
            self.run(actions);
        }
    }

    // ---- the end -------------------------------------------------------------------------------

    /// Ends all waits, checkouts and hooks, takes each idle entry once, and closes the engine.
    pub(super) fn finish(mut self) {
        self.step(Op::Suspend(false));
        for _ in 0..CALLERS {
            self.step(Op::TimeOut(0));
            self.step(Op::TakeOutcome(0));
        }
        self.finish_hooks();
        while !self.held.is_empty() {
            self.step(Op::CheckIn(0));
        }
        self.finish_hooks();
        while !self.model.closed && self.model.idle() > 0 {
            self.step(Op::Take);
        }
        self.step(Op::Take);
        self.step(Op::Close);
        self.step(Op::Drain);
        while !self.held.is_empty() {
            self.step(Op::CheckIn(0));
        }
        self.finish_hooks();
        assert!(self.model.entries.is_empty(), "{:?}", self.model.entries);
        assert!(self.engine.wait_drained(Some(self.now())), "not drained");
    }

    pub(super) fn step(&mut self, operation: Op) {
        self.perform(operation);
        self.compare();
    }
}
