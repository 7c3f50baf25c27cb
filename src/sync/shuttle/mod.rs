//! Shuttle's types with the interfaces of the real ones, in a world with simulated time.

#![cfg_attr(not(test), allow(dead_code, reason = "only tests create worlds"))]

pub(crate) mod channel;
mod condvar;
mod swap;
pub(crate) mod thread;
pub(crate) mod world;

pub(crate) use condvar::Condvar;
pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use swap::SwapCell;
