//! Promise 2: first come first served; overtaking is bounded; a hand-off is never lost.

use crate::common;

use common::{Log, SOON, assert_at, eventually, ms, noise, queued, quick, spawn, take, timed};
use conpool::{Fairness, MemoryManager};
use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

#[test]
fn with_strict_fairness_waiters_are_served_in_the_order_they_came() {
    let pool = quick("fifo")
        .max_size(1)
        .fairness(Fairness::Strict)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let log = Log::default();
    let waiters: Vec<_> = (0..12)
        .map(|n| {
            let task = spawn({
                let (pool, log) = (pool.clone(), log.clone());
                move || {
                    let _guard = pool.get_timeout(SOON).unwrap();
                    log.push(format!("{n}"));
                }
            });
            queued(&pool, n + 1);
            task
        })
        .collect();
    drop(held);
    waiters.into_iter().for_each(|waiter| waiter.join_soon());
    let expected: Vec<_> = (0..12).map(|n| n.to_string()).collect();
    assert_eq!(log.lines(), expected);
}

#[test]
fn with_strict_fairness_the_one_that_checks_in_cannot_take_it_again_before_a_waiter() {
    let pool = quick("noturn")
        .max_size(1)
        .fairness(Fairness::Strict)
        .build(MemoryManager::new())
        .unwrap();
    for _ in 0..50 {
        let held = pool.get().unwrap();
        let served = Arc::new(AtomicBool::new(false));
        let waiter = spawn({
            let (pool, served) = (pool.clone(), Arc::clone(&served));
            move || {
                let _guard = pool.get_timeout(SOON).unwrap();
                served.store(true, SeqCst);
            }
        });
        queued(&pool, 1);
        drop(held);
        let _again = pool.get_timeout(SOON).unwrap();
        assert!(served.load(SeqCst), "the waiter was overtaken");
        waiter.join_soon();
    }
}

#[test]
fn a_waiter_is_not_starved_by_a_thread_that_never_pauses() {
    let pool = quick("hog")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let busy_threads = [(); 2].map(|()| {
        let (pool, stop) = (pool.clone(), Arc::clone(&stop));
        spawn(move || {
            while !stop.load(SeqCst) {
                drop(pool.get_timeout(SOON).unwrap());
            }
        })
    });
    for _ in 0..5 {
        let (result, took) = timed(|| pool.get_timeout(SOON).map(drop));
        result.unwrap();
        assert!(took <= noise(), "starved for {took:?}");
    }
    stop.store(true, SeqCst);
    busy_threads.into_iter().for_each(|hog| hog.join_soon());
}

#[test]
fn a_waiter_that_gave_up_does_not_swallow_the_connection_of_the_next() {
    let pool = quick("gaveup")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let first = spawn({
        let pool = pool.clone();
        move || timed(|| pool.get_timeout(ms(30)).map(drop))
    });
    queued(&pool, 1);
    let second = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(drop)
    });
    let (result, took) = first.join_soon();
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(30));
    queued(&pool, 1);
    drop(held);
    second.join_soon().unwrap();
}

#[test]
fn a_hand_off_that_races_a_timeout_is_never_lost() {
    for fairness in [Fairness::Strict, Fairness::Eventual(ms(0))] {
        let pool = quick("race")
            .max_size(1)
            .fairness(fairness)
            .build(MemoryManager::new())
            .unwrap();
        for round in 0..150_u32 {
            let held = pool.get_timeout(SOON).expect("the connection was lost");
            let start = Arc::new(Barrier::new(2));
            let waiter = spawn({
                let (pool, start) = (pool.clone(), Arc::clone(&start));
                move || {
                    start.wait();
                    pool.get_timeout(ms(1)).map(drop).is_ok()
                }
            });
            start.wait();
            // Covers the time around the waiter's deadline.
            thread::sleep(ms(1) / 100 * (60 + round % 80));
            drop(held);
            waiter.join_soon();
        }
        let stats = pool.stats();
        assert_eq!(
            (stats.waiters, stats.size, stats.created),
            (0, 1, 1),
            "{stats}"
        );
    }
}

#[test]
fn five_hundred_threads_on_three_connections_are_all_served() {
    let pool = quick("crowd")
        .max_size(3)
        .build(MemoryManager::new())
        .unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..500)
        .map(|_| {
            let (pool, inside) = (pool.clone(), Arc::clone(&inside));
            spawn(move || {
                for _ in 0..4 {
                    let mut guard = pool.get_timeout(SOON).unwrap();
                    assert!(inside.fetch_add(1, SeqCst) < 3);
                    assert_eq!(guard.execute("PING").unwrap(), "PONG");
                    inside.fetch_sub(1, SeqCst);
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join_soon());
    let stats = pool.stats();
    assert_eq!(
        (stats.waiters, stats.in_use, stats.timeouts),
        (0, 0, 0),
        "{stats}"
    );
    assert_eq!(stats.gets, 2000);
    assert!(stats.size <= 3);
}

#[test]
fn several_check_ins_at_once_serve_as_many_waiters() {
    let pool = quick("several")
        .max_size(4)
        .build(MemoryManager::new())
        .unwrap();
    let held = take(&pool, 4);
    let all = Arc::new(Barrier::new(4));
    let waiters = [(); 4].map(|()| {
        let (pool, all) = (pool.clone(), Arc::clone(&all));
        spawn(move || {
            let _guard = pool.get_timeout(SOON).unwrap();
            // Passes only when all four hold one at the same time.
            all.wait();
        })
    });
    queued(&pool, 4);
    drop(held);
    waiters.into_iter().for_each(|waiter| waiter.join_soon());
    eventually(|| pool.stats().idle == 4);
}
