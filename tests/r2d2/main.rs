//! Managers that were written for r2d2.

#[path = "../common/mod.rs"]
mod common;
#[path = "mod.rs"]
mod r2d2;

mod r2d2_faults;
mod r2d2_guide;
mod r2d2_manager;
