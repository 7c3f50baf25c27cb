//! The engine on one thread beside a naive model: lists of entries, jobs and waiters, and a clock that
//! is a number. Random operations befall both, and after each of them everything that can be seen of
//! the engine is compared with what the model counts.
//!
//! Waiters do not sleep here. One that was woken looks when the history says so, through the real
//! [`wait`](super::Engine::wait); one that was not woken never does. So a comparison asks after each
//! event whether somebody sleeps beside what it could have.
//!
//! `PROPTEST_CASES` sets the number of histories.

mod callers;
mod hooks;
mod model;
mod operation;
mod verdict;
mod world;

use operation::{Op, Settings, operations, settings};
use proptest::prelude::*;
use world::World;

fn cases(number: u32) -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var("PROPTEST_CASES").is_err() {
        config.cases = number;
    }
    config.failure_persistence = None;
    config
}

fn run(settings: Settings, operations: &[Op]) {
    let mut world = World::new(settings);
    for operation in operations {
        world.perform(*operation);
        world.compare();
    }
    world.finish();
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn the_engine_counts_and_serves_as_the_naive_model_does(
        settings in settings(),
        operations in operations(),
    ) {
        run(settings, &operations);
    }
}
