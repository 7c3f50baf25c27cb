//! Callers that need not wait for a backend that is down.

mod common;

use common::{assert_at, close_clean, eventually, ms, queued, quick, secs, spawn, timed};
use conpool::{
    Backoff, Cause, ConnectionManager, GetError, HealthCheck, Hook, MemoryManager, Pool,
    PoolBuilder, PooledConnection,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

/// One attempt, and no other for a long time.
fn patient() -> Backoff {
    Backoff::default().with_initial(secs(60)).with_max(secs(60))
}

fn fast(name: &str) -> PoolBuilder<MemoryManager> {
    quick(name).fail_fast(true)
}

fn down() -> MemoryManager {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, u64::MAX);
    backend
}

#[track_caller]
fn fails_at_once(pool: &Pool<MemoryManager>) {
    let (got, took) = timed(|| pool.get());
    assert!(matches!(got, Err(GetError::Create { .. })), "{got:?}");
    assert_at(took, ms(0));
}

#[test]
fn the_first_caller_hears_the_cause_and_the_next_ones_cost_no_attempt() {
    let backend = down();
    let pool = fast("first").backoff(patient());
    let pool = pool.build_lazy(backend.clone()).unwrap();
    fails_at_once(&pool);
    for _ in 0..10 {
        fails_at_once(&pool);
    }
    assert_eq!(backend.calls(Hook::Create), 1);
    assert_eq!(pool.stats().timeouts, 0);
    close_clean(&pool, &backend);
}

#[test]
fn all_who_wait_are_told_when_an_attempt_fails() {
    let backend = down();
    backend.hang(Hook::Create);
    let pool = fast("all").backoff(patient());
    let pool = pool.max_creating(1).build_lazy(backend.clone()).unwrap();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get().map(drop))
        })
        .collect();
    queued(&pool, 8);
    backend.release();
    for caller in callers {
        let got = caller.join_soon();
        assert!(matches!(got, Err(GetError::Create { .. })), "{got:?}");
    }
    assert_eq!(backend.calls(Hook::Create), 1);
    close_clean(&pool, &backend);
}

#[test]
fn while_one_tries_again_the_others_need_not_wait_for_it() {
    let backend = down();
    let pool = fast("probe").build_lazy(backend.clone()).unwrap();
    fails_at_once(&pool);
    backend.hang(Hook::Create);
    // After the pause the next caller is the one who tries.
    let prober = loop {
        let prober = pool.clone();
        let prober = spawn(move || prober.get().map(drop));
        eventually(|| backend.running(Hook::Create) == 1 || prober.is_finished());
        if backend.running(Hook::Create) == 1 {
            break prober;
        }
    };
    fails_at_once(&pool);
    backend.heal();
    prober.join_soon().unwrap();
    drop(pool.get().unwrap());
    close_clean(&pool, &backend);
}

#[test]
fn an_open_connection_is_worth_waiting_for() {
    let backend = MemoryManager::new();
    let pool = fast("open").max_size(2).build(backend.clone()).unwrap();
    let guard = pool.get().unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    let waiter = pool.clone();
    let waiter = spawn(move || waiter.get().map(|guard| guard.id()));
    eventually(|| pool.stats().create_errors >= 1);
    assert_eq!(pool.stats().waiters, 1, "not sent away");
    let id = guard.id();
    drop(guard);
    assert_eq!(waiter.join_soon().unwrap(), id);
    close_clean(&pool, &backend);
}

#[test]
fn a_create_that_takes_too_long_is_a_cause_as_well() {
    let backend = MemoryManager::new();
    backend.hang(Hook::Create);
    let pool = fast("slow").backoff(patient()).create_timeout(ms(50));
    let pool = pool.build_lazy(backend.clone()).unwrap();
    let (got, took) = timed(|| pool.get());
    assert_at(took, ms(50));
    let Err(GetError::TimedOut(timeout)) = got else {
        panic!("{got:?}");
    };
    let after = ms(50);
    let hook = "create";
    assert!(
        matches!(&timeout.last, Some(Cause::TimedOut { hook: h, after: a }) if *h == hook && *a == after),
        "{timeout:?}"
    );
    let (got, took) = timed(|| pool.get());
    assert!(got.is_err());
    assert_at(took, ms(0));
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn without_a_collector_it_is_the_same() {
    let backend = down();
    let pool = fast("inline")
        .backoff(patient())
        .background_collector(false);
    let pool = pool.build_lazy(backend.clone()).unwrap();
    fails_at_once(&pool);
    fails_at_once(&pool);
    assert_eq!(backend.calls(Hook::Create), 1);
    close_clean(&pool, &backend);
}

#[test]
fn by_default_callers_wait_for_the_recovery_and_all_are_served() {
    let backend = down();
    let pool = quick("wait")
        .max_size(4)
        .build_lazy(backend.clone())
        .unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get().map(std::mem::forget))
        })
        .collect();
    queued(&pool, 4);
    eventually(|| backend.calls(Hook::Create) >= 3);
    assert_eq!(
        backend.peak_running(Hook::Create).min(4),
        backend.peak_running(Hook::Create)
    );
    backend.heal();
    for caller in callers {
        caller.join_soon().unwrap();
    }
    assert_eq!(pool.stats().in_use, 4);
}

/// Between the look at the pause and the look at its cause the backend may come back.
#[test]
fn who_comes_at_the_moment_of_recovery_is_not_told_of_a_timeout_that_never_was() {
    let backend = MemoryManager::new();
    let pool = fast("recovery").max_size(8).create_timeout(secs(30));
    let pool = pool.build_lazy(backend.clone()).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            spawn(move || {
                while !over.load(SeqCst) {
                    match pool.get() {
                        Ok(_) | Err(GetError::Create { .. }) => {}
                        Err(error) => return Some(format!("{error:?}")),
                    }
                }
                None
            })
        })
        .collect();
    for _ in 0..60 {
        backend.fail_transient(Hook::Create, u64::MAX);
        backend.kill_all();
        pool.clear();
        thread::sleep(ms(5));
        backend.heal();
        thread::sleep(ms(5));
    }
    over.store(true, SeqCst);
    for caller in callers {
        assert_eq!(caller.join_soon(), None);
    }
    close_clean(&pool, &backend);
}

#[test]
fn what_a_check_said_is_not_told_as_what_create_said() {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, 1);
    let pool = fast("check")
        .backoff(patient())
        .health_check(HealthCheck::OnCheckout)
        .build_lazy(backend.clone())
        .unwrap();
    fails_at_once(&pool);
    // Nothing is open again after this one, and what failed last is a check.
    pool.add(pool.manager().create().unwrap()).unwrap();
    backend.fail(Hook::Check, 1);
    for _ in 0..2 {
        let error = pool.get().unwrap_err();
        let told = error.last_create_error().unwrap().to_string();
        assert!(told.contains("create"), "{told}");
    }
    assert_eq!(pool.stats().check_failures, 1);
}

#[test]
fn who_waits_for_the_last_connection_hears_of_the_outage_when_it_is_gone() {
    let backend = MemoryManager::new();
    let pool = fast("last").backoff(patient()).max_size(2);
    let pool = pool.build(backend.clone()).unwrap();
    for detached in [false, true] {
        let held = pool.get().unwrap();
        backend.fail_transient(Hook::Create, 1);
        let caller = spawn({
            let pool = pool.clone();
            move || pool.get().map(drop)
        });
        // Its create has failed and left its slot, and it waits for the one connection.
        eventually(|| {
            let stats = pool.stats();
            stats.create_errors == 1 + u64::from(detached) && stats.creating == 0
        });
        queued(&pool, 1);
        match detached {
            true => drop(PooledConnection::detach(held)),
            false => PooledConnection::discard(held),
        }
        let got = caller.join_soon();
        assert!(matches!(got, Err(GetError::Create { .. })), "{got:?}");
        // Something is open again for the second round, as after a recovery.
        pool.add(pool.manager().create().unwrap()).unwrap();
    }
}
