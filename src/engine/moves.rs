//! The moves of an entry between its places, each under the lock together with its counts.

use super::ledger::{Birth, CheckFor, Job, JobKind};
use super::ticket::{Mail, Ticket};
use super::{
    Core, Effects, Engine, Handed, Leaving, Loan, Moment, Need, Permit, Retired, Slot, Stamp,
};
use std::sync::Arc;
use std::time::Instant;

/// A connection being checked: ended by [`Engine::end_check`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckId(u64);

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Leave to create, if there is room. Backoff and `max_creating` are the caller's to ask.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        core: &mut Core<T, F>,
        need: Need,
        now: Instant,
    ) -> Option<Permit<T, F>> {
        if !core.has_room() || core.closed || !self.take_token(need) {
            return None;
        }
        let covers = need == Need::Waiter && !self.inline;
        let slot = core.claim_slot();
        // Made now and not when the create succeeds, so that the table has no gaps to stop at.
        self.table.get_or_make(slot);
        let job = job(core, JobKind::Create, slot, 0, now, covers);
        Some(Permit::new(Arc::clone(self), core.begin(job)))
    }

    /// Puts a connection from outside into a slot; None (with the entry) if there is no room.
    pub(crate) fn adopt(
        &self,
        core: &mut Core<T, F>,
        entry: Box<T>,
        now: Moment,
        expires: u64,
    ) -> Result<Loan<T>, Box<T>> {
        if !core.has_room() || core.closed || !self.take_token(Need::Spare) {
            return Err(entry);
        }
        let slot = core.claim_slot();
        core.open += 1;
        core.added += 1;
        Ok(self.occupy(core, slot, entry, now, expires))
    }

    /// Fills a slot that is claimed and counted.
    pub(super) fn occupy(
        &self,
        core: &mut Core<T, F>,
        slot: u32,
        entry: Box<T>,
        now: Moment,
        expires: u64,
    ) -> Loan<T> {
        let place = self.table.get_or_make(slot);
        let (tick, uses) = (now.tick, place.uses());
        core.note_birth(slot, Birth { tick, uses });
        place.occupy(entry, tick, expires)
    }

    /// Sends an entry on its way out: it is no longer part of size, but keeps its slot.
    pub(crate) fn retire(self: &Arc<Self>, loan: Loan<T>, now: Instant) -> Retired<T, F> {
        self.retire_locked(&mut self.lock(), loan, now)
    }

    pub(super) fn retire_locked(
        self: &Arc<Self>,
        core: &mut Core<T, F>,
        loan: Loan<T>,
        now: Instant,
    ) -> Retired<T, F> {
        let uses = loan.slot.uses();
        let slot = loan.slot.index();
        loan.slot.vacate();
        core.open -= 1;
        let job = job(core, JobKind::Dispose, slot, 0, now, false);
        let job = core.begin(job);
        self.note_leaving(job, now);
        Retired {
            entry: loan.entry,
            uses,
            leaving: Leaving::new(Arc::clone(self), job),
        }
    }

    /// Lets go of an entry without disposing it; its slot is free at once.
    pub(crate) fn release(
        self: &Arc<Self>,
        loan: Loan<T>,
        now: Instant,
    ) -> (Box<T>, Effects<T, F>) {
        let mut core = self.lock();
        core.open -= 1;
        core.detached += 1;
        loan.slot.vacate();
        self.free_slot(&mut core, loan.slot.index(), 0);
        self.note_quiet(&core);
        let effects = self.settle(&mut core, now);
        (loan.entry, effects)
    }

    /// A check of this entry begins. `of`: the number of its connection, and its generation.
    pub(crate) fn begin_check(
        &self,
        core: &mut Core<T, F>,
        loan: &Loan<T>,
        of: (u64, u64),
        now: Instant,
        purpose: CheckFor,
    ) -> CheckId {
        let (connection, generation) = of;
        let patience = match purpose {
            CheckFor::Waiter(patience) => patience,
            CheckFor::Pool | CheckFor::Look => None,
        };
        let covers = patience.is_some() && generation == core.generation;
        let slot = loan.slot.index();
        let job = job(core, JobKind::Check, slot, connection, now, covers);
        CheckId(core.begin(Job {
            patience,
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
        now: Moment,
        purpose: CheckFor,
        due: impl FnOnce() -> bool,
    ) -> Option<(CheckId, Loan<T>)> {
        let mut core = self.lock();
        if !due() || purpose == CheckFor::Pool && !core.may_check(|| self.has_idle(2)) {
            return None;
        }
        let loan = slot.take(now.tick)?;
        let check = self.begin_check(&mut core, &loan, of(&loan.entry), now.real, purpose);
        Some((check, loan))
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
    pub(crate) fn end_check_well(
        self: &Arc<Self>,
        check: CheckId,
        loan: Loan<T>,
        generation: u64,
        proven: u64,
        now: Instant,
    ) -> Result<Handed<T, F>, Loan<T>> {
        let mut core = self.lock();
        if core.end(check.0).is_none() {
            return Err(loan);
        }
        loan.set_checked(proven);
        let idle_since = loan.idle_since;
        Ok(self.give_locked(&mut core, loan, idle_since, generation, true, now))
    }

    /// Brings back an entry that was only looked at and has been idle as long as before.
    pub(crate) fn end_look(
        self: &Arc<Self>,
        check: CheckId,
        loan: Loan<T>,
        generation: u64,
        now: Instant,
    ) -> Handed<T, F> {
        let mut core = self.lock();
        core.end(check.0);
        let idle_since = loan.idle_since;
        self.give_locked(&mut core, loan, idle_since, generation, false, now)
    }

    /// Ends a check; the caller settles. False: the pool gave up on it, its slot is gone, and the
    /// caller has to dispose the entry as a stray ([`end_stray`](Self::end_stray)).
    pub(crate) fn end_check(&self, check: CheckId) -> bool {
        self.lock().end(check.0).is_some()
    }

    /// A stray entry has been disposed.
    pub(crate) fn end_stray(&self) {
        let mut core = self.lock();
        core.abandoned -= 1;
        core.disposed += 1;
        self.note_quiet(&core);
    }

    /// Gives up on a job whose hook has outlived its timeout; None if it ended, or must keep its
    /// slot because too many are abandoned already.
    /// The caller settles afterwards.
    pub(crate) fn abandon(&self, core: &mut Core<T, F>, job: u64) -> Option<Job> {
        let id = job;
        let job = core.abandon(id)?;
        self.free_slot(core, job.slot, id);
        if job.kind == JobKind::Check {
            if let Some(slot) = self.table.get(job.slot) {
                slot.vacate();
            }
        }
        Some(job)
    }

    /// Lets nobody count on jobs that take suspiciously long, and looks for other ways.
    pub(crate) fn lose_patience(self: &Arc<Self>, now: Instant) -> Effects<T, F> {
        let mut core = self.lock();
        core.uncover_overdue(now);
        // Over for everybody, also for those who read the clock before and come to the lock after.
        core.paused_until = core.paused_until.filter(|until| *until > now);
        core.paused_for_waiters_until =
            (core.paused_for_waiters_until).filter(|until| *until > now);
        self.settle(&mut core, now)
    }

    // ---- the whole pool ------------------------------------------------------------------------

    /// Closes: nobody waits any longer, nothing goes back. None if it was closed before.
    pub(crate) fn close(&self, now: Instant, failure: impl Fn() -> F) -> Option<Effects<T, F>> {
        let mut core = self.lock();
        if core.closed {
            return None;
        }
        core.closed = true;
        let mut effects = Effects::new();
        while !core.queue.is_empty() {
            effects
                .wakes
                .extend(core.queue.serve(Mail::Fail(failure())));
        }
        self.set_gate(&mut core, now);
        self.tell_total(&mut core, now, &mut effects);
        self.note_quiet(&core);
        Some(effects)
    }

    /// Collects what a ticket nobody waits on any longer was sent. Settles nothing: the caller has
    /// closed the pool, so nobody else can be waiting.
    pub(crate) fn withdraw(&self, ticket: &Ticket<T, F>) -> Option<Mail<T, F>> {
        let mut core = self.lock();
        core.queue.leave(ticket);
        ticket.collect()
    }

    /// Ends the waits of the head, and of whoever is head then, with what `failure` has for them, until it
    /// has nothing more. Then it settles.
    pub(crate) fn fail_waits(
        self: &Arc<Self>,
        core: &mut Core<T, F>,
        mut failure: impl FnMut(&Core<T, F>) -> Option<F>,
        now: Instant,
    ) -> Effects<T, F> {
        let mut effects = Effects::new();
        while !core.queue.is_empty() {
            let Some(failure) = failure(core) else {
                break;
            };
            effects.wakes.extend(core.queue.serve(Mail::Fail(failure)));
        }
        self.settle_into(core, now, &mut effects);
        effects
    }

    pub(crate) fn suspend(self: &Arc<Self>, on: bool, now: Instant) -> Option<Effects<T, F>> {
        let mut core = self.lock();
        if core.suspended == on || core.closed {
            return None;
        }
        core.suspended = on;
        Some(self.settle(&mut core, now))
    }

    /// Numbers the next generation, so that a clear can be reported before what it causes. `only`: None is
    /// returned unless this generation is the present one and no clear is about to end it.
    pub(crate) fn announce_generation(&self, only: Option<u64>) -> Option<u64> {
        let mut core = self.lock();
        if only.is_some_and(|only| only != core.announced_generation) {
            return None;
        }
        core.announced_generation += 1;
        Some(core.announced_generation)
    }

    /// Begins an announced generation, unless it or a later one has begun. Jobs of earlier generations can
    /// serve no waiter any more, so their waiters are settled under the same lock. What is in the slots is
    /// still to be taken out.
    pub(crate) fn begin_generation(
        self: &Arc<Self>,
        generation: u64,
        now: Instant,
    ) -> Effects<T, F> {
        let mut core = self.lock();
        core.generation = core.generation.max(generation);
        core.uncover_outdated();
        self.settle(&mut core, now)
    }

    /// Sets the cap. Growth serves whoever can go on now.
    pub(crate) fn resize(self: &Arc<Self>, max_size: usize, now: Instant) -> Effects<T, F> {
        let mut core = self.lock();
        core.max_size = max_size;
        self.settle(&mut core, now)
    }

    /// Takes out every idle entry, one at a time, and watches every slot in use, so that what is out
    /// now will meet the lock when it comes back.
    pub(crate) fn drain(&self, now: u64) -> impl Iterator<Item = Loan<T>> + '_ {
        self.table.all().filter_map(move |slot| match slot.stamp() {
            Stamp::Vacant => None,
            _ => self.table.watch(slot, now),
        })
    }

    /// After a shrink: retires idle entries that are too many, the highest slot first, and watches the
    /// slots in use. What is too many is decided and retired under one lock, so that several of them
    /// never go in place of one.
    pub(crate) fn drain_surplus(self: &Arc<Self>, now: Moment) -> Vec<Retired<T, F>> {
        let slots: Vec<_> = self.table.all().collect();
        let mut retired = Vec::new();
        for slot in slots.into_iter().rev() {
            let mut core = self.lock();
            if !core.is_over() {
                break;
            }
            if slot.stamp() == Stamp::Vacant {
                continue;
            }
            if let Some(loan) = self.table.watch(slot, now.tick) {
                retired.push(self.retire_locked(&mut core, loan, now.real));
            }
        }
        retired
    }

    /// Idle and in use, in one consistent look: must be called under the lock.
    pub(crate) fn in_use(&self, _: &Core<T, F>) -> usize {
        let in_use = |slot: &&super::Slot<T>| matches!(slot.stamp(), Stamp::InUse(_));
        self.table.all().filter(in_use).count()
    }

    /// Whether at least so many entries are idle, roughly: without the lock.
    pub(crate) fn has_idle(&self, enough: usize) -> bool {
        self.table.seems_idle(enough) == enough
    }

    // ---- waiting for the end -------------------------------------------------------------------

    pub(super) fn note_quiet(&self, core: &Core<T, F>) {
        if core.closed && core.is_quiet() {
            self.quiet.notify_all();
        }
    }

    /// Sleeps until a closed pool holds nothing any more; false at the deadline.
    pub(crate) fn wait_quiet(&self, deadline: Option<Instant>) -> bool {
        let mut core = self.lock();
        while !core.is_quiet() {
            match deadline {
                None => self.quiet.wait(&mut core),
                Some(deadline) if self.quiet.wait_until(&mut core, deadline).timed_out() => {
                    return core.is_quiet();
                }
                Some(_) => {}
            }
        }
        true
    }
}

fn job<T: Send, F: Send>(
    core: &Core<T, F>,
    kind: JobKind,
    slot: u32,
    connection: u64,
    since: Instant,
    covers: bool,
) -> Job {
    Job {
        kind,
        slot,
        connection,
        since,
        deadline: None,
        started: false,
        covers,
        patience: None,
        generation: core.generation,
        background: false,
    }
}
