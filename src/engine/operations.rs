//! The operations on a whole pool: close, suspend, clear, resize, and the wait until nothing is left.

use super::{Actions, Checkout, Engine, Evicted, Now, Outcome, RejectReason, Stamp, State, Waiter};
use std::sync::Arc;
use std::time::Instant;

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Closes the engine: every wait fails, and every returned entry is rejected. None if the engine was
    /// closed before.
    pub(crate) fn close(&self, now: Instant, failure: impl Fn() -> F) -> Option<Actions<T, F>> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.closed = true;
        let mut actions = Actions::new();
        while !state.queue.is_empty() {
            actions
                .wakes
                .extend(state.queue.hand_off(Outcome::Fail(failure())));
        }
        self.update_gate(&mut state, now);
        self.report_to_limit(&mut state, now, &mut actions);
        self.notify_if_drained(&state);
        Some(actions)
    }

    /// Cancels a wait on which no thread sleeps any longer, and takes its outcome.
    ///
    /// Does not settle: the caller has closed the pool, so no other waiter can be in the queue.
    pub(crate) fn cancel(&self, waiter: &Waiter<T, F>) -> Option<Outcome<T, F>> {
        let mut state = self.lock();
        state.queue.remove(waiter);
        waiter.take_outcome()
    }

    /// Fails the wait of one head after another with the result of `failure`, until `failure` returns None.
    /// Then settles.
    pub(crate) fn fail_waiters(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        mut failure: impl FnMut(&State<T, F>) -> Option<F>,
        now: Instant,
    ) -> Actions<T, F> {
        let mut actions = Actions::new();
        while !state.queue.is_empty() {
            let Some(failure) = failure(state) else {
                break;
            };
            actions
                .wakes
                .extend(state.queue.hand_off(Outcome::Fail(failure)));
        }
        self.settle_into(state, now, &mut actions);
        actions
    }

    /// Suspends or resumes the engine. None if nothing changes or the engine is closed.
    pub(crate) fn suspend(self: &Arc<Self>, on: bool, now: Instant) -> Option<Actions<T, F>> {
        let mut state = self.lock();
        if state.suspended == on || state.closed {
            return None;
        }
        state.suspended = on;
        Some(self.settle(&mut state, now))
    }

    /// Reserves the number of the next generation, so that a clear can be reported before its consequences.
    ///
    /// With `only`, returns None unless that generation is the present one and no clear is about to end it.
    pub(crate) fn announce_generation(&self, only: Option<u64>) -> Option<u64> {
        let mut state = self.lock();
        if only.is_some_and(|only| only != state.announced_generation) {
            return None;
        }
        state.announced_generation += 1;
        Some(state.announced_generation)
    }

    /// Begins an announced generation, unless it or a later one has begun.
    ///
    /// Jobs of earlier generations can serve no waiter any more, so their waiters are settled under the same
    /// lock. The caller must still take the old entries out of the slots.
    pub(crate) fn begin_generation(
        self: &Arc<Self>,
        generation: u64,
        now: Instant,
    ) -> Actions<T, F> {
        let mut state = self.lock();
        state.generation = state.generation.max(generation);
        state.release_outdated();
        self.settle(&mut state, now)
    }

    /// Sets `max_size` and `max_idle` and settles, because growth may let waiters create.
    pub(crate) fn resize(
        self: &Arc<Self>,
        max_size: usize,
        max_idle: Option<usize>,
        now: Instant,
    ) -> Actions<T, F> {
        let mut state = self.lock();
        state.max_size = max_size;
        state.max_idle = max_idle;
        self.settle(&mut state, now)
    }

    /// Whether one more idle connection would be too many: neither `max_idle` nor the waiters have a place for it.
    pub(super) fn has_enough_idle(&self, state: &State<T, F>) -> bool {
        self.has_idle_beyond_limit(state, 0)
    }

    /// Whether more connections are idle than `max_idle` permits and than waiters will take.
    pub(super) fn has_surplus(&self, state: &State<T, F>) -> bool {
        // A close evicts every idle connection for its own reason.
        !state.closed && self.has_idle_beyond_limit(state, 1)
    }

    fn has_idle_beyond_limit(&self, state: &State<T, F>, beyond: usize) -> bool {
        let most = state.max_idle.map(|most| most.max(state.queue.len()));
        most.is_some_and(|most| self.has_idle(most.saturating_add(beyond)))
    }

    /// Takes out every idle entry, one at a time, and marks every occupied slot RETURN_SLOW, so that each
    /// entry in use now comes back through the lock.
    pub(crate) fn take_all(&self, now: u64) -> impl Iterator<Item = Checkout<T>> + '_ {
        self.table.all().filter_map(move |slot| match slot.stamp() {
            Stamp::Vacant => None,
            _ => self.table.take_or_mark(slot, now),
        })
    }

    /// Evicts the idle entries beyond `max_size` and `max_idle`, the highest slot first, and marks the slots in
    /// use RETURN_SLOW on the way.
    ///
    /// The decision and the eviction of each entry happen under one lock, so that concurrent calls never
    /// evict more than the excess.
    pub(crate) fn evict_excess(self: &Arc<Self>, now: Now) -> Vec<(Evicted<T, F>, RejectReason)> {
        let slots: Vec<_> = self.table.all().collect();
        let mut evicted = Vec::new();
        for slot in slots.into_iter().rev() {
            let mut state = self.lock();
            let reason = match state.is_over_limit() {
                true => RejectReason::Shrunk,
                false if self.has_surplus(&state) => RejectReason::Surplus,
                // Every later check-in must be counted against max_idle.
                false if state.max_idle.is_some() => {
                    slot.set_return_slow(true);
                    continue;
                }
                false => break,
            };
            if slot.stamp() == Stamp::Vacant {
                continue;
            }
            if let Some(checkout) = self.table.take_or_mark(slot, now.tick) {
                let entry = self.begin_dispose_locked(&mut state, checkout, now.real, false);
                evicted.push((entry, reason));
            }
        }
        evicted
    }

    /// Records that the connection in this slot is interrupted, if it is in use: its return is rejected. False
    /// if the connection is idle, gone, in a check, or interrupted already.
    pub(crate) fn interrupt(&self, slot: u32, connection: u64, now: Now) -> bool {
        let mut state = self.lock();
        let in_check = state.jobs().any(|(_, job)| job.slot == slot);
        if state.opened_in(slot).connection != connection || in_check {
            return false;
        }
        let Some(place) = self.table.get(slot) else {
            return false;
        };
        // The mark makes a check-in that has not stored its entry yet come through the lock.
        if let Some(checkout) = self.table.take_or_mark(place, now.tick) {
            let woken = self.put_back(&mut state, checkout, now.real);
            drop(state);
            woken.inspect(|waiter| waiter.wake());
            return false;
        }
        matches!(place.stamp(), Stamp::InUse(_)) && state.interrupted.insert(slot)
    }

    /// Stores an idle entry again that a look at its slot took out, and returns the waiter to wake.
    ///
    /// A check-in that has just stored the entry and then read a waiter's mark finds the slot empty, and leaves
    /// the hand-off to the thread that took the entry: to this one. So the head must search.
    #[must_use = "the waiter sleeps on until it is woken"]
    pub(super) fn put_back(
        &self,
        state: &mut State<T, F>,
        checkout: Checkout<T>,
        now: Instant,
    ) -> Option<Arc<Waiter<T, F>>> {
        let may_serve = !state.queue.is_empty() && !state.suspended;
        if may_serve && state.queue.head_is_task() {
            return self.hand_off_to_task(state, checkout, now);
        }
        let idle_since = checkout.idle_since;
        self.table.store_locked(checkout, idle_since, true);
        if !may_serve {
            return None;
        }
        state.queue.has_unseen_return = true;
        let woken = state.queue.notify_head(true);
        self.update_gate(state, now);
        woken
    }

    /// Whether the connection in this slot was interrupted and has not come back.
    pub(crate) fn is_interrupted(&self, slot: u32) -> bool {
        self.lock().interrupted.contains(&slot)
    }

    /// Counts the connections in use. The caller must hold the lock.
    pub(crate) fn in_use(&self, _: &State<T, F>) -> usize {
        let in_use = |slot: &&super::Slot<T>| matches!(slot.stamp(), Stamp::InUse(_));
        self.table.all().filter(in_use).count()
    }

    /// Whether at least `enough` entries seem to be idle. Takes no lock, so the answer is approximate.
    pub(crate) fn has_idle(&self, enough: usize) -> bool {
        self.table.count_idle(enough) == enough
    }

    // ---- waiting for the end -------------------------------------------------------------------

    pub(super) fn notify_if_drained(&self, state: &State<T, F>) {
        if state.closed && state.is_drained() {
            self.drained.notify_all();
        }
    }

    /// Sleeps until a closed pool has no connection left. False if the deadline passes first.
    pub(crate) fn wait_drained(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        while !state.is_drained() {
            match deadline {
                None => self.drained.wait(&mut state),
                Some(deadline) if self.drained.wait_until(&mut state, deadline).timed_out() => {
                    return state.is_drained();
                }
                Some(_) => {}
            }
        }
        true
    }
}
