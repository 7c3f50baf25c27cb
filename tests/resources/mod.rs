//! Shared by the tests of resources: a process of their own, its usage, and limits on it.

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
#[path = "../common/process.rs"]
pub(crate) mod process;
pub(crate) mod usage;
pub(crate) mod wired;
