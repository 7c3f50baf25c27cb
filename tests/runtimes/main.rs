//! Tasks under real runtimes: tokio with one thread and with several, and executors of this test that use std alone.

#[path = "../common/mod.rs"]
mod common;
mod scenarios;

mod bare;
mod closures;
mod many;
mod moves;
mod shutdown;
mod timers;
mod tokio_runtimes;
