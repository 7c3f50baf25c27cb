//! The load of the pool's users, and their expectations.

use crate::{
    backend::Backend,
    conn::{Conn, SoakManager},
    rng::Rng,
    verdict::Verdict,
    waits::Waits,
};
use conpool::{GetError, Pool, PooledConnection};
use parking_lot::Mutex;
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Longer than any fault of the operator lasts: a longer wait is a lost waiter.
const LOST_AFTER: Duration = Duration::from_secs(8);
/// The allowed delay of a deadline on a loaded machine.
const NOISE: Duration = Duration::from_secs(1);

/// The results of the calls.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) checkouts: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) create_failed: AtomicU64,
    pub(crate) hook_panicked: AtomicU64,
    pub(crate) dead_in_use: AtomicU64,
    pub(crate) waits: Mutex<Waits>,
}

/// The results of one user since the last merge into the tally.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    checkouts: u64,
    waits: Waits,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

pub(crate) struct User {
    pub(crate) pool: Pool<SoakManager>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) verdict: Arc<Verdict>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) rng: Rng,
    /// Works without the break of the others.
    pub(crate) never_rests: bool,
    pub(crate) lull: Arc<AtomicBool>,
    pub(crate) over: Arc<AtomicBool>,
    /// Pending counts: a shared counter would cost more than a checkout.
    pub(crate) fresh: Fresh,
}

impl User {
    pub(crate) fn live(mut self) {
        while !self.over.load(Relaxed) {
            if self.lull.load(Relaxed) && !self.never_rests {
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            self.act();
            let fresh = std::mem::take(&mut self.fresh.checkouts);
            self.tally.checkouts.fetch_add(fresh, Relaxed);
            self.tally.waits.lock().absorb(&mut self.fresh.waits);
        }
    }

    fn act(&mut self) {
        match self.rng.below(100) {
            0..70 => {
                for _ in 0..self.rng.below(4000) {
                    self.quick(LOST_AFTER);
                }
            }
            70..76 => self.hold(LOST_AFTER),
            76..79 => {
                let timeout = Duration::from_micros(self.rng.below(3000));
                self.hold(timeout);
            }
            79..82 => self.hold(Duration::ZERO),
            82..85 => self.read_stats(),
            85..88 => self.hold_two(),
            88..90 => self.find_broken(),
            90..92 => self.discard(),
            92..95 => self.detach_and_add(),
            95..97 => self.panic_with_one(),
            _ => thread::sleep(Duration::from_micros(self.rng.below(1000))),
        }
    }

    #[inline]
    fn get(&mut self, timeout: Duration) -> Option<PooledConnection<SoakManager>> {
        let start = Instant::now();
        let got = self.pool.get_timeout(timeout);
        let took = start.elapsed();
        self.verdict.must(took <= timeout + NOISE, || {
            format!("a get of {timeout:?} took {took:?}")
        });
        match got {
            Ok(guard) => {
                self.fresh.checkouts += 1;
                self.fresh.waits.note(took);
                Some(guard)
            }
            Err(error) => {
                self.complain(&error, timeout, took);
                None
            }
        }
    }

    #[cold]
    fn complain<E: std::error::Error>(
        &self,
        error: &GetError<E>,
        timeout: Duration,
        took: Duration,
    ) {
        match error {
            GetError::TimedOut(_) => {
                count(&self.tally.timed_out);
                self.verdict.must(took >= timeout, || {
                    format!("a get of {timeout:?} gave up after {took:?}")
                });
                self.verdict
                    .must(timeout < LOST_AFTER, || format!("forgotten: {error}"));
            }
            GetError::Create { .. } => count(&self.tally.create_failed),
            GetError::Panicked { .. } => count(&self.tally.hook_panicked),
            _ => self.verdict.breach(format!("out of place: {error}")),
        }
    }

    fn use_it(&self, conn: &mut Conn) {
        if !conn.exclusively(Conn::ping) {
            count(&self.tally.dead_in_use);
        }
    }

    #[inline]
    fn quick(&mut self, timeout: Duration) {
        if let Some(mut guard) = self.get(timeout) {
            self.use_it(&mut guard);
        }
    }

    fn hold(&mut self, timeout: Duration) {
        let pause = Duration::from_micros(self.rng.below(2000));
        if let Some(mut guard) = self.get(timeout) {
            guard.exclusively(|_| thread::sleep(pause));
            self.use_it(&mut guard);
        }
    }

    fn read_stats(&mut self) {
        let start = Instant::now();
        let got = self.pool.try_get();
        let took = start.elapsed();
        self.verdict
            .must(took <= NOISE, || format!("a try_get took {took:?}"));
        if let Some(mut guard) = got {
            self.fresh.checkouts += 1;
            self.use_it(&mut guard);
        }
    }

    fn hold_two(&mut self) {
        let first = self.get(LOST_AFTER);
        let timeout = Duration::from_micros(self.rng.below(2000));
        let second = self.get(timeout);
        drop(first);
        drop(second);
    }

    fn find_broken(&mut self) {
        if let Some(mut guard) = self.get(LOST_AFTER) {
            guard.break_it();
        }
    }

    fn discard(&mut self) {
        if let Some(guard) = self.get(LOST_AFTER) {
            PooledConnection::discard(guard);
        }
    }

    /// Takes a connection out of the pool, and sometimes adds it back.
    fn detach_and_add(&mut self) {
        let Some(mut guard) = self.get(LOST_AFTER) else {
            return;
        };
        guard.before_detach();
        let mut conn = PooledConnection::detach(guard);
        if self.rng.below(2) == 0 {
            conn.before_add();
            match self.pool.add(conn) {
                Ok(()) => self.backend.accepted(),
                Err(error) => error.into_inner().refused(),
            }
        }
    }

    fn panic_with_one(&mut self) {
        let guard = self.get(LOST_AFTER);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = guard;
            resume_unwind(Box::new("the user gives up"));
        }));
        drop(panicked);
    }
}
