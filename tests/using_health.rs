//! `check_health` and `sweep` on request.

mod common;

use common::{SOON, assert_at, close_clean, eventually, fill, ms, quick, secs, spawn, timed};
use conpool::{EvictReason, Health, Hook, ManualClock, MemoryManager};

#[test]
fn all_good_is_healthy_some_dead_is_degraded_and_none_left_is_unhealthy() {
    let backend = MemoryManager::new();
    let pool = quick("health").max_size(4).build(backend.clone()).unwrap();
    fill(&pool, 4);
    let health = pool.check_health();
    assert!(matches!(health, Health::Healthy { .. }), "{health:?}");
    assert_eq!(backend.counters().checked, 4);

    backend.kill(1);
    let health = pool.check_health();
    assert!(matches!(health, Health::Degraded { .. }), "{health:?}");
    assert_eq!(pool.stats().evicted(EvictReason::CheckFailed), 1);

    backend.kill_all();
    backend.fail(Hook::Create, u64::MAX);
    let health = pool.check_health();
    assert!(matches!(health, Health::Unhealthy { .. }), "{health:?}");
    eventually(|| backend.counters().open == 0);
}

#[test]
fn a_check_that_panics_counts_as_failed() {
    let backend = MemoryManager::new();
    let pool = quick("healthpanic")
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 2);
    backend.panic(Hook::Check, 1);
    let health = pool.check_health();
    assert!(matches!(health, Health::Degraded { .. }), "{health:?}");
    close_clean(&pool, &backend);
}

#[test]
fn a_check_that_hangs_ends_with_check_timeout() {
    let backend = MemoryManager::new();
    let pool = quick("healthhang")
        .check_timeout(ms(50))
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    let (health, took) = timed(|| pool.check_health());
    assert_at(took, ms(50));
    assert!(!matches!(health, Health::Healthy { .. }), "{health:?}");
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn callers_are_served_while_health_is_being_checked() {
    let backend = MemoryManager::new();
    let pool = quick("healthbusy")
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    let checker = spawn({
        let pool = pool.clone();
        move || pool.check_health()
    });
    eventually(|| backend.running(Hook::Check) == 1);
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
    backend.release();
    checker.join_soon();
}

#[test]
fn the_evictions_of_a_sweep_are_counted_when_it_returns() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("sweeps")
        .clock(clock.clone())
        .max_size(5)
        .idle_timeout(None)
        .max_lifetime(secs(60))
        .lifetime_jitter(0.0)
        .build(backend.clone())
        .unwrap();
    for round in 1..=3 {
        fill(&pool, 5);
        clock.advance(secs(61));
        pool.sweep();
        assert_eq!(pool.stats().evicted(EvictReason::MaxLifetime), 5 * round);
    }
    close_clean(&pool, &backend);
}

#[test]
fn many_threads_may_sweep_at_once_and_on_a_closed_pool_too() {
    let backend = MemoryManager::new();
    let pool = quick("sweepmany")
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 3);
    let sweepers = [(); 8].map(|()| {
        let pool = pool.clone();
        spawn(move || {
            pool.sweep();
        })
    });
    sweepers.into_iter().for_each(|sweeper| sweeper.join_soon());
    close_clean(&pool, &backend);
    let (_, took) = timed(|| pool.sweep());
    assert!(took <= SOON);
    let _ = pool.check_health();
}
