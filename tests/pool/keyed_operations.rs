//! The operations on a running keyed pool: each holds for all keys, also for those that are used for the first time
//! later.

use crate::common;
use crate::keyed;

use common::{Log, SOON, Task, assert_at, eventually, ms, secs, spawn, stays, timed};
use conpool::{
    EvictReason, HealthCheck, Hook, ManualClock, MemoryError, OnSuspend, PoolConfig,
    PooledConnection, ReadyError,
};
use keyed::{
    Backends, Keyed, await_waiters, close_all, quick_keyed, sorted_keys, take_each, wait_as,
};
use std::{error::Error, time::Duration};

/// A thread that hangs in a command on a connection of this key.
fn stuck(pool: &Keyed, backends: &Backends, key: u32) -> Task<Result<String, MemoryError>> {
    let backend = backends.of(key);
    backend.hang(Hook::Execute);
    let before = backend.running(Hook::Execute);
    let task = spawn({
        let pool = pool.clone();
        move || {
            let mut guard = pool.get_timeout(&key, SOON).unwrap();
            guard.execute("PING")
        }
    });
    eventually(|| backend.running(Hook::Execute) == before + 1);
    task
}

fn release(backends: &Backends, keys: &[u32]) {
    keys.iter().for_each(|key| backends.of(*key).release());
}

fn interrupted(pool: &Keyed) -> u64 {
    pool.stats().evicted(EvictReason::Interrupted)
}

// ---- interrupts --------------------------------------------------------------------------------

#[test]
fn an_interrupt_finds_the_connection_whatever_its_key() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kint"));
    let tasks = [1, 2, 3].map(|key| stuck(&pool, &backends, key));
    let second = pool.holders()[1].connection_id;
    assert!(pool.interrupt(second));
    assert!(!pool.interrupt(second), "a second time");
    assert!(!pool.interrupt(second + 100), "no such connection");
    let [one, two, three] = tasks;
    assert!(two.join_soon().is_err());
    stays(|| !one.is_finished() && !three.is_finished());
    release(&backends, &[1, 2, 3]);
    assert!(one.join_soon().is_ok() && three.join_soon().is_ok());
    assert_eq!(interrupted(&pool), 1);
    close_all(&pool, &backends);
}

#[test]
fn clear_interrupting_ends_what_is_older_over_all_keys_or_of_one() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kover"));
    let tasks = [1, 1, 2, 3].map(|key| stuck(&pool, &backends, key));
    assert_eq!(pool.clear_key_interrupting(&1), 2);
    assert_eq!(pool.clear_key_interrupting(&99), 0);
    let [first, second, two, three] = tasks;
    assert!(first.join_soon().is_err() && second.join_soon().is_err());
    stays(|| !two.is_finished() && !three.is_finished());
    // Those of key 1 are younger than its clear, and older than the next one.
    let younger = stuck(&pool, &backends, 1);
    assert_eq!(pool.clear_interrupting(), 3);
    for task in [two, three, younger] {
        assert!(task.join_soon().is_err());
    }
    eventually(|| interrupted(&pool) == 5);
    assert_eq!(backends.made(99), 0);
    release(&backends, &[1, 2, 3]);
    close_all(&pool, &backends);
}

#[test]
fn close_interrupting_ends_what_hangs_in_any_key() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kend"));
    let tasks = [1, 2].map(|key| stuck(&pool, &backends, key));
    let polite = pool.get(&3).unwrap();
    let closing = spawn({
        let pool = pool.clone();
        move || pool.close_interrupting(ms(50), secs(60))
    });
    for task in tasks {
        assert!(task.join_soon().is_err());
    }
    drop(polite);
    closing.join_soon().unwrap();
    release(&backends, &[1, 2]);
    close_all(&pool, &backends);
}

#[test]
fn close_interrupting_interrupts_nobody_who_comes_back_in_time() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kgrace"));
    let held = take_each(&pool, &[1, 2]);
    let closing = spawn({
        let pool = pool.clone();
        move || pool.close_interrupting(secs(60), secs(60))
    });
    eventually(|| pool.is_closed());
    drop(held);
    closing.join_soon().unwrap();
    assert_eq!(interrupted(&pool), 0);
    close_all(&pool, &backends);
}

// ---- waiters -----------------------------------------------------------------------------------

#[test]
fn clear_waiters_ends_the_waits_of_all_keys_and_of_nobody_later() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kwaits").max_per_key(1));
    assert_eq!(pool.clear_waiters(), 0);
    let held = take_each(&pool, &[1, 2]);
    let waiters = [(1, 1), (2, 1), (3, 2)].map(|(nth, key)| wait_as(&pool, nth, key, secs(60)));
    assert_eq!(pool.clear_waiters_with("the primary moves"), 3);
    for waiter in waiters {
        let error = waiter.join_soon().unwrap_err();
        assert!(error.is_cleared(), "{error}");
        assert_eq!(error.source().unwrap().to_string(), "the primary moves");
    }
    let later = wait_as(&pool, 1, 2, secs(60));
    drop(held);
    drop(later.join_soon().unwrap());
    close_all(&pool, &backends);
}

// ---- suspend and resume ------------------------------------------------------------------------

#[test]
fn a_suspend_holds_for_keys_that_come_later_and_the_resume_serves_all() {
    let (backends, log) = (Backends::new(), Log::default());
    let pool = backends.build(quick_keyed("kpause").min_idle(1).observer(log.clone()));
    drop(pool.get(&1).unwrap());
    eventually(|| pool.stats().idle == 1);
    pool.suspend();
    pool.suspend();
    assert!(pool.try_get(&1).is_none());
    assert!(pool.get_timeout(&1, ms(5)).unwrap_err().is_timeout());
    let old = wait_as(&pool, 1, 1, SOON);
    let new = wait_as(&pool, 2, 2, SOON);
    pool.sweep();
    stays(|| !old.is_finished() && !new.is_finished() && backends.of(2).calls(Hook::Create) == 0);
    pool.resume();
    pool.resume();
    drop((old.join_soon().unwrap(), new.join_soon().unwrap()));
    // A key that comes after the resume is as any other.
    drop(pool.get_timeout(&3, SOON).unwrap());
    assert_eq!((log.count("Suspended"), log.count("Resumed")), (1, 1));
    close_all(&pool, &backends);
    pool.suspend();
    assert_eq!(log.count("Suspended"), 1, "it is closed");
}

#[test]
fn with_fail_a_get_of_any_key_fails_at_once_while_the_pool_is_suspended() {
    let backends = Backends::new();
    let pool = backends.build(
        quick_keyed("kfail")
            .max_per_key(1)
            .on_suspend(OnSuspend::Fail),
    );
    let held = take_each(&pool, &[1]);
    let waiter = wait_as(&pool, 1, 1, secs(60));
    pool.suspend();
    assert!(waiter.join_soon().unwrap_err().is_suspended());
    for key in [1, 2] {
        let error = pool.get_timeout(&key, secs(60)).unwrap_err();
        assert!(error.is_suspended(), "{error}");
    }
    drop(held);
    pool.resume();
    drop(take_each(&pool, &[1, 2]));
    close_all(&pool, &backends);
}

#[test]
fn a_keyed_pool_that_is_built_suspended_opens_nothing_before_the_resume() {
    for background in [true, false] {
        let backends = Backends::new();
        let builder = quick_keyed("kdormant").background_collector(background);
        let pool = backends.build(builder.min_idle(1).suspended(true));
        assert!(pool.get_timeout(&1, ms(5)).unwrap_err().is_timeout());
        pool.sweep();
        stays(|| pool.stats().created == 0);
        pool.resume();
        drop(pool.get_timeout(&1, SOON).unwrap());
        close_all(&pool, &backends);
    }
}

/// Whatever the order, no key stays suspended after the last resume, and none keeps other settings than the last.
#[test]
fn keys_that_come_while_the_pool_changes_have_the_last_state() {
    let backends = Backends::new();
    let builder = quick_keyed("kchange").health_check(HealthCheck::Never);
    let pool = backends.build(builder.max_total(1000));
    let users: Vec<_> = (0..2)
        .map(|user| {
            let pool = pool.clone();
            spawn(move || {
                for key in 0..40 {
                    drop(pool.get_timeout(&(user * 40 + key), SOON).unwrap());
                }
            })
        })
        .collect();
    let operators: Vec<_> = (0..2)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || {
                for round in 0..30 {
                    pool.suspend();
                    pool.set_max_per_key(5 + round % 7).unwrap();
                    pool.resume();
                }
            })
        })
        .collect();
    operators.into_iter().for_each(Task::join_soon);
    users.into_iter().for_each(Task::join_soon);
    let last = pool.config().max_size;
    for key in 0..80 {
        assert!(pool.try_get(&key).is_some(), "key {key}");
        assert_eq!(pool.stats_for(&key).unwrap().max_size, last, "key {key}");
    }
    close_all(&pool, &backends);
}

// ---- readiness ---------------------------------------------------------------------------------

#[test]
fn wait_ready_opens_what_is_missing_of_a_key() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kready").max_per_key(3));
    pool.wait_ready(&1, 2, SOON).unwrap();
    assert_eq!(pool.stats().idle, 2);
    let held = take_each(&pool, &[1, 1]);
    pool.wait_ready(&1, 3, SOON).unwrap();
    assert_eq!((sorted_keys(&pool), pool.stats().size), (vec![1], 3));
    let error = pool.wait_ready(&2, 4, secs(60)).unwrap_err();
    assert!(matches!(error, ReadyError::Config(_)));
    assert_eq!(error.to_string(), "n = 4: must be at most max_size (3)");
    let error = pool.wait_ready(&5, 1, Duration::ZERO).unwrap_err();
    assert!(error.is_timeout() && backends.made(5) == 0);
    drop(held);
    close_all(&pool, &backends);
    assert!(pool.wait_ready(&1, 1, secs(60)).unwrap_err().is_closed());
}

#[test]
fn wait_ready_tells_why_a_key_is_not_ready() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kdenied"));
    backends.of(1).fail(Hook::Create, 1);
    let error = pool.wait_ready(&1, 1, secs(60)).unwrap_err();
    assert_eq!(error.to_string(), "pool \"kdenied\": create failed");
    backends.of(2).fail_transient(Hook::Create, u64::MAX);
    let (result, took) = timed(|| pool.wait_ready(&2, 1, ms(100)));
    assert_at(took, ms(100));
    let error = result.unwrap_err();
    assert!(error.is_timeout() && error.last_create_error().is_some());
    // The other key is ready meanwhile.
    pool.wait_ready(&1, 1, SOON).unwrap();
    backends.heal();
    close_all(&pool, &backends);
}

/// As min_idle, it evicts nothing of another key and takes no slot that a caller waits for.
#[test]
fn wait_ready_waits_for_a_free_slot_while_the_total_is_reached() {
    for background in [true, false] {
        let backends = Backends::new();
        let builder = quick_keyed("kfull").background_collector(background);
        let pool = backends.build(builder.max_total(2));
        drop(pool.get(&1).unwrap());
        let held = pool.get(&2).unwrap();
        let waiters = [3, 4].map(|key| {
            let pool = pool.clone();
            spawn(move || pool.wait_ready(&key, 1, secs(60)))
        });
        eventually(|| sorted_keys(&pool) == [1, 2, 3, 4]);
        stays(|| waiters.iter().all(|waiter| !waiter.is_finished()) && pool.stats().created == 2);
        assert_eq!(pool.stats().evicted(EvictReason::MadeRoom), 0);
        PooledConnection::discard(held);
        pool.clear_key(&1);
        for waiter in waiters {
            waiter.join_soon().unwrap();
        }
        assert_eq!(pool.stats().evicted(EvictReason::MadeRoom), 0);
        close_all(&pool, &backends);
    }
}

#[test]
fn wait_ready_goes_on_if_the_pool_of_its_key_is_removed() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kgone"));
    pool.suspend();
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.wait_ready(&1, 1, secs(60))
    });
    eventually(|| sorted_keys(&pool) == [1]);
    pool.sweep();
    // The wait looks the key up again.
    eventually(|| backends.made(1) == 2);
    stays(|| !waiter.is_finished());
    pool.resume();
    waiter.join_soon().unwrap();
    close_all(&pool, &backends);
}

#[test]
fn a_close_ends_a_wait_for_readiness() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kcloses").suspended(true));
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.wait_ready(&1, 1, secs(60))
    });
    eventually(|| sorted_keys(&pool) == [1]);
    stays(|| !waiter.is_finished());
    pool.close();
    assert!(waiter.join_soon().unwrap_err().is_closed());
    close_all(&pool, &backends);
}

// ---- settings ----------------------------------------------------------------------------------

#[test]
fn a_changed_setting_holds_for_keys_present_and_future() {
    let (backends, clock) = (Backends::new(), ManualClock::new());
    let pool = backends.build(quick_keyed("kset").clock(clock.clone()).max_per_key(1));
    drop(pool.get(&1).unwrap());
    pool.set_get_timeout(ms(30)).unwrap();
    pool.set_max_waiters(1).unwrap();
    for key in [1, 2] {
        let held = pool.get_timeout(&key, SOON).unwrap();
        let (result, took) = timed(|| pool.get(&key));
        assert!(result.unwrap_err().is_timeout());
        assert_at(took, ms(30));
        let waiter = wait_as(&pool, 1, key, SOON);
        assert!(pool.get_timeout(&key, SOON).unwrap_err().is_saturated());
        drop(held);
        drop(waiter.join_soon().unwrap());
    }
    pool.set_max_per_key(3).unwrap();
    pool.set_max_idle(1).unwrap();
    for key in [1, 2, 3] {
        drop(take_each(&pool, &[key, key, key]));
        eventually(|| pool.stats_for(&key).unwrap().size == 1);
    }
    assert_eq!(pool.stats().evicted(EvictReason::Surplus), 6);
    pool.set_max_lifetime(secs(60)).unwrap();
    drop(take_each(&pool, &[4]));
    clock.advance(secs(61));
    eventually(|| pool.stats().evicted(EvictReason::MaxLifetime) == 4);
    drop(take_each(&pool, &[1, 4, 5]));
    pool.set_idle_timeout(secs(10)).unwrap();
    drop(take_each(&pool, &[6]));
    clock.advance(secs(11));
    // An unused key without connections is removed.
    eventually(|| pool.keys().is_empty());
    assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 4);
    close_all(&pool, &backends);
}

#[test]
fn the_new_get_timeout_holds_for_a_caller_that_waits_for_the_factory() {
    let gate = common::Gate::default();
    let pool = conpool::KeyedPool::<u8, conpool::MemoryManager>::builder()
        .build({
            let gate = gate.clone();
            move |_| {
                gate.pass();
                conpool::MemoryManager::new()
            }
        })
        .unwrap();
    pool.set_get_timeout(ms(30)).unwrap();
    let first = spawn({
        let pool = pool.clone();
        move || pool.get(&1).map(drop)
    });
    eventually(|| gate.arrivals() == 1);
    let (result, took) = timed(|| pool.get(&1));
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(30));
    gate.open();
    // Its time has passed in the factory, or not.
    let _outcome = first.join_soon();
}

#[test]
fn a_changed_min_idle_holds_for_each_key_that_is_used() {
    let (backends, clock) = (Backends::new(), ManualClock::new());
    let builder = quick_keyed("kspare")
        .clock(clock.clone())
        .dispose_timeout(secs(600));
    let pool = backends.build(builder.idle_timeout(secs(60)).min_idle(1));
    let spare = |key: u32| {
        let stats = pool.stats_for(&key).unwrap();
        (stats.min_idle, stats.idle)
    };
    let held = pool.get(&1).unwrap();
    drop(pool.get(&2).unwrap());
    eventually(|| spare(1) == (1, 1) && spare(2) == (1, 1));
    // The min_idle of key 2 lapses. The disposes keep its pool.
    backends.of(2).hang(Hook::Dispose);
    clock.advance(secs(61));
    eventually(|| spare(2) == (0, 0));
    pool.set_min_idle(2).unwrap();
    eventually(|| spare(1) == (2, 2));
    stays(|| spare(2) == (0, 0));
    // Its next use restores it, and so does an idle_timeout of None.
    let second = pool.get(&2).unwrap();
    eventually(|| spare(2) == (2, 2));
    drop(second);
    clock.advance(secs(61));
    eventually(|| spare(2) == (0, 0));
    pool.set_idle_timeout(None).unwrap();
    eventually(|| spare(2) == (2, 2));
    drop(pool.get(&3).unwrap());
    eventually(|| spare(3).1 >= 2);
    drop(held);
    backends.of(2).release();
    close_all(&pool, &backends);
}

#[test]
fn reconfigure_changes_all_keys_or_nothing_and_is_told_once() {
    let (backends, log) = (Backends::new(), Log::default());
    let pool = backends.build(quick_keyed("kall").max_total(20).observer(log.clone()));
    drop(take_each(&pool, &[1, 2]));
    let before = pool.config();
    let refused = |spoil: fn(&mut PoolConfig)| {
        let mut config = before.clone();
        config.max_size = 7;
        spoil(&mut config);
        let error = pool.reconfigure(&config).unwrap_err();
        assert_eq!(pool.config(), before);
        assert_eq!(pool.stats_for(&1).unwrap().max_size, before.max_size);
        error.to_string()
    };
    assert_eq!(
        refused(|config| config.max_total = Some(30)),
        "max_total: cannot change while the pool runs"
    );
    assert_eq!(
        refused(|config| config.min_idle = 8),
        "min_idle = 8: must be at most max_size (7)"
    );
    assert_eq!(
        refused(|config| config.max_size = 21),
        "max_size = 21: must be at most max_total (20)"
    );
    assert_eq!(
        pool.set_max_per_key(21).unwrap_err().to_string(),
        "max_per_key = 21: must be at most max_total (20)"
    );
    assert_eq!(
        pool.set_max_per_key(0).unwrap_err().to_string(),
        "max_per_key = 0: must be at least 1"
    );
    assert!(pool.set_keepalive_interval(Duration::ZERO).is_err());
    assert_eq!((pool.config(), log.count("Resized")), (before.clone(), 0));
    let mut config = before;
    config.max_size = 2;
    config.keepalive_interval = Some(secs(9));
    pool.reconfigure(&config).unwrap();
    assert_eq!((pool.config(), log.count("Resized")), (config, 1));
    for key in [1, 2, 3] {
        let held = take_each(&pool, &[key, key]);
        assert!(pool.get_timeout(&key, ms(5)).unwrap_err().is_timeout());
        drop(held);
    }
    close_all(&pool, &backends);
}

/// A change of one key's size must not disturb the total, in either direction.
#[test]
fn max_per_key_grows_and_shrinks_within_the_total() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kgrow").max_total(3).max_per_key(1));
    let held = take_each(&pool, &[1, 2]);
    let waiters = [wait_as(&pool, 1, 1, SOON), wait_as(&pool, 2, 2, SOON)];
    pool.set_max_per_key(3).unwrap();
    // One slot is free, for the caller that has waited longest.
    let [one, two] = waiters;
    let one = one.join_soon().unwrap();
    stays(|| !two.is_finished());
    drop(one);
    drop(two.join_soon().unwrap());
    drop(held);
    pool.set_max_per_key(1).unwrap();
    await_waiters(&pool, 0);
    eventually(|| {
        let stats = pool.stats();
        stats.size + stats.disposing <= 2
    });
    assert!(backends.peak() <= 3, "{}", backends.peak());
    close_all(&pool, &backends);
}
