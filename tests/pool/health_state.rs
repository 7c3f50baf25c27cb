//! The health state that a pool keeps by itself, and the interval of its checks.

use crate::common;
use crate::keyed;

use common::{close_clean, eventually, fill, ms, noise, now, quick, secs, stays, take, timed};
use conpool::{
    Backoff, ConfigError, GetError, HealthCheck, HealthState, Hook, ManualClock, MemoryManager,
    Pool, PooledConnection,
};
use keyed::{Backends, close_all, quick_keyed};
use std::thread;
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
        assert_eq!(pool.stats().health, expected);
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
    // The checks run concurrently: the last result decides between these two.
    assert!(pool.health() <= HealthState::Degraded);

    fill(&pool, 4);
    backend.fail(Hook::Check, u64::MAX);
    let _ = pool.check_health();
    // The failures do not matter: creates work, so a get would be served.
    assert_eq!(
        states(&pool),
        (HealthState::Degraded, HealthState::Degraded)
    );

    backend.heal();
    drop(pool.get().unwrap());
    assert_eq!(pool.health(), HealthState::Healthy);
    close_clean(&pool, &backend);
}

/// For example a server at its limit: open connections serve all callers.
#[test]
fn failing_creates_beside_an_open_connection_degrade_only() {
    let backend = MemoryManager::new();
    let pool = quick("limit").max_size(2).build(backend.clone()).unwrap();
    let held = pool.get().unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    while pool.stats().create_errors < 5 {
        assert!(pool.get_timeout(ms(20)).unwrap_err().is_timeout());
    }
    assert_eq!(
        states(&pool),
        (HealthState::Degraded, HealthState::Degraded)
    );
    // The last open connection goes, and there was no other event.
    PooledConnection::discard(held);
    assert_eq!(pool.stats().health, HealthState::Unhealthy);
    close_clean(&pool, &backend);
}

/// A readiness probe's problem: an instance that is not ready gets no calls, and without calls it would never
/// learn that its server is back.
#[test]
fn a_pool_that_nobody_calls_becomes_healthy_again_while_its_health_is_asked_for() {
    let backend = MemoryManager::new();
    let pool = quick("ready").backoff(Backoff::default().with_max(ms(200)));
    let pool = pool.health_check(HealthCheck::OnCheckout);
    let pool = pool.build(backend.clone()).unwrap();
    assert_eq!(pool.health(), HealthState::Healthy);
    backend.kill_all();
    backend.fail_transient(Hook::Create, u64::MAX);
    while pool.stats().health != HealthState::Unhealthy {
        let _ = pool.get_timeout(ms(100));
    }
    // Without probes and calls the server gets no connects.
    thread::sleep(ms(250));
    let calls = backend.calls(Hook::Create);
    stays(|| backend.calls(Hook::Create) == calls && pool.stats().health == HealthState::Unhealthy);
    // Probed without a pause, the pool connects as often as the backoff permits.
    let start = now();
    while start.elapsed() < ms(1000) {
        let (health, took) = timed(|| pool.health());
        assert_eq!(health, HealthState::Unhealthy);
        assert!(took <= noise(), "{took:?}");
        thread::sleep(ms(2));
    }
    let attempts = backend.calls(Hook::Create) - calls;
    let most = 2 + start.elapsed().as_millis() as u64 / 160;
    assert!((2..=most).contains(&attempts), "{attempts} attempts");
    backend.heal();
    let ((), took) = timed(|| eventually(|| pool.health() == HealthState::Healthy));
    assert!(took <= ms(200) + noise(), "{took:?}");
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.created), (1, 2), "{stats}");
    stays(|| pool.health() == HealthState::Healthy && pool.stats().created == 2);
    close_clean(&pool, &backend);
}

#[test]
fn a_pool_that_is_suspended_or_closed_or_has_never_failed_is_not_probed() {
    let backend = MemoryManager::new();
    let pool = quick("unasked").build_lazy(backend.clone()).unwrap();
    let asked = || {
        let calls = backend.calls(Hook::Create);
        stays(|| {
            let _ = pool.health();
            backend.calls(Hook::Create) == calls
        });
    };
    asked();
    assert_eq!(pool.health(), HealthState::Healthy);
    backend.fail(Hook::Create, 3);
    for _ in 0..3 {
        assert!(pool.get().is_err());
    }
    pool.suspend();
    asked();
    assert_eq!(pool.health(), HealthState::Unhealthy);
    pool.resume();
    eventually(|| pool.health() == HealthState::Healthy);
    pool.close();
    asked();
    close_clean(&pool, &backend);
}

#[test]
fn without_a_collector_the_next_sweep_probes() {
    let backend = MemoryManager::new();
    let pool = quick("inline").background_collector(false);
    let pool = pool.build_lazy(backend.clone()).unwrap();
    backend.fail(Hook::Create, 3);
    for _ in 0..3 {
        assert!(pool.get().is_err());
    }
    let calls = backend.calls(Hook::Create);
    thread::sleep(ms(10));
    pool.sweep();
    assert_eq!(pool.health(), HealthState::Unhealthy);
    assert_eq!(backend.calls(Hook::Create), calls, "nobody had asked");
    pool.sweep();
    assert_eq!(pool.health(), HealthState::Healthy);
    assert_eq!(pool.stats().idle, 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_key_is_probed_as_a_pool_is() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("keys").max_total(4));
    drop(pool.get(&1).unwrap());
    backends.of(2).fail(Hook::Create, 3);
    for _ in 0..3 {
        assert!(pool.get(&2).is_err());
    }
    assert_eq!(pool.stats().health, HealthState::Unhealthy);
    assert_eq!(pool.health_for(&1), Some(HealthState::Healthy));
    assert_eq!(pool.health_for(&3), None);
    assert_eq!(pool.health(), HealthState::Unhealthy);
    eventually(|| pool.health() == HealthState::Healthy);
    assert_eq!(pool.stats_for(&2).unwrap().idle, 1);
    close_all(&pool, &backends);
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
