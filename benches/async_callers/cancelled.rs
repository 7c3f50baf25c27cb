//! Requests whose clients give up, and quick requests after them.

use crate::{
    child::Numbers,
    driver::Connection,
    load::{HOLD, runtime},
    subjects::Subject,
    usage,
};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::timeout};

pub(crate) const QUICK: usize = 5;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) requests: usize,
    /// For how long each request occupies its connection.
    pub(crate) hold: Duration,
    /// For how long a client waits for its answer. The quick requests have the same limit.
    pub(crate) patience: Duration,
}

/// The result of one subject.
#[derive(Debug)]
pub(crate) struct Aftermath {
    /// The slow requests with an answer in time.
    pub(crate) served: f64,
    /// The threads above those of the runtime, once all clients have their answer or have given up.
    pub(crate) threads: f64,
    /// The requests that wait for a connection at that time. Negative: the pool does not tell.
    pub(crate) waiting: f64,
    /// The quick requests with an answer in time.
    pub(crate) quick: f64,
    /// The longest time of a quick request in nanoseconds, where all were served.
    pub(crate) longest: f64,
    /// The requests that got a connection after their client had given up, until the quick requests had ended.
    pub(crate) in_vain: f64,
}

impl Aftermath {
    pub(crate) fn to_numbers(&self) -> Numbers {
        vec![
            self.served,
            self.threads,
            self.waiting,
            self.quick,
            self.longest,
            self.in_vain,
        ]
    }

    pub(crate) fn from_numbers(numbers: &Numbers) -> Option<Self> {
        let &[served, threads, waiting, quick, longest, in_vain] = numbers.as_slice() else {
            return None;
        };
        Some(Self {
            served,
            threads,
            waiting,
            quick,
            longest,
            in_vain,
        })
    }
}

/// Asks once. Returns how long the answer took, if there was one in time.
async fn ask(
    subject: &'static impl Subject,
    hold: Duration,
    patience: Duration,
    in_vain: &'static AtomicU64,
) -> Option<Duration> {
    let start = Instant::now();
    let work = move |connection: &mut Connection| {
        if start.elapsed() > patience {
            in_vain.fetch_add(1, Relaxed);
        }
        connection.ask(hold);
    };
    let answer = timeout(patience, subject.request(work)).await;
    answer.is_ok_and(|got| got.is_ok()).then(|| start.elapsed())
}

/// Waits until all tasks have their answer or have given up. Returns the times of the answers.
async fn answers(tasks: Vec<JoinHandle<Option<Duration>>>) -> Vec<Duration> {
    let mut answers = Vec::new();
    for task in tasks {
        answers.extend(task.await.expect("no task panics"));
    }
    answers
}

pub(crate) fn run<S: Subject>(crowd: Crowd) -> Aftermath {
    let runtime = runtime();
    let threads = usage::threads();
    let in_vain: &AtomicU64 = Box::leak(Box::default());
    let subject: &S = Box::leak(Box::new(runtime.block_on(S::open())));
    let spawn = |count, hold| {
        let tasks = (0..count).map(|_| runtime.spawn(ask(subject, hold, crowd.patience, in_vain)));
        tasks.collect::<Vec<_>>()
    };

    let served = runtime.block_on(answers(spawn(crowd.requests, crowd.hold)));
    let threads = usage::threads().saturating_sub(threads);
    let waiting = subject.waiting().map_or(-1.0, |waiting| waiting as f64);
    let quick = runtime.block_on(answers(spawn(QUICK, HOLD)));
    let longest = quick.iter().max().copied().unwrap_or_default();
    // Threads may still be busy with requests of clients that have given up.
    runtime.shutdown_background();
    Aftermath {
        served: served.len() as f64,
        threads: threads as f64,
        waiting,
        quick: quick.len() as f64,
        longest: longest.as_nanos() as f64,
        in_vain: in_vain.load(Relaxed) as f64,
    }
}
