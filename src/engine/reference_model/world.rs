//! An engine, the checkouts, permits and waiters outside of it, and the reference model.

use super::super::permits::AbandonedConnection;
use super::super::{
    Actions, Caller as GetCaller, CheckId, Checkout, DisposePermit, Evicted, HEAD_DUE, Now,
    Outcome, Permit, RejectReason, ReturnResult, Waiter,
};
use super::model::{Job, Model, Place};
use super::operation::Settings;
use super::waiter::Kind;
use std::panic::Location;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// The entry of these tests. A separate type is necessary, because finished engines leave their slots to the
/// next engine of the same type.
#[derive(Debug)]
pub(super) struct Entry(pub(super) u64);

pub(super) type Engine = super::super::Engine<Entry, ()>;
pub(super) type HeldEntry = Checkout<Entry>;
pub(super) type EngineActions = Actions<Entry, ()>;
pub(super) type Returned =
    Result<(Option<HeldEntry>, EngineActions), (Evicted<Entry, ()>, RejectReason)>;

pub(super) const STEP: Duration = Duration::from_secs(1200);
pub(super) const CALLERS: usize = 6;

/// The time at which the clock starts: long ago, so that no wait of these tests lasts.
pub(super) static START: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(10_000 * STEP).expect("the clock goes back")
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Outside,
    Queued,
    /// Served; the caller has not taken the outcome yet.
    Served,
}

pub(super) struct Caller {
    pub(super) waiter: Arc<Waiter<Entry, ()>>,
    pub(super) kind: Kind,
    pub(super) state: State,
    /// The caller was woken to search and has not searched yet.
    pub(super) awake: bool,
    /// The caller was woken to take its outcome.
    pub(super) notified: bool,
    /// When the caller searches by itself.
    pub(super) alarm: Option<Instant>,
    pub(super) outcome: Option<Outcome<Entry, ()>>,
}

pub(super) struct Check {
    pub(super) id: CheckId,
    pub(super) job: u64,
    pub(super) checkout: HeldEntry,
}

pub(super) struct Dispose {
    pub(super) permit: DisposePermit<Entry, ()>,
    pub(super) job: u64,
    pub(super) entry: Box<Entry>,
}

/// An entry whose hook was abandoned. `create` is set if that hook was a create.
pub(super) struct Abandoned {
    pub(super) create: Option<AbandonedConnection<Entry, ()>>,
    pub(super) job: u64,
    pub(super) entry: Box<Entry>,
}

pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    pub(super) model: Model,
    pub(super) held: Vec<HeldEntry>,
    pub(super) permits: Vec<Permit<Entry, ()>>,
    pub(super) checks: Vec<Check>,
    pub(super) disposes: Vec<Dispose>,
    pub(super) abandoned: Vec<Abandoned>,
    pub(super) callers: [Caller; CALLERS],
    /// True if no operation since the last settling left work for the next one.
    pub(super) settled: bool,
    pub(super) entries_made: u64,
    pub(super) taken_before: usize,
}

impl Caller {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            waiter: Waiter::new(since),
            kind: Kind::Thread,
            state: State::Outside,
            awake: false,
            notified: false,
            alarm: None,
            outcome: None,
        }
    }
}

impl Caller {
    pub(super) fn task(since: Instant, deadline: Option<Instant>) -> Self {
        Self {
            waiter: Waiter::of_task(since, deadline),
            kind: Kind::Task(deadline),
            ..Self::new(since)
        }
    }
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let Settings {
            max_size,
            max_creating,
            bound,
            inline,
            fifo,
        } = settings;
        let bound = bound.map(|steps| STEP * steps);
        let now = *START;
        let engine = Engine::new(max_size, max_creating, bound, inline, now, None);
        if fifo {
            engine.use_fifo();
        }
        Self {
            engine,
            model: Model {
                now,
                max_size,
                max_idle: None,
                max_creating,
                bound,
                inline,
                fifo,
                closed: false,
                suspended: false,
                paused_until: None,
                paused_for_waiters_until: None,
                generation: 0,
                entries: Vec::new(),
                jobs: Vec::new(),
                jobs_ever: 0,
                queue: Vec::new(),
                numbers: 0,
                turns: 0,
                due: 0,
                forced_fifo_until: 0,
                served: Vec::new(),
                to_start: Vec::new(),
                created: 0,
                added: 0,
                disposed: 0,
                detached: 0,
            },
            held: Vec::new(),
            permits: Vec::new(),
            checks: Vec::new(),
            disposes: Vec::new(),
            abandoned: Vec::new(),
            callers: std::array::from_fn(|_| Caller::new(now)),
            settled: true,
            entries_made: 0,
            taken_before: 0,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.model.now
    }

    pub(super) fn tick(&self) -> u64 {
        self.now().saturating_duration_since(*START).as_secs()
    }

    pub(super) fn engine_now(&self) -> Now {
        let (tick, real) = (self.tick(), self.now());
        Now { tick, real }
    }

    pub(super) fn later(&self, steps: Option<u8>) -> Option<Instant> {
        steps.map(|steps| self.now() + STEP * u32::from(steps))
    }

    pub(super) fn new_entry(&mut self) -> Box<Entry> {
        self.entries_made += 1;
        Box::new(Entry(self.entries_made))
    }

    pub(super) fn pick_held(&mut self, which: u8) -> Option<HeldEntry> {
        pick(&mut self.held, which)
    }

    /// Picks an entry that a caller has used and gives back.
    pub(super) fn pick_used(&mut self, which: u8) -> Option<HeldEntry> {
        let checkout = self.pick_held(which)?;
        checkout.count_get(GetCaller::at(Location::caller()));
        self.model.entry(checkout.entry.0).turn = None;
        Some(checkout)
    }

    /// Picks one of the callers for which `is` holds.
    pub(super) fn caller(&self, which: u8, is: impl Fn(&Caller) -> bool) -> Option<usize> {
        let fit: Vec<_> = (0..CALLERS).filter(|at| is(&self.callers[*at])).collect();
        (!fit.is_empty()).then(|| fit[usize::from(which) % fit.len()])
    }

    // ---- the consequences of an event ----------------------------------------------------------

    /// Wakes the waiters in `actions` and takes the permits of the creates to start.
    pub(super) fn run(&mut self, mut actions: EngineActions) {
        for woken in &actions.wakes {
            let ours = |caller: &Caller| Arc::ptr_eq(&caller.waiter, woken);
            let at = self.callers.iter().position(ours).expect("one of ours");
            let mut served = self.model.served.iter();
            let caller = &mut self.callers[at];
            if served.any(|(caller, _)| *caller == at) {
                caller.notified = true;
            } else if caller.kind == Kind::Thread {
                caller.awake = true;
            } else {
                caller.notified = true;
                let outcome = woken.take_outcome().expect("a task is woken for nothing");
                let Outcome::Found(checkout) = &outcome else {
                    panic!("a task got an outcome that the model does not know");
                };
                let id = checkout.entry.0;
                woken.complete(outcome);
                self.model.serve_task(at, id);
            }
        }
        actions.wake();
        let surplus = actions.surplus;
        let permits = actions.permits;
        let begun: Vec<_> = permits.iter().map(|permit| permit.job()).collect();
        assert_eq!(begun, self.model.to_start, "creates to start");
        self.model.to_start.clear();
        self.permits.extend(permits);
        if surplus {
            self.evict_excess();
        }
    }

    pub(super) fn settle(&mut self) {
        let actions = self.engine.settle(&mut self.engine.lock(), self.now());
        self.model.settle();
        self.run(actions);
        self.settled = true;
    }

    /// Returns an entry through the lock.
    pub(super) fn return_entry(&mut self, checkout: HeldEntry, idle_since: u64, fresh: bool) {
        let id = checkout.entry.0;
        let generation = self.model.entry(id).generation;
        let now = self.now();
        let returned = self
            .engine
            .return_entry(checkout, idle_since, generation, fresh, now);
        let expected = self.model.return_entry(id, idle_since, fresh);
        self.returned(returned, expected);
    }

    pub(super) fn returned(
        &mut self,
        returned: ReturnResult<Entry, ()>,
        expected: Result<(), RejectReason>,
    ) {
        let returned = returned.map(|actions| (None, actions));
        self.apply_return(returned, expected);
    }

    pub(super) fn apply_return(&mut self, returned: Returned, expected: Result<(), RejectReason>) {
        match (returned, expected) {
            (Ok((checkout, actions)), Ok(())) => {
                self.run(actions);
                self.held.extend(checkout);
            }
            (Err((evicted, reason)), Err(expected)) => {
                assert_eq!(reason, expected);
                let job = self.model.jobs_ever;
                self.begin_dispose(evicted, job);
                self.settle();
            }
            (Ok(_), Err(expected)) => panic!("accepted though {expected:?}"),
            (Err((_, reason)), Ok(())) => panic!("rejected: {reason:?}"),
        }
    }

    pub(super) fn begin_dispose(&mut self, evicted: Evicted<Entry, ()>, job: u64) {
        let Evicted { entry, permit, .. } = evicted;
        assert_eq!(self.model.entry(entry.0).place, Place::Disposing);
        self.disposes.push(Dispose { permit, job, entry });
    }

    pub(super) fn evict(&mut self, checkout: HeldEntry) {
        let job = self.model.evict(checkout.entry.0);
        let evicted = self.engine.begin_dispose(checkout, self.now());
        self.begin_dispose(evicted, job);
    }

    /// Records that an idle entry was taken for a caller.
    pub(super) fn found_for_caller(&mut self, checkout: HeldEntry) {
        let first = self.model.first_idle();
        assert!(
            !self.model.fifo || first == Some(checkout.entry.0),
            "{:?} was taken before {first:?}, which became idle first",
            checkout.entry
        );
        self.found(checkout);
    }

    /// Records that an idle entry was taken.
    pub(super) fn found(&mut self, checkout: HeldEntry) {
        let id = checkout.entry.0;
        let entry = self.model.entry(id);
        assert_eq!(entry.place, Place::Idle(checkout.idle_since), "found {id}");
        assert_eq!(entry.slot, checkout.slot.index(), "the slot of {id}");
        self.model.take(id);
        self.held.push(checkout);
    }

    /// Puts a waiter to sleep, with an alarm if the waiter searches by itself later.
    pub(super) fn set_alarm(&mut self, at: usize) {
        if self.callers[at].kind != Kind::Thread {
            return;
        }
        let state = self.engine.lock();
        let waiter = &self.callers[at].waiter;
        let head = state.queue.is_head(waiter);
        let notified = state.queue.head_notified();
        let due = self.engine.gate.load(std::sync::atomic::Ordering::Relaxed) & HEAD_DUE != 0;
        let since = waiter.since();
        let due_at = self.model.bound.filter(|_| notified && !due);
        let due_at = due_at.map(|bound| since + bound);
        let pause = state.backoff_until().filter(|_| self.model.is_paused());
        let pause = pause.filter(|_| self.model.inline && state.has_room());
        drop(state);
        let alarm = due_at.into_iter().chain(pause).min();
        self.callers[at].alarm = alarm.filter(|_| head);
        self.ring_alarms();
    }

    /// Wakes the callers whose alarm is due.
    pub(super) fn ring_alarms(&mut self) {
        let now = self.now();
        for caller in &mut self.callers {
            if caller.alarm.is_some_and(|alarm| alarm <= now) {
                (caller.alarm, caller.awake) = (None, true);
            }
        }
    }

    pub(super) fn job(&self, number: u64) -> Option<&Job> {
        let job = |job: &&Job| job.number == number;
        self.model.jobs.iter().find(job)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A failed test must give no slot to another engine and change no count again, so leak the
            // engine and everything that refers to it.
            std::mem::forget(Arc::clone(&self.engine));
            std::mem::take(&mut self.permits)
                .into_iter()
                .for_each(std::mem::forget);
            std::mem::take(&mut self.abandoned)
                .into_iter()
                .for_each(std::mem::forget);
            for caller in &mut self.callers {
                std::mem::forget(caller.outcome.take());
                std::mem::forget(caller.waiter.take_outcome());
            }
        }
    }
}

pub(super) fn pick<T>(from: &mut Vec<T>, which: u8) -> Option<T> {
    let len = from.len();
    (len > 0).then(|| from.remove(usize::from(which) % len))
}
