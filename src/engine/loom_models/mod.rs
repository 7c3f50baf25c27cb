//! The engine under the model checker: every interleaving of two or three threads, within a bound on
//! how often one is preempted, and every value that a relaxed load may return.
//!
//! # How to run
//!
//! ```text
//! RUSTFLAGS="--cfg conpool_loom" LOOM_MAX_PREEMPTIONS=3 \
//!     cargo test --release --lib engine::loom_models
//! ```
//!
//! Without the variable the bound is 2, and a few large models keep to that in any case. A model
//! that fails prints its panic; with `LOOM_LOG=trace` and the name of one test, loom prints the
//! interleaving that led there.
//!
//! # What is modelled
//!
//! The threads run the sequences of engine moves that the rest of the crate makes (see [`house`]),
//! waits included: a waiter that nobody wakes sleeps for good, and ends the model as a deadlock.
//! Time is an event like any other: a limited wait may be over at any point among the steps of the
//! other threads, and the clock is an atomic of the model, because it matters when it is read.
//! Every execution ends with `inspect`.
//!
//! Beside the models stand tests with "bites" in their names: the same model with one step done
//! wrong, which it must find.
//!
//! Not modelled: the `OnceLock`s of the table (slots are made before the threads start), hooks, and
//! spurious wake-ups.

mod ends;
mod fixture;
mod grows;
mod inspect;
mod returns;
mod shared_limit;
mod waits;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Runs a model through its interleavings.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_within(usize::MAX, model);
}

/// The same for a model that would take minutes with more preemptions than these.
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

/// Runs these side by side and waits for all of them.
fn side_by_side<const N: usize>(threads: [Box<dyn FnOnce() + Send>; N]) {
    let threads = threads.map(loom::thread::spawn);
    for thread in threads {
        thread.join().expect("a thread of a model does not panic");
    }
}
