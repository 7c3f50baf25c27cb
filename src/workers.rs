//! The threads of a pool: one collector, and a few on-demand workers that run its hooks.
//!
//! # When a thread starts
//!
//! Urgent work (a create, a check somebody waits for) always gets a thread at once: its number is
//! bounded elsewhere, by `max_creating` and by the number of connections. Other work (disposes) shares
//! [`FEW`] threads that get on with it: one that has been in the same hook for [`STALL`] counts no
//! longer and is stood in for, by who submits the next piece or by the collector. So hooks that hang
//! hold up nobody else's, while a long line of quick ones starts no more threads than a short one.
//!
//! Slow hooks are no hung ones, and 300 connections that close in 50 ms each need no 300 threads: at most
//! [`MANY`] threads do other work as long as it goes on. Only when none of it has begun or ended for
//! [`DISPOSE_SOFT_LIMIT`], [`FEW`] more start, and so on.
//!
//! A worker ends after [`LINGER`] without work. On close the idle ones end at once. If the system
//! refuses a thread, the collector does the work, and without it, where no worker is alive, the
//! thread that asked.

use crate::clock::real_now;
use crate::foreign::guarded;
use crate::sync::outer::thread::{Builder, JoinHandle, ThreadId, current};
use crate::sync::outer::{Condvar, Mutex, MutexGuard};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FEW: usize = 4;
const STALL: Duration = Duration::from_millis(5);
const MANY: usize = 16;
const DISPOSE_SOFT_LIMIT: Duration = Duration::from_millis(100);
const LINGER: Duration = Duration::from_millis(300);

type Work = Box<dyn FnOnce() + Send>;

/// What the collector tends: does what is due and says when to come again.
pub(crate) trait Collector: Send + Sync + 'static {
    fn tend(&self) -> Option<Instant>;
}

pub(crate) struct WorkerPool {
    name: Arc<str>,
    state: Mutex<State>,
    work: Condvar,
    collector: Condvar,
    gone: Condvar,
}

#[derive(Default)]
struct State {
    urgent: VecDeque<Work>,
    queue: VecDeque<Work>,
    idle: usize,
    workers: usize,
    /// When each busy worker began with what it does; the number tells apart those of one instant.
    begun: BTreeSet<(Instant, u64)>,
    pieces: u64,
    /// Busy workers that do what is not urgent.
    unhurried: usize,
    /// When one of those began or ended last.
    moved: Option<Instant>,
    collecting: bool,
    /// Pieces of pending work that the system refused a thread for.
    refused: usize,
    /// When the collector is to come at the latest.
    due: Option<Instant>,
    wake_now: bool,
    closed: bool,
    handles: Vec<JoinHandle<()>>,
    /// Callers that wait until no thread is left, and then join them.
    waiting: usize,
}

impl State {
    fn pending(&self) -> usize {
        self.urgent.len() + self.queue.len()
    }

    fn next(&mut self) -> Option<Work> {
        self.next_piece().map(|(work, _)| work)
    }

    /// The next piece of work, and whether it is urgent.
    fn next_piece(&mut self) -> Option<(Work, bool)> {
        let urgent = self.urgent.pop_front().map(|work| (work, true));
        urgent.or_else(|| self.queue.pop_front().map(|work| (work, false)))
    }

    fn begin(&mut self, urgent: bool) -> (Instant, u64) {
        self.pieces += 1;
        let now = real_now();
        let piece = (now, self.pieces);
        self.begun.insert(piece);
        if !urgent {
            self.unhurried += 1;
            self.moved = Some(now);
        }
        piece
    }

    fn end(&mut self, piece: (Instant, u64), urgent: bool) {
        self.begun.remove(&piece);
        if !urgent {
            self.unhurried -= 1;
            self.moved = Some(real_now());
        }
    }

    /// How many threads to add so that [`FEW`] get on with the queue, as far as there may be more.
    fn wanting(&self, now: Instant) -> usize {
        let stuck = (self.begun.iter()).take_while(|(since, _)| *since + STALL <= now);
        let getting_on = self.workers.saturating_sub(stuck.count());
        let wanted = FEW.saturating_sub(getting_on).min(self.queue.len());
        let most = match self.stands_still_at() {
            Some(at) if at <= now => self.unhurried + FEW,
            _ => MANY,
        };
        let free = self.workers.saturating_sub(self.begun.len());
        wanted.min(most.saturating_sub(self.unhurried + free))
    }

    /// With as many threads as there may be: when their work stands still, unless it moves before.
    fn stands_still_at(&self) -> Option<Instant> {
        let moved = self.moved.filter(|_| self.unhurried >= MANY);
        moved.map(|moved| moved + DISPOSE_SOFT_LIMIT)
    }

    /// When the collector should look at the queue again.
    fn look_again(&self, now: Instant) -> Instant {
        let soon = now + STALL;
        self.stands_still_at().map_or(soon, |at| at.max(soon))
    }
}

impl WorkerPool {
    pub(crate) fn new(name: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            name,
            state: Mutex::default(),
            work: Condvar::new(),
            collector: Condvar::new(),
            gone: Condvar::new(),
        })
    }

    /// Starts the collector.
    pub(crate) fn start(self: &Arc<Self>, pool: Arc<dyn Collector>) -> io::Result<()> {
        self.state.lock().collecting = true;
        let crew = Arc::clone(self);
        let started = self.spawn("collector", move || crew.collect(&*pool));
        if started.is_err() {
            self.state.lock().collecting = false;
        }
        started
    }

    /// Has this work done on a thread of the pool. `urgent`: somebody waits for it.
    pub(crate) fn submit(self: &Arc<Self>, urgent: bool, work: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        if urgent {
            state.urgent.push_back(Box::new(work));
        } else {
            state.queue.push_back(Box::new(work));
        }
        let now = real_now();
        // Compared with all that is pending: a worker that was woken for one piece of work may well
        // take another first.
        if state.idle >= state.pending() {
            self.work.notify_one();
        } else if urgent || state.wanting(now) > 0 {
            // Counted before the lock is free, so that the collector does not think the work is its own.
            state.workers += 1;
            drop(state);
            self.spawn_worker();
        } else {
            let due = state.look_again(now);
            self.call(&mut state, due);
        }
    }

    /// Starts a worker that is counted already; if the system refuses, the work goes to who is there.
    fn spawn_worker(self: &Arc<Self>) {
        let crew = Arc::clone(self);
        let Err(error) = self.spawn("worker", move || crew.run_worker()) else {
            return;
        };
        guarded(|| {
            tracing::warn!(target: "conpool", pool = &*self.name, %error, "no thread to be had");
        });
        let mut state = self.state.lock();
        state.workers -= 1;
        if state.collecting {
            // Other workers may be there, but who knows what they are busy with.
            state.refused += 1;
            state.wake_now = true;
            self.collector.notify_one();
            return;
        }
        while state.workers == 0 {
            let Some(work) = state.next() else { break };
            drop(state);
            guarded(work);
            state = self.state.lock();
        }
    }

    fn spawn(&self, role: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let name = format!("{}-{role}", self.name);
        let spawn = Builder::new().name(name);
        #[allow(
            clippy::disallowed_methods,
            reason = "the one place that starts threads"
        )]
        let handle = spawn.spawn(body)?;
        let mut state = self.state.lock();
        let handles = std::mem::take(&mut state.handles);
        let (ended, alive) = handles.into_iter().partition(JoinHandle::is_finished);
        state.handles = alive;
        state.handles.push(handle);
        drop(state);
        join(ended);
        Ok(())
    }

    fn run_worker(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some((work, urgent)) = state.next_piece() {
                let piece = state.begin(urgent);
                drop(state);
                guarded(work);
                state = self.state.lock();
                state.end(piece, urgent);
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let slept = self.work.wait_for(&mut state, LINGER);
            state.idle -= 1;
            if slept.timed_out() && state.pending() == 0 {
                break;
            }
        }
        state.workers -= 1;
        if state.closed {
            // It stays only while there is work left to look after.
            self.collector.notify_one();
        }
        self.leave(state);
    }

    /// What a thread does last.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        self.gone.notify_all();
        let last = state.closed && state.workers == 0 && !state.collecting;
        if last && state.waiting == 0 {
            // Perhaps nobody will ever wait, and what was not joined keeps its stack.
            let handles = std::mem::take(&mut state.handles);
            drop(state);
            join(handles);
        }
    }

    fn collect(self: &Arc<Self>, pool: &dyn Collector) {
        loop {
            let mut next = None;
            guarded(|| next = pool.tend());
            self.run_stranded();
            let mut state = self.state.lock();
            if state.closed && state.pending() == 0 {
                state.collecting = false;
                self.leave(state);
                return;
            }
            state.due = [state.due, next].into_iter().flatten().min();
            while !(state.wake_now || state.closed && state.pending() == 0) {
                match state.due {
                    None => self.collector.wait(&mut state),
                    Some(due) => {
                        if self.collector.wait_until(&mut state, due).timed_out() {
                            break;
                        }
                    }
                }
            }
            state.wake_now = false;
            state.due = None;
        }
    }

    /// Looks after work that got no thread.
    fn run_stranded(self: &Arc<Self>) {
        let mut state = self.state.lock();
        while state.workers == 0 || state.refused > 0 {
            let Some(work) = state.next() else { break };
            state.refused = state.refused.saturating_sub(1);
            drop(state);
            guarded(work);
            state = self.state.lock();
        }
        state.refused = 0;
        if state.queue.is_empty() {
            return;
        }
        let now = real_now();
        let more = match state.idle {
            0 => state.wanting(now),
            _ => 0,
        };
        let due = match more {
            0 => state.look_again(now),
            _ => now + STALL,
        };
        self.call(&mut state, due);
        state.workers += more;
        drop(state);
        (0..more).for_each(|_| self.spawn_worker());
    }

    /// The collector should come at `due`, at the latest.
    pub(crate) fn wake_by(&self, due: Instant) {
        self.call(&mut self.state.lock(), due);
    }

    fn call(&self, state: &mut State, due: Instant) {
        if state.due.is_none_or(|planned| due < planned) {
            state.due = Some(due);
            self.collector.notify_one();
        }
    }

    /// The collector should come now. False once it is gone for good.
    pub(crate) fn wake(&self) -> bool {
        let mut state = self.state.lock();
        state.wake_now = true;
        self.collector.notify_one();
        !state.closed
    }

    /// Lets every thread end as soon as it has nothing to do.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.work.notify_all();
        self.collector.notify_all();
    }

    /// Waits until no thread is left; false at the deadline.
    pub(crate) fn wait_gone(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        state.waiting += 1;
        let mut in_time = true;
        while in_time && (state.workers > 0 || state.collecting) {
            match deadline {
                None => self.gone.wait(&mut state),
                Some(deadline) => {
                    in_time = !self.gone.wait_until(&mut state, deadline).timed_out();
                }
            }
        }
        state.waiting -= 1;
        if state.workers > 0 || state.collecting {
            return false;
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        join(handles);
        true
    }
}

/// Waits for threads that have said goodbye: what is left is the system's part of ending, some
/// microseconds, after which it may list them for some more.
fn join(handles: Vec<JoinHandle<()>>) {
    let me: ThreadId = current().id();
    let others = handles
        .into_iter()
        .filter(|handle| handle.thread().id() != me);
    for handle in others {
        // An Err would be a panic, which no thread of ours lets out; there is nothing to save.
        drop(handle.join());
    }
}

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
