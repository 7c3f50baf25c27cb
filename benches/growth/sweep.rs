//! A sweep over 10 000 idle connections, and callers at the same time.
//!
//! Sweeps follow each other without a pause, unlike the collector's. A second measurement sweeps another pool
//! of the same size, which shares only the machine with the callers. The difference is the cost of the
//! sweeps; the rest is the cost of a second busy core.

use crate::measure::{Numbers, Scale, Stopwatch, filled, median, nanos, table, verdict};
use crate::wakeups::sleeps;
use conpool::{HealthCheck, Pool};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

const SIZE: usize = 10_000;
/// The allowed delay of a get by a sweep, in nanoseconds.
const MOST: f64 = 20_000.0;

/// A longer step has waited for a lock or for its core.
const SUSPICIOUS: Duration = Duration::from_micros(5);

/// A pool in which every expiry has to be examined, but is hours away.
fn pool() -> Pool<Numbers> {
    let hour = Duration::from_secs(3600);
    let builder = Pool::builder()
        .max_size(SIZE)
        .idle_timeout(hour)
        .max_lifetime(hour * 5)
        .keepalive_interval(hour * 2)
        .health_check(HealthCheck::Never);
    filled(builder, Numbers::default(), SIZE)
}

/// The results of one kind of step beside one kind of neighbour, one per round.
#[derive(Default)]
struct Rounds {
    p50: Vec<f64>,
    p999: Vec<f64>,
    p9999: Vec<f64>,
    max: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, watch: &Stopwatch) {
        self.p50.push(watch.at(0.5) as f64);
        self.p999.push(watch.at(0.999) as f64);
        self.p9999.push(watch.at(0.9999) as f64);
        self.max.push(watch.max() as f64);
    }

    fn medians(&self) -> [f64; 4] {
        [&self.p50, &self.p999, &self.p9999, &self.max].map(|values| median(values.clone()))
    }
}

const NEIGHBOURS: [&str; 3] = ["nobody", "sweeps of another pool", "sweeps of this pool"];

pub(crate) fn run(scale: Scale) {
    let (rounds, time) = scale.pick(
        (15, Duration::from_millis(150)),
        (3, Duration::from_millis(20)),
    );
    let (ours, other) = (pool(), pool());
    let held = ours.get().expect("one");
    let steps: [(&str, &dyn Fn()); 3] = [
        ("get and drop, warm", &|| drop(ours.get().expect("one"))),
        ("get of two and drop", &|| drop([ours.get(), ours.get()])),
        // `add` is refused under the pool's lock, so its time shows how long the lock was held.
        ("add to a full pool", &|| {
            drop(ours.add(0).expect_err("full"))
        }),
    ];
    let mut seen = steps.map(|_| NEIGHBOURS.map(|_| Rounds::default()));
    for _ in 0..rounds {
        for ((_, step), seen) in steps.iter().zip(&mut seen) {
            for (neighbour, seen) in [None, Some(&other), Some(&ours)].iter().zip(seen) {
                seen.add(&beside(*neighbour, time, step));
            }
        }
    }
    drop(held);

    let mut rows = Vec::new();
    for ((name, _), seen) in steps.iter().zip(&seen) {
        for (neighbour, seen) in NEIGHBOURS.iter().zip(seen) {
            let mut row = vec![(*name).to_owned(), (*neighbour).to_owned()];
            row.extend(seen.medians().map(nanos));
            rows.push(row);
        }
    }
    table(&["step", "beside", "p50", "p99.9", "p99.99", "max"], &rows);
    let sweeps: Vec<f64> = (0..scale.pick(200, 20))
        .map(|_| {
            let start = Instant::now();
            ours.sweep();
            start.elapsed().as_nanos() as f64
        })
        .collect();
    println!(
        "  medians of {rounds} rounds; one sweep takes {}",
        nanos(median(sweeps))
    );
    for ((name, _), [_, beside, swept]) in steps.iter().zip(&seen) {
        let later = |at: usize| swept.medians()[at] - beside.medians()[at];
        let required = if name.starts_with("get") {
            format!("a sweep over {SIZE} delays no get by more than 20 us ({name})")
        } else {
            format!(
                "a sweep holds no lock while it walks: it delays by no more than 20 us ({name})"
            )
        };
        let met = later(2) <= MOST && later(3) <= MOST;
        let found = format!(
            "p99.99 {} and max {} later",
            nanos(later(2)),
            nanos(later(3))
        );
        verdict(&required, met, &found);
    }
}

/// Times a step for a while, beside a thread that sweeps `swept` without a pause.
fn beside(swept: Option<&Pool<Numbers>>, time: Duration, step: &dyn Fn()) -> Stopwatch {
    let (ready, over) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        // With min_idle a sweep has one more thing to count. Without the test's sweeps the collector would
        // sweep while there are checkouts.
        keep_idle(swept, SIZE);
        scope.spawn(|| {
            ready.wait();
            while let Some(pool) = swept.filter(|_| !over.load(Relaxed)) {
                pool.sweep();
            }
        });
        ready.wait();
        let watch = times(time, step);
        over.store(true, Relaxed);
        keep_idle(swept, 0);
        watch
    })
}

fn keep_idle(pool: Option<&Pool<Numbers>>, n: usize) {
    if let Some(pool) = pool {
        pool.set_min_idle(n).expect("not more than there are");
    }
}

/// Times a step again and again. A measurement during which the system took the core away is left out,
/// because the pool did not cause it. Each measurement begins where the last one ended, so none of these
/// interruptions is missed.
fn times(time: Duration, step: &dyn Fn()) -> Stopwatch {
    let forced = || sleeps::own().map(|sleeps| sleeps.forced);
    let mut watch = Stopwatch::new();
    let mut before = forced();
    let mut last = Instant::now();
    let end = last + time;
    while last < end {
        step();
        let mut now = Instant::now();
        let took = now - last;
        let mut counts = true;
        if took >= SUSPICIOUS {
            let after = forced();
            counts = before == after;
            before = after;
            now = Instant::now();
        }
        if counts {
            watch.note(took);
        }
        last = now;
    }
    watch
}
