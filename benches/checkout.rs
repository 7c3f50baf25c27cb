//! The cost of a checkout and its check-in, compared with r2d2 in the same run.
//!
//! ```text
//! cargo bench                       all of it, some minutes
//! cargo bench -- "1 thread"         one group
//! cargo bench -- --test             each once, to see that it works
//! ```
//!
//! Every number is wall time divided by the get-and-drop cycles of *all* threads together. The connection is
//! a number and every hook returns at once, so the number is the cost of the pool alone. "checked" means that
//! each checkout asks the manager whether the connection is alive: the default of r2d2, and
//! `HealthCheck::OnCheckout` here.

mod nothing;

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use conpool::{HealthCheck, Pool};
use criterion::{BenchmarkGroup, Criterion, SamplingMode, measurement::WallTime};
use nothing::Nothing;

/// A pool that has opened all its connections, like an r2d2 pool after its build.
fn conpool(size: usize, health_check: HealthCheck) -> Pool<Nothing> {
    let pool = Pool::builder()
        .max_size(size)
        .health_check(health_check)
        .build(Nothing)
        .expect("nothing can fail");
    let all: Vec<_> = (0..size).map(|_| pool.get()).collect();
    assert!(all.iter().all(Result::is_ok));
    drop(all);
    pool
}

fn r2d2(size: usize, test_on_check_out: bool) -> r2d2::Pool<Nothing> {
    r2d2::Pool::builder()
        .max_size(u32::try_from(size).expect("a small pool"))
        .test_on_check_out(test_on_check_out)
        .build(Nothing)
        .expect("nothing can fail")
}

/// Measures one cycle in four pools: conpool and r2d2, each without and with a check.
fn compare(criterion: &mut Criterion, threads: usize, size: usize, hold: Option<Duration>) {
    let suffix = hold.map_or(String::new(), |hold| format!(", held {hold:?}"));
    let plural = if threads == 1 { "" } else { "s" };
    let mut group =
        criterion.benchmark_group(format!("{threads} thread{plural} on {size}{suffix}"));
    prepare(&mut group, threads);
    for (name, health_check) in [
        ("conpool", HealthCheck::Never),
        ("conpool checked", HealthCheck::OnCheckout),
    ] {
        let pool = conpool(size, health_check);
        cycles(&mut group, name, threads, || {
            let mut connection = pool.get().expect("nothing can fail");
            work(&mut connection, hold);
        });
    }
    for (name, test_on_check_out) in [("r2d2", false), ("r2d2 checked", true)] {
        let pool = r2d2(size, test_on_check_out);
        cycles(&mut group, name, threads, || {
            let mut connection = pool.get().expect("nothing can fail");
            work(&mut connection, hold);
        });
    }
    group.finish();
}

fn try_get(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("try_get, 1 thread on 10");
    prepare(&mut group, 1);
    let pool = conpool(10, HealthCheck::Never);
    cycles(&mut group, "conpool", 1, || {
        let mut connection = pool.try_get().expect("all are idle");
        work(&mut connection, None);
    });
    let pool = r2d2(10, false);
    cycles(&mut group, "r2d2", 1, || {
        let mut connection = pool.try_get().expect("all are idle");
        work(&mut connection, None);
    });
    group.finish();
}

fn prepare(group: &mut BenchmarkGroup<'_, WallTime>, threads: usize) {
    group
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    if threads > 1 {
        // Few and long samples: in a short sample one thread ends before the next one starts.
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
    }
}

/// Measures `cycle` on `threads` threads at once.
fn cycles(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    threads: usize,
    cycle: impl Fn() + Sync,
) {
    if threads == 1 {
        group.bench_function(name, |bencher| bencher.iter(&cycle));
        return;
    }
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|wanted| {
            let each = wanted.div_ceil(threads as u64);
            let took = together(threads, each, &cycle);
            // Rounding up ran a few more cycles than requested.
            took.mul_f64(wanted as f64 / (each * threads as u64) as f64)
        });
    });
}

/// The time from the first start to the last end of `threads` threads that each run `cycle` `each` times.
fn together(threads: usize, each: u64, cycle: &(impl Fn() + Sync)) -> Duration {
    let ready = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    let start = Instant::now();
                    (0..each).for_each(|_| cycle());
                    (start, Instant::now())
                })
            })
            .collect();
        let spans = running.into_iter().map(|thread| thread.join());
        spans.map(|span| span.expect("no cycle panics")).collect()
    });
    let start = spans.iter().map(|(start, _)| *start).min();
    let end = spans.iter().map(|(_, end)| *end).max();
    start
        .zip(end)
        .map_or(Duration::ZERO, |(start, end)| end - start)
}

/// Simulates a user: touches the connection and holds it for `hold`.
fn work(connection: &mut u64, hold: Option<Duration>) {
    *connection = black_box(connection.wrapping_add(1));
    if let Some(hold) = hold {
        thread::sleep(hold);
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    compare(&mut criterion, 1, 10, None);
    compare(&mut criterion, 2, 10, None);
    compare(&mut criterion, 64, 64, None);
    compare(&mut criterion, 16, 4, Some(Duration::from_micros(100)));
    try_get(&mut criterion);
    criterion.final_summary();
}
