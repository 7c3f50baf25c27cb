//! One subject under load, in this process: many tasks, each with requests in turn.

use crate::{
    child::Numbers,
    driver::Connection,
    subjects::{Failure, Subject},
    usage::{self, Observer},
};
use hdrhistogram::Histogram;
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, sync::Semaphore};

pub(crate) const HOLD: Duration = Duration::from_millis(1);
pub(crate) const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) tasks: usize,
    /// The requests of each task.
    pub(crate) requests: usize,
}

/// The result of one run.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Requests per second.
    pub(crate) rate: f64,
    /// In nanoseconds, from the start of a request until its closure begins: at each of the [`QUANTILES`].
    pub(crate) waits: [f64; 4],
    /// In nanoseconds, from the start of a request until its task goes on.
    pub(crate) wholes: [f64; 4],
    /// The most threads at a time, without those of the runtime.
    pub(crate) threads: f64,
    /// The growth of the memory, in bytes per task.
    pub(crate) memory: f64,
    /// The requests without a connection.
    pub(crate) failed: f64,
}

impl Sample {
    pub(crate) fn to_numbers(&self) -> Numbers {
        let mut numbers = vec![self.rate, self.threads, self.memory, self.failed];
        numbers.extend(self.waits);
        numbers.extend(self.wholes);
        numbers
    }

    pub(crate) fn from_numbers(numbers: &Numbers) -> Option<Self> {
        let (head, quantiles) = numbers.split_at_checked(4)?;
        let (waits, wholes) = quantiles.split_at_checked(4)?;
        Some(Self {
            rate: head[0],
            threads: head[1],
            memory: head[2],
            failed: head[3],
            waits: waits.try_into().ok()?,
            wholes: wholes.try_into().ok()?,
        })
    }
}

/// The times of all requests in microseconds, each in a place of its own. All memory of the measurement is written
/// before the run, so that it is no part of the growth.
struct Times {
    waits: Vec<AtomicU32>,
    wholes: Vec<AtomicU32>,
}

/// A request that has failed, or that has not ended.
const NONE: u32 = u32::MAX;

impl Times {
    fn new(requests: usize) -> Self {
        let none = || (0..requests).map(|_| AtomicU32::new(NONE)).collect();
        Self {
            waits: none(),
            wholes: none(),
        }
    }
}

fn set(time: &AtomicU32, start: Instant) {
    let micros = u32::try_from(start.elapsed().as_micros()).unwrap_or(NONE - 1);
    time.store(micros, Relaxed);
}

fn quantiles(times: &[AtomicU32]) -> [f64; 4] {
    let mut histogram = Histogram::<u64>::new(3).expect("a valid precision");
    let ended = times.iter().map(|time| time.load(Relaxed));
    for micros in ended.filter(|&micros| micros != NONE) {
        histogram.record(u64::from(micros)).expect("it grows");
    }
    QUANTILES.map(|quantile| histogram.value_at_quantile(quantile) as f64 * 1e3)
}

/// Two workers, and up to 512 threads of `spawn_blocking`, which is the default.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("no I/O is asked for")
}

async fn request(
    subject: &'static impl Subject,
    times: &'static Times,
    place: usize,
) -> Result<(), Failure> {
    let start = Instant::now();
    let work = move |connection: &mut Connection| {
        set(&times.waits[place], start);
        connection.ask(HOLD);
    };
    // Boxed, so that the memory of a request is not a part of its task: the tasks exist before the run.
    Box::pin(subject.request(work)).await?;
    set(&times.wholes[place], start);
    Ok(())
}

pub(crate) fn run<S: Subject>(load: Load) -> Sample {
    let Load { tasks, requests } = load;
    let runtime = runtime();
    let observer = Observer::start();
    let times: &Times = Box::leak(Box::new(Times::new(tasks * requests)));
    let subject: &OnceLock<S> = Box::leak(Box::default());
    let start: &Semaphore = Box::leak(Box::new(Semaphore::new(0)));

    let one = move |task: usize| async move {
        start.acquire().await.expect("it stays open").forget();
        let subject = subject.get().expect("it was opened before the start");
        let mut failed = 0;
        for place in (task * requests..).take(requests) {
            if let Err(error) = request(subject, times, place).await {
                eprintln!("{error}");
                failed += 1;
            }
        }
        failed
    };
    let running: Vec<_> = (0..tasks).map(|task| runtime.spawn(one(task))).collect();
    // All tasks wait for the start, and the observer is there.
    std::thread::sleep(Duration::from_millis(100));
    let (threads, memory) = (usage::threads(), usage::memory());
    let (took, failed) = runtime.block_on(async {
        assert!(subject.set(S::open().await).is_ok());
        let begin = Instant::now();
        start.add_permits(tasks);
        let mut failed = 0;
        for task in running {
            failed += task.await.expect("no task panics");
        }
        (begin.elapsed(), failed)
    });
    let peak = observer.end();
    Sample {
        rate: (tasks * requests) as f64 / took.as_secs_f64(),
        waits: quantiles(&times.waits),
        wholes: quantiles(&times.wholes),
        threads: peak.0.saturating_sub(threads) as f64,
        memory: peak.1.saturating_sub(memory) as f64 / tasks as f64,
        failed: f64::from(failed),
    }
}
