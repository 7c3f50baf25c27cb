//! What the tests of a pool at rest share, and the benchmark of growth with them: who sleeps, and how
//! often somebody was woken.

#![allow(
    dead_code,
    reason = "every target that includes this uses another part of it"
)]

pub(crate) mod crowd;
pub(crate) mod sleeps;
