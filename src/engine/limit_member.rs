//! The engine's side of a [`SharedLimit`](super::SharedLimit): the engine takes a slot permit for each of
//! its slots and evicts connections for waiters of other engines.

use super::{Actions, Engine, Evicted, Now, Slot, Stamp, State};
use std::sync::Arc;
use std::time::Instant;

/// What a create is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreateReason {
    /// A caller that waits.
    Waiter,
    /// A spare connection that no caller waits for.
    Spare,
}

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Whether the counts of this engine and of the shared limit leave room for another slot.
    pub(crate) fn has_room(&self, state: &State<T, F>) -> bool {
        state.has_room() && self.member.as_ref().is_none_or(super::Member::has_room)
    }

    pub(super) fn take_slot_permit(&self, reason: CreateReason) -> bool {
        let member = self.member.as_ref();
        member.is_none_or(|member| member.take(reason == CreateReason::Waiter))
    }

    pub(super) fn note_disposing(&self, job: u64, since: Instant, claimed: bool) {
        if let Some(member) = &self.member {
            member.note_disposing(job, since, claimed);
        }
    }

    /// Frees a slot. `job` is the id of the job that emptied the slot, or 0. The caller must then settle.
    pub(super) fn free_slot(&self, state: &mut State<T, F>, slot: u32, job: u64) {
        state.vacate(slot);
        if let Some(member) = &self.member {
            state.followups.extend(member.release(job));
        }
    }

    /// Ends a create that produced no connection. False if the create was abandoned before.
    pub(super) fn release_create(&self, state: &mut State<T, F>, job: u64) -> bool {
        let Some(ended) = state.end(job) else {
            state.abandoned -= 1;
            return false;
        };
        self.free_slot(state, ended.slot, job);
        true
    }

    /// Reports the missing slots to the shared limit. True if a slot permit is available after all.
    pub(super) fn report_to_limit(
        &self,
        state: &mut State<T, F>,
        now: Instant,
        actions: &mut Actions<T, F>,
    ) -> bool {
        let Some(member) = &self.member else {
            return false;
        };
        let (missing, since) = self.missing_slots(state, now);
        actions.followups.append(&mut state.followups);
        let report = member.report(missing, since, now, &mut actions.followups);
        actions.lacks_room |= report.lacks_room;
        report.retry
    }

    /// Returns how many creates only the shared limit prevents, and since when the first waiter that these
    /// creates would serve has waited.
    fn missing_slots(&self, state: &State<T, F>, now: Instant) -> (usize, Option<Instant>) {
        let deferred = || self.deferred_until(state, now).is_some();
        if state.queue.is_empty() || !state.may_create(now) || deferred() {
            return (0, None);
        }
        let served = state.jobs_with_waiter() + self.table.count_idle(state.queue.len());
        let missing = state.queue.len().saturating_sub(served);
        let room = state.max_size - state.taken();
        let missing = missing.min(room).min(state.max_creating - state.creating);
        let first = state.queue.nth(served);
        (missing, first.map(|waiter| waiter.since()))
    }

    /// Closes the engine if no connection is open or under way and the queue is empty. False otherwise.
    pub(crate) fn close_if_empty(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let empty = state.is_empty_and_unused() && !state.closed;
        if empty {
            state.closed = true;
            self.update_gate(&mut state, now);
        }
        empty
    }

    /// Whether a connection must be evicted for a waiter of another engine, which has waited longer than the
    /// head of this one. A `fresh` connection (just created or checked) goes to this engine's own head, if
    /// there is one. After true, the caller begins the dispose under the same lock, or cancels the claim.
    pub(super) fn claim_for_peer(&self, state: &State<T, F>, fresh: bool, now: Instant) -> bool {
        let Some(member) = &self.member else {
            return false;
        };
        if !member.limit().has_waiters() {
            return false;
        }
        let own = state.queue.head().filter(|_| !state.suspended);
        let own = own.map(|head| head.since());
        !(fresh && own.is_some()) && member.claim(own, now)
    }

    /// Evicts the idle connection of this slot for a waiter of another engine, unless this engine's head has
    /// waited longer.
    pub(super) fn evict_for_peer(
        self: &Arc<Self>,
        slot: &'static Slot<T>,
        now: Now,
    ) -> Option<Evicted<T, F>> {
        let mut state = self.lock();
        if state.closed || !self.claim_for_peer(&state, false, now.real) {
            return None;
        }
        let checkout = slot.take(now.tick);
        if checkout.is_none() {
            self.member.as_ref().inspect(|member| member.cancel_claim());
        }
        Some(self.begin_dispose_locked(&mut state, checkout?, now.real, true))
    }

    /// Marks every slot in use RETURN_SLOW and evicts each connection that has just become idle, as long as a
    /// waiter of another engine needs one.
    pub(super) fn evict_on_return_for_peer(self: &Arc<Self>, now: Now) -> Vec<Evicted<T, F>> {
        // One lock covers the whole walk: a connection that is installed later comes back after the walk, and
        // its first check-in goes through the lock and asks the shared limit.
        let mut state = self.lock();
        let (mut evicted, mut woken) = (Vec::new(), Vec::new());
        let slots = self.table.all();
        for slot in slots.filter(|slot| slot.stamp() != Stamp::Vacant) {
            let Some(checkout) = self.table.take_or_mark(slot, now.tick) else {
                continue;
            };
            if !state.closed && self.claim_for_peer(&state, false, now.real) {
                evicted.push(self.begin_dispose_locked(&mut state, checkout, now.real, true));
            } else {
                woken.extend(self.put_back(&mut state, checkout, now.real));
            }
        }
        drop(state);
        woken.iter().for_each(|waiter| waiter.wake());
        evicted
    }
}
