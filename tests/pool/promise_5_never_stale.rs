//! Promise 5: never a dead or expired connection, for any number of stale ones in a row.

use crate::common;

use common::{SOON, all_disposed, eventually, fill, ms, quick, secs, stays, take};
use conpool::{EvictReason, HealthCheck, Hook, ManualClock, MemoryManager, PoolBuilder};

/// A pool whose ages follow `clock`, without limits on them.
fn ageless(name: &str, clock: &ManualClock) -> PoolBuilder<MemoryManager> {
    quick(name)
        .clock(clock.clone())
        .idle_timeout(None)
        .max_lifetime(None)
        .lifetime_jitter(0.0)
        .health_check(HealthCheck::Never)
}

#[test]
fn an_idle_connection_past_its_time_is_never_handed_out() {
    for collector in [false, true] {
        let (clock, backend) = (ManualClock::new(), MemoryManager::new());
        let pool = ageless("idletime", &clock)
            .background_collector(collector)
            .idle_timeout(secs(60))
            .max_size(1)
            .build(backend.clone())
            .unwrap();
        clock.advance(secs(59));
        assert_eq!(pool.get().unwrap().id(), 1, "not yet");
        clock.advance(secs(61));
        assert_eq!(pool.get().unwrap().id(), 2);
        assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 1);
    }
}

#[test]
fn fifty_stale_ones_in_a_row_are_all_passed_over() {
    for collector in [false, true] {
        let (clock, backend) = (ManualClock::new(), MemoryManager::new());
        let pool = ageless("fifty", &clock)
            .background_collector(collector)
            .max_lifetime(secs(60))
            .max_size(50)
            .build(backend.clone())
            .unwrap();
        fill(&pool, 50);
        clock.advance(secs(61));
        assert_eq!(pool.get_timeout(SOON).unwrap().id(), 51);
        pool.sweep();
        eventually(|| backend.counters().disposed == 50);
        assert_eq!(pool.stats().evicted(EvictReason::MaxLifetime), 50);
    }
}

#[test]
fn try_get_and_a_zero_timeout_hand_out_nothing_stale_either() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = ageless("trystale", &clock)
        .background_collector(false)
        .max_lifetime(secs(60))
        .max_size(3)
        .build(backend)
        .unwrap();
    fill(&pool, 2);
    clock.advance(secs(61));
    assert!(pool.try_get().is_none());
    fill(&pool, 2);
    clock.advance(secs(61));
    if let Ok(guard) = pool.get_timeout(ms(0)) {
        assert!(guard.id() > 4, "{}", guard.id());
    }
}

#[test]
fn a_connection_that_outlived_its_lifetime_in_use_is_evicted_at_check_in() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = ageless("inuse", &clock)
        .max_lifetime(secs(60))
        .build(backend.clone())
        .unwrap();
    let mut held = pool.get().unwrap();
    clock.advance(secs(61));
    stays(|| backend.counters().disposed == 0);
    held.execute("PING").expect("not taken away from its user");
    drop(held);
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    assert_eq!(pool.stats().evicted(EvictReason::MaxLifetime), 1);
    assert_eq!(pool.get().unwrap().id(), 2);
}

#[test]
fn the_collector_evicts_expired_connections_that_nobody_asks_for() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = ageless("collects", &clock)
        .idle_timeout(secs(60))
        .max_size(5)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 5);
    clock.advance(secs(61));
    assert!(backend.wait_for(|seen| seen.disposed == 5, SOON));
    eventually(|| pool.stats().size == 0);
    assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 5);
}

#[test]
fn idle_timeout_never_goes_below_min_idle() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = ageless("keepmin", &clock)
        .idle_timeout(secs(60))
        .min_idle(2)
        .max_size(5)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 5);
    clock.advance(secs(61));
    pool.sweep();
    assert!(backend.wait_for(|seen| seen.disposed == 3, SOON));
    pool.sweep();
    stays(|| pool.stats().idle == 2);
    assert!(
        pool.get().unwrap().id() <= 5,
        "one of the old ones, kept for min_idle"
    );
}

#[test]
fn max_uses_counts_checkouts() {
    let backend = MemoryManager::new();
    let pool = quick("uses")
        .max_uses(3)
        .max_size(1)
        .build(backend.clone())
        .unwrap();
    let ids = [(); 7].map(|()| pool.get().unwrap().id());
    assert_eq!(ids, [1, 1, 1, 2, 2, 2, 3]);
    assert_eq!(pool.stats().evicted(EvictReason::MaxUses), 2);
}

#[test]
fn dead_connections_are_found_by_the_check_however_many_there_are() {
    for blocking in [true, false] {
        let backend = MemoryManager::new();
        backend.blocking_check(blocking);
        let pool = quick("dead")
            .health_check(HealthCheck::OnCheckout)
            .max_size(20)
            .build(backend.clone())
            .unwrap();
        fill(&pool, 20);
        assert_eq!(backend.kill_all(), 20);
        let mut guard = pool.get_timeout(SOON).unwrap();
        assert_eq!(guard.execute("PING").unwrap(), "PONG");
        for _ in 0..5 {
            pool.get_timeout(SOON).unwrap().execute("PING").unwrap();
        }
    }
}

#[test]
fn a_check_that_panics_costs_that_connection_only() {
    for blocking in [true, false] {
        let backend = MemoryManager::new();
        backend.blocking_check(blocking);
        let pool = quick("checkpanics")
            .health_check(HealthCheck::OnCheckout)
            .max_size(3)
            .build(backend.clone())
            .unwrap();
        fill(&pool, 3);
        backend.panic(Hook::Check, 2);
        drop(pool.get_timeout(SOON).unwrap());
        eventually(|| backend.counters().disposed == 2);
        assert_eq!(pool.stats().panics, 2);
    }
}

#[test]
fn the_check_runs_only_when_the_setting_says_so() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let after = HealthCheck::AfterIdle(secs(10));
    for (check, fresh, rested) in [
        (HealthCheck::Never, 0, 0),
        (HealthCheck::OnCheckout, 1, 1),
        (after, 0, 1),
    ] {
        let pool = ageless("when", &clock)
            .max_size(1)
            .health_check(check)
            .build(backend.clone())
            .unwrap();
        drop(pool.get().unwrap());
        let before = backend.counters().checked;
        drop(pool.get().unwrap());
        assert_eq!(backend.counters().checked - before, fresh);
        clock.advance(secs(11));
        let before = backend.counters().checked;
        drop(pool.get().unwrap());
        assert_eq!(backend.counters().checked - before, rested);
    }
}

#[test]
fn a_connection_known_to_be_broken_is_not_handed_out_again() {
    let backend = MemoryManager::new();
    let pool = quick("broken")
        .health_check(HealthCheck::Never)
        .build(backend.clone())
        .unwrap();
    let mut guard = pool.get().unwrap();
    backend.kill(guard.id());
    guard.execute("PING").unwrap_err();
    drop(guard);
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
    assert_eq!(pool.stats().evicted(EvictReason::Broken), 1);
}

#[test]
fn jitter_spreads_the_ends_of_connections_born_together() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = ageless("jitter", &clock)
        .max_lifetime(secs(1000))
        .lifetime_jitter(0.5)
        .max_size(40)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 40);
    clock.advance(secs(499));
    pool.sweep();
    assert_eq!(
        pool.stats().evicted(EvictReason::MaxLifetime),
        0,
        "shortened by too much"
    );
    clock.advance(secs(251));
    pool.sweep();
    let half = pool.stats().evicted(EvictReason::MaxLifetime);
    assert!(
        (5..=35).contains(&half),
        "{half} of 40 in the first half of the spread"
    );
    clock.advance(secs(251));
    pool.sweep();
    assert_eq!(
        pool.stats().evicted(EvictReason::MaxLifetime),
        40,
        "none may live longer"
    );
    assert!(backend.wait_for(|seen| seen.disposed == 40, SOON));
}

#[test]
fn keepalive_finds_the_dead_off_every_callers_path() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = ageless("keepalive", &clock)
        .keepalive_interval(secs(30))
        .min_idle(2)
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    clock.advance(secs(29));
    stays(|| backend.counters().checked == 0);
    clock.advance(secs(2));
    assert!(backend.wait_for(|seen| seen.checked == 2, SOON));
    backend.kill_all();
    clock.advance(secs(31));
    assert!(backend.wait_for(|seen| seen.disposed == 2, SOON));
    eventually(|| pool.stats().idle == 2);
    assert_eq!(pool.stats().evicted(EvictReason::CheckFailed), 2);
    for mut guard in take(&pool, 2) {
        guard.execute("PING").unwrap();
    }
}

#[test]
fn nothing_expires_at_the_longest_durations() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let max = std::time::Duration::MAX;
    let pool = ageless("eternal", &clock)
        .idle_timeout(max)
        .max_lifetime(max)
        .keepalive_interval(max)
        .leak_threshold(max)
        .health_check(HealthCheck::AfterIdle(max))
        .create_timeout(max)
        .check_timeout(max)
        .dispose_timeout(max)
        .lifetime_jitter(1.0)
        .fairness(conpool::Fairness::Eventual(max))
        .build(backend.clone())
        .unwrap();
    assert_eq!(pool.get().unwrap().id(), 1);
    clock.advance(secs(100 * 365 * 86_400));
    pool.sweep();
    assert_eq!(pool.get().unwrap().id(), 1);
    pool.close_timeout(SOON).unwrap();
    all_disposed(&backend);
}
