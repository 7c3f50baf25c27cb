//! The worker pool: one collector thread, and a few workers that run the hooks of a pool.
//! [`threads`](super::threads) decides how many.
//!
//! # How a job finds its worker
//!
//! A worker without a job waits on the channel `handoff`. A submitter that finds one free claims it
//! (`free -= 1`) and sends the job there, so that a claimed worker always gets exactly one message. A job
//! that no free worker takes goes to `urgent` or `rest`. Workers that finish a job receive from those two
//! under the lock, urgent jobs first.

use super::channel::Channel;
use super::own_job::{self, Work};
use super::threads::{IDLE_TIMEOUT, STUCK_AFTER, State};
use crate::clock::real_now;
use crate::foreign::guarded;
use crate::sync::outer::channel::recv_by;
use crate::sync::outer::thread::{Builder, JoinHandle, ThreadId, current};
use crate::sync::outer::{Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// The periodic work of the collector thread.
pub(crate) trait Collector: Send + Sync + 'static {
    /// Does everything that is due and returns when the next pass is due.
    fn collect(&self) -> Option<Instant>;
}

/// A message to a waiting worker.
enum Job {
    Run {
        work: Work,
        urgent: bool,
    },
    /// The pool is closed.
    End,
}

/// A message to the collector.
enum Signal {
    /// Sweep now.
    Sweep,
    /// The due time has changed, the pool was closed, or a worker of a closed pool has ended.
    Recheck,
}

pub(crate) struct WorkerPool {
    name: Arc<str>,
    pub(super) state: Mutex<State>,
    /// Messages to waiting workers.
    handoff: Channel<Job>,
    /// Urgent jobs that no free worker took. Used under the lock only.
    pub(super) urgent: Channel<Work>,
    /// Other jobs that no free worker took. Used under the lock only.
    pub(super) rest: Channel<Work>,
    /// Closures that were woken and that no thread has looked at yet. Used under the lock only.
    pub(super) resumes: Channel<Work>,
    /// Messages to the collector.
    signals: Channel<Signal>,
    /// Messages to callers of [`wait_gone`](Self::wait_gone): the last thread has ended.
    gone: Channel<()>,
}

impl WorkerPool {
    pub(crate) fn new(name: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            name,
            state: Mutex::default(),
            handoff: Channel::default(),
            urgent: Channel::default(),
            rest: Channel::default(),
            resumes: Channel::default(),
            signals: Channel::default(),
            gone: Channel::default(),
        })
    }

    /// Starts the collector.
    pub(crate) fn start(self: &Arc<Self>, collector: Arc<dyn Collector>) -> io::Result<()> {
        self.state.lock().collecting = true;
        let pool = Arc::clone(self);
        let started = self.spawn("collector", move || pool.run_collector(&*collector));
        if started.is_err() {
            self.state.lock().collecting = false;
        }
        started
    }

    // ---- jobs ----------------------------------------------------------------------------------

    /// Runs this job on a worker. `urgent`: a caller waits for the job.
    pub(crate) fn submit(self: &Arc<Self>, urgent: bool, work: impl FnOnce() + Send + 'static) {
        let work: Work = Box::new(work);
        let mut state = self.state.lock();
        if state.free > 0 {
            state.free -= 1;
            self.handoff.send(Job::Run { work, urgent });
            return;
        }
        match urgent {
            true => self.urgent.send(work),
            false => self.rest.send(work),
        }
        let now = real_now();
        if urgent {
            let lacking = state.lacking(self.urgent.receiver.len(), now);
            if lacking == 0 {
                state.pending_since.get_or_insert(now);
                self.set_due(&mut state, now + STUCK_AFTER);
            }
            drop(state);
            (0..lacking).for_each(|_| self.spawn_worker(true));
        } else if state.missing(self.rest.receiver.len(), now) > 0 {
            // Count the worker before unlock, so that the collector does not run the job as stranded.
            state.workers += 1;
            drop(state);
            self.spawn_worker(false);
        } else {
            let due = state.look_again(now);
            self.set_due(&mut state, due);
        }
    }

    /// Announces that this thread is about to end its job: an urgent job that is submitted now starts no thread but waits
    /// for this one, for at most [`STUCK_AFTER`].
    pub(crate) fn announce_end(&self) {
        if !own_job::set_ending(true) {
            self.state.lock().ending += 1;
        }
    }

    /// Takes the announcement back, because the job goes on.
    pub(crate) fn retract_end(self: &Arc<Self>) {
        if own_job::set_ending(false) {
            let mut state = self.state.lock();
            state.ending -= 1;
            self.start_lacking(state);
        }
    }

    /// Takes the next pending job, and tells whether it is urgent.
    ///
    /// The caller must hold the lock, so that a job is pending exactly as long as it is in its channel.
    pub(super) fn next_pending(&self, state: &mut State) -> Option<(Work, bool)> {
        if let Ok(work) = self.urgent.receiver.try_recv() {
            if self.urgent.receiver.is_empty() {
                state.pending_since = None;
            }
            return Some((work, true));
        }
        Some((self.rest.receiver.try_recv().ok()?, false))
    }

    fn has_pending(&self) -> bool {
        let queues = [&self.urgent, &self.rest, &self.resumes];
        queues.iter().any(|queue| !queue.receiver.is_empty())
    }

    /// Starts a worker that `workers` counts already.
    ///
    /// If the system refuses a thread, the collector runs the job. Without a collector this thread runs it,
    /// unless a worker is alive.
    pub(super) fn spawn_worker(self: &Arc<Self>, urgent: bool) {
        let pool = Arc::clone(self);
        let Err(error) = self.spawn("worker", move || pool.run_worker(urgent)) else {
            return;
        };
        guarded(|| {
            let pool = &*self.name;
            tracing::warn!(target: "conpool", pool, %error, "the system refused a new thread");
        });
        let mut state = self.state.lock();
        state.workers -= 1;
        state.starting -= usize::from(urgent);
        if state.collecting {
            // Other workers may be alive, but each may be in a hook that hangs.
            state.refused += 1;
            self.signal_sweep(&mut state);
            return;
        }
        while state.workers == 0 {
            let Some((work, _)) = self.next_pending(&mut state) else {
                break;
            };
            drop(state);
            state = self.run_job(work);
        }
        // Another thread may have left while it counted this worker.
        self.leave(state);
    }

    /// Runs a job on this thread. The caller must not hold the lock, and holds it afterwards.
    pub(super) fn run_job(&self, work: Work) -> MutexGuard<'_, State> {
        guarded(work);
        let mut state = self.state.lock();
        state.ending -= usize::from(own_job::set_ending(false));
        state
    }

    fn spawn(&self, role: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let name = format!("{}-{role}", self.name);
        let builder = Builder::new().name(name);
        #[allow(
            clippy::disallowed_methods,
            reason = "the one place that starts threads"
        )]
        let handle = builder.spawn(body)?;
        let mut state = self.state.lock();
        let handles = std::mem::take(&mut state.handles);
        let (ended, alive) = handles.into_iter().partition(JoinHandle::is_finished);
        state.handles = alive;
        state.handles.push(handle);
        drop(state);
        join(ended);
        Ok(())
    }

    fn run_worker(&self, urgent: bool) {
        let mut state = self.state.lock();
        state.starting -= usize::from(urgent);
        while let Some((work, urgent)) = self.next_job(&mut state) {
            let job = state.begin(urgent);
            drop(state);
            state = self.run_job(work);
            state.end(job, urgent);
        }
        state.workers -= 1;
        if state.closed && state.collecting {
            // The collector ends once no job can need it.
            self.signals.send(Signal::Recheck);
        }
        self.leave(state);
    }

    /// Waits for a job. None: this worker must end.
    fn next_job<'a>(&'a self, state: &mut MutexGuard<'a, State>) -> Option<(Work, bool)> {
        if let Some(job) = self.next_pending(state) {
            return Some(job);
        }
        if state.closed {
            return None;
        }
        state.free += 1;
        loop {
            let limit = real_now().checked_add(IDLE_TIMEOUT);
            let message = MutexGuard::unlocked(state, || recv_by(&self.handoff.receiver, limit));
            match message {
                Some(Job::Run { work, urgent }) => return Some((work, urgent)),
                // `missing` counts this worker until it has left, so a job may rely on it.
                Some(Job::End) => return self.next_pending(state),
                None if state.free > 0 => {
                    state.free -= 1;
                    return None;
                }
                // A submitter has claimed this worker after the timeout, so its message is in the channel.
                None => {}
            }
        }
    }

    /// Notifies the callers of [`wait_gone`](Self::wait_gone) if this was the last thread. Every thread calls
    /// this at its end.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        if !state.all_gone() {
            return;
        }
        for _ in 0..state.waiting {
            self.gone.send(());
        }
        if state.closed && state.waiting == 0 {
            // Join the threads now: a thread that is not joined keeps its stack, and perhaps no caller will
            // wait.
            let handles = std::mem::take(&mut state.handles);
            drop(state);
            join(handles);
        }
    }

    // ---- the collector -------------------------------------------------------------------------

    fn run_collector(self: &Arc<Self>, collector: &dyn Collector) {
        loop {
            let mut next = None;
            guarded(|| next = collector.collect());
            self.run_stranded();
            self.replace_stuck_turn();
            let mut state = self.state.lock();
            if state.closed && !self.has_pending() {
                state.collecting = false;
                self.leave(state);
                return;
            }
            state.due = [state.due, next].into_iter().flatten().min();
            while !(state.signalled || state.closed && !self.has_pending()) {
                let due = state.due;
                let receive = || recv_by(&self.signals.receiver, due);
                match MutexGuard::unlocked(&mut state, receive) {
                    Some(Signal::Recheck) => {}
                    Some(Signal::Sweep) | None => break,
                }
            }
            // The next sweep answers every signal that was sent before.
            while self.signals.receiver.try_recv().is_ok() {}
            state.signalled = false;
            state.due = None;
        }
    }

    /// Makes the collector sweep at `due` at the latest.
    pub(crate) fn wake_by(&self, due: Instant) {
        self.set_due(&mut self.state.lock(), due);
    }

    pub(super) fn set_due(&self, state: &mut State, due: Instant) {
        if state.due.is_none_or(|planned| due < planned) {
            state.due = Some(due);
            self.signals.send(Signal::Recheck);
        }
    }

    /// Makes the collector sweep now. False if the pool is closed.
    pub(crate) fn wake(&self) -> bool {
        let mut state = self.state.lock();
        self.signal_sweep(&mut state);
        !state.closed
    }

    fn signal_sweep(&self, state: &mut State) {
        if !std::mem::replace(&mut state.signalled, true) {
            self.signals.send(Signal::Sweep);
        }
    }

    // ---- the end -------------------------------------------------------------------------------

    /// Makes every thread end as soon as it has no work.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for _ in 0..std::mem::take(&mut state.free) {
            self.handoff.send(Job::End);
        }
        self.signals.send(Signal::Recheck);
    }

    /// Waits until every thread has ended. False at the deadline.
    pub(crate) fn wait_gone(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        state.waiting += 1;
        let mut in_time = true;
        while in_time && !state.all_gone() {
            let gone = || recv_by(&self.gone.receiver, deadline).is_some();
            in_time = MutexGuard::unlocked(&mut state, gone);
        }
        state.waiting -= 1;
        if !state.all_gone() {
            return false;
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        join(handles);
        true
    }
}

/// Joins threads that have left the pool. Only the system's part of their end remains, some microseconds.
fn join(handles: Vec<JoinHandle<()>>) {
    let me: ThreadId = current().id();
    let others = handles
        .into_iter()
        .filter(|handle| handle.thread().id() != me);
    for handle in others {
        // Every thread of the pool catches panics, so the result carries no information.
        drop(handle.join());
    }
}

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerPool")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
