//! The threads of the process, and its limit on descriptors.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Raises the limit on descriptors for this many clients in the process of their server, and returns how many clients the
/// limit leaves room for.
pub(crate) fn room_for(clients: usize) -> usize {
    /// The database, the runtime and the standard streams.
    const OTHERS: usize = 200;
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        let wanted = (2 * clients + OTHERS) as u64;
        if limit.current.is_some_and(|current| current < wanted) {
            limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
            let _ = setrlimit(Resource::Nofile, limit);
        }
        let room = getrlimit(Resource::Nofile).current.unwrap_or(wanted) as usize;
        clients.min(room.saturating_sub(OTHERS) / 2)
    }
    #[cfg(not(unix))]
    clients
}

/// Looks at the number of threads until it is stopped.
pub(crate) struct Peak {
    before: Option<usize>,
    most: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Peak {
    pub(crate) fn start() -> Self {
        let (most, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (noted, flag) = (Arc::clone(&most), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !flag.load(Relaxed) {
                noted.fetch_max(threads().unwrap_or(0), Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self {
            before: threads(),
            most,
            is_over,
            thread,
        }
    }

    /// Returns by how many threads there were at most more than at the start.
    pub(crate) fn stop(self) -> Option<usize> {
        self.is_over.store(true, Relaxed);
        self.thread.join().expect("the measurement panicked");
        Some(self.most.load(Relaxed).saturating_sub(self.before?))
    }
}

/// The number of threads. `None` where the system does not report it; Linux does.
fn threads() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}
