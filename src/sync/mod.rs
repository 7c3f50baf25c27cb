//! The synchronization types of the crate: the real types, or those of a model checker.
//!
//! With `--cfg conpool_loom` the engine runs under loom, which tries every interleaving and every value that
//! a load may return. Loom is too slow for more than the engine, so the other modules, which take their types
//! from [`outer`], keep the real types. With `--cfg conpool_shuttle` whole pools run under random schedules,
//! with their threads and with simulated time.

#[cfg(conpool_loom)]
mod loom;
#[cfg(any(conpool_loom, conpool_shuttle))]
mod mutex;
#[cfg(not(conpool_shuttle))]
mod real;
#[cfg(conpool_shuttle)]
mod shuttle;

#[cfg(conpool_loom)]
pub(crate) use self::loom::*;
#[cfg(any(conpool_loom, conpool_shuttle))]
pub(crate) use self::mutex::{Mutex, MutexGuard};
#[cfg(not(any(conpool_loom, conpool_shuttle)))]
pub(crate) use self::real::*;
#[cfg(conpool_shuttle)]
pub(crate) use self::shuttle::*;

#[cfg(conpool_shuttle)]
pub(crate) use ::shuttle::thread_local;
#[cfg(not(conpool_shuttle))]
pub(crate) use std::thread_local;

/// The types for all modules outside of the engine.
pub(crate) mod outer {
    #[cfg(not(conpool_shuttle))]
    pub(crate) use super::real::{Condvar, Mutex, MutexGuard};
    #[cfg(conpool_shuttle)]
    pub(crate) use super::{Condvar, Mutex, MutexGuard};

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
