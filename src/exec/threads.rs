//! The number of threads of a pool.
//!
//! # When a worker starts
//!
//! An urgent job (a create, a closure, or a check that a waiter relies on) gets a thread at once. `max_creating` and
//! the number of connections bound how many there are. A thread that ends its job may take the job for which another
//! thread starts; that thread then takes the next urgent job. The other jobs (disposes) share [`FEW`] threads that make
//! progress. A thread that has run one job for [`STUCK_AFTER`] is stuck and no longer counts. The thread
//! that submits the next job, or the collector, starts another one in its place. A hook that hangs therefore
//! delays no other hook, and a long queue of quick hooks starts no more threads than a short one.
//!
//! A slow hook is not a stuck one: 300 connections that close in 50 ms each need no 300 threads. At most
//! [`MANY`] threads run jobs that are not urgent while any of those jobs begins or ends. After
//! [`STANDSTILL`] without such progress, [`FEW`] more threads start, and so on.
//!
//! A job that ends with a step which may make another job ready announces its end. An urgent job that is submitted then starts no thread but waits for that worker, for at most [`STUCK_AFTER`].
//!
//! A worker ends after [`IDLE_TIMEOUT`] without a job, and at once when the pool closes. If the system
//! refuses a thread, the collector runs the job. Without a collector the submitting thread runs it, unless
//! a worker is alive.

use crate::clock::real_now;
use crate::sync::outer::thread::JoinHandle;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// One under shuttle, so that few schedules suffice to have every counted worker leave.
const FEW: usize = if cfg!(conpool_shuttle) { 1 } else { 4 };
pub(super) const STUCK_AFTER: Duration = Duration::from_millis(5);
const MANY: usize = 16;
const STANDSTILL: Duration = Duration::from_millis(100);
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_millis(300);

#[derive(Default)]
pub(super) struct State {
    /// The number of workers that wait for a job and that no submitter has claimed.
    pub(super) free: usize,
    pub(super) workers: usize,
    /// A worker takes the pending resumes, or is about to: since when it has been at the present one.
    pub(super) resuming: Option<Instant>,
    /// The number of workers that are about to end their job and to ask for the next one.
    pub(super) ending: usize,
    /// The number of workers that were started for an urgent job and have not looked for a job yet.
    pub(super) starting: usize,
    /// Since when an urgent job is pending for which no worker was started.
    pub(super) pending_since: Option<Instant>,
    /// When each busy worker began its job. The number distinguishes two jobs of one instant.
    pub(super) running: BTreeSet<(Instant, u64)>,
    /// The number of jobs begun so far.
    pub(super) jobs: u64,
    /// The number of busy workers whose job is not urgent.
    pub(super) running_rest: usize,
    /// When a job that is not urgent last began or ended.
    pub(super) progressed: Option<Instant>,
    pub(super) collecting: bool,
    /// The number of pending jobs for which the system refused a thread.
    pub(super) refused: usize,
    /// When the collector has to sweep at the latest.
    pub(super) due: Option<Instant>,
    /// True while a signal to sweep is in the channel.
    pub(super) signalled: bool,
    pub(super) closed: bool,
    pub(super) handles: Vec<JoinHandle<()>>,
    /// The number of callers that wait until every thread has ended, and then join the threads.
    pub(super) waiting: usize,
}

impl State {
    pub(super) fn begin(&mut self, urgent: bool) -> (Instant, u64) {
        self.jobs += 1;
        let now = real_now();
        let job = (now, self.jobs);
        self.running.insert(job);
        if !urgent {
            self.running_rest += 1;
            self.progressed = Some(now);
        }
        job
    }

    pub(super) fn end(&mut self, job: (Instant, u64), urgent: bool) {
        self.running.remove(&job);
        if !urgent {
            self.running_rest -= 1;
            self.progressed = Some(real_now());
        }
    }

    /// Returns how many threads to start so that [`FEW`] make progress on `queued` jobs.
    pub(super) fn missing(&self, queued: usize, now: Instant) -> usize {
        let stuck = (self.running.iter()).take_while(|(since, _)| *since + STUCK_AFTER <= now);
        let progressing = self.workers.saturating_sub(stuck.count());
        let missing = FEW.saturating_sub(progressing).min(queued);
        let most = match self.standstill_at() {
            Some(at) if at <= now => self.running_rest + FEW,
            _ => MANY,
        };
        let idle = self.workers.saturating_sub(self.running.len());
        missing.min(most.saturating_sub(self.running_rest + idle))
    }

    /// Returns when [`MANY`] busy threads count as standing still, unless a job begins or ends before. None:
    /// fewer threads are busy.
    pub(super) fn standstill_at(&self) -> Option<Instant> {
        let progressed = self.progressed.filter(|_| self.running_rest >= MANY);
        progressed.map(|progressed| progressed + STANDSTILL)
    }

    /// Returns when the collector should look for stuck workers again.
    pub(super) fn look_again(&self, now: Instant) -> Instant {
        let soon = now + STUCK_AFTER;
        self.standstill_at().map_or(soon, |at| at.max(soon))
    }

    /// Returns how many workers to start for `pending` urgent jobs, and counts them. A worker that starts or is about to
    /// end its job takes one of them, but a worker may be held up at its end.
    pub(super) fn lacking(&mut self, pending: usize, now: Instant) -> usize {
        let overdue = (self.pending_since).is_some_and(|since| since + STUCK_AFTER <= now);
        // Without a collector nobody would notice that a job is overdue.
        let ending = if overdue || !self.collecting {
            0
        } else {
            self.ending
        };
        let lacking = pending.saturating_sub(self.starting + ending);
        self.workers += lacking;
        self.starting += lacking;
        lacking
    }

    pub(super) fn all_gone(&self) -> bool {
        self.workers == 0 && !self.collecting
    }
}
