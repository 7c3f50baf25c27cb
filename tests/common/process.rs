//! A process for one test alone, so that it may count and limit what the process uses.

use std::{
    env, process,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const TEST: &str = "CONPOOL_TEST_ALONE";
const ARGUMENT: &str = "CONPOOL_TEST_ARGUMENT";
/// A process that takes longer is stuck, and aborts itself.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs `body`, the whole body of the calling test, in a process of its own.
#[track_caller]
pub(crate) fn alone(body: impl FnOnce()) {
    match argument() {
        Some(_) => body(),
        None => drop(run("")),
    }
}

/// The argument that [`run`] passed to this process; `None` in the process of the test harness.
pub(crate) fn argument() -> Option<String> {
    let test = env::var(TEST).ok()?;
    // Some test harnesses run a single test on the main thread.
    let thread = thread::current();
    let name = thread.name().unwrap_or_default();
    assert!(name == "main" || name == test, "{name} instead of {test}");
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

/// Runs the calling test in a process of its own, with this argument, and returns its output.
#[track_caller]
pub(crate) fn run(argument: &str) -> String {
    let thread = thread::current();
    let test = thread
        .name()
        .expect("the test harness names the thread of a test");
    let output = Command::new(env::current_exe().expect("the path of this program"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(TEST, test)
        .env(ARGUMENT, argument)
        // One heap for all threads: its size depends less on which threads allocate.
        .env("MALLOC_ARENA_MAX", "1")
        .env_remove("RUST_MIN_STACK")
        .stdin(Stdio::null())
        .output()
        .expect("a process");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    // A name that matches no test would otherwise count as success.
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{test} alone: {}\n{printed}\n{complained}",
        output.status
    );
    printed
}
