//! Gauges and counters read from statistics.

use crate::common::{SOON, close_clean, eventually, ms, queued, quick, spawn, take};
use crate::recorder::TestRecorder;
use conpool::{EvictReason, Hook, MemoryManager, Pool, PoolEvent, PoolObserver, PooledConnection};
use std::sync::{Arc, OnceLock};

#[test]
fn the_gauges_are_those_of_the_statistics() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let pool = quick("levels")
        .max_size(5)
        .min_idle(1)
        .build(backend.clone())
        .unwrap();
    let mut held = take(&pool, 3);
    eventually(|| pool.stats().idle == 1);
    backend.hang(Hook::Create);
    backend.hang(Hook::Dispose);
    // One connection is being disposed, and the idle one is in use and replaced.
    PooledConnection::discard(held.pop().unwrap());
    held.extend(take(&pool, 1));
    eventually(|| backend.running(Hook::Create) == 1 && backend.running(Hook::Dispose) == 1);
    let waiter = pool.clone();
    let waiter = spawn(move || drop(waiter.get_timeout(SOON).unwrap()));
    queued(&pool, 1);

    let stats = pool.stats();
    recorder.metrics().publish(&stats);
    let gauge = |name| recorder.gauge("levels", name);
    assert_eq!(recorder.in_state("levels", "idle"), 0.0, "{stats}");
    assert_eq!(recorder.in_state("levels", "used"), 3.0);
    assert_eq!(gauge("creating"), 1.0);
    assert_eq!(gauge("disposing"), 1.0);
    assert_eq!(gauge("abandoned"), 0.0);
    assert_eq!(gauge("pending_requests"), 1.0);
    assert_eq!(gauge("idle.min"), 1.0);
    assert_eq!((gauge("idle.max"), gauge("max")), (5.0, 5.0));

    backend.release();
    waiter.join_soon();
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn gauges_go_down_again() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let pool = quick("ebb").build(backend.clone()).unwrap();
    let metrics = recorder.metrics();
    let held = take(&pool, 2);
    metrics.publish(&pool.stats());
    assert_eq!(recorder.in_state("ebb", "used"), 2.0);
    drop(held);
    metrics.publish(&pool.stats());
    assert_eq!(recorder.in_state("ebb", "used"), 0.0);
    assert_eq!(recorder.in_state("ebb", "idle"), 2.0);
    pool.set_max_size(7).unwrap();
    metrics.publish(&pool.stats());
    assert_eq!(recorder.gauge("ebb", "max"), 7.0);
    close_clean(&pool, &backend);
    metrics.publish(&pool.stats());
    assert_eq!(recorder.in_state("ebb", "idle"), 0.0);
}

#[test]
fn a_hook_that_hangs_past_its_timeout_is_seen_as_abandoned() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let pool = quick("hung")
        .dispose_timeout(ms(5))
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Dispose);
    PooledConnection::discard(pool.get().unwrap());
    eventually(|| pool.stats().abandoned == 1);
    recorder.metrics().publish(&pool.stats());
    assert_eq!(recorder.gauge("hung", "abandoned"), 1.0);
    assert_eq!(recorder.gauge("hung", "disposing"), 0.0);
    backend.release();
    close_clean(&pool, &backend);
}

/// Causes two timeouts, a failed create, a panic, two evictions of different kinds, and a refusal.
fn inject_faults(pool: &Pool<MemoryManager>, backend: &MemoryManager) {
    let held = take(pool, 1);
    pool.get_timeout(ms(1)).unwrap_err();
    pool.get_timeout(ms(1)).unwrap_err();
    let waiter = pool.clone();
    let waiter = spawn(move || drop(waiter.get_timeout(SOON).unwrap()));
    queued(pool, 1);
    assert!(pool.get().unwrap_err().is_saturated());
    drop(held);
    waiter.join_soon();
    backend.panic(Hook::Checkin, 1);
    drop(pool.get().unwrap());
    backend.fail_transient(Hook::Create, 1);
    PooledConnection::discard(pool.get_timeout(SOON).unwrap());
    eventually(|| backend.counters().open == 0);
}

const EXPECTED_FAULTS: [(&str, u64); 4] = [
    ("timeouts", 2),
    ("create_errors", 1),
    ("panics", 1),
    ("saturated", 1),
];

#[test]
fn a_pool_that_is_not_observed_has_its_counters_read_from_the_statistics_however_often() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let metrics = recorder.metrics();
    let builder = quick("quiet").max_size(1).max_waiters(1);
    let pool = builder.build(backend.clone()).unwrap();
    metrics.publish(&pool.stats());
    inject_faults(&pool, &backend);
    for _ in 0..3 {
        metrics.publish(&pool.stats());
    }
    for (name, count) in EXPECTED_FAULTS {
        assert_eq!(recorder.counter("quiet", name), count, "{name}");
    }
    for &reason in EvictReason::ALL {
        let expected = matches!(reason, EvictReason::Discarded | EvictReason::Panicked);
        assert_eq!(
            recorder.evicted("quiet", reason),
            u64::from(expected),
            "{reason}"
        );
    }
    for name in ["create_time", "wait_time", "use_time"] {
        assert!(recorder.samples("quiet", name).is_empty(), "{name}");
    }
    close_clean(&pool, &backend);
}

#[test]
fn what_the_observer_counts_is_not_counted_again_by_publishing() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let metrics = recorder.metrics();
    let pool = quick("told")
        .max_size(1)
        .max_waiters(1)
        .observer(metrics.clone())
        .build(backend.clone())
        .unwrap();
    inject_faults(&pool, &backend);
    for _ in 0..3 {
        metrics.publish(&pool.stats());
    }
    for (name, count) in EXPECTED_FAULTS {
        assert_eq!(recorder.counter("told", name), count, "{name}");
    }
    assert_eq!(recorder.evicted("told", EvictReason::Discarded), 1);
    assert_eq!(recorder.evicted("told", EvictReason::Panicked), 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_count_that_is_published_before_its_event_comes_is_counted_once() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let metrics = recorder.metrics();
    let (observer, watched) = (metrics.clone(), Arc::new(OnceLock::<Pool<_>>::new()));
    let pool = Arc::clone(&watched);
    let builder = quick("early")
        .max_size(1)
        .observer(move |event: &PoolEvent| {
            if let Some(pool) = pool.get() {
                observer.publish(&pool.stats());
            }
            observer.on_event(event);
        });
    let pool = builder.build(backend.clone()).unwrap();
    watched.set(pool.clone()).unwrap();
    let held = take(&pool, 1);
    pool.get_timeout(ms(1)).unwrap_err();
    PooledConnection::discard(held.into_iter().next().unwrap());
    assert_eq!(recorder.counter("early", "timeouts"), 1);
    assert_eq!(recorder.evicted("early", EvictReason::Discarded), 1);
    close_clean(&pool, &backend);
}
