//! Random use of a pool, held against a naive reference.
//!
//! A run is a list of operations on one thread. After each of them the [`Reference`] hears what was
//! asked, what the pool answered and which hooks ran with which result, and says whether a pool that
//! keeps its promises may have done so. Where the promises leave a choice (which idle connection comes
//! first, what of the overdue is disposed in passing) the hooks tell how it was made, and the reference
//! follows. Everything else is computed and compared: answers, ages, gauges and counters.

#![allow(
    dead_code,
    reason = "the regressions draw nothing, the properties name no settings"
)]

pub(crate) mod backend;
pub(crate) mod operation;
pub(crate) mod reference;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod settings;
pub(crate) mod verdict;

#[allow(unused_imports, reason = "as above")]
pub(crate) use self::{
    operation::{Op, operations},
    run::run,
    settings::{Check, Settings, settings},
};
