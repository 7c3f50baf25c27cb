//! What `PoolMetrics` tells a recorder: names, counts, gauges, and when it registers what.

#[path = "../common/mod.rs"]
mod common;

mod board;
mod events;
mod gauges;
mod names;
mod registering;
mod several;
