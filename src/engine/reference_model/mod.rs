//! The engine on one thread beside a naive model: lists of entries, jobs and waiters, and a clock that
//! is a number. Random operations befall both, and after each of them everything that can be seen of
//! the engine is compared with what the model counts.
//!
//! Waiters do not sleep here. One that was woken looks when the history says so, through the real
//! [`wait`](super::Engine::wait); one that was not woken never does. So a comparison asks after each
//! event whether somebody sleeps beside what it could have.
//!
//! `PROPTEST_CASES` sets the number of histories.

mod background;
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
        world.step(*operation);
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

// Histories that chance seldom finds.

const TWO: Settings = Settings {
    max_size: 2,
    max_creating: 2,
    bound: Some(3),
    inline: false,
};

const CREATE: Op = Op::StartCreate {
    which: 0,
    deadline: None,
    wanted: true,
};

/// It joins again with the number it was told under, and the next check-in must not think that it still
/// knows. Without a bound it has no alarm either.
#[test]
fn a_waiter_that_found_a_bad_one_is_told_of_the_next_that_comes_back() {
    let settings = Settings { bound: None, ..TWO };
    let (wait, again) = (Op::Join(0, true), Op::Join(0, false));
    let (first, second) = (0, 1);
    let operations = [
        Op::Adopt,
        Op::Adopt,
        wait,
        Op::CheckIn(first),
        Op::Look(0),
        Op::Retire(second),
        again,
        Op::CheckIn(first),
    ];
    run(settings, &operations);
}

#[test]
fn a_create_that_another_has_overtaken_is_not_waited_for_for_ever() {
    let (older, newer) = (0, 1);
    let operations = [
        Op::Reserve,
        CREATE,
        Op::Pass(1),
        Op::Reserve,
        CREATE,
        Op::Pass(1),
        Op::Install(newer),
        Op::Join(0, true),
        Op::LosePatience,
        Op::Install(older),
    ];
    run(TWO, &operations);
}

#[test]
fn what_is_drained_is_out_until_it_is_given_back() {
    let settings = Settings { max_size: 1, ..TWO };
    let (wait, back) = (Op::Join(0, false), Op::CheckIn(0));
    let operations = [
        Op::Suspend(true),
        Op::Adopt,
        back,
        Op::Resize(3, false),
        Op::Adopt,
        wait,
        Op::Suspend(false),
        back,
        Op::Pass(3),
        wait,
        Op::Drain,
    ];
    run(settings, &operations);
}
