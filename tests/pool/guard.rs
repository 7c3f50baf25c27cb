//! The guard: deref, information, discard, detach, and the threads it may move to.

use crate::common;

use common::{SOON, eventually, noise, quick, secs, spawn, timed};
use conpool::{EvictReason, HealthCheck, Hook, ManualClock, MemoryManager, PooledConnection};

#[test]
fn a_guard_reads_and_writes_like_its_connection() {
    let pool = quick("deref").build(MemoryManager::new()).unwrap();
    let mut guard = pool.get().unwrap();
    assert_eq!(guard.id(), 1);
    assert_eq!(guard.execute("SET a 1").unwrap(), "OK");
}

#[test]
fn info_tells_number_age_uses_and_generation() {
    let clock = ManualClock::new();
    let pool = quick("info")
        .clock(clock.clone())
        .idle_timeout(None)
        .health_check(HealthCheck::Never)
        .build(MemoryManager::new())
        .unwrap();
    let first = PooledConnection::info(&pool.get().unwrap());
    clock.advance(secs(7));
    let guard = pool.get().unwrap();
    let second = PooledConnection::info(&guard);
    assert_eq!(first.id, second.id);
    assert_eq!(second.uses, first.uses + 1);
    assert_eq!(second.created_at, first.created_at);
    assert!(second.age >= secs(7) && second.age < secs(8), "{second:?}");
    assert!(
        second.idle_for >= secs(6) && second.idle_for < secs(8),
        "{second:?}"
    );
    drop(guard);
    pool.clear();
    let third = PooledConnection::info(&pool.get_timeout(SOON).unwrap());
    assert_ne!(third.id, first.id);
    assert!(third.generation > first.generation);
}

#[test]
fn discard_does_not_wait_for_the_dispose_and_frees_the_slot() {
    let backend = MemoryManager::new();
    let pool = quick("discard").max_size(1).build(backend.clone()).unwrap();
    backend.hang(Hook::Dispose);
    let guard = pool.get().unwrap();
    let ((), took) = timed(|| PooledConnection::discard(guard));
    assert!(took <= noise(), "discard waited for dispose: {took:?}");
    backend.release();
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
    assert_eq!(pool.stats().evicted(EvictReason::Discarded), 1);
    assert_eq!(
        backend.counters().checkins,
        1,
        "a bad one needs no clean-up"
    );
}

#[test]
fn a_guard_moves_to_another_thread_and_is_returned_from_there() {
    let pool = quick("travel")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let mut guard = pool.get().unwrap();
    let answer = spawn(move || guard.execute("PING")).join_soon();
    assert_eq!(answer.unwrap(), "PONG");
    assert_eq!(pool.get_timeout(noise()).unwrap().id(), 1);
}

#[test]
fn a_guard_lives_longer_than_the_handle_it_came_from() {
    let pool = quick("static").build(MemoryManager::new()).unwrap();
    let guard = {
        let handle = pool.clone();
        handle.get().unwrap()
    };
    assert_eq!(pool.stats().in_use, 1);
    drop(guard);
    eventually(|| pool.stats().in_use == 0);
    assert_eq!(pool.stats().idle, 1);
}

#[test]
fn the_hooks_of_checkout_and_check_in_run_once_per_use() {
    let backend = MemoryManager::new();
    let pool = quick("hooks").build(backend.clone()).unwrap();
    for _ in 0..5 {
        drop(pool.get().unwrap());
    }
    let seen = backend.counters();
    assert_eq!((seen.checkouts, seen.checkins), (5, 5));
    assert_eq!(backend.calls(Hook::HasBroken), 5);
}
