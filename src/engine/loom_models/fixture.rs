//! A pool without hooks, which runs the sequences of engine moves that the rest of the crate makes: its
//! parts, its creates and its disposes.

use super::super::{
    Actions, Checkout, CreateReason, DisposePermit, Engine, Evicted, Now, Permit, SharedLimit,
    State, Waiter,
};
use crate::sync::{AtomicU64, MutexGuard, Ordering::Relaxed};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

/// The fairness bound of the models that have one. The models' clock is either before or after this bound.
const BOUND: Duration = Duration::from_secs(3600);
pub(super) const TICK: u64 = 1;

pub(super) type HeldEntry = Checkout<Entry>;
pub(super) type EngineActions = Actions<Entry, Failure>;
pub(super) type CreatePermit = Permit<Entry, Failure>;
pub(super) type WaiterRef = Arc<Waiter<Entry, Failure>>;

/// The entry in a slot. Each holder touches the entry, and loom ends the model if two threads do so without
/// an order between them.
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

/// When the head waiter becomes due: never, at once, or at a clock during the model.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    Never,
    Always,
    AWhile,
}

impl Bound {
    pub(super) const ALL: [Self; 3] = [Self::Never, Self::AWhile, Self::Always];
}

/// Which thread runs a create: the thread that settled, in place of a pool's worker, or the waiter that the
/// create is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CreateBy {
    Worker,
    Waiter,
}

/// The steps of one thread of a model.
pub(super) type Thread = Box<dyn FnOnce(&Fixture) + Send>;

/// The fixtures that share their slots with one another.
pub(super) trait Peers: Send + Sync {
    fn limit(&self) -> &Arc<SharedLimit<Entry, Failure>>;

    /// Runs the actions that `fixture` left to other fixtures.
    fn run_followups(&self, fixture: &Fixture, rest: EngineActions);
}

pub(super) struct Fixture {
    pub(super) engine: Arc<Engine<Entry, Failure>>,
    create_by: CreateBy,
    /// 0 until the head waiter is due. An atomic of loom, because the time of each read matters.
    time: AtomicU64,
    /// How many of the next creates fail. Hidden from loom: only creates change this number, and no model has
    /// two creates at once of which one must fail.
    failing: AtomicUsize,
    pub(super) alive: Arc<AtomicUsize>,
    /// Called when the engine must settle again later.
    settle_at: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The group that shares its slots with this fixture, if there is one.
    pub(super) group: Option<Arc<dyn Peers>>,
}

fn at(time: u64) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START + BOUND * u32::from(time > 0)
}

impl Fixture {
    pub(super) fn new(max_size: usize, bound: Bound) -> Arc<Self> {
        Self::with(max_size, bound, CreateBy::Worker)
    }

    pub(super) fn with(max_size: usize, bound: Bound, create_by: CreateBy) -> Arc<Self> {
        Self::on(None, max_size, bound, create_by)
    }

    pub(super) fn on(
        group: Option<Arc<dyn Peers>>,
        max_size: usize,
        bound: Bound,
        create_by: CreateBy,
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
            create_by == CreateBy::Waiter,
            at(0),
            group.as_ref().map(|group| group.limit()),
        );
        // The real table makes slots on demand, behind a std::sync::OnceLock that loom cannot see.
        for slot in 0..4 {
            engine.table.get_or_make(slot);
        }
        Arc::new(Self {
            engine,
            create_by,
            time: AtomicU64::new(0),
            failing: AtomicUsize::new(0),
            alive: Arc::default(),
            settle_at: OnceLock::new(),
            group,
        })
    }

    /// Creates a pool with `N` connections, all checked out by the caller.
    pub(super) fn with_checkouts<const N: usize>(bound: Bound) -> (Arc<Self>, [HeldEntry; N]) {
        let fixture = Self::new(N, bound);
        fixture.open(N);
        let held = std::array::from_fn(|_| fixture.try_get().expect("there are as many"));
        (fixture, held)
    }

    /// Creates a pool as [`with_checkouts`](Self::with_checkouts) does, in slots that are not marked
    /// RETURN_SLOW: each connection was checked in before, which is the check-in that goes through the lock.
    pub(super) fn with_unmarked_checkouts<const N: usize>(
        bound: Bound,
    ) -> (Arc<Self>, [HeldEntry; N]) {
        let (fixture, held) = Self::with_checkouts::<N>(bound);
        held.into_iter().for_each(|held| fixture.check_in(held));
        let held = std::array::from_fn(|_| fixture.try_get().expect("a connection is idle"));
        (fixture, held)
    }

    /// Runs the threads of a model and waits for all of them.
    pub(super) fn side_by_side<const N: usize>(self: &Arc<Self>, threads: [Thread; N]) {
        super::side_by_side(threads.map(|thread| -> Box<dyn FnOnce() + Send> {
            let fixture = Arc::clone(self);
            Box::new(move || thread(&fixture))
        }));
    }

    /// Opens connections and leaves them idle in slots that are not marked RETURN_SLOW.
    pub(super) fn open(&self, connections: usize) {
        for _ in 0..connections {
            if let Some(held) = self.create(self.permit(false)) {
                self.return_entry(held, true);
            }
        }
    }

    pub(super) fn permit(&self, for_waiter: bool) -> CreatePermit {
        let reason = if for_waiter {
            CreateReason::Waiter
        } else {
            CreateReason::Spare
        };
        let mut state = self.engine.lock();
        let permit = self.engine.reserve_create(&mut state, reason, at(0));
        permit.expect("there is room")
    }

    pub(super) fn fail_creates(&self, creates: usize) {
        self.failing.store(creates, Relaxed);
    }

    pub(super) fn now(&self) -> Instant {
        at(self.time.load(Relaxed))
    }

    pub(super) fn engine_now(&self) -> Now {
        Now {
            tick: TICK,
            real: self.now(),
        }
    }

    /// Moves the clock past the fairness bound and the deadlines of all waits.
    pub(super) fn pass_time(&self) {
        self.time.store(1, Relaxed);
    }

    /// Returns an instant that the clock reaches during any wait.
    pub(super) fn soon(&self) -> Instant {
        at(1)
    }

    /// Creates a waiter that has waited since the beginning of the model.
    pub(super) fn waiter(&self) -> WaiterRef {
        Waiter::new(at(0))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<Entry, Failure>> {
        self.engine.lock()
    }

    // ---- disposes ------------------------------------------------------------------------------

    pub(super) fn evict(&self, held: HeldEntry) {
        let permit = self.begin_dispose(held);
        self.run(permit.finish(self.now()));
    }

    /// Runs the first half of an eviction, including the dispose hook.
    pub(super) fn begin_dispose(&self, held: HeldEntry) -> DisposePermit<Entry, Failure> {
        self.dispose(self.engine.begin_dispose(held, self.now()))
    }

    pub(super) fn dispose(
        &self,
        evicted: Evicted<Entry, Failure>,
    ) -> DisposePermit<Entry, Failure> {
        let Evicted { entry, permit, .. } = evicted;
        permit.start(self.now(), None);
        entry.touch();
        drop(entry);
        permit
    }

    pub(super) fn detach(&self, held: HeldEntry) {
        let (entry, actions) = self.engine.detach(held, self.now());
        entry.touch();
        self.run(actions);
    }

    // ---- creates -------------------------------------------------------------------------------

    /// Calls `then` whenever the engine must settle again later.
    pub(super) fn on_settle_at(&self, then: impl Fn() + Send + Sync + 'static) {
        let first = self.settle_at.set(Box::new(then));
        assert!(first.is_ok(), "it is set already");
    }

    pub(super) fn run(&self, mut actions: EngineActions) {
        actions.wake();
        if let Some(settle_at) = self.settle_at.get().filter(|_| actions.settle_at.is_some()) {
            settle_at();
        }
        for permit in std::mem::take(&mut actions.permits) {
            self.create(permit);
        }
        if let Some(group) = &self.group {
            group.run_followups(self, actions);
        }
    }

    /// Runs a whole create. The connection goes to the head waiter or becomes idle. In a pool whose waiters
    /// run their own creates, the connection is returned to the caller.
    pub(super) fn create(&self, permit: CreatePermit) -> Option<HeldEntry> {
        let by_waiter = self.create_by == CreateBy::Waiter;
        let Some(generation) = permit.start(self.now(), None, true) else {
            self.run(permit.fail(self.now()).1);
            return None;
        };
        if self.failing.load(Relaxed) > 0 {
            self.failing.fetch_sub(1, Relaxed);
            self.run(permit.fail(self.now()).1);
            return None;
        }
        self.created(permit, generation, by_waiter)
    }

    /// Ends a create that produced a connection.
    pub(super) fn created(
        &self,
        permit: CreatePermit,
        generation: u64,
        by_waiter: bool,
    ) -> Option<HeldEntry> {
        let now = self.engine_now();
        let entry = self.entry(generation);
        let installed = permit.install(entry, now, u64::MAX, |engine, state, held| {
            if !by_waiter {
                let given = engine.return_locked(state, held, TICK, generation, true, now.real);
                return given.map(|actions| (None, actions));
            }
            match engine.reject_reason(state, generation) {
                None => Ok((Some(held), engine.settle(state, now.real))),
                Some(reason) => Err((
                    engine.begin_dispose_locked(state, held, now.real, false),
                    reason,
                )),
            }
        });
        match installed {
            Ok(Ok((held, actions))) => {
                self.run(actions);
                return held;
            }
            // The end of the eviction settles the waiter that relied on this create.
            Ok(Err((evicted, _))) => self.run(self.dispose(evicted).finish(self.now())),
            Err((entry, abandoned)) => {
                entry.touch();
                drop(entry);
                drop(abandoned);
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
}
