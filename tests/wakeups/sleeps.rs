//! The voluntary sleeps of threads of this process, as the system counts them.
//!
//! Every wake-up costs a sleep: a thread that is asleep, and later asleep again with the same count, was not
//! woken in between. Preemption on a busy machine is counted separately, so it does not disturb these
//! numbers.

use std::{collections::BTreeMap, fs};

/// The system's counts for one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sleeps {
    /// Voluntary context switches: how often it went to sleep.
    pub(crate) count: u64,
    pub(crate) asleep: bool,
    /// Involuntary context switches: how often the system took its core.
    pub(crate) forced: u64,
}

/// The id of the calling thread, for [`of`].
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

/// The sleeps of every thread of this process whose name starts with `prefix`.
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
