//! Bugs of other pools in applying a setting. The whole list, with links, is `src/docs/peers.md`.

use crate::common;

use common::{SOON, assert_at, eventually, ms, noise, quick, quick_backoff, secs, take, timed};
use conpool::{Fairness, HealthCheck, Hook, MemoryManager, Pool};
use std::time::Duration;

/// Apache Commons Pool 2.12.1: the wait given to a call was ignored where it differed from the one in
/// the settings.
#[test]
fn the_timeout_of_a_call_wins_over_the_setting_in_both_directions() {
    let pool = quick("p2121")
        .max_size(1)
        .get_timeout(secs(60))
        .build(MemoryManager::new())
        .unwrap();
    let _held = pool.get().unwrap();
    let (result, took) = timed(|| pool.get_timeout(ms(50)));
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(50));

    let pool = quick("p2121")
        .max_size(1)
        .get_timeout(ms(1))
        .build_lazy(MemoryManager::new())
        .unwrap();
    let _held = pool.get_timeout(SOON).unwrap();
    let (result, took) = timed(|| pool.get_timeout(ms(100)));
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(100));
}

/// HikariCP #596: with a minimum of 0 and no maximum given, the maximum became 0 as well.
#[test]
fn a_minimum_alone_leaves_the_maximum_at_its_default_and_the_other_way_round() {
    let pool = quick("h596")
        .min_idle(0)
        .build(MemoryManager::new())
        .unwrap();
    assert_eq!(take(&pool, 10).len(), 10);
    let backend = MemoryManager::new();
    let pool = quick("h596").max_size(3).build(backend.clone()).unwrap();
    assert_eq!(pool.config().min_idle, 0);
    let _held = take(&pool, 3);
    assert!(pool.get_timeout(ms(1)).is_err());
    assert_eq!(backend.counters().created, 3);
}

/// POOL-270 (one duration was stored in the field of another), DBCP-453 and SQLAlchemy #5582 (settings
/// were dropped on the way).
#[test]
fn every_setting_arrives_in_the_field_of_its_name() {
    let config = Pool::builder()
        .name("p270")
        .max_size(21)
        .min_idle(1)
        .get_timeout(secs(3))
        .idle_timeout(secs(4))
        .max_lifetime(secs(5))
        .lifetime_jitter(0.25)
        .max_uses(6)
        .health_check(HealthCheck::AfterIdle(secs(7)))
        .check_timeout(secs(8))
        .keepalive_interval(secs(9))
        .create_timeout(secs(10))
        .dispose_timeout(secs(11))
        .max_creating(12)
        .backoff(quick_backoff())
        .max_waiters(13)
        .fairness(Fairness::Strict)
        .leak_threshold(secs(14))
        .background_collector(true)
        .build(MemoryManager::new())
        .unwrap()
        .config();
    assert_eq!(config.name, "p270");
    assert_eq!((config.max_size, config.min_idle), (21, 1));
    assert_eq!(config.get_timeout, secs(3));
    assert_eq!(config.idle_timeout, Some(secs(4)));
    assert_eq!(config.max_lifetime, Some(secs(5)));
    assert_eq!(config.lifetime_jitter, 0.25);
    assert_eq!(config.max_uses, Some(6));
    assert_eq!(config.health_check, HealthCheck::AfterIdle(secs(7)));
    assert_eq!(config.check_timeout, secs(8));
    assert_eq!(config.keepalive_interval, Some(secs(9)));
    assert_eq!(config.create_timeout, secs(10));
    assert_eq!(config.dispose_timeout, secs(11));
    assert_eq!(config.max_creating, 12);
    assert_eq!(config.backoff, quick_backoff());
    assert_eq!(config.max_waiters, Some(13));
    assert_eq!(config.fairness, Fairness::Strict);
    assert_eq!(config.leak_threshold, Some(secs(14)));
    assert!(config.background_collector);
}

/// DBCP-597: a limit below a second on a validation was no limit at all.
#[test]
fn limits_of_milliseconds_on_hooks_are_kept() {
    let backend = MemoryManager::new();
    let pool = quick("d597")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .check_timeout(ms(20))
        .dispose_timeout(ms(20))
        .build(backend.clone())
        .unwrap();
    for hook in [Hook::Check, Hook::Dispose] {
        backend.hang(hook);
    }
    // The check, then the dispose that frees its slot, each at most its 20 ms.
    let (result, took) = timed(|| pool.get_timeout(SOON).map(|guard| guard.id()));
    assert_eq!(result.unwrap(), 2);
    assert!(took <= ms(40) + noise(), "{took:?}");
    backend.release();
    eventually(|| pool.stats().abandoned == 0);
}

/// db_connection 2.4.3 (an interval above 4294 ms was treated as none) and r2d2 0.8 (see `peers_r2d2.rs`):
/// long durations overflowed.
#[test]
fn durations_around_every_power_of_two_are_legal_and_do_not_end_at_once() {
    let backend = MemoryManager::new();
    for bits in 8..64 {
        let long = Duration::from_secs(1 << bits).saturating_sub(Duration::from_nanos(1));
        let pool = quick("dbc243")
            .max_size(1)
            .idle_timeout(long)
            .max_lifetime(long)
            .keepalive_interval(long)
            .leak_threshold(long)
            .create_timeout(long)
            .check_timeout(long)
            .dispose_timeout(long)
            .get_timeout(long)
            .build(backend.clone())
            .unwrap();
        let id = pool.get().unwrap().id();
        pool.sweep();
        let held = pool.get_timeout(long).unwrap();
        assert_eq!(held.id(), id, "2^{bits} s");
        drop(held);
        pool.close_timeout(long).unwrap();
    }
    assert_eq!(backend.counters().checked, 0);
}
