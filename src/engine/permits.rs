//! Permits: values that each hold a slot and free that slot on every way out.

use super::counts::Job;
use super::slot::Checkout;
use super::{Actions, Engine, Now, State};
use std::sync::Arc;
use std::time::Instant;

/// A permit to create one connection. The permit holds a slot until [`install`](Self::install) fills the
/// slot or the permit is dropped.
#[must_use = "a permit that is dropped frees its slot"]
pub(crate) struct Permit<T: Send + 'static, F: Send + 'static> {
    engine: Arc<Engine<T, F>>,
    job: u64,
    ended: bool,
}

/// A token for a connection whose create was abandoned before it returned.
///
/// The connection holds no slot and must be disposed. Drop this token after the dispose: the drop counts the
/// connection as disposed.
#[must_use = "dropping this counts the abandoned connection as disposed"]
pub(crate) struct AbandonedConnection<T: Send + 'static, F: Send + 'static> {
    engine: Arc<Engine<T, F>>,
}

/// A permit to dispose one connection, whose slot stays taken until the dispose has returned.
#[must_use = "the slot stays taken until this is finished"]
pub(crate) struct DisposePermit<T: Send + 'static, F: Send + 'static> {
    engine: Arc<Engine<T, F>>,
    job: u64,
    ended: bool,
}

impl<T: Send + 'static, F: Send + 'static> Permit<T, F> {
    pub(super) fn new(engine: Arc<Engine<T, F>>, job: u64) -> Self {
        Self {
            engine,
            job,
            ended: false,
        }
    }

    /// Returns the id of the create job.
    pub(crate) fn job(&self) -> u64 {
        self.job
    }

    /// Starts the create and returns the generation of its connection.
    ///
    /// None if the pool is closed or suspended, if the create was abandoned, or if no waiter relies on the
    /// create and `wanted` is false.
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
        // A create that starts after a clear belongs to the new generation, whenever it was reserved.
        job.generation = generation;
        Some(generation)
    }

    /// Puts the new connection into the slot and runs `then` with its checkout under the same lock.
    ///
    /// One lock is necessary: between the end of a create and the hand-off of its connection, another thread
    /// could find a waiter without a job and start another create. If the pool abandoned this create, the
    /// connection comes back as an abandoned connection.
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

    /// Ends a create that produced no connection. False if the pool had abandoned the create before.
    pub(crate) fn fail(self, now: Instant) -> (bool, Actions<T, F>) {
        self.fail_and_notify(now, |_| None)
    }

    /// Ends a create that produced no connection and [fails waiters](Engine::fail_waiters) under one lock.
    /// False if the pool had abandoned the create before.
    ///
    /// One lock is necessary: between the two steps another thread would find the head without a job and
    /// start another create for it.
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
            // Only a permit in an outcome that no waiter took is dropped before it ended. The next event
            // settles which waiter gets the slot.
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
        Self {
            engine,
            job,
            ended: false,
        }
    }

    /// Records the start of the dispose.
    pub(crate) fn start(&self, now: Instant, deadline: Option<Instant>) {
        if let Some(job) = self.engine.lock().job_mut(self.job) {
            job.started = true;
            job.since = now;
            job.deadline = deadline;
        }
    }

    /// Frees the slot after the dispose has returned, and settles.
    pub(crate) fn finish(mut self, now: Instant) -> Actions<T, F> {
        self.ended = true;
        let mut state = self.engine.lock();
        self.end(&mut state);
        self.engine.settle(&mut state, now)
    }

    fn end(&self, state: &mut State<T, F>) {
        state.disposed += 1;
        match state.end(self.job) {
            Some(Job { slot, .. }) => self.engine.free_slot(state, slot, self.job),
            None => state.abandoned -= 1,
        }
        self.engine.notify_if_drained(state);
    }
}

impl<T: Send + 'static, F: Send + 'static> Drop for DisposePermit<T, F> {
    fn drop(&mut self) {
        if !self.ended {
            // The dispose never ran, and the next event settles which waiter gets the slot.
            let mut state = self.engine.lock();
            self.end(&mut state);
        }
    }
}
