//! The world of one schedule: its simulated time, its sleeping threads and its flaw.
//!
//! Time stands still while threads run. Time passes when the scheduler gives a turn to the timekeeper, a
//! thread that ends the sleep with the earliest limit. The timekeeper is a thread like any other, so a limit
//! may pass at every moment, before or after any other event at that time. So each thread may seem
//! arbitrarily slow to the others, as on a very busy machine.

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::thread::{self, Thread};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A bug in a service that the pool relies on. The schedules must find the bug, except
/// [`NoThreads`](Self::NoThreads), a fault that the pool must tolerate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Every fourth wake-up is lost.
    LostWake,
    /// A swap of a slot is two steps.
    TornSwap,
    /// Every second thread starts and does nothing.
    StillbornThreads,
    /// Every second thread is refused.
    NoThreads,
}

impl Flaw {
    fn odds(self) -> u32 {
        match self {
            Self::LostWake => 4,
            Self::TornSwap => 1,
            Self::StillbornThreads | Self::NoThreads => 2,
        }
    }
}

struct World {
    now: Instant,
    sleepers: BTreeMap<(Instant, u64), Arc<Sleeper>>,
    timekeeper: Option<Thread>,
    number: u64,
    alive: usize,
    ending: bool,
    flaw: Option<Flaw>,
}

std::thread_local! {
    /// All threads of a schedule run on one thread of the operating system.
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn with<R>(change: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with(|world| {
        change(
            world
                .borrow_mut()
                .as_mut()
                .expect("bug: outside of a world"),
        )
    })
}

/// Runs `body`, lets time pass until the last thread has ended, and then runs the closure that `body`
/// returned.
pub(crate) fn live<End: FnOnce()>(flaw: Option<Flaw>, body: impl FnOnce() -> End) {
    #[expect(clippy::disallowed_methods, reason = "the start of the simulated time")]
    let now = Instant::now();
    let world = World {
        now,
        sleepers: BTreeMap::new(),
        timekeeper: None,
        number: 0,
        alive: 0,
        ending: false,
        flaw,
    };
    WORLD.with(|place| *place.borrow_mut() = Some(world));
    let timekeeper = thread::spawn(run_timekeeper);
    with(|world| world.timekeeper = Some(timekeeper.thread().clone()));
    let end = body();
    with(|world| world.ending = true);
    notify_timekeeper();
    timekeeper.join().expect("time goes on");
    end();
}

/// Runs the timekeeper, which lets time pass.
fn run_timekeeper() {
    loop {
        // End the next sleep at once, or only after other threads have had turns.
        let pause = [0, 3, 30, 300][thread_rng().gen_range(0..4)];
        for _ in 0..pause {
            thread::yield_now();
        }
        let (next, over) = with(|world| {
            let next = world.sleepers.pop_first();
            if let Some(((at, _), _)) = &next {
                world.now = world.now.max(*at);
            }
            (next, world.ending && world.alive == 0)
        });
        match next {
            Some((_, sleeper)) => {
                sleeper.end(TIME_IS_UP);
            }
            None if over => return,
            None => thread::park(),
        }
    }
}

fn notify_timekeeper() {
    if let Some(timekeeper) = with(|world| world.timekeeper.clone()) {
        timekeeper.unpark();
    }
}

/// Lets the scheduler switch to another thread.
pub(crate) fn turn() {
    AtomicU32::new(0).load(Ordering::SeqCst);
}

pub(crate) fn now() -> Instant {
    with(|world| world.now)
}

pub(crate) fn sleep(time: Duration) {
    Sleeper::new().sleep(now().checked_add(time));
}

/// Whether the flaw of this world takes effect at this point.
pub(super) fn strikes(flaw: Flaw) -> bool {
    with(|world| world.flaw) == Some(flaw) && thread_rng().gen_range(0..flaw.odds()) == 0
}

/// Runs `work` without the flaw of this world.
pub(crate) fn spared<R>(work: impl FnOnce() -> R) -> R {
    let flaw = with(|world| world.flaw.take());
    let result = work();
    with(|world| world.flaw = flaw);
    result
}

pub(super) fn born() {
    with(|world| world.alive += 1);
}

pub(super) fn gone() {
    with(|world| world.alive -= 1);
    notify_timekeeper();
}

const WAITING: u8 = 0;
const WOKEN: u8 = 1;
const TIME_IS_UP: u8 = 2;

/// A thread that sleeps until it is woken or its time is up.
#[derive(Debug)]
pub(super) struct Sleeper {
    thread: Thread,
    state: AtomicU8,
}

impl Sleeper {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            thread: thread::current(),
            state: AtomicU8::new(WAITING),
        })
    }

    /// Sleeps until the thread is woken or the limit passes. False if the limit passed.
    pub(super) fn sleep(self: &Arc<Self>, until: Option<Instant>) -> bool {
        let place = until.map(|until| {
            with(|world| {
                world.number += 1;
                let place = (until, world.number);
                world.sleepers.insert(place, Arc::clone(self));
                place
            })
        });
        if place.is_some() {
            notify_timekeeper();
        }
        while self.state.load(Relaxed) == WAITING {
            thread::park();
        }
        if let Some(place) = place {
            with(|world| world.sleepers.remove(&place));
        }
        self.state.load(Relaxed) == WOKEN
    }

    /// Wakes the thread. False if the thread was awake already.
    pub(super) fn wake(&self) -> bool {
        self.end(WOKEN)
    }

    fn end(&self, how: u8) -> bool {
        let slept = self.state.load(Relaxed) == WAITING;
        if slept {
            self.state.store(how, Relaxed);
            self.thread.unpark();
        }
        slept
    }
}
