//! Permission as a value: whoever has a token holds a slot, and gives it back on every way out.

use super::ledger::Job;
use super::slot::Loan;
use super::{Core, Effects, Engine, Moment};
use std::sync::Arc;
use std::time::Instant;

/// Leave to create one connection. Keeps a slot until [`install`](Self::install) fills it or the
/// permit is dropped.
#[must_use = "a permit that is dropped frees its slot"]
pub(crate) struct Permit<T: Send + 'static, F: Send + 'static> {
    engine: Arc<Engine<T, F>>,
    job: u64,
    ended: bool,
}

/// A connection whose create was given up on before it returned: it holds no slot and must be
/// disposed. Dropping this says that it is.
#[must_use = "dropping this says that the stray connection is disposed"]
pub(crate) struct Stray<T: Send + 'static, F: Send + 'static> {
    engine: Arc<Engine<T, F>>,
}

/// A connection on its way out: its slot stays taken until its dispose has returned.
#[must_use = "the slot stays taken until this is finished"]
pub(crate) struct Leaving<T: Send + 'static, F: Send + 'static> {
    engine: Arc<Engine<T, F>>,
    job: u64,
}

impl<T: Send + 'static, F: Send + 'static> Permit<T, F> {
    pub(super) fn new(engine: Arc<Engine<T, F>>, job: u64) -> Self {
        Self {
            engine,
            job,
            ended: false,
        }
    }

    /// The job that this permit is for.
    pub(crate) fn job(&self) -> u64 {
        self.job
    }

    /// Begins the create, unless nobody needs it any more. Returns the generation it belongs to.
    pub(crate) fn start(
        &self,
        now: Instant,
        deadline: Option<Instant>,
        wanted: bool,
    ) -> Option<u64> {
        let mut ledger = self.engine.lock();
        let stopped = ledger.closed || ledger.suspended;
        let generation = ledger.generation;
        let job = ledger.job_mut(self.job)?;
        if stopped || !(job.covers || wanted) {
            return None;
        }
        job.started = true;
        job.since = now;
        job.deadline = deadline;
        // What begins after a clear is new, whenever it was planned.
        job.generation = generation;
        Some(generation)
    }

    /// Puts a new connection into the slot and says under the same lock what becomes of it: between
    /// the end of a create and the hand-over of its connection nobody may find a waiter uncovered and
    /// start another create. It comes back as a stray if the pool gave up on it.
    pub(crate) fn install<R>(
        mut self,
        entry: Box<T>,
        now: Moment,
        expires: u64,
        then: impl FnOnce(&Arc<Engine<T, F>>, &mut Core<T, F>, Loan<T>) -> R,
    ) -> Result<R, (Box<T>, Stray<T, F>)> {
        self.ended = true;
        let engine = Arc::clone(&self.engine);
        let mut core = engine.lock();
        core.created += 1;
        let Some(job) = core.end(self.job) else {
            drop(core);
            return Err((entry, Stray { engine }));
        };
        core.overtake(job.since, now.real);
        core.open += 1;
        let loan = engine.occupy(&mut core, job.slot, entry, now, expires);
        Ok(then(&engine, &mut core, loan))
    }

    /// Ends a create that made nothing. False if the pool had given up on it before.
    pub(crate) fn fail(self, now: Instant) -> (bool, Effects<T, F>) {
        self.fail_telling(now, |_| None)
    }

    /// The same, and [waits end](Engine::fail_waits) under the same lock: between the two somebody would
    /// find the head uncovered and start another create for it.
    pub(crate) fn fail_telling(
        mut self,
        now: Instant,
        failure: impl FnMut(&Core<T, F>) -> Option<F>,
    ) -> (bool, Effects<T, F>) {
        self.ended = true;
        let mut core = self.engine.lock();
        let attached = self.engine.release_create(&mut core, self.job);
        self.engine.note_quiet(&core);
        let effects = match attached {
            true => self.engine.fail_waits(&mut core, failure, now),
            false => self.engine.settle(&mut core, now),
        };
        (attached, effects)
    }
}

impl<T: Send + 'static, F: Send + 'static> Drop for Permit<T, F> {
    fn drop(&mut self) {
        if !self.ended {
            // Reached only by a permit in a letter box that nobody opened. The next event settles
            // who gets the slot.
            let mut core = self.engine.lock();
            self.engine.release_create(&mut core, self.job);
        }
    }
}

impl<T: Send + 'static, F: Send + 'static> Drop for Stray<T, F> {
    fn drop(&mut self) {
        let mut core = self.engine.lock();
        core.abandoned -= 1;
        core.disposed += 1;
        self.engine.note_quiet(&core);
    }
}

impl<T: Send + 'static, F: Send + 'static> Leaving<T, F> {
    pub(super) fn new(engine: Arc<Engine<T, F>>, job: u64) -> Self {
        Self { engine, job }
    }

    /// The dispose begins now.
    pub(crate) fn start(&self, now: Instant, deadline: Option<Instant>) {
        if let Some(job) = self.engine.lock().job_mut(self.job) {
            job.started = true;
            job.since = now;
            job.deadline = deadline;
        }
    }

    /// The dispose has returned.
    pub(crate) fn finish(self, now: Instant) -> Effects<T, F> {
        let mut core = self.engine.lock();
        core.disposed += 1;
        match core.end(self.job) {
            Some(Job { slot, .. }) => self.engine.free_slot(&mut core, slot, self.job),
            None => core.abandoned -= 1,
        }
        self.engine.note_quiet(&core);
        self.engine.settle(&mut core, now)
    }
}
