//! The reference model: a list of entries, a list of jobs and a wait queue. Numbers are counted on demand.

use super::super::{JobKind, RejectReason};
use super::waiter::Waiter;
use std::time::{Duration, Instant};

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In its slot, since this tick.
    Idle(u64),
    /// With a caller, in an outcome or in a check.
    Out,
    /// Being disposed. The slot stays taken.
    Disposing,
    /// The pool abandoned the hook: the entry has no slot and is not disposed yet.
    Abandoned,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) slot: u32,
    pub(super) generation: u64,
    pub(super) place: Place,
    /// The place in the order in which entries became idle. None: a caller has used the entry since, or it is new.
    pub(super) turn: Option<u64>,
    /// The slot is marked: the entry must come back through the lock.
    pub(super) marked: bool,
    /// The entry became idle while the queue had waiters, and the queue has had waiters ever since.
    pub(super) unseen: bool,
}

#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the flags of a job are independent of each other"
)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) kind: JobKind,
    /// The slot of a create is known once the engine has chosen the slot.
    pub(super) slot: Option<u32>,
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) started: bool,
    pub(super) has_waiter: bool,
    pub(super) soft_deadline: Option<Instant>,
    pub(super) generation: u64,
    /// True for a background check.
    pub(super) background: bool,
    pub(super) is_reset: bool,
    /// Abandoned by the pool, while the hook still runs.
    pub(super) abandoned: bool,
}

/// The outcome that a waiter must receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpectedOutcome {
    Entry(u64),
    Permit(u64),
    Failure,
    TimedOut,
}

#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the states and the settings of a pool are independent of each other"
)]
pub(super) struct Model {
    pub(super) now: Instant,
    pub(super) max_size: usize,
    pub(super) max_idle: Option<usize>,
    pub(super) max_creating: usize,
    pub(super) bound: Option<Duration>,
    pub(super) inline: bool,
    pub(super) fifo: bool,
    pub(super) closed: bool,
    pub(super) suspended: bool,
    pub(super) paused_until: Option<Instant>,
    pub(super) paused_for_waiters_until: Option<Instant>,
    pub(super) generation: u64,
    pub(super) entries: Vec<Entry>,
    /// The jobs in the order in which they began.
    pub(super) jobs: Vec<Job>,
    pub(super) jobs_ever: u64,
    pub(super) queue: Vec<Waiter>,
    pub(super) numbers: u64,
    pub(super) turns: u64,
    /// The number of the waiter that was last found to be due. That waiter stays due.
    pub(super) due: u64,
    /// Waiters up to this number are due as soon as they are the head, however short they have waited.
    pub(super) forced_fifo_until: u64,
    /// The callers served since the last comparison, and their outcomes.
    pub(super) served: Vec<(usize, ExpectedOutcome)>,
    /// Creates that the next actions must tell a worker to start.
    pub(super) to_start: Vec<u64>,
    pub(super) created: u64,
    pub(super) added: u64,
    pub(super) disposed: u64,
    pub(super) detached: u64,
}

impl Model {
    // ---- counts --------------------------------------------------------------------------------

    fn placed(&self, is: impl Fn(Place) -> bool) -> usize {
        self.entries.iter().filter(|entry| is(entry.place)).count()
    }

    pub(super) fn idle(&self) -> usize {
        self.placed(|place| matches!(place, Place::Idle(_)))
    }

    pub(super) fn in_use(&self) -> usize {
        self.placed(|place| place == Place::Out)
    }

    pub(super) fn working(&self, kind: JobKind) -> usize {
        let is = |job: &&Job| job.kind == kind && !job.abandoned;
        self.jobs.iter().filter(is).count()
    }

    pub(super) fn abandoned(&self) -> usize {
        self.jobs.iter().filter(|job| job.abandoned).count()
    }

    /// Whether an entry is idle that no queued waiter can know of without a notification.
    pub(super) fn has_unseen(&self) -> bool {
        let unseen = |entry: &Entry| entry.unseen && matches!(entry.place, Place::Idle(_));
        self.entries.iter().any(unseen)
    }

    pub(super) fn jobs_with_waiter(&self) -> usize {
        self.jobs.iter().filter(|job| job.has_waiter).count()
    }

    pub(super) fn size(&self) -> usize {
        self.idle() + self.in_use() + self.working(JobKind::Create)
    }

    pub(super) fn taken(&self) -> usize {
        self.size() + self.working(JobKind::Dispose)
    }

    pub(super) fn has_room(&self) -> bool {
        self.taken() < self.max_size
    }

    pub(super) fn is_over(&self) -> bool {
        self.size() > self.max_size
    }

    pub(super) fn may_create(&self) -> bool {
        let few = self.working(JobKind::Create) < self.max_creating;
        self.has_room() && few && !self.closed && !self.suspended && !self.is_paused()
    }

    pub(super) fn pause(&self) -> Option<Instant> {
        match self.queue.is_empty() {
            true => self.paused_until,
            false => self.paused_for_waiters_until,
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pause().is_some_and(|until| until > self.now)
    }

    // ---- entries -------------------------------------------------------------------------------

    pub(super) fn entry(&mut self, id: u64) -> &mut Entry {
        let found = self.entries.iter_mut().find(|entry| entry.id == id);
        found.expect("the entry exists")
    }

    pub(super) fn open(&mut self, id: u64, slot: u32, generation: u64) {
        self.entries.push(Entry {
            id,
            slot,
            generation,
            place: Place::Out,
            turn: None,
            marked: true,
            unseen: false,
        });
    }

    pub(super) fn take(&mut self, id: u64) {
        let entry = self.entry(id);
        assert!(matches!(entry.place, Place::Idle(_)), "{id} was not idle");
        entry.place = Place::Out;
    }

    pub(super) fn store(&mut self, id: u64, since: u64) {
        let unseen = !self.queue.is_empty();
        let entry = self.entry(id);
        assert_eq!(entry.place, Place::Out, "{id} was not out");
        entry.place = Place::Idle(since);
        entry.unseen = unseen;
        let (marked, next) = (self.max_idle.is_some() || self.fifo, self.turns + 1);
        let entry = self.entry(id);
        entry.marked = marked;
        self.turns = (*entry.turn.get_or_insert(next)).max(next - 1);
    }

    /// The slots that hold an entry or whose entry is in use, with its id.
    pub(super) fn in_slots(&self) -> impl Iterator<Item = (u32, u64)> {
        let present = |entry: &&Entry| matches!(entry.place, Place::Idle(_) | Place::Out);
        let entries = self.entries.iter().filter(present);
        entries.map(|entry| (entry.slot, entry.id))
    }

    pub(super) fn is_idle(&self, id: u64) -> bool {
        let entry = self.entries.iter().find(|entry| entry.id == id);
        entry.is_some_and(|entry| matches!(entry.place, Place::Idle(_)))
    }

    /// How many entries may be idle: max_idle, or one for each waiter if that is more.
    fn most_idle(&self) -> Option<usize> {
        self.max_idle.map(|most| most.max(self.queue.len()))
    }

    /// Whether more entries are idle than max_idle permits, and than waiters will take.
    pub(super) fn has_surplus(&self) -> bool {
        let surplus = self.most_idle().is_some_and(|most| self.idle() > most);
        surplus && !self.closed
    }

    /// Marks all slots, after a search of all of them: entries in use must come back through the lock.
    pub(super) fn mark_all(&mut self) {
        for entry in &mut self.entries {
            entry.marked |= entry.place == Place::Out;
        }
    }

    pub(super) fn reject_reason(&self, generation: u64) -> Option<RejectReason> {
        match () {
            () if self.closed => Some(RejectReason::Closed),
            () if generation != self.generation => Some(RejectReason::Cleared),
            () if self.is_over() => Some(RejectReason::Shrunk),
            () => None,
        }
    }

    /// Returns an entry through the lock.
    pub(super) fn return_entry(
        &mut self,
        id: u64,
        since: u64,
        fresh: bool,
    ) -> Result<(), RejectReason> {
        if let Some(reason) = self.reject_reason(self.entries_generation(id)) {
            self.evict(id);
            return Err(reason);
        }
        if !self.queue.is_empty() && !self.suspended {
            if !fresh {
                self.update_due();
            }
            if fresh || self.is_due() {
                self.hand_off(ExpectedOutcome::Entry(id));
                self.settle();
                return Ok(());
            }
        }
        let full = self.most_idle().is_some_and(|most| self.idle() >= most);
        if full {
            self.evict(id);
            return Err(RejectReason::Surplus);
        }
        self.store(id, since);
        Ok(())
    }

    fn entries_generation(&self, id: u64) -> u64 {
        let found = self.entries.iter().find(|entry| entry.id == id);
        found.expect("the entry exists").generation
    }

    pub(super) fn evict(&mut self, id: u64) -> u64 {
        let entry = self.entry(id);
        assert_eq!(entry.place, Place::Out, "{id} was not out");
        entry.place = Place::Disposing;
        let slot = entry.slot;
        self.begin(JobKind::Dispose, Some(slot), false)
    }

    /// Removes an entry that no longer belongs to the pool.
    pub(super) fn forget(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id);
    }
}
