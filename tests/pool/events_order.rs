//! Events come in the order of cause and effect: one test for each row of the table in `PoolEvent`'s docs.

use crate::common;

use common::{Log, SOON, close_clean, eventually, fill, ms, queued, quick, secs, spawn, take};
use conpool::{HealthCheck, Hook, ManualClock, MemoryManager, Pool, PoolBuilder, PooledConnection};

fn logged(name: &str, log: &Log) -> PoolBuilder<MemoryManager> {
    quick(name)
        .health_check(HealthCheck::Never)
        .observer(log.clone())
}

/// Asserts that each of these lines comes before the next.
#[track_caller]
fn in_order(log: &Log, starts: &[&str]) {
    let lines = log.lines();
    let mut from = 0;
    for start in starts {
        let (event, rest) = start.split_once(' ').unwrap_or((start, ""));
        let fits = |line: &&String| line.starts_with(event) && line.contains(rest);
        let at = lines.iter().skip(from).position(|line| fits(&line));
        from += 1 + at.unwrap_or_else(|| panic!("no {start:?} from {from} on in {lines:#?}"));
    }
}

/// Asserts that the first such line comes before all of the others.
#[track_caller]
fn none_before(log: &Log, first: &str, other: &str) {
    let lines = log.lines();
    let (event, rest) = other.split_once(' ').unwrap_or((other, ""));
    let fits = |line: &String| line.starts_with(event) && line.contains(rest);
    let at = lines.iter().position(fits);
    assert!(at.is_some_and(|at| log.position(first) < at), "{lines:#?}");
}

#[test]
fn a_connection_is_created_before_it_is_checked_out_and_checked_in_before_it_is_evicted() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = logged("order", &log).build(backend.clone()).unwrap();
    PooledConnection::discard(pool.get().unwrap());
    drop(pool.get_timeout(SOON).unwrap());
    in_order(
        &log,
        &[
            "Created",
            "CheckedOut",
            "CheckedIn",
            "Evicted Discarded",
            "CheckedIn",
        ],
    );
    close_clean(&pool, &backend);
}

#[test]
fn a_clear_is_reported_before_its_evictions() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = logged("order", &log)
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 3);
    let held = pool.get().unwrap();
    pool.clear();
    drop(held);
    eventually(|| log.count("Evicted") == 3);
    none_before(&log, "Cleared", "Evicted Cleared");
    in_order(
        &log,
        &[
            "Cleared",
            "Evicted Cleared",
            "Evicted Cleared",
            "CheckedIn",
            "Evicted Cleared",
        ],
    );
    close_clean(&pool, &backend);
}

#[test]
fn a_close_is_reported_before_its_evictions_and_its_errors() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = logged("order", &log)
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 2);
    let held = take(&pool, 2);
    let waiter = spawn({
        let (pool, log) = (pool.clone(), log.clone());
        move || {
            let error = pool.get_timeout(SOON).unwrap_err();
            assert!(error.is_closed());
            assert_eq!(log.count("Closed"), 1, "told before the waiter");
        }
    });
    queued(&pool, 1);
    pool.close();
    waiter.join_soon();
    drop(held);
    eventually(|| log.count("Evicted") == 2);
    none_before(&log, "Closed", "Evicted Closed");
    close_clean(&pool, &backend);
}

#[test]
fn a_change_of_size_is_reported_before_what_it_brings_about() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = logged("order", &log)
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 2);
    pool.set_max_size(1).unwrap();
    eventually(|| log.count("Evicted") == 1);
    none_before(&log, "Resized", "Evicted Shrunk");
    let held = pool.get().unwrap();
    let waiter = spawn({
        let pool = pool.clone();
        move || drop(pool.get_timeout(SOON).unwrap())
    });
    queued(&pool, 1);
    pool.set_max_size(2).unwrap();
    waiter.join_soon();
    in_order(
        &log,
        &[
            "Resized",
            "Evicted Shrunk",
            "Resized",
            "Created",
            "CheckedOut",
        ],
    );
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn a_resume_is_reported_before_those_that_waited_are_served() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = logged("order", &log).build(backend.clone()).unwrap();
    pool.suspend();
    let waiter = spawn({
        let pool = pool.clone();
        move || drop(pool.get_timeout(SOON).unwrap())
    });
    queued(&pool, 1);
    pool.resume();
    waiter.join_soon();
    in_order(&log, &["Suspended", "Resumed", "CheckedOut"]);
    none_before(&log, "Resumed", "CheckedOut");
    close_clean(&pool, &backend);
}

#[test]
fn a_panic_is_reported_before_what_it_costs() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = logged("order", &log).build_lazy(backend.clone()).unwrap();
    backend.panic(Hook::Create, 1);
    pool.get_timeout(SOON).unwrap_err();
    in_order(&log, &["Panicked", "CreateFailed"]);
    eventually(|| pool.get_timeout(SOON).is_ok());
    backend.panic(Hook::Checkin, 1);
    drop(pool.get().unwrap());
    in_order(
        &log,
        &[
            "Panicked",
            "CreateFailed",
            "CheckedOut",
            "Panicked",
            "CheckedIn",
            "Evicted Panicked",
        ],
    );
    close_clean(&pool, &backend);
}

#[test]
fn a_failed_create_is_reported_before_the_caller_gives_up() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = logged("order", &log).build_lazy(backend.clone()).unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    pool.get_timeout(ms(100)).unwrap_err();
    none_before(&log, "CreateFailed", "TimedOut");
    backend.heal();
    close_clean(&pool, &backend);
}

#[test]
fn a_connection_held_for_long_comes_back_before_the_report_is_resolved() {
    let (log, backend, clock) = (Log::default(), MemoryManager::new(), ManualClock::new());
    let builder = logged("order", &log).clock(clock.clone());
    let pool = builder
        .leak_threshold(secs(10))
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    clock.advance(secs(11));
    eventually(|| log.count("LeakSuspected") == 1);
    drop(held);
    in_order(
        &log,
        &["CheckedOut", "LeakSuspected", "CheckedIn", "LeakResolved"],
    );
    close_clean(&pool, &backend);
}

#[test]
fn an_eviction_is_reported_before_the_connection_that_takes_the_slot() {
    let (log, backend) = (Log::default(), MemoryManager::new());
    let pool = logged("order", &log)
        .max_size(1)
        .build(backend.clone())
        .unwrap();
    PooledConnection::discard(pool.get().unwrap());
    drop(pool.get_timeout(SOON).unwrap());
    in_order(&log, &["Created", "Evicted Discarded", "Created"]);
    close_clean(&pool, &backend);
}

#[test]
fn a_replacement_is_reported_before_the_eviction_of_what_it_replaces() {
    let (log, backend, clock) = (Log::default(), MemoryManager::new(), ManualClock::new());
    let pool: Pool<_> = logged("order", &log)
        .clock(clock.clone())
        .max_size(2)
        .min_idle(1)
        .max_lifetime(secs(60))
        .build(backend.clone())
        .unwrap();
    clock.advance(secs(61));
    eventually(|| log.count("Evicted") == 1);
    in_order(&log, &["Created", "Created", "Evicted MaxLifetime"]);
    close_clean(&pool, &backend);
}
