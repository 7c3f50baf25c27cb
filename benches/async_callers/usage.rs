//! The threads and the memory of this process.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Between two looks of the observer. A look takes some hundred microseconds with 500 threads.
const INTERVAL: Duration = Duration::from_millis(20);

/// A value in a file of `/proc/self`. Zero where the system has no such file.
fn value(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

pub(crate) fn threads() -> u64 {
    value("status", "Threads")
}

/// The resident memory that the process has written, in bytes. Pages of the program file do not count: a page
/// that is read for the first time would look like a cost of the requests. The map of the memory has the exact
/// value, and `VmRSS` lags behind by some hundred kilobytes.
pub(crate) fn memory() -> u64 {
    value("smaps_rollup", "Anonymous") * 1024
}

#[derive(Default)]
struct Peaks {
    threads: AtomicU64,
    memory: AtomicU64,
    ended: AtomicBool,
}

/// Observes the highest number of threads and the highest memory, on a thread of its own.
pub(crate) struct Observer {
    peaks: Arc<Peaks>,
    thread: thread::JoinHandle<()>,
}

impl Observer {
    pub(crate) fn start() -> Self {
        let peaks = Arc::new(Peaks::default());
        let observed = Arc::clone(&peaks);
        let thread = thread::spawn(move || {
            while !observed.ended.load(Relaxed) {
                observed.threads.fetch_max(threads(), Relaxed);
                observed.memory.fetch_max(memory(), Relaxed);
                thread::sleep(INTERVAL);
            }
        });
        Self { peaks, thread }
    }

    /// Returns the highest number of threads and the highest memory.
    pub(crate) fn end(self) -> (u64, u64) {
        self.peaks.ended.store(true, Relaxed);
        self.thread.join().expect("the observer does not panic");
        let Peaks {
            threads, memory, ..
        } = &*self.peaks;
        (threads.load(Relaxed), memory.load(Relaxed))
    }
}
