//! Scenarios must fail in worlds where a service that the pool relies on is broken.

use super::explore_in;
use super::pools::sharing;
use crate::sync::world::Flaw;
use std::panic::catch_unwind;

/// Asserts that a scenario gets stuck under this flaw: in a deadlock, or in an endless loop.
fn gets_stuck(flaw: Flaw) {
    let payload = catch_unwind(|| explore_in(Some(flaw), 1000, sharing)).unwrap_err();
    let message = payload.downcast_ref::<String>().expect("a message");
    let stuck = message.contains("deadlock") || message.contains("max_steps");
    assert!(stuck, "{message}");
}

#[test]
fn the_schedules_bite_on_lost_wake_ups() {
    gets_stuck(Flaw::LostWake);
}

#[test]
fn the_schedules_bite_on_swaps_that_lose_a_connection() {
    gets_stuck(Flaw::TornSwap);
}

#[test]
fn the_schedules_bite_on_threads_that_do_nothing() {
    gets_stuck(Flaw::StillbornThreads);
}
