//! Suspended: checkouts and new work are paused, and returns still work.

use crate::common;

use common::{SOON, assert_at, eventually, ms, queued, quick, secs, spawn, stays, take, timed};
use conpool::{GetError, HealthCheck, Hook, ManualClock, MemoryManager, Phase, PooledConnection};

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
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(drop)
    });
    queued(&pool, 1);
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
