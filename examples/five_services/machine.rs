//! The threads and descriptors of the process, and the machine's wake-up latency.

use crate::{
    tally::{Phase, Tally},
    waits::Waits,
};
use std::{
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// `None` where the system does not report it; Linux does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) threads: Option<usize>,
    pub(crate) descriptors: Option<usize>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let count = |path| Some(fs::read_dir(path).ok()?.count());
        Self {
            threads: count("/proc/self/task"),
            descriptors: count("/proc/self/fd"),
        }
    }

    /// Waits for a bounded time until the counts are as before: the system lists a joined thread for a moment
    /// more.
    pub(crate) fn settle(before: Self) -> Self {
        let start = Instant::now();
        loop {
            let now = Self::look();
            if now == before || start.elapsed() > Duration::from_secs(5) {
                return now;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A thread that sleeps for a millisecond at a time and records how late it wakes. A caller that waits for
/// one connection behind others has the same delay with any pool.
pub(crate) struct WakeupProbe {
    tally: Arc<Tally>,
    done: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl WakeupProbe {
    pub(crate) fn start() -> Self {
        let tally = Arc::new(Tally::default());
        let done = Arc::new(AtomicBool::new(false));
        let (notes, flag) = (Arc::clone(&tally), Arc::clone(&done));
        let period = Duration::from_millis(1);
        let thread = thread::spawn(move || {
            while !flag.load(Relaxed) {
                let start = Instant::now();
                thread::sleep(period);
                notes.note_wait(start.elapsed().saturating_sub(period));
            }
        });
        Self {
            tally,
            done,
            thread: Mutex::new(Some(thread)),
        }
    }

    pub(crate) fn turn(&self, phase: Phase) {
        self.tally.turn(phase);
    }

    pub(crate) fn late(&self, phase: Phase) -> Waits {
        self.tally.waits(phase)
    }

    pub(crate) fn stop(&self) {
        self.done.store(true, Relaxed);
        let thread = { self.thread.lock().unwrap_or_else(PoisonError::into_inner) }.take();
        if let Some(thread) = thread {
            thread.join().expect("the metronome panicked");
        }
    }
}
