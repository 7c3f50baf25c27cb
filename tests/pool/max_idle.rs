//! `max_idle`: a connection that comes back beyond so many idle ones is evicted, unless a caller needs it.

use crate::common;

use common::{SOON, close_clean, eventually, quick, secs, spawn, take};
use conpool::{EvictReason, Hook, KeyedPool, ManualClock, MemoryManager};

/// What is opened beyond max_idle does not stay, so nothing may open it again and again.
#[test]
fn neither_check_health_nor_wait_ready_opens_what_cannot_stay() {
    for background in [true, false] {
        let backend = MemoryManager::new();
        let pool = quick("nothing")
            .background_collector(background)
            .max_idle(0)
            .build_lazy(backend.clone())
            .unwrap();
        backend.fail(Hook::Create, 1);
        assert!(pool.get_timeout(SOON).is_err());
        // After the pause, check_health opens one to see whether the backend is back.
        eventually(|| pool.check_health().is_healthy());
        assert_eq!(backend.counters().created, 1);
        let error = pool.wait_ready(1, SOON).unwrap_err();
        assert_eq!(error.to_string(), "n = 1: must be at most max_idle (0)");
        let held = pool.get_timeout(SOON).unwrap();
        pool.wait_ready(1, SOON).unwrap();
        drop(held);
        assert_eq!(backend.counters().created, 2);
        close_clean(&pool, &backend);
    }
}

#[test]
fn what_comes_back_beyond_it_is_evicted_as_surplus() {
    let backend = MemoryManager::new();
    let pool = quick("surplus")
        .max_size(5)
        .max_idle(2)
        .build(backend.clone())
        .unwrap();
    // The first round returns new connections, the second round returns used ones.
    for round in 1..=2 {
        drop(take(&pool, 5));
        eventually(|| pool.stats().disposing == 0);
        let stats = pool.stats();
        assert_eq!(stats.idle, 2, "{stats}");
        assert_eq!(stats.evicted(EvictReason::Surplus), 3 * round, "{stats}");
    }
    close_clean(&pool, &backend);
}

#[test]
fn with_zero_every_connection_is_opened_for_one_use() {
    let backend = MemoryManager::new();
    let pool = quick("none")
        .max_idle(0)
        .build_lazy(backend.clone())
        .unwrap();
    for used in 1..=3 {
        drop(pool.get().unwrap());
        eventually(|| pool.stats().size + pool.stats().disposing == 0);
        assert_eq!(pool.stats().evicted(EvictReason::Surplus), used);
    }
    assert_eq!(backend.counters().created, 3);
    close_clean(&pool, &backend);
}

#[test]
fn a_connection_that_a_waiter_needs_is_never_surplus() {
    let backend = MemoryManager::new();
    let pool = quick("needed")
        .max_size(1)
        .max_idle(0)
        .build_lazy(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    let waiter = common::waiter(&pool);
    drop(held);
    assert_eq!(waiter.join_soon().unwrap(), 1);
    eventually(|| pool.stats().evicted(EvictReason::Surplus) == 1);
    assert_eq!(backend.counters().created, 1);
    close_clean(&pool, &backend);
}

#[test]
fn many_that_come_back_at_once_leave_no_more_than_it_permits() {
    let backend = MemoryManager::new();
    let pool = quick("atonce")
        .max_size(8)
        .max_idle(3)
        .build_lazy(backend.clone())
        .unwrap();
    let users: Vec<_> = (0..8)
        .map(|_| {
            let user = pool.clone();
            spawn(move || {
                for _ in 0..200 {
                    drop(user.get_timeout(SOON).unwrap());
                }
            })
        })
        .collect();
    users.into_iter().for_each(|user| user.join_soon());
    // While callers wait, as many connections may be idle as callers wait. Then no more than 3.
    assert!(pool.stats().idle <= 3);
    close_clean(&pool, &backend);
}

#[test]
fn a_lower_limit_evicts_at_once_and_a_higher_one_lets_more_stay() {
    let backend = MemoryManager::new();
    let pool = quick("changes").max_size(6).build(backend.clone()).unwrap();
    drop(take(&pool, 6));
    assert_eq!(pool.stats().idle, 6);
    pool.set_max_idle(4).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.evicted(EvictReason::Surplus)), (4, 2));
    let held = take(&pool, 4);
    pool.set_max_idle(1).unwrap();
    drop(held);
    assert_eq!(pool.stats().idle, 1);
    pool.set_max_idle(None).unwrap();
    drop(take(&pool, 6));
    assert_eq!(pool.stats().idle, 6);
    close_clean(&pool, &backend);
}

#[test]
fn it_is_at_least_min_idle() {
    let built = quick("toolow")
        .min_idle(2)
        .max_idle(1)
        .build(MemoryManager::new());
    let error = built.unwrap_err().to_string();
    assert_eq!(
        error,
        "max_idle = 1: must be at least min_idle (2), or None for no limit"
    );
    let pool = quick("running")
        .min_idle(2)
        .max_idle(2)
        .build(MemoryManager::new())
        .unwrap();
    assert!(pool.set_max_idle(1).is_err());
    assert!(pool.set_min_idle(3).is_err());
    assert_eq!(pool.config().max_idle, Some(2));
}

#[test]
fn in_a_keyed_pool_it_holds_for_each_key() {
    let pool = KeyedPool::<u8, MemoryManager>::builder()
        .max_total(8)
        .max_per_key(4)
        .max_idle(1)
        .build(|_| MemoryManager::new())
        .unwrap();
    for key in [1, 2] {
        let held: Vec<_> = (0..3).map(|_| pool.get(&key).unwrap()).collect();
        drop(held);
        assert_eq!(pool.stats_for(&key).unwrap().idle, 1);
    }
    assert_eq!(pool.stats().evicted(EvictReason::Surplus), 4);
}

/// `min_idle` and `max_idle` are equal, so for a moment one connection is idle too many.
#[test]
fn the_replacement_of_an_expired_connection_is_not_one_too_many() {
    let (backend, clock) = (MemoryManager::new(), ManualClock::new());
    let pool = quick("replaced")
        .max_size(2)
        .min_idle(1)
        .max_idle(1)
        .max_lifetime(secs(60))
        .lifetime_jitter(0.0)
        .clock(clock.clone())
        .build(backend.clone())
        .unwrap();
    for round in 1..=20 {
        clock.advance(secs(61));
        eventually(|| pool.stats().evicted(EvictReason::MaxLifetime) == round);
        eventually(|| pool.stats().idle == 1 && pool.stats().disposing == 0);
        assert_eq!(pool.stats().evicted(EvictReason::Surplus), 0);
        assert_eq!(pool.stats().created, round + 1);
    }
    close_clean(&pool, &backend);
}
