//! Events: what the observer gets, outside of all locks, and the effect of its faults.

use crate::common;

use common::{Log, SOON, close_clean, eventually, fill, ms, quick, take};
use conpool::{Hook, MemoryManager, Pool, PoolEvent, PoolObserver, PooledConnection};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

#[test]
fn every_step_of_a_life_is_reported_under_its_name() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = quick("life")
        .max_size(2)
        .observer(log.clone())
        .build(backend.clone())
        .unwrap();
    drop(pool.get().unwrap());
    PooledConnection::discard(pool.get().unwrap());
    backend.fail_transient(Hook::Create, 1);
    let held = take(&pool, 2);
    pool.get_timeout(ms(5)).unwrap_err();
    drop(held);
    pool.suspend();
    pool.resume();
    pool.set_max_size(3).unwrap();
    pool.clear();
    assert_eq!(pool.clear_waiters(), 0);
    let held = pool.get().unwrap();
    assert!(pool.interrupt(PooledConnection::info(&held).id));
    drop(held);
    pool.close_timeout(SOON).unwrap();
    for name in [
        "Created",
        "CheckedOut",
        "CheckedIn",
        "Evicted",
        "CreateFailed",
        "TimedOut",
        "Suspended",
        "Resumed",
        "Resized",
        "Cleared",
        "WaitersCleared",
        "Interrupted",
        "Closed",
    ] {
        assert!(log.count(name) >= 1, "no {name} in {:?}", log.lines());
    }
    assert!(log.position("Created") < log.position("CheckedOut"));
    assert!(log.position("CheckedOut") < log.position("CheckedIn"));
    assert_eq!(log.count("Closed"), 1);
    let evicted = log.find("Evicted").unwrap();
    assert!(evicted.contains("Discarded"), "{evicted}");
}

#[test]
fn a_panic_in_a_hook_is_an_event_and_a_number() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = quick("evpanic")
        .observer(log.clone())
        .build(backend.clone())
        .unwrap();
    backend.panic(Hook::Checkin, 1);
    drop(pool.get().unwrap());
    assert_eq!(log.count("Panicked"), 1, "{:?}", log.lines());
    let event = log.find("Panicked").unwrap();
    assert!(event.contains("scripted panic in on_checkin"), "{event}");
    assert_eq!(pool.stats().panics, 1);
}

/// Panics at the first check-in, and records the events.
struct PanicsOnce(Log);

impl PoolObserver for PanicsOnce {
    fn on_event(&self, event: &PoolEvent) {
        self.0.on_event(event);
        let first = matches!(event, PoolEvent::CheckedIn { .. }) && self.0.count("CheckedIn") == 1;
        assert!(!first, "not so fast");
    }
}

#[test]
fn a_panic_of_the_observer_is_an_event_and_a_number_like_that_of_a_hook() {
    let log = Log::default();
    let pool = quick("startled")
        .observer(PanicsOnce(log.clone()))
        .build(MemoryManager::new())
        .unwrap();
    drop(pool.get().unwrap());
    drop(pool.get().unwrap());
    assert_eq!(log.count("Panicked"), 1, "{:?}", log.lines());
    let event = log.find("Panicked").unwrap();
    assert!(
        event.contains("on_event") && event.contains("not so fast"),
        "{event}"
    );
    assert_eq!(pool.stats().panics, 1);
    assert_eq!(pool.stats().idle, 1);
}

/// Panics at every event.
struct AlwaysPanics;

impl PoolObserver for AlwaysPanics {
    fn on_event(&self, event: &PoolEvent) {
        panic!("no thanks: {event:?}");
    }
}

#[test]
fn an_observer_that_always_panics_changes_nothing_else() {
    for collector in [true, false] {
        let backend = MemoryManager::new();
        let pool = quick("grenade")
            .max_size(2)
            .background_collector(collector)
            .observer(AlwaysPanics)
            .build(backend.clone())
            .unwrap();
        fill(&pool, 2);
        backend.fail(Hook::Checkin, 1);
        drop(pool.get().unwrap());
        PooledConnection::discard(pool.get_timeout(SOON).unwrap());
        pool.clear();
        let held = take(&pool, 2);
        pool.get_timeout(ms(5)).unwrap_err();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _held = held;
            panic!("the user's own panic");
        }));
        assert!(unwound.is_err());
        drop(pool.get_timeout(SOON).unwrap());
        assert!(pool.stats().panics > 0);
        close_clean(&pool, &backend);
    }
}

/// Calls the pool from inside the observer.
#[derive(Clone, Default)]
struct CallsPool(Arc<Mutex<Option<Pool<MemoryManager>>>>);

impl PoolObserver for CallsPool {
    fn on_event(&self, event: &PoolEvent) {
        let pool = self.0.lock().unwrap().clone();
        let ours = matches!(
            event,
            PoolEvent::CheckedOut { .. } | PoolEvent::CheckedIn { .. }
        );
        if let Some(pool) = pool {
            let stats = pool.stats();
            assert_eq!(stats.size, stats.idle + stats.in_use + stats.creating);
            drop(pool.holders());
            if !ours {
                // Otherwise it would report itself forever.
                drop(pool.try_get());
            }
        }
    }
}

#[test]
fn an_observer_may_call_the_pool() {
    let (observer, backend) = (CallsPool::default(), MemoryManager::new());
    let pool = quick("nosy")
        .max_size(3)
        .observer(observer.clone())
        .build(backend.clone())
        .unwrap();
    *observer.0.lock().unwrap() = Some(pool.clone());
    fill(&pool, 3);
    PooledConnection::discard(pool.get().unwrap());
    pool.suspend();
    pool.resume();
    pool.set_max_size(1).unwrap();
    pool.clear();
    drop(pool.get_timeout(SOON).unwrap());
    observer.0.lock().unwrap().take();
    assert_eq!(pool.stats().panics, 0);
    close_clean(&pool, &backend);
}

#[test]
fn failed_creates_are_reported_with_their_error() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = quick("evfail")
        .observer(log.clone())
        .build_lazy(backend.clone())
        .unwrap();
    backend.fail_transient(Hook::Create, 2);
    drop(pool.get_timeout(SOON).unwrap());
    eventually(|| log.count("CreateFailed") == 2);
    let event = log.find("CreateFailed").unwrap();
    assert!(event.contains("Scripted"), "the error itself: {event}");
}

#[test]
fn the_eviction_of_a_connection_whose_check_hangs_tells_its_age_and_uses() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let clock = conpool::ManualClock::new();
    let pool = quick("evhung")
        .clock(clock.clone())
        .observer(log.clone())
        .check_timeout(ms(20))
        .build(backend.clone())
        .unwrap();
    backend.blocking_check(true);
    drop(pool.get().unwrap());
    drop(pool.get().unwrap());
    clock.advance(ms(7000));
    backend.hang(Hook::Check);
    drop(pool.get().unwrap());
    eventually(|| log.count("Evicted") == 1);
    let evicted = log.find("Evicted").unwrap();
    assert!(
        evicted.contains("age: 7s") && evicted.contains("uses: 2"),
        "{evicted}"
    );
    backend.release();
    close_clean(&pool, &backend);
}
