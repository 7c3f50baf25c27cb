//! The order in which idle connections are checked out.

use crate::common;

use common::{SOON, close_clean, eventually, ms, quick, secs, spawn, take};
use conpool::{
    HealthCheck, Hook, IdleOrder, KeyedPool, ManualClock, MemoryManager, PooledConnection,
};
use std::collections::BTreeMap;

fn ids(pool: &conpool::Pool<MemoryManager>, count: usize) -> Vec<u64> {
    (0..count).map(|_| pool.get().unwrap().id()).collect()
}

#[test]
fn sticky_uses_one_connection_and_fifo_all_of_them_in_turn() {
    for (order, expected) in [
        (IdleOrder::Sticky, [3, 3, 3, 3, 3, 3]),
        (IdleOrder::Fifo, [1, 2, 3, 1, 2, 3]),
    ] {
        let backend = MemoryManager::new();
        let pool = quick("order")
            .idle_order(order)
            .health_check(HealthCheck::Never)
            .build(backend.clone())
            .unwrap();
        for guard in take(&pool, 3) {
            drop(guard);
        }
        assert_eq!(ids(&pool, 6), expected, "{order:?}");
        close_clean(&pool, &backend);
    }
}

#[test]
fn fifo_skips_what_has_left_and_puts_a_new_connection_at_the_end() {
    let backend = MemoryManager::new();
    let pool = quick("skips")
        .idle_order(IdleOrder::Fifo)
        .health_check(HealthCheck::Never)
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    for guard in take(&pool, 3) {
        drop(guard);
    }
    PooledConnection::discard(pool.try_get().unwrap());
    assert_eq!(ids(&pool, 2), [2, 3]);
    let held = take(&pool, 3);
    assert_eq!(held[2].id(), 4);
    held.into_iter().rev().for_each(drop);
    assert_eq!(ids(&pool, 4), [4, 3, 2, 4]);
    close_clean(&pool, &backend);
}

#[test]
fn fifo_serves_waiters_and_many_threads() {
    let backend = MemoryManager::new();
    let pool = quick("threads")
        .idle_order(IdleOrder::Fifo)
        .max_size(4)
        .build(backend.clone())
        .unwrap();
    let held = take(&pool, 4);
    let waiter = common::waiter(&pool);
    drop(held);
    waiter.join_soon().unwrap();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || {
                let mut uses = BTreeMap::new();
                for _ in 0..300 {
                    let guard = pool.get_timeout(SOON).unwrap();
                    *uses.entry(guard.id()).or_insert(0) += 1;
                }
                uses
            })
        })
        .collect();
    let mut uses: BTreeMap<u64, u64> = BTreeMap::new();
    for user in callers {
        for (id, count) in user.join_soon() {
            *uses.entry(id).or_default() += count;
        }
    }
    assert_eq!(uses.values().sum::<u64>(), 2400);
    assert_eq!(uses.len(), 4, "{uses:?}");
    close_clean(&pool, &backend);
}

#[test]
fn fifo_with_checks_keepalive_and_sweeps_loses_no_connection() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("checks")
        .idle_order(IdleOrder::Fifo)
        .clock(clock.clone())
        .health_check(HealthCheck::OnCheckout)
        .keepalive_interval(secs(10))
        .idle_timeout(secs(60))
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    for guard in take(&pool, 3) {
        drop(guard);
    }
    for _ in 0..5 {
        clock.advance(secs(11));
        pool.sweep();
        drop(pool.get_timeout(SOON).unwrap());
    }
    eventually(|| backend.running(Hook::Check) == 0 && pool.stats().idle == 3);
    backend.fail(Hook::Check, 1);
    drop(pool.get_timeout(SOON).unwrap());
    eventually(|| pool.stats().in_use == 0);
    assert_eq!(pool.stats().idle, 2);
    // What nobody uses idles out.
    clock.advance(secs(61));
    pool.sweep();
    eventually(|| pool.stats().size == 0);
    close_clean(&pool, &backend);
}

#[test]
fn fifo_works_without_a_collector_and_for_each_key() {
    let backend = MemoryManager::new();
    let pool = quick("inline")
        .idle_order(IdleOrder::Fifo)
        .health_check(HealthCheck::Never)
        .background_collector(false)
        .build(backend.clone())
        .unwrap();
    for guard in take(&pool, 2) {
        drop(guard);
    }
    assert_eq!(ids(&pool, 4), [1, 2, 1, 2]);
    close_clean(&pool, &backend);

    let keyed = KeyedPool::<u8, MemoryManager>::builder()
        .idle_order(IdleOrder::Fifo)
        .health_check(HealthCheck::Never)
        .build(|_| MemoryManager::new())
        .unwrap();
    let held: Vec<_> = (0..2).map(|_| keyed.get(&1).unwrap()).collect();
    held.into_iter().for_each(drop);
    let ids: Vec<_> = (0..4).map(|_| keyed.get(&1).unwrap().id()).collect();
    assert_eq!(ids, [1, 2, 1, 2]);
    keyed.close_timeout(ms(1000)).unwrap();
}
