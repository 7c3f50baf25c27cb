//! Waiting: a waiter joins the queue, sleeps until its outcome arrives, and leaves the queue.

use super::{
    Actions, CLOSED, Checkout, Engine, HEAD_DUE, HEAD_WAITING, NOTIFY_HEAD, Now, Outcome, STICKY,
    SUSPENDED, State, Waiter,
};
use crate::sync::Ordering;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Adds a waiter to the queue. The caller must then [`search`](Self::search) or
    /// [`mark_all_slots`](Self::mark_all_slots) under the same lock.
    pub(crate) fn enqueue(
        &self,
        state: &mut State<T, F>,
        waiter: &Arc<Waiter<T, F>>,
        now: Instant,
    ) {
        if state.queue.is_empty() {
            state.growth.lost = 0;
        }
        state.queue.push(waiter);
        self.update_gate(state, now);
    }

    /// Searches for an idle entry on behalf of a queued waiter and marks every slot on the way RETURN_SLOW.
    ///
    /// Because of the first waiter's search every later check-in goes through the lock.
    pub(crate) fn search(
        &self,
        state: &mut State<T, F>,
        waiter: &Waiter<T, F>,
        now: u64,
    ) -> Option<Checkout<T>> {
        if !state.queue.is_head(waiter) && !self.may_barge() {
            return None;
        }
        let oldest = self.take_oldest(state, now);
        let found = oldest.or_else(|| self.table.take_or_mark_all(now));
        if found.is_none() {
            state.queue.searched(waiter);
        }
        found
    }

    /// Marks every slot RETURN_SLOW and takes no entry, for a waiter that will not search now.
    pub(crate) fn mark_all_slots(&self, state: &mut State<T, F>, now: u64) {
        debug_assert!(!state.queue.is_empty(), "bug: nobody waits");
        self.table.mark_all(now);
    }

    /// Removes a waiter from the queue and settles. None if the waiter has an outcome instead.
    pub(crate) fn dequeue(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        waiter: &Waiter<T, F>,
        now: Instant,
    ) -> Option<Actions<T, F>> {
        state.queue.remove(waiter).then(|| self.settle(state, now))
    }

    /// Sleeps until the wait ends or its deadline passes.
    ///
    /// `clock` returns the current time. `run_actions` runs the actions of the settling that this waiter does
    /// itself during the wait.
    pub(crate) fn wait(
        self: &Arc<Self>,
        waiter: &Arc<Waiter<T, F>>,
        deadline: Option<Instant>,
        clock: impl Fn() -> Now,
        run_actions: impl Fn(Actions<T, F>),
    ) -> Outcome<T, F> {
        let mut alarm = self.next_look(&self.lock(), waiter, clock().real);
        loop {
            let until = [alarm, deadline].into_iter().flatten().min();
            if let Some(outcome) = waiter.sleep(until) {
                return outcome;
            }
            let now = clock();
            let mut state = self.lock();
            if let Some(outcome) = waiter.take_outcome() {
                return outcome;
            }
            if deadline.is_some_and(|deadline| deadline <= now.real) {
                self.note_timeout(&mut state, now.real);
                let actions = self.dequeue(&mut state, waiter, now.real);
                drop(state);
                actions.map(run_actions);
                return Outcome::TimedOut;
            }
            let head = state.queue.is_head(waiter) && !state.suspended;
            let found = head
                .then(|| self.search(&mut state, waiter, now.tick))
                .flatten();
            if let Some(checkout) = found {
                Self::note_served(&mut state);
                let actions = self.dequeue(&mut state, waiter, now.real);
                drop(state);
                actions.map(run_actions);
                return Outcome::Found(checkout);
            }
            if self.fairness_bound.is_none() || !head {
                // This waiter will have no alarm, because the pool has no fairness bound or because an older
                // waiter has taken the place at the head meanwhile. The next check-in must notify again.
                state.queue.forget_notify(waiter);
            }
            let actions = self.settle(&mut state, now.real);
            // This waiter has just searched, so a notification from before or during the settling is stale;
            // the alarm covers the rest.
            waiter.clear_notify();
            alarm = self.next_look(&state, waiter, now.real);
            drop(state);
            run_actions(actions);
        }
    }

    /// Returns how the wait of a task has ended, or keeps the waker.
    pub(crate) fn poll_wait(
        self: &Arc<Self>,
        waiter: &Arc<Waiter<T, F>>,
        waker: &Waker,
        clock: impl Fn() -> Instant,
        run_actions: impl Fn(Actions<T, F>),
    ) -> Poll<Outcome<T, F>> {
        if let Some(outcome) = waiter.poll_outcome(waker) {
            return Poll::Ready(outcome);
        }
        // The collector ends the wait at the deadline. It may be busy.
        let deadline = waiter.task_deadline();
        let Some(now) = deadline.and_then(|deadline| Some(clock()).filter(|now| deadline <= *now))
        else {
            return Poll::Pending;
        };
        let mut state = self.lock();
        if let Some(outcome) = waiter.take_outcome() {
            return Poll::Ready(outcome);
        }
        self.note_timeout(&mut state, now);
        let actions = self.dequeue(&mut state, waiter, now);
        drop(state);
        actions.map(run_actions);
        Poll::Ready(Outcome::TimedOut)
    }

    /// Ends the wait of a task that was dropped: its outcome, or the actions of its removal from the queue.
    pub(crate) fn abandon_wait(
        self: &Arc<Self>,
        waiter: &Waiter<T, F>,
        now: Instant,
    ) -> Result<Actions<T, F>, Option<Outcome<T, F>>> {
        let mut state = self.lock();
        let actions = self.dequeue(&mut state, waiter, now);
        actions.ok_or_else(|| waiter.take_outcome())
    }

    /// Returns when this waiter should search by itself, if it is the head.
    ///
    /// A head that was notified of an entry which another caller then took searches when it becomes due. The
    /// head also settles when its create is no longer deferred, because the collector may be busy, even with
    /// this wait. In a pool whose waiters run their own creates, the head also wakes when the pause after a
    /// failure ends.
    fn next_look(
        &self,
        state: &State<T, F>,
        waiter: &Waiter<T, F>,
        now: Instant,
    ) -> Option<Instant> {
        if !state.queue.is_head(waiter) {
            return None;
        }
        let notified = state.queue.head_notified();
        let due = self
            .fairness_bound
            .filter(|_| notified)
            .and_then(|bound| waiter.since().checked_add(bound));
        let due = due.filter(|_| self.gate.load(Ordering::Relaxed) & HEAD_DUE == 0);
        let resumes = state.backoff_until().filter(|until| *until > now);
        let resumes = resumes.filter(|_| self.inline && state.has_room());
        let grows = state
            .may_create(now)
            .then(|| self.deferred_until(state, now));
        due.into_iter().chain(resumes).chain(grows.flatten()).min()
    }

    pub(super) fn head_is_due(&self, state: &mut State<T, F>, now: Instant) -> bool {
        if state.queue.head_is_task() {
            // A barging caller could make a task that is polled late search in vain for ever.
            return true;
        }
        let Some((head, bound)) = state.queue.head().zip(self.fairness_bound) else {
            return false;
        };
        let late = now.saturating_duration_since(head.since()) >= bound;
        state.queue.head_is_due(late)
    }

    /// Recomputes the gate from the locked state.
    pub(super) fn update_gate(&self, state: &mut State<T, F>, now: Instant) {
        let mut gate = self.gate.load(Ordering::Relaxed) & STICKY;
        gate |= if state.closed { CLOSED } else { 0 };
        gate |= if state.suspended { SUSPENDED } else { 0 };
        // Check-ins rely only on a head with an alarm, and the alarm comes from the fairness bound.
        let due = state.queue.head().zip(self.fairness_bound);
        let due = due.and_then(|(head, bound)| head.since().checked_add(bound));
        let relied_on = state.queue.head_notified() && !state.suspended && due.is_some();
        if let Some(due) = due {
            self.head_due_at.store(self.nanos(due), Ordering::Relaxed);
        }
        gate |= match state.queue.is_empty() {
            true => 0,
            false if self.head_is_due(state, now) => HEAD_DUE | NOTIFY_HEAD,
            false if relied_on => HEAD_WAITING,
            false => HEAD_WAITING | NOTIFY_HEAD,
        };
        let before = self.gate.load(Ordering::Relaxed);
        state
            .queue
            .update_search_owed(gate & (HEAD_WAITING | NOTIFY_HEAD) == HEAD_WAITING);
        if before != gate {
            // The STICKY bits change outside the lock, so keep their present values.
            let keep = |now: u32| Some((gate & !STICKY) | (now & STICKY));
            let _ = self
                .gate
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, keep);
        }
    }
}
