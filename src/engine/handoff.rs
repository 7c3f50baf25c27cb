//! Settling: after any event, who can be served is served, and what has to start starts.

use super::{Actions, CreateReason, Engine, Outcome, State};
use std::sync::Arc;
use std::time::Instant;

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// After any event: serves who can be served, starts what has to start.
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
    }

    pub(super) fn serve_waiters(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        now: Instant,
        actions: &mut Actions<T, F>,
    ) {
        while state.jobs_with_waiter() > state.queue.len() {
            state.release_one_waiter();
        }
        self.update_gate(state, now);
        if state.queue.is_empty() || state.suspended || state.closed {
            return;
        }
        let idle = self.table.count_idle(state.queue.len());
        // The idle ones will be found, each by the head of its time; the others count on checks that began
        // for the pool itself, or need creates.
        while state.waiters_without_job() > idle {
            let Some(until) = state.assign_check(now) else {
                break;
            };
            let earliest = actions.settle_at.map_or(until, |known| known.min(until));
            actions.settle_at = Some(earliest);
        }
        while state.waiters_without_job() > idle && state.may_create(now) {
            let Some(permit) = self.reserve_create(state, CreateReason::Waiter, now) else {
                break;
            };
            if self.inline {
                actions
                    .wakes
                    .extend(state.queue.hand_off(Outcome::Permit(permit)));
                self.update_gate(state, now);
            } else {
                actions.permits.push(permit);
            }
        }
        // An entry that came back while an earlier head was young lies in its slot: whoever is head
        // now must look at it. And in a pool without threads the head looks after itself.
        let paused = self.inline && state.is_paused(now);
        // What rests unproven beside a check that is under way is no news, though: one caller would
        // have every idle connection checked.
        let news = idle > 0 && (state.queue.has_unseen_return || state.waiters_without_job() > 0);
        if state.queue.take_search_owed() || news || paused && state.has_room() {
            actions.wakes.extend(state.queue.notify_head(true));
        }
    }
}
