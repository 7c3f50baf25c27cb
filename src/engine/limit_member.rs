//! An engine's side of a [`SharedLimit`](super::SharedLimit): tokens for its slots, room made for others.

use super::{Actions, Engine, Evicted, Now, Slot, Stamp, State};
use std::sync::Arc;
use std::time::Instant;

/// What a create is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreateReason {
    /// Somebody who waits.
    Waiter,
    /// Nobody yet.
    Spare,
}

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Another slot may be taken, as far as the counts go.
    pub(crate) fn has_room(&self, state: &State<T, F>) -> bool {
        state.has_room() && self.member.as_ref().is_none_or(super::Member::has_room)
    }

    pub(super) fn take_token(&self, need: CreateReason) -> bool {
        let member = self.member.as_ref();
        member.is_none_or(|member| member.take(need == CreateReason::Waiter))
    }

    pub(super) fn note_disposing(&self, job: u64, since: Instant) {
        if let Some(member) = &self.member {
            member.note_leaving(job, since);
        }
    }

    /// A slot is free; `job`: what emptied it, if one did. The caller settles.
    pub(super) fn free_slot(&self, state: &mut State<T, F>, slot: u32, job: u64) {
        state.vacate(slot);
        if let Some(member) = &self.member {
            state.elsewhere.extend(member.release(job));
        }
    }

    /// Ends a create that made nothing; false if it was abandoned before.
    pub(super) fn release_create(&self, state: &mut State<T, F>, job: u64) -> bool {
        let Some(ended) = state.end(job) else {
            state.abandoned -= 1;
            return false;
        };
        self.free_slot(state, ended.slot, job);
        true
    }

    /// Tells the total what is lacking here; true if there is a token after all.
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
        actions.followups.append(&mut state.elsewhere);
        let report = member.report(missing, since, now, &mut actions.followups);
        actions.lacks_room |= report.lacks_room;
        report.retry
    }

    /// How many creates could start but for the total, and since when the first waiter that they would
    /// be for has waited.
    fn missing_slots(&self, state: &State<T, F>, now: Instant) -> (usize, Option<Instant>) {
        if state.queue.is_empty() || !state.may_create(now) {
            return (0, None);
        }
        let served = state.jobs_with_waiter() + self.table.count_idle(state.queue.len());
        let missing = state.queue.len().saturating_sub(served);
        let room = state.max_size - state.taken();
        let missing = missing.min(room).min(state.max_creating - state.creating);
        let first = state.queue.nth(served);
        (missing, first.map(|waiter| waiter.since()))
    }

    /// Closes, if nothing is open, under way or waiting; false if something is.
    pub(crate) fn close_if_empty(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let empty = state.is_empty_and_unused() && !state.closed;
        if empty {
            state.closed = true;
            self.update_gate(&mut state, now);
        }
        empty
    }

    /// Whether a connection that comes back has to make room for a waiter elsewhere. One that was
    /// created or checked (`fresh`) goes to the waiter whose it is.
    pub(super) fn is_owed_to_peer(&self, state: &State<T, F>, fresh: bool, now: Instant) -> bool {
        let Some(member) = &self.member else {
            return false;
        };
        if !member.limit().has_waiters() {
            return false;
        }
        let own = state.queue.head().filter(|_| !state.suspended);
        let own = own.map(|head| head.since());
        !(fresh && own.is_some()) && member.is_claimed(own, now)
    }

    /// Retires the idle connection of this slot for a waiter elsewhere, unless somebody here has waited
    /// longer.
    pub(super) fn evict_for_peer(
        self: &Arc<Self>,
        slot: &'static Slot<T>,
        since: Instant,
        now: Now,
    ) -> Option<Evicted<T, F>> {
        let mut state = self.lock();
        if state.closed || !peer_waited_longer(&state, since) {
            return None;
        }
        let checkout = slot.take(now.tick)?;
        Some(self.begin_dispose_locked(&mut state, checkout, now.real))
    }

    /// Watches every slot in use, and retires what has just come to rest in one, as long as `in_need`
    /// says that somebody waits elsewhere and since when.
    pub(super) fn evict_on_return_for_peer<K>(
        self: &Arc<Self>,
        now: Now,
        in_need: impl Fn() -> Option<(Instant, K)>,
    ) -> Vec<Evicted<T, F>> {
        // Under one lock: a connection that is installed later comes back after this, and is asked.
        let mut state = self.lock();
        let mut evicted = Vec::new();
        let slots = self.table.all();
        for slot in slots.filter(|slot| slot.stamp() != Stamp::Vacant) {
            let Some(checkout) = self.table.take_or_mark(slot, now.tick) else {
                continue;
            };
            if !state.closed
                && in_need().is_some_and(|(since, _)| peer_waited_longer(&state, since))
            {
                evicted.push(self.begin_dispose_locked(&mut state, checkout, now.real));
            } else {
                let idle_since = checkout.idle_since;
                self.table.store_locked(checkout, idle_since, true);
            }
        }
        evicted
    }
}

/// Nobody here has waited as long as somebody elsewhere has, since then.
fn peer_waited_longer<T: Send, F: Send>(state: &State<T, F>, since: Instant) -> bool {
    let head = state.queue.head().filter(|_| !state.suspended);
    head.is_none_or(|head| since < head.since())
}
