//! The cores of the machine, and the system's counters of the threads on them.

use std::{fs, thread};

pub(crate) fn count() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get())
}

/// The load average of the last minute, where the system reports it.
pub(crate) fn load() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

/// Pins this thread to core `number`, modulo the cores that the process may use.
#[cfg(target_os = "linux")]
pub(crate) fn pin(number: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&core| allowed.is_set(core))
        .collect();
    if let Some(&core) = cores.get(number % cores.len().max(1)) {
        let mut only = CpuSet::new();
        only.set(core);
        if let Err(error) = sched_setaffinity(None, &only) {
            eprintln!("cannot stay on core {core}: {error}");
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_: usize) {}

/// The context switches of this thread so far, voluntary and forced. Linux only.
pub(crate) fn switches() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let counts = status.lines().filter_map(|line| {
        let (name, count) = line.split_once(':')?;
        name.ends_with("ctxt_switches")
            .then(|| count.trim().parse::<u64>().ok())?
    });
    Some(counts.sum())
}
