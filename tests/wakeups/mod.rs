//! Shared by the tests of an idle pool and the benchmark of growth: sleeping threads, and their wake-ups.

#![allow(
    dead_code,
    reason = "every target that includes this uses another part of it"
)]

pub(crate) mod sleeps;
pub(crate) mod waiting;
