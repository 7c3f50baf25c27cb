//! A thousand threads parked in `get`: the number of wake-ups, and the time until all are served.

use crate::measure::{Numbers, Scale, filled, millis, r2d2, table, verdict};
use crate::wakeups::{
    sleeps,
    waiting::{Outcome, WaitingThreads},
};
use conpool::{Fairness, HealthCheck, Pool};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(120);
const WAKES: f64 = 1.1;

struct Run {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

pub(crate) fn run(scale: Scale) {
    if sleeps::own().is_none() {
        println!("  not measured: this system does not tell how often a thread slept");
        return;
    }
    let n = scale.pick(1000, 200);
    let young = Fairness::default();
    let mut runs = vec![
        handed("one connection, handed on", young, 1, 1, n),
        handed("the same, strict", Fairness::Strict, 1, 1, n),
        handed("ten connections", young, 10, 10, n),
        handed("one of 10 000 connections", young, 10_000, 1, n),
        theirs("r2d2, one connection", 1, n),
        theirs("r2d2, ten connections", 10, n),
    ];
    let (closed, cleared) = (closed(n), cleared(n));
    let woken_by_clear = cleared.1;
    runs.extend([closed, cleared.0]);

    let row = |run: &Run| {
        let most = run.outcome.spurious.iter().max().map_or(0, |most| most + 1);
        vec![
            run.name.to_owned(),
            format!("{:.3}", run.outcome.wakes_each()),
            most.to_string(),
            millis(run.took),
            format!("{:.1} us", run.took.as_secs_f64() * 1e6 / n as f64),
        ]
    };
    let rows: Vec<_> = runs.iter().map(row).collect();
    let head = [
        &*format!("{n} waiters"),
        "wake-ups each",
        "most",
        "until all are through",
        "each",
    ];
    table(&head, &rows);
    for run in runs.iter().filter(|run| !run.name.starts_with("r2d2")) {
        let wakes = run.outcome.wakes_each();
        let required = format!("wake-ups per hand-off <= {WAKES} ({})", run.name);
        verdict(&required, wakes <= WAKES, &format!("{wakes:.3}"));
    }
    let required = "no herd on clear: it wakes no waiter by itself";
    verdict(
        required,
        woken_by_clear == 0,
        &format!("{woken_by_clear} woken"),
    );
}

fn pool(size: usize, fairness: Fairness) -> Pool<Numbers> {
    let builder = Pool::builder()
        .max_size(size)
        .fairness(fairness)
        .health_check(HealthCheck::Never)
        .get_timeout(LONG);
    filled(builder, Numbers::default(), size)
}

/// Waiting callers, each of which takes a connection once and gives it back.
fn line(pool: &Pool<Numbers>, n: usize) -> (WaitingThreads, Vec<u64>) {
    let waiting = WaitingThreads::spawn(n, {
        let pool = pool.clone();
        move |served| {
            let guard = pool.get();
            served();
            drop(guard);
        }
    });
    let before = waiting.asleep(|| pool.stats().waiters);
    (waiting, before)
}

fn finish(name: &'static str, start: Instant, waiting: WaitingThreads, before: &[u64]) -> Run {
    let outcome = waiting.served(before);
    let took = outcome.last.saturating_duration_since(start);
    Run {
        name,
        took,
        outcome,
    }
}

/// All connections are in use. `free` of them come back and are handed on; the others stay in use.
fn handed(name: &'static str, fairness: Fairness, size: usize, free: usize, n: usize) -> Run {
    let pool = pool(size, fairness);
    let mut held: Vec<_> = (0..size).map(|_| pool.get()).collect();
    let (waiting, before) = line(&pool, n);
    let start = Instant::now();
    held.truncate(size - free);
    finish(name, start, waiting, &before)
}

fn theirs(name: &'static str, size: usize, n: usize) -> Run {
    let pool = r2d2(size, None, Numbers::default());
    let held: Vec<_> = (0..size).map(|_| pool.get()).collect();
    let waiting = WaitingThreads::spawn(n, {
        let pool = pool.clone();
        move |served| {
            let guard = pool.get();
            served();
            drop(guard);
        }
    });
    // r2d2 does not count its waiters: a thread that stays asleep is a waiter.
    let before = waiting.asleep(|| n);
    let start = Instant::now();
    drop(held);
    finish(name, start, waiting, &before)
}

fn closed(n: usize) -> Run {
    let pool = pool(1, Fairness::default());
    let _held = pool.get();
    let (waiting, before) = line(&pool, n);
    let start = Instant::now();
    pool.close();
    finish("close", start, waiting, &before)
}

/// Returns also how many waiters `clear` woke before the connection in use came back.
fn cleared(n: usize) -> (Run, usize) {
    let pool = pool(1, Fairness::default());
    let held = pool.get();
    let (waiting, before) = line(&pool, n);
    let asleep = waiting.sleeps();
    pool.clear();
    pool.sweep();
    std::thread::sleep(Duration::from_millis(50));
    let still = waiting.sleeps();
    let woken = asleep.iter().zip(&still).filter(|(a, b)| a != b).count();
    let start = Instant::now();
    drop(held);
    let run = finish("clear, then its check-in", start, waiting, &before);
    (run, woken)
}
