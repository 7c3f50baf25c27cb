//! Whole pools under random schedules. Shuttle's schedulers choose the turns of users, operators, collector,
//! workers and time itself, for thousands of schedules. After each schedule, the counts of the backend must
//! balance.
//!
//! # How to run
//!
//! ```text
//! RUSTFLAGS="--cfg conpool_shuttle" CONPOOL_SCHEDULES=1000 \
//!     cargo test --release --lib schedules
//! ```
//!
//! `CONPOOL_SCHEDULES` is the number of schedules of each scenario. Half of them are purely random, and half
//! have rare changes of priority. A failure prints its schedule, which `shuttle::replay` takes.
//!
//! The models of the engine (`engine/loom_models`) run *all* interleavings of few steps. These schedules run
//! the whole crate as users run it, with hooks that fail, panic, hang and return late. Only the
//! synchronization types are exchanged (see `sync`). Time passes whenever the scheduler chooses, so hooks
//! outlive their timeouts and deadlines pass at every possible moment. Loads return the newest value; loom
//! covers loads of older values.
//!
//! In [`mutants`] a scenario runs in worlds in which a service that the pool relies on is broken. The
//! scenario must then fail.

mod backend;
mod mutants;
mod pools;
mod users;

use crate::sync::world::{Flaw, live};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

fn schedules() -> usize {
    let number = std::env::var("CONPOOL_SCHEDULES");
    number.map_or(200, |number| number.parse().expect("a number"))
}

/// Runs a scenario under many schedules. The scenario returns a check, which runs after the last thread has
/// ended.
fn explore<End: FnOnce()>(scenario: impl Fn() -> End + Send + Sync + Copy + 'static) {
    explore_in(None, schedules(), scenario);
}

/// Runs a scenario under many schedules in a world with a flaw.
fn explore_in<End: FnOnce()>(
    flaw: Option<Flaw>,
    schedules: usize,
    scenario: impl Fn() -> End + Send + Sync + Copy + 'static,
) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    // Every scenario needs less than a twentieth of these steps. A thread that gets here waits for an event
    // that never comes.
    config.max_steps = MaxSteps::FailAfter(2_000_000);
    config.silence_warnings = true;
    let half = schedules.div_ceil(2);
    Runner::new(RandomScheduler::new(half), config.clone()).run(move || live(flaw, scenario));
    Runner::new(PctScheduler::new(5, half), config).run(move || live(flaw, scenario));
}
