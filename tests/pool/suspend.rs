//! Suspended: checkouts and new work are paused, and returns still work.

use crate::common;

use common::{
    Log, SOON, assert_at, close_clean, eventually, ms, queued, quick, secs, spawn, stays, take,
    timed,
};
use conpool::{
    GetError, HealthCheck, Hook, ManualClock, MemoryManager, OnSuspend, Phase, PooledConnection,
};

#[test]
fn get_waits_until_resume_even_beside_an_idle_connection() {
    let pool = quick("susp").build(MemoryManager::new()).unwrap();
    pool.suspend();
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get().map(|guard| guard.id())
    });
    queued(&pool, 1);
    stays(|| !waiter.is_finished());
    pool.resume();
    assert_eq!(waiter.join_soon().unwrap(), 1);
}

#[test]
fn the_deadline_holds_and_the_error_says_why() {
    let pool = quick("suspdead")
        .health_check(HealthCheck::Never)
        .build(MemoryManager::new())
        .unwrap();
    pool.suspend();
    let (result, took) = timed(|| pool.get_timeout(ms(50)));
    assert_at(took, ms(50));
    let Err(GetError::TimedOut(timeout)) = result else {
        panic!("{result:?}");
    };
    assert!(matches!(timeout.phase, Phase::Suspended), "{timeout:?}");
    assert_eq!(timeout.idle, 1);
    assert!(pool.try_get().is_none());
    pool.resume();
    assert!(pool.try_get().is_some());
}

#[test]
fn a_thread_that_has_used_the_pool_before_is_held_up_too() {
    let pool = quick("susphint").build(MemoryManager::new()).unwrap();
    for _ in 0..100 {
        drop(pool.get().unwrap());
    }
    pool.suspend();
    assert!(pool.try_get().is_none());
    assert!(pool.get_timeout(ms(1)).unwrap_err().is_timeout());
}

#[test]
fn growth_and_refill_pause_while_a_create_in_flight_finishes_and_goes_idle() {
    let backend = MemoryManager::new();
    let pool = quick("suspgrow")
        .max_size(4)
        .min_idle(1)
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let held = pool.get().unwrap();
    let waiter = common::waiter(&pool);
    eventually(|| backend.running(Hook::Create) >= 1);
    pool.suspend();
    // Creates that were about to start have started by now, or will not.
    eventually(|| pool.stats().creating == backend.running(Hook::Create));
    let begun = backend.calls(Hook::Create);
    backend.release();
    eventually(|| pool.stats().creating == 0 && pool.stats().idle >= 1);
    PooledConnection::discard(held);
    stays(|| backend.calls(Hook::Create) == begun && !waiter.is_finished());
    pool.resume();
    waiter.join_soon().unwrap();
}

#[test]
fn check_ins_and_evictions_go_on() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("suspevict")
        .clock(clock.clone())
        .max_size(2)
        .idle_timeout(secs(60))
        .build(backend.clone())
        .unwrap();
    let held = take(&pool, 2);
    pool.suspend();
    drop(held);
    eventually(|| pool.stats().idle == 2);
    clock.advance(secs(61));
    assert!(backend.wait_for(|seen| seen.disposed == 2, SOON));
    eventually(|| pool.stats().size == 0);
}

#[test]
fn keepalive_pauses() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("suspkeep")
        .clock(clock.clone())
        .idle_timeout(None)
        .keepalive_interval(secs(10))
        .build(backend.clone())
        .unwrap();
    pool.suspend();
    clock.advance(secs(11));
    stays(|| backend.counters().checked == 0);
    pool.resume();
    assert!(backend.wait_for(|seen| seen.checked == 1, SOON));
}

#[test]
fn suspending_and_resuming_twice_is_the_same_as_once() {
    let pool = quick("susptwice").build(MemoryManager::new()).unwrap();
    pool.suspend();
    pool.suspend();
    pool.resume();
    assert!(pool.try_get().is_some());
    pool.resume();
    assert!(pool.try_get().is_some());
}

#[test]
fn closing_a_suspended_pool_tells_its_waiters() {
    let backend = MemoryManager::new();
    let pool = quick("suspclose").build(backend.clone()).unwrap();
    pool.suspend();
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get().map(drop)
    });
    queued(&pool, 1);
    pool.close();
    assert!(waiter.join_soon().unwrap_err().is_closed());
    common::close_clean(&pool, &backend);
}

/// The server need not exist yet: nothing is opened before the resume.
#[test]
fn a_pool_can_be_built_suspended_and_opens_nothing_before_resume() {
    for lazy in [false, true] {
        let (backend, log) = (MemoryManager::new(), Log::default());
        let builder = quick("dormant")
            .min_idle(2)
            .suspended(true)
            .observer(log.clone());
        let pool = match lazy {
            false => builder.build(backend.clone()).unwrap(),
            true => builder.build_lazy(backend.clone()).unwrap(),
        };
        assert!(pool.config().suspended);
        let error = pool.get_timeout(ms(20)).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        pool.sweep();
        stays(|| backend.counters().created == 0);
        pool.resume();
        eventually(|| pool.stats().idle == 2);
        drop(pool.get().unwrap());
        assert_eq!(log.count("Resumed"), 1);
        close_clean(&pool, &backend);
    }
}

#[test]
fn with_fail_a_get_of_a_suspended_pool_fails_at_once_whatever_its_timeout() {
    let backend = MemoryManager::new();
    let pool = quick("failing")
        .on_suspend(OnSuspend::Fail)
        .build(backend.clone())
        .unwrap();
    pool.suspend();
    for timeout in [ms(0), secs(60)] {
        let (result, took) = timed(|| pool.get_timeout(timeout));
        let error = result.unwrap_err();
        assert!(error.is_suspended(), "{error}");
        assert_eq!(error.to_string(), "pool \"failing\": suspended");
        assert!(took < secs(10), "{took:?}");
    }
    assert!(pool.try_get().is_none());
    let stats = pool.stats();
    assert_eq!(
        (stats.gets, stats.timeouts, stats.idle),
        (2, 0, 1),
        "{stats}"
    );
    pool.resume();
    drop(pool.get().unwrap());
    close_clean(&pool, &backend);
}

#[test]
fn with_fail_who_waits_when_the_pool_is_suspended_fails_too() {
    let pool = quick("paused")
        .max_size(1)
        .on_suspend(OnSuspend::Fail)
        .build(MemoryManager::new())
        .unwrap();
    let held = take(&pool, 1);
    let waiters = [(); 3].map(|()| {
        let pool = pool.clone();
        spawn(move || pool.get_timeout(secs(60)).map(drop))
    });
    queued(&pool, 3);
    pool.suspend();
    for waiter in waiters {
        assert!(waiter.join_soon().unwrap_err().is_suspended());
    }
    assert_eq!(pool.stats().waiters, 0);
    drop(held);
    pool.resume();
    drop(pool.get().unwrap());
}

/// A create under way for a waiter that fails goes on, and its connection is there after the resume.
#[test]
fn with_fail_a_create_under_way_is_not_lost() {
    let backend = MemoryManager::new();
    let pool = quick("underway")
        .on_suspend(OnSuspend::Fail)
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(secs(60)).map(drop)
    });
    eventually(|| backend.running(Hook::Create) == 1);
    pool.suspend();
    assert!(waiter.join_soon().unwrap_err().is_suspended());
    backend.release();
    eventually(|| pool.stats().idle == 1);
    pool.resume();
    drop(pool.get().unwrap());
    assert_eq!(backend.counters().created, 1);
    close_clean(&pool, &backend);
}
