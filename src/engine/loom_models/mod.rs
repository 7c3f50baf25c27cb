//! The engine under the loom model checker. Each model runs through every interleaving of two or three
//! threads, within a bound on preemptions, and through every value that a relaxed load may return.
//!
//! # How to run
//!
//! ```text
//! RUSTFLAGS="--cfg conpool_loom" LOOM_MAX_PREEMPTIONS=3 \
//!     cargo test --release --lib engine::loom_models
//! ```
//!
//! Without the variable the bound is 2, and a few large models keep to 2 in any case. A model that fails
//! prints its panic. With `LOOM_LOG=trace` and the name of one test, loom prints the interleaving that led to
//! the failure.
//!
//! # What is modelled
//!
//! The threads run the sequences of engine moves that the rest of the crate makes (see [`fixture`],
//! [`checkout`] and [`operations`]), waits included. A waiter that is never woken sleeps for good and ends the
//! model as a deadlock. Time is an event like any other: a wait with a deadline may end at any point among the
//! steps of the other threads. The clock is an atomic of the model, because the time at which a thread reads
//! the clock matters. Every execution ends with `inspect`.
//!
//! Tests with "bites" in their names run a model with one step done wrong. The model must find the mistake.
//!
//! The models leave out the `OnceLock`s of the table (slots are made before the threads start), hooks, and
//! spurious wake-ups.

mod checkout;
mod creates;
mod deferred;
mod ends;
mod fixture;
mod grows;
mod inspect;
mod interrupts;
mod operations;
mod returns;
mod shared_limit;
mod suspension;
mod tasks;
mod waits;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Runs a model through all its interleavings.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_within(usize::MAX, model);
}

/// Runs a model through its interleavings with at most this many preemptions, where more would take minutes.
fn explore_within(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut checker = loom::model::Builder::new();
    let bound = checker.preemption_bound.unwrap_or(2);
    checker.preemption_bound = Some(bound.min(preemptions));
    checker.max_branches = checker.max_branches.max(10_000);
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    checker.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    println!("{} executions", executions.load(Relaxed));
}

/// Runs the closures on threads of their own and waits for all of them.
fn side_by_side<const N: usize>(threads: [Box<dyn FnOnce() + Send>; N]) {
    let threads = threads.map(loom::thread::spawn);
    for thread in threads {
        thread.join().expect("a thread of a model does not panic");
    }
}
