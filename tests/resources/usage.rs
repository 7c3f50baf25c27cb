//! The system resources of this process.

use crate::common::SOON;
use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// The usage that must be back at the start when a pool is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
}

impl Usage {
    pub(crate) fn now() -> Self {
        Self {
            threads: entries("/proc/self/task"),
            descriptors: entries("/proc/self/fd"),
        }
    }

    /// Waits until the usage is down to this. A joined thread may be listed for some microseconds more.
    #[track_caller]
    pub(crate) fn is_restored(self, after: &str) {
        let start = Instant::now();
        loop {
            let now = Self::now();
            if now == self {
                return;
            }
            assert!(
                start.elapsed() < SOON,
                "{after}: {now:?} instead of {self:?}"
            );
            thread::sleep(Duration::from_micros(100));
        }
    }
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// The number of mappings of the address space. The stack of a thread is two of them.
pub(crate) fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count())
}

/// Resident memory, in bytes.
pub(crate) fn resident() -> u64 {
    status("VmRSS:")
}

/// The size of the address space, in bytes.
pub(crate) fn address_space() -> u64 {
    status("VmSize:")
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
