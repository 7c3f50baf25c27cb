//! Statistics: gauges, counters, latencies and derived rates.

use crate::common;

use common::{SOON, Task, close_clean, eventually, fill, ms, queued, quick, spawn, take};
use conpool::{
    EvictReason, GetError, Hook, ManualClock, MemoryManager, Pool, PoolEvent, PooledConnection,
};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

#[test]
fn gauges_describe_the_moment() {
    let pool = quick("gauge")
        .max_size(5)
        .min_idle(1)
        .build(MemoryManager::new())
        .unwrap();
    fill(&pool, 3);
    let held = take(&pool, 2);
    let stats = pool.stats();
    assert_eq!((stats.max_size, stats.min_idle), (5, 1));
    assert_eq!((stats.in_use, stats.waiters, stats.abandoned), (2, 0, 0));
    assert_eq!(stats.size, stats.idle + stats.in_use + stats.creating);
    assert!(stats.peak_in_use >= 2);
    drop(held);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn every_call_of_get_is_counted_whatever_its_outcome() {
    let backend = MemoryManager::new();
    let pool = quick("gets")
        .max_size(1)
        .max_waiters(0)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    assert!(matches!(pool.get(), Err(GetError::Saturated { .. })));
    drop(held);
    drop(pool.get_timeout(SOON).unwrap());
    drop(pool.get_deadline(common::now() + SOON).unwrap());
    drop(pool.try_get());
    pool.close();
    pool.get().unwrap_err();
    let stats = pool.stats();
    assert_eq!(stats.gets, 5, "try_get is not among them");
    assert_eq!((stats.saturated, stats.timeouts), (1, 0));
}

#[test]
fn waits_and_timeouts_are_counted_and_measured() {
    let pool = quick("waits")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    pool.get_timeout(ms(20)).unwrap_err();
    let waiter = common::waiter(&pool);
    std::thread::sleep(ms(30));
    drop(held);
    waiter.join_soon().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.timeouts, stats.gets), (1, 3));
    assert!(stats.gets_waited >= 1, "{stats:?}");
    assert!(stats.wait.max >= ms(20), "{:?}", stats.wait);
    assert!(stats.wait.p50 <= stats.wait.p90 && stats.wait.p90 <= stats.wait.p99);
    assert!(stats.wait.p99 <= stats.wait.max + ms(1), "{:?}", stats.wait);
    assert!(stats.peak_waiters >= 1);
}

#[test]
fn callers_that_still_wait_are_waiters_and_no_gets_yet() {
    let backend = MemoryManager::new();
    let pool = quick("still").max_size(1).build(backend.clone()).unwrap();
    let held = pool.get().unwrap();
    let users: Vec<_> = (0..5)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(SOON).map(drop).unwrap())
        })
        .collect();
    queued(&pool, 5);
    let stats = pool.stats();
    assert_eq!((stats.waiters, stats.gets, stats.gets_waited), (5, 1, 0));
    let text = stats.to_string();
    assert!(text.contains("waiters 5; gets 1 (0 waited,"), "{text}");
    drop(held);
    users.into_iter().for_each(Task::join_soon);
    let stats = pool.stats();
    assert_eq!((stats.waiters, stats.gets, stats.gets_waited), (0, 6, 5));
    close_clean(&pool, &backend);
}

/// Callers with short timeouts, until the load ends.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    users: Vec<Task<()>>,
}

impl Load {
    pub(crate) fn start(pool: &Pool<MemoryManager>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let user = |n: u64| {
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            spawn(move || {
                while !over.load(SeqCst) {
                    if let Ok(guard) = pool.get_timeout(ms(n % 3)) {
                        std::thread::sleep(ms(1));
                        drop(guard);
                    }
                }
            })
        };
        let users = (0..6).map(user).collect();
        Self { over, users }
    }

    pub(crate) fn end(self) {
        self.over.store(true, SeqCst);
        self.users.into_iter().for_each(Task::join_soon);
    }
}

#[test]
fn in_every_snapshot_the_parts_are_no_more_than_the_gets() {
    let backend = MemoryManager::new();
    let observed = Arc::new(OnceLock::<Pool<MemoryManager>>::new());
    let pool = quick("parts").max_size(2).max_waiters(3).observer({
        let observed = Arc::clone(&observed);
        move |event: &PoolEvent| {
            if let (PoolEvent::TimedOut { .. }, Some(pool)) = (event, observed.get()) {
                consistent(pool);
            }
        }
    });
    let pool = pool.build(backend.clone()).unwrap();
    observed.set(pool.clone()).unwrap();
    let load = Load::start(&pool);
    let start = common::now();
    while start.elapsed() < ms(400) {
        consistent(&pool);
    }
    load.end();
    let stats = pool.stats();
    assert!(stats.gets_waited > 0 && stats.timeouts > 0, "{stats}");
    close_clean(&pool, &backend);
}

#[track_caller]
fn consistent(pool: &Pool<MemoryManager>) {
    let stats = pool.stats();
    assert!(stats.gets_waited <= stats.gets, "{stats}");
    assert!(stats.timeouts + stats.saturated <= stats.gets, "{stats}");
}

#[test]
fn creates_are_counted_and_measured() {
    let backend = MemoryManager::new();
    backend.delay(Hook::Create, ms(10));
    let pool = quick("creates").max_size(3).build(backend.clone()).unwrap();
    fill(&pool, 3);
    backend.fail_transient(Hook::Create, 2);
    pool.clear();
    fill(&pool, 1);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.create_errors), (4, 2));
    assert!(
        stats.create.count >= 4 && stats.create.max >= ms(10),
        "{:?}",
        stats.create
    );
    let (_, text) = stats.last_error.expect("the last failure");
    assert!(text.contains("scripted failure of create"), "{text}");
}

#[test]
fn an_eviction_is_counted_before_its_dispose_starts() {
    let backend = MemoryManager::new();
    let pool = quick("order").max_size(1).build(backend.clone()).unwrap();
    backend.hang(Hook::Dispose);
    PooledConnection::discard(pool.get().unwrap());
    eventually(|| backend.running(Hook::Dispose) == 1);
    let stats = pool.stats();
    assert_eq!(stats.evicted(EvictReason::Discarded), 1);
    assert_eq!(
        (stats.disposed, stats.disposing, stats.size),
        (0, 1, 0),
        "{stats:?}"
    );
    backend.release();
    eventually(|| pool.stats().disposed == 1);
    assert_eq!(pool.stats().evicted(EvictReason::Broken), 0);
}

#[test]
fn rates_are_shares_and_zero_when_nothing_happened() {
    let backend = MemoryManager::new();
    let pool = quick("rates").max_size(4).build_lazy(backend).unwrap();
    let stats = pool.stats();
    for rate in [stats.utilization(), stats.reuse_rate(), stats.error_rate()] {
        assert!(rate.abs() < 1e-9, "{rate}");
    }
    for _ in 0..100 {
        drop(pool.get_timeout(SOON).unwrap());
    }
    let _held = take(&pool, 2);
    let stats = pool.stats();
    assert!(
        stats.reuse_rate() > 0.9 && stats.reuse_rate() <= 1.0,
        "{}",
        stats.reuse_rate()
    );
    assert!((0.0..=1.0).contains(&stats.error_rate()));
    assert!(
        (stats.utilization() - 0.5).abs() < 1e-6,
        "{}",
        stats.utilization()
    );
}

#[test]
fn the_oldest_age_follows_the_clock() {
    let clock = ManualClock::new();
    let pool = quick("oldest")
        .clock(clock.clone())
        .idle_timeout(None)
        .build_lazy(MemoryManager::new())
        .unwrap();
    assert_eq!(pool.stats().oldest_age, None);
    fill(&pool, 1);
    clock.advance(ms(90_000));
    let age = pool.stats().oldest_age.unwrap();
    assert!(age >= ms(90_000) && age < ms(91_000), "{age:?}");
}

#[test]
fn counters_summed_over_many_threads_are_exact() {
    let pool = quick("exact")
        .max_size(4)
        .build(MemoryManager::new())
        .unwrap();
    let users: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || (0..500).for_each(|_| drop(pool.get_timeout(SOON).unwrap())))
        })
        .collect();
    users.into_iter().for_each(|user| user.join_soon());
    let stats = pool.stats();
    assert_eq!(stats.gets, 4000);
    assert_eq!(stats.held.count, 4000, "{:?}", stats.held);
}

#[test]
fn it_prints_as_one_readable_line() {
    let pool = quick("line").build(MemoryManager::new()).unwrap();
    let text = pool.stats().to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text}");
}
