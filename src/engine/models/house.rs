//! A pool without hooks: the sequences of engine moves that the rest of the crate makes.

use super::super::{
    Core, Effects, Engine, Leaving, Loan, Mail, Moment, Need, Permit, Retired, Ticket, Waited,
};
use super::shares::Street;
use crate::sync::{AtomicU64, MutexGuard, Ordering::Relaxed};
use std::cell::Cell;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// The fairness bound of the models that have one; their clock knows only "before" and "after" it.
const BOUND: Duration = Duration::from_secs(3600);
pub(super) const TICK: u64 = 1;

pub(super) type Lent = Loan<Entry>;
pub(super) type Outcomes = Effects<Entry, Failure>;
pub(super) type Leave = Permit<Entry, Failure>;
pub(super) type Waiter = Arc<Ticket<Entry, Failure>>;

/// What the slots hold. Whoever has it touches it; two that do so without an order between them end
/// the model.
pub(super) struct Entry {
    body: loom::cell::UnsafeCell<()>,
    pub(super) generation: u64,
    alive: Arc<AtomicUsize>,
}

impl Entry {
    pub(super) fn touch(&self) {
        self.body.with_mut(|_| ());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Closed,
    Create,
}

/// How a checkout ended.
pub(super) enum Got {
    Lent(Lent),
    TimedOut,
    Failed(Failure),
}

/// How long the head waiter may be overtaken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    Never,
    Always,
    AWhile,
}

/// Who runs a create: the thread that settled, as a pool's crew would, or the waiter it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Creates {
    Aside,
    ByWaiters,
}

pub(super) struct House {
    pub(super) engine: Arc<Engine<Entry, Failure>>,
    creates: Creates,
    /// 0 until the head waiter is due. Loom's, because it matters when a thread reads the time.
    hour: AtomicU64,
    /// How many of the next creates fail. Loom need not see it: it changes in creates only, and no
    /// model has two at once of which one is to fail.
    failing: AtomicUsize,
    pub(super) alive: Arc<AtomicUsize>,
    /// Where it shares its slots.
    pub(super) street: Option<Arc<Street>>,
}

fn at(hour: u64) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START + BOUND * u32::from(hour > 0)
}

impl House {
    pub(super) fn new(max_size: usize, bound: Bound) -> Arc<Self> {
        Self::with(max_size, bound, Creates::Aside)
    }

    pub(super) fn with(max_size: usize, bound: Bound, creates: Creates) -> Arc<Self> {
        Self::on(None, max_size, bound, creates)
    }

    pub(super) fn on(
        street: Option<Arc<Street>>,
        max_size: usize,
        bound: Bound,
        creates: Creates,
    ) -> Arc<Self> {
        let bound = match bound {
            Bound::Never => None,
            Bound::Always => Some(Duration::ZERO),
            Bound::AWhile => Some(BOUND),
        };
        let engine = Engine::new(
            max_size,
            2,
            bound,
            creates == Creates::ByWaiters,
            at(0),
            street.as_ref().map(|street| &street.total),
        );
        // The real table makes them when needed, behind a std::sync::OnceLock that loom cannot see.
        for slot in 0..4 {
            engine.table.get_or_make(slot);
        }
        Arc::new(Self {
            engine,
            creates,
            hour: AtomicU64::new(0),
            failing: AtomicUsize::new(0),
            alive: Arc::default(),
            street,
        })
    }

    /// A pool with this many connections, all in the caller's hands.
    pub(super) fn lending<const N: usize>(bound: Bound) -> (Arc<Self>, [Lent; N]) {
        let house = Self::new(N, bound);
        house.open(N);
        let lent = std::array::from_fn(|_| house.look().expect("there are as many"));
        (house, lent)
    }

    /// Opens connections and lets them rest; their slots are not watched.
    pub(super) fn open(&self, connections: usize) {
        for _ in 0..connections {
            if let Some(lent) = self.create(self.permit(false)) {
                self.give(lent, true);
            }
        }
    }

    pub(super) fn permit(&self, covers: bool) -> Leave {
        let need = if covers { Need::Waiter } else { Need::Spare };
        let mut core = self.engine.lock();
        let permit = self.engine.reserve(&mut core, need, at(0));
        permit.expect("there is room")
    }

    pub(super) fn fail_creates(&self, creates: usize) {
        self.failing.store(creates, Relaxed);
    }

    pub(super) fn now(&self) -> Instant {
        at(self.hour.load(Relaxed))
    }

    pub(super) fn moment(&self) -> Moment {
        Moment {
            tick: TICK,
            real: self.now(),
        }
    }

    /// An instant that the clock reaches during any wait.
    pub(super) fn soon(&self) -> Instant {
        at(1)
    }

    /// The ticket of a caller that came when the models begin.
    pub(super) fn ticket(&self) -> Waiter {
        Ticket::new(at(0))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core<Entry, Failure>> {
        self.engine.lock()
    }

    // ---- checkout ------------------------------------------------------------------------------

    /// An idle one without queueing.
    pub(super) fn look(&self) -> Option<Lent> {
        let free = self.engine.may_overtake();
        let lent = free.then(|| self.engine.take_any(TICK)).flatten()?;
        lent.entry.touch();
        Some(lent)
    }

    /// A whole checkout.
    pub(super) fn get(&self, deadline: Option<Instant>) -> Got {
        match self.look() {
            Some(lent) => Got::Lent(lent),
            None => self.line_up(deadline),
        }
    }

    /// The part of a checkout that begins when nothing was found.
    pub(super) fn line_up(&self, deadline: Option<Instant>) -> Got {
        let ticket = self.ticket();
        loop {
            let now = self.moment();
            let mut core = self.lock();
            if core.closed {
                return Got::Failed(Failure::Closed);
            }
            self.engine.join(&mut core, &ticket, now.real);
            if core.suspended {
                self.engine.publish(&mut core, now.tick);
            } else if let Some(lent) = self.engine.search(&mut core, &ticket, now.tick) {
                let effects = self.engine.leave(&mut core, &ticket, now.real);
                drop(core);
                effects.into_iter().for_each(|effects| self.run(effects));
                lent.entry.touch();
                return Got::Lent(lent);
            }
            let effects = self.engine.settle(&mut core, now.real);
            drop(core);
            self.run(effects);
            if let Some(got) = self.wait(&ticket, deadline) {
                return got;
            }
        }
    }

    /// Waits with a ticket in line. None: it has to queue again.
    pub(super) fn wait(&self, ticket: &Waiter, deadline: Option<Instant>) -> Option<Got> {
        let looks = Cell::new(0);
        let moment = || {
            // The first look is at the begin. Woken for the second time it is later by now.
            if looks.replace(looks.get() + 1) > 1 {
                self.hour.store(1, Relaxed);
            }
            self.moment()
        };
        let waited = self
            .engine
            .wait(ticket, deadline, moment, |effects| self.run(effects));
        let lent = match waited {
            Waited::TimedOut => return Some(Got::TimedOut),
            Waited::Mail(Mail::Fail(failure)) => return Some(Got::Failed(failure)),
            Waited::Mail(Mail::Permit(permit)) => self.create(permit)?,
            Waited::Mail(Mail::Loan(lent)) | Waited::Found(lent) => lent,
        };
        lent.entry.touch();
        Some(Got::Lent(lent))
    }

    // ---- check-in ------------------------------------------------------------------------------

    pub(super) fn check_in(&self, lent: Lent) {
        lent.entry.touch();
        let (slot, engine) = (lent.slot, &self.engine);
        let put = match engine.has_line() && !engine.may_pass_line(|| self.now()) {
            true => Err(lent.entry),
            false => slot.put_back(lent.entry, TICK),
        };
        if let Err(entry) = put {
            let idle_since = TICK;
            let lent = Lent {
                slot,
                entry,
                idle_since,
            };
            self.give(lent, false);
        }
    }

    /// A checkout that came to an end, one way or the other, and the check-in after it.
    pub(super) fn finish(&self, got: Got) {
        if let Got::Lent(lent) = got {
            self.check_in(lent);
        }
    }

    /// Back through the lock.
    pub(super) fn give(&self, lent: Lent, fresh: bool) {
        let generation = lent.entry.generation;
        match self.engine.give(lent, TICK, generation, fresh, self.now()) {
            Ok(effects) => self.run(effects),
            Err((retired, _)) => self.run(self.dispose(retired).finish(self.now())),
        }
    }

    pub(super) fn evict(&self, lent: Lent) {
        let leaving = self.retire(lent);
        self.run(leaving.finish(self.now()));
    }

    /// The first half of an eviction, the hook included.
    pub(super) fn retire(&self, lent: Lent) -> Leaving<Entry, Failure> {
        self.dispose(self.engine.retire(lent, self.now()))
    }

    pub(super) fn dispose(&self, retired: Retired<Entry, Failure>) -> Leaving<Entry, Failure> {
        let Retired { entry, leaving, .. } = retired;
        leaving.start(self.now(), None);
        entry.touch();
        drop(entry);
        leaving
    }

    pub(super) fn detach(&self, lent: Lent) {
        let (entry, effects) = self.engine.release(lent, self.now());
        entry.touch();
        self.run(effects);
    }

    // ---- creates -------------------------------------------------------------------------------

    pub(super) fn run(&self, mut effects: Outcomes) {
        effects.wake();
        for permit in std::mem::take(&mut effects.permits) {
            self.create(permit);
        }
        if let Some(street) = &self.street {
            street.follow(self, effects);
        }
    }

    /// A whole create. Its connection goes to the head waiter or to rest; where waiters create for
    /// themselves it is returned.
    pub(super) fn create(&self, permit: Leave) -> Option<Lent> {
        let here = self.creates == Creates::ByWaiters;
        let Some(generation) = permit.start(self.now(), None, true) else {
            self.run(permit.fail(self.now()).1);
            return None;
        };
        if self.failing.load(Relaxed) > 0 {
            self.failing.fetch_sub(1, Relaxed);
            self.run(permit.fail(self.now()).1);
            return None;
        }
        self.created(permit, generation, here)
    }

    /// The end of a create that brought a connection.
    pub(super) fn created(&self, permit: Leave, generation: u64, here: bool) -> Option<Lent> {
        let now = self.moment();
        let entry = self.entry(generation);
        let installed = permit.install(entry, now, u64::MAX, |engine, core, lent| {
            if !here {
                let given = engine.give_locked(core, lent, TICK, generation, true, now.real);
                return given.map(|effects| (None, effects));
            }
            match engine.surplus(core, generation) {
                None => Ok((Some(lent), engine.settle(core, now.real))),
                Some(surplus) => Err((engine.retire_locked(core, lent, now.real), surplus)),
            }
        });
        match installed {
            Ok(Ok((lent, effects))) => {
                self.run(effects);
                return lent;
            }
            // The end of the eviction settles what the waiter who counted on it needs.
            Ok(Err((retired, _))) => self.run(self.dispose(retired).finish(self.now())),
            Err((entry, stray)) => {
                entry.touch();
                drop(entry);
                drop(stray);
            }
        }
        None
    }

    pub(super) fn entry(&self, generation: u64) -> Box<Entry> {
        self.alive.fetch_add(1, Relaxed);
        Box::new(Entry {
            body: loom::cell::UnsafeCell::new(()),
            generation,
            alive: Arc::clone(&self.alive),
        })
    }

    // ---- the whole pool ------------------------------------------------------------------------

    pub(super) fn close(&self) {
        if let Some(effects) = self.engine.close(self.now(), || Failure::Closed) {
            self.run(effects);
            self.evict_all();
        }
    }

    pub(super) fn evict_all(&self) {
        let idle: Vec<_> = self.engine.drain(TICK).collect();
        idle.into_iter().for_each(|lent| self.evict(lent));
    }

    pub(super) fn clear(&self) {
        let generation = self.next_generation();
        self.drain_older(generation);
        self.settle();
    }

    fn settle(&self) {
        let effects = self.engine.settle(&mut self.engine.lock(), self.now());
        self.run(effects);
    }

    pub(super) fn next_generation(&self) -> u64 {
        let generation = self.engine.announce_generation(None).expect("of any");
        self.run(self.engine.begin_generation(generation, self.now()));
        generation
    }

    pub(super) fn drain_older(&self, generation: u64) {
        let idle: Vec<_> = self.engine.drain(TICK).collect();
        for lent in idle {
            if lent.entry.generation < generation {
                self.evict(lent);
            } else {
                self.give(lent, false);
            }
        }
    }

    pub(super) fn resize(&self, max_size: usize) {
        let now = self.moment();
        self.run(self.engine.resize(max_size, now.real));
        for retired in self.engine.drain_surplus(now) {
            self.run(self.dispose(retired).finish(self.now()));
        }
    }

    pub(super) fn suspend(&self, on: bool) {
        if let Some(effects) = self.engine.suspend(on, self.now()) {
            self.run(effects);
        }
    }
}
