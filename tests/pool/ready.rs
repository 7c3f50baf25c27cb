//! `wait_ready`: until enough connections are open, or why they are not.

use crate::common;

use common::{
    SOON, assert_at, close_clean, eventually, ms, quick, secs, spawn, stays, take, timed,
};
use conpool::{GetError, Hook, MemoryManager, PooledConnection, ReadyError};
use std::{error::Error, time::Duration};

#[test]
fn it_opens_what_is_missing_and_counts_what_is_in_use() {
    let backend = MemoryManager::new();
    let pool = quick("ready")
        .max_size(4)
        .build_lazy(backend.clone())
        .unwrap();
    pool.wait_ready(2, SOON).unwrap();
    assert_eq!((pool.stats().idle, backend.counters().created), (2, 2));
    let held = take(&pool, 2);
    pool.wait_ready(3, SOON).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.idle), (2, 1), "{stats}");
    // Fewer than there are, and none at all.
    pool.wait_ready(1, Duration::ZERO).unwrap();
    pool.wait_ready(0, Duration::ZERO).unwrap();
    assert_eq!(backend.counters().created, 3);
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn it_waits_for_a_create_that_is_under_way() {
    let backend = MemoryManager::new();
    let pool = quick("slowly")
        .max_size(2)
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.wait_ready(2, secs(60))
    });
    eventually(|| backend.running(Hook::Create) == 2);
    stays(|| !waiter.is_finished() && pool.stats().creating == 2);
    backend.release();
    waiter.join_soon().unwrap();
    assert_eq!((pool.stats().idle, pool.stats().waiters), (2, 0));
    close_clean(&pool, &backend);
}

/// After a failover the slots come free one after the other, as the disposes of the old connections end.
#[test]
fn it_opens_a_connection_as_soon_as_a_slot_is_free() {
    let backend = MemoryManager::new();
    let pool = quick("full").max_size(2).build(backend.clone()).unwrap();
    let held = pool.get().unwrap();
    drop(pool.get().unwrap());
    backend.hang(Hook::Dispose);
    pool.retain(|_, _| false);
    eventually(|| backend.running(Hook::Dispose) == 1);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.wait_ready(2, secs(60))
    });
    stays(|| !waiter.is_finished() && backend.calls(Hook::Create) == 2);
    // A detached connection leaves its slot without a dispose.
    drop(PooledConnection::detach(held));
    eventually(|| pool.stats().idle == 1);
    stays(|| !waiter.is_finished());
    backend.release();
    waiter.join_soon().unwrap();
    assert_eq!((pool.stats().idle, backend.calls(Hook::Create)), (2, 4));
    assert!(pool.close_timeout(SOON).is_ok());
}

#[test]
fn at_the_timeout_the_error_has_the_last_cause() {
    let backend = MemoryManager::new();
    let pool = quick("down").build_lazy(backend.clone()).unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    let (result, took) = timed(|| pool.wait_ready(1, ms(200)));
    assert_at(took, ms(200));
    let error = result.unwrap_err();
    assert!(
        error.is_timeout() && error.last_create_error().is_some(),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with("pool \"down\": no connection within 200ms")
    );
    // The server comes back, and a wait ends after the pause.
    backend.heal();
    pool.wait_ready(1, SOON).unwrap();
    close_clean(&pool, &backend);
}

#[test]
fn a_permanent_failure_ends_the_wait_at_once() {
    let backend = MemoryManager::new();
    let pool = quick("denied").build_lazy(backend.clone()).unwrap();
    backend.fail(Hook::Create, 1);
    let (result, took) = timed(|| pool.wait_ready(1, secs(60)));
    assert!(took < secs(30), "{took:?}");
    let error = result.unwrap_err();
    assert!(
        matches!(&error, ReadyError::Get(GetError::Create { .. })),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "pool \"denied\": create failed");
    assert!(error.source().is_some());
    // An earlier failure is not the failure of a later wait.
    pool.wait_ready(1, SOON).unwrap();
    close_clean(&pool, &backend);
}

#[test]
fn a_panic_in_create_ends_the_wait_at_once() {
    let backend = MemoryManager::new();
    let pool = quick("panics").build_lazy(backend.clone()).unwrap();
    backend.panic(Hook::Create, 1);
    let error = pool.wait_ready(1, secs(60)).unwrap_err();
    assert!(
        matches!(&error, ReadyError::Get(GetError::Panicked { .. })),
        "{error:?}"
    );
}

#[test]
fn more_than_max_size_is_refused_at_once() {
    let pool = quick("toomany")
        .max_size(2)
        .build_lazy(MemoryManager::new())
        .unwrap();
    let error = pool.wait_ready(3, secs(60)).unwrap_err();
    assert!(matches!(error, ReadyError::Config(_)));
    assert_eq!(error.to_string(), "n = 3: must be at most max_size (2)");
    // A pool that shrinks below it ends the wait too.
    pool.suspend();
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.wait_ready(2, secs(60))
    });
    stays(|| !waiter.is_finished());
    pool.set_max_size(1).unwrap();
    assert!(matches!(waiter.join_soon(), Err(ReadyError::Config(_))));
}

#[test]
fn a_suspended_pool_is_ready_after_the_resume() {
    let backend = MemoryManager::new();
    let pool = quick("dormant")
        .suspended(true)
        .build(backend.clone())
        .unwrap();
    let error = pool.wait_ready(1, ms(30)).unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(backend.counters().created, 0);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.wait_ready(1, secs(60))
    });
    stays(|| !waiter.is_finished());
    pool.resume();
    waiter.join_soon().unwrap();
    close_clean(&pool, &backend);
}

#[test]
fn a_close_ends_the_wait() {
    let backend = MemoryManager::new();
    let pool = quick("closes").build_lazy(backend.clone()).unwrap();
    backend.hang(Hook::Create);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.wait_ready(1, secs(60))
    });
    eventually(|| backend.running(Hook::Create) == 1);
    pool.close();
    assert!(waiter.join_soon().unwrap_err().is_closed());
    assert!(pool.wait_ready(1, secs(60)).unwrap_err().is_closed());
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn without_a_collector_the_creates_run_on_the_calling_thread() {
    let backend = MemoryManager::new();
    let pool = quick("inline")
        .background_collector(false)
        .build_lazy(backend.clone())
        .unwrap();
    pool.wait_ready(3, SOON).unwrap();
    assert_eq!(pool.stats().idle, 3);
    backend.kill_all();
    pool.clear();
    backend.fail_transient(Hook::Create, 2);
    pool.wait_ready(1, SOON).unwrap();
    close_clean(&pool, &backend);
}

#[test]
fn many_may_wait_at_once() {
    let backend = MemoryManager::new();
    let pool = quick("crowd")
        .max_size(6)
        .build_lazy(backend.clone())
        .unwrap();
    let waiters: Vec<_> = (1..=6)
        .map(|n| {
            let pool = pool.clone();
            spawn(move || pool.wait_ready(n, SOON))
        })
        .collect();
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join_soon().unwrap());
    assert_eq!((pool.stats().idle, backend.counters().created), (6, 6));
    close_clean(&pool, &backend);
}
