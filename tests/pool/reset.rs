//! Resets: a connection that its caller left in some state is reset before the next one gets it, and no drop waits for
//! that.

use crate::common::{
    Gate, SOON, close_clean, eventually, ms, queued, quick, secs, spawn, timed, waiter,
};
use conpool::{
    ConnectionManager, EvictReason, Hook, KeyedPool, MemoryManager, Pool, PoolBuilder,
    PooledConnection,
};
use std::sync::{Arc, Mutex};
use std::thread;

/// A pool whose connections all need a reset.
fn resetting(builder: PoolBuilder<MemoryManager>) -> (Pool<MemoryManager>, MemoryManager) {
    let backend = MemoryManager::new();
    backend.needs_reset(true);
    let pool = builder.build(backend.clone()).unwrap();
    (pool, backend)
}

#[test]
fn a_connection_is_reset_between_two_callers_and_never_without_need() {
    let (pool, backend) = resetting(quick("each").max_size(1));
    for round in 1..=3 {
        assert_eq!(pool.get().unwrap().id(), 1);
        eventually(|| pool.stats().idle == 1);
        assert_eq!(backend.counters().resets, round);
    }
    backend.needs_reset(false);
    drop(pool.get().unwrap());
    assert_eq!(backend.counters().resets, 3);
    assert_eq!(pool.stats().check_failures, 0);
    close_clean(&pool, &backend);
}

#[test]
fn a_drop_does_not_wait_for_the_reset_and_the_connection_counts_as_in_use() {
    let (pool, backend) = resetting(quick("hangs").max_size(1));
    backend.hang(Hook::Reset);
    let guard = pool.get().unwrap();
    let ((), took) = timed(|| drop(guard));
    assert!(took < SOON);
    eventually(|| backend.running(Hook::Reset) == 1);
    assert_eq!((pool.stats().in_use, pool.stats().idle), (1, 0));
    assert!(pool.holders().is_empty(), "no caller holds it");
    assert!(pool.try_get().is_none());
    backend.release();
    eventually(|| pool.stats().idle == 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_waiter_gets_the_connection_after_its_reset() {
    let (pool, backend) = resetting(quick("waits").max_size(1));
    backend.hang(Hook::Reset);
    drop(pool.get().unwrap());
    eventually(|| backend.running(Hook::Reset) == 1);
    let waiting = waiter(&pool);
    backend.release();
    assert_eq!(waiting.join_soon().unwrap(), 1);
    eventually(|| pool.stats().idle == 1);
    assert_eq!(pool.stats().created, 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_caller_takes_another_connection_while_one_is_reset() {
    let (pool, backend) = resetting(quick("another").max_size(2).min_idle(2));
    backend.hang(Hook::Reset);
    let first = pool.get().unwrap();
    let id = first.id();
    drop(first);
    eventually(|| backend.running(Hook::Reset) == 1);
    assert_ne!(pool.get_timeout(secs(20)).unwrap().id(), id);
    backend.release();
    eventually(|| pool.stats().idle == 2);
    close_clean(&pool, &backend);
}

/// As with a check, a waiter relies on a reset for 100 ms and then gets a connection of its own, if there is room.
#[test]
fn a_reset_that_takes_long_does_not_hold_up_a_waiter() {
    let (pool, backend) = resetting(quick("long").max_size(2));
    backend.hang(Hook::Reset);
    drop(pool.get().unwrap());
    eventually(|| backend.running(Hook::Reset) == 1);
    let guard = pool.get_timeout(secs(20)).unwrap();
    assert_eq!((guard.id(), pool.stats().created), (2, 2));
    backend.release();
    drop(guard);
    eventually(|| pool.stats().idle == 2);
    close_clean(&pool, &backend);
}

#[test]
fn a_connection_whose_reset_fails_or_panics_is_evicted_and_the_waiter_gets_another() {
    let (pool, backend) = resetting(quick("fails").max_size(1));
    let faults: [(fn(&MemoryManager), EvictReason); 2] = [
        (
            |backend| backend.fail(Hook::Reset, 1),
            EvictReason::ResetFailed,
        ),
        (
            |backend| backend.panic(Hook::Reset, 1),
            EvictReason::Panicked,
        ),
    ];
    for (number, (fault, reason)) in (1..).zip(faults) {
        fault(&backend);
        let guard = pool.get().unwrap();
        let waiting = waiter(&pool);
        drop(guard);
        assert_eq!(waiting.join_soon().unwrap(), number + 1);
        assert_eq!(pool.stats().evicted(reason), 1);
    }
    assert_eq!(pool.stats().panics, 1);
    eventually(|| pool.stats().idle == 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_killed_connection_fails_its_reset() {
    let (pool, backend) = resetting(quick("killed").max_size(1));
    let guard = pool.get().unwrap();
    backend.kill(guard.id());
    drop(guard);
    eventually(|| pool.stats().evicted(EvictReason::ResetFailed) == 1);
    assert_eq!(pool.get().unwrap().id(), 2);
    eventually(|| pool.stats().idle == 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_reset_past_check_timeout_loses_its_slot_and_its_connection_goes_when_it_returns() {
    let (pool, backend) = resetting(quick("timeout").max_size(1).check_timeout(ms(50)));
    backend.hang(Hook::Reset);
    drop(pool.get().unwrap());
    assert_eq!(pool.get_timeout(secs(20)).unwrap().id(), 2);
    let stats = pool.stats();
    assert_eq!(stats.evicted(EvictReason::ResetFailed), 1);
    assert_eq!(stats.evicted(EvictReason::CheckFailed), 0);
    backend.release();
    eventually(|| pool.stats().abandoned == 0 && pool.stats().idle == 1);
    close_clean(&pool, &backend);
}

#[test]
fn what_is_evicted_anyway_is_not_reset() {
    let (pool, backend) = resetting(quick("evicted").max_size(1).max_uses(2));
    PooledConnection::discard(pool.get().unwrap());
    backend.fail(Hook::HasBroken, 1);
    drop(pool.get().unwrap());
    backend.fail(Hook::Checkin, 1);
    drop(pool.get().unwrap());
    let guard = pool.get().unwrap();
    pool.clear();
    drop(guard);
    let guard = pool.get().unwrap();
    assert!(pool.interrupt(PooledConnection::info(&guard).id));
    drop(guard);
    assert_eq!(backend.counters().resets, 0);
    drop(pool.get().unwrap());
    eventually(|| pool.stats().idle == 1);
    drop(pool.get().unwrap());
    eventually(|| pool.stats().evicted(EvictReason::MaxUses) == 1);
    assert_eq!(backend.counters().resets, 1, "the first use only");
    drop(PooledConnection::detach(pool.get().unwrap()));
    assert_eq!(backend.counters().resets, 1);
    let guard = pool.get().unwrap();
    pool.close();
    drop(guard);
    pool.close_timeout(SOON).unwrap();
    assert_eq!(backend.counters().resets, 1);
}

#[test]
fn a_clear_or_a_close_during_a_reset_evicts_the_connection_after_it() {
    let ends: [(fn(&Pool<MemoryManager>), EvictReason); 2] = [
        (Pool::clear, EvictReason::Cleared),
        (Pool::close, EvictReason::Closed),
    ];
    for (end, reason) in ends {
        let (pool, backend) = resetting(quick("ended").max_size(1));
        backend.hang(Hook::Reset);
        drop(pool.get().unwrap());
        eventually(|| backend.running(Hook::Reset) == 1);
        end(&pool);
        backend.release();
        eventually(|| pool.stats().evicted(reason) == 1);
        pool.close_timeout(SOON).unwrap();
        assert_eq!(backend.counters().open, 0);
    }
}

#[test]
fn a_reset_that_does_not_block_runs_on_the_thread_that_drops_the_guard() {
    struct Manager(MemoryManager, Arc<Mutex<Vec<thread::ThreadId>>>);
    impl ConnectionManager for Manager {
        type Connection = conpool::MemoryConnection;
        type Error = conpool::MemoryError;
        fn create(&self) -> Result<Self::Connection, Self::Error> {
            self.0.create()
        }
        fn check_aliveness(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
            self.0.check_aliveness(connection)
        }
        fn dispose(&self, connection: Self::Connection) {
            self.0.dispose(connection);
        }
        fn needs_reset(&self, _: &Self::Connection) -> bool {
            true
        }
        fn reset(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
            self.1.lock().unwrap().push(thread::current().id());
            self.0.reset(connection)
        }
        fn reset_may_block(&self) -> bool {
            false
        }
    }
    let (backend, threads) = (MemoryManager::new(), Arc::default());
    let manager = Manager(backend.clone(), Arc::clone(&threads));
    let pool = Pool::builder().max_size(1).build(manager).unwrap();
    drop(pool.get().unwrap());
    assert_eq!((pool.stats().idle, pool.stats().in_use), (1, 0));
    assert_eq!(*threads.lock().unwrap(), [thread::current().id()]);
    backend.fail(Hook::Reset, 1);
    drop(pool.get().unwrap());
    assert_eq!(pool.stats().evicted(EvictReason::ResetFailed), 1);
    close_clean(&pool, &backend);
}

#[test]
fn without_a_collector_the_caller_resets() {
    let (pool, backend) = resetting(quick("inline").max_size(1).background_collector(false));
    drop(pool.get().unwrap());
    assert_eq!((pool.stats().idle, backend.counters().resets), (1, 1));
    backend.fail(Hook::Reset, 1);
    drop(pool.get().unwrap());
    assert_eq!(pool.stats().evicted(EvictReason::ResetFailed), 1);
    assert_eq!(pool.get().unwrap().id(), 2);
    close_clean(&pool, &backend);
}

#[test]
fn a_key_at_the_total_gets_the_slot_of_another_key_after_its_reset() {
    let pool = KeyedPool::builder().max_total(1).max_per_key(1);
    let pool = pool
        .build(|_: &u8| {
            let backend = MemoryManager::new();
            backend.needs_reset(true);
            backend
        })
        .unwrap();
    for key in [1, 2, 1, 2] {
        drop(pool.get_timeout(&key, secs(20)).unwrap());
    }
    assert_eq!(pool.stats().created, 4);
    pool.close_timeout(secs(20)).unwrap();
}

#[test]
fn ten_threads_on_two_connections_never_meet_one_that_was_not_reset() {
    let (pool, backend) = resetting(quick("stress").max_size(2));
    let gate = Gate::default();
    let users: Vec<_> = (0..10)
        .map(|_| {
            let (pool, gate) = (pool.clone(), gate.clone());
            spawn(move || {
                gate.pass();
                for _ in 0..50 {
                    let guard = pool.get_timeout(secs(20)).unwrap();
                    let uses = PooledConnection::info(&guard).uses;
                    drop((guard, uses));
                }
            })
        })
        .collect();
    gate.open();
    users.into_iter().for_each(|user| user.join_soon());
    eventually(|| pool.stats().in_use == 0);
    assert_eq!(backend.counters().resets, 500);
    queued(&pool, 0);
    close_clean(&pool, &backend);
}
