//! Zero waits: `try_get` and a zero timeout take a ready connection and never wait.

use crate::common;

use common::{SOON, eventually, fill, ms, noise, quick, spawn, stays, take, timed};
use conpool::{HealthCheck, Hook, MemoryManager};
use std::time::Duration;

#[test]
fn a_zero_timeout_takes_an_idle_connection() {
    let pool = quick("zeroidle").build(MemoryManager::new()).unwrap();
    assert_eq!(pool.get_timeout(Duration::ZERO).unwrap().id(), 1);
    assert_eq!(pool.try_get().unwrap().id(), 1);
}

#[test]
fn a_zero_timeout_on_a_full_pool_is_a_timeout_at_once() {
    let pool = quick("zerofull")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let _held = pool.get().unwrap();
    let (result, took) = timed(|| pool.get_timeout(Duration::ZERO));
    assert!(result.unwrap_err().is_timeout());
    assert!(took <= noise(), "{took:?}");
    assert!(pool.try_get().is_none());
}

#[test]
fn get_timeout_zero_as_the_default_means_never_wait() {
    let backend = MemoryManager::new();
    let pool = quick("zerodef")
        .max_size(1)
        .get_timeout(Duration::ZERO)
        .build_lazy(backend)
        .unwrap();
    drop(pool.get_timeout(SOON).unwrap());
    let _held = pool.get().unwrap();
    assert!(pool.get().unwrap_err().is_timeout());
}

#[test]
fn neither_waits_for_a_create_a_check_or_a_dispose_that_hangs() {
    let backend = MemoryManager::new();
    let pool = quick("zerohang")
        .max_size(3)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 2);
    for hook in [Hook::Create, Hook::Check, Hook::Dispose] {
        backend.hang(hook);
    }
    for _ in 0..5 {
        let (result, took) = timed(|| pool.get_timeout(Duration::ZERO));
        assert!(result.unwrap_err().is_timeout());
        assert!(took <= noise(), "{took:?}");
        let (result, took) = timed(|| pool.try_get());
        assert!(result.is_none());
        assert!(took <= noise(), "{took:?}");
    }
    backend.release();
    drop(pool.get_timeout(SOON).unwrap());
}

#[test]
fn one_whose_check_is_due_goes_to_a_worker_and_the_next_is_looked_at() {
    let backend = MemoryManager::new();
    let pool = quick("zerocheck")
        .max_size(2)
        .health_check(HealthCheck::AfterIdle(ms(60)))
        .build(backend.clone())
        .unwrap();
    let held = take(&pool, 2);
    let [first, second] = <[_; 2]>::try_from(held).unwrap();
    drop(first);
    std::thread::sleep(ms(90));
    drop(second);
    backend.hang(Hook::Check);
    // On another thread, so that no cached slot prefers the fresh connection.
    let fresh = spawn({
        let pool = pool.clone();
        move || pool.try_get().map(|guard| guard.id())
    });
    assert_eq!(fresh.join_soon(), Some(2));
    backend.release();
    eventually(|| pool.stats().idle == 2);
}

#[test]
fn a_connection_checked_by_a_worker_is_there_for_the_next_zero_wait() {
    let backend = MemoryManager::new();
    let pool = quick("zeronext")
        .max_size(1)
        .health_check(HealthCheck::AfterIdle(ms(50)))
        .build(backend.clone())
        .unwrap();
    std::thread::sleep(ms(70));
    assert!(pool.try_get().is_none(), "its check is due");
    eventually(|| pool.try_get().is_some());
    assert_eq!(backend.counters().created, 1);
}

#[test]
fn a_check_that_never_blocks_runs_on_the_spot() {
    let backend = MemoryManager::new();
    backend.blocking_check(false);
    let pool = quick("zeroprobe")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    assert!(pool.try_get().is_some());
    assert!(pool.get_timeout(Duration::ZERO).is_ok());
    assert!(backend.counters().checked >= 2);
    backend.kill_all();
    assert!(pool.try_get().is_none());
}

#[test]
fn try_get_never_creates() {
    let backend = MemoryManager::new();
    let pool = quick("zerocreate").build_lazy(backend.clone()).unwrap();
    for _ in 0..5 {
        assert!(pool.try_get().is_none());
    }
    stays(|| backend.calls(Hook::Create) == 0);
}
