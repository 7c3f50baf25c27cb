//! A forgotten guard (`mem::forget`): it is counted and reported, and costs its own slot.

use crate::common;

use common::{Log, SOON, assert_at, close_clean, eventually, fill, ms, quick, secs, take};
use common::{threads, timed};
use conpool::{EvictReason, Hook, ManualClock, MemoryManager, Pool};
use std::mem;

/// A pool with a stopped clock, and its observer's log.
fn watched(name: &str, backend: &MemoryManager) -> (Pool<MemoryManager>, ManualClock, Log) {
    let (clock, log) = (ManualClock::new(), Log::default());
    let pool = quick(name)
        .max_size(3)
        .clock(clock.clone())
        .observer(log.clone())
        .leak_threshold(secs(60))
        .build(backend.clone())
        .unwrap();
    (pool, clock, log)
}

/// Forgets one connection on a thread of this name, and returns the source line of its checkout.
fn forget_one(pool: &Pool<MemoryManager>, thread: &str) -> u32 {
    let pool = pool.clone();
    let user = std::thread::Builder::new().name(thread.into());
    let forgetting = user.spawn(move || {
        let line = line!() + 1;
        mem::forget(pool.get_timeout(SOON).unwrap());
        line
    });
    forgetting.unwrap().join().unwrap()
}

#[test]
fn a_forgotten_guard_is_counted_and_found_long_after_its_thread_has_ended() {
    let backend = MemoryManager::new();
    let (pool, clock, log) = watched("lost", &backend);
    let line = forget_one(&pool, "absent-minded");
    clock.advance(secs(3600));
    pool.sweep();
    drop(take(&pool, 2));

    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.size), (1, 3), "{stats}");
    let holders = pool.holders();
    let [holder] = holders.as_slice() else {
        panic!("one holder, not {holders:?}");
    };
    assert!(holder.file.ends_with("resources_forgotten.rs"), "{holder}");
    assert_eq!(holder.line, line, "{holder}");
    assert_eq!(holder.thread, "absent-minded", "{holder}");
    assert_eq!(holder.held, secs(3600), "{holder}");
    eventually(|| log.count("LeakSuspected") == 1);
    let event = log.find("LeakSuspected").unwrap();
    assert!(event.contains("absent-minded"), "{event}");

    let (result, took) = timed(|| pool.close_timeout(ms(30)));
    assert_at(took, ms(30));
    let left = result.unwrap_err();
    assert_eq!((left.in_use, left.hooks_running), (1, 0), "{left}");
    assert_eq!(left.holders, holders);
    let text = left.to_string();
    let place = format!("resources_forgotten.rs:{line} on \"absent-minded\" for ");
    assert!(text.contains(&place), "{text}");
    assert!(backend.wait_for(|seen| seen.open == 1, SOON));
    assert_eq!(log.count("LeakResolved"), 0);
}

#[test]
fn without_a_threshold_it_is_counted_and_named_all_the_same() {
    let backend = MemoryManager::new();
    let pool = quick("unnamed").max_size(2).build(backend).unwrap();
    forget_one(&pool, "absent-minded");
    let left = pool.close_timeout(ms(20)).unwrap_err();
    assert_eq!((left.in_use, left.holders.len()), (1, 1), "{left}");
}

#[test]
fn when_all_are_forgotten_a_get_says_so_at_its_deadline_and_a_larger_pool_serves_on() {
    let backend = MemoryManager::new();
    let (pool, _, _) = watched("allgone", &backend);
    take(&pool, 3).into_iter().for_each(mem::forget);
    let (result, took) = timed(|| pool.get_timeout(ms(40)));
    assert_at(took, ms(40));
    let text = result.unwrap_err().to_string();
    assert!(text.contains("3 in use"), "{text}");
    assert!(text.contains("this thread already holds 3"), "{text}");
    assert_eq!(pool.holders().len(), 3);

    let waiter = common::waiter(&pool);
    pool.set_max_size(5).unwrap();
    waiter.join_soon().unwrap();
    fill(&pool, 2);
    assert_eq!(pool.stats().in_use, 3);
    assert_eq!(backend.counters().peak_open, 5);
}

#[test]
fn nothing_that_a_pool_does_waits_for_a_forgotten_guard() {
    let backend = MemoryManager::new();
    let (pool, clock, _) = watched("waitless", &backend);
    forget_one(&pool, "absent-minded");
    fill(&pool, 2);
    pool.clear();
    eventually(|| pool.stats().evicted(EvictReason::Cleared) == 2);
    clock.advance(secs(7200));
    pool.sweep();
    assert!(pool.check_health().is_healthy());
    pool.retain(|_, _| false);
    pool.set_max_size(1).unwrap();
    assert!(pool.try_get().is_none());
    pool.set_max_size(2).unwrap();
    drop(pool.get_timeout(SOON).unwrap());
    eventually(|| threads("waitless-") == 1);
    assert_eq!(pool.holders().len(), 1);

    drop(pool);
    eventually(|| threads("waitless-") == 0 && backend.running(Hook::Dispose) == 0);
    assert!(backend.wait_for(|seen| seen.open == 1, SOON));
    let seen = backend.counters();
    assert_eq!(seen.disposed, seen.created - 1, "{seen:?}");
}

#[test]
fn a_guard_that_is_remembered_in_the_end_is_a_check_in_like_any_other() {
    let backend = MemoryManager::new();
    let (pool, clock, log) = watched("found", &backend);
    let shelf = mem::ManuallyDrop::new(pool.get_timeout(SOON).unwrap());
    clock.advance(secs(61));
    eventually(|| log.count("LeakSuspected") == 1);
    assert_eq!(pool.holders().len(), 1);
    drop(mem::ManuallyDrop::into_inner(shelf));
    eventually(|| log.count("LeakResolved") == 1);
    assert!(pool.holders().is_empty());
    assert_eq!(pool.stats().in_use, 0);
    close_clean(&pool, &backend);
}
