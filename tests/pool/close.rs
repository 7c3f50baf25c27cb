//! Closing: waiters get an error, guards stay usable, and everything is released.

use crate::common;

use common::{
    SOON, all_disposed, assert_at, close_clean, eventually, fill, ms, noise, queued, quick, spawn,
    take, threads, timed,
};
use conpool::{EvictReason, GetError, Hook, MemoryManager};
use std::time::Duration;

#[test]
fn a_closed_pool_gives_nothing_and_says_so() {
    let pool = quick("shut").build(MemoryManager::new()).unwrap();
    assert!(!pool.is_closed());
    pool.close();
    pool.close();
    assert!(pool.is_closed() && pool.clone().is_closed());
    let error = pool.get().unwrap_err();
    assert!(error.is_closed());
    assert!(matches!(error, GetError::Closed { .. }));
    assert!(error.to_string().contains("shut"), "{error}");
    assert!(pool.try_get().is_none());
    assert!(pool.get_timeout(Duration::ZERO).unwrap_err().is_closed());
}

#[test]
fn a_thread_that_has_used_the_pool_before_finds_it_closed_too() {
    let backend = MemoryManager::new();
    let pool = quick("hintshut").build(backend.clone()).unwrap();
    for _ in 0..100 {
        drop(pool.get().unwrap());
    }
    pool.close();
    assert!(pool.get().unwrap_err().is_closed());
    close_clean(&pool, &backend);
}

#[test]
fn close_wakes_every_waiter_at_once() {
    let pool = quick("wakeall")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get().map(drop))
        })
        .collect();
    queued(&pool, 20);
    let ((), took) = timed(|| pool.close());
    assert!(took <= noise(), "{took:?}");
    for waiter in waiters {
        assert!(waiter.join_soon().unwrap_err().is_closed());
    }
    drop(held);
}

#[test]
fn close_does_not_wait_and_disposes_guards_at_check_in() {
    let backend = MemoryManager::new();
    let pool = quick("guardsout")
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 3);
    let mut held = take(&pool, 2);
    let ((), took) = timed(|| pool.close());
    assert!(took <= noise(), "{took:?}");
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    for guard in &mut held {
        assert_eq!(guard.execute("PING").unwrap(), "PONG");
    }
    drop(held);
    close_clean(&pool, &backend);
    assert_eq!(pool.stats().evicted(EvictReason::Closed), 3);
}

#[test]
fn close_while_a_create_is_under_way_tells_its_caller_and_disposes_the_late_result() {
    let backend = MemoryManager::new();
    let pool = quick("closecreate").build_lazy(backend.clone()).unwrap();
    backend.hang(Hook::Create);
    let caller = spawn({
        let pool = pool.clone();
        move || pool.get().map(drop)
    });
    eventually(|| backend.running(Hook::Create) == 1);
    pool.close();
    assert!(caller.join_soon().unwrap_err().is_closed());
    let left = pool.close_timeout(ms(20)).unwrap_err();
    assert_eq!((left.in_use, left.hooks_running), (0, 1), "{left:?}");
    backend.release();
    close_clean(&pool, &backend);
    assert_eq!(backend.counters().created, 1);
}

#[test]
fn close_timeout_waits_for_check_ins_disposals_and_threads() {
    let backend = MemoryManager::new();
    let pool = quick("cwait").max_size(2).build(backend.clone()).unwrap();
    backend.delay(Hook::Dispose, ms(30));
    let held = pool.get().unwrap();
    let closer = spawn({
        let pool = pool.clone();
        move || pool.close_timeout(SOON)
    });
    eventually(|| pool.is_closed());
    assert!(!closer.is_finished());
    drop(held);
    closer.join_soon().unwrap();
    assert_eq!(
        backend.counters().disposed,
        1,
        "returned before the disposal had finished"
    );
    // The system may list ended threads for some microseconds more.
    eventually(|| threads("cwait-") == 0);
}

#[test]
fn close_timeout_is_bounded_and_names_what_is_left() {
    let backend = MemoryManager::new();
    let pool = quick("bounded").max_size(3).build(backend.clone()).unwrap();
    let held = take(&pool, 2);
    let (result, took) = timed(|| pool.close_timeout(ms(50)));
    assert_at(took, ms(50));
    let left = result.unwrap_err();
    assert_eq!(left.in_use, 2);
    assert!(left.to_string().contains('2'), "{left}");
    assert!(pool.is_closed());
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn close_timeout_zero_does_not_wait_and_the_longest_waits_as_long_as_it_takes() {
    let pool = quick("extremes").build(MemoryManager::new()).unwrap();
    let held = pool.get().unwrap();
    let (result, took) = timed(|| pool.close_timeout(Duration::ZERO));
    assert!(result.is_err() && took <= noise(), "{took:?}");
    let closer = spawn({
        let pool = pool.clone();
        move || pool.close_timeout(Duration::MAX)
    });
    drop(held);
    closer.join_soon().unwrap();
}

#[test]
fn close_with_every_hook_hanging_returns_and_counts_them() {
    let backend = MemoryManager::new();
    let pool = quick("hangclose")
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 2);
    backend.hang(Hook::Dispose);
    let (result, took) = timed(|| pool.close_timeout(ms(50)));
    assert_at(took, ms(50));
    let left = result.unwrap_err();
    assert!(left.hooks_running >= 1, "{left:?}");
    drop(pool);
    backend.release();
    all_disposed(&backend);
    eventually(|| threads("hangclose-") == 0);
}

#[test]
fn close_with_every_hook_panicking_still_disposes_everything_once() {
    let backend = MemoryManager::new();
    let pool = quick("panicclose")
        .max_size(4)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 4);
    let held = take(&pool, 2);
    for hook in [Hook::Dispose, Hook::HasBroken, Hook::Checkin, Hook::Check] {
        backend.panic(hook, u64::MAX);
    }
    pool.close();
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn many_threads_may_close_while_many_use_the_pool() {
    for _ in 0..10 {
        let backend = MemoryManager::new();
        let pool = quick("melee").max_size(3).build(backend.clone()).unwrap();
        let users: Vec<_> = (0..8)
            .map(|_| {
                let pool = pool.clone();
                spawn(move || while pool.get_timeout(SOON).map(drop).is_ok() {})
            })
            .collect();
        let closers = [(); 3].map(|()| {
            let pool = pool.clone();
            spawn(move || pool.close_timeout(SOON))
        });
        for closer in closers {
            closer.join_soon().unwrap();
        }
        users.into_iter().for_each(|user| user.join_soon());
        close_clean(&pool, &backend);
    }
}

#[test]
fn threads_of_an_idle_pool_are_gone_soon_after_the_last_handle() {
    let backend = MemoryManager::new();
    let pool = quick("lh").max_size(4).build(backend.clone()).unwrap();
    fill(&pool, 4);
    drop(pool);
    eventually(|| threads("lh-") == 0);
    all_disposed(&backend);
}
