//! Whole pools under random schedules: users, operators, collector, workers and time itself take
//! turns as shuttle's schedulers say, thousands of times, and after each the books must balance.
//!
//! # How to run
//!
//! ```text
//! RUSTFLAGS="--cfg conpool_shuttle" CONPOOL_SCHEDULES=1000 \
//!     cargo test --release --lib schedules
//! ```
//!
//! `CONPOOL_SCHEDULES` is the number of schedules of each scenario, half of them purely random, half
//! with rare changes of priority. A failure prints its schedule, which `shuttle::replay` takes.
//!
//! The models of the engine (`engine/loom_models`) try *all* interleavings of few steps; here everything
//! runs together, on the code that users run, with hooks that fail, panic, hang and come back late.
//! Only types are exchanged (see `sync`), and time passes whenever the scheduler likes, so hooks
//! outlive their timeouts and deadlines pass at every moment one can think of. Loads return the
//! newest value; older ones are loom's business.
//!
//! In [`mutants`] the same scenarios run in worlds in which something the pool relies on is broken,
//! and must fail.

mod backend;
mod mutants;
mod scenarios;
mod users;

use crate::sync::world::{Flaw, live};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

fn schedules() -> usize {
    let number = std::env::var("CONPOOL_SCHEDULES");
    number.map_or(200, |number| number.parse().expect("a number"))
}

/// Runs a scenario under many schedules. It returns what must hold when its last thread has ended.
fn explore<End: FnOnce()>(scenario: impl Fn() -> End + Send + Sync + Copy + 'static) {
    explore_in(None, schedules(), scenario);
}

/// The same in a world with a flaw.
fn explore_in<End: FnOnce()>(
    flaw: Option<Flaw>,
    schedules: usize,
    scenario: impl Fn() -> End + Send + Sync + Copy + 'static,
) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    // No scenario needs a twentieth of it: whoever gets here waits for something that never comes.
    config.max_steps = MaxSteps::FailAfter(2_000_000);
    config.silence_warnings = true;
    let half = schedules.div_ceil(2);
    Runner::new(RandomScheduler::new(half), config.clone()).run(move || live(flaw, scenario));
    Runner::new(PctScheduler::new(5, half), config).run(move || live(flaw, scenario));
}
