//! Waiters: a caller is woken only when it can be served.
//!
//! A thousand threads wait for one connection. The system counts the wake-ups of each, as the number of times
//! it fell asleep again.

#![cfg(target_os = "linux")]

use crate::common;
use crate::wakeups;

use common::{SOON, close_clean, ms, queued, quick, secs, spawn, stays, take};
use conpool::{Fairness, GetError, HealthCheck, MemoryManager, Pool};
use std::thread;
use wakeups::{sleeps, waiting::WaitingThreads};

const WAITERS: usize = 1000;
/// The allowed wake-ups per hand-off on average.
const WAKES: f64 = 1.1;
/// The same where all are woken at once: on a busy machine many of them then sleep on each other's locks,
/// once or twice. A thundering herd would wake each of them many times.
const WAKES_TOGETHER: f64 = 3.0;
/// At least this many must be served by their first wake-up: a second wake-up for each would leave none.
const MIN_DIRECT: usize = WAITERS / 50;

fn pool(
    name: &str,
    size: usize,
    fairness: Fairness,
    backend: &MemoryManager,
) -> Pool<MemoryManager> {
    quick(name)
        .max_size(size)
        .fairness(fairness)
        .health_check(HealthCheck::Never)
        .build(backend.clone())
        .unwrap()
}

/// A thousand callers, each of which takes a connection once and gives it back.
fn waiting_callers(pool: &Pool<MemoryManager>) -> WaitingThreads {
    let pool = pool.clone();
    WaitingThreads::spawn(WAITERS, move |served| {
        let guard = pool.get_timeout(secs(120)).unwrap();
        served();
        drop(guard);
    })
}

#[test]
fn a_hand_off_wakes_the_one_it_serves_and_nobody_else() {
    for fairness in [Fairness::default(), Fairness::Strict] {
        let backend = MemoryManager::new();
        let pool = pool("handoff", 1, fairness, &backend);
        let held = take(&pool, 1);
        let waiting = waiting_callers(&pool);
        let before = waiting.asleep(|| pool.stats().waiters);
        drop(held);
        let outcome = waiting.served(&before);
        let wakes = outcome.wakes_each();
        assert!(
            wakes <= WAKES,
            "{wakes} wake-ups per hand-off, {fairness:?}"
        );
        let stats = pool.stats();
        assert_eq!((stats.waiters, stats.created), (0, 1), "{stats}");
        close_clean(&pool, &backend);
    }
}

#[test]
fn connections_that_come_back_one_at_a_time_wake_one_waiter_each() {
    let backend = MemoryManager::new();
    let pool = pool("onebyone", 8, Fairness::default(), &backend);
    let held = take(&pool, 8);
    let waiting = waiting_callers(&pool);
    let before = waiting.asleep(|| pool.stats().waiters);
    for guard in held {
        drop(guard);
        thread::sleep(ms(1));
    }
    let outcome = waiting.served(&before);
    let wakes = outcome.wakes_each();
    assert!(wakes <= WAKES, "{wakes} wake-ups per hand-off");
    close_clean(&pool, &backend);
}

#[test]
fn close_wakes_every_waiter_once() {
    let backend = MemoryManager::new();
    let pool = pool("closeherd", 1, Fairness::default(), &backend);
    let held = take(&pool, 1);
    let waiting = WaitingThreads::spawn(WAITERS, {
        let pool = pool.clone();
        move |served| {
            let result = pool.get_timeout(secs(120));
            served();
            assert!(matches!(result, Err(GetError::Closed { .. })));
        }
    });
    let before = waiting.asleep(|| pool.stats().waiters);
    pool.close();
    let outcome = waiting.served(&before);
    let wakes = outcome.wakes_each();
    assert!(wakes <= WAKES_TOGETHER, "{wakes} wake-ups for each");
    let straight = outcome
        .spurious
        .iter()
        .filter(|&&sleeps| sleeps == 0)
        .count();
    assert!(
        straight >= MIN_DIRECT,
        "{straight} of {WAITERS} were woken only once"
    );
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn clear_wakes_no_waiter_and_what_it_replaces_wakes_one_each() {
    let backend = MemoryManager::new();
    let pool = pool("clearherd", 4, Fairness::default(), &backend);
    let held = take(&pool, 4);
    let waiting = waiting_callers(&pool);
    let before = waiting.asleep(|| pool.stats().waiters);
    let at_rest = waiting.sleeps();
    for _ in 0..3 {
        pool.clear();
        pool.sweep();
    }
    // Asleep with the same count: there was no wake-up in between.
    stays(|| waiting.sleeps() == at_rest);
    drop(held);
    let outcome = waiting.served(&before);
    let wakes = outcome.wakes_each();
    assert!(wakes <= WAKES, "{wakes} wake-ups per hand-off");
    assert!(backend.counters().created <= 8, "one for each slot");
    close_clean(&pool, &backend);
}

#[test]
fn a_waiter_sleeps_until_there_is_something_for_it() {
    let backend = MemoryManager::new();
    let pool = pool("parked", 2, Fairness::default(), &backend);
    let held = take(&pool, 2);
    let waiters: Vec<_> = [secs(3600), std::time::Duration::MAX]
        .into_iter()
        .map(|budget| {
            let (tell, told) = std::sync::mpsc::channel();
            let pool = pool.clone();
            let waiter = spawn(move || {
                tell.send(sleeps::this_thread().unwrap()).unwrap();
                pool.get_timeout(budget).map(drop)
            });
            (waiter, told.recv().unwrap())
        })
        .collect();
    queued(&pool, 2);
    let sleeps = || {
        waiters
            .iter()
            .map(|(_, thread)| sleeps::of(thread).unwrap())
    };
    common::eventually(|| sleeps().all(|sleeps| sleeps.asleep));
    thread::sleep(ms(20));
    let before: Vec<_> = sleeps().collect();
    thread::sleep(ms(300));
    let after: Vec<_> = sleeps().collect();
    assert_eq!(before, after, "woken for nothing");
    drop(held);
    for (waiter, _) in waiters {
        waiter.join_soon().unwrap();
    }
    pool.close_timeout(SOON).unwrap();
}
