//! Promise 3: an idle connection first, then growth, and waiting only when neither can serve.

use crate::common;

use common::{
    Custom, Gate, SOON, eventually, fill, ms, queued, quick, quick_backoff, spawn, stays, take,
};
use conpool::{Hook, MemoryManager, Pool};
use std::sync::{Arc, Barrier};

#[test]
fn an_idle_connection_is_used_before_a_new_one_is_made() {
    let backend = MemoryManager::new();
    let pool = quick("reuse").max_size(5).build(backend.clone()).unwrap();
    for _ in 0..20 {
        assert_eq!(pool.get().unwrap().id(), 1);
    }
    assert_eq!(backend.calls(Hook::Create), 1);
}

#[test]
fn as_many_callers_as_slots_are_all_served_at_the_same_time() {
    let backend = MemoryManager::new();
    let pool = quick("grow").max_size(8).build(backend.clone()).unwrap();
    let all = Arc::new(Barrier::new(8));
    let callers = [(); 8].map(|()| {
        let (pool, all) = (pool.clone(), Arc::clone(&all));
        spawn(move || {
            let _guard = pool.get_timeout(SOON).unwrap();
            all.wait();
        })
    });
    callers.into_iter().for_each(|caller| caller.join_soon());
    assert_eq!(backend.counters().peak_open, 8);
}

#[test]
fn a_create_that_hangs_does_not_hold_up_callers_that_find_another_slot() {
    let backend = MemoryManager::new();
    let gate = Gate::default();
    let manager = Custom::first_create_waits(&backend, &gate);
    let pool = Pool::builder()
        .name("oneslow")
        .max_size(2)
        .build_lazy(manager)
        .unwrap();
    let callers = [(); 2].map(|()| {
        let pool = pool.clone();
        spawn(move || pool.get_timeout(SOON).map(|guard| guard.id()))
    });
    for caller in callers {
        assert_eq!(
            caller.join_soon().unwrap(),
            1,
            "the second create is the first to finish"
        );
    }
    assert_eq!(pool.stats().creating, 1, "the first create still hangs");
    gate.open();
    eventually(|| pool.stats().idle == 2);
}

#[test]
fn a_check_in_serves_a_caller_whose_own_create_is_still_under_way() {
    let backend = MemoryManager::new();
    let pool = quick("whichever")
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    backend.hang(Hook::Create);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(|guard| guard.id())
    });
    eventually(|| backend.running(Hook::Create) == 1);
    drop(held);
    assert_eq!(waiter.join_soon().unwrap(), 1);
    backend.release();
    eventually(|| pool.stats().idle == 2);
}

#[test]
fn a_new_connection_serves_the_head_waiter_while_all_others_are_in_use() {
    let backend = MemoryManager::new();
    let pool = quick("newserves").max_size(3).build(backend).unwrap();
    let _held = take(&pool, 2);
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 3);
}

#[test]
fn creates_in_flight_reach_max_creating_and_never_pass_it() {
    let backend = MemoryManager::new();
    let pool = quick("stampede")
        .max_size(20)
        .max_creating(3)
        .build_lazy(backend.clone())
        .unwrap();
    backend.delay(Hook::Create, ms(10));
    let all = Arc::new(Barrier::new(20));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (pool, all) = (pool.clone(), Arc::clone(&all));
            spawn(move || {
                let _guard = pool.get_timeout(SOON).unwrap();
                all.wait();
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join_soon());
    assert_eq!(backend.peak_running(Hook::Create), 3);
    assert_eq!(backend.counters().created, 20);
}

#[test]
fn a_create_that_nobody_needs_any_more_is_not_started() {
    let backend = MemoryManager::new();
    let pool = quick("unneeded")
        .max_size(3)
        .max_creating(1)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    backend.hang(Hook::Create);
    let waiters = [(); 2].map(|()| {
        let pool = pool.clone();
        spawn(move || pool.get_timeout(SOON).map(drop))
    });
    queued(&pool, 2);
    eventually(|| backend.running(Hook::Create) == 1);
    drop(held);
    for waiter in waiters {
        waiter.join_soon().unwrap();
    }
    backend.release();
    eventually(|| pool.stats().idle == 2);
    stays(|| backend.calls(Hook::Create) == 2);
}

#[test]
fn try_get_takes_what_is_idle_and_creates_nothing() {
    let backend = MemoryManager::new();
    let pool = quick("tryget")
        .max_size(3)
        .build_lazy(backend.clone())
        .unwrap();
    assert!(pool.try_get().is_none());
    stays(|| backend.calls(Hook::Create) == 0);
    fill(&pool, 1);
    let held = pool.try_get().unwrap();
    assert!(pool.try_get().is_none());
    assert_eq!(held.id(), 1);
    assert_eq!(backend.calls(Hook::Create), 1);
}

#[test]
fn a_thread_gets_the_connection_it_used_last() {
    let pool = quick("affine")
        .max_size(3)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let (used, both_idle) = (Gate::default(), Gate::default());
    let worker = spawn({
        let (pool, used, both_idle) = (pool.clone(), used.clone(), both_idle.clone());
        move || {
            let mine = pool.get_timeout(SOON).unwrap().id();
            used.open();
            both_idle.pass();
            let later = [(); 5].map(|()| pool.get_timeout(SOON).unwrap().id());
            (mine, later)
        }
    });
    used.pass();
    drop(held);
    both_idle.open();
    assert_eq!(worker.join_soon(), (2, [2; 5]));
}

#[test]
fn surplus_connections_are_left_alone_by_a_single_user() {
    let pool = quick("surplus")
        .max_size(4)
        .build(MemoryManager::new())
        .unwrap();
    fill(&pool, 4);
    let ids = [(); 10].map(|()| spawn_get(&pool));
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

/// The connection that a thread without a cached slot gets: the one in the lowest slot.
fn spawn_get(pool: &Pool<MemoryManager>) -> u64 {
    let pool = pool.clone();
    spawn(move || pool.get_timeout(SOON).unwrap().id()).join_soon()
}

#[test]
fn min_idle_is_filled_in_the_background_as_far_as_max_size_allows() {
    let backend = MemoryManager::new();
    let pool = quick("refill")
        .max_size(4)
        .min_idle(2)
        .build_lazy(backend.clone())
        .unwrap();
    eventually(|| pool.stats().idle == 2);
    let mut held = take(&pool, 2);
    eventually(|| pool.stats().idle == 2);
    held.extend(take(&pool, 1));
    eventually(|| pool.stats().idle == 1 && pool.stats().size == 4);
    stays(|| pool.stats().size == 4 && backend.counters().open == 4);
}

#[test]
fn min_idle_is_filled_again_after_the_backend_recovers() {
    let backend = MemoryManager::new();
    backend.fail(Hook::Create, 3);
    let pool = quick("recover")
        .backoff(quick_backoff())
        .min_idle(2)
        .build_lazy(backend.clone())
        .unwrap();
    eventually(|| pool.stats().idle == 2);
    assert_eq!(backend.counters().create_errors, 3);
}
