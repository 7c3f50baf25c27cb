//! Counters and histograms of the observer.

use crate::common::{
    Rng, SOON, assert_at, close_clean, eventually, ms, queued, quick, secs, spawn, take,
};
use crate::recorder::TestRecorder;
use conpool::{
    EvictReason, Fairness, HealthCheck, Hook, ManualClock, MemoryManager, PooledConnection,
};
use std::thread;
use std::time::Duration;

fn seconds(sample: f64) -> Duration {
    Duration::from_secs_f64(sample)
}

#[test]
fn create_time_is_how_long_create_ran_in_seconds() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    backend.delay(Hook::Create, ms(30));
    let pool = quick("creates")
        .observer(recorder.metrics())
        .build(backend.clone())
        .unwrap();
    let created = recorder.samples("creates", "create_time");
    assert_eq!(created.len(), 1);
    assert_at(seconds(created[0]), ms(30));
    close_clean(&pool, &backend);
}

#[test]
fn wait_time_is_nothing_for_a_free_connection_and_the_wait_for_one_that_is_out() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let pool = quick("waits")
        .max_size(1)
        .health_check(HealthCheck::Never)
        .observer(recorder.metrics())
        .build(backend.clone())
        .unwrap();
    drop(pool.get().unwrap());
    drop(pool.try_get().unwrap());
    let held = take(&pool, 1);
    // The first checkout had to search, which is no wait but is measured.
    let waits = recorder.samples("waits", "wait_time");
    assert_at(seconds(waits[0]), Duration::ZERO);
    assert_eq!(waits[1..], [0.0; 2]);
    let waiter = pool.clone();
    let waiter = spawn(move || drop(waiter.get_timeout(SOON).unwrap()));
    queued(&pool, 1);
    thread::sleep(ms(20));
    drop(held);
    waiter.join_soon();
    let waits = recorder.samples("waits", "wait_time");
    assert_eq!(waits.len(), 4);
    assert_at(seconds(waits[3]), ms(20));
    close_clean(&pool, &backend);
}

#[test]
fn use_time_is_how_long_the_connection_was_out_by_the_clock_of_the_pool() {
    let (recorder, backend, clock) = (
        TestRecorder::default(),
        MemoryManager::new(),
        ManualClock::new(),
    );
    let pool = quick("uses")
        .clock(clock.clone())
        .observer(recorder.metrics())
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    clock.advance(ms(2500));
    drop(held);
    let held = pool.get().unwrap();
    clock.advance(secs(7));
    PooledConnection::discard(held);
    let held = pool.get().unwrap();
    clock.advance(secs(1));
    drop(PooledConnection::detach(held));
    assert_eq!(recorder.samples("uses", "use_time"), [2.5, 7.0, 1.0]);
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn use_time_of_a_connection_that_was_handed_over_begins_with_the_hand_over() {
    let (recorder, backend, clock) = (
        TestRecorder::default(),
        MemoryManager::new(),
        ManualClock::new(),
    );
    let pool = quick("handed")
        .max_size(1)
        .fairness(Fairness::Strict)
        .clock(clock.clone())
        .observer(recorder.metrics())
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    let (waiter, time) = (pool.clone(), clock.clone());
    let waiter = spawn(move || {
        let _held = waiter.get_timeout(SOON).unwrap();
        time.advance(secs(1));
    });
    queued(&pool, 1);
    clock.advance(secs(10));
    drop(held);
    waiter.join_soon();
    assert_eq!(recorder.samples("handed", "use_time"), [10.0, 1.0]);
    assert_eq!(pool.stats().held.max, secs(10));
    close_clean(&pool, &backend);
}

#[test]
fn callers_that_give_up_count_as_timeouts_and_leave_no_wait_time() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let pool = quick("late")
        .max_size(1)
        .observer(recorder.metrics())
        .build(backend.clone())
        .unwrap();
    let held = take(&pool, 1);
    for _ in 0..3 {
        pool.get_timeout(ms(1)).unwrap_err();
    }
    assert!(pool.try_get().is_none());
    assert_eq!(recorder.counter("late", "timeouts"), 3);
    assert_eq!(recorder.samples("late", "wait_time").len(), 1);
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn a_leak_counts_once_when_it_is_suspected_and_not_again_when_it_comes_back() {
    let (recorder, backend, clock) = (
        TestRecorder::default(),
        MemoryManager::new(),
        ManualClock::new(),
    );
    let pool = quick("leaky")
        .clock(clock.clone())
        .leak_threshold(secs(10))
        .observer(recorder.metrics())
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    clock.advance(secs(11));
    eventually(|| recorder.counter("leaky", "leaks") == 1);
    drop(held);
    close_clean(&pool, &backend);
    assert_eq!(recorder.counter("leaky", "leaks"), 1);
}

#[test]
fn evictions_on_closing_are_counted_though_nobody_publishes_any_more() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let pool = quick("ends")
        .observer(recorder.metrics())
        .build(backend.clone())
        .unwrap();
    drop(take(&pool, 4));
    close_clean(&pool, &backend);
    assert_eq!(recorder.evicted("ends", EvictReason::Closed), 4);
}

#[test]
fn after_a_random_life_the_counters_are_those_of_the_statistics() {
    for seed in 0..20 {
        random_life(seed);
    }
}

fn random_life(seed: u64) {
    let (recorder, backend, clock) = (
        TestRecorder::default(),
        MemoryManager::new(),
        ManualClock::new(),
    );
    let pool = quick("life")
        .max_size(3)
        .max_uses(4)
        .max_lifetime(secs(100))
        .idle_timeout(secs(40))
        .clock(clock.clone())
        .observer(recorder.metrics())
        .build(backend.clone())
        .unwrap();
    let mut rng = Rng::new(seed);
    let (mut held, mut got) = (Vec::new(), 0);
    for _ in 0..60 {
        match rng.below(12) {
            0..=3 => {
                if let Ok(connection) = pool.get_timeout(ms(2)) {
                    held.push(connection);
                    got += 1;
                }
            }
            4 | 5 => drop(held.pop()),
            6 => held.pop().into_iter().for_each(PooledConnection::discard),
            7 => clock.advance(secs(rng.below(30))),
            8 => backend.fail(Hook::Create, rng.below(2)),
            9 => match rng.below(3) {
                0 => backend.panic(Hook::Create, 1),
                1 => backend.panic(Hook::Checkout, 1),
                _ => backend.panic(Hook::Dispose, 1),
            },
            10 => match rng.below(3) {
                0 => backend.fail(Hook::Check, 1),
                1 => backend.fail(Hook::Checkin, 1),
                _ => backend.fail(Hook::HasBroken, 1),
            },
            _ => match rng.below(3) {
                0 => pool.clear(),
                1 => _ = pool.retain(|_, info| info.id % 2 == 0),
                _ => _ = pool.sweep(),
            },
        }
    }
    backend.heal();
    drop(held);
    close_clean(&pool, &backend);

    let stats = pool.stats();
    let told = ["timeouts", "create_errors", "panics"].map(|name| recorder.counter("life", name));
    let counted = [stats.timeouts, stats.create_errors, stats.panics];
    assert_eq!(told, counted, "seed {seed}: {stats}");
    for &reason in EvictReason::ALL {
        let told = recorder.evicted("life", reason);
        assert_eq!(
            told,
            stats.evicted(reason),
            "seed {seed}, {reason}: {stats}"
        );
    }
    let samples = |name| recorder.samples("life", name).len() as u64;
    assert_eq!(samples("create_time"), stats.created, "seed {seed}");
    assert_eq!(
        [samples("wait_time"), samples("use_time")],
        [got; 2],
        "seed {seed}"
    );
}
