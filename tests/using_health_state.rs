//! The state of health that a pool keeps by itself, and the interval of its checks.

mod common;

use common::{close_clean, eventually, fill, ms, quick, secs, take};
use conpool::{
    ConfigError, GetError, HealthCheck, HealthState, Hook, ManualClock, MemoryManager, Pool,
};
use std::time::Duration;

fn states(pool: &Pool<MemoryManager>) -> (HealthState, HealthState) {
    (pool.health(), pool.stats().health)
}

#[test]
fn one_failure_degrades_three_make_unhealthy_and_a_success_heals() {
    let backend = MemoryManager::new();
    let pool = quick("state").build_lazy(backend.clone()).unwrap();
    assert_eq!(states(&pool), (HealthState::Healthy, HealthState::Healthy));
    for expected in [
        HealthState::Degraded,
        HealthState::Degraded,
        HealthState::Unhealthy,
        HealthState::Unhealthy,
    ] {
        backend.fail(Hook::Create, 1);
        assert!(matches!(pool.get(), Err(GetError::Create { .. })));
        assert_eq!(states(&pool), (expected, expected));
    }
    drop(pool.get().unwrap());
    assert_eq!(states(&pool), (HealthState::Healthy, HealthState::Healthy));
    close_clean(&pool, &backend);
}

#[test]
fn failed_checks_count_in_a_row_until_one_succeeds() {
    let backend = MemoryManager::new();
    let pool = quick("row").max_size(5).build(backend.clone()).unwrap();
    fill(&pool, 5);
    backend.fail(Hook::Check, 1);
    let _ = pool.check_health();
    // The checks run side by side: whichever came last decides between these two.
    assert!(pool.health() <= HealthState::Degraded);

    fill(&pool, 4);
    backend.fail(Hook::Check, u64::MAX);
    let _ = pool.check_health();
    assert_eq!(
        states(&pool),
        (HealthState::Unhealthy, HealthState::Unhealthy)
    );

    backend.heal();
    drop(pool.get().unwrap());
    assert_eq!(pool.health(), HealthState::Healthy);
    close_clean(&pool, &backend);
}

#[test]
fn a_connection_that_comes_back_broken_degrades() {
    let backend = MemoryManager::new();
    let pool = quick("broken").max_size(1).build(backend.clone()).unwrap();
    let guard = pool.get().unwrap();
    backend.fail(Hook::HasBroken, 1);
    drop(guard);
    assert_eq!(pool.health(), HealthState::Degraded);
    drop(pool.get().unwrap());
    assert_eq!(
        pool.health(),
        HealthState::Healthy,
        "a create has succeeded"
    );
    close_clean(&pool, &backend);
}

#[test]
fn a_slow_check_degrades_and_a_quick_one_heals() {
    let backend = MemoryManager::new();
    // Slow is more than half of the timeout. The other half is for a busy machine.
    let pool = quick("slow").check_timeout(ms(600));
    let pool = pool.build(backend.clone()).unwrap();
    backend.delay(Hook::Check, ms(310));
    let _ = pool.check_health();
    assert_eq!(pool.health(), HealthState::Degraded);
    assert_eq!(pool.stats().check_failures, 0, "slow is not failed");
    backend.heal();
    let _ = pool.check_health();
    assert_eq!(pool.health(), HealthState::Healthy);
    close_clean(&pool, &backend);
}

#[test]
fn warm_checkouts_say_nothing_about_the_health() {
    let backend = MemoryManager::new();
    let pool = quick("warm").health_check(HealthCheck::Never);
    let pool = pool.max_size(2).build(backend.clone()).unwrap();
    fill(&pool, 2);
    backend.fail(Hook::Check, 1);
    let _ = pool.check_health();
    let before = pool.health();
    for _ in 0..100 {
        drop(pool.get().unwrap());
    }
    assert_eq!(pool.health(), before);
    close_clean(&pool, &backend);
}

#[test]
fn the_interval_of_the_checks_can_be_changed_while_the_pool_runs() {
    let backend = MemoryManager::new();
    let clock = ManualClock::new();
    let pool = quick("interval").clock(clock.clone()).idle_timeout(None);
    let pool = pool.max_lifetime(None).build(backend.clone()).unwrap();
    clock.advance(secs(100));
    pool.sweep();
    assert_eq!(backend.counters().checked, 0, "none by default");

    pool.set_keepalive_interval(secs(60)).unwrap();
    assert_eq!(pool.config().keepalive_interval, Some(secs(60)));
    eventually(|| backend.counters().checked == 1);
    assert_eq!(pool.stats().gets, 0, "a check is no checkout");
    eventually(|| pool.stats().idle == 1);
    clock.advance(secs(61));
    eventually(|| backend.counters().checked == 2);

    pool.set_keepalive_interval(None).unwrap();
    assert_eq!(pool.config().keepalive_interval, None);
    eventually(|| pool.stats().idle == 1);
    clock.advance(secs(1000));
    pool.sweep();
    assert_eq!(backend.counters().checked, 2);

    pool.set_keepalive_interval(Duration::MAX).unwrap();
    assert_eq!(
        pool.config().keepalive_interval,
        Some(Duration::MAX),
        "the longest interval there is, which is not the same as none"
    );
    pool.set_keepalive_interval(None).unwrap();

    let error: ConfigError = pool.set_keepalive_interval(secs(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "keepalive_interval = 0ns: must be above zero, or None for never"
    );
    assert_eq!(
        pool.config().keepalive_interval,
        None,
        "nothing has changed"
    );
    close_clean(&pool, &backend);
}

#[test]
fn a_check_that_hangs_keeps_no_caller_waiting() {
    let backend = MemoryManager::new();
    let clock = ManualClock::new();
    let pool = quick("hang")
        .clock(clock.clone())
        .keepalive_interval(secs(60));
    let pool = pool.max_size(2).build(backend.clone()).unwrap();
    backend.hang(Hook::Check);
    clock.advance(secs(61));
    eventually(|| backend.counters().in_hook == 1);
    let guards = take(&pool, 1);
    assert!(!matches!(
        pool.get_timeout(ms(20)),
        Err(GetError::Closed { .. })
    ));
    drop(guards);
    backend.release();
    close_clean(&pool, &backend);
}
