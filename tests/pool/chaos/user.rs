//! One thread of the mix: what it does, and what it may expect of the pool.

use super::{
    audit::{self, Tally, count},
    backend::{Backend, Flaky, Line},
    settings::{Settings, below, scrambled},
};
use crate::common::{
    Dice, SOON, Task, descriptors, eventually, ms, noise, now, secs, spawn, threads,
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

/// What a thread of the mix needs.
#[derive(Clone)]
struct User {
    pool: Pool<Flaky>,
    backend: Arc<Backend>,
    tally: Arc<Tally>,
    clock: Option<ManualClock>,
    max_uses: Option<u64>,
    most: usize,
    most_idle: usize,
    calm: u64,
    quiet: bool,
    lull_after: Option<u64>,
    lull: Arc<Lull>,
    /// The settings in force; who changes one holds the lock until the change has come true.
    sizes: Arc<Mutex<(usize, usize)>>,
    suspending: Arc<Mutex<()>>,
    /// Guards on their way from one thread to another.
    shelf: Arc<Mutex<Vec<PooledConnection<Flaky>>>>,
}

/// Where all users meet, so that for a moment nobody does anything.
struct Lull {
    barrier: Barrier,
    go_on: AtomicBool,
}

impl Lull {
    fn new() -> Self {
        Self {
            barrier: Barrier::new(USERS),
            go_on: AtomicBool::new(true),
        }
    }

    /// Waits for everybody. All get the same answer.
    fn pass(&self, go_on: impl FnOnce() -> bool) -> bool {
        if self.barrier.wait().is_leader() {
            self.go_on.store(go_on(), SeqCst);
        }
        self.barrier.wait();
        self.go_on.load(SeqCst)
    }
}

const USERS: usize = 8;
/// How long a get of the mix may wait before it counts as forgotten.
const PATIENT: Duration = secs(3);

/// Far beyond the bound, and not by the machine's fault.
fn is_late(took: Duration, bound: Duration) -> bool {
    took > bound + secs(1) && took > bound + noise()
}

/// Lets users loose on a pool with these settings, and checks all that can be checked.
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
        calm: settings.calm,
        quiet: settings.quiet,
        lull_after: settings.lull_after,
        lull: Arc::new(Lull::new()),
        sizes: Arc::new(Mutex::new((
            settings.config.max_size,
            settings.config.min_idle,
        ))),
        suspending: Arc::default(),
        shelf: Arc::default(),
    };
    let end = now() + time;
    let users: Vec<_> = (0..USERS as u64)
        .map(|number| {
            let (user, dice) = (user.clone(), scrambled(seed.wrapping_add(number + 1)));
            spawn(move || user.live(dice, end))
        })
        .collect();
    let watcher = user.clone();
    let watching = spawn(move || {
        while !watcher.pool.is_closed() && !watcher.backend.is_foul() {
            audit::check(&watcher.pool, &watcher.backend);
            thread::sleep(Duration::from_micros(200));
        }
    });
    while now() < end && !user.backend.is_foul() {
        thread::sleep(ms(1));
    }
    user.finish(users);
    watching.join_soon();
    audit::settle(&user.pool, &user.backend, &user.tally, settings.observed);
    eventually(|| threads("mixture") == before);
    assert_eq!(descriptors(&Backend::file()), files);
}

impl User {
    /// Closes under load, or, where users meet, after the last has been served: a close would set
    /// free whoever was forgotten.
    fn finish(&self, users: Vec<Task<()>>) {
        if self.lull_after.is_none() {
            self.backend.stop_faults();
            self.pool.close();
        }
        let begun = now();
        while !users.iter().all(Task::is_finished) {
            let stats = self.pool.stats();
            let fouls = self.backend.copy_book().fouls;
            assert!(begun.elapsed() < SOON * 2, "wedged: {stats}, {fouls:?}");
            thread::sleep(ms(1));
        }
        let fouls = self.backend.copy_book().fouls;
        assert_eq!(fouls, [""; 0]);
        users.into_iter().for_each(Task::join_soon);
        if let Err(left) = self.pool.close_timeout(SOON) {
            panic!("not closed: {left}, {:?}", self.pool.stats());
        }
    }

    fn live(&self, mut dice: Dice, end: Instant) {
        // A little longer than the pool, to meet it closed.
        let go_on = || now() < end + ms(20) && !self.backend.is_foul();
        let mut acts = 0;
        loop {
            if dice.roll(1000) < self.calm {
                self.hold(&mut dice, PATIENT);
            } else {
                self.act(&mut dice);
            }
            acts += 1;
            let ends = match self.lull_after {
                Some(after) if acts % after == 0 => !self.lull.pass(go_on),
                Some(_) => false,
                None => !go_on(),
            };
            if ends {
                return;
            }
        }
    }

    fn act(&self, dice: &mut Dice) {
        let kind = match self.quiet {
            true => [0, 0, 30, 46, 54, 54, 60, 86, 91][below(dice, 9)],
            false => dice.roll(100),
        };
        match kind {
            0..30 => self.hold(dice, PATIENT),
            30..38 => self.hold(dice, Duration::ZERO),
            38..46 => {
                let timeout = Duration::from_micros(dice.roll(3000));
                self.hold(dice, timeout);
            }
            46..54 => self.try_hold(dice),
            54..60 => {
                if let Some(guard) = self.get(PATIENT) {
                    PooledConnection::discard(guard);
                }
            }
            60..65 => self.detach(dice),
            65..69 => self.add(self.backend.outsider()),
            69..71 => self.backend.clearing(|| self.pool.clear()),
            71..74 => self.retain(dice),
            74..77 => self.resize(dice),
            77..79 => self.set_min_idle(dice),
            79..81 => self.suspend(dice),
            81..84 => drop(self.pool.sweep()),
            84..86 => drop(self.pool.check_health()),
            86..88 => self.panic_with_a_connection(),
            88..91 => self.hold_two(dice),
            91..95 => self.pass_on(),
            95..97 => drop((self.pool.holders(), self.pool.clone(), self.pool.config())),
            _ => {
                if let Some(clock) = &self.clock {
                    clock.advance(Duration::from_micros(dice.roll(5000)));
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
                .foul(format!("{took:?} for a get of {timeout:?}: {stats:?}"));
        }
        match got {
            Ok(guard) => {
                self.inspect(&guard, cleared);
                return Some(guard);
            }
            Err(GetError::TimedOut(error)) => {
                if took < timeout || timeout == PATIENT {
                    self.backend.foul(format!("after {took:?}: {error:?}"));
                }
            }
            Err(GetError::Closed { .. }) => {
                if !self.pool.is_closed() {
                    self.backend.foul("closed before its time");
                }
                thread::sleep(ms(1));
            }
            // The dice again, or the limit on waiters.
            Err(_) => {}
        }
        None
    }

    fn inspect(&self, guard: &PooledConnection<Flaky>, cleared: u64) {
        count(&self.tally.served);
        if guard.birth() < cleared {
            self.backend.foul("cleared and handed out");
        }
        let uses = PooledConnection::info(guard).uses;
        if self.max_uses.is_some_and(|max| uses > max) {
            self.backend.foul(format!("handed out for use {uses}"));
        }
    }

    fn hold(&self, dice: &mut Dice, timeout: Duration) {
        if let Some(mut guard) = self.get(timeout) {
            let pause = dice.roll(8);
            guard.alone(|_| match pause {
                0 => thread::sleep(Duration::from_micros(dice.roll(300))),
                1..3 => thread::yield_now(),
                _ => {}
            });
        }
    }

    fn try_hold(&self, dice: &mut Dice) {
        let (start, cleared) = (now(), self.backend.clears_done());
        let got = self.pool.try_get();
        if is_late(start.elapsed(), Duration::ZERO) {
            self.backend.foul("try_get waited");
        }
        if let Some(mut guard) = got {
            self.inspect(&guard, cleared);
            guard.alone(|_| thread::yield_now());
            if dice.roll(8) == 0 {
                PooledConnection::discard(guard);
            }
        }
    }

    fn detach(&self, dice: &mut Dice) {
        let Some(mut guard) = self.get(PATIENT) else {
            return;
        };
        guard.step_out();
        let line = PooledConnection::detach(guard);
        count(&self.tally.detached);
        if dice.roll(2) == 0 {
            self.add(line);
        }
    }

    fn add(&self, mut line: Line) {
        let accepted = line.step_in();
        match self.pool.add(line) {
            Ok(()) => {
                accepted();
                count(&self.tally.added);
            }
            Err(error) => error.into_inner().step_out(),
        }
    }

    fn retain(&self, dice: &mut Dice) {
        let mut dice = dice.clone();
        let panics = dice.roll(8) == 0;
        let kept = catch_unwind(AssertUnwindSafe(|| {
            self.pool.retain(|line, _| {
                line.alone(|_| match dice.roll(4) {
                    0 => false,
                    1 if panics => resume_unwind(Box::new("the dice said so")),
                    _ => true,
                })
            })
        }));
        if kept.is_err() && !panics {
            self.backend.foul("retain panicked");
        }
    }

    fn resize(&self, dice: &mut Dice) {
        let n = 1 + below(dice, self.most);
        let mut sizes = self.sizes.lock().unwrap();
        let (max_size, min_idle) = *sizes;
        if n > max_size {
            self.backend.set_limit(n);
        }
        if self.pool.set_max_size(n).is_err() {
            if n >= min_idle {
                self.backend.foul(format!("max_size {n} refused"));
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
                        .foul(format!("does not shrink to {n}: {stats:?}"));
                    return;
                }
                thread::sleep(Duration::from_micros(100));
            }
            self.backend.set_limit(n);
        }
        *sizes = (n, min_idle);
    }

    fn set_min_idle(&self, dice: &mut Dice) {
        // Only where there was one in the beginning.
        let n = below(dice, 4).min(self.most_idle);
        let mut sizes = self.sizes.lock().unwrap();
        match self.pool.set_min_idle(n) {
            Ok(()) => sizes.1 = n,
            Err(_) if n > sizes.0 => {}
            Err(error) => self.backend.foul(error.to_string()),
        }
    }

    fn suspend(&self, dice: &mut Dice) {
        let _alone = self.suspending.lock().unwrap();
        self.pool.suspend();
        if self.pool.try_get().is_some() {
            self.backend.foul("try_get of a suspended pool");
        }
        count(&self.tally.gets);
        match self.pool.get_timeout(Duration::from_micros(dice.roll(500))) {
            Ok(_) => self.backend.foul("get of a suspended pool"),
            Err(GetError::TimedOut(error)) if error.phase != Phase::Suspended => {
                self.backend.foul(format!("not suspended: {error:?}"));
            }
            Err(_) => {}
        }
        self.pool.resume();
    }

    fn panic_with_a_connection(&self) {
        let guard = self.get(PATIENT);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = guard;
            resume_unwind(Box::new("the user gives up"));
        }));
        drop(panicked);
    }

    fn hold_two(&self, dice: &mut Dice) {
        let first = self.get(PATIENT);
        let second = self.get(Duration::from_micros(dice.roll(2000)));
        if dice.roll(2) == 0 {
            drop(first);
            drop(second);
        }
    }

    /// Leaves a connection for another thread, and takes what is there.
    fn pass_on(&self) {
        if let Some(guard) = self.get(PATIENT) {
            self.shelf.lock().unwrap().push(guard);
        }
        thread::yield_now();
        let other = self.shelf.lock().unwrap().pop();
        drop(other);
    }
}
