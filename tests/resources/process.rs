//! A process for one test alone, so that it may count and limit what the process uses.

use std::{
    env, process,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const TEST: &str = "CONPOOL_TEST_ALONE";
const ARGUMENT: &str = "CONPOOL_TEST_ARGUMENT";
/// A process that takes longer is wedged, and ends itself.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs `body`, which is all of the test of this name, in a process of its own.
#[track_caller]
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    match argument(test) {
        Some(_) => body(),
        None => drop(run(test, "")),
    }
}

/// Whether this is the process that [`run`] started for this test, and what it was given.
pub(crate) fn argument(test: &str) -> Option<String> {
    if env::var(TEST).ok()? != test {
        return None;
    }
    let guard = thread::Builder::new()
        .name("time limit".into())
        .stack_size(128 * 1024);
    let guarding = guard.spawn(|| {
        thread::sleep(LIMIT);
        eprintln!("not finished after {LIMIT:?}");
        process::abort();
    });
    guarding.expect("no limit is set yet");
    env::var(ARGUMENT).ok()
}

/// Runs the test of this name in a process of its own, with this argument, and returns what it
/// printed.
#[track_caller]
pub(crate) fn run(test: &str, argument: &str) -> String {
    let output = Command::new(env::current_exe().expect("the path of this program"))
        .args([test, "--nocapture", "--test-threads=1"])
        .env(TEST, test)
        .env(ARGUMENT, argument)
        // With one heap for all threads, its size tells more of what is used than of who asked.
        .env("MALLOC_ARENA_MAX", "1")
        .env_remove("RUST_MIN_STACK")
        .stdin(Stdio::null())
        .output()
        .expect("a process");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    // A name that matches no test would else pass for success.
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{test} alone: {}\n{printed}\n{complained}",
        output.status
    );
    printed
}
