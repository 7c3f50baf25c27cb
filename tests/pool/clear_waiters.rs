//! `clear_waiters`: a failover ends the waits of those who wait for it, and of nobody else.

use crate::common;

use common::{close_clean, eventually, queued, quick, secs, spawn, take};
use conpool::{GetError, Hook, MemoryManager, Pool};
use std::error::Error;

fn waiter(pool: &Pool<MemoryManager>) -> common::Task<Result<(), GetError<conpool::MemoryError>>> {
    let pool = pool.clone();
    spawn(move || pool.get_timeout(secs(60)).map(drop))
}

#[test]
fn every_waiter_gets_the_cause_and_a_later_one_waits() {
    let backend = MemoryManager::new();
    let pool = quick("failover")
        .max_size(1)
        .build(backend.clone())
        .unwrap();
    let held = take(&pool, 1);
    let waiters = [waiter(&pool), waiter(&pool)];
    queued(&pool, 2);
    assert_eq!(pool.clear_waiters_with("the primary moves"), 2);
    for waiter in waiters {
        let error = waiter.join_soon().unwrap_err();
        assert!(error.is_cleared() && !error.is_timeout());
        assert_eq!(error.to_string(), "pool \"failover\": the wait was cleared");
        let cause = error.source().expect("the cause that was given");
        assert_eq!(cause.to_string(), "the primary moves");
        let copy = error.clone();
        assert!(matches!(copy, GetError::Cleared { cause: Some(_), .. }));
    }
    let later = waiter(&pool);
    queued(&pool, 1);
    drop(held);
    later.join_soon().unwrap();
    let stats = pool.stats();
    assert_eq!(
        (stats.gets, stats.timeouts, stats.waiters),
        (4, 0, 0),
        "{stats}"
    );
    close_clean(&pool, &backend);
}

#[test]
fn without_waiters_and_without_a_cause_it_changes_nothing() {
    let pool = quick("nobody")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    assert_eq!(pool.clear_waiters(), 0);
    let held = take(&pool, 1);
    let waits = waiter(&pool);
    queued(&pool, 1);
    assert_eq!(pool.clear_waiters(), 1);
    let error = waits.join_soon().unwrap_err();
    assert!(error.is_cleared() && error.source().is_none());
    drop(held);
    drop(pool.get().unwrap());
    pool.close();
    assert_eq!(pool.clear_waiters(), 0);
}

#[test]
fn a_create_under_way_goes_on_and_serves_the_next_caller() {
    let backend = MemoryManager::new();
    let pool = quick("goeson").build_lazy(backend.clone()).unwrap();
    backend.hang(Hook::Create);
    let waits = waiter(&pool);
    eventually(|| backend.running(Hook::Create) == 1);
    assert_eq!(pool.clear_waiters(), 1);
    assert!(waits.join_soon().unwrap_err().is_cleared());
    backend.release();
    eventually(|| pool.stats().idle == 1);
    drop(pool.get().unwrap());
    assert_eq!(backend.counters().created, 1);
    close_clean(&pool, &backend);
}
