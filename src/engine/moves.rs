//! The moves of an entry between its places. Each move and its counts change under one lock.

use super::counts::{CheckFor, Job, JobKind, Opened};
use super::{
    Actions, Checkout, CreateReason, DisposePermit, Engine, Evicted, Now, Permit, ReturnResult,
    Slot, State,
};
use std::sync::Arc;
use std::time::Instant;

/// The id of a check under way. [`Engine::finish_check`], [`Engine::end_check`] or
/// [`Engine::end_inspection`] ends the check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckId(u64);

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Reserves a slot for a create, if there is room. The caller must respect backoff and `max_creating`.
    pub(crate) fn reserve_create(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        reason: CreateReason,
        now: Instant,
    ) -> Option<Permit<T, F>> {
        if !state.has_room() || state.closed || !self.take_slot_permit(reason) {
            return None;
        }
        let has_waiter = reason == CreateReason::Waiter && !self.inline;
        let slot = state.claim_slot();
        // Make the slot now, not at the success of the create, so that the table has no gap at which an
        // iteration would stop.
        self.table.get_or_make(slot);
        let job = job(state, JobKind::Create, slot, 0, now, has_waiter);
        Some(Permit::new(Arc::clone(self), state.begin(job)))
    }

    /// Puts a connection that was opened outside of the pool into a slot. Returns the entry as the error if
    /// there is no room.
    pub(crate) fn add(
        &self,
        state: &mut State<T, F>,
        entry: Box<T>,
        now: Now,
        expires: u64,
    ) -> Result<Checkout<T>, Box<T>> {
        if !state.has_room() || state.closed || !self.take_slot_permit(CreateReason::Spare) {
            return Err(entry);
        }
        let slot = state.claim_slot();
        state.open += 1;
        state.added += 1;
        Ok(self.occupy(state, slot, entry, now, expires))
    }

    /// Fills a slot that the caller has claimed and counted.
    pub(super) fn occupy(
        &self,
        state: &mut State<T, F>,
        slot: u32,
        entry: Box<T>,
        now: Now,
        expires: u64,
    ) -> Checkout<T> {
        let place = self.table.get_or_make(slot);
        let (tick, uses) = (now.tick, place.uses());
        let connection = 0;
        if let Some(order) = &mut state.idle_order {
            order.forget(slot);
        }
        state.record_opened(
            slot,
            Opened {
                tick,
                connection,
                uses,
            },
        );
        place.occupy(entry, tick, expires)
    }

    /// Begins the dispose of an entry. The entry no longer counts in `size`, but its slot stays taken.
    pub(crate) fn begin_dispose(
        self: &Arc<Self>,
        checkout: Checkout<T>,
        now: Instant,
    ) -> Evicted<T, F> {
        self.begin_dispose_locked(&mut self.lock(), checkout, now, false)
    }

    /// `claimed`: [`claim_for_peer`](Self::claim_for_peer) has allowed this eviction.
    pub(super) fn begin_dispose_locked(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        checkout: Checkout<T>,
        now: Instant,
        claimed: bool,
    ) -> Evicted<T, F> {
        let uses = checkout.slot.uses();
        let slot = checkout.slot.index();
        checkout.slot.vacate();
        state.interrupted.remove(&slot);
        state.open -= 1;
        Self::note_lost(state);
        let job = job(state, JobKind::Dispose, slot, 0, now, false);
        let job = state.begin(job);
        self.note_disposing(job, now, claimed);
        Evicted {
            entry: checkout.entry,
            uses,
            permit: DisposePermit::new(Arc::clone(self), job),
        }
    }

    /// Removes an entry from the pool without a dispose. Its slot is free at once.
    pub(crate) fn detach(
        self: &Arc<Self>,
        checkout: Checkout<T>,
        now: Instant,
    ) -> (Box<T>, Actions<T, F>) {
        let mut state = self.lock();
        state.open -= 1;
        state.detached += 1;
        Self::note_lost(&mut state);
        checkout.slot.vacate();
        self.free_slot(&mut state, checkout.slot.index(), 0);
        self.notify_if_drained(&state);
        let actions = self.settle(&mut state, now);
        (checkout.entry, actions)
    }

    /// Begins a check of this entry. `of` is the id of its connection and its generation.
    pub(crate) fn begin_check(
        &self,
        state: &mut State<T, F>,
        checkout: &Checkout<T>,
        of: (u64, u64),
        now: Instant,
        purpose: CheckFor,
    ) -> CheckId {
        let (connection, generation) = of;
        let soft_deadline = match purpose {
            CheckFor::Waiter(soft_deadline) => soft_deadline,
            CheckFor::Pool | CheckFor::Inspect | CheckFor::Reset => None,
        };
        let has_waiter = soft_deadline.is_some() && generation == state.generation;
        let slot = checkout.slot.index();
        let job = job(state, JobKind::Check, slot, connection, now, has_waiter);
        CheckId(state.begin(Job {
            soft_deadline,
            generation,
            background: purpose == CheckFor::Pool,
            is_reset: purpose == CheckFor::Reset,
            ..job
        }))
    }

    /// Takes an idle entry out of its slot for a check.
    ///
    /// The check job begins under the same lock, so that the entry always has an accounted place. None if
    /// the entry is not idle, if no further background check may begin, or if `due` returns false. `due`
    /// runs under the lock, so it sees the result of every check that has ended.
    pub(crate) fn take_to_check(
        &self,
        slot: &'static Slot<T>,
        of: impl FnOnce(&T) -> (u64, u64),
        now: Now,
        purpose: CheckFor,
        due: impl FnOnce() -> bool,
    ) -> Option<(CheckId, Checkout<T>)> {
        let mut state = self.lock();
        if !due() || purpose == CheckFor::Pool && !state.may_check(|| self.has_idle(2)) {
            return None;
        }
        let checkout = slot.take(now.tick)?;
        let check = self.begin_check(
            &mut state,
            &checkout,
            of(&checkout.entry),
            now.real,
            purpose,
        );
        Some((check, checkout))
    }

    /// Records the start of the check hook.
    pub(crate) fn start_check(&self, check: CheckId, now: Instant, deadline: Option<Instant>) {
        if let Some(job) = self.lock().job_mut(check.0) {
            job.started = true;
            job.since = now;
            job.deadline = deadline;
        }
    }

    /// Ends a successful check and returns the connection under one lock. `proven` is the tick at which the
    /// connection was proven alive.
    ///
    /// Err if the pool abandoned the check; see [`end_check`](Self::end_check).
    pub(crate) fn finish_check(
        self: &Arc<Self>,
        check: CheckId,
        checkout: Checkout<T>,
        generation: u64,
        proven: u64,
        now: Instant,
    ) -> Result<ReturnResult<T, F>, Checkout<T>> {
        let mut state = self.lock();
        if state.end(check.0).is_none() {
            return Err(checkout);
        }
        checkout.slot.set_checked(proven);
        let idle_since = checkout.idle_since;
        Ok(self.return_locked(&mut state, checkout, idle_since, generation, true, now))
    }

    /// Begins the reset of an entry that was checked in. None: the pool rejects the entry, so the caller must return it.
    pub(crate) fn begin_reset(
        self: &Arc<Self>,
        checkout: &Checkout<T>,
        of: (u64, u64),
        now: Instant,
    ) -> Option<(CheckId, Actions<T, F>)> {
        let mut state = self.lock();
        let is_interrupted = state.interrupted.contains(&checkout.slot.index());
        if is_interrupted || self.reject_reason(&state, of.1).is_some() {
            return None;
        }
        let reset = self.begin_check(&mut state, checkout, of, now, CheckFor::Reset);
        Some((reset, self.settle(&mut state, now)))
    }

    /// Ends a successful reset and returns the entry, which is idle since the tick `idle_since`. The entry goes to the
    /// head even if the head is not due, because the head may have relied on this reset.
    ///
    /// Err if the pool abandoned the reset; see [`end_check`](Self::end_check).
    pub(crate) fn finish_reset(
        self: &Arc<Self>,
        reset: CheckId,
        checkout: Checkout<T>,
        idle_since: u64,
        generation: u64,
        now: Instant,
    ) -> Result<ReturnResult<T, F>, Checkout<T>> {
        let mut state = self.lock();
        if state.end(reset.0).is_none() {
            return Err(checkout);
        }
        if !state.queue.is_empty() && !state.suspended {
            // A reset ends a check-in, which the estimate of the growth counts.
            Self::note_served(&mut state);
        }
        Ok(self.return_locked(&mut state, checkout, idle_since, generation, true, now))
    }

    /// Ends an inspection and returns the entry, which keeps its previous idle time.
    pub(crate) fn end_inspection(
        self: &Arc<Self>,
        check: CheckId,
        checkout: Checkout<T>,
        generation: u64,
        now: Instant,
    ) -> ReturnResult<T, F> {
        let mut state = self.lock();
        state.end(check.0);
        let idle_since = checkout.idle_since;
        self.return_locked(&mut state, checkout, idle_since, generation, false, now)
    }

    /// Ends a check. The caller must then settle.
    ///
    /// False if the pool abandoned the check. The entry then has no slot, and the caller must dispose the
    /// entry as an abandoned connection and call [`end_abandoned`](Self::end_abandoned).
    pub(crate) fn end_check(&self, check: CheckId) -> bool {
        self.lock().end(check.0).is_some()
    }

    /// Counts an abandoned connection as disposed.
    pub(crate) fn end_abandoned(&self) {
        let mut state = self.lock();
        state.abandoned -= 1;
        state.disposed += 1;
        self.notify_if_drained(&state);
    }

    /// Abandons a job whose hook has outlived its timeout and frees the job's slot. The caller must then
    /// settle.
    ///
    /// None if the job has ended, or if too many jobs are abandoned already, so that the job must keep its
    /// slot.
    pub(crate) fn abandon(&self, state: &mut State<T, F>, job: u64) -> Option<Job> {
        let id = job;
        let job = state.abandon(id)?;
        self.free_slot(state, job.slot, id);
        if job.kind == JobKind::Check {
            if let Some(slot) = self.table.get(job.slot) {
                slot.vacate();
            }
            Self::note_lost(state);
        }
        Some(job)
    }

    /// Ends the waits of tasks whose deadline has passed, releases jobs past their soft deadline from their waiters,
    /// ends pauses that are over, and settles.
    pub(crate) fn expire_deadlines(self: &Arc<Self>, now: Instant) -> Actions<T, F> {
        let mut state = self.lock();
        let mut actions = Actions::new();
        if state
            .queue
            .next_deadline()
            .is_some_and(|first| first <= now)
        {
            self.note_timeout(&mut state, now);
        }
        while let Some(task) = state.queue.time_out_task(now) {
            actions.wakes.push(task);
        }
        state.release_overdue(now);
        // Clear a pause that is over, so that it is also over for a thread that read the clock before this
        // thread and takes the lock later.
        state.paused_until = state.paused_until.filter(|until| *until > now);
        state.paused_for_waiters_until =
            (state.paused_for_waiters_until).filter(|until| *until > now);
        self.settle_into(&mut state, now, &mut actions);
        actions
    }
}

fn job<T: Send, F: Send>(
    state: &State<T, F>,
    kind: JobKind,
    slot: u32,
    connection: u64,
    since: Instant,
    has_waiter: bool,
) -> Job {
    Job {
        kind,
        slot,
        connection,
        since,
        deadline: None,
        started: false,
        has_waiter,
        soft_deadline: None,
        generation: state.generation,
        background: false,
        is_reset: false,
    }
}
