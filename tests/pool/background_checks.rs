//! Background checks, by `keepalive_interval` and by `check_health`: a few at a time, without delaying
//! callers. And surplus idle connections, which time out.

use crate::common;

use common::{SOON, close_clean, eventually, fill, ms, noise, quick, secs, spawn, stays, take};
use conpool::{HealthCheck, Hook, ManualClock, MemoryManager, Pool, PoolBuilder};
use std::sync::{Arc, Barrier};
use std::time::Instant;

fn unchecked(name: &str, clock: &ManualClock) -> PoolBuilder<MemoryManager> {
    let builder = quick(name).clock(clock.clone()).idle_timeout(None);
    builder.max_lifetime(None).health_check(HealthCheck::Never)
}

#[test]
fn keepalive_checks_a_few_at_a_time_and_in_the_end_all() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = unchecked("few", &clock)
        .max_size(60)
        .keepalive_interval(secs(60))
        .build(backend.clone())
        .unwrap();
    fill(&pool, 60);
    backend.delay(Hook::Check, ms(2));
    clock.advance(secs(60));
    let mut most = 0;
    eventually(|| {
        most = most.max(backend.running(Hook::Check));
        backend.counters().checked == 60
    });
    assert!(most <= 4, "{most} at once");
    stays(|| backend.counters().checked == 60);
    close_clean(&pool, &backend);
}

#[test]
fn keepalive_of_many_is_spread_over_the_last_tenth_of_the_interval() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = unchecked("spread", &clock)
        .max_size(100)
        .keepalive_interval(secs(1000))
        .build(backend.clone())
        .unwrap();
    fill(&pool, 100);
    clock.advance(secs(899));
    stays(|| backend.counters().checked == 0);
    let mut before = 0;
    for _ in 0..5 {
        clock.advance(secs(20));
        pool.sweep();
        let mut checked = 0;
        eventually(|| {
            let seen = backend.counters().checked;
            let still = seen == checked && backend.running(Hook::Check) == 0;
            checked = seen;
            std::thread::sleep(ms(20));
            still
        });
        assert!(
            checked - before < 50,
            "{} of 100 in a fiftieth",
            checked - before
        );
        before = checked;
    }
    clock.advance(secs(2));
    eventually(|| backend.counters().checked == 100);
    close_clean(&pool, &backend);
}

#[test]
fn a_caller_finds_a_connection_while_keepalive_checks_hang() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = unchecked("left", &clock)
        .max_size(4)
        .min_idle(4)
        .keepalive_interval(secs(60))
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    clock.advance(secs(61));
    eventually(|| backend.running(Hook::Check) == 3);
    stays(|| backend.running(Hook::Check) == 3);
    drop(pool.get_timeout(ms(0)).expect("one stays idle"));
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn a_caller_waits_for_a_background_check_and_opens_nothing() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = unchecked("one", &clock)
        .max_size(5)
        .keepalive_interval(secs(60))
        .build(backend.clone())
        .unwrap();
    backend.delay(Hook::Check, ms(30));
    clock.advance(secs(61));
    eventually(|| backend.running(Hook::Check) == 1);
    drop(pool.get_timeout(SOON).unwrap());
    assert_eq!(backend.counters().created, 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_caller_does_not_wait_long_for_a_background_check_that_hangs() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = unchecked("hang", &clock)
        .max_size(5)
        .keepalive_interval(secs(60))
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    clock.advance(secs(61));
    eventually(|| backend.running(Hook::Check) == 1);
    let start = Instant::now();
    drop(pool.get_timeout(SOON).unwrap());
    // A tenth of a second from the beginning of the check.
    assert!(start.elapsed() < ms(100) + noise());
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn check_health_leaves_a_connection_for_a_caller_and_checks_every_one() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = unchecked("probe", &clock)
        .max_size(20)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 20);
    backend.hang(Hook::Check);
    let probe = spawn({
        let pool = pool.clone();
        move || pool.check_health()
    });
    eventually(|| backend.running(Hook::Check) == 4);
    stays(|| backend.running(Hook::Check) == 4);
    drop(pool.get_timeout(ms(0)).expect("others stay idle"));
    backend.release();
    let health = probe.join_soon();
    assert!(health.is_healthy(), "{health:?}");
    assert_eq!(backend.counters().checked, 20);
    close_clean(&pool, &backend);
}

#[test]
fn threads_that_take_turns_keep_one_connection() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("turns")
        .clock(clock.clone())
        .max_size(10)
        .idle_timeout(secs(600))
        .max_lifetime(None)
        .health_check(HealthCheck::Never)
        .build(backend.clone())
        .unwrap();
    let (start, turn) = (Arc::new(Barrier::new(10)), Arc::new(Barrier::new(11)));
    let users: Vec<_> = (0..10)
        .map(|which| {
            let (pool, start, turn): (Pool<_>, _, _) = (pool.clone(), start.clone(), turn.clone());
            spawn(move || {
                let guard = pool.get_timeout(SOON).unwrap();
                start.wait();
                drop(guard);
                for step in 0..300 {
                    turn.wait();
                    if step % 10 == which {
                        drop(pool.get_timeout(SOON).unwrap());
                    }
                    turn.wait();
                }
            })
        })
        .collect();
    for step in 0..300 {
        turn.wait();
        turn.wait();
        if step % 10 == 9 {
            clock.advance(secs(60));
            pool.sweep();
        }
    }
    users.into_iter().for_each(|user| user.join_soon());
    clock.advance(secs(1));
    pool.sweep();
    let size = pool.stats().size;
    assert!(size <= 2, "{size} open for one user at a time");
    close_clean(&pool, &backend);
}

#[test]
fn connections_that_are_in_use_at_once_now_and_then_stay_open() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("bursts")
        .clock(clock.clone())
        .max_size(10)
        .idle_timeout(secs(600))
        .max_lifetime(None)
        .health_check(HealthCheck::Never)
        .build(backend.clone())
        .unwrap();
    for _ in 0..10 {
        // A burst, then a single user.
        drop(take(&pool, 6));
        for _ in 0..8 {
            clock.advance(secs(60));
            pool.sweep();
            drop(pool.get_timeout(SOON).unwrap());
        }
    }
    assert_eq!((pool.stats().size, backend.counters().created), (6, 6));
    close_clean(&pool, &backend);
}
