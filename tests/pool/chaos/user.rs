//! One thread of the mix: its operations, and its expectations of the pool.

use super::{
    audit::{self, Tally, count},
    backend::{Backend, Conn, Flaky},
    settings::{Settings, below, scrambled},
};
use crate::common::{
    Rng, SOON, Task, descriptors, eventually, ms, noise, now, secs, spawn, threads,
};
use conpool::{GetError, ManualClock, Phase, Pool, PooledConnection};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// The state of a thread of the mix.
#[derive(Clone)]
struct User {
    pool: Pool<Flaky>,
    backend: Arc<Backend>,
    tally: Arc<Tally>,
    clock: Option<ManualClock>,
    max_uses: Option<u64>,
    most: usize,
    most_idle: usize,
    gets_only: u64,
    no_wakeups: bool,
    pause_after: Option<u64>,
    pause_point: Arc<PausePoint>,
    /// The settings in force; a thread that changes one holds the lock until the change has taken effect.
    sizes: Arc<Mutex<(usize, usize)>>,
    suspending: Arc<Mutex<()>>,
    /// Guards that are passed from one thread to another.
    handed_over: Arc<Mutex<Vec<PooledConnection<Flaky>>>>,
}

/// A barrier at which all users pause together.
struct PausePoint {
    barrier: Barrier,
    go_on: AtomicBool,
}

impl PausePoint {
    fn new() -> Self {
        Self {
            barrier: Barrier::new(USERS),
            go_on: AtomicBool::new(true),
        }
    }

    /// Waits for all users. All get the same answer.
    fn pass(&self, go_on: impl FnOnce() -> bool) -> bool {
        if self.barrier.wait().is_leader() {
            self.go_on.store(go_on(), SeqCst);
        }
        self.barrier.wait();
        self.go_on.load(SeqCst)
    }
}

const USERS: usize = 8;
/// The wait after which a get of the mix counts as lost.
const LOST_AFTER: Duration = secs(3);

/// Whether `took` is far beyond the bound, and the machine is not the cause.
fn is_late(took: Duration, bound: Duration) -> bool {
    took > bound + secs(1) && took > bound + noise()
}

/// Runs users on a pool with these settings, and checks everything.
pub(crate) fn mix(seed: u64, time: Duration, settings: &Settings) {
    let (before, files) = (threads("mixture"), descriptors(&Backend::file()));
    let backend = Backend::new(seed, settings.config.max_size, settings.faults);
    let manager = Flaky {
        backend: Arc::clone(&backend),
        blocking_check: settings.blocking_check,
    };
    let tally = Arc::default();
    let user = User {
        pool: settings.build(manager, &tally).unwrap(),
        backend,
        tally,
        clock: settings.clock.clone(),
        max_uses: settings.config.max_uses,
        most: settings.most,
        most_idle: settings.config.min_idle * 3,
        gets_only: settings.gets_only,
        no_wakeups: settings.no_wakeups,
        pause_after: settings.pause_after,
        pause_point: Arc::new(PausePoint::new()),
        sizes: Arc::new(Mutex::new((
            settings.config.max_size,
            settings.config.min_idle,
        ))),
        suspending: Arc::default(),
        handed_over: Arc::default(),
    };
    let end = now() + time;
    let users: Vec<_> = (0..USERS as u64)
        .map(|number| {
            let (user, rng) = (user.clone(), scrambled(seed.wrapping_add(number + 1)));
            spawn(move || user.live(rng, end))
        })
        .collect();
    let watcher = user.clone();
    let watching = spawn(move || {
        while !watcher.pool.is_closed() && !watcher.backend.is_violated() {
            audit::check(&watcher.pool, &watcher.backend);
            thread::sleep(Duration::from_micros(200));
        }
    });
    while now() < end && !user.backend.is_violated() {
        thread::sleep(ms(1));
    }
    user.finish(users);
    watching.join_soon();
    audit::settle(&user.pool, &user.backend, &user.tally, settings.observed);
    eventually(|| threads("mixture") == before);
    assert_eq!(descriptors(&Backend::file()), files);
}

impl User {
    /// Closes under load, or, where users pause, after the last one has been served: a close would release a
    /// lost waiter.
    fn finish(&self, users: Vec<Task<()>>) {
        if self.pause_after.is_none() {
            self.backend.stop_faults();
            self.pool.close();
        }
        let begun = now();
        while !users.iter().all(Task::is_finished) {
            let stats = self.pool.stats();
            let violations = self.backend.snapshot().violations;
            assert!(
                begun.elapsed() < SOON * 2,
                "wedged: {stats}, {violations:?}"
            );
            thread::sleep(ms(1));
        }
        let violations = self.backend.snapshot().violations;
        assert_eq!(violations, [""; 0]);
        users.into_iter().for_each(Task::join_soon);
        if let Err(left) = self.pool.close_timeout(SOON) {
            panic!("not closed: {left}, {:?}", self.pool.stats());
        }
    }

    fn live(&self, mut rng: Rng, end: Instant) {
        // A little longer than the pool lives, so that users meet the closed pool.
        let go_on = || now() < end + ms(20) && !self.backend.is_violated();
        let mut acts = 0;
        loop {
            if rng.below(1000) < self.gets_only {
                self.hold(&mut rng, LOST_AFTER);
            } else {
                self.act(&mut rng);
            }
            acts += 1;
            let ends = match self.pause_after {
                Some(after) if acts % after == 0 => !self.pause_point.pass(go_on),
                Some(_) => false,
                None => !go_on(),
            };
            if ends {
                return;
            }
        }
    }

    fn act(&self, rng: &mut Rng) {
        let kind = match self.no_wakeups {
            true => [0, 0, 30, 46, 54, 54, 60, 86, 91][below(rng, 9)],
            false => rng.below(100),
        };
        match kind {
            0..30 => self.hold(rng, LOST_AFTER),
            30..38 => self.hold(rng, Duration::ZERO),
            38..46 => {
                let timeout = Duration::from_micros(rng.below(3000));
                self.hold(rng, timeout);
            }
            46..54 => self.try_hold(rng),
            54..60 => {
                if let Some(guard) = self.get(LOST_AFTER) {
                    PooledConnection::discard(guard);
                }
            }
            60..65 => self.detach(rng),
            65..69 => self.add(self.backend.external()),
            69..71 => self.backend.clearing(|| self.pool.clear()),
            71..74 => self.retain(rng),
            74..77 => self.resize(rng),
            77..79 => self.set_min_idle(rng),
            79..81 => self.suspend(rng),
            81..84 => drop(self.pool.sweep()),
            84..86 => drop(self.pool.check_health()),
            86..88 => self.panic_with_a_connection(),
            88..91 => self.hold_two(rng),
            91..95 => self.swap(),
            95..97 => drop((self.pool.holders(), self.pool.clone(), self.pool.config())),
            _ => {
                if let Some(clock) = &self.clock {
                    clock.advance(Duration::from_micros(rng.below(5000)));
                }
                audit::check(&self.pool, &self.backend);
            }
        }
    }

    fn get(&self, timeout: Duration) -> Option<PooledConnection<Flaky>> {
        count(&self.tally.gets);
        let (start, cleared) = (now(), self.backend.clears_done());
        let got = self.pool.get_timeout(timeout);
        let took = start.elapsed();
        if is_late(took, timeout) {
            let stats = self.pool.stats();
            self.backend
                .violation(format!("{took:?} for a get of {timeout:?}: {stats:?}"));
        }
        match got {
            Ok(guard) => {
                self.inspect(&guard, cleared);
                return Some(guard);
            }
            Err(GetError::TimedOut(error)) => {
                if took < timeout || timeout == LOST_AFTER {
                    self.backend.violation(format!("after {took:?}: {error:?}"));
                }
            }
            Err(GetError::Closed { .. }) => {
                if !self.pool.is_closed() {
                    self.backend.violation("closed before its time");
                }
                thread::sleep(ms(1));
            }
            // An injected fault, or the limit on waiters.
            Err(_) => {}
        }
        None
    }

    fn inspect(&self, guard: &PooledConnection<Flaky>, cleared: u64) {
        count(&self.tally.served);
        if guard.generation() < cleared {
            self.backend.violation("cleared and handed out");
        }
        let uses = PooledConnection::info(guard).uses;
        if self.max_uses.is_some_and(|max| uses > max) {
            self.backend.violation(format!("handed out for use {uses}"));
        }
    }

    fn hold(&self, rng: &mut Rng, timeout: Duration) {
        if let Some(mut guard) = self.get(timeout) {
            let pause = rng.below(8);
            guard.alone(|_| match pause {
                0 => thread::sleep(Duration::from_micros(rng.below(300))),
                1..3 => thread::yield_now(),
                _ => {}
            });
        }
    }

    fn try_hold(&self, rng: &mut Rng) {
        let (start, cleared) = (now(), self.backend.clears_done());
        let got = self.pool.try_get();
        if is_late(start.elapsed(), Duration::ZERO) {
            self.backend.violation("try_get waited");
        }
        if let Some(mut guard) = got {
            self.inspect(&guard, cleared);
            guard.alone(|_| thread::yield_now());
            if rng.below(8) == 0 {
                PooledConnection::discard(guard);
            }
        }
    }

    fn detach(&self, rng: &mut Rng) {
        let Some(mut guard) = self.get(LOST_AFTER) else {
            return;
        };
        guard.before_detach();
        let conn = PooledConnection::detach(guard);
        count(&self.tally.detached);
        if rng.below(2) == 0 {
            self.add(conn);
        }
    }

    fn add(&self, mut conn: Conn) {
        let accepted = conn.before_add();
        match self.pool.add(conn) {
            Ok(()) => {
                accepted();
                count(&self.tally.added);
            }
            Err(error) => error.into_inner().before_detach(),
        }
    }

    fn retain(&self, rng: &mut Rng) {
        let mut rng = rng.clone();
        let panics = rng.below(8) == 0;
        let kept = catch_unwind(AssertUnwindSafe(|| {
            self.pool.retain(|conn, _| {
                conn.alone(|_| match rng.below(4) {
                    0 => false,
                    1 if panics => resume_unwind(Box::new("random fault")),
                    _ => true,
                })
            })
        }));
        if kept.is_err() && !panics {
            self.backend.violation("retain panicked");
        }
    }

    fn resize(&self, rng: &mut Rng) {
        let n = 1 + below(rng, self.most);
        let mut sizes = self.sizes.lock().unwrap();
        let (max_size, min_idle) = *sizes;
        if n > max_size {
            self.backend.set_limit(n);
        }
        if self.pool.set_max_size(n).is_err() {
            if n >= min_idle {
                self.backend.violation(format!("max_size {n} refused"));
            }
            return;
        }
        if n < max_size {
            let start = now();
            loop {
                let stats = audit::check(&self.pool, &self.backend);
                if stats.size + stats.disposing <= n {
                    break;
                }
                if start.elapsed() > SOON {
                    self.backend
                        .violation(format!("does not shrink to {n}: {stats:?}"));
                    return;
                }
                thread::sleep(Duration::from_micros(100));
            }
            self.backend.set_limit(n);
        }
        *sizes = (n, min_idle);
    }

    fn set_min_idle(&self, rng: &mut Rng) {
        // Only where min_idle was set from the start.
        let n = below(rng, 4).min(self.most_idle);
        let mut sizes = self.sizes.lock().unwrap();
        match self.pool.set_min_idle(n) {
            Ok(()) => sizes.1 = n,
            Err(_) if n > sizes.0 => {}
            Err(error) => self.backend.violation(error.to_string()),
        }
    }

    fn suspend(&self, rng: &mut Rng) {
        let _alone = self.suspending.lock().unwrap();
        self.pool.suspend();
        if self.pool.try_get().is_some() {
            self.backend.violation("try_get of a suspended pool");
        }
        count(&self.tally.gets);
        match self.pool.get_timeout(Duration::from_micros(rng.below(500))) {
            Ok(_) => self.backend.violation("get of a suspended pool"),
            Err(GetError::TimedOut(error)) if error.phase != Phase::Suspended => {
                self.backend.violation(format!("not suspended: {error:?}"));
            }
            Err(_) => {}
        }
        self.pool.resume();
    }

    fn panic_with_a_connection(&self) {
        let guard = self.get(LOST_AFTER);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = guard;
            resume_unwind(Box::new("the user gives up"));
        }));
        drop(panicked);
    }

    fn hold_two(&self, rng: &mut Rng) {
        let first = self.get(LOST_AFTER);
        let second = self.get(Duration::from_micros(rng.below(2000)));
        if rng.below(2) == 0 {
            drop(first);
            drop(second);
        }
    }

    /// Leaves a connection for another thread, and takes one that is there.
    fn swap(&self) {
        if let Some(guard) = self.get(LOST_AFTER) {
            self.handed_over.lock().unwrap().push(guard);
        }
        thread::yield_now();
        let other = self.handed_over.lock().unwrap().pop();
        drop(other);
    }
}
