//! Windows of statistics where pools and keys come and go between the snapshots.

use crate::common;
use crate::keyed;
use crate::stats_windows::{hold, is_close, is_empty, timed};

use common::{SOON, Task, close_clean, eventually, ms, secs, spawn};
use conpool::{
    EvictReason, HealthCheck, HealthState, Hook, ManualClock, MemoryManager, PoolRegistry,
    PoolStats,
};
use keyed::{Backends, Keyed, close_all, quick_keyed, sorted_keys};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

#[test]
fn a_window_since_nothing_or_another_pool_begins_when_the_pool_was_built() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let other = timed("one name", &clock).build(backend.clone()).unwrap();
    hold(&other, &clock, 50, secs(1));
    let pool = timed("one name", &clock).build(backend.clone()).unwrap();
    let earlier = other.stats();
    hold(&pool, &clock, 8, secs(2));
    let now = pool.stats();
    for earlier in [earlier, PoolStats::default()] {
        let window = now.since(&earlier);
        assert_eq!((window.gets, window.created), (8, 1));
        assert_eq!((window.held, window.create), (now.held, now.create));
        assert_eq!(window.window(), Some(secs(16)));
        assert_eq!(window.per_second(window.gets), 0.5);
    }
    other.close_timeout(SOON).unwrap();
    close_clean(&pool, &backend);
}

#[test]
fn a_pool_rebuilt_under_its_name_counts_from_its_build() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let registry = PoolRegistry::new();
    let make = || timed("rebuilt", &clock).build(backend.clone());
    let pool = registry.get_or_register("rebuilt", make).unwrap();
    hold(&pool, &clock, 100, secs(1));
    let earlier = registry.stats().remove("rebuilt").unwrap();
    registry.remove("rebuilt");
    close_clean(&pool, &backend);
    clock.advance(secs(30));
    let pool = registry.get_or_register("rebuilt", make).unwrap();
    hold(&pool, &clock, 5, secs(2));
    let window = registry.stats()["rebuilt"].since(&earlier);
    assert_eq!((window.gets, window.created), (5, 1));
    assert_eq!((window.held.count, window.held.max), (5, secs(2)));
    assert_eq!(window.window(), Some(secs(10)));
    close_clean(&pool, &backend);
}

/// Holds a connection of this key `n` times for `span`.
fn hold_key(pool: &Keyed, clock: &ManualClock, key: u32, n: usize, span: Duration) {
    for _ in 0..n {
        let held = pool.get(&key).unwrap();
        clock.advance(span);
        drop(held);
    }
}

/// Removes this key.
fn remove_key(pool: &Keyed, key: u32) {
    pool.clear_key(&key);
    eventually(|| {
        pool.stats_for(&key)
            .is_none_or(|stats| stats.disposing == 0)
    });
    pool.sweep();
    assert!(!sorted_keys(pool).contains(&key));
}

fn timed_keyed(name: &str, clock: &ManualClock) -> keyed::Builder {
    quick_keyed(name)
        .clock(clock.clone())
        .health_check(HealthCheck::Never)
        .idle_timeout(None)
        .max_lifetime(None)
}

#[test]
fn a_key_removed_between_the_snapshots_stays_in_the_sums() {
    let (clock, backends) = (ManualClock::new(), Backends::new());
    let pool = backends.build(timed_keyed("wremoved", &clock));
    hold_key(&pool, &clock, 1, 20, secs(3));
    hold_key(&pool, &clock, 2, 5, ms(10));
    let earlier = pool.stats();
    hold_key(&pool, &clock, 1, 4, secs(1));
    remove_key(&pool, 1);
    hold_key(&pool, &clock, 2, 1, secs(1));
    let window = pool.stats().since(&earlier);
    assert_eq!((window.gets, window.created, window.disposed), (5, 0, 1));
    assert_eq!((window.wait.count, window.held.count), (5, 5));
    assert_eq!((window.create.count, window.held.mean), (0, secs(1)));
    assert!(is_close(window.held.max, secs(1)), "{:?}", window.held);
    assert_eq!(window.window(), Some(secs(5)));
    assert_eq!(window.evicted(EvictReason::Cleared), 1);
    is_empty(&pool.stats().since(&pool.stats()));
    close_all(&pool, &backends);
}

#[test]
fn the_pool_of_a_key_that_was_removed_and_used_again_counts_from_its_build() {
    let (clock, backends) = (ManualClock::new(), Backends::new());
    let pool = backends.build(timed_keyed("wagain", &clock));
    hold_key(&pool, &clock, 1, 20, secs(3));
    hold_key(&pool, &clock, 2, 10, secs(1));
    let earlier = pool.stats_for(&1).unwrap();
    hold_key(&pool, &clock, 1, 2, secs(1));
    let same = pool.stats_for(&1).unwrap().since(&earlier);
    assert_eq!((same.gets, same.window()), (2, Some(secs(2))));
    // The sums are of another pool, although both pools were built at the same time.
    let key = pool.stats_for(&1).unwrap();
    assert_eq!(key.since(&pool.stats()).gets, 22);
    remove_key(&pool, 1);
    clock.advance(secs(100));
    hold_key(&pool, &clock, 1, 4, secs(2));
    let again = pool.stats_for(&1).unwrap();
    let window = again.since(&earlier);
    assert_eq!(
        (window.gets, window.created, window.held.max),
        (4, 1, secs(2))
    );
    assert_eq!(window.window(), Some(secs(8)));
    // So are the statistics of another key.
    for other in [pool.stats_for(&2).unwrap(), pool.stats()] {
        assert_eq!(again.since(&other), again.since(&PoolStats::default()));
    }
    assert_eq!(pool.stats().since(&again).gets, pool.stats().gets);
    close_all(&pool, &backends);
}

#[test]
fn windows_of_a_keyed_pool_add_up_while_keys_come_and_go() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("wchurn").max_total(4));
    let over = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..3)
        .map(|n| {
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            spawn(move || {
                let mut gets = 0;
                while !over.load(SeqCst) {
                    let key = n * 10 + gets % 7;
                    drop(pool.get_timeout(&key, SOON).unwrap());
                    pool.clear_key(&key);
                    gets += 1;
                }
                u64::from(gets)
            })
        })
        .collect();
    let (mut window, mut created, mut last) = (PoolStats::default(), 0, PoolStats::default());
    let start = common::now();
    while start.elapsed() < ms(300) {
        pool.sweep();
        let now = pool.stats();
        assert!(
            now.created >= last.created && now.gets >= last.gets,
            "{last} then {now}"
        );
        assert!(now.create.count >= last.create.count, "{last} then {now}");
        window = now.since(&window);
        created += window.created;
        last = now;
    }
    over.store(true, SeqCst);
    let gets: u64 = users.into_iter().map(Task::join_soon).sum();
    window = pool.stats().since(&window);
    created += window.created;
    let all = pool.stats();
    assert_eq!((created, gets), (all.created, all.gets), "{all}");
    close_all(&pool, &backends);
}

#[test]
fn the_health_of_a_removed_key_is_not_in_the_sums() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("whealth"));
    drop(pool.get(&1).unwrap());
    let earlier = pool.stats();
    backends.of(2).fail_transient(Hook::Create, 100);
    pool.get_timeout(&2, ms(100)).unwrap_err();
    assert_ne!(pool.stats().health, HealthState::Healthy);
    eventually(|| pool.stats_for(&2).is_some_and(|stats| stats.creating == 0));
    pool.sweep();
    assert_eq!(sorted_keys(&pool), [1]);
    let window = pool.stats().since(&earlier);
    assert_eq!((window.health, window.timeouts), (HealthState::Healthy, 1));
    assert_eq!(pool.health(), HealthState::Healthy);
    close_all(&pool, &backends);
}
