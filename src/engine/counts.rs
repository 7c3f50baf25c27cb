//! The counts: how many connections are where, and who may open another.
//!
//! Everything here changes under the engine's lock only, together with the move it describes, so
//! the sums hold whenever the lock is free. What is idle and what is in use is not counted: a warm
//! cycle would have to write a shared number. It is read off the slots' stamps.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

/// What a busy machine may take to give a thread its turn, and a little more: a create that is late by less
/// is not given up on for another, which would be opened in vain.
const SLACK: Duration = Duration::from_millis(50);

/// So many checks that no caller asked for run at once, and each has a thread.
pub(crate) const BACKGROUND_CHECKS: usize = 4;

/// A check that takes longer than this is not counted on any longer: its waiter looks for something else
/// meanwhile.
pub(crate) const CHECK_SOFT_LIMIT: Duration = Duration::from_millis(100);

/// What a check is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckFor {
    /// A waiter counts on it until this time.
    Waiter(Option<Instant>),
    /// The pool itself. A waiter that comes meanwhile counts on it, instead of opening a connection.
    Pool,
    /// A closure of the user's looks at the connection. No waiter counts on it.
    Inspect,
}

/// A hook at work, or about to be, with the slot it keeps.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) kind: JobKind,
    pub(crate) slot: u32,
    /// The id of the connection, 0 for one that is not there yet.
    pub(crate) connection: u64,
    pub(crate) since: Instant,
    /// When it has taken too long. None: not started, or without limit.
    pub(crate) deadline: Option<Instant>,
    pub(crate) started: bool,
    /// True while a waiter counts on it.
    pub(crate) has_waiter: bool,
    /// From then on nobody should count on it: it takes suspiciously long.
    pub(crate) soft_deadline: Option<Instant>,
    /// A create's is the pool's when it began, a check's that of its connection.
    pub(crate) generation: u64,
    /// A check that no caller asked for.
    pub(crate) background: bool,
}

/// What must be known of a connection while its box is in a hook.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opened {
    pub(crate) tick: u64,
    /// The slot's count of uses when it came.
    pub(crate) uses: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    Create,
    Check,
    Dispose,
}

#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) max_size: usize,
    /// Idle and in use.
    pub(crate) open: usize,
    pub(crate) creating: usize,
    pub(crate) disposing: usize,
    pub(crate) abandoned: usize,
    /// Connections of check jobs, for callers or not.
    pub(crate) checking: usize,
    pub(crate) created: u64,
    pub(crate) added: u64,
    pub(crate) disposed: u64,
    pub(crate) detached: u64,
    pub(crate) generation: u64,
    /// The latest generation that a clear has announced: this one, or one that is about to begin.
    pub(super) announced_generation: u64,
    pub(crate) closed: bool,
    pub(crate) suspended: bool,
    /// Creates in flight at once.
    pub(crate) max_creating: usize,
    /// No create starts before this while nobody waits.
    pub(crate) paused_until: Option<Instant>,
    /// No create starts before this while somebody waits. Never later than `paused_until`.
    pub(crate) paused_for_waiters_until: Option<Instant>,
    /// Creates have failed, and none has succeeded since.
    pub(crate) failing: bool,
    /// How long a create that was overtaken is waited for, beyond twice the time of the other one.
    pub(crate) slack: Duration,
    /// Jobs that cover a waiter.
    covering: usize,
    /// Checks that no caller asked for.
    background: usize,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    vacant: BinaryHeap<Reverse<u32>>,
    next_slot: u32,
    /// By slot: how its present or last connection began.
    opened: Vec<Opened>,
}

impl Counts {
    pub(super) fn new(max_size: usize, max_creating: usize) -> Self {
        Self {
            max_size,
            open: 0,
            creating: 0,
            disposing: 0,
            abandoned: 0,
            checking: 0,
            created: 0,
            added: 0,
            disposed: 0,
            detached: 0,
            generation: 0,
            announced_generation: 0,
            closed: false,
            suspended: false,
            max_creating,
            paused_until: None,
            paused_for_waiters_until: None,
            failing: false,
            slack: SLACK,
            covering: 0,
            background: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            vacant: BinaryHeap::new(),
            next_slot: 0,
            opened: Vec::new(),
        }
    }

    /// Idle, in use and being created.
    pub(crate) fn size(&self) -> usize {
        self.open + self.creating
    }

    /// Slots taken: size, and what is on its way out.
    pub(crate) fn taken(&self) -> usize {
        self.size() + self.disposing
    }

    pub(crate) fn has_room(&self) -> bool {
        self.taken() < self.max_size
    }

    /// After a shrink: more connections than there may be. Those already on their way out do not
    /// count here; they only keep new ones from starting.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.size() > self.max_size
    }

    /// Nothing of the pool's connections is left anywhere.
    pub(crate) fn is_drained(&self) -> bool {
        self.taken() + self.abandoned == 0
    }

    /// Hooks at work, abandoned ones included.
    pub(crate) fn hooks_running(&self) -> usize {
        self.creating + self.disposing + self.checking + self.abandoned
    }

    /// How many slots were ever taken: those behind them are vacant.
    pub(crate) fn slots(&self) -> usize {
        self.next_slot as usize
    }

    pub(super) fn claim_slot(&mut self) -> u32 {
        if let Some(Reverse(slot)) = self.vacant.pop() {
            return slot;
        }
        let slot = self.next_slot;
        self.next_slot += 1;
        slot
    }

    pub(super) fn record_opened(&mut self, slot: u32, birth: Opened) {
        let slot = slot as usize;
        if self.opened.len() <= slot {
            self.opened.resize(slot + 1, Opened::default());
        }
        self.opened[slot] = birth;
    }

    /// How the connection in this slot began.
    pub(crate) fn opened_in(&self, slot: u32) -> Opened {
        self.opened.get(slot as usize).copied().unwrap_or_default()
    }

    /// See [`Engine::free_slot`](super::Engine::free_slot).
    pub(super) fn vacate(&mut self, slot: u32) {
        self.vacant.push(Reverse(slot));
    }

    pub(super) fn begin(&mut self, job: Job) -> u64 {
        self.next_job += 1;
        match job.kind {
            JobKind::Create => self.creating += 1,
            JobKind::Check => self.checking += 1,
            JobKind::Dispose => self.disposing += 1,
        }
        self.covering += usize::from(job.has_waiter);
        self.background += usize::from(job.background);
        self.jobs.insert(self.next_job, job);
        self.next_job
    }

    /// Ends a job; None if it was abandoned before.
    pub(super) fn end(&mut self, id: u64) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        match job.kind {
            JobKind::Create => self.creating -= 1,
            JobKind::Check => self.checking -= 1,
            JobKind::Dispose => self.disposing -= 1,
        }
        self.covering -= usize::from(job.has_waiter);
        self.background -= usize::from(job.background);
        Some(job)
    }

    /// Gives up on a job past its deadline: its slot is to be freed, its thread is on its own. None if it
    /// has ended, or if there are so many abandoned hooks already that it must keep its slot.
    pub(super) fn abandon(&mut self, id: u64) -> Option<Job> {
        if self.abandoned >= self.max_size.max(4) {
            return None;
        }
        let job = self.end(id)?;
        if job.kind == JobKind::Check {
            self.open -= 1;
        }
        self.abandoned += 1;
        Some(job)
    }

    pub(super) fn job_mut(&mut self, id: u64) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    pub(crate) fn has_job(&self, id: u64) -> bool {
        self.jobs.contains_key(&id)
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = (u64, &Job)> {
        self.jobs.iter().map(|(id, job)| (*id, job))
    }

    /// Creates and checks under way that no waiter counts on: they end as idle connections.
    pub(crate) fn jobs_without_waiter(&self) -> usize {
        let spare = |job: &&Job| job.kind != JobKind::Dispose && !job.has_waiter;
        self.jobs.values().filter(spare).count()
    }

    /// Jobs that a waiter counts on.
    pub(crate) fn jobs_with_waiter(&self) -> usize {
        self.covering
    }

    /// May a check begin that no caller asked for? `rests`: another connection stays idle meanwhile.
    pub(crate) fn may_check(&self, rests: impl FnOnce() -> bool) -> bool {
        self.background == 0 || self.background < BACKGROUND_CHECKS && rests()
    }

    /// Lets a waiter count on a check that began for the pool itself; returns until when. None: there is
    /// none that can serve one.
    pub(super) fn assign_check(&mut self, now: Instant) -> Option<Instant> {
        if self.background == 0 {
            return None;
        }
        let generation = self.generation;
        self.jobs.values_mut().find_map(|job| {
            if !job.background || job.has_waiter || job.generation < generation {
                return None;
            }
            let since = if job.started { job.since } else { now };
            let until = *job.soft_deadline.get_or_insert(since + CHECK_SOFT_LIMIT);
            job.has_waiter = until > now;
            self.covering += usize::from(job.has_waiter);
            job.has_waiter.then_some(until)
        })
    }

    /// Takes the cover off one job: a waiter that counted on it is gone. Jobs that have not started
    /// go first (they need not start at all), then the oldest.
    pub(super) fn release_one_waiter(&mut self) {
        let waiting = self
            .jobs
            .iter()
            .rev()
            .find(|(_, job)| job.has_waiter && !job.started);
        let oldest = || self.jobs.iter().find(|(_, job)| job.has_waiter);
        if let Some(id) = waiting.or_else(oldest).map(|(id, _)| *id) {
            self.release_waiter(id);
        }
    }

    /// Lets nobody count any longer on jobs whose patience has run out.
    pub(super) fn release_overdue(&mut self, now: Instant) {
        for job in self.jobs.values_mut() {
            if job.has_waiter && job.soft_deadline.is_some_and(|until| until <= now) {
                job.has_waiter = false;
                self.covering -= 1;
            }
        }
    }

    /// Lets nobody count any longer on jobs whose connection belongs to an earlier generation. A create that
    /// has not started belongs to none yet.
    pub(super) fn release_outdated(&mut self) {
        for job in self.jobs.values_mut() {
            let outdated = job.started || job.kind == JobKind::Check;
            if job.has_waiter && outdated && job.generation < self.generation {
                job.has_waiter = false;
                self.covering -= 1;
            }
        }
    }

    /// A create that began at `since` has ended: older ones still at work were overtaken, and get as
    /// long again as that one took, and a little, before their waiters look for something else.
    pub(super) fn note_faster_create(&mut self, since: Instant, now: Instant) {
        let patience = now.saturating_duration_since(since) * 2 + self.slack;
        let older =
            |job: &&mut Job| job.kind == JobKind::Create && job.started && job.since < since;
        for job in self.jobs.values_mut().filter(older) {
            job.soft_deadline.get_or_insert(job.since + patience);
        }
    }

    pub(super) fn release_waiter(&mut self, id: u64) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.has_waiter) {
            job.has_waiter = false;
            self.covering -= 1;
        }
    }
}
