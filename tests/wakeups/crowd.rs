//! Many threads that wait for the same thing, and how often each was woken until it had it.

use super::sleeps;
use std::{
    cell::Cell,
    sync::mpsc,
    thread::{self, Builder, JoinHandle},
    time::{Duration, Instant},
};

/// Threads so small that a thousand of them cost little.
const STACK: usize = 256 * 1024;
/// A crowd that is not together by then never will be.
const LIMIT: Duration = Duration::from_secs(60);

/// Threads that wait in line.
pub(crate) struct Crowd {
    threads: Vec<(String, JoinHandle<(u64, Instant)>)>,
}

/// How a crowd came out of its line.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For each thread: how often it fell asleep again after it was woken, before it had what it
    /// waited for.
    pub(crate) in_vain: Vec<u64>,
    /// When the last one had it.
    pub(crate) last: Instant,
}

impl Outcome {
    /// Wake-ups for each thread that was served: one is needed.
    pub(crate) fn wakes_each(&self) -> f64 {
        let in_vain: u64 = self.in_vain.iter().sum();
        1.0 + in_vain as f64 / self.in_vain.len() as f64
    }
}

impl Crowd {
    /// So many threads that do this work. It calls its argument as soon as it has what it waited for.
    pub(crate) fn gather(n: usize, work: impl Fn(&dyn Fn()) + Clone + Send + 'static) -> Self {
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

    /// The sleeps of each so far; None where the system does not tell, or of one that is gone.
    pub(crate) fn sleeps(&self) -> Vec<Option<sleeps::Sleeps>> {
        let threads = self.threads.iter();
        threads.map(|(thread, _)| sleeps::of(thread)).collect()
    }

    /// Waits until all stand in line and sleep, and returns the sleeps of each so far.
    #[track_caller]
    pub(crate) fn asleep(&self, in_line: impl Fn() -> usize) -> Vec<u64> {
        let start = Instant::now();
        let mut before = Vec::new();
        loop {
            assert!(start.elapsed() < LIMIT, "no rest within {LIMIT:?}");
            if in_line() == self.threads.len() {
                let sleeps = self.sleeps();
                let sound =
                    |sleeps: &Option<sleeps::Sleeps>| sleeps.is_some_and(|sleeps| sleeps.asleep);
                // The same twice: none of them was only asleep on its way to the line.
                if sleeps == before && sleeps.iter().all(sound) {
                    return sleeps.iter().flatten().map(|sleeps| sleeps.count).collect();
                }
                before = sleeps;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all are served. `before`: their sleeps when they were asleep in line.
    #[track_caller]
    pub(crate) fn served(self, before: &[u64]) -> Outcome {
        let mut last = None;
        let mut in_vain = Vec::new();
        for ((_, thread), before) in self.threads.into_iter().zip(before) {
            let (sleeps, at) = thread.join().expect("a thread of the crowd panicked");
            in_vain.push(sleeps - before);
            last = last.max(Some(at));
        }
        let last = last.expect("a crowd");
        Outcome { in_vain, last }
    }
}
