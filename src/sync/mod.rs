//! One facade for everything that threads share: the real types, or those of a model checker.
//!
//! With `--cfg conpool_loom` the engine runs under loom, which tries every interleaving and every
//! value that a load may return; too much for more than the engine, so the rest, which takes its
//! types from [`outer`], keeps the real ones. With `--cfg conpool_shuttle` whole pools, with their
//! threads and a time of their own, run under random schedules.

#[cfg(conpool_loom)]
mod loom;
#[cfg(not(conpool_shuttle))]
mod real;
#[cfg(conpool_shuttle)]
mod shuttle;

#[cfg(conpool_loom)]
pub(crate) use self::loom::*;
#[cfg(not(any(conpool_loom, conpool_shuttle)))]
pub(crate) use self::real::*;
#[cfg(conpool_shuttle)]
pub(crate) use self::shuttle::*;

#[cfg(conpool_shuttle)]
pub(crate) use ::shuttle::thread_local;
#[cfg(not(conpool_shuttle))]
pub(crate) use std::thread_local;

/// For everything around the engine.
pub(crate) mod outer {
    #[cfg(not(conpool_shuttle))]
    pub(crate) use super::real::{Condvar, Mutex, MutexGuard};
    #[cfg(conpool_shuttle)]
    pub(crate) use super::shuttle::{Condvar, Mutex, MutexGuard};

    #[cfg(not(conpool_shuttle))]
    pub(crate) use super::real::channel;
    #[cfg(conpool_shuttle)]
    pub(crate) use super::shuttle::channel;

    #[cfg(conpool_shuttle)]
    pub(crate) use super::shuttle::thread;
    #[cfg(not(conpool_shuttle))]
    pub(crate) use std::thread;

    #[cfg(conpool_shuttle)]
    pub(crate) use ::shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    #[cfg(not(conpool_shuttle))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
}
