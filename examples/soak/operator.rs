//! The operator: resizes, clears and suspends, and switches the backend's faults.

use crate::{
    MOST, SIZE,
    backend::{Backend, Hook, OVERDUE},
    conn::SoakManager,
    rng::Rng,
    verdict::Verdict,
};
use conpool::Pool;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Faults per million calls of a hook, usually and during a burst.
const USUAL: u64 = 2;
const BURST: u64 = 20_000;
/// Longer than the pool's timeouts for its hooks.
const HANG: Duration = OVERDUE.saturating_mul(3);

pub(crate) struct Operator {
    pub(crate) pool: Pool<SoakManager>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) verdict: Arc<Verdict>,
    pub(crate) rng: Rng,
    pub(crate) over: Arc<AtomicBool>,
}

type Action = fn(&mut Operator);

impl Operator {
    /// Runs all actions in each round, in random order.
    pub(crate) fn work(mut self) {
        let mut actions: [Action; 12] = [
            Self::rest,
            Self::rest,
            Self::burst,
            Self::outage,
            Self::resize,
            Self::resize,
            Self::keep_more_ready,
            Self::clear,
            Self::suspend,
            Self::check_health,
            Self::retain,
            Self::kill,
        ];
        let hooks = [Hook::Create, Hook::Dispose, Hook::Check];
        for hook in hooks.into_iter().cycle() {
            self.rng.shuffle(&mut actions);
            for episode in actions {
                if self.over.load(Relaxed) {
                    return;
                }
                self.backend.set_faults(USUAL);
                episode(&mut self);
            }
            self.hang(hook);
        }
    }

    fn wait(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time && !self.over.load(Relaxed) {
            thread::sleep(time.min(Duration::from_millis(5)));
        }
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.rng.below(to - from))
    }

    fn rest(&mut self) {
        let time = self.millis(200, 400);
        self.wait(time);
    }

    fn burst(&mut self) {
        self.backend.set_faults(BURST);
        let time = self.millis(100, 200);
        self.wait(time);
    }

    /// The server refuses new connections and ends half of the existing ones.
    fn outage(&mut self) {
        self.backend.set_down(true);
        self.backend.kill(&mut self.rng);
        let time = self.millis(100, 300);
        self.wait(time);
        self.backend.set_down(false);
    }

    fn hang(&mut self, hook: Hook) {
        self.backend.set_hanging(Some(hook));
        self.pool.clear();
        self.wait(HANG);
        self.backend.set_hanging(None);
    }

    fn resize(&mut self) {
        let (now, size) = (
            self.pool.stats().max_size,
            2 + self.rng.below(MOST as u64 - 1) as usize,
        );
        if size >= now {
            self.backend.set_limit(size);
        }
        if let Err(error) = self.pool.set_max_size(size) {
            self.verdict.breach(error.to_string());
        }
        if size < now {
            self.wait_for_size(size);
        }
        self.rest();
    }

    fn wait_for_size(&mut self, size: usize) {
        let start = Instant::now();
        loop {
            let stats = self.pool.stats();
            if stats.size + stats.disposing <= size {
                return self.backend.set_limit(size);
            }
            if self.over.load(Relaxed) {
                return;
            }
            if start.elapsed() > Duration::from_secs(10) {
                let text = format!("does not shrink to {size}: {stats}");
                return self.verdict.breach(text);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn keep_more_ready(&mut self) {
        let ready = self.rng.below(3) as usize;
        if let Err(error) = self.pool.set_min_idle(ready) {
            self.verdict.breach(error.to_string());
        }
    }

    fn clear(&mut self) {
        self.pool.clear();
    }

    fn suspend(&mut self) {
        self.pool.suspend();
        if self.pool.try_get().is_some() {
            self.verdict.breach("a suspended pool gave a connection");
        }
        let time = self.millis(10, 50);
        self.wait(time);
        self.pool.resume();
    }

    fn check_health(&mut self) {
        self.pool.sweep();
        let _ = self.pool.check_health();
        let holders = self.pool.holders().len();
        self.verdict
            .must(holders <= SIZE + MOST, || format!("{holders} holders"));
    }

    fn retain(&mut self) {
        let mut rng = self.rng.fork();
        self.pool.retain(|_, _| rng.below(2) == 0);
    }

    fn kill(&mut self) {
        self.backend.kill(&mut self.rng);
        self.rest();
    }
}
