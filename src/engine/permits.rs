//! Permission as a value: whoever has a token holds a slot, and gives it back on every way out.

use super::counts::Job;
use super::slot::Checkout;
use super::{Actions, Engine, Now, State};
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
pub(crate) struct AbandonedConnection<T: Send + 'static, F: Send + 'static> {
    engine: Arc<Engine<T, F>>,
}

/// A connection on its way out: its slot stays taken until its dispose has returned.
#[must_use = "the slot stays taken until this is finished"]
pub(crate) struct DisposePermit<T: Send + 'static, F: Send + 'static> {
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
        let mut state = self.engine.lock();
        let stopped = state.closed || state.suspended;
        let generation = state.generation;
        let job = state.job_mut(self.job)?;
        if stopped || !(job.has_waiter || wanted) {
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
        now: Now,
        expires: u64,
        then: impl FnOnce(&Arc<Engine<T, F>>, &mut State<T, F>, Checkout<T>) -> R,
    ) -> Result<R, (Box<T>, AbandonedConnection<T, F>)> {
        self.ended = true;
        let engine = Arc::clone(&self.engine);
        let mut state = engine.lock();
        state.created += 1;
        let Some(job) = state.end(self.job) else {
            drop(state);
            return Err((entry, AbandonedConnection { engine }));
        };
        state.note_faster_create(job.since, now.real);
        state.open += 1;
        let checkout = engine.occupy(&mut state, job.slot, entry, now, expires);
        Ok(then(&engine, &mut state, checkout))
    }

    /// Ends a create that made nothing. False if the pool had given up on it before.
    pub(crate) fn fail(self, now: Instant) -> (bool, Actions<T, F>) {
        self.fail_and_notify(now, |_| None)
    }

    /// The same, and [waits end](Engine::fail_waiters) under the same lock: between the two somebody would
    /// find the head uncovered and start another create for it.
    pub(crate) fn fail_and_notify(
        mut self,
        now: Instant,
        failure: impl FnMut(&State<T, F>) -> Option<F>,
    ) -> (bool, Actions<T, F>) {
        self.ended = true;
        let mut state = self.engine.lock();
        let attached = self.engine.release_create(&mut state, self.job);
        self.engine.notify_if_drained(&state);
        let actions = match attached {
            true => self.engine.fail_waiters(&mut state, failure, now),
            false => self.engine.settle(&mut state, now),
        };
        (attached, actions)
    }
}

impl<T: Send + 'static, F: Send + 'static> Drop for Permit<T, F> {
    fn drop(&mut self) {
        if !self.ended {
            // Reached only by a permit in a letter box that nobody opened. The next event settles
            // who gets the slot.
            let mut state = self.engine.lock();
            self.engine.release_create(&mut state, self.job);
        }
    }
}

impl<T: Send + 'static, F: Send + 'static> Drop for AbandonedConnection<T, F> {
    fn drop(&mut self) {
        let mut state = self.engine.lock();
        state.abandoned -= 1;
        state.disposed += 1;
        self.engine.notify_if_drained(&state);
    }
}

impl<T: Send + 'static, F: Send + 'static> DisposePermit<T, F> {
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
    pub(crate) fn finish(self, now: Instant) -> Actions<T, F> {
        let mut state = self.engine.lock();
        state.disposed += 1;
        match state.end(self.job) {
            Some(Job { slot, .. }) => self.engine.free_slot(&mut state, slot, self.job),
            None => state.abandoned -= 1,
        }
        self.engine.notify_if_drained(&state);
        self.engine.settle(&mut state, now)
    }
}
