//! Real servers for tests: started on a free port of this machine in a folder of their own, killed, frozen
//! and restarted on demand, and stopped when their handle is dropped, also by a panic.
//!
//! Where a server's programs are missing, `start` prints why and returns `None`, and the test passes without
//! it; with `CONPOOL_LIVE=required` in the environment it panics instead.

mod folder;
mod pgbouncer;
mod postgres;
mod process;
mod redis;

pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use redis::Redis;

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
};

/// Prints why a test is skipped.
fn skip(reason: &str) {
    assert!(
        env::var("CONPOOL_LIVE").as_deref() != Ok("required"),
        "required, but {reason}"
    );
    // Written directly: the test harness would capture the output of a macro.
    let _ = writeln!(io::stderr(), "SKIPPED: {reason}");
}

/// The first folder of `folders`, then of PATH, that has all of these programs.
fn find(programs: &[&str], folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut all = env::split_paths(&path).chain(folders);
    all.find(|folder| {
        programs
            .iter()
            .all(|program| folder.join(program).is_file())
    })
}
