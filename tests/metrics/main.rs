//! The calls of `PoolMetrics` to a recorder: names, counts, gauges, and the time of registration.

#[path = "../common/mod.rs"]
mod common;

mod events;
mod gauges;
mod names;
mod recorder;
mod registering;
mod several;
