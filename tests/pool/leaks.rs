//! Leaks: a checkout held for longer than `leak_threshold` is reported once, and once more at its end.

use crate::common;

use common::{Gate, Log, SOON, eventually, ms, quick, secs, stays};
use conpool::{
    EvictReason, Fairness, HealthCheck, Hook, KeyedPool, ManualClock, MemoryManager, Pool,
    PoolEvent, PoolObserver, PooledConnection,
};
use std::sync::{Arc, Mutex};

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

/// Sweeps the pool at every event of a check-in, and records the events.
#[derive(Clone, Default)]
struct Sweeps(Log, Arc<Mutex<Option<Pool<MemoryManager>>>>);

impl PoolObserver for Sweeps {
    fn on_event(&self, event: &PoolEvent) {
        self.0.on_event(event);
        let pool = self.1.lock().unwrap().clone();
        let ends = matches!(
            event,
            PoolEvent::CheckedIn { .. } | PoolEvent::LeakResolved { .. }
        );
        if let Some(pool) = pool.filter(|_| ends) {
            pool.sweep();
        }
    }
}

#[test]
fn a_sweep_during_the_check_in_reports_the_checkout_no_second_time() {
    let (clock, observer) = (ManualClock::new(), Sweeps::default());
    let pool = quick("reentrant")
        .clock(clock.clone())
        .observer(observer.clone())
        .leak_threshold(secs(10))
        .build(MemoryManager::new())
        .unwrap();
    *observer.1.lock().unwrap() = Some(pool.clone());
    let ends: [fn(PooledConnection<MemoryManager>); 3] =
        [drop, PooledConnection::discard, |held| {
            drop(PooledConnection::detach(held));
        }];
    let log = &observer.0;
    for (n, end) in (1..).zip(ends) {
        let held = pool.get_timeout(SOON).unwrap();
        clock.advance(secs(11));
        eventually(|| log.count("LeakSuspected") == n);
        end(held);
        pool.sweep();
        let counts = ["LeakSuspected", "LeakResolved"].map(|event| log.count(event));
        assert_eq!(counts, [n, n], "{:?}", log.lines());
    }
    observer.1.lock().unwrap().take();
}

/// Gives back another connection when a leak is reported, and records the events.
#[derive(Clone, Default)]
struct GivesBack(Log, Arc<Mutex<Option<PooledConnection<MemoryManager>>>>);

impl PoolObserver for GivesBack {
    fn on_event(&self, event: &PoolEvent) {
        self.0.on_event(event);
        if let PoolEvent::LeakSuspected { .. } = event {
            let other = self.1.lock().unwrap().take();
            drop(other);
        }
    }
}

#[test]
fn a_checkout_that_ends_while_another_is_reported_is_not_reported() {
    let (clock, observer) = (ManualClock::new(), GivesBack::default());
    let pool = quick("meanwhile")
        .clock(clock.clone())
        .observer(observer.clone())
        .leak_threshold(secs(10))
        .build(MemoryManager::new())
        .unwrap();
    let held = [pool.get().unwrap(), pool.get().unwrap()];
    let [first, second] = held;
    *observer.1.lock().unwrap() = Some(second);
    clock.advance(secs(11));
    let log = &observer.0;
    eventually(|| log.count("CheckedIn") == 1);
    pool.sweep();
    stays(|| log.count("LeakSuspected") == 1);
    drop(first);
    assert_eq!(log.count("LeakResolved"), 1, "{:?}", log.lines());
}

/// Records a suspected leak only after the gate is open.
#[derive(Clone, Default)]
struct Slow(Log, Gate);

impl PoolObserver for Slow {
    fn on_event(&self, event: &PoolEvent) {
        if let PoolEvent::LeakSuspected { .. } = event {
            self.1.pass();
        }
        self.0.on_event(event);
    }
}

#[test]
fn a_leak_is_resolved_after_it_is_suspected_although_the_report_is_slow() {
    let (clock, observer) = (ManualClock::new(), Slow::default());
    let pool = quick("slowly")
        .clock(clock.clone())
        .observer(observer.clone())
        .leak_threshold(secs(10))
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    clock.advance(secs(11));
    let Slow(log, gate) = observer;
    eventually(|| gate.arrivals() == 1);
    drop(held);
    assert_eq!(log.count("LeakResolved"), 0, "{:?}", log.lines());
    gate.open();
    eventually(|| log.count("LeakResolved") == 1);
    assert!(log.position("LeakSuspected") < log.position("LeakResolved"));
    assert_eq!(log.count("LeakSuspected"), 1);
}

#[test]
fn the_first_checkout_of_a_key_is_reported_in_time() {
    let log = Log::default();
    let pool = KeyedPool::<u8, MemoryManager>::builder()
        .observer(log.clone())
        .leak_threshold(ms(50))
        .build(|_| MemoryManager::new())
        .unwrap();
    let _held = pool.get(&1).unwrap();
    eventually(|| log.count("LeakSuspected") == 1);
}

#[test]
fn a_caller_whose_connection_is_checked_for_the_next_one_is_not_reported() {
    let (clock, log, backend) = (ManualClock::new(), Log::default(), MemoryManager::new());
    let pool = quick("passed")
        .max_size(1)
        .fairness(Fairness::Strict)
        .clock(clock.clone())
        .observer(log.clone())
        .health_check(HealthCheck::OnCheckout)
        .leak_threshold(secs(10))
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    let waiter = common::waiter(&pool);
    backend.hang(Hook::Check);
    drop(held);
    eventually(|| backend.running(Hook::Check) == 1);
    assert_eq!(pool.holders(), [], "nobody holds a connection in a check");
    clock.advance(secs(11));
    stays(|| log.count("LeakSuspected") == 0);
    backend.release();
    waiter.join_soon().unwrap();
    assert_eq!(pool.stats().evicted(EvictReason::CheckFailed), 0);
}
