//! Promise 6: the cap holds under any mix of faults, and a slot is free only after its dispose.

use crate::common;

use common::{
    Custom, Gate, HOOKS, Log, Rng, SOON, all_disposed, close_clean, eventually, fill, ms, quick,
    quick_backoff, secs, spawn, stays,
};
use conpool::{
    Cause, EvictReason, GetError, HealthCheck, Hook, ManualClock, MemoryManager, Pool,
    PooledConnection,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

#[test]
fn with_one_slot_dispose_completes_before_the_next_create_starts() {
    let backend = MemoryManager::new();
    let watched = backend.clone();
    let manager = Custom::new(&backend, move |hook, _| {
        if hook == Hook::Create {
            let seen = watched.counters();
            assert_eq!(seen.open, 0, "create began while a connection was open");
        }
    });
    backend.delay(Hook::Dispose, ms(5));
    let pool = Pool::builder()
        .name("oneslot")
        .max_size(1)
        .backoff(quick_backoff())
        .build(manager)
        .unwrap();
    let users = [(); 3].map(|()| {
        let pool = pool.clone();
        spawn(move || {
            for _ in 0..10 {
                PooledConnection::discard(pool.get_timeout(SOON).unwrap());
            }
        })
    });
    users.into_iter().for_each(|user| user.join_soon());
    assert_eq!(pool.stats().panics, 0);
    assert_eq!(backend.counters().peak_open, 1);
    close_clean(&pool, &backend);
}

#[test]
fn no_mix_of_faults_panics_resizes_and_clears_exceeds_the_cap() {
    const CAP: usize = 6;
    let backend = MemoryManager::new();
    let pool = quick("chaos")
        .max_size(CAP)
        .health_check(HealthCheck::OnCheckout)
        .max_uses(7)
        .build(backend.clone())
        .unwrap();
    backend.delay(Hook::Dispose, ms(1));
    let users: Vec<_> = (0..12)
        .map(|seed| {
            let (pool, backend) = (pool.clone(), backend.clone());
            spawn(move || {
                let mut rng = Rng::new(seed + 1);
                for _ in 0..40 {
                    random_operation(&pool, &backend, &mut rng, CAP);
                    let stats = pool.stats();
                    assert_eq!(
                        stats.size,
                        stats.idle + stats.in_use + stats.creating,
                        "{stats:?}"
                    );
                }
            })
        })
        .collect();
    users.into_iter().for_each(|user| user.join_soon());
    backend.heal();
    let seen = backend.counters();
    assert!(seen.peak_open <= CAP, "{seen:?}");
    close_clean(&pool, &backend);
}

/// One random operation of a user, an operator or a failing backend.
fn random_operation(
    pool: &Pool<MemoryManager>,
    backend: &MemoryManager,
    rng: &mut Rng,
    cap: usize,
) {
    let hook = HOOKS[usize::try_from(rng.below(7)).unwrap()];
    match rng.below(12) {
        0 => backend.fail(hook, 1),
        1 => backend.fail_transient(hook, 2),
        2 => backend.panic(hook, 1),
        3 => drop(backend.kill_all()),
        4 => pool.clear(),
        5 => {
            let size = 1 + usize::try_from(rng.below(cap as u64)).unwrap();
            pool.set_max_size(size).unwrap();
        }
        6 => drop(pool.retain(|connection, _| connection.id() % 2 == 0)),
        7 => backend.needs_reset(rng.below(2) == 0),
        _ => {}
    }
    let Ok(mut guard) = pool.get_timeout(ms(20)) else {
        return;
    };
    match rng.below(4) {
        0 => PooledConnection::discard(guard),
        1 => drop(catch_unwind(AssertUnwindSafe(|| {
            let _guard = guard;
            panic!("the user's own panic");
        }))),
        _ => drop(guard.execute("PING")),
    }
}

#[test]
fn a_create_past_its_timeout_frees_its_slot_and_its_late_result_is_disposed() {
    let backend = MemoryManager::new();
    let gate = Gate::default();
    let manager = Custom::first_create_waits(&backend, &gate);
    let pool = Pool::builder()
        .name("late")
        .max_size(1)
        .backoff(quick_backoff())
        .create_timeout(ms(20))
        .build_lazy(manager)
        .unwrap();
    let guard = pool
        .get_timeout(SOON)
        .expect("the second create, in the slot of the first");
    assert_eq!(guard.id(), 1);
    let stats = pool.stats();
    assert_eq!((stats.abandoned, stats.size), (1, 1), "{stats:?}");
    gate.open();
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    eventually(|| pool.stats().abandoned == 0);
    assert_eq!(pool.stats().evicted(EvictReason::Late), 1);
    drop(guard);
    close_clean(&pool, &backend);
}

#[test]
fn a_create_past_its_timeout_is_a_transient_error() {
    let backend = MemoryManager::new();
    let pool = quick("hungcreate")
        .create_timeout(ms(20))
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let error = pool.get_timeout(ms(300)).unwrap_err();
    let GetError::TimedOut(timeout) = error else {
        panic!("{error:?}");
    };
    let Some(Cause::TimedOut { after, .. }) = timeout.last else {
        panic!("{timeout:?}");
    };
    assert_eq!(after, ms(20));
    backend.release();
    drop(pool.get_timeout(SOON).unwrap());
}

#[test]
fn abandoned_hooks_are_bounded_however_long_the_backend_hangs() {
    for (max_size, bound) in [(1, 4), (2, 4), (6, 6)] {
        let backend = MemoryManager::new();
        let pool = quick("bound")
            .max_size(max_size)
            .max_creating(max_size)
            .create_timeout(ms(10))
            .build_lazy(backend.clone())
            .unwrap();
        backend.hang(Hook::Create);
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let pool = pool.clone();
                spawn(move || pool.get_timeout(ms(400)).map(drop))
            })
            .collect();
        eventually(|| pool.stats().abandoned == bound);
        for caller in callers {
            caller.join_soon().unwrap_err();
        }
        let stats = pool.stats();
        assert!(
            stats.abandoned <= bound && stats.size <= max_size,
            "{stats:?}"
        );
        assert!(backend.peak_running(Hook::Create) <= bound + max_size);
        backend.release();
        drop(pool.get_timeout(SOON).unwrap());
        close_clean(&pool, &backend);
    }
}

#[test]
fn a_dispose_past_its_timeout_no_longer_holds_its_slot() {
    let backend = MemoryManager::new();
    let pool = quick("hungdisp")
        .max_size(1)
        .dispose_timeout(ms(20))
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Dispose);
    PooledConnection::discard(pool.get().unwrap());
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
    assert_eq!(pool.stats().abandoned, 1);
    backend.release();
    eventually(|| pool.stats().abandoned == 0);
    close_clean(&pool, &backend);
}

#[test]
fn a_check_past_its_timeout_is_a_failed_check_and_its_connection_goes_when_it_returns() {
    let backend = MemoryManager::new();
    let pool = quick("hungcheck")
        .max_size(1)
        .check_timeout(ms(20))
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
    let stats = pool.stats();
    assert_eq!((stats.check_failures, stats.abandoned), (1, 1), "{stats:?}");
    assert_eq!(
        backend.counters().disposed,
        0,
        "it is still inside its check"
    );
    backend.release();
    eventually(|| pool.stats().abandoned == 0 && backend.counters().disposed == 1);
    close_clean(&pool, &backend);
}

#[test]
fn an_expiring_connection_that_min_idle_needs_is_replaced_before_it_is_retired() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let log = Log::default();
    let manager = Custom::new(&backend, {
        let (log, backend) = (log.clone(), backend.clone());
        move |hook, _| {
            if hook == Hook::Dispose {
                log.push(format!(
                    "dispose with {} created",
                    backend.counters().created
                ));
            }
        }
    });
    let pool = Pool::builder()
        .name("replace")
        .clock(clock.clone())
        .max_size(2)
        .min_idle(1)
        .max_lifetime(secs(60))
        .lifetime_jitter(0.0)
        .idle_timeout(None)
        .build(manager)
        .unwrap();
    clock.advance(secs(61));
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    assert_eq!(log.lines(), ["dispose with 2 created"]);
    stays(|| pool.stats().size == 1);
}

#[test]
fn after_a_shrink_the_total_only_falls() {
    let backend = MemoryManager::new();
    let pool = quick("shrink").max_size(6).build(backend.clone()).unwrap();
    let mut held = common::take(&pool, 6);
    pool.set_max_size(2).unwrap();
    let mut last = 6;
    while let Some(guard) = held.pop() {
        drop(guard);
        let waiter = pool.get_timeout(ms(2));
        drop(waiter);
        let stats = pool.stats();
        let total = stats.size + stats.disposing;
        assert!(total <= last, "{total} after {last}");
        last = total.max(2);
    }
    eventually(|| pool.stats().size <= 2 && pool.stats().disposing == 0);
    thread::sleep(ms(10));
    assert_eq!(pool.stats().evicted(EvictReason::Shrunk), 4);
    assert_eq!(backend.counters().created, 6);
    fill(&pool, 2);
    drop(pool);
    all_disposed(&backend);
}
