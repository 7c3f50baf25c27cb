//! An engine with everything that is out of it, beside the model.

use super::super::permits::AbandonedConnection;
use super::super::{
    Actions, CheckId, Checkout, DisposePermit, Evicted, HEAD_DUE, Now, Outcome, Permit,
    RejectReason, ReturnResult, Waiter,
};
use super::model::{Job, Model, Place};
use super::operation::Settings;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// A type of its own: finished engines hand their slots on to the next of the same type.
#[derive(Debug)]
pub(super) struct Entry(pub(super) u64);

pub(super) type Engine = super::super::Engine<Entry, ()>;
pub(super) type HeldEntry = Checkout<Entry>;
pub(super) type Outcomes = Actions<Entry, ()>;
pub(super) type Sent = Result<(Option<HeldEntry>, Outcomes), (Evicted<Entry, ()>, RejectReason)>;

pub(super) const STEP: Duration = Duration::from_secs(1200);
pub(super) const CALLERS: usize = 6;

/// Long ago, so that no wait of these tests ever lasts.
pub(super) static START: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(10_000 * STEP).expect("the clock goes back")
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Outside,
    InLine,
    /// Served; the letter lies here.
    Mailed,
}

pub(super) struct Caller {
    pub(super) waiter: Arc<Waiter<Entry, ()>>,
    pub(super) state: State,
    /// It was told to look and has not looked yet.
    pub(super) awake: bool,
    /// It was woken to open its letter.
    pub(super) notified: bool,
    /// When it will look of its own accord.
    pub(super) alarm: Option<Instant>,
    pub(super) mail: Option<Outcome<Entry, ()>>,
}

pub(super) struct Check {
    pub(super) id: CheckId,
    pub(super) job: u64,
    pub(super) checkout: HeldEntry,
}

pub(super) struct Departure {
    pub(super) leaving: DisposePermit<Entry, ()>,
    pub(super) job: u64,
    pub(super) entry: Box<Entry>,
}

/// An entry whose hook was given up on, with the token of a create.
pub(super) struct Lost {
    pub(super) create: Option<AbandonedConnection<Entry, ()>>,
    pub(super) job: u64,
    pub(super) entry: Box<Entry>,
}

pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    pub(super) model: Model,
    pub(super) hands: Vec<HeldEntry>,
    pub(super) permits: Vec<Permit<Entry, ()>>,
    pub(super) checks: Vec<Check>,
    pub(super) departures: Vec<Departure>,
    pub(super) lost: Vec<Lost>,
    pub(super) callers: [Caller; CALLERS],
    /// Nothing has happened that the engine leaves to the next event to settle.
    pub(super) settled: bool,
    pub(super) names: u64,
    pub(super) taken_before: usize,
}

impl Caller {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            waiter: Waiter::new(since),
            state: State::Outside,
            awake: false,
            notified: false,
            alarm: None,
            mail: None,
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
        } = settings;
        let bound = bound.map(|steps| STEP * steps);
        let now = *START;
        Self {
            engine: Engine::new(max_size, max_creating, bound, inline, now, None),
            model: Model {
                now,
                max_size,
                max_creating,
                bound,
                inline,
                closed: false,
                suspended: false,
                paused_until: None,
                paused_for_waiters_until: None,
                generation: 0,
                entries: Vec::new(),
                jobs: Vec::new(),
                jobs_ever: 0,
                line: Vec::new(),
                numbers: 0,
                due: 0,
                due_up_to: 0,
                served: Vec::new(),
                to_start: Vec::new(),
                created: 0,
                added: 0,
                disposed: 0,
                detached: 0,
            },
            hands: Vec::new(),
            permits: Vec::new(),
            checks: Vec::new(),
            departures: Vec::new(),
            lost: Vec::new(),
            callers: std::array::from_fn(|_| Caller::new(now)),
            settled: true,
            names: 0,
            taken_before: 0,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.model.now
    }

    pub(super) fn tick(&self) -> u64 {
        self.now().saturating_duration_since(*START).as_secs()
    }

    pub(super) fn moment(&self) -> Now {
        let (tick, real) = (self.tick(), self.now());
        Now { tick, real }
    }

    pub(super) fn later(&self, steps: Option<u8>) -> Option<Instant> {
        steps.map(|steps| self.now() + STEP * u32::from(steps))
    }

    pub(super) fn name(&mut self) -> Box<Entry> {
        self.names += 1;
        Box::new(Entry(self.names))
    }

    pub(super) fn hand(&mut self, which: u8) -> Option<HeldEntry> {
        pick(&mut self.hands, which)
    }

    /// The caller that this number picks among those for which it holds.
    pub(super) fn caller(&self, which: u8, is: impl Fn(&Caller) -> bool) -> Option<usize> {
        let fit: Vec<_> = (0..CALLERS).filter(|at| is(&self.callers[*at])).collect();
        (!fit.is_empty()).then(|| fit[usize::from(which) % fit.len()])
    }

    // ---- what follows from an event ------------------------------------------------------------

    /// Wakes whom the engine says, and takes the creates that it wants started.
    pub(super) fn run(&mut self, mut actions: Outcomes) {
        for woken in &actions.wakes {
            let ours = |caller: &Caller| Arc::ptr_eq(&caller.waiter, woken);
            let at = self.callers.iter().position(ours).expect("one of ours");
            let mut served = self.model.served.iter();
            match served.any(|(caller, _)| *caller == at) {
                true => self.callers[at].notified = true,
                false => self.callers[at].awake = true,
            }
        }
        actions.wake();
        let permits = actions.permits;
        let begun: Vec<_> = permits.iter().map(|permit| permit.job()).collect();
        assert_eq!(begun, self.model.to_start, "creates to start");
        self.model.to_start.clear();
        self.permits.extend(permits);
    }

    pub(super) fn settle(&mut self) {
        let actions = self.engine.settle(&mut self.engine.lock(), self.now());
        self.model.settle();
        self.run(actions);
        self.settled = true;
    }

    /// An entry goes back through the lock.
    pub(super) fn give(&mut self, checkout: HeldEntry, idle_since: u64, fresh: bool) {
        let id = checkout.entry.0;
        let generation = self.model.entry(id).generation;
        let now = self.now();
        let returned = self
            .engine
            .return_entry(checkout, idle_since, generation, fresh, now);
        let expected = self.model.give(id, idle_since, fresh);
        self.returned(returned, expected);
    }

    pub(super) fn returned(
        &mut self,
        returned: ReturnResult<Entry, ()>,
        expected: Result<(), RejectReason>,
    ) {
        let sent = returned.map(|actions| (None, actions));
        self.sent(sent, expected);
    }

    pub(super) fn sent(&mut self, sent: Sent, expected: Result<(), RejectReason>) {
        match (sent, expected) {
            (Ok((checkout, actions)), Ok(())) => {
                self.run(actions);
                self.hands.extend(checkout);
            }
            (Err((evicted, surplus)), Err(expected)) => {
                assert_eq!(surplus, expected);
                let job = self.model.jobs_ever;
                self.depart(evicted, job);
                self.settle();
            }
            (Ok(_), Err(expected)) => panic!("taken back though {expected:?}"),
            (Err((_, surplus)), Ok(())) => panic!("not taken back: {surplus:?}"),
        }
    }

    pub(super) fn depart(&mut self, evicted: Evicted<Entry, ()>, job: u64) {
        let Evicted { entry, leaving, .. } = evicted;
        assert_eq!(self.model.entry(entry.0).place, Place::DisposePermit);
        self.departures.push(Departure {
            leaving,
            job,
            entry,
        });
    }

    pub(super) fn retire(&mut self, checkout: HeldEntry) {
        let job = self.model.retire(checkout.entry.0);
        let evicted = self.engine.begin_dispose(checkout, self.now());
        self.depart(evicted, job);
    }

    /// An entry was found at rest.
    pub(super) fn found(&mut self, checkout: HeldEntry) {
        let id = checkout.entry.0;
        let entry = self.model.entry(id);
        assert_eq!(entry.place, Place::Idle(checkout.idle_since), "found {id}");
        assert_eq!(entry.slot, checkout.slot.index(), "the slot of {id}");
        self.model.take(id);
        self.hands.push(checkout);
    }

    /// The waiter goes to sleep, with an alarm if it is one that looks of its own accord.
    pub(super) fn set_alarm(&mut self, at: usize) {
        let state = self.engine.lock();
        let waiter = &self.callers[at].waiter;
        let head = state.queue.is_head(waiter);
        let report = state.queue.head_notified();
        let due = self.engine.gate.load(std::sync::atomic::Ordering::Relaxed) & HEAD_DUE != 0;
        let since = waiter.since();
        let turn = self.model.bound.filter(|_| report && !due);
        let turn = turn.map(|bound| since + bound);
        let pause = state.backoff_until().filter(|_| self.model.is_paused());
        let pause = pause.filter(|_| self.model.inline && state.has_room());
        drop(state);
        let alarm = turn.into_iter().chain(pause).min();
        self.callers[at].alarm = alarm.filter(|_| head);
        self.ring_alarms();
    }

    /// Wakes those whose alarm it is time for.
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
            // It failed: no slot of it may go to another engine, and no count be touched again.
            std::mem::forget(Arc::clone(&self.engine));
            std::mem::take(&mut self.permits)
                .into_iter()
                .for_each(std::mem::forget);
            std::mem::take(&mut self.lost)
                .into_iter()
                .for_each(std::mem::forget);
            for caller in &mut self.callers {
                std::mem::forget(caller.mail.take());
                std::mem::forget(caller.waiter.take_outcome());
            }
        }
    }
}

pub(super) fn pick<T>(from: &mut Vec<T>, which: u8) -> Option<T> {
    let len = from.len();
    (len > 0).then(|| from.remove(usize::from(which) % len))
}
