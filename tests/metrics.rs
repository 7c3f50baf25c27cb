//! What `PoolMetrics` tells a recorder: names, counts, gauges, and when it registers what.

mod common;

#[path = "metrics/board.rs"]
mod board;
#[path = "metrics/events.rs"]
mod events;
#[path = "metrics/gauges.rs"]
mod gauges;
#[path = "metrics/names.rs"]
mod names;
#[path = "metrics/registering.rs"]
mod registering;
#[path = "metrics/several.rs"]
mod several;
