//! A pool that nobody uses costs no wake-up.

#![cfg(target_os = "linux")]

use crate::common;
use crate::wakeups;

use common::{close_clean, eventually, fill, ms, now, quick, secs, take};
use conpool::{Fairness, HealthCheck, ManualClock, MemoryManager, Pool, PoolBuilder};
use std::{thread, time::Duration};
use wakeups::sleeps;

/// The longest pause that a pool's own rounds make while somebody uses it, several times over.
const CALM: Duration = Duration::from_millis(100);

/// Waits until the threads of this pool have come to rest, and asserts that they stay there.
#[track_caller]
fn rests(pool: &Pool<MemoryManager>) {
    let prefix = format!("{}-", pool.name());
    let threads = || sleeps::of_named(&prefix);
    let mut seen = threads();
    let mut since = now();
    eventually(|| {
        let news = threads();
        // Workers linger for a while after their last piece of work. The collector stays. A look may miss
        // threads while others end, so what it shows has to last.
        if news.len() != 1 || news != seen || news.values().any(|thread| !thread.asleep) {
            (seen, since) = (news, now());
        }
        since.elapsed() >= CALM
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

/// Everything that a collector looks after, and none of it before hours have passed.
fn hours(name: &str) -> PoolBuilder<MemoryManager> {
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
    let pool = hours("calm").min_idle(3).build(backend.clone()).unwrap();
    fill(&pool, 8);
    rests(&pool);
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
    rests(&pool);
    close_clean(&pool, &backend);
}

#[test]
fn connections_that_are_out_cause_no_wake_up() {
    let backend = MemoryManager::new();
    let pool = hours("out").min_idle(2).build(backend.clone()).unwrap();
    let held = take(&pool, 3);
    // Or one more: the third caller may have begun a create of its own beside the refill.
    eventually(|| pool.stats().idle >= 2);
    rests(&pool);
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn a_pool_that_waits_for_room_causes_no_wake_up() {
    // All slots are taken, so that neither min_idle nor the waiter can have what they want.
    for fairness in [Fairness::default(), Fairness::Strict] {
        let backend = MemoryManager::new();
        let pool = hours("noroom")
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
        rests(&pool);
        drop(held);
        waiter.join_soon().unwrap();
        close_clean(&pool, &backend);
    }
}

#[test]
fn a_suspended_pool_causes_no_wake_up() {
    let backend = MemoryManager::new();
    let pool = hours("paused").min_idle(3).build(backend.clone()).unwrap();
    fill(&pool, 3);
    pool.suspend();
    rests(&pool);
    pool.resume();
    close_clean(&pool, &backend);
}

#[test]
fn a_pool_with_a_clock_of_its_own_sleeps_while_that_stands_still() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = hours("manual")
        .min_idle(3)
        .clock(clock.clone())
        .build(backend.clone())
        .unwrap();
    fill(&pool, 5);
    clock.advance(secs(600));
    rests(&pool);
    close_clean(&pool, &backend);
}
