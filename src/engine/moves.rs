//! The moves of an entry between its places, each under the lock together with its counts.

use super::counts::{CheckFor, Job, JobKind, Opened};
use super::waiter::{Outcome, Waiter};
use super::{
    Actions, Checkout, CreateReason, DisposePermit, Engine, Evicted, Now, Permit, ReturnResult,
    Slot, Stamp, State,
};
use std::sync::Arc;
use std::time::Instant;

/// A connection being checked: ended by [`Engine::end_check`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckId(u64);

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Leave to create, if there is room. Backoff and `max_creating` are the caller's to ask.
    pub(crate) fn reserve_create(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        need: CreateReason,
        now: Instant,
    ) -> Option<Permit<T, F>> {
        if !state.has_room() || state.closed || !self.take_token(need) {
            return None;
        }
        let has_waiter = need == CreateReason::Waiter && !self.inline;
        let slot = state.claim_slot();
        // Made now and not when the create succeeds, so that the table has no gaps to stop at.
        self.table.get_or_make(slot);
        let job = job(state, JobKind::Create, slot, 0, now, has_waiter);
        Some(Permit::new(Arc::clone(self), state.begin(job)))
    }

    /// Puts a connection from outside into a slot; None (with the entry) if there is no room.
    pub(crate) fn add(
        &self,
        state: &mut State<T, F>,
        entry: Box<T>,
        now: Now,
        expires: u64,
    ) -> Result<Checkout<T>, Box<T>> {
        if !state.has_room() || state.closed || !self.take_token(CreateReason::Spare) {
            return Err(entry);
        }
        let slot = state.claim_slot();
        state.open += 1;
        state.added += 1;
        Ok(self.occupy(state, slot, entry, now, expires))
    }

    /// Fills a slot that is claimed and counted.
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
        state.record_opened(slot, Opened { tick, uses });
        place.occupy(entry, tick, expires)
    }

    /// Sends an entry on its way out: it is no longer part of size, but keeps its slot.
    pub(crate) fn begin_dispose(
        self: &Arc<Self>,
        checkout: Checkout<T>,
        now: Instant,
    ) -> Evicted<T, F> {
        self.begin_dispose_locked(&mut self.lock(), checkout, now)
    }

    pub(super) fn begin_dispose_locked(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        checkout: Checkout<T>,
        now: Instant,
    ) -> Evicted<T, F> {
        let uses = checkout.slot.uses();
        let slot = checkout.slot.index();
        checkout.slot.vacate();
        state.open -= 1;
        let job = job(state, JobKind::Dispose, slot, 0, now, false);
        let job = state.begin(job);
        self.note_disposing(job, now);
        Evicted {
            entry: checkout.entry,
            uses,
            leaving: DisposePermit::new(Arc::clone(self), job),
        }
    }

    /// Lets go of an entry without disposing it; its slot is free at once.
    pub(crate) fn detach(
        self: &Arc<Self>,
        checkout: Checkout<T>,
        now: Instant,
    ) -> (Box<T>, Actions<T, F>) {
        let mut state = self.lock();
        state.open -= 1;
        state.detached += 1;
        checkout.slot.vacate();
        self.free_slot(&mut state, checkout.slot.index(), 0);
        self.notify_if_drained(&state);
        let actions = self.settle(&mut state, now);
        (checkout.entry, actions)
    }

    /// A check of this entry begins. `of`: the number of its connection, and its generation.
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
            CheckFor::Pool | CheckFor::Inspect => None,
        };
        let has_waiter = soft_deadline.is_some() && generation == state.generation;
        let slot = checkout.slot.index();
        let job = job(state, JobKind::Check, slot, connection, now, has_waiter);
        CheckId(state.begin(Job {
            soft_deadline,
            generation,
            background: purpose == CheckFor::Pool,
            ..job
        }))
    }

    /// Takes an idle entry out to look at it. It is a check from the first moment on, so that nobody
    /// takes it for missing. None: it is not idle, as many as may be are checked for the pool itself, or
    /// `due` says no. That is asked under the lock, under which a check ends.
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

    /// The hook begins now, on the thread that calls this.
    pub(crate) fn start_check(&self, check: CheckId, now: Instant, deadline: Option<Instant>) {
        if let Some(job) = self.lock().job_mut(check.0) {
            job.started = true;
            job.since = now;
            job.deadline = deadline;
        }
    }

    /// Ends a check that went well and hands the connection over, all under one lock. Err: the pool
    /// gave up on it, see [`end_check`](Self::end_check).
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
        checkout.set_checked(proven);
        let idle_since = checkout.idle_since;
        Ok(self.return_locked(&mut state, checkout, idle_since, generation, true, now))
    }

    /// Brings back an entry that was only looked at and has been idle as long as before.
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

    /// Ends a check; the caller settles. False: the pool gave up on it, its slot is gone, and the
    /// caller has to dispose the entry as a stray ([`end_abandoned`](Self::end_abandoned)).
    pub(crate) fn end_check(&self, check: CheckId) -> bool {
        self.lock().end(check.0).is_some()
    }

    /// A stray entry has been disposed.
    pub(crate) fn end_abandoned(&self) {
        let mut state = self.lock();
        state.abandoned -= 1;
        state.disposed += 1;
        self.notify_if_drained(&state);
    }

    /// Gives up on a job whose hook has outlived its timeout; None if it ended, or must keep its
    /// slot because too many are abandoned already.
    /// The caller settles afterwards.
    pub(crate) fn abandon(&self, state: &mut State<T, F>, job: u64) -> Option<Job> {
        let id = job;
        let job = state.abandon(id)?;
        self.free_slot(state, job.slot, id);
        if job.kind == JobKind::Check {
            if let Some(slot) = self.table.get(job.slot) {
                slot.vacate();
            }
        }
        Some(job)
    }

    /// Lets nobody count on jobs that take suspiciously long, and looks for other ways.
    pub(crate) fn expire_soft_deadlines(self: &Arc<Self>, now: Instant) -> Actions<T, F> {
        let mut state = self.lock();
        state.release_overdue(now);
        // Over for everybody, also for those who read the clock before and come to the lock after.
        state.paused_until = state.paused_until.filter(|until| *until > now);
        state.paused_for_waiters_until =
            (state.paused_for_waiters_until).filter(|until| *until > now);
        self.settle(&mut state, now)
    }

    // ---- the whole pool ------------------------------------------------------------------------

    /// Closes: nobody waits any longer, nothing goes back. None if it was closed before.
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

    /// Collects what a ticket nobody waits on any longer was sent. Settles nothing: the caller has
    /// closed the pool, so nobody else can be waiting.
    pub(crate) fn cancel(&self, waiter: &Waiter<T, F>) -> Option<Outcome<T, F>> {
        let mut state = self.lock();
        state.queue.remove(waiter);
        waiter.take_outcome()
    }

    /// Ends the waits of the head, and of whoever is head then, with what `failure` has for them, until it
    /// has nothing more. Then it settles.
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

    pub(crate) fn suspend(self: &Arc<Self>, on: bool, now: Instant) -> Option<Actions<T, F>> {
        let mut state = self.lock();
        if state.suspended == on || state.closed {
            return None;
        }
        state.suspended = on;
        Some(self.settle(&mut state, now))
    }

    /// Numbers the next generation, so that a clear can be reported before what it causes. `only`: None is
    /// returned unless this generation is the present one and no clear is about to end it.
    pub(crate) fn announce_generation(&self, only: Option<u64>) -> Option<u64> {
        let mut state = self.lock();
        if only.is_some_and(|only| only != state.announced_generation) {
            return None;
        }
        state.announced_generation += 1;
        Some(state.announced_generation)
    }

    /// Begins an announced generation, unless it or a later one has begun. Jobs of earlier generations can
    /// serve no waiter any more, so their waiters are settled under the same lock. What is in the slots is
    /// still to be taken out.
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

    /// Sets the cap. Growth serves whoever can go on now.
    pub(crate) fn resize(self: &Arc<Self>, max_size: usize, now: Instant) -> Actions<T, F> {
        let mut state = self.lock();
        state.max_size = max_size;
        self.settle(&mut state, now)
    }

    /// Takes out every idle entry, one at a time, and watches every slot in use, so that what is out
    /// now will meet the lock when it comes back.
    pub(crate) fn take_all(&self, now: u64) -> impl Iterator<Item = Checkout<T>> + '_ {
        self.table.all().filter_map(move |slot| match slot.stamp() {
            Stamp::Vacant => None,
            _ => self.table.take_or_mark(slot, now),
        })
    }

    /// After a shrink: retires idle entries that are too many, the highest slot first, and watches the
    /// slots in use. What is too many is decided and retired under one lock, so that several of them
    /// never go in place of one.
    pub(crate) fn evict_excess(self: &Arc<Self>, now: Now) -> Vec<Evicted<T, F>> {
        let slots: Vec<_> = self.table.all().collect();
        let mut evicted = Vec::new();
        for slot in slots.into_iter().rev() {
            let mut state = self.lock();
            if !state.is_over_limit() {
                break;
            }
            if slot.stamp() == Stamp::Vacant {
                continue;
            }
            if let Some(checkout) = self.table.take_or_mark(slot, now.tick) {
                evicted.push(self.begin_dispose_locked(&mut state, checkout, now.real));
            }
        }
        evicted
    }

    /// Idle and in use, in one consistent look: must be called under the lock.
    pub(crate) fn in_use(&self, _: &State<T, F>) -> usize {
        let in_use = |slot: &&super::Slot<T>| matches!(slot.stamp(), Stamp::InUse(_));
        self.table.all().filter(in_use).count()
    }

    /// Whether at least so many entries are idle, roughly: without the lock.
    pub(crate) fn has_idle(&self, enough: usize) -> bool {
        self.table.count_idle(enough) == enough
    }

    // ---- waiting for the end -------------------------------------------------------------------

    pub(super) fn notify_if_drained(&self, state: &State<T, F>) {
        if state.closed && state.is_drained() {
            self.drained.notify_all();
        }
    }

    /// Sleeps until a closed pool holds nothing any more; false at the deadline.
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
    }
}
