//! What the tests of resources share: a process of their own, what it uses, and limits on that.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests time the pool from outside and are themselves the users' threads"
)]

#[cfg(target_os = "linux")]
pub(crate) mod limits;
pub(crate) mod process;
pub(crate) mod usage;
pub(crate) mod wired;
