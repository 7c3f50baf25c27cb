//! The operations of one engine on a shared limit.

use super::{Followup, MemberState, SharedLimit};
use crate::engine::Engine;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// An engine's membership in a shared limit.
pub(crate) struct Member<T: Send + 'static, F: Send + 'static> {
    limit: Arc<SharedLimit<T, F>>,
    id: u64,
}

/// The result of [`Member::report`].
pub(in crate::engine) struct ReportResult {
    /// A slot permit is available after all.
    pub(in crate::engine) retry: bool,
    /// More slots are wanted than are about to come free.
    pub(in crate::engine) lacks_room: bool,
}

impl<T: Send + 'static, F: Send + 'static> SharedLimit<T, F> {
    /// Adds a member for an engine that is about to be made.
    pub(in crate::engine) fn join(self: &Arc<Self>) -> Member<T, F> {
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        let member = MemberState {
            engine: Weak::new(),
            held: 0,
            granted: 0,
            waiting_since: None,
        };
        state.members.insert(id, member);
        Member {
            limit: Arc::clone(self),
            id,
        }
    }
}

impl<T: Send + 'static, F: Send + 'static> Member<T, F> {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn limit(&self) -> &Arc<SharedLimit<T, F>> {
        &self.limit
    }

    /// Connects the membership to its engine, once the engine is made.
    pub(in crate::engine) fn attach(&self, engine: &Arc<Engine<T, F>>) {
        let mut state = self.limit.state.lock();
        state.member(self.id).engine = Arc::downgrade(engine);
    }

    /// Takes a slot permit: a granted one if `for_waiter`, else a free one. False if there is none.
    pub(in crate::engine) fn take(&self, for_waiter: bool) -> bool {
        let mut state = self.limit.state.lock();
        let free = state.taken < state.max;
        let member = state.member(self.id);
        if for_waiter && member.granted > 0 {
            member.granted -= 1;
            member.held += 1;
        } else if free {
            member.held += 1;
            state.taken += 1;
        } else {
            if !for_waiter {
                state.refill_wanted.insert(self.id);
            }
            return false;
        }
        true
    }

    /// Returns the maximum number of slots of all engines together.
    pub(crate) fn max(&self) -> usize {
        self.limit.state.lock().max
    }

    /// Whether a slot permit is free.
    pub(crate) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Returns how many slot permits are free.
    pub(in crate::engine) fn room(&self) -> usize {
        let state = self.limit.state.lock();
        state.max.saturating_sub(state.taken)
    }

    /// Returns the next member that wants a spare connection, if a slot permit is free. An engine calls this
    /// when it does not use a free slot itself.
    pub(crate) fn next_refill(&self) -> Option<Followup> {
        let mut state = self.limit.state.lock();
        let free = state.taken < state.max;
        let next = if free {
            state.refill_wanted.pop_first()
        } else {
            None
        };
        next.map(Followup::Refill)
    }

    /// Returns the slot permit of a slot that came free. `job` is the job that emptied the slot.
    ///
    /// The result is a member that must act, unless that member's waiter is this engine's own: this engine
    /// settles in any case.
    pub(in crate::engine) fn release(&self, job: u64) -> Option<Followup> {
        let mut state = self.limit.state.lock();
        state.disposing.remove(&(self.id, job));
        state.member(self.id).held -= 1;
        let next = state.grant_next();
        self.limit.update_has_waiters(&mut state);
        next.filter(|next| *next != Followup::Waiter(self.id))
    }

    /// Records a dispose that will free a slot. `claimed`: an eviction that [`claim`](Self::claim) allowed.
    pub(in crate::engine) fn note_disposing(&self, job: u64, since: Instant, claimed: bool) {
        let mut state = self.limit.state.lock();
        state.claims -= usize::from(claimed);
        state.disposing.insert((self.id, job), since);
    }

    /// Reports how many slots the engine's waiters lack, and since when the first of them has waited.
    /// Grants that the engine did not use go to the next members.
    pub(in crate::engine) fn report(
        &self,
        missing: usize,
        since: Option<Instant>,
        now: Instant,
        followups: &mut Vec<Followup>,
    ) -> ReportResult {
        let mut report = ReportResult {
            retry: false,
            lacks_room: false,
        };
        let mut state = self.limit.state.lock();
        state.stop_waiting(self.id);
        let granted = state.member(self.id).granted;
        match since.filter(|_| missing > 0) {
            None => {
                state.member(self.id).granted = 0;
                followups.extend((0..granted).filter_map(|_| state.grant_next()));
            }
            Some(_) if granted > 0 || state.taken < state.max => report.retry = true,
            Some(since) => {
                state.member(self.id).waiting_since = Some(since);
                state.waiting.insert((since, self.id), missing);
                report.lacks_room = state.first_without_slot(now).is_some();
            }
        }
        self.limit.update_has_waiters(&mut state);
        report
    }

    /// Whether a connection of this engine should be evicted for a waiter of another engine. That waiter must
    /// have waited longer than this engine's own head, which has waited since `own`.
    ///
    /// A claim counts as a slot that will soon be free, so that two threads do not evict two connections for
    /// one waiter. It ends with [`note_disposing`](Self::note_disposing) or
    /// [`cancel_claim`](Self::cancel_claim).
    pub(in crate::engine) fn claim(&self, own: Option<Instant>, now: Instant) -> bool {
        let mut state = self.limit.state.lock();
        let first = state.first_without_slot(now);
        let claimed =
            first.is_some_and(|(since, id)| id != self.id && own.is_none_or(|own| since < own));
        state.claims += usize::from(claimed);
        claimed
    }

    /// Ends a claim without an eviction.
    pub(in crate::engine) fn cancel_claim(&self) {
        self.limit.state.lock().claims -= 1;
    }
}

impl<T: Send + 'static, F: Send + 'static> Drop for Member<T, F> {
    fn drop(&mut self) {
        let mut state = self.limit.state.lock();
        state.stop_waiting(self.id);
        state.refill_wanted.remove(&self.id);
        if let Some(member) = state.members.remove(&self.id) {
            debug_assert_eq!(member.held + member.granted, 0, "bug: slots lost");
            state.taken -= member.held + member.granted;
        }
        self.limit.update_has_waiters(&mut state);
    }
}
