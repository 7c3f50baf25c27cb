//! The engine as a list of entries, a list of jobs and a line. Every number is counted when asked for.

use super::super::{JobKind, RejectReason};
use std::time::{Duration, Instant};

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In its slot, since this tick.
    Idle(u64),
    /// With a caller, in a letter or in a check.
    Out,
    /// On its way to dispose, in its slot's place.
    DisposePermit,
    /// The pool gave up on its hook: without a slot, not disposed yet.
    AbandonedConnection,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) slot: u32,
    pub(super) generation: u64,
    pub(super) place: Place,
    /// Somebody cares about its return: it must come back through the lock.
    pub(super) awaited: bool,
    /// It came to rest while somebody stood in line, and somebody has stood there since.
    pub(super) news: bool,
}

#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each says one thing of a job, and any of them may hold with any other"
)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) kind: JobKind,
    /// A create's is known once the engine has chosen it.
    pub(super) slot: Option<u32>,
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) started: bool,
    pub(super) covers: bool,
    pub(super) patience: Option<Instant>,
    pub(super) generation: u64,
    /// A check that no caller asked for.
    pub(super) background: bool,
    /// Given up on; still here because its hook is still at work.
    pub(super) abandoned: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) caller: usize,
    pub(super) number: u64,
    pub(super) since: Instant,
}

/// What a waiter must find in its letter box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letter {
    Entry(u64),
    Permit(u64),
    Failure,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: Instant,
    pub(super) max_size: usize,
    pub(super) max_creating: usize,
    pub(super) bound: Option<Duration>,
    pub(super) inline: bool,
    pub(super) closed: bool,
    pub(super) suspended: bool,
    pub(super) paused_until: Option<Instant>,
    pub(super) paused_for_waiters_until: Option<Instant>,
    pub(super) generation: u64,
    pub(super) entries: Vec<Entry>,
    /// In the order in which they began.
    pub(super) jobs: Vec<Job>,
    pub(super) jobs_ever: u64,
    pub(super) line: Vec<Waiter>,
    pub(super) numbers: u64,
    /// The waiter that was last found to be due. It stays so.
    pub(super) due: u64,
    /// Waiters up to this number are due when their turn comes, however young.
    pub(super) due_up_to: u64,
    /// Who was served with what since the last comparison.
    pub(super) served: Vec<(usize, Letter)>,
    /// Creates that somebody has to be told to start.
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

    pub(super) fn out(&self) -> usize {
        self.placed(|place| place == Place::Out)
    }

    pub(super) fn working(&self, kind: JobKind) -> usize {
        let is = |job: &&Job| job.kind == kind && !job.abandoned;
        self.jobs.iter().filter(is).count()
    }

    pub(super) fn abandoned(&self) -> usize {
        self.jobs.iter().filter(|job| job.abandoned).count()
    }

    /// Whether something rests that nobody in line can know of unless told.
    pub(super) fn has_news(&self) -> bool {
        let news = |entry: &Entry| entry.news && matches!(entry.place, Place::Idle(_));
        self.entries.iter().any(news)
    }

    pub(super) fn covering(&self) -> usize {
        self.jobs.iter().filter(|job| job.covers).count()
    }

    pub(super) fn size(&self) -> usize {
        self.idle() + self.out() + self.working(JobKind::Create)
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

    // ---- the line ------------------------------------------------------------------------------

    /// Whether the first in line has been found to be due.
    pub(super) fn is_due(&self) -> bool {
        let head = self.line.first();
        head.is_some_and(|head| head.number == self.due)
    }

    /// Whether the first in line has waited for the bound.
    pub(super) fn is_late(&self) -> bool {
        let head = self.line.first().zip(self.bound);
        head.is_some_and(|(head, bound)| self.now.saturating_duration_since(head.since) >= bound)
    }

    pub(super) fn may_overtake(&self) -> bool {
        !self.closed && !self.suspended && !self.is_due()
    }

    /// The engine looks at the clock. A late head makes all in line due in their turn, and half as many
    /// of those who come after, unless the line is empty before.
    pub(super) fn notice(&mut self) {
        let Some(head) = self.line.first().map(|head| head.number) else {
            self.due_up_to = 0;
            return;
        };
        let late = self.is_late();
        if self.due == head || !late && head > self.due_up_to {
            return;
        }
        self.due = head;
        if late && head > self.due_up_to {
            self.due_up_to = self.numbers + self.line.len() as u64 / 2;
        }
    }

    /// Joins at the end, or, with a number from before, where it stood. Returns the number.
    pub(super) fn join(&mut self, caller: usize, number: u64, since: Instant) -> u64 {
        let number = if number == 0 {
            self.numbers += 1;
            self.numbers
        } else {
            number
        };
        self.line.push(Waiter {
            caller,
            number,
            since,
        });
        self.line.sort_by_key(|waiter| waiter.number);
        self.notice();
        number
    }

    pub(super) fn leave(&mut self, caller: usize) {
        self.line.retain(|waiter| waiter.caller != caller);
        self.settle();
    }

    pub(super) fn is_head(&self, caller: usize) -> bool {
        self.line.first().is_some_and(|head| head.caller == caller)
    }

    pub(super) fn serve(&mut self, letter: Letter) {
        let head = self.line.remove(0);
        self.served.push((head.caller, letter));
    }

    /// Takes cover from jobs that nobody waits for any more, and begins the creates that are missing.
    pub(super) fn settle(&mut self) {
        while self.covering() > self.line.len() {
            let mut counted = self.jobs.iter_mut().filter(|job| job.covers);
            // What has not started need not start. Of the others the oldest has lasted long enough.
            let planned = counted.by_ref().filter(|job| !job.started).last();
            match planned {
                Some(job) => job.covers = false,
                None => {
                    let oldest = self.jobs.iter_mut().find(|job| job.covers);
                    oldest.expect("some job covers").covers = false;
                }
            }
        }
        self.notice();
        while !self.suspended
            && !self.closed
            && self.line.len() > self.covering() + self.idle()
            && self.count_on_a_check()
        {}
        while self.line.len() > self.covering() + self.idle() && self.may_create() {
            let number = self.begin(JobKind::Create, None, !self.inline);
            if self.inline {
                self.serve(Letter::Permit(number));
                self.notice();
            } else {
                self.to_start.push(number);
            }
        }
    }

    // ---- entries -------------------------------------------------------------------------------

    pub(super) fn entry(&mut self, id: u64) -> &mut Entry {
        let found = self.entries.iter_mut().find(|entry| entry.id == id);
        found.expect("the entry exists")
    }

    pub(super) fn arrive(&mut self, id: u64, slot: u32, generation: u64) {
        self.entries.push(Entry {
            id,
            slot,
            generation,
            place: Place::Out,
            awaited: true,
            news: false,
        });
    }

    pub(super) fn take(&mut self, id: u64) {
        let entry = self.entry(id);
        assert!(matches!(entry.place, Place::Idle(_)), "{id} was not idle");
        entry.place = Place::Out;
    }

    pub(super) fn rest(&mut self, id: u64, since: u64) {
        let news = !self.line.is_empty();
        let entry = self.entry(id);
        assert_eq!(entry.place, Place::Out, "{id} was not out");
        entry.place = Place::Idle(since);
        (entry.awaited, entry.news) = (false, news);
    }

    /// Somebody has looked everywhere: what is out now must come back through the lock.
    pub(super) fn await_all(&mut self) {
        for entry in &mut self.entries {
            entry.awaited |= entry.place == Place::Out;
        }
    }

    pub(super) fn surplus(&self, generation: u64) -> Option<RejectReason> {
        match () {
            () if self.closed => Some(RejectReason::Closed),
            () if generation != self.generation => Some(RejectReason::Cleared),
            () if self.is_over() => Some(RejectReason::Shrunk),
            () => None,
        }
    }

    /// An entry comes back through the lock.
    pub(super) fn give(&mut self, id: u64, since: u64, fresh: bool) -> Result<(), RejectReason> {
        if let Some(surplus) = self.surplus(self.entries_generation(id)) {
            self.retire(id);
            return Err(surplus);
        }
        if !self.line.is_empty() && !self.suspended {
            if !fresh {
                self.notice();
            }
            if fresh || self.is_due() {
                self.serve(Letter::Entry(id));
                self.settle();
                return Ok(());
            }
        }
        self.rest(id, since);
        Ok(())
    }

    fn entries_generation(&self, id: u64) -> u64 {
        let found = self.entries.iter().find(|entry| entry.id == id);
        found.expect("the entry exists").generation
    }

    pub(super) fn retire(&mut self, id: u64) -> u64 {
        let entry = self.entry(id);
        assert_eq!(entry.place, Place::Out, "{id} was not out");
        entry.place = Place::DisposePermit;
        let slot = entry.slot;
        self.begin(JobKind::Dispose, Some(slot), false)
    }

    /// The entry is no longer the pool's.
    pub(super) fn forget(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id);
    }

    // ---- jobs ----------------------------------------------------------------------------------

    pub(super) fn begin(&mut self, kind: JobKind, slot: Option<u32>, covers: bool) -> u64 {
        self.jobs_ever += 1;
        self.jobs.push(Job {
            number: self.jobs_ever,
            kind,
            slot,
            since: self.now,
            deadline: None,
            started: false,
            covers,
            patience: None,
            generation: self.generation,
            background: false,
            abandoned: false,
        });
        self.jobs_ever
    }

    pub(super) fn job(&mut self, number: u64) -> &mut Job {
        let found = self.jobs.iter_mut().find(|job| job.number == number);
        found.expect("the job exists")
    }

    /// The hook of this job has returned, or will never run.
    pub(super) fn end(&mut self, number: u64) -> Job {
        let job = self.job(number).clone();
        self.jobs.retain(|job| job.number != number);
        job
    }

    pub(super) fn start(&mut self, number: u64, deadline: Option<Instant>) {
        let now = self.now;
        let job = self.job(number);
        if !job.abandoned {
            (job.started, job.since, job.deadline) = (true, now, deadline);
        }
    }

    /// A create that began at `since` is done: those that began before it have not got for ever.
    pub(super) fn overtake(&mut self, since: Instant) {
        let grace = 2 * self.now.saturating_duration_since(since) + Duration::from_millis(50);
        for job in &mut self.jobs {
            let create = job.kind == JobKind::Create && job.started && !job.abandoned;
            if create && job.since < since && job.patience.is_none() {
                job.patience = Some(job.since + grace);
            }
        }
    }

    /// Gives up on a job, unless too many hooks are lost already.
    pub(super) fn abandon(&mut self, number: u64) -> bool {
        if self.abandoned() >= self.max_size.max(4) {
            return false;
        }
        let job = self.job(number);
        (job.abandoned, job.covers) = (true, false);
        let (kind, slot) = (job.kind, job.slot);
        let place = match kind {
            JobKind::Create => return true,
            JobKind::Check => Place::Out,
            JobKind::Dispose => Place::DisposePermit,
        };
        let its = |entry: &&mut Entry| entry.place == place && Some(entry.slot) == slot;
        let entry = self.entries.iter_mut().find(its);
        entry.expect("it is in the hook").place = Place::AbandonedConnection;
        true
    }
}
