//! Bugs of other pools in which one failure affected the rest. The whole list, with links, is
//! `src/docs/peers.md`.

use crate::common;

use common::{Custom, Gate, SOON, close_clean, eventually, fill, ms, quick, secs, spawn, take};
use conpool::{
    EvictReason, HealthCheck, Hook, ManualClock, MemoryManager, Pool, PoolEvent, PoolObserver,
    PooledConnection,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

struct PanickingObserver;

impl PoolObserver for PanickingObserver {
    fn on_event(&self, event: &PoolEvent) {
        panic!("cannot bear {event:?}");
    }
}

/// POOL-122 and HikariCP #606: one exception in a pass of the evictor or housekeeper ended it, and idle
/// connections were never closed again.
#[test]
fn the_collector_outlives_every_panic_in_its_passes() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("p122")
        .clock(clock.clone())
        .observer(PanickingObserver)
        .keepalive_interval(secs(10))
        .idle_timeout(secs(60))
        .build(backend.clone())
        .unwrap();
    for hook in [Hook::Check, Hook::Dispose] {
        backend.panic(hook, u64::MAX);
    }
    fill(&pool, 4);
    clock.advance(secs(11));
    assert!(backend.wait_for(|seen| seen.disposed == 4, SOON));
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 4);
    backend.panic(Hook::Check, 0);
    fill(&pool, 4);
    clock.advance(secs(61));
    assert!(backend.wait_for(|seen| seen.disposed == 8, SOON));
    assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 4);
    close_clean(&pool, &backend);
}

/// POOL-184: an evictor at work hid objects from borrowers, who found a pool that looked exhausted.
#[test]
fn sweeping_and_checking_without_pause_starve_no_caller() {
    let backend = MemoryManager::new();
    let pool = quick("p184").max_size(1).build(backend.clone()).unwrap();
    let (over, passes) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let sweeper = spawn({
        let (pool, over, passes) = (pool.clone(), Arc::clone(&over), Arc::clone(&passes));
        move || {
            while !over.load(Ordering::Relaxed) {
                pool.sweep();
                let _ = pool.check_health();
                pool.retain(|_, _| true);
                passes.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut gets = 0;
    while gets < 300 || passes.load(Ordering::Relaxed) < 100 {
        drop(pool.get_timeout(SOON).expect("the one connection"));
        gets += 1;
    }
    over.store(true, Ordering::Relaxed);
    sweeper.join_soon();
    assert_eq!(backend.counters().created, 1);
    close_clean(&pool, &backend);
}

/// POOL-93 and DBCP-212: objects were made and checked under the pool's lock, so that one slow check blocked
/// all callers.
#[test]
fn a_check_that_takes_long_delays_no_other_caller() {
    let (backend, gate) = (MemoryManager::new(), Gate::default());
    let slow = Arc::new(AtomicU64::new(0));
    let manager = Custom::new(&backend, {
        let (gate, slow) = (gate.clone(), Arc::clone(&slow));
        move |hook, id| {
            let first = slow.compare_exchange(0, id, Ordering::SeqCst, Ordering::SeqCst);
            if hook == Hook::Check && first.is_ok() {
                gate.pass();
            }
        }
    });
    let pool = Pool::builder()
        .max_size(2)
        .health_check(HealthCheck::OnCheckout)
        .build_lazy(manager)
        .unwrap();
    slow.store(u64::MAX, Ordering::SeqCst);
    fill(&pool, 2);
    slow.store(0, Ordering::SeqCst);
    let delayed = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(|guard| guard.id())
    });
    eventually(|| slow.load(Ordering::SeqCst) != 0);
    for _ in 0..20 {
        let guard = pool.get_timeout(SOON).unwrap();
        assert_ne!(guard.id(), slow.load(Ordering::SeqCst));
    }
    gate.open();
    delayed.join_soon().unwrap();
    close_clean(&pool, &backend);
}

/// Rails #48271 and SQLAlchemy #8974: a throw during checkout that was no ordinary error skipped the
/// clean-up, and the connection was lost to the pool.
#[test]
fn a_checkout_that_panics_anywhere_costs_no_slot() {
    for hook in [Hook::Check, Hook::Checkout] {
        let backend = MemoryManager::new();
        let pool = quick("r48271")
            .max_size(2)
            .health_check(HealthCheck::OnCheckout)
            .build(backend.clone())
            .unwrap();
        for _ in 0..10 {
            fill(&pool, 2);
            backend.panic(hook, 1);
            drop(pool.get_timeout(SOON).expect("another connection"));
        }
        assert_eq!(pool.stats().evicted(EvictReason::Panicked), 10);
        assert_eq!(take(&pool, 2).len(), 2);
        close_clean(&pool, &backend);
    }
}

/// SQLAlchemy #3803: a connection whose user was interrupted halfway was handed out again with half a reply
/// in it.
#[test]
fn a_connection_whose_user_panicked_is_not_handed_out_again() {
    let backend = MemoryManager::new();
    let pool = quick("s3803").max_size(1).build(backend.clone()).unwrap();
    for turn in 1..=5 {
        let interrupted = catch_unwind(AssertUnwindSafe(|| {
            let mut guard = pool.get_timeout(SOON).unwrap();
            assert_eq!(guard.id(), turn);
            guard.execute("PING").unwrap();
            panic!("the user is interrupted");
        }));
        assert!(interrupted.is_err());
    }
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 5);
    drop(pool.get_timeout(SOON).unwrap());
    close_clean(&pool, &backend);
}

/// c3p0 0.9.5.4: an error while an outage was reported to the waiting callers left a flag set, and the pool
/// never tried to connect again.
#[test]
fn outage_after_outage_the_pool_comes_back() {
    let backend = MemoryManager::new();
    let pool = quick("c0954").max_size(3).build(backend.clone()).unwrap();
    for turn in 0..10 {
        match turn % 3 {
            0 => backend.fail(Hook::Create, u64::MAX),
            1 => backend.fail_transient(Hook::Create, u64::MAX),
            _ => backend.panic(Hook::Create, u64::MAX),
        }
        take(&pool, 1)
            .into_iter()
            .for_each(PooledConnection::discard);
        pool.clear();
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                spawn(move || pool.get_timeout(ms(20)).map(drop))
            })
            .collect();
        for caller in callers {
            caller.join_soon().unwrap_err();
        }
        backend.heal();
        // An older create may still have to report its failure.
        eventually(|| pool.get_timeout(SOON).is_ok());
        assert_eq!(take(&pool, 3).len(), 3);
    }
    close_clean(&pool, &backend);
}
