//! Resumes: jobs of a moment that may turn out to be long.
//!
//! A closure that is woken has a connection, or an error that only must be told. Hundreds may be woken at once by errors,
//! and need no hundred threads: one thread takes them in turn. A resume that turns out to be long passes the rest on.

use super::own_job::{self, Work};
use super::threads::STUCK_AFTER;
use super::workers::WorkerPool;
use crate::clock::real_now;
use crate::foreign::guarded;
use std::sync::Arc;

impl WorkerPool {
    /// Runs this job soon, in turn with others of its kind.
    pub(crate) fn resume(self: &Arc<Self>, work: impl FnOnce() + Send + 'static) {
        let work = Box::new(work);
        let now = real_now();
        let mut state = self.state.lock();
        self.resumes.send(work);
        if state.resuming.is_some() {
            // A hook that hangs in that worker must not hold up the others.
            self.set_due(&mut state, now + STUCK_AFTER);
            return;
        }
        state.resuming = Some(now);
        drop(state);
        self.submit_turn();
    }

    /// The job of this thread will be long: another thread takes the resumes that are pending.
    pub(crate) fn pass_on_resumes(self: &Arc<Self>) {
        if !own_job::set_resuming(false) {
            return;
        }
        let mut state = self.state.lock();
        state.resuming = (!self.resumes.receiver.is_empty()).then(real_now);
        if state.resuming.is_some() {
            drop(state);
            self.submit_turn();
        }
    }

    /// Starts another turn if a worker has been at one resume for long.
    pub(super) fn replace_stuck_turn(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if self.resumes.receiver.is_empty() {
            return;
        }
        let now = real_now();
        let stuck = (state.resuming).is_none_or(|since| since + STUCK_AFTER <= now);
        self.set_due(&mut state, now + STUCK_AFTER);
        if stuck {
            state.resuming = Some(now);
            drop(state);
            self.submit_turn();
        }
    }

    fn submit_turn(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        self.submit(true, move || pool.run_resumes());
    }

    /// Runs the resumes that are pending, until none is left or one passes the rest on.
    fn run_resumes(self: &Arc<Self>) {
        own_job::set_resuming(true);
        while let Some(work) = self.next_resume() {
            guarded(work);
            if !own_job::is_resuming() {
                return;
            }
        }
        own_job::set_resuming(false);
    }

    fn next_resume(&self) -> Option<Work> {
        let mut state = self.state.lock();
        let next = self.resumes.receiver.try_recv().ok();
        state.resuming = next.is_some().then(real_now);
        next
    }
}
