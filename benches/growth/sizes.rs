//! Get and drop in pools of 1 to 10 000 connections: the cost of finding one.

use crate::measure::{
    Numbers, Scale, Stopwatch, filled, nanos, per_cycle, r2d2, table, together, verdict,
};
use conpool::{HealthCheck, Pool, PooledConnection};
use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

const SIZES: [usize; 5] = [1, 10, 100, 1000, 10_000];
/// The two sizes that the verdict compares.
const FROM: usize = 10;
const TO: usize = 10_000;

const COLUMNS: [&str; 7] = [
    "warm",
    "r2d2",
    "no hint",
    "last",
    "first",
    "check due",
    "alone",
];

const LEGEND: [&str; 6] = [
    "warm       get and drop by threads that each used a connection before; r2d2: the same there",
    "no hint    by a thread that remembers no slot of this pool, all connections idle; median",
    "last       the same when only the highest slots are free, one for each thread; median",
    "first      the first of those after everybody has taken its connection the warm way; median",
    "check due  the connection has to be checked on a thread of the pool first; median",
    "alone      no hint, in a pool without a collector, whose callers do its work; median",
];

/// Other pools, so many that a thread that has used all of them has no cached slot of a further pool.
struct Others(Vec<Pool<Numbers>>);

impl Others {
    fn new() -> Self {
        let small = || Pool::builder().max_size(8).background_collector(false);
        let pool = || filled(small(), Numbers::default(), 8);
        Self((0..16).map(|_| pool()).collect())
    }

    fn use_all(&self) {
        for pool in &self.0 {
            drop(pool.get());
        }
    }
}

pub(crate) fn run(scale: Scale) {
    let time = scale.pick(Duration::from_millis(250), Duration::from_millis(8));
    let others = Others::new();
    let mut rows = Vec::new();
    let mut costs = Vec::new();
    for threads in [1, 8] {
        for size in SIZES {
            let cost = measure(size, threads, time, &others);
            let mut row = vec![size.to_string(), threads.to_string()];
            let cells = cost.iter();
            row.extend(cells.map(|cost| cost.map_or("-".to_owned(), nanos)));
            rows.push(row);
            costs.push((threads, size, cost));
        }
    }
    let head: Vec<&str> = ["size", "threads"].into_iter().chain(COLUMNS).collect();
    table(&head, &rows);
    LEGEND.iter().for_each(|line| println!("  {line}"));

    for threads in [1, 8] {
        for (column, name) in COLUMNS
            .iter()
            .enumerate()
            .filter(|(_, name)| **name != "r2d2")
        {
            let at = |size| {
                let mut costs = costs.iter();
                let row = costs.find(|(all, of, _)| (*all, *of) == (threads, size));
                row.and_then(|(.., cost)| cost[column])
            };
            let Some((small, large)) = at(FROM).zip(at(TO)) else {
                continue;
            };
            let required = format!(
                "no scan that hurts ({name}, threads: {threads}; {TO} connections cost at most twice \
                 as much as {FROM}, or a microsecond more)"
            );
            let met = large <= (2.0 * small).max(small + 1000.0);
            verdict(
                &required,
                met,
                &format!("{} and {}", nanos(small), nanos(large)),
            );
        }
    }
}

fn measure(size: usize, threads: usize, time: Duration, others: &Others) -> [Option<f64>; 7] {
    let numbers = Numbers::default();
    let builder = || {
        Pool::builder()
            .max_size(size)
            .health_check(HealthCheck::Never)
    };
    let pool = filled(builder(), numbers, size);
    let cycle = |pool: &Pool<Numbers>| drop(pool.get().expect("one"));
    let warm = per_cycle(threads, time, || cycle(&pool));
    let theirs = r2d2(size, None, numbers);
    let r2d2 = per_cycle(threads, time, || drop(theirs.get().expect("one")));
    drop(theirs);
    let no_hint = cold(&pool, threads, time, others);
    let room = size > threads;
    let last = room.then(|| {
        let held = take(&pool, size - threads);
        let last = cold(&pool, threads, time, others);
        drop(held);
        last
    });
    if threads > 1 {
        return [
            Some(warm),
            Some(r2d2),
            Some(no_hint),
            last,
            None,
            None,
            None,
        ];
    }
    let first = room.then(|| first(&pool, size, time, others));

    let health = HealthCheck::OnCheckout;
    let checking = Numbers {
        blocking_check: true,
        ..numbers
    };
    let checked = filled(builder().health_check(health), checking, size);
    let check_due = cold(&checked, 1, time, others);
    let alone = filled(builder().background_collector(false), numbers, size);
    let alone = cold(&alone, 1, time, others);
    [
        Some(warm),
        Some(r2d2),
        Some(no_hint),
        last,
        first,
        Some(check_due),
        Some(alone),
    ]
}

fn take(pool: &Pool<Numbers>, n: usize) -> Vec<PooledConnection<Numbers>> {
    (0..n).map(|_| pool.get().expect("one")).collect()
}

/// The median of get and drop on threads that have just used other pools.
fn cold(pool: &Pool<Numbers>, threads: usize, time: Duration, others: &Others) -> f64 {
    let watches = together(threads, time, |over| {
        let mut watch = Stopwatch::new();
        while !over.load(Relaxed) {
            others.use_all();
            watch.time(|| drop(pool.get().expect("one")));
        }
        watch
    });
    let mut all = Stopwatch::new();
    watches.iter().for_each(|watch| all.join(watch));
    all.at(0.5) as f64
}

/// The median of a get that passes every slot in use for the first time.
fn first(pool: &Pool<Numbers>, size: usize, time: Duration, others: &Others) -> f64 {
    let mut held: Vec<_> = take(pool, size - 1).into_iter().map(Some).collect();
    let mut watch = Stopwatch::new();
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < time || rounds < 20 {
        // Given back and taken again by the same thread: its slot cache finds the slot directly.
        for guard in &mut held {
            drop(guard.take());
            *guard = Some(pool.get().expect("the same again"));
        }
        others.use_all();
        watch.time(|| drop(pool.get().expect("the last one")));
        rounds += 1;
    }
    watch.at(0.5) as f64
}
