//! Windows of statistics: what happened between two snapshots.

use crate::common;
use crate::stats::Load;

use common::{close_clean, ms, quick, secs, take};
use conpool::{
    EvictReason, HealthCheck, Hook, ManualClock, MemoryManager, Pool, PoolBuilder, PoolStats,
    PooledConnection,
};
use std::time::Duration;

/// A pool whose connections stay as they are, whatever the time.
pub(crate) fn timed(name: &str, clock: &ManualClock) -> PoolBuilder<MemoryManager> {
    quick(name)
        .clock(clock.clone())
        .health_check(HealthCheck::Never)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Holds a connection `n` times for `span`.
pub(crate) fn hold(pool: &Pool<MemoryManager>, clock: &ManualClock, n: usize, span: Duration) {
    for _ in 0..n {
        let held = pool.get().unwrap();
        clock.advance(span);
        drop(held);
    }
}

/// Returns whether `bound` is `exact` or at most an eighth above.
pub(crate) fn is_close(bound: Duration, exact: Duration) -> bool {
    bound >= exact && bound <= exact * 9 / 8
}

/// Asserts that nothing happened in this window.
#[track_caller]
pub(crate) fn is_empty(window: &PoolStats) {
    assert_eq!(window.window(), Some(Duration::ZERO), "{window}");
    let counters = window.gets + window.gets_waited + window.timeouts + window.saturated;
    let counters = counters + window.created + window.create_errors + window.check_failures;
    let counters = counters + window.disposed + window.added + window.detached + window.panics;
    let evicted: u64 = EvictReason::ALL
        .iter()
        .map(|reason| window.evicted(*reason))
        .sum();
    let samples = [&window.wait, &window.create, &window.held].map(|latency| latency.count);
    assert_eq!((counters, evicted, samples), (0, 0, [0; 3]), "{window:?}");
    let shares = [window.reuse_rate(), window.error_rate()];
    assert_eq!((shares, window.per_second(1)), ([0.0; 2], 0.0));
}

#[test]
fn counters_and_latencies_of_a_window_are_those_between_the_snapshots() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("between", &clock).build(backend.clone()).unwrap();
    hold(&pool, &clock, 300, secs(2));
    let earlier = pool.stats();
    hold(&pool, &clock, 4, ms(100));
    let window = pool.stats().since(&earlier);
    assert_eq!((window.gets, window.created, window.timeouts), (4, 0, 0));
    assert_eq!((window.wait.count, window.wait.max), (4, Duration::ZERO));
    assert_eq!(window.create.count, 0);
    assert_eq!((window.held.count, window.held.mean), (4, ms(100)));
    let held = [
        window.held.p50,
        window.held.p90,
        window.held.p99,
        window.held.max,
    ];
    for bound in held {
        assert!(is_close(bound, ms(100)), "{:?}", window.held);
    }
    // Without windows, the old samples hide the new ones.
    assert_eq!(pool.stats().held.p50, secs(2));
    close_clean(&pool, &backend);
}

#[test]
fn the_max_of_a_window_is_exact_if_it_is_the_longest_of_all() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("longest", &clock).build(backend.clone()).unwrap();
    hold(&pool, &clock, 1, secs(3));
    let earlier = pool.stats();
    hold(&pool, &clock, 1, ms(3001));
    let longest = pool.stats();
    assert_eq!(longest.since(&earlier).held.max, ms(3001));
    hold(&pool, &clock, 1, secs(1));
    let max = pool.stats().since(&longest).held.max;
    assert!(is_close(max, secs(1)), "{max:?}");
    close_clean(&pool, &backend);
}

#[test]
fn waits_timeouts_and_creates_of_a_window_are_measured() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("waited", &clock)
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    let mut held = take(&pool, 1);
    let earlier = pool.stats();
    backend.delay(Hook::Create, ms(10));
    held.extend(take(&pool, 1));
    pool.get_timeout(ms(20)).unwrap_err();
    let waiter = common::waiter(&pool);
    std::thread::sleep(ms(20));
    drop(held);
    waiter.join_soon().unwrap();
    let window = pool.stats().since(&earlier);
    assert_eq!((window.gets, window.timeouts, window.created), (3, 1, 1));
    assert_eq!(window.gets_waited, 3, "{window}");
    assert_eq!((window.wait.count, window.create.count), (2, 1));
    assert!(
        window.wait.max >= ms(20) && window.create.max >= ms(10),
        "{window:?}"
    );
    assert!(
        (window.error_rate() - 1.0 / 3.0).abs() < 1e-9,
        "{}",
        window.error_rate()
    );
    close_clean(&pool, &backend);
}

#[test]
fn gauges_of_a_window_are_those_of_its_end() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("gauges", &clock)
        .max_size(4)
        .build(backend.clone())
        .unwrap();
    let held = take(&pool, 4);
    let earlier = pool.stats();
    drop(held);
    pool.set_max_size(8).unwrap();
    let held = take(&pool, 2);
    clock.advance(secs(7));
    let now = pool.stats();
    let window = now.since(&earlier);
    assert_eq!((window.max_size, window.size), (8, 4));
    assert_eq!((window.in_use, window.idle, window.waiters), (2, 2, 0));
    assert_eq!((window.utilization(), window.peak_in_use), (0.25, 4));
    assert_eq!(window.oldest_age, Some(secs(7)));
    assert_eq!(window.longest_holders, now.longest_holders);
    assert_eq!((window.name(), window.health), ("gauges", now.health));
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn shares_of_a_window_come_from_its_own_counters() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("shares", &clock).max_size(1);
    let pool = pool.build(backend.clone()).unwrap();
    let held = pool.get().unwrap();
    pool.get_timeout(Duration::ZERO).unwrap_err();
    drop(held);
    let earlier = pool.stats();
    assert_eq!((earlier.error_rate(), earlier.reuse_rate()), (0.5, 0.0));
    for _ in 0..3 {
        drop(pool.try_get().unwrap());
    }
    PooledConnection::discard(pool.get().unwrap());
    drop(pool.get().unwrap());
    let window = pool.stats().since(&earlier);
    assert_eq!((window.gets, window.timeouts), (2, 0));
    assert_eq!((window.error_rate(), window.reuse_rate()), (0.0, 0.8));
    assert_eq!(window.evicted(EvictReason::Discarded), 1);
    let later = pool.stats().since(&window);
    assert_eq!(later.evicted(EvictReason::Discarded), 0);
    close_clean(&pool, &backend);
}

#[test]
fn the_length_of_a_window_is_by_the_clock_of_the_pool() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("length", &clock).build(backend.clone()).unwrap();
    let earlier = pool.stats();
    assert_eq!(earlier.window(), None);
    hold(&pool, &clock, 120, ms(500));
    let now = pool.stats();
    let window = now.since(&earlier);
    assert_eq!(window.window(), Some(secs(60)));
    assert_eq!(window.taken_at(), now.taken_at());
    assert_eq!(
        window.taken_at(),
        earlier.taken_at().map(|at| at + secs(60))
    );
    assert_eq!(
        (window.per_second(window.gets), window.per_second(30)),
        (2.0, 0.5)
    );
    assert_eq!(now.per_second(now.gets), 0.0, "a snapshot has no length");
    let text = window.to_string();
    assert!(
        text.starts_with("pool \"length\" over 60s: size 1/10: 1 idle"),
        "{text}"
    );
    assert!(
        text.contains("; gets 2/s (0/s waited, 0/s timed out"),
        "{text}"
    );
    close_clean(&pool, &backend);
}

#[test]
fn a_snapshot_without_a_clock_of_its_own_has_the_real_time() {
    let pool = quick("real").build_lazy(MemoryManager::new()).unwrap();
    let before = common::now();
    let first = pool.stats();
    let second = pool.stats();
    let after = common::now();
    let taken_at = [&first, &second].map(|stats| stats.taken_at().unwrap());
    assert!(before <= taken_at[0] && taken_at[0] <= taken_at[1] && taken_at[1] <= after);
    assert_eq!(
        second.since(&first).window(),
        Some(taken_at[1] - taken_at[0])
    );
    assert_eq!(PoolStats::default().taken_at(), None);
}

#[test]
fn a_window_between_equal_snapshots_is_empty_and_its_rates_are_zero() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("equal", &clock).build(backend.clone()).unwrap();
    hold(&pool, &clock, 5, ms(3));
    let (first, second) = (pool.stats(), pool.stats());
    is_empty(&first.since(&first));
    is_empty(&second.since(&first));
    is_empty(&PoolStats::default().since(&PoolStats::default()));
    let text = first.since(&first).to_string();
    assert!(
        text.contains("over 0s") && text.contains("gets 0/s"),
        "{text}"
    );
    // Events without a length have no rate either.
    drop(pool.get().unwrap());
    let window = pool.stats().since(&first);
    assert_eq!((window.gets, window.per_second(window.gets)), (1, 0.0));
    close_clean(&pool, &backend);
}

#[test]
fn a_window_that_ends_before_it_begins_is_empty() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("swapped", &clock).build(backend.clone()).unwrap();
    let earlier = pool.stats();
    hold(&pool, &clock, 5, ms(30));
    PooledConnection::discard(pool.get().unwrap());
    clock.advance(secs(1));
    let swapped = earlier.since(&pool.stats());
    is_empty(&swapped);
    assert_eq!(swapped.taken_at(), earlier.taken_at());
    close_clean(&pool, &backend);
}

#[test]
fn a_window_is_the_start_of_the_next_one() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("next", &clock).build(backend.clone()).unwrap();
    let mut window = PoolStats::default();
    for n in 1..=5 {
        hold(&pool, &clock, n, secs(1));
        window = pool.stats().since(&window);
        let seconds = Some(secs(n as u64));
        assert_eq!((window.gets, window.window()), (n as u64, seconds));
        assert_eq!(window.held.count, n as u64);
    }
    let early = window.clone();
    hold(&pool, &clock, 7, secs(1));
    let late = pool.stats().since(&window);
    assert_eq!(
        late.since(&early),
        late,
        "both count as the snapshots at their ends"
    );
    is_empty(&late.since(&late));
    close_clean(&pool, &backend);
}

#[test]
fn each_reader_has_windows_of_its_own() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("readers", &clock).build(backend.clone()).unwrap();
    let (mut log, scraper) = (pool.stats(), pool.stats());
    for _ in 0..6 {
        hold(&pool, &clock, 10, secs(1));
        log = pool.stats().since(&log);
        assert_eq!((log.gets, log.held.count), (10, 10));
    }
    let window = pool.stats().since(&scraper);
    assert_eq!((window.gets, window.window()), (60, Some(secs(60))));
    assert_eq!(pool.stats().gets, 60, "nothing was reset");
    close_clean(&pool, &backend);
}

#[test]
fn snapshots_are_equal_if_their_numbers_are() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = timed("compared", &clock)
        .build_lazy(backend.clone())
        .unwrap();
    let before = pool.stats();
    clock.advance(secs(5));
    let after = pool.stats();
    assert_ne!(before.taken_at(), after.taken_at());
    assert_eq!(before, after);
    assert_eq!(before.since(&before), after.since(&after));
    assert_ne!(
        after.since(&before),
        after.since(&after),
        "one is five seconds long"
    );
    drop(pool.get().unwrap());
    assert_ne!(before, pool.stats());
    close_clean(&pool, &backend);
}

#[test]
fn windows_under_load_add_up_and_their_parts_are_no_more_than_their_gets() {
    let backend = MemoryManager::new();
    let pool = quick("load").max_size(2).max_waiters(3);
    let pool = pool.build(backend.clone()).unwrap();
    let load = Load::start(&pool);
    let mut windows = vec![pool.stats().since(&PoolStats::default())];
    let start = common::now();
    let measure = |windows: &mut Vec<PoolStats>| {
        let window = pool.stats().since(windows.last().unwrap());
        assert!(window.gets_waited <= window.gets, "{window:?}");
        assert!(
            window.timeouts + window.saturated <= window.gets,
            "{window:?}"
        );
        let held = window.held;
        assert!(held.p50 <= held.p90 && held.p90 <= held.p99 && held.p99 <= held.max);
        windows.push(window);
    };
    while start.elapsed() < ms(300) {
        measure(&mut windows);
    }
    load.end();
    measure(&mut windows);
    let sum = |of: fn(&PoolStats) -> u64| windows.iter().map(of).sum::<u64>();
    let all = pool.stats();
    assert_eq!(sum(|window| window.timeouts), all.timeouts);
    assert_eq!(sum(|window| window.gets_waited), all.gets_waited);
    assert_eq!(sum(|window| window.create.count), all.create.count);
    assert!(sum(|window| window.gets) >= all.gets, "{all}");
    assert!(all.timeouts > 0 && all.gets_waited > 0, "{all}");
    close_clean(&pool, &backend);
}
