//! Threads: the pool when the system refuses them.

#![cfg(target_os = "linux")]

use crate::common;
use crate::resources;

use common::{Custom, Log, SOON, all_disposed, assert_at, close_clean, eventually, ms, quick};
use common::{quick_backoff, take, threads, timed};
use conpool::{BuildError, HealthCheck, Hook, MemoryManager, Pool, PooledConnection};
use resources::{
    limits::{NoThreads, spawn_small},
    process::alone,
    usage::Usage,
};
use std::{io, thread};

/// A pool whose hooks record their threads. Its workers have ended.
fn recording_pool(
    name: &str,
    backend: &MemoryManager,
    log: &Log,
    health_check: HealthCheck,
) -> Pool<Custom> {
    let manager = Custom::new(backend, {
        let log = log.clone();
        move |hook, _| {
            let on = thread::current().name().unwrap_or("?").to_owned();
            log.push(format!("{hook:?} on {on}"));
        }
    });
    let others = Usage::now().threads;
    let pool = Pool::builder()
        .name(name)
        .max_size(3)
        .backoff(quick_backoff())
        .health_check(health_check)
        .build(manager)
        .unwrap();
    // Only the collector is left. Counted without names, because a thread has its name only once it runs.
    eventually(|| Usage::now().threads == others + 1);
    pool
}

#[test]
fn a_pool_that_gets_no_collector_is_not_built_and_one_without_needs_none() {
    alone(|| {
        let _ = common::noise();
        let before = Usage::now();
        let backend = MemoryManager::new();
        let refused = NoThreads::begin();
        for lazy in [false, true] {
            let builder = quick("unborn").min_idle(2);
            let result = match lazy {
                true => builder.build_lazy(backend.clone()),
                false => builder.build(backend.clone()),
            };
            let error = result.unwrap_err();
            let BuildError::Thread(cause) = &error else {
                panic!("{error:?}");
            };
            assert_eq!(cause.kind(), io::ErrorKind::WouldBlock, "{cause}");
        }
        assert_eq!(backend.counters().created, 0);

        let pool = quick("alone")
            .background_collector(false)
            .min_idle(2)
            .build(backend.clone())
            .unwrap();
        let mut held = take(&pool, 3);
        assert_eq!(held[2].execute("PING").unwrap(), "PONG");
        PooledConnection::discard(held.pop().unwrap());
        drop(held);
        pool.sweep();
        close_clean(&pool, &backend);

        drop(refused);
        let pool = quick("born").build(backend.clone()).unwrap();
        drop(take(&pool, 3));
        close_clean(&pool, &backend);
        drop(pool);
        before.is_restored("the system starts threads again");
    });
}

#[test]
fn while_threads_are_refused_the_collector_runs_the_hooks_and_then_workers_do_again() {
    alone(|| {
        let (backend, log) = (MemoryManager::new(), Log::default());
        let _ = common::noise();
        let before = Usage::now();
        let pool = recording_pool("thin", &backend, &log, HealthCheck::OnCheckout);
        let hooks = |hook: &str, role: &str| log.count(&format!("{hook} on thin-{role}"));
        let workers = || hooks("Create", "worker") + hooks("Check", "worker");
        let at_first = workers();
        assert!(at_first >= 1, "{:?}", log.lines());

        let refused = NoThreads::begin();
        // A check for the open one, creates for the others.
        let mut held = take(&pool, 3);
        assert!(hooks("Check", "collector") >= 1, "{:?}", log.lines());
        assert_eq!(hooks("Create", "collector"), 2, "{:?}", log.lines());
        PooledConnection::discard(held.pop().unwrap());
        assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
        assert_eq!(hooks("Dispose", "collector"), 1, "{:?}", log.lines());
        drop(held);
        // Background work too.
        pool.set_min_idle(3).unwrap();
        eventually(|| pool.stats().idle == 3);
        pool.clear();
        assert!(backend.wait_for(|seen| seen.disposed == 4 && seen.open == 3, SOON));
        assert_eq!(workers(), at_first, "{:?}", log.lines());
        assert_eq!(hooks("Dispose", "worker"), 0, "{:?}", log.lines());

        drop(refused);
        drop(take(&pool, 3));
        assert!(workers() > at_first, "{:?}", log.lines());
        close_clean(&pool, &backend);
        drop(pool);
        before.is_restored("the system starts threads again");
    });
}

#[test]
fn callers_keep_their_deadline_while_threads_are_refused() {
    alone(|| {
        let (backend, log) = (MemoryManager::new(), Log::default());
        let _ = common::noise();
        // With a check that comes late on a busy machine, a get would open another connection.
        let pool = recording_pool("late", &backend, &log, HealthCheck::Never);
        let refused = NoThreads::begin();

        let held = pool.get_timeout(SOON).unwrap();
        let give_up = |after| {
            let (result, took) = timed(|| pool.get_timeout(after));
            assert!(result.unwrap_err().is_timeout());
            assert_at(took, after);
        };
        backend.fail_transient(Hook::Create, u64::MAX);
        give_up(ms(50));
        backend.heal();
        backend.delay(Hook::Create, ms(80));
        give_up(ms(20));
        backend.heal();
        let second = pool.get_timeout(SOON).unwrap();

        // The collector hangs, and its work is not done; a check-in still serves the waiter.
        backend.hang(Hook::Create);
        let waiter = spawn_small({
            let pool = pool.clone();
            move || drop(pool.get_timeout(SOON).unwrap())
        });
        eventually(|| backend.running(Hook::Create) == 1);
        give_up(ms(50));
        assert!(pool.try_get().is_none());
        drop(held);
        waiter.join().unwrap();
        backend.release();
        drop(second);
        drop(take(&pool, 3));

        drop(refused);
        let held = take(&pool, 3);
        give_up(ms(20));
        drop(held);
        close_clean(&pool, &backend);
    });
}

#[test]
fn everybody_is_served_and_everything_disposed_while_threads_are_refused() {
    alone(|| {
        let (backend, log) = (MemoryManager::new(), Log::default());
        let _ = common::noise();
        let before = Usage::now();
        let (left, closed) = (
            recording_pool("left", &backend, &log, HealthCheck::OnCheckout),
            recording_pool("closed", &backend, &log, HealthCheck::OnCheckout),
        );
        let refused = NoThreads::begin();
        for pool in [&left, &closed] {
            let users: Vec<_> = (0..4)
                .map(|number| {
                    let pool = pool.clone();
                    spawn_small(move || {
                        for round in 0..25 {
                            let guard = pool.get_timeout(SOON).unwrap();
                            if (number + round) % 5 == 0 {
                                PooledConnection::discard(guard);
                            }
                        }
                    })
                })
                .collect();
            users.into_iter().for_each(|user| user.join().unwrap());
        }
        let guard = left.get_timeout(SOON).unwrap();
        drop(left);
        drop(guard);
        closed.close_timeout(SOON).unwrap();
        drop(closed);
        all_disposed(&backend);
        eventually(|| threads("left-") + threads("closed-") == 0);
        drop(refused);
        before.is_restored("closed while threads were refused");
    });
}
