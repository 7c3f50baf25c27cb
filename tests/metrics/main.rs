//! What `PoolMetrics` tells a recorder: names, counts, gauges, and when it registers what.

#[path = "../common/mod.rs"]
mod common;

mod events;
mod gauges;
mod names;
mod recorder;
mod registering;
mod several;
