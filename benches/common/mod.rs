//! Shared by the benches: charts, units and the cores of the machine.

#![allow(
    dead_code,
    reason = "every bench that includes this uses another part of it"
)]

pub(crate) mod cores;
pub(crate) mod curves;
pub(crate) mod paint;
pub(crate) mod units;
