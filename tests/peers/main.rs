//! What the pages say of other pools, seen in those pools.

#[path = "../common/mod.rs"]
mod common;

mod comparison_async;
mod peers_r2d2;
