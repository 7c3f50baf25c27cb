//! Shared by the parts: managers without or with a fixed cost, clocks, tables.

use conpool::{ConnectionManager, Pool, PoolBuilder};
use hdrhistogram::Histogram;
use std::{
    convert::Infallible,
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// How thorough a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Full,
    /// A smoke test: its numbers mean little.
    Quick,
}

impl Scale {
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// Makes connections that are numbers. A create takes this long.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Numbers {
    pub(crate) create: Duration,
    /// Declares that a check may block, so that the check runs on a thread of the pool.
    pub(crate) blocking_check: bool,
}

impl Numbers {
    fn make(&self) -> u64 {
        if !self.create.is_zero() {
            thread::sleep(self.create);
        }
        0
    }
}

impl ConnectionManager for Numbers {
    type Connection = u64;
    type Error = Infallible;

    fn create(&self) -> Result<u64, Infallible> {
        Ok(self.make())
    }

    fn check_aliveness(&self, connection: &mut u64) -> Result<(), Infallible> {
        black_box(connection);
        Ok(())
    }

    fn check_may_block(&self) -> bool {
        self.blocking_check
    }
}

impl r2d2::ManageConnection for Numbers {
    type Connection = u64;
    type Error = Infallible;

    fn connect(&self) -> Result<u64, Infallible> {
        Ok(self.make())
    }

    fn is_valid(&self, connection: &mut u64) -> Result<(), Infallible> {
        black_box(connection);
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

/// A pool that has opened this many idle connections.
pub(crate) fn filled(
    builder: PoolBuilder<Numbers>,
    manager: Numbers,
    connections: usize,
) -> Pool<Numbers> {
    let pool = builder.build_lazy(manager).expect("good settings");
    for _ in 0..connections {
        pool.add(0).expect("room");
    }
    pool
}

/// An r2d2 pool without checks at checkout, like the pools here.
pub(crate) fn r2d2(size: usize, min_idle: Option<usize>, manager: Numbers) -> r2d2::Pool<Numbers> {
    let narrow = |n| u32::try_from(n).expect("a small number");
    r2d2::Pool::builder()
        .max_size(narrow(size))
        .min_idle(min_idle.map(narrow))
        .test_on_check_out(false)
        .connection_timeout(Duration::from_secs(120))
        .build(manager)
        .expect("nothing can fail")
}

/// Times single steps of some ten nanoseconds. Subtracts the cost of reading the clock.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    own: u64,
    seen: Histogram<u64>,
}

impl Stopwatch {
    pub(crate) fn new() -> Self {
        let mut empty = Self {
            own: 0,
            seen: histogram(),
        };
        (0..2000).for_each(|_| empty.time(|| {}));
        Self {
            own: empty.at(0.5),
            seen: histogram(),
        }
    }

    pub(crate) fn time<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = step();
        self.note(start.elapsed());
        result
    }

    pub(crate) fn note(&mut self, took: Duration) {
        let took = took.as_nanos() as u64;
        self.seen.saturating_record(took.saturating_sub(self.own));
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.seen.add(&other.seen).expect("the same precision");
    }

    /// The nanoseconds at this quantile.
    pub(crate) fn at(&self, quantile: f64) -> u64 {
        self.seen.value_at_quantile(quantile)
    }

    pub(crate) fn max(&self) -> u64 {
        self.seen.max()
    }
}

fn histogram() -> Histogram<u64> {
    let longest = 100_000_000_000;
    Histogram::new_with_bounds(1, longest, 3).expect("good bounds")
}

/// Runs the same work on `threads` threads at once, each until the time is over.
pub(crate) fn together<R: Send>(
    threads: usize,
    time: Duration,
    work: impl Fn(&AtomicBool) -> R + Sync,
) -> Vec<R> {
    let (ready, over) = (Barrier::new(threads + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    work(&over)
                })
            })
            .collect();
        ready.wait();
        thread::sleep(time);
        over.store(true, Relaxed);
        let results = running.into_iter().map(|thread| thread.join());
        results.map(|result| result.expect("no panic")).collect()
    })
}

/// The wall time per cycle, in nanoseconds, of all threads together.
pub(crate) fn per_cycle(threads: usize, time: Duration, cycle: impl Fn() + Sync) -> f64 {
    let spans = together(threads, time, |over| {
        let start = Instant::now();
        let mut cycles = 0_u64;
        while !over.load(Relaxed) {
            cycle();
            cycles += 1;
        }
        (start, Instant::now(), cycles)
    });
    let start = spans.iter().map(|(start, ..)| *start).min();
    let end = spans.iter().map(|(_, end, _)| *end).max();
    let took = start.zip(end).map_or(time, |(start, end)| end - start);
    let cycles: u64 = spans.iter().map(|(.., cycles)| cycles).sum();
    took.as_nanos() as f64 / cycles as f64
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Formats nanoseconds in a readable unit.
pub(crate) fn nanos(ns: f64) -> String {
    match ns {
        ns if ns.abs() < 1e3 => format!("{ns:.0} ns"),
        ns if ns.abs() < 1e6 => format!("{:.1} us", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

/// Prints rows under a head, the first column aligned left and the others right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]);
        let lengths = cells.filter_map(|row| row.get(column));
        lengths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in [&head].into_iter().chain(rows) {
        let cells = row.iter().zip(&widths).enumerate();
        let line: Vec<String> = cells
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        println!("  {}", line.join("  ").trim_end());
    }
}

/// Prints the requirement and whether it was met.
pub(crate) fn verdict(required: &str, met: bool, found: &str) {
    let met = if met { "met" } else { "MISSED" };
    println!("  required: {required}\n    {met}: {found}");
}
