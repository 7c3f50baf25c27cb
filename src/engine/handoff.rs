//! Settling: after any event, the engine serves the waiters that can be served and starts the necessary
//! creates.

use super::{Actions, Checkout, CreateReason, Engine, Outcome, State, Waiter};
use std::sync::Arc;
use std::time::Instant;

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Serves the waiters that can be served and starts the necessary creates.
    ///
    /// Must be called after any event.
    pub(crate) fn settle(self: &Arc<Self>, state: &mut State<T, F>, now: Instant) -> Actions<T, F> {
        let mut actions = Actions::new();
        self.settle_into(state, now, &mut actions);
        actions
    }

    pub(super) fn settle_into(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        now: Instant,
        actions: &mut Actions<T, F>,
    ) {
        self.serve_waiters(state, now, actions);
        while self.report_to_limit(state, now, actions) {
            self.serve_waiters(state, now, actions);
        }
        // A waiter that left was served otherwise, so the connection that was idle for it may be too many.
        actions.surplus |= self.has_surplus(state);
    }

    pub(super) fn serve_waiters(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        now: Instant,
        actions: &mut Actions<T, F>,
    ) {
        Self::release_surplus_jobs(state);
        self.update_gate(state, now);
        if state.queue.is_empty() || state.suspended || state.closed {
            return;
        }
        let idle = self.table.count_idle(state.queue.len());
        // Each idle entry will be found by the waiter that is the head at that time. The other waiters rely
        // on background checks or need creates.
        while state.waiters_without_job() > idle {
            let Some(until) = state.assign_check(now) else {
                break;
            };
            actions.settle_by(until);
        }
        while state.waiters_without_job() > idle && state.may_create(now) {
            if let Some(until) = self.deferred_until(state, now) {
                actions.settle_by(until);
                break;
            }
            let Some(permit) = self.reserve_create(state, CreateReason::Waiter, now) else {
                break;
            };
            state.growth.lost = state.growth.lost.saturating_sub(1);
            if self.inline {
                actions
                    .wakes
                    .extend(state.queue.hand_off(Outcome::Permit(permit)));
                self.update_gate(state, now);
            } else {
                actions.permits.push(permit);
            }
        }
        self.search_for_head(state, idle, now, actions);
    }

    /// Releases the jobs that no waiter needs any more.
    fn release_surplus_jobs(state: &mut State<T, F>) {
        while state.jobs_with_waiter() > state.queue.len() {
            state.release_one_waiter();
        }
    }

    /// Hands an entry that was idle to the task at the head, and returns the task to wake.
    pub(super) fn hand_off_to_task(
        &self,
        state: &mut State<T, F>,
        checkout: Checkout<T>,
        now: Instant,
    ) -> Option<Arc<Waiter<T, F>>> {
        let task = state.queue.hand_off(Outcome::Found(checkout));
        Self::release_surplus_jobs(state);
        self.update_gate(state, now);
        task
    }

    /// Searches on behalf of a task at the head, or notifies a thread at the head to search.
    fn search_for_head(
        &self,
        state: &mut State<T, F>,
        mut idle: usize,
        now: Instant,
        actions: &mut Actions<T, F>,
    ) {
        // An entry that came back while an earlier head was not due lies in its slot, so the present head
        // must search. In a pool without threads, the head itself wakes at the end of the pause, so the head
        // must set its alarm for that time.
        let paused = self.inline && state.is_paused(now);
        // Idle entries beside a check that is under way are no reason to notify a waiter with a job, unless
        // one of them came back unseen: otherwise one caller would have every idle connection checked.
        loop {
            let must_search =
                idle > 0 && (state.queue.has_unseen_return || state.waiters_without_job() > 0);
            let is_marked = state.queue.is_searched() || state.jobs_with_waiter() > 0;
            let must_search = state.queue.take_search_owed() || must_search || !is_marked;
            if !state.queue.head_is_task() {
                if must_search || paused && state.has_room() {
                    actions.wakes.extend(state.queue.notify_head(true));
                }
                return;
            }
            if !must_search {
                return;
            }
            // The task records the tick of its checkout when it takes the entry.
            let oldest = self.take_oldest(state, 0);
            let Some(found) = oldest.or_else(|| self.table.take_or_mark_all(0)) else {
                state.queue.searched_for_head();
                return;
            };
            actions
                .wakes
                .extend(self.hand_off_to_task(state, found, now));
            idle = self.table.count_idle(state.queue.len());
        }
    }
}
