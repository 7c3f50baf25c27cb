//! `background_collector(false)`: no threads; callers do the work.

use crate::common;

use common::{
    Custom, Log, SOON, all_disposed, close_clean, fill, ms, quick, secs, spawn, take, threads,
};
use conpool::{
    EvictReason, GetError, HealthCheck, Hook, ManualClock, MemoryManager, Pool, PoolBuilder,
    PooledConnection,
};

fn alone(name: &str) -> PoolBuilder<MemoryManager> {
    quick(name).background_collector(false)
}

#[test]
fn no_thread_is_ever_started_and_every_hook_runs_on_the_caller() {
    let backend = MemoryManager::new();
    let log = Log::default();
    let manager = Custom::new(&backend, {
        let log = log.clone();
        move |_, _| log.push(format!("{:?}", std::thread::current().id()))
    });
    let pool = Pool::builder()
        .name("nothr")
        .background_collector(false)
        .max_size(3)
        .health_check(HealthCheck::OnCheckout)
        .build(manager)
        .unwrap();
    fill(&pool, 3);
    PooledConnection::discard(pool.get().unwrap());
    drop(pool.get().unwrap());
    pool.sweep();
    pool.clear();
    drop(pool.get().unwrap());
    assert_eq!(threads("nothr"), 0);
    pool.close_timeout(SOON).unwrap();
    let here = format!("{:?}", std::thread::current().id());
    assert!(log.lines().iter().all(|id| *id == here));
    drop(pool);
    all_disposed(&backend);
}

#[test]
fn a_discarded_connection_is_disposed_and_its_slot_usable() {
    let backend = MemoryManager::new();
    let pool = alone("alonedisc")
        .max_size(1)
        .build(backend.clone())
        .unwrap();
    for id in 1..=5 {
        let guard = pool.get_timeout(SOON).unwrap();
        assert_eq!(guard.id(), id);
        PooledConnection::discard(guard);
    }
    assert_eq!(backend.counters().peak_open, 1);
    close_clean(&pool, &backend);
}

#[test]
fn the_caller_that_ran_a_create_keeps_its_error() {
    let backend = MemoryManager::new();
    let pool = alone("aloneerr").build_lazy(backend.clone()).unwrap();
    backend.fail(Hook::Create, 1);
    assert!(matches!(pool.get(), Err(GetError::Create { .. })));
    backend.panic(Hook::Create, 1);
    assert!(matches!(pool.get(), Err(GetError::Panicked { .. })));
    backend.fail_transient(Hook::Create, 2);
    drop(pool.get_timeout(SOON).unwrap());
}

#[test]
fn the_deadline_holds_among_callers() {
    let pool = alone("alonewait")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let (result, took) = common::timed(|| pool.get_timeout(ms(50)));
    assert!(result.unwrap_err().is_timeout());
    common::assert_at(took, ms(50));
    let waiter = common::waiter(&pool);
    drop(held);
    waiter.join_soon().unwrap();
}

#[test]
fn min_idle_is_filled_by_build_and_by_sweep() {
    let backend = MemoryManager::new();
    let pool = alone("alonemin")
        .min_idle(3)
        .build(backend.clone())
        .unwrap();
    assert_eq!(pool.stats().idle, 3);
    backend.kill_all();
    pool.retain(|_, _| false);
    pool.sweep();
    assert_eq!(pool.stats().idle, 3);
    assert!(pool.get().unwrap().id() > 3);
}

#[test]
fn lazy_building_fills_nothing_until_a_sweep() {
    let backend = MemoryManager::new();
    let pool = alone("alonelazy")
        .min_idle(2)
        .build_lazy(backend.clone())
        .unwrap();
    common::stays(|| backend.calls(Hook::Create) == 0);
    pool.sweep();
    assert_eq!(pool.stats().idle, 2);
}

#[test]
fn sweep_evicts_what_has_expired() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = alone("alonesweep")
        .clock(clock.clone())
        .max_size(4)
        .idle_timeout(secs(60))
        .build(backend.clone())
        .unwrap();
    fill(&pool, 4);
    clock.advance(secs(61));
    assert_eq!(backend.counters().disposed, 0);
    pool.sweep();
    assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 4);
    assert_eq!(backend.counters().disposed, 4);
}

#[test]
fn the_last_handle_may_go_while_guards_are_out() {
    let backend = MemoryManager::new();
    let pool = alone("alonedrop")
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 3);
    let held = take(&pool, 2);
    drop(pool);
    assert_eq!(backend.counters().open, 2, "the idle one is gone");
    drop(held);
    all_disposed(&backend);
}

#[test]
fn a_crowd_without_a_collector_is_served_too() {
    let backend = MemoryManager::new();
    let pool = alone("alonecrowd")
        .max_size(3)
        .max_uses(5)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    let users: Vec<_> = (0..30)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || {
                for _ in 0..20 {
                    pool.get_timeout(SOON).unwrap().execute("PING").unwrap();
                }
            })
        })
        .collect();
    users.into_iter().for_each(|user| user.join_soon());
    assert!(backend.counters().peak_open <= 3);
    close_clean(&pool, &backend);
}
