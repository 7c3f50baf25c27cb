//! Tasks under smol, and tasks that move between smol and tokio.

#[path = "../common/mod.rs"]
mod common;
#[path = "../runtimes/scenarios/mod.rs"]
mod scenarios;

mod both;
mod smol_runtimes;
