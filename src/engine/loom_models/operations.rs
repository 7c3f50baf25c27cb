//! What an operator does to a pool: close, clear, resize, suspend.

use super::fixture::{Failure, Fixture, TICK};

impl Fixture {
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

    pub(super) fn settle(&self) {
        let actions = self.engine.settle(&mut self.engine.lock(), self.now());
        self.run(actions);
    }

    pub(super) fn next_generation(&self) -> u64 {
        let generation = self
            .engine
            .announce_generation(None)
            .expect("any generation may be announced");
        self.run(self.engine.begin_generation(generation, self.now()));
        generation
    }

    pub(super) fn drain_older(&self, generation: u64) {
        let idle: Vec<_> = self.engine.take_all(TICK).collect();
        for held in idle {
            if held.entry.generation < generation {
                self.evict(held);
            } else {
                self.return_entry(held, false);
            }
        }
    }

    pub(super) fn resize(&self, max_size: usize) {
        let now = self.engine_now();
        self.run(self.engine.resize(max_size, None, now.real));
        for (evicted, _) in self.engine.evict_excess(now) {
            self.run(self.dispose(evicted).finish(self.now()));
        }
    }

    pub(super) fn suspend(&self, on: bool) {
        if let Some(actions) = self.engine.suspend(on, self.now()) {
            self.run(actions);
        }
    }
}
