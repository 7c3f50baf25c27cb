//! Waiting: joining the line, sleeping until there is an outcome, leaving.

use super::{
    Actions, CLOSED, Checkout, Engine, HEAD_DUE, HEAD_WAITING, NOTIFY_HEAD, Now, STICKY, SUSPENDED,
    State, WaitResult, Waiter,
};
use crate::sync::Ordering;
use std::sync::Arc;
use std::time::Instant;

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Joins the line. The caller must then [`search`](Self::search), all under one lock.
    pub(crate) fn enqueue(
        &self,
        state: &mut State<T, F>,
        waiter: &Arc<Waiter<T, F>>,
        now: Instant,
    ) {
        state.queue.push(waiter);
        self.update_gate(state, now);
    }

    /// Looks for an idle entry on behalf of a waiter in line, watching every slot it passes. The
    /// first waiter's search is what makes every later check-in go through the lock.
    pub(crate) fn search(
        &self,
        state: &mut State<T, F>,
        waiter: &Waiter<T, F>,
        now: u64,
    ) -> Option<Checkout<T>> {
        if !state.queue.is_head(waiter) && !self.may_barge() {
            return None;
        }
        let found = self.table.take_or_mark_all(now);
        if found.is_none() {
            state.queue.has_unseen_return = false;
            state.queue.searched(waiter);
        }
        found
    }

    /// Watches every slot without taking anything, for a waiter that will not search now.
    pub(crate) fn mark_all_slots(&self, state: &mut State<T, F>, now: u64) {
        debug_assert!(!state.queue.is_empty(), "bug: nobody waits");
        self.table.mark_all(now);
    }

    /// Leaves the line; None if there is mail instead.
    pub(crate) fn dequeue(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        waiter: &Waiter<T, F>,
        now: Instant,
    ) -> Option<Actions<T, F>> {
        state.queue.remove(waiter).then(|| self.settle(state, now))
    }

    /// Sleeps until the ticket ends or its deadline passes. `settled` runs the effects of what this
    /// waiter itself sets going on the way.
    pub(crate) fn wait(
        self: &Arc<Self>,
        waiter: &Arc<Waiter<T, F>>,
        deadline: Option<Instant>,
        moment: impl Fn() -> Now,
        settled: impl Fn(Actions<T, F>),
    ) -> WaitResult<T, F> {
        let mut alarm = self.next_look(&self.lock(), waiter, moment().real);
        loop {
            let until = [alarm, deadline].into_iter().flatten().min();
            if let Some(mail) = waiter.sleep(until) {
                return WaitResult::Outcome(mail);
            }
            let now = moment();
            let mut state = self.lock();
            if let Some(mail) = waiter.take_outcome() {
                return WaitResult::Outcome(mail);
            }
            if deadline.is_some_and(|deadline| deadline <= now.real) {
                let actions = self.dequeue(&mut state, waiter, now.real);
                drop(state);
                actions.map(settled);
                return WaitResult::TimedOut;
            }
            let head = state.queue.is_head(waiter) && !state.suspended;
            let found = head
                .then(|| self.search(&mut state, waiter, now.tick))
                .flatten();
            if let Some(checkout) = found {
                let actions = self.dequeue(&mut state, waiter, now.real);
                drop(state);
                actions.map(settled);
                return WaitResult::Found(checkout);
            }
            if self.fairness_bound.is_none() || !head {
                // No alarm will come, either because there is no bound or because an older waiter has
                // taken its place at the head meanwhile: the next thing to come back is worth telling.
                state.queue.forget_notify(waiter);
            }
            let actions = self.settle(&mut state, now.real);
            // Whatever it was just told, it has looked, and its alarm knows the rest.
            waiter.clear_notify();
            alarm = self.next_look(&state, waiter, now.real);
            drop(state);
            settled(actions);
        }
    }

    /// When this waiter should look for itself: the head, when it becomes due after it was told of
    /// something that another then took; and where waiters create for themselves, when they may again.
    fn next_look(
        &self,
        state: &State<T, F>,
        waiter: &Waiter<T, F>,
        now: Instant,
    ) -> Option<Instant> {
        if !state.queue.is_head(waiter) {
            return None;
        }
        let poked = state.queue.head_notified();
        let due = self
            .fairness_bound
            .filter(|_| poked)
            .and_then(|bound| waiter.since().checked_add(bound));
        let due = due.filter(|_| self.gate.load(Ordering::Relaxed) & HEAD_DUE == 0);
        let resumes = state.backoff_until().filter(|until| *until > now);
        let resumes = resumes.filter(|_| self.inline && state.has_room());
        due.into_iter().chain(resumes).min()
    }

    pub(super) fn head_is_due(&self, state: &mut State<T, F>, now: Instant) -> bool {
        let Some((head, bound)) = state.queue.head().zip(self.fairness_bound) else {
            return false;
        };
        let late = now.saturating_duration_since(head.since()) >= bound;
        state.queue.head_is_due(late)
    }

    /// Makes the gate tell the truth.
    pub(super) fn update_gate(&self, state: &mut State<T, F>, now: Instant) {
        let mut gate = self.gate.load(Ordering::Relaxed) & STICKY;
        gate |= if state.closed { CLOSED } else { 0 };
        gate |= if state.suspended { SUSPENDED } else { 0 };
        // Without a bound it has no alarm to look again.
        let due = state.queue.head().zip(self.fairness_bound);
        let due = due.and_then(|(head, bound)| head.since().checked_add(bound));
        let report = state.queue.head_notified() && !state.suspended && due.is_some();
        if let Some(due) = due {
            self.head_due_at.store(self.nanos(due), Ordering::Relaxed);
        }
        gate |= match state.queue.is_empty() {
            true => 0,
            false if self.head_is_due(state, now) => HEAD_DUE | NOTIFY_HEAD,
            false if report => HEAD_WAITING,
            false => HEAD_WAITING | NOTIFY_HEAD,
        };
        let before = self.gate.load(Ordering::Relaxed);
        state
            .queue
            .update_search_owed(gate & (HEAD_WAITING | NOTIFY_HEAD) == HEAD_WAITING);
        if before != gate {
            // LISTENING changes outside the lock: keep whatever it is by now.
            let keep = |now: u32| Some((gate & !STICKY) | (now & STICKY));
            let _ = self
                .gate
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, keep);
        }
    }
}
