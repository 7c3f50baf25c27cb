//! `clear`, `retain` and `add`.

use crate::common;

use common::{Log, SOON, close_clean, eventually, fill, ms, quick, spawn, stays, take};
use conpool::{ConnectionManager, EvictReason, HealthCheck, Hook, MemoryManager, PooledConnection};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn clear_drops_idle_ones_now_and_those_in_use_at_check_in() {
    let backend = MemoryManager::new();
    let pool = quick("clear").max_size(3).build(backend.clone()).unwrap();
    fill(&pool, 3);
    let mut held = pool.get().unwrap();
    pool.clear();
    assert!(backend.wait_for(|seen| seen.disposed == 2, SOON));
    held.execute("PING").expect("still its user's");
    drop(held);
    assert!(backend.wait_for(|seen| seen.disposed == 3, SOON));
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 4);
    assert_eq!(pool.stats().evicted(EvictReason::Cleared), 3);
    assert!(!pool.is_closed());
}

#[test]
fn a_create_under_way_during_clear_belongs_to_the_old_generation() {
    let backend = MemoryManager::new();
    let pool = quick("clearcreate")
        .max_size(1)
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let caller = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(|guard| guard.id())
    });
    eventually(|| backend.running(Hook::Create) == 1);
    pool.clear();
    backend.release();
    assert_eq!(caller.join_soon().unwrap(), 2);
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    assert_eq!(pool.stats().evicted(EvictReason::Cleared), 1);
}

#[test]
fn clear_wakes_those_who_wait_for_a_slot() {
    let backend = MemoryManager::new();
    let pool = quick("clearwait")
        .max_size(1)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    let waiter = common::waiter(&pool);
    pool.clear();
    drop(held);
    assert_eq!(waiter.join_soon().unwrap(), 2);
}

#[test]
fn clearing_an_empty_or_closed_pool_does_nothing() {
    let backend = MemoryManager::new();
    let pool = quick("clearnone").build_lazy(backend.clone()).unwrap();
    pool.clear();
    pool.close();
    pool.clear();
    close_clean(&pool, &backend);
}

#[test]
fn retain_looks_at_idle_ones_only_and_counts_what_it_evicts() {
    let backend = MemoryManager::new();
    let pool = quick("retain").max_size(6).build(backend.clone()).unwrap();
    fill(&pool, 6);
    let held = take(&pool, 2);
    let mut seen = Vec::new();
    let evicted = pool.retain(|connection, info| {
        assert!(info.uses >= 1);
        seen.push(connection.id());
        connection.id() % 2 == 0
    });
    assert!(
        held.iter().all(|guard| !seen.contains(&guard.id())),
        "{seen:?}"
    );
    assert_eq!(seen.len(), 4);
    assert_eq!(evicted, seen.iter().filter(|id| *id % 2 == 1).count());
    assert_eq!(pool.stats().evicted(EvictReason::Rejected), evicted as u64);
    assert!(backend.wait_for(|seen| seen.disposed == evicted as u64, SOON));
    assert_eq!(pool.stats().size, 6 - evicted);
}

#[test]
fn retain_may_use_the_pool_and_the_connection() {
    let pool = quick("retainuse")
        .max_size(3)
        .build(MemoryManager::new())
        .unwrap();
    fill(&pool, 2);
    let kept = pool.clone();
    let evicted = pool.retain(|connection, _| {
        connection.execute("PING").unwrap();
        drop(kept.get_timeout(ms(50)));
        kept.stats().size <= 3
    });
    assert_eq!(evicted, 0);
}

#[test]
fn a_closure_of_retain_that_panics_loses_nothing() {
    let backend = MemoryManager::new();
    let pool = quick("retainpanic")
        .max_size(4)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 4);
    let mut calls = 0;
    // The pool may let the panic out or not; it must not lose a connection.
    drop(catch_unwind(AssertUnwindSafe(|| {
        pool.retain(|_, _| {
            calls += 1;
            assert!(calls != 2, "the closure's own panic");
            true
        })
    })));
    eventually(|| pool.stats().in_use == 0);
    assert!(pool.stats().idle >= 3, "{:?}", pool.stats());
    assert_eq!(take(&pool, 4).len(), 4);
    close_clean(&pool, &backend);
}

#[test]
fn an_added_connection_goes_idle_or_serves_a_waiter() {
    let backend = MemoryManager::new();
    let pool = quick("add")
        .max_size(3)
        .build_lazy(backend.clone())
        .unwrap();
    pool.add(backend.create().unwrap()).unwrap();
    assert_eq!(pool.get().unwrap().id(), 1);

    let _held = take(&pool, 1);
    backend.hang(Hook::Create);
    let waiter = common::waiter(&pool);
    // Made outside the pool, while the pool's own create hangs.
    let other = MemoryManager::new();
    pool.add(other.create().unwrap()).unwrap();
    assert_eq!(waiter.join_soon().unwrap(), 1);
    assert_eq!(other.counters().checkouts, 0);
    backend.release();
}

#[test]
fn a_full_or_closed_pool_hands_the_connection_back() {
    let backend = MemoryManager::new();
    let pool = quick("addfull").max_size(1).build(backend.clone()).unwrap();
    let error = pool.add(backend.create().unwrap()).unwrap_err();
    assert!(error.to_string().contains("addfull"), "{error}");
    let mut connection = error.into_inner();
    assert_eq!(connection.id(), 2);
    pool.close();
    connection = pool.add(connection).unwrap_err().into_inner();
    assert_eq!(connection.execute("PING").unwrap(), "PONG");
    pool.close_timeout(SOON).unwrap();
    let seen = backend.counters();
    assert_eq!((seen.disposed, seen.open), (1, 1));
}

#[test]
fn an_added_connection_is_disposed_like_any_other() {
    let backend = MemoryManager::new();
    let pool = quick("addown")
        .max_size(2)
        .build_lazy(backend.clone())
        .unwrap();
    pool.add(backend.create().unwrap()).unwrap();
    close_clean(&pool, &backend);
}

#[test]
fn the_events_of_clear_are_one_per_call_and_one_per_connection() {
    let log = Log::default();
    let backend = MemoryManager::new();
    let pool = quick("clearlog")
        .max_size(3)
        .observer(log.clone())
        .build(backend.clone())
        .unwrap();
    fill(&pool, 3);
    pool.clear();
    assert!(backend.wait_for(|seen| seen.disposed == 3, SOON));
    eventually(|| log.count("Evicted") == 3 && log.count("Cleared") == 1);
    stays(|| log.count("Evicted") == 3);
}

/// The caller that began the create would otherwise wait for the old server beside free slots.
#[test]
fn a_caller_whose_create_hangs_gets_another_one_after_a_clear() {
    let backend = MemoryManager::new();
    let pool = quick("clearhang")
        .max_size(3)
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let caller = spawn({
        let pool = pool.clone();
        move || drop(pool.get_timeout(SOON).unwrap())
    });
    eventually(|| backend.running(Hook::Create) == 1);
    pool.clear();
    eventually(|| backend.running(Hook::Create) == 2);
    backend.release();
    caller.join_soon();
    close_clean(&pool, &backend);
}

#[test]
fn a_caller_whose_check_hangs_gets_another_connection_after_a_clear() {
    let backend = MemoryManager::new();
    let pool = quick("clearcheck")
        .max_size(3)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    let caller = spawn({
        let pool = pool.clone();
        move || drop(pool.get_timeout(SOON).unwrap())
    });
    eventually(|| backend.running(Hook::Check) == 1);
    pool.clear();
    caller.join_soon();
    assert_eq!(backend.running(Hook::Check), 1, "it hangs still");
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn idle_connections_whose_disposes_hang_after_a_clear_leave_free_slots_to_a_waiter() {
    let backend = MemoryManager::new();
    let pool = quick("cleardispose")
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Dispose);
    pool.clear();
    drop(pool.get_timeout(SOON).unwrap());
    backend.release();
    close_clean(&pool, &backend);
}

/// MongoDB's CMAP: a clear of an older generation has no effect.
#[test]
fn late_reports_of_one_failover_clear_once() {
    let backend = MemoryManager::new();
    let pool = quick("late").max_size(10).build(backend.clone()).unwrap();
    let holders = take(&pool, 10);
    for holder in holders {
        PooledConnection::clear_generation(holder);
        drop(pool.get_timeout(SOON).unwrap());
    }
    assert_eq!(pool.generation(), 1);
    assert_eq!(backend.counters().created, 11);
    assert_eq!(pool.stats().evicted(EvictReason::Discarded), 10);
    close_clean(&pool, &backend);
}

#[test]
fn of_many_clears_of_one_generation_one_clears() {
    let backend = MemoryManager::new();
    let log = Log::default();
    let pool = quick("once")
        .max_size(4)
        .observer(log.clone())
        .build(backend.clone())
        .unwrap();
    assert!(!pool.clear_generation(7), "one that is not there yet");
    let all = std::sync::Arc::new(std::sync::Barrier::new(8));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (pool, all) = (pool.clone(), all.clone());
            spawn(move || {
                all.wait();
                usize::from(pool.clear_generation(0))
            })
        })
        .collect();
    let cleared: usize = tasks.into_iter().map(|task| task.join_soon()).sum();
    assert_eq!(
        (cleared, pool.generation(), log.count("Cleared")),
        (1, 1, 1)
    );
    close_clean(&pool, &backend);
}
