//! The counts: how many connections are in each state, and whether another one may be opened.
//!
//! Every count changes under the engine's lock only, together with the move it describes, so the sums hold
//! whenever the lock is free. Idle connections and connections in use have no count of their own, because a
//! fast cycle would then write a shared number. Their numbers are read from the slots' stamps.

use super::growth::Growth;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

/// How much later than expected a create may be before the pool starts another one for its waiter.
///
/// The slack is a little longer than a busy machine may take to schedule a thread. A create that is late by
/// less is not replaced, because the replacement would be opened in vain.
const SLACK: Duration = Duration::from_millis(50);

/// How many background checks run at once. Each has a thread.
pub(crate) const BACKGROUND_CHECKS: usize = 4;

/// How long a waiter relies on a check. After this time the pool looks for another connection for the
/// waiter while the check goes on.
pub(crate) const CHECK_SOFT_LIMIT: Duration = Duration::from_millis(100);

/// The purpose of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckFor {
    /// A waiter relies on the check until this soft deadline.
    Waiter(Option<Instant>),
    /// The pool itself needs the check. A waiter that comes meanwhile relies on the check instead of opening
    /// a connection.
    Pool,
    /// A closure of the user inspects the connection. No waiter relies on the inspection.
    Inspect,
    /// The connection is reset after its check-in. A waiter that comes meanwhile relies on the reset, as on a check for
    /// the pool, and any number of resets may run at once.
    Reset,
}

/// A hook that runs or is about to run, and the slot that the hook occupies.
#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the flags of a job are independent of each other"
)]
pub(crate) struct Job {
    pub(crate) kind: JobKind,
    pub(crate) slot: u32,
    /// The id of the connection. Used by checks only; 0 for other jobs.
    pub(crate) connection: u64,
    pub(crate) since: Instant,
    /// When the hook's timeout ends. None: the hook has not started or has no timeout.
    pub(crate) deadline: Option<Instant>,
    pub(crate) started: bool,
    /// True while a waiter relies on the job.
    pub(crate) has_waiter: bool,
    /// The time from which on no waiter relies on the job, because the job takes suspiciously long.
    pub(crate) soft_deadline: Option<Instant>,
    /// A create's generation is the pool's at its start. A check's generation is that of its connection.
    pub(crate) generation: u64,
    /// A check that no caller asked for.
    pub(crate) background: bool,
    /// The hook is `reset`.
    pub(crate) is_reset: bool,
}

/// Facts about a connection that must be known while its box is in a hook.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opened {
    pub(crate) tick: u64,
    /// The id of the connection. 0 until the pool has told the id.
    pub(crate) connection: u64,
    /// The slot's use count when the connection was opened.
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
    /// How many connections may be idle after a check-in. None: no limit.
    pub(crate) max_idle: Option<usize>,
    /// Connections that are idle or in use.
    pub(crate) open: usize,
    pub(crate) creating: usize,
    pub(crate) disposing: usize,
    pub(crate) abandoned: usize,
    /// Connections that are in a check, for a caller or in the background.
    pub(crate) checking: usize,
    pub(crate) created: u64,
    pub(crate) added: u64,
    pub(crate) disposed: u64,
    pub(crate) detached: u64,
    pub(crate) generation: u64,
    /// The latest generation that a clear has announced: the present one, or one that is about to begin.
    pub(super) announced_generation: u64,
    pub(crate) closed: bool,
    pub(crate) suspended: bool,
    /// The maximum number of creates in flight at once.
    pub(crate) max_creating: usize,
    /// The earliest time of the next create while the queue is empty.
    pub(crate) paused_until: Option<Instant>,
    /// The earliest time of the next create while the queue has waiters. Never later than `paused_until`.
    pub(crate) paused_for_waiters_until: Option<Instant>,
    /// Creates have failed, and none has succeeded since.
    pub(crate) failing: bool,
    pub(crate) growth: Growth,
    /// How long waiters rely on a create after a later create finished first, beyond twice the duration of
    /// that later create.
    pub(crate) slack: Duration,
    /// The number of jobs that a waiter relies on.
    with_waiter: usize,
    /// The number of background checks.
    background: usize,
    resetting: usize,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    /// The slots whose connections were interrupted and have not come back.
    pub(super) interrupted: BTreeSet<u32>,
    vacant: BinaryHeap<Reverse<u32>>,
    next_slot: u32,
    /// Facts about the present or last connection, by slot.
    opened: Vec<Opened>,
}

impl Counts {
    pub(super) fn new(max_size: usize, max_creating: usize) -> Self {
        Self {
            max_size,
            max_idle: None,
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
            growth: Growth::default(),
            slack: SLACK,
            with_waiter: 0,
            background: 0,
            resetting: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            interrupted: BTreeSet::new(),
            vacant: BinaryHeap::new(),
            next_slot: 0,
            opened: Vec::new(),
        }
    }

    /// Returns how many connections are idle, in use or being created.
    pub(crate) fn size(&self) -> usize {
        self.open + self.creating
    }

    /// Returns how many slots are taken: size, plus the connections being disposed.
    pub(crate) fn taken(&self) -> usize {
        self.size() + self.disposing
    }

    pub(crate) fn has_room(&self) -> bool {
        self.taken() < self.max_size
    }

    /// Whether there are more connections than `max_size`, which happens after a shrink. Connections being
    /// disposed do not count here; they only prevent new creates.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.size() > self.max_size
    }

    /// Whether no connection of the pool is left, neither in a slot nor in a hook.
    pub(crate) fn is_drained(&self) -> bool {
        self.taken() + self.abandoned == 0
    }

    /// Returns how many hooks run, including abandoned ones.
    pub(crate) fn hooks_running(&self) -> usize {
        self.creating + self.disposing + self.checking + self.abandoned
    }

    /// Returns how many slots were ever taken. All slots from this index on are vacant.
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

    pub(super) fn record_opened(&mut self, slot: u32, opened: Opened) {
        let slot = slot as usize;
        if self.opened.len() <= slot {
            self.opened.resize(slot + 1, Opened::default());
        }
        self.opened[slot] = opened;
    }

    pub(crate) fn set_connection(&mut self, slot: u32, id: u64) {
        if let Some(opened) = self.opened.get_mut(slot as usize) {
            opened.connection = id;
        }
    }

    /// Returns the facts about the present or last connection of this slot.
    pub(crate) fn opened_in(&self, slot: u32) -> Opened {
        self.opened.get(slot as usize).copied().unwrap_or_default()
    }

    /// Makes a slot available to [`claim_slot`](Self::claim_slot). Called by
    /// [`Engine::free_slot`](super::Engine::free_slot) only.
    pub(super) fn vacate(&mut self, slot: u32) {
        self.interrupted.remove(&slot);
        self.vacant.push(Reverse(slot));
    }

    pub(super) fn begin(&mut self, job: Job) -> u64 {
        self.next_job += 1;
        match job.kind {
            JobKind::Create => self.creating += 1,
            JobKind::Check => self.checking += 1,
            JobKind::Dispose => self.disposing += 1,
        }
        self.with_waiter += usize::from(job.has_waiter);
        self.background += usize::from(job.background);
        self.resetting += usize::from(job.is_reset);
        self.jobs.insert(self.next_job, job);
        self.next_job
    }

    /// Ends a job. None if the job was abandoned before.
    pub(super) fn end(&mut self, id: u64) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        match job.kind {
            JobKind::Create => self.creating -= 1,
            JobKind::Check => self.checking -= 1,
            JobKind::Dispose => self.disposing -= 1,
        }
        self.with_waiter -= usize::from(job.has_waiter);
        self.background -= usize::from(job.background);
        self.resetting -= usize::from(job.is_reset);
        Some(job)
    }

    /// Abandons a job past its deadline. The caller must free its slot; its hook keeps running.
    ///
    /// None if the job has ended, or if too many hooks are abandoned already, so that the job must keep its
    /// slot.
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

    /// Counts the creates and checks that no waiter relies on and that will end as idle connections.
    pub(crate) fn jobs_without_waiter(&self) -> usize {
        let unassigned = |job: &&Job| job.kind != JobKind::Dispose && !job.has_waiter;
        self.jobs.values().filter(unassigned).count()
    }

    /// Returns how many jobs a waiter relies on.
    pub(crate) fn jobs_with_waiter(&self) -> usize {
        self.with_waiter
    }

    /// Counts the checks that take suspiciously long.
    pub(super) fn overdue_checks(&self, now: Instant) -> usize {
        let is_overdue = |job: &&Job| {
            job.kind == JobKind::Check && job.soft_deadline.is_some_and(|until| until <= now)
        };
        match self.checking {
            0 => 0,
            _ => self.jobs.values().filter(is_overdue).count(),
        }
    }

    /// Whether a background check may begin. `another_idle` tells whether another connection stays idle
    /// meanwhile.
    pub(crate) fn may_check(&self, another_idle: impl FnOnce() -> bool) -> bool {
        self.background == 0 || self.background < BACKGROUND_CHECKS && another_idle()
    }

    /// Assigns a waiter to a background check or a reset and returns its soft deadline. None if none can serve a waiter.
    pub(super) fn assign_check(&mut self, now: Instant) -> Option<Instant> {
        if self.background + self.resetting == 0 {
            return None;
        }
        let generation = self.generation;
        self.jobs.values_mut().find_map(|job| {
            let serves = job.background || job.is_reset;
            if !serves || job.has_waiter || job.generation < generation {
                return None;
            }
            let since = if job.started { job.since } else { now };
            let until = *job.soft_deadline.get_or_insert(since + CHECK_SOFT_LIMIT);
            job.has_waiter = until > now;
            self.with_waiter += usize::from(job.has_waiter);
            job.has_waiter.then_some(until)
        })
    }

    /// Releases one job from its waiter, after a waiter that relied on a job has gone.
    ///
    /// The latest job that has not started is released first, because that job need not start at all. If all
    /// have started, the oldest is released.
    pub(super) fn release_one_waiter(&mut self) {
        let not_started = self
            .jobs
            .iter()
            .rev()
            .find(|(_, job)| job.has_waiter && !job.started);
        let oldest = || self.jobs.iter().find(|(_, job)| job.has_waiter);
        if let Some(id) = not_started.or_else(oldest).map(|(id, _)| *id) {
            self.release_waiter(id);
        }
    }

    /// Releases the jobs whose soft deadline has passed from their waiters.
    pub(super) fn release_overdue(&mut self, now: Instant) {
        for job in self.jobs.values_mut() {
            if job.has_waiter && job.soft_deadline.is_some_and(|until| until <= now) {
                job.has_waiter = false;
                self.with_waiter -= 1;
            }
        }
    }

    /// Releases the jobs whose connection belongs to an earlier generation from their waiters. A create that
    /// has not started belongs to no generation yet.
    pub(super) fn release_outdated(&mut self) {
        for job in self.jobs.values_mut() {
            let outdated = job.started || job.kind == JobKind::Check;
            if job.has_waiter && outdated && job.generation < self.generation {
                job.has_waiter = false;
                self.with_waiter -= 1;
            }
        }
    }

    /// Sets a soft deadline for older creates after a create that began at `since` has ended.
    ///
    /// An older create that still runs gets twice the duration of the faster create plus the slack, counted
    /// from its own start. After that its waiter no longer relies on the older create.
    pub(super) fn note_faster_create(&mut self, since: Instant, now: Instant) {
        let allowance = now.saturating_duration_since(since) * 2 + self.slack;
        let older =
            |job: &&mut Job| job.kind == JobKind::Create && job.started && job.since < since;
        for job in self.jobs.values_mut().filter(older) {
            job.soft_deadline.get_or_insert(job.since + allowance);
        }
    }

    /// Releases this job from its waiter, if a waiter relies on the job.
    pub(super) fn release_waiter(&mut self, id: u64) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.has_waiter) {
            job.has_waiter = false;
            self.with_waiter -= 1;
        }
    }
}
