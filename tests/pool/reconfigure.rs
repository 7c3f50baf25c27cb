//! Settings change while the pool runs: each by its setter, or all that can change at once.

use crate::common;

use common::{
    Log, SOON, assert_at, close_clean, eventually, ms, queued, quick, secs, spawn, take, timed,
};
use conpool::{EvictReason, HealthCheck, ManualClock, MemoryManager, PooledConnection};
use std::{thread, time::Duration};

#[test]
fn every_setting_that_can_change_changes_at_once() {
    let (backend, log) = (MemoryManager::new(), Log::default());
    let pool = quick("all")
        .observer(log.clone())
        .build(backend.clone())
        .unwrap();
    let mut config = pool.config();
    config.max_size = 6;
    config.min_idle = 2;
    config.max_idle = Some(3);
    config.get_timeout = ms(30);
    config.idle_timeout = None;
    config.max_lifetime = Some(secs(77));
    config.keepalive_interval = Some(secs(9));
    config.max_waiters = Some(1);
    pool.reconfigure(&config).unwrap();
    assert_eq!(pool.config(), config);
    assert_eq!(log.count("Resized"), 1);
    eventually(|| pool.stats().idle == 2);
    assert_eq!(pool.stats().max_size, 6);
    let held = take(&pool, 6);
    let (result, took) = timed(|| pool.get());
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(30));
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn nothing_changes_if_one_setting_cannot() {
    let pool = quick("fixed").build(MemoryManager::new()).unwrap();
    let before = pool.config();
    let mut config = before.clone();
    config.max_size = 50;
    config.fail_fast = true;
    config.max_creating = 1;
    let error = pool.reconfigure(&config).unwrap_err();
    assert_eq!(error.field(), "max_creating");
    assert_eq!(
        error.to_string(),
        "max_creating: cannot change while the pool runs; fail_fast cannot change either"
    );
    assert_eq!(
        (pool.config(), pool.stats().max_size),
        (before.clone(), before.max_size)
    );
    // A value that its rule forbids.
    let mut config = before.clone();
    config.max_size = 50;
    config.min_idle = 51;
    let error = pool.reconfigure(&config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "min_idle = 51: must be at most max_size (50)"
    );
    assert_eq!(pool.config(), before);
}

#[test]
fn a_bad_value_leaves_the_setting_as_it_was() {
    let pool = quick("bad")
        .max_size(4)
        .build(MemoryManager::new())
        .unwrap();
    let before = pool.config();
    assert!(pool.set_idle_timeout(Duration::ZERO).is_err());
    assert!(pool.set_max_lifetime(Duration::ZERO).is_err());
    assert!(pool.set_keepalive_interval(Duration::ZERO).is_err());
    assert!(pool.set_max_size(0).is_err());
    assert!(pool.set_min_idle(5).is_err());
    assert_eq!(pool.config(), before);
}

#[test]
fn a_new_get_timeout_holds_for_the_next_get() {
    let pool = quick("timeout")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    pool.set_get_timeout(ms(40)).unwrap();
    let (result, took) = timed(|| pool.get());
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(40));
    pool.set_get_timeout(Duration::MAX).unwrap();
    assert_eq!(pool.config().get_timeout, Duration::MAX);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get().map(drop)
    });
    queued(&pool, 1);
    drop(held);
    waiter.join_soon().unwrap();
}

#[test]
fn a_new_limit_on_waiters_refuses_the_next_caller() {
    let pool = quick("waiters")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    pool.set_max_waiters(0).unwrap();
    assert!(pool.get().unwrap_err().is_saturated());
    pool.set_max_waiters(None).unwrap();
    assert!(pool.get_timeout(ms(10)).unwrap_err().is_timeout());
    drop(held);
}

#[test]
fn a_new_idle_timeout_holds_for_what_is_idle() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("idle")
        .clock(clock.clone())
        .health_check(HealthCheck::Never)
        .idle_timeout(None)
        .build(backend.clone())
        .unwrap();
    clock.advance(secs(60));
    pool.sweep();
    assert_eq!(pool.stats().idle, 1);
    pool.set_idle_timeout(secs(30)).unwrap();
    eventually(|| pool.stats().evicted(EvictReason::IdleTimeout) == 1);
    // A checkout honours it too, before any sweep.
    drop(pool.get().unwrap());
    clock.advance(secs(31));
    assert_eq!(PooledConnection::info(&pool.get().unwrap()).uses, 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_new_max_lifetime_holds_for_what_is_idle_and_for_what_is_in_use() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("lifetime")
        .clock(clock.clone())
        .health_check(HealthCheck::Never)
        .idle_timeout(None)
        .max_lifetime(None)
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    let mut held = take(&pool, 2);
    let in_use = held.pop().unwrap();
    drop(held);
    clock.advance(secs(100));
    pool.set_max_lifetime(secs(60)).unwrap();
    eventually(|| pool.stats().evicted(EvictReason::MaxLifetime) == 1);
    drop(in_use);
    eventually(|| pool.stats().evicted(EvictReason::MaxLifetime) == 2);
    // A longer one lets a connection live on.
    drop(pool.get().unwrap());
    pool.set_max_lifetime(secs(1000)).unwrap();
    clock.advance(secs(500));
    pool.sweep();
    assert_eq!(pool.stats().idle, 1);
    assert_eq!(PooledConnection::info(&pool.get().unwrap()).uses, 2);
    close_clean(&pool, &backend);
}

#[test]
fn a_keepalive_that_is_switched_on_checks_what_is_idle() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("keepalive")
        .clock(clock.clone())
        .build(backend.clone())
        .unwrap();
    pool.set_keepalive_interval(secs(10)).unwrap();
    clock.advance(secs(11));
    eventually(|| backend.counters().checked == 1);
    pool.set_keepalive_interval(None).unwrap();
    assert_eq!(pool.config().keepalive_interval, None);
    close_clean(&pool, &backend);
}

#[test]
fn changes_from_many_threads_leave_the_pool_as_its_config_says() {
    let backend = MemoryManager::new();
    let pool = quick("storm").build(backend.clone()).unwrap();
    let changers: Vec<_> = (0..4_usize)
        .map(|n| {
            let pool = pool.clone();
            thread::spawn(move || {
                for round in 0..50 {
                    pool.set_max_size(5 + (n + round) % 7).unwrap();
                    pool.set_min_idle((n + round) % 3).unwrap();
                    let mut config = pool.config();
                    config.max_size = 9;
                    config.max_idle = Some(4);
                    pool.reconfigure(&config).unwrap();
                    drop(pool.get_timeout(SOON).unwrap());
                }
            })
        })
        .collect();
    changers
        .into_iter()
        .for_each(|changer| changer.join().unwrap());
    let (config, stats) = (pool.config(), pool.stats());
    assert_eq!(
        (config.max_size, config.min_idle),
        (stats.max_size, stats.min_idle)
    );
    pool.set_max_size(3).unwrap();
    pool.set_min_idle(0).unwrap();
    eventually(|| pool.stats().size <= 3 && pool.stats().disposing == 0);
    close_clean(&pool, &backend);
}

#[test]
fn a_change_of_a_closed_pool_is_harmless() {
    let pool = quick("closed").build(MemoryManager::new()).unwrap();
    pool.close();
    pool.set_max_size(20).unwrap();
    pool.set_max_idle(1).unwrap();
    pool.set_max_lifetime(secs(5)).unwrap();
    assert_eq!(pool.config().max_size, 20);
    pool.close_timeout(SOON).unwrap();
}
