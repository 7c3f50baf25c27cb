//! Leaks: a checkout held for longer than `leak_threshold` is reported once, and once more at its end.

use crate::common;

use common::{Log, eventually, quick, secs, stays};
use conpool::{ManualClock, MemoryManager, PooledConnection};

#[test]
fn a_checkout_held_too_long_is_reported_once_and_once_more_when_it_comes_back() {
    let (clock, log) = (ManualClock::new(), Log::default());
    let pool = quick("leak")
        .clock(clock.clone())
        .observer(log.clone())
        .leak_threshold(secs(10))
        .build(MemoryManager::new())
        .unwrap();
    let line = line!() + 1;
    let held = pool.get().unwrap();
    clock.advance(secs(9));
    stays(|| log.count("LeakSuspected") == 0);
    clock.advance(secs(2));
    eventually(|| log.count("LeakSuspected") == 1);
    clock.advance(secs(60));
    stays(|| log.count("LeakSuspected") == 1);
    let event = log.find("LeakSuspected").unwrap();
    assert!(
        event.contains("leaks.rs") && event.contains(&line.to_string()),
        "{event}"
    );
    drop(held);
    eventually(|| log.count("LeakResolved") == 1);
    assert!(log.find("LeakResolved").unwrap().contains("leaks.rs"));
}

#[test]
fn a_checkout_returned_in_time_is_never_reported() {
    let (clock, log) = (ManualClock::new(), Log::default());
    let pool = quick("noleak")
        .clock(clock.clone())
        .observer(log.clone())
        .leak_threshold(secs(10))
        .build(MemoryManager::new())
        .unwrap();
    for _ in 0..5 {
        let held = pool.get().unwrap();
        clock.advance(secs(4));
        drop(held);
        clock.advance(secs(4));
    }
    pool.sweep();
    assert_eq!(log.count("Leak"), 0, "{:?}", log.lines());
}

#[test]
fn a_checkout_of_a_connection_that_was_used_before_is_reported_too() {
    let (clock, log) = (ManualClock::new(), Log::default());
    let pool = quick("second")
        .clock(clock.clone())
        .observer(log.clone())
        .leak_threshold(secs(10))
        .build(MemoryManager::new())
        .unwrap();
    for _ in 0..3 {
        drop(pool.get().unwrap());
    }
    let first = pool.get().unwrap();
    clock.advance(secs(11));
    eventually(|| log.count("LeakSuspected") == 1);
    PooledConnection::discard(first);
    eventually(|| log.count("LeakResolved") == 1);
    let second = pool.get().unwrap();
    clock.advance(secs(11));
    eventually(|| log.count("LeakSuspected") == 2);
    drop(PooledConnection::detach(second));
    eventually(|| log.count("LeakResolved") == 2);
}

#[test]
fn without_a_collector_a_sweep_reports() {
    let (clock, log) = (ManualClock::new(), Log::default());
    let pool = quick("inline")
        .clock(clock.clone())
        .observer(log.clone())
        .background_collector(false)
        .leak_threshold(secs(10))
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    clock.advance(secs(11));
    pool.sweep();
    pool.sweep();
    assert_eq!(log.count("LeakSuspected"), 1);
    drop(held);
    assert_eq!(log.count("LeakResolved"), 1);
}
