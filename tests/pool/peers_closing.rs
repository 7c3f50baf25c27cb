//! Bugs of other pools in closing. The whole list, with links, is `src/docs/peers.md`.

use crate::common;

use common::{
    SOON, all_disposed, close_clean, eventually, ms, queued, quick, spawn, take, threads,
};
use conpool::{ConnectionManager, Hook, MemoryManager};
use std::{
    sync::{Arc, Barrier},
    thread,
};

/// puddle 1.1.1: a resource created while the pool closed was put into the closed pool, and nobody
/// destroyed it.
#[test]
fn a_connection_added_while_the_pool_closes_is_disposed_or_handed_back() {
    for _ in 0..100 {
        let backend = MemoryManager::new();
        let pool = quick("pu111").build_lazy(backend.clone()).unwrap();
        let spare = backend.create().unwrap();
        let start = Arc::new(Barrier::new(2));
        let closer = spawn({
            let (pool, start) = (pool.clone(), Arc::clone(&start));
            move || {
                start.wait();
                pool.close();
            }
        });
        start.wait();
        if let Err(error) = pool.add(spare) {
            assert!(!error.is_full(), "{error:?}");
            backend.dispose(error.into_inner());
        }
        closer.join_soon();
        close_clean(&pool, &backend);
        assert_eq!(backend.counters().created, 1);
    }
}

/// puddle 2.0.1: closing while several constructors ran miscounted them.
#[test]
fn closing_with_several_creates_in_flight_waits_for_them_all() {
    let backend = MemoryManager::new();
    let pool = quick("pu201")
        .max_creating(4)
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(SOON).map(drop))
        })
        .collect();
    eventually(|| backend.running(Hook::Create) == 4);
    let left = pool.close_timeout(ms(20)).unwrap_err();
    assert_eq!((left.in_use, left.hooks_running), (0, 4), "{left:?}");
    for caller in callers {
        assert!(caller.join_soon().unwrap_err().is_closed());
    }
    let closer = spawn({
        let pool = pool.clone();
        move || pool.close_timeout(SOON)
    });
    backend.release();
    closer.join_soon().unwrap();
    let seen = backend.counters();
    assert_eq!((seen.created, seen.disposed, seen.open), (4, 4, 0));
    close_clean(&pool, &backend);
}

/// HikariCP #229 and #621: closing a pool that was still being filled failed, or left connections.
#[test]
fn a_pool_closed_while_it_fills_for_the_first_time_leaves_nothing() {
    for turn in 0..40 {
        let backend = MemoryManager::new();
        let pool = quick("h229")
            .min_idle(5)
            .build_lazy(backend.clone())
            .unwrap();
        if turn % 2 == 0 {
            backend.wait_for(|seen| seen.created >= turn / 8, SOON);
        }
        close_clean(&pool, &backend);
        eventually(|| threads("h229-") == 0);
        assert!(backend.counters().created <= 5);
    }
}

/// HikariCP 2.4.3: connections went on being acquired after the shutdown had begun.
#[test]
fn creates_that_have_not_started_are_not_started_after_close() {
    let backend = MemoryManager::new();
    backend.hang(Hook::Create);
    let pool = quick("h243")
        .min_idle(5)
        .max_creating(1)
        .build_lazy(backend.clone())
        .unwrap();
    let callers: Vec<_> = (1..=3)
        .map(|n| {
            let caller = spawn({
                let pool = pool.clone();
                move || pool.get_timeout(SOON).map(drop)
            });
            queued(&pool, n);
            caller
        })
        .collect();
    eventually(|| backend.running(Hook::Create) == 1);
    let begun = backend.calls(Hook::Create);
    pool.close();
    for caller in callers {
        assert!(caller.join_soon().unwrap_err().is_closed());
    }
    backend.release();
    close_clean(&pool, &backend);
    assert_eq!(backend.calls(Hook::Create), begun);
}

/// c3p0 0.9.5.1: tasks that acquire connections did not look whether their pool had been closed.
#[test]
fn a_pool_closed_during_an_outage_stops_trying() {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, u64::MAX);
    let pool = quick("outage")
        .min_idle(2)
        .build_lazy(backend.clone())
        .unwrap();
    eventually(|| backend.calls(Hook::Create) >= 3);
    pool.close_timeout(SOON).unwrap();
    let tried = backend.calls(Hook::Create);
    thread::sleep(ms(50));
    assert_eq!(backend.calls(Hook::Create), tried);
    eventually(|| threads("outage-") == 0);
}

/// POOL-263: objects returned at the moment of closing were destroyed neither by the close nor by the return.
#[test]
fn guards_that_come_back_at_the_moment_of_closing_are_disposed() {
    for _ in 0..100 {
        let backend = MemoryManager::new();
        let pool = quick("p263").max_size(2).build(backend.clone()).unwrap();
        let held = take(&pool, 2);
        let start = Arc::new(Barrier::new(3));
        let users: Vec<_> = held
            .into_iter()
            .map(|guard| {
                let start = Arc::clone(&start);
                spawn(move || {
                    start.wait();
                    drop(guard);
                })
            })
            .collect();
        start.wait();
        pool.close();
        users.into_iter().for_each(|user| user.join_soon());
        drop(pool);
        all_disposed(&backend);
    }
}
