//! The engine on one thread, compared with a reference model: lists of entries, jobs and waiters, and a clock
//! that is a number. Random operations run on both. After each operation, the visible state of the engine is
//! compared with the counts of the model.
//!
//! Waiters do not sleep in these tests. A waiter that was woken searches when the history says so, through
//! the real [`wait`](super::Engine::wait). A waiter that was not woken never searches. So the comparison
//! after each event asserts that no waiter sleeps although the engine could serve it.
//!
//! `PROPTEST_CASES` sets the number of histories.

mod callers;
mod checks;
mod hooks;
mod jobs;
mod model;
mod operation;
mod operations;
mod queue;
mod verdict;
mod waiter;
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
        world.step(*operation);
    }
    world.finish();
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn the_engine_counts_and_serves_as_the_reference_model_does(
        settings in settings(),
        operations in operations(),
    ) {
        run(settings, &operations);
    }
}

// Histories that random generation seldom finds.

const TWO: Settings = Settings {
    max_size: 2,
    max_creating: 2,
    bound: Some(3),
    inline: false,
    fifo: false,
};

const CREATE: Op = Op::StartCreate {
    which: 0,
    deadline: None,
    wanted: true,
};

/// A waiter queues again under the number with which it was notified. The next check-in must notify the
/// waiter again, because the waiter has no alarm without a fairness bound.
#[test]
fn a_waiter_that_evicted_its_entry_is_notified_of_the_next_one() {
    let settings = Settings { bound: None, ..TWO };
    let (wait, again) = (Op::Enqueue(0, true), Op::Enqueue(0, false));
    let (first, second) = (0, 1);
    let operations = [
        Op::Add,
        Op::Add,
        wait,
        Op::CheckIn(first),
        Op::Search(0),
        Op::Evict(second),
        again,
        Op::CheckIn(first),
    ];
    run(settings, &operations);
}

#[test]
fn a_create_that_is_slower_than_a_later_one_is_not_waited_for_for_ever() {
    let (older, newer) = (0, 1);
    let operations = [
        Op::Reserve,
        CREATE,
        Op::Advance(1),
        Op::Reserve,
        CREATE,
        Op::Advance(1),
        Op::Install(newer),
        Op::Enqueue(0, true),
        Op::ExpireSoftDeadlines,
        Op::Install(older),
    ];
    run(TWO, &operations);
}

#[test]
fn a_drained_entry_is_in_use_until_it_is_returned() {
    let settings = Settings { max_size: 1, ..TWO };
    let (wait, back) = (Op::Enqueue(0, false), Op::CheckIn(0));
    let operations = [
        Op::Suspend(true),
        Op::Add,
        back,
        Op::Resize(3, false),
        Op::Add,
        wait,
        Op::Suspend(false),
        back,
        Op::Advance(3),
        wait,
        Op::Drain,
    ];
    run(settings, &operations);
}

/// The entry that was evicted from the slot was idle before the other one, and its successor becomes idle after it.
#[test]
fn an_entry_does_not_take_the_place_of_its_predecessor_in_the_slot() {
    let settings = Settings { fifo: true, ..TWO };
    let operations = [
        Op::Add,
        Op::Add,
        Op::CheckIn(1),
        Op::CheckIn(0),
        Op::Resize(1, true),
        Op::Resize(2, false),
        Op::FinishDispose(0),
        Op::Reserve,
        CREATE,
        Op::Install(0),
        Op::Take,
        Op::Take,
    ];
    run(settings, &operations);
}
