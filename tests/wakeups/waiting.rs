//! Many threads that wait for the same thing, and the number of wake-ups of each.

use super::sleeps;
use std::{
    cell::Cell,
    sync::mpsc,
    thread::{self, Builder, JoinHandle},
    time::{Duration, Instant},
};

/// A small stack, so that a thousand threads cost little.
const STACK: usize = 256 * 1024;
/// The time limit until all threads wait.
const LIMIT: Duration = Duration::from_secs(60);

/// Threads that wait in a queue.
pub(crate) struct WaitingThreads {
    threads: Vec<(String, JoinHandle<(u64, Instant)>)>,
}

/// The result of a released queue.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For each thread: how often it fell asleep again after a wake-up, before it was served.
    pub(crate) spurious: Vec<u64>,
    /// When the last one was served.
    pub(crate) last: Instant,
}

impl Outcome {
    /// The wake-ups for each served thread: one is needed.
    pub(crate) fn wakes_each(&self) -> f64 {
        let spurious: u64 = self.spurious.iter().sum();
        1.0 + spurious as f64 / self.spurious.len() as f64
    }
}

impl WaitingThreads {
    /// Starts `n` threads that run `work`. `work` calls its argument as soon as it is served.
    pub(crate) fn spawn(n: usize, work: impl Fn(&dyn Fn()) + Clone + Send + 'static) -> Self {
        let (tell, told) = mpsc::channel();
        let spawn = |_| {
            let (tell, work) = (tell.clone(), work.clone());
            let thread = Builder::new().name("in line".into()).stack_size(STACK);
            let body = move || {
                tell.send(sleeps::this_thread()).expect("it is waited for");
                let seen = Cell::new(None);
                work(&|| seen.set(Some((Instant::now(), sleeps::own()))));
                let (at, sleeps) = seen.get().expect("the work says when it is served");
                (sleeps.map_or(0, |sleeps| sleeps.count), at)
            };
            let handle = thread.spawn(body).expect("a thread");
            let name = told.recv().expect("its first word");
            (name.unwrap_or_default(), handle)
        };
        Self {
            threads: (0..n).map(spawn).collect(),
        }
    }

    /// The sleeps of each so far; None where the system does not report it, or for an ended thread.
    pub(crate) fn sleeps(&self) -> Vec<Option<sleeps::Sleeps>> {
        let threads = self.threads.iter();
        threads.map(|(thread, _)| sleeps::of(thread)).collect()
    }

    /// Waits until all are queued and asleep, and returns the sleeps of each so far.
    #[track_caller]
    pub(crate) fn asleep(&self, queued: impl Fn() -> usize) -> Vec<u64> {
        let start = Instant::now();
        let mut before = Vec::new();
        loop {
            assert!(start.elapsed() < LIMIT, "no rest within {LIMIT:?}");
            if queued() == self.threads.len() {
                let sleeps = self.sleeps();
                let sound =
                    |sleeps: &Option<sleeps::Sleeps>| sleeps.is_some_and(|sleeps| sleeps.asleep);
                // Twice the same counts: none of them was only asleep on its way to the queue.
                if sleeps == before && sleeps.iter().all(sound) {
                    return sleeps.iter().flatten().map(|sleeps| sleeps.count).collect();
                }
                before = sleeps;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all are served. `before`: their sleeps when they were asleep in the queue.
    #[track_caller]
    pub(crate) fn served(self, before: &[u64]) -> Outcome {
        let mut last = None;
        let mut spurious = Vec::new();
        for ((_, thread), before) in self.threads.into_iter().zip(before) {
            let (sleeps, at) = thread.join().expect("a thread of the crowd panicked");
            spurious.push(sleeps - before);
            last = last.max(Some(at));
        }
        let last = last.expect("a crowd");
        Outcome { spurious, last }
    }
}
