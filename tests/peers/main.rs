//! The statements of the pages about other pools, tested on those pools.

#[path = "../common/mod.rs"]
mod common;

mod comparison_async;
mod peers_r2d2;
