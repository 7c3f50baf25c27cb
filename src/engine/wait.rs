//! Waiting: joining the line, sleeping until there is an outcome, leaving.

use super::{
    CLOSED, Core, DUE, Effects, Engine, KEPT, Loan, Moment, SUSPENDED, TELL, Ticket, Waited, YOUNG,
};
use crate::sync::Ordering;
use std::sync::Arc;
use std::time::Instant;

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Joins the line. The caller must then [`search`](Self::search), all under one lock.
    pub(crate) fn join(&self, core: &mut Core<T, F>, ticket: &Arc<Ticket<T, F>>, now: Instant) {
        core.queue.join(ticket);
        self.set_gate(core, now);
    }

    /// Looks for an idle entry on behalf of a waiter in line, watching every slot it passes. The
    /// first waiter's search is what makes every later check-in go through the lock.
    pub(crate) fn search(
        &self,
        core: &mut Core<T, F>,
        ticket: &Ticket<T, F>,
        now: u64,
    ) -> Option<Loan<T>> {
        if !core.queue.is_head(ticket) && !self.may_overtake() {
            return None;
        }
        let found = self.table.watch_all(now);
        if found.is_none() {
            core.queue.unseen = false;
            core.queue.heed(ticket);
        }
        found
    }

    /// Watches every slot without taking anything, for a waiter that will not search now.
    pub(crate) fn publish(&self, core: &mut Core<T, F>, now: u64) {
        debug_assert!(!core.queue.is_empty(), "bug: nobody to publish");
        self.table.watch_and_leave(now);
    }

    /// Leaves the line; None if there is mail instead.
    pub(crate) fn leave(
        self: &Arc<Self>,
        core: &mut Core<T, F>,
        ticket: &Ticket<T, F>,
        now: Instant,
    ) -> Option<Effects<T, F>> {
        core.queue.leave(ticket).then(|| self.settle(core, now))
    }

    /// Sleeps until the ticket ends or its deadline passes. `settled` runs the effects of what this
    /// waiter itself sets going on the way.
    pub(crate) fn wait(
        self: &Arc<Self>,
        ticket: &Arc<Ticket<T, F>>,
        deadline: Option<Instant>,
        moment: impl Fn() -> Moment,
        settled: impl Fn(Effects<T, F>),
    ) -> Waited<T, F> {
        let mut alarm = self.alarm(&self.lock(), ticket, moment().real);
        loop {
            let until = [alarm, deadline].into_iter().flatten().min();
            if let Some(mail) = ticket.sleep(until) {
                return Waited::Mail(mail);
            }
            let now = moment();
            let mut core = self.lock();
            if let Some(mail) = ticket.collect() {
                return Waited::Mail(mail);
            }
            if deadline.is_some_and(|deadline| deadline <= now.real) {
                let effects = self.leave(&mut core, ticket, now.real);
                drop(core);
                effects.map(settled);
                return Waited::TimedOut;
            }
            let head = core.queue.is_head(ticket) && !core.suspended;
            let found = head
                .then(|| self.search(&mut core, ticket, now.tick))
                .flatten();
            if let Some(loan) = found {
                let effects = self.leave(&mut core, ticket, now.real);
                drop(core);
                effects.map(settled);
                return Waited::Found(loan);
            }
            if self.bound.is_none() || !head {
                // No alarm will come, either because there is no bound or because an older waiter has
                // taken its place at the head meanwhile: the next thing to come back is worth telling.
                core.queue.forget_poke(ticket);
            }
            let effects = self.settle(&mut core, now.real);
            // Whatever it was just told, it has looked, and its alarm knows the rest.
            ticket.unpoke();
            alarm = self.alarm(&core, ticket, now.real);
            drop(core);
            settled(effects);
        }
    }

    /// When this waiter should look for itself: the head, when it becomes due after it was told of
    /// something that another then took; and where waiters create for themselves, when they may again.
    fn alarm(&self, core: &Core<T, F>, ticket: &Ticket<T, F>, now: Instant) -> Option<Instant> {
        if !core.queue.is_head(ticket) {
            return None;
        }
        let poked = core.queue.head_is_poked();
        let due = self
            .bound
            .filter(|_| poked)
            .and_then(|bound| ticket.since().checked_add(bound));
        let due = due.filter(|_| self.gate.load(Ordering::Relaxed) & DUE == 0);
        let resumes = core.pause().filter(|until| *until > now);
        let resumes = resumes.filter(|_| self.inline && core.has_room());
        due.into_iter().chain(resumes).min()
    }

    pub(super) fn head_is_due(&self, core: &mut Core<T, F>, now: Instant) -> bool {
        let Some((head, bound)) = core.queue.head().zip(self.bound) else {
            return false;
        };
        let late = now.saturating_duration_since(head.since()) >= bound;
        core.queue.head_is_due(late)
    }

    /// Makes the gate tell the truth.
    pub(super) fn set_gate(&self, core: &mut Core<T, F>, now: Instant) {
        let mut gate = self.gate.load(Ordering::Relaxed) & KEPT;
        gate |= if core.closed { CLOSED } else { 0 };
        gate |= if core.suspended { SUSPENDED } else { 0 };
        // Without a bound it has no alarm to look again.
        let due = core.queue.head().zip(self.bound);
        let due = due.and_then(|(head, bound)| head.since().checked_add(bound));
        let told = core.queue.head_is_poked() && !core.suspended && due.is_some();
        if let Some(due) = due {
            self.due_at.store(self.nanos(due), Ordering::Relaxed);
        }
        gate |= match core.queue.is_empty() {
            true => 0,
            false if self.head_is_due(core, now) => DUE | TELL,
            false if told => YOUNG,
            false => YOUNG | TELL,
        };
        let before = self.gate.load(Ordering::Relaxed);
        core.queue.note_told(gate & (YOUNG | TELL) == YOUNG);
        if before != gate {
            // LISTENING changes outside the lock: keep whatever it is by now.
            let keep = |now: u32| Some((gate & !KEPT) | (now & KEPT));
            let _ = self
                .gate
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, keep);
        }
    }
}
