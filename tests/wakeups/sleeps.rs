//! How often threads of this process went to sleep, as the system counts it.
//!
//! Every wake-up is paid for by a nap: a thread that is asleep, and later asleep again with the same
//! count, was not woken in between. What a busy machine does to a thread that wants to run is counted
//! apart, so these numbers have no noise of that kind.

use std::{collections::BTreeMap, fs};

/// What the system tells of one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sleeps {
    /// How often it went to sleep of its own accord.
    pub(crate) count: u64,
    pub(crate) asleep: bool,
    /// How often the system took the core from it.
    pub(crate) forced: u64,
}

/// The calling thread, as the others may ask for it.
pub(crate) fn this_thread() -> Option<String> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

/// The sleeps of the calling thread so far.
pub(crate) fn own() -> Option<Sleeps> {
    read("/proc/thread-self/status")
}

/// The sleeps of a thread of this process so far.
pub(crate) fn of(thread: &str) -> Option<Sleeps> {
    read(&format!("/proc/self/task/{thread}/status"))
}

/// The sleeps of every thread of this process whose name begins like this.
pub(crate) fn of_named(prefix: &str) -> BTreeMap<String, Sleeps> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let threads = tasks.flatten().filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let thread = task.file_name().to_str()?.to_owned();
        let sleeps = of(&thread)?;
        name.starts_with(prefix).then_some((thread, sleeps))
    });
    threads.collect()
}

fn read(file: &str) -> Option<Sleeps> {
    let status = fs::read_to_string(file).ok()?;
    let field = |name| {
        let mut lines = status.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim()))
    };
    Some(Sleeps {
        count: field("voluntary_ctxt_switches:")?.parse().ok()?,
        asleep: field("State:")?.starts_with('S'),
        forced: field("nonvoluntary_ctxt_switches:")?.parse().ok()?,
    })
}
