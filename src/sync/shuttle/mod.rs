//! Shuttle's types with the faces of the real ones, in a world with a time of its own.

#![cfg_attr(not(test), allow(dead_code, reason = "worlds are made by tests only"))]

pub(crate) mod channel;
mod condvar;
mod mutex;
mod swap;
pub(crate) mod thread;
pub(crate) mod world;

pub(crate) use condvar::Condvar;
pub(crate) use mutex::{Mutex, MutexGuard};
pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use swap::SwapCell;
