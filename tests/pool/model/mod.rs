//! Random operations on a pool, compared with a reference model.
//!
//! A run is a list of operations on one thread. After each of them the [`Reference`] gets the operation, the
//! pool's answer and the hook calls with their results, and decides whether a correct pool may have done so.
//! Where the promises leave a choice (which idle connection comes first, which expired ones are disposed in
//! passing), the hook calls show the choice, and the reference follows. Everything else is computed and
//! compared: answers, ages, gauges and counters.

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
