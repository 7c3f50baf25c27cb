//! An idle pool causes no wake-ups.

#![cfg(target_os = "linux")]

use crate::common;
use crate::wakeups;

use common::{close_clean, eventually, fill, ms, now, quick, secs, take};
use conpool::{Fairness, HealthCheck, ManualClock, MemoryManager, Pool, PoolBuilder};
use std::{thread, time::Duration};
use wakeups::sleeps;

/// Several times the longest pause between sweeps of a pool in use.
const QUIET_TIME: Duration = Duration::from_millis(100);

/// Waits until the threads of this pool are asleep, and asserts that they stay asleep.
#[track_caller]
fn assert_asleep(pool: &Pool<MemoryManager>) {
    let prefix = format!("{}-", pool.name());
    let threads = || sleeps::of_named(&prefix);
    let mut seen = threads();
    let mut since = now();
    eventually(|| {
        let states = threads();
        // Workers linger for a while after their last task. The collector stays. A listing may miss threads
        // while others end, so the state has to last.
        if states.len() != 1 || states != seen || states.values().any(|thread| !thread.asleep) {
            (seen, since) = (states, now());
        }
        since.elapsed() >= QUIET_TIME
    });
    let (collector, before) = seen.pop_first().expect("the only thread");
    thread::sleep(ms(300));
    let after = sleeps::of(&collector);
    assert_eq!(after, Some(before), "woken although nothing is to be done");
    let others = threads();
    assert!(
        others.keys().all(|thread| *thread == collector),
        "{others:?}"
    );
}

/// A pool with all of the collector's tasks, each due in hours.
fn due_in_hours(name: &str) -> PoolBuilder<MemoryManager> {
    quick(name)
        .max_size(8)
        .idle_timeout(secs(3 * 3600))
        .max_lifetime(secs(5 * 3600))
        .keepalive_interval(secs(3600))
        .leak_threshold(secs(4 * 3600))
        .health_check(HealthCheck::Never)
}

#[test]
fn an_idle_pool_causes_no_wake_up() {
    let backend = MemoryManager::new();
    let pool = due_in_hours("calm")
        .min_idle(3)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 8);
    assert_asleep(&pool);
    close_clean(&pool, &backend);
}

#[test]
fn a_pool_with_the_default_settings_causes_no_wake_up() {
    let backend = MemoryManager::new();
    let pool = Pool::builder()
        .name("default")
        .build(backend.clone())
        .unwrap();
    fill(&pool, 4);
    assert_asleep(&pool);
    close_clean(&pool, &backend);
}

#[test]
fn connections_that_are_out_cause_no_wake_up() {
    let backend = MemoryManager::new();
    let pool = due_in_hours("out")
        .min_idle(2)
        .build(backend.clone())
        .unwrap();
    let held = take(&pool, 3);
    // Or one more: the third caller may have begun a create of its own beside the refill.
    eventually(|| pool.stats().idle >= 2);
    assert_asleep(&pool);
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn a_pool_that_waits_for_room_causes_no_wake_up() {
    // All slots are taken, so that neither min_idle nor the waiter can be served.
    for fairness in [Fairness::default(), Fairness::Strict] {
        let backend = MemoryManager::new();
        let pool = due_in_hours("noroom")
            .max_size(3)
            .min_idle(2)
            .fairness(fairness)
            .build(backend.clone())
            .unwrap();
        let held = take(&pool, 3);
        let waiter = common::spawn({
            let pool = pool.clone();
            move || pool.get_timeout(secs(3600)).map(drop)
        });
        common::queued(&pool, 1);
        assert_asleep(&pool);
        drop(held);
        waiter.join_soon().unwrap();
        close_clean(&pool, &backend);
    }
}

#[test]
fn a_suspended_pool_causes_no_wake_up() {
    let backend = MemoryManager::new();
    let pool = due_in_hours("paused")
        .min_idle(3)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 3);
    pool.suspend();
    assert_asleep(&pool);
    pool.resume();
    close_clean(&pool, &backend);
}

#[test]
fn a_pool_with_a_clock_of_its_own_sleeps_while_that_stands_still() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = due_in_hours("manual")
        .min_idle(3)
        .clock(clock.clone())
        .build(backend.clone())
        .unwrap();
    fill(&pool, 5);
    clock.advance(secs(600));
    assert_asleep(&pool);
    close_clean(&pool, &backend);
}
