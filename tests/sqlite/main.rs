//! The SQLite manager.

#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
#[path = "../resources/mod.rs"]
mod resources;
#[path = "mod.rs"]
mod sqlite;
#[path = "../support/mod.rs"]
mod support;

mod sqlite_checkin;
mod sqlite_faults;
mod sqlite_keyed;
mod sqlite_manager;
mod sqlite_resources;
mod sqlite_transactions;
mod sqlite_writers;
