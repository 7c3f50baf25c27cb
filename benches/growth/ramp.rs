//! From 0 to 100 connections, with creates of 20 ms.

use crate::measure::{Numbers, Scale, millis, r2d2, table, verdict};
use conpool::{HealthCheck, Pool};
use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

const CREATE: Duration = Duration::from_millis(20);
/// The number of threads with which r2d2 opens connections by default.
const THEIRS: usize = 3;

pub(crate) fn run(scale: Scale) {
    let n = scale.pick(100, 20);
    let numbers = Numbers {
        create: CREATE,
        ..Numbers::default()
    };
    let mut rows = Vec::new();
    let mut verdicts = Vec::new();
    for max_creating in [4, n] {
        let builder = || {
            Pool::builder()
                .max_size(n)
                .max_creating(max_creating)
                .health_check(HealthCheck::Never)
        };
        let ideal = CREATE * n.div_ceil(max_creating) as u32;
        let pool = builder().build_lazy(numbers).expect("good settings");
        let callers = ramp(n, &|| pool.get().expect("in time"));
        let start = Instant::now();
        let full = builder().min_idle(n).build(numbers).expect("in time");
        let build = start.elapsed();
        assert_eq!((pool.stats().created, full.stats().idle), (n as u64, n));
        for (what, took) in [("callers", callers), ("build", build)] {
            let name = format!("{what}, max_creating {max_creating}");
            rows.push(row(&name, took, ideal));
            verdicts.push((name, took, ideal));
        }
    }
    let pool = r2d2(n, Some(0), numbers);
    let took = ramp(n, &|| pool.get().expect("in time"));
    let ideal = CREATE * n.div_ceil(THEIRS) as u32;
    rows.push(row(
        &format!("r2d2, callers, {THEIRS} threads"),
        took,
        ideal,
    ));

    let head = [&*format!("0 to {n}"), "took", "ideal", "beyond it"];
    table(&head, &rows);
    for (name, took, ideal) in verdicts {
        let required = format!("the ideal and not one more create ({name}; the bound is our own)");
        verdict(&required, took <= ideal + CREATE, &millis(took));
    }
}

fn row(name: &str, took: Duration, ideal: Duration) -> Vec<String> {
    let beyond = (took.as_secs_f64() / ideal.as_secs_f64() - 1.0) * 100.0;
    vec![
        name.to_owned(),
        millis(took),
        millis(ideal),
        format!("{beyond:.1} %"),
    ]
}

/// The time until `n` callers hold one connection each.
fn ramp<G>(n: usize, get: &(impl Fn() -> G + Sync)) -> Duration {
    let (ready, all) = (Barrier::new(n + 1), Barrier::new(n + 1));
    thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                ready.wait();
                let guard = get();
                all.wait();
                drop(guard);
            });
        }
        ready.wait();
        let start = Instant::now();
        all.wait();
        start.elapsed()
    })
}
