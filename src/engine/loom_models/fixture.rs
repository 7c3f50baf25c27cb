//! A pool without hooks: the sequences of engine moves that the rest of the crate makes.

use super::super::{
    Actions, Checkout, CreateReason, DisposePermit, Engine, Evicted, Now, Outcome, Permit, State,
    WaitResult, Waiter,
};
use super::shared_limit::Group;
use crate::sync::{AtomicU64, MutexGuard, Ordering::Relaxed};
use std::cell::Cell;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// The fairness bound of the models that have one; their clock knows only "before" and "after" it.
const BOUND: Duration = Duration::from_secs(3600);
pub(super) const TICK: u64 = 1;

pub(super) type HeldEntry = Checkout<Entry>;
pub(super) type Outcomes = Actions<Entry, Failure>;
pub(super) type Leave = Permit<Entry, Failure>;
pub(super) type WaiterRef = Arc<Waiter<Entry, Failure>>;

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
    Lent(HeldEntry),
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

pub(super) struct Fixture {
    pub(super) engine: Arc<Engine<Entry, Failure>>,
    creates: Creates,
    /// 0 until the head waiter is due. Loom's, because it matters when a thread reads the time.
    hour: AtomicU64,
    /// How many of the next creates fail. Loom need not see it: it changes in creates only, and no
    /// model has two at once of which one is to fail.
    failing: AtomicUsize,
    pub(super) alive: Arc<AtomicUsize>,
    /// Where it shares its slots.
    pub(super) group: Option<Arc<Group>>,
}

fn at(hour: u64) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START + BOUND * u32::from(hour > 0)
}

impl Fixture {
    pub(super) fn new(max_size: usize, bound: Bound) -> Arc<Self> {
        Self::with(max_size, bound, Creates::Aside)
    }

    pub(super) fn with(max_size: usize, bound: Bound, creates: Creates) -> Arc<Self> {
        Self::on(None, max_size, bound, creates)
    }

    pub(super) fn on(
        group: Option<Arc<Group>>,
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
            group.as_ref().map(|group| &group.total),
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
            group,
        })
    }

    /// A pool with this many connections, all in the caller's hands.
    pub(super) fn lending<const N: usize>(bound: Bound) -> (Arc<Self>, [HeldEntry; N]) {
        let fixture = Self::new(N, bound);
        fixture.open(N);
        let held = std::array::from_fn(|_| fixture.look().expect("there are as many"));
        (fixture, held)
    }

    /// Opens connections and lets them rest; their slots are not watched.
    pub(super) fn open(&self, connections: usize) {
        for _ in 0..connections {
            if let Some(held) = self.create(self.permit(false)) {
                self.give(held, true);
            }
        }
    }

    pub(super) fn permit(&self, covers: bool) -> Leave {
        let need = if covers {
            CreateReason::Waiter
        } else {
            CreateReason::Spare
        };
        let mut state = self.engine.lock();
        let permit = self.engine.reserve_create(&mut state, need, at(0));
        permit.expect("there is room")
    }

    pub(super) fn fail_creates(&self, creates: usize) {
        self.failing.store(creates, Relaxed);
    }

    pub(super) fn now(&self) -> Instant {
        at(self.hour.load(Relaxed))
    }

    pub(super) fn moment(&self) -> Now {
        Now {
            tick: TICK,
            real: self.now(),
        }
    }

    /// An instant that the clock reaches during any wait.
    pub(super) fn soon(&self) -> Instant {
        at(1)
    }

    /// The ticket of a caller that came when the models begin.
    pub(super) fn waiter(&self) -> WaiterRef {
        Waiter::new(at(0))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<Entry, Failure>> {
        self.engine.lock()
    }

    // ---- checkout ------------------------------------------------------------------------------

    /// An idle one without queueing.
    pub(super) fn look(&self) -> Option<HeldEntry> {
        let free = self.engine.may_barge();
        let held = free.then(|| self.engine.take_idle(TICK)).flatten()?;
        held.entry.touch();
        Some(held)
    }

    /// A whole checkout.
    pub(super) fn get(&self, deadline: Option<Instant>) -> Got {
        match self.look() {
            Some(held) => Got::Lent(held),
            None => self.line_up(deadline),
        }
    }

    /// The part of a checkout that begins when nothing was found.
    pub(super) fn line_up(&self, deadline: Option<Instant>) -> Got {
        let waiter = self.waiter();
        loop {
            let now = self.moment();
            let mut state = self.lock();
            if state.closed {
                return Got::Failed(Failure::Closed);
            }
            self.engine.enqueue(&mut state, &waiter, now.real);
            if state.suspended {
                self.engine.mark_all_slots(&mut state, now.tick);
            } else if let Some(held) = self.engine.search(&mut state, &waiter, now.tick) {
                let actions = self.engine.dequeue(&mut state, &waiter, now.real);
                drop(state);
                actions.into_iter().for_each(|actions| self.run(actions));
                held.entry.touch();
                return Got::Lent(held);
            }
            let actions = self.engine.settle(&mut state, now.real);
            drop(state);
            self.run(actions);
            if let Some(got) = self.wait(&waiter, deadline) {
                return got;
            }
        }
    }

    /// Waits with a ticket in line. None: it has to queue again.
    pub(super) fn wait(&self, waiter: &WaiterRef, deadline: Option<Instant>) -> Option<Got> {
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
            .wait(waiter, deadline, moment, |actions| self.run(actions));
        let held = match waited {
            WaitResult::TimedOut => return Some(Got::TimedOut),
            WaitResult::Outcome(Outcome::Fail(failure)) => return Some(Got::Failed(failure)),
            WaitResult::Outcome(Outcome::Permit(permit)) => self.create(permit)?,
            WaitResult::Outcome(Outcome::Checkout(held)) | WaitResult::Found(held) => held,
        };
        held.entry.touch();
        Some(Got::Lent(held))
    }

    // ---- check-in ------------------------------------------------------------------------------

    pub(super) fn check_in(&self, held: HeldEntry) {
        held.entry.touch();
        let (slot, engine) = (held.slot, &self.engine);
        let put = match engine.has_waiters() && !engine.may_skip_handoff(|| self.now()) {
            true => Err(held.entry),
            false => slot.try_return(held.entry, TICK),
        };
        if let Err(entry) = put {
            let idle_since = TICK;
            let held = HeldEntry {
                slot,
                entry,
                idle_since,
            };
            self.give(held, false);
        }
    }

    /// A checkout that came to an end, one way or the other, and the check-in after it.
    pub(super) fn finish(&self, got: Got) {
        if let Got::Lent(held) = got {
            self.check_in(held);
        }
    }

    /// Back through the lock.
    pub(super) fn give(&self, held: HeldEntry, fresh: bool) {
        let generation = held.entry.generation;
        match self
            .engine
            .return_entry(held, TICK, generation, fresh, self.now())
        {
            Ok(actions) => self.run(actions),
            Err((evicted, _)) => self.run(self.dispose(evicted).finish(self.now())),
        }
    }

    pub(super) fn evict(&self, held: HeldEntry) {
        let leaving = self.retire(held);
        self.run(leaving.finish(self.now()));
    }

    /// The first half of an eviction, the hook included.
    pub(super) fn retire(&self, held: HeldEntry) -> DisposePermit<Entry, Failure> {
        self.dispose(self.engine.begin_dispose(held, self.now()))
    }

    pub(super) fn dispose(
        &self,
        evicted: Evicted<Entry, Failure>,
    ) -> DisposePermit<Entry, Failure> {
        let Evicted { entry, leaving, .. } = evicted;
        leaving.start(self.now(), None);
        entry.touch();
        drop(entry);
        leaving
    }

    pub(super) fn detach(&self, held: HeldEntry) {
        let (entry, actions) = self.engine.detach(held, self.now());
        entry.touch();
        self.run(actions);
    }

    // ---- creates -------------------------------------------------------------------------------

    pub(super) fn run(&self, mut actions: Outcomes) {
        actions.wake();
        for permit in std::mem::take(&mut actions.permits) {
            self.create(permit);
        }
        if let Some(group) = &self.group {
            group.follow(self, actions);
        }
    }

    /// A whole create. Its connection goes to the head waiter or to rest; where waiters create for
    /// themselves it is returned.
    pub(super) fn create(&self, permit: Leave) -> Option<HeldEntry> {
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
    pub(super) fn created(&self, permit: Leave, generation: u64, here: bool) -> Option<HeldEntry> {
        let now = self.moment();
        let entry = self.entry(generation);
        let installed = permit.install(entry, now, u64::MAX, |engine, state, held| {
            if !here {
                let given = engine.return_locked(state, held, TICK, generation, true, now.real);
                return given.map(|actions| (None, actions));
            }
            match engine.reject_reason(state, generation) {
                None => Ok((Some(held), engine.settle(state, now.real))),
                Some(surplus) => Err((engine.begin_dispose_locked(state, held, now.real), surplus)),
            }
        });
        match installed {
            Ok(Ok((held, actions))) => {
                self.run(actions);
                return held;
            }
            // The end of the eviction settles what the waiter who counted on it needs.
            Ok(Err((evicted, _))) => self.run(self.dispose(evicted).finish(self.now())),
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
        if let Some(actions) = self.engine.close(self.now(), || Failure::Closed) {
            self.run(actions);
            self.evict_all();
        }
    }

    pub(super) fn evict_all(&self) {
        let idle: Vec<_> = self.engine.take_all(TICK).collect();
        idle.into_iter().for_each(|held| self.evict(held));
    }

    pub(super) fn clear(&self) {
        let generation = self.next_generation();
        self.drain_older(generation);
        self.settle();
    }

    fn settle(&self) {
        let actions = self.engine.settle(&mut self.engine.lock(), self.now());
        self.run(actions);
    }

    pub(super) fn next_generation(&self) -> u64 {
        let generation = self.engine.announce_generation(None).expect("of any");
        self.run(self.engine.begin_generation(generation, self.now()));
        generation
    }

    pub(super) fn drain_older(&self, generation: u64) {
        let idle: Vec<_> = self.engine.take_all(TICK).collect();
        for held in idle {
            if held.entry.generation < generation {
                self.evict(held);
            } else {
                self.give(held, false);
            }
        }
    }

    pub(super) fn resize(&self, max_size: usize) {
        let now = self.moment();
        self.run(self.engine.resize(max_size, now.real));
        for evicted in self.engine.evict_excess(now) {
            self.run(self.dispose(evicted).finish(self.now()));
        }
    }

    pub(super) fn suspend(&self, on: bool) {
        if let Some(actions) = self.engine.suspend(on, self.now()) {
            self.run(actions);
        }
    }
}
