//! Bugs of other pools in waiting: who waits, how long, and what wakes them. The whole list, with links, is
//! `src/docs/peers.md`.

use crate::common;

use common::{
    Gate, SOON, assert_at, close_clean, eventually, fill, ms, now, queued, quick, spawn, take,
    timed,
};
use conpool::{Hook, MemoryManager, PooledConnection};
use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// bb8 #167: a broken connection that came back woke no waiter, so waiters starved beside a free slot.
#[test]
fn forty_callers_are_served_although_every_connection_comes_back_broken() {
    let backend = MemoryManager::new();
    let pool = quick("b167").max_size(5).build(backend.clone()).unwrap();
    backend.fail(Hook::HasBroken, u64::MAX);
    let start = Arc::new(Barrier::new(40));
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let (pool, start) = (pool.clone(), Arc::clone(&start));
            spawn(move || {
                start.wait();
                let guard = pool.get_timeout(SOON)?;
                thread::yield_now();
                drop(guard);
                Ok::<_, conpool::GetError<_>>(())
            })
        })
        .collect();
    for caller in callers {
        caller.join_soon().expect("a connection");
    }
    close_clean(&pool, &backend);
}

/// Apache Commons Pool POOL-303: with more callers than slots and a factory that failed for all, callers
/// without a slot of their own never got the error and waited forever.
#[test]
fn more_callers_than_slots_all_hear_of_a_create_that_always_fails() {
    let backend = MemoryManager::new();
    let pool = quick("p303")
        .max_size(2)
        .build_lazy(backend.clone())
        .unwrap();
    backend.fail(Hook::Create, u64::MAX);
    let start = Arc::new(Barrier::new(10));
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let (pool, start) = (pool.clone(), Arc::clone(&start));
            spawn(move || {
                start.wait();
                pool.get_timeout(Duration::MAX).map(drop)
            })
        })
        .collect();
    for caller in callers {
        let error = caller.join_soon().unwrap_err();
        assert!(error.last_create_error().is_some(), "{error:?}");
        assert!(!error.is_timeout(), "{error:?}");
    }
    assert_eq!(pool.stats().size, 0, "{:?}", pool.stats());
}

/// golang/go #10886: two failed opens freed their slots without notifying the third caller, whose Exec never
/// returned. puddle 1.1.3 fixed the same.
#[test]
fn a_caller_that_found_every_slot_creating_is_served_when_those_creates_fail() {
    let backend = MemoryManager::new();
    let pool = quick("g10886")
        .max_size(2)
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let callers: Vec<_> = (1..=3)
        .map(|n| {
            let caller = spawn({
                let pool = pool.clone();
                move || pool.get_timeout(Duration::MAX).map(drop)
            });
            queued(&pool, n);
            caller
        })
        .collect();
    eventually(|| backend.running(Hook::Create) == 2);
    backend.fail(Hook::Create, 2);
    backend.release();
    let served: Vec<_> = callers
        .into_iter()
        .map(|caller| caller.join_soon().is_ok())
        .collect();
    // If the second failure comes late, the connection made after the first one is there already.
    assert!(!served[0] && served[2], "{served:?}");
}

/// knex #1694: the connection that was on its way to a caller that timed out stayed "in use" forever.
#[test]
fn what_comes_back_after_a_caller_gave_up_is_idle_and_not_in_use() {
    let backend = MemoryManager::new();
    let pool = quick("k1694").max_size(2).build(backend.clone()).unwrap();
    for _ in 0..20 {
        let held = take(&pool, 2);
        assert!(pool.get_timeout(ms(2)).unwrap_err().is_timeout());
        drop(held);
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.idle, stats.waiters), (0, 2, 0));
    }
    assert_eq!(pool.stats().timeouts, 20);
    close_clean(&pool, &backend);
}

/// POOL-424: an invalidated object freed its slot for one caller, and the other callers hung.
#[test]
fn three_discards_at_once_serve_three_waiters() {
    for _ in 0..20 {
        let backend = MemoryManager::new();
        let pool = quick("p424").max_size(3).build(backend.clone()).unwrap();
        let held = take(&pool, 3);
        let gate = Gate::default();
        let waiters: Vec<_> = (1..=3)
            .map(|n| {
                let (pool, gate) = (pool.clone(), gate.clone());
                let waiter = spawn({
                    let pool = pool.clone();
                    move || {
                        let guard = pool.get_timeout(SOON).expect("a connection");
                        gate.pass();
                        guard.id()
                    }
                });
                queued(&pool, n);
                waiter
            })
            .collect();
        let start = Arc::new(Barrier::new(3));
        for guard in held {
            let start = Arc::clone(&start);
            spawn(move || {
                start.wait();
                PooledConnection::discard(guard);
            });
        }
        // All hold theirs until everyone has one.
        eventually(|| pool.stats().in_use == 3 && pool.stats().waiters == 0);
        gate.open();
        let mut ids: Vec<_> = waiters
            .into_iter()
            .map(|waiter| waiter.join_soon())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, [4, 5, 6]);
    }
}

/// POOL-418 (timed out too early after a spurious wake-up) and c3p0 #137 (restarted the timeout after every
/// wake-up).
#[test]
fn wakes_that_bring_nothing_do_not_move_the_deadline() {
    let pool = quick("p418")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let _held = pool.get().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let waker = spawn({
        let (pool, over) = (pool.clone(), Arc::clone(&over));
        move || {
            while !over.load(Ordering::Relaxed) {
                pool.suspend();
                pool.resume();
                thread::sleep(ms(1));
            }
        }
    });
    let (result, took) = timed(|| pool.get_timeout(ms(150)));
    over.store(true, Ordering::Relaxed);
    waker.join_soon();
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(150));
}

/// psycopg #709: a check that always failed made the caller overrun its timeout, in a busy loop of new
/// connections.
#[test]
fn a_hook_that_rejects_every_connection_neither_outlives_the_budget_nor_spins() {
    let backend = MemoryManager::new();
    let pool = quick("y709").build_lazy(backend.clone()).unwrap();
    backend.fail_transient(Hook::Checkout, u64::MAX);
    let (result, took) = timed(|| pool.get_timeout(ms(150)));
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(150));
    // The pauses of these tests are 5 ms long.
    let most = took.as_millis() as u64 / 5 + 1;
    let creates = backend.calls(Hook::Create);
    assert!(creates <= most, "{creates} creates in {took:?}");
    close_clean(&pool, &backend);
}

/// tarn.js #61: after callers had timed out, the next acquire was rejected at once, although
/// connections were free.
#[test]
fn a_pool_whose_callers_timed_out_serves_the_next_ones() {
    let backend = MemoryManager::new();
    let pool = quick("t61").max_size(2).build(backend.clone()).unwrap();
    let held = take(&pool, 2);
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(ms(10)).map(drop))
        })
        .collect();
    for caller in callers {
        assert!(caller.join_soon().unwrap_err().is_timeout());
    }
    assert_eq!(pool.stats().waiters, 0);
    drop(held);
    let ids: Vec<_> = take(&pool, 2).iter().map(|guard| guard.id()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(backend.counters().created, 2, "the ones from before");
}

/// POOL-259: waits were measured wrongly where callers wait without a limit.
#[test]
fn a_wait_without_a_limit_is_measured_like_any_other() {
    let pool = quick("p259")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let waiter = spawn({
        let pool = pool.clone();
        move || timed(|| pool.get_timeout(Duration::MAX).map(drop))
    });
    queued(&pool, 1);
    let seen = now();
    thread::sleep(ms(30));
    let least = seen.elapsed();
    drop(held);
    let (result, most) = waiter.join_soon();
    result.unwrap();
    let stats = pool.stats();
    assert_eq!(stats.gets_waited, 1);
    assert!(
        stats.wait.max >= least && stats.wait.max <= most,
        "{:?} is not between {least:?} and {most:?}",
        stats.wait.max
    );
}

/// HikariCP #835: a thread that waited under load spun instead of sleeping.
#[cfg(target_os = "linux")]
#[test]
fn a_waiter_burns_no_cpu() {
    use rustix::time::{ClockId, clock_gettime};

    fn cpu() -> Duration {
        clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
    }

    let pool = quick("h835")
        .max_size(2)
        .build(MemoryManager::new())
        .unwrap();
    fill(&pool, 2);
    let _held = take(&pool, 2);
    let waiter = spawn({
        let pool = pool.clone();
        move || {
            let before = cpu();
            assert!(pool.get_timeout(ms(200)).unwrap_err().is_timeout());
            cpu() - before
        }
    });
    let burnt = waiter.join_soon();
    assert!(burnt < ms(20), "{burnt:?} of 200 ms");
}
