//! Edge cases: counting, destructors of threads, observers and hooks that call back, extremes.

use crate::common;

use common::{
    Custom, Log, SOON, all_disposed, close_clean, eventually, fill, ms, queued, quick, secs, spawn,
    take,
};
use conpool::{
    ConnectionManager, EvictReason, Fairness, HealthCheck, Hook, ManualClock, MemoryConnection,
    MemoryError, MemoryManager, Pool, PoolEvent, PoolObserver, PooledConnection,
};
use std::{
    cell::RefCell,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

#[test]
fn waiting_beside_idle_connections_does_not_count_them_as_in_use() {
    let pool = quick("peaks")
        .min_idle(3)
        .build(MemoryManager::new())
        .unwrap();
    let before = pool.stats().peak_in_use;
    pool.suspend();
    assert!(pool.get_timeout(ms(10)).is_err());
    pool.resume();
    assert_eq!(pool.stats().peak_in_use, before);
}

/// A manager whose `check_may_block` panics.
struct PanickingManager(MemoryManager);

impl ConnectionManager for PanickingManager {
    type Connection = MemoryConnection;
    type Error = MemoryError;

    fn create(&self) -> Result<MemoryConnection, MemoryError> {
        self.0.create()
    }

    fn check_aliveness(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        self.0.check_aliveness(connection)
    }

    fn dispose(&self, connection: MemoryConnection) {
        self.0.dispose(connection);
    }

    fn check_may_block(&self) -> bool {
        panic!("cannot say");
    }
}

#[test]
fn a_panic_in_check_may_block_is_counted_and_reported_like_any_other() {
    let log = Log::default();
    let pool = Pool::builder()
        .observer(log.clone())
        .build_lazy(PanickingManager(MemoryManager::new()))
        .unwrap();
    assert_eq!(pool.stats().panics, 1);
    assert_eq!(log.count("Panicked"), 1);
}

/// A value that a thread keeps until its thread-local destructors run.
struct AtThreadEnd(RefCell<Option<Box<dyn FnOnce()>>>);

impl Drop for AtThreadEnd {
    fn drop(&mut self) {
        if let Some(last) = self.0.take() {
            last();
        }
    }
}

thread_local! {
    static FIRST: AtThreadEnd = const { AtThreadEnd(RefCell::new(None)) };
}

fn at_thread_end(work: impl FnOnce() + 'static) {
    FIRST.with(|end| *end.0.borrow_mut() = Some(Box::new(work)));
}

#[test]
fn guards_and_handles_may_be_used_and_dropped_by_the_destructors_of_a_thread() {
    for (collector, leaks) in [(true, false), (true, true), (false, false), (false, true)] {
        let backend = MemoryManager::new();
        let pool = quick("threadend")
            .max_size(2)
            .background_collector(collector)
            .leak_threshold(leaks.then_some(secs(60)))
            .build(backend.clone())
            .unwrap();
        let theirs = pool.clone();
        spawn(move || {
            // Registered before the pool is used: it runs after any destructor of the pool.
            at_thread_end(|| ());
            let guard = theirs.get().unwrap();
            at_thread_end(move || {
                drop(guard);
                let again = theirs.get_timeout(SOON).unwrap();
                let other = theirs.get_timeout(SOON).unwrap();
                PooledConnection::discard(other);
                drop(again);
                drop(theirs);
            });
        })
        .join_soon();
        eventually(|| pool.stats().idle == 1 && pool.stats().size == 1);
        let last = pool;
        spawn(move || at_thread_end(move || drop(last))).join_soon();
        all_disposed(&backend);
    }
}

/// Calls its pool from every event, one level deep.
#[derive(Clone, Default)]
struct Caller(Arc<Mutex<Option<Pool<MemoryManager>>>>);

thread_local! {
    static INSIDE: RefCell<bool> = const { RefCell::new(false) };
}

impl PoolObserver for Caller {
    fn on_event(&self, _: &PoolEvent) {
        let Some(pool) = self.0.lock().unwrap().clone() else {
            return;
        };
        if INSIDE.with(|inside| inside.replace(true)) {
            return;
        }
        let _ = pool.stats();
        pool.sweep();
        drop(pool.try_get());
        drop(pool.get_timeout(Duration::ZERO));
        let _ = pool.holders();
        pool.retain(|_, _| true);
        let _ = pool.set_max_size(3);
        let _ = format!("{pool:?}");
        INSIDE.with(|inside| inside.replace(false));
    }
}

#[test]
fn an_observer_may_call_its_pool_from_every_event() {
    for collector in [true, false] {
        let (clock, backend) = (ManualClock::new(), MemoryManager::new());
        let caller = Caller::default();
        let pool = quick("callback")
            .clock(clock.clone())
            .background_collector(collector)
            .observer(caller.clone())
            .leak_threshold(secs(1))
            .max_lifetime(secs(60))
            .max_uses(3)
            .min_idle(1)
            .max_size(3)
            .build(backend.clone())
            .unwrap();
        *caller.0.lock().unwrap() = Some(pool.clone());
        let worker = spawn({
            let pool = pool.clone();
            move || {
                for round in 0..30 {
                    let guard = pool.get_timeout(SOON).unwrap();
                    clock.advance(secs(round % 4));
                    match round % 5 {
                        0 => PooledConnection::discard(guard),
                        1 => drop(PooledConnection::detach(guard)),
                        _ => drop(guard),
                    }
                    if round % 7 == 0 {
                        pool.clear();
                        clock.advance(secs(61));
                        pool.sweep();
                    }
                }
                pool.suspend();
                pool.resume();
            }
        });
        worker.join_soon();
        pool.close_timeout(SOON).unwrap();
        eventually(|| backend.counters().open == 0);
        // Otherwise the pool would hold the observer, and the observer the pool.
        let last = caller.0.lock().unwrap().take();
        drop(last);
    }
}

#[test]
fn shrinking_below_what_is_in_use_and_growing_again_loses_no_slot() {
    let backend = MemoryManager::new();
    let pool = quick("breathe").max_size(4).build(backend.clone()).unwrap();
    for _ in 0..5 {
        let mut held = take(&pool, 4);
        pool.set_max_size(1).unwrap();
        held.truncate(2);
        assert_eq!(pool.stats().evicted(EvictReason::Shrunk) % 3, 2);
        pool.set_max_size(4).unwrap();
        held.extend(take(&pool, 2));
        assert_eq!(pool.stats().in_use, 4);
        pool.set_max_size(3).unwrap();
        held.pop();
        pool.set_max_size(4).unwrap();
        drop(held);
    }
    assert_eq!(backend.counters().peak_open, 4);
    drop(take(&pool, 4));
    close_clean(&pool, &backend);
}

#[test]
fn with_strict_fairness_waiters_that_give_up_in_between_disturb_no_order() {
    let pool = quick("gaps")
        .max_size(1)
        .fairness(Fairness::Strict)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let order = Log::default();
    let mut users = Vec::new();
    for n in 0..9 {
        users.push(spawn({
            let (pool, order) = (pool.clone(), order.clone());
            move || {
                let budget = if n % 3 == 1 { ms(300) } else { SOON };
                if let Ok(guard) = pool.get_timeout(budget) {
                    order.push(n.to_string());
                    drop(guard);
                }
            }
        }));
        // On a busy machine some have timed out before the last has come.
        let gone = || users.iter().filter(|user| user.is_finished()).count();
        eventually(|| pool.stats().waiters + gone() == n + 1);
    }
    queued(&pool, 6);
    drop(held);
    users.into_iter().for_each(|user| user.join_soon());
    assert_eq!(order.lines(), ["0", "2", "3", "5", "6", "8"]);
}

#[test]
fn a_keepalive_check_leaves_the_idle_time_as_it_was() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("keeps")
        .clock(clock.clone())
        .keepalive_interval(secs(10))
        .idle_timeout(secs(35))
        .build(backend.clone())
        .unwrap();
    for checks in 1..=3 {
        clock.advance(secs(11));
        assert!(backend.wait_for(|seen| seen.checked == checks, SOON));
        eventually(|| pool.stats().idle == 1);
    }
    clock.advance(secs(3));
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 1);
}

#[test]
fn the_sum_holds_at_every_instant_of_a_busy_pool() {
    let backend = MemoryManager::new();
    let pool = quick("sums")
        .max_size(4)
        .max_uses(3)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    let users: Vec<_> = (0..4)
        .map(|n| {
            let pool = pool.clone();
            spawn(move || {
                for round in 0..300 {
                    let Ok(guard) = pool.get_timeout(SOON) else {
                        continue;
                    };
                    match (n + round) % 4 {
                        0 => PooledConnection::discard(guard),
                        1 => drop(PooledConnection::detach(guard)),
                        _ => drop(guard),
                    }
                }
            })
        })
        .collect();
    while users.iter().any(|user| !user.is_finished()) {
        let stats = pool.stats();
        let open = stats.created + stats.added - stats.disposed - stats.detached;
        let there = stats.idle + stats.in_use + stats.disposing;
        assert_eq!(open, there as u64, "{stats:?}");
        assert_eq!(stats.size, stats.idle + stats.in_use + stats.creating);
        assert!(stats.size + stats.disposing <= 4, "{stats:?}");
    }
    users.into_iter().for_each(|user| user.join_soon());
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn hooks_that_close_the_pool_lose_nothing_wherever_they_do_it() {
    for collector in [true, false] {
        for at in [
            Hook::Create,
            Hook::Check,
            Hook::Checkout,
            Hook::Checkin,
            Hook::HasBroken,
        ] {
            let backend = MemoryManager::new();
            let slot: Arc<OnceLock<Pool<Custom>>> = Arc::default();
            let manager = Custom::new(&backend, {
                let slot = Arc::clone(&slot);
                move |hook, _| {
                    if let Some(pool) = slot.get().filter(|_| hook == at) {
                        pool.close();
                    }
                }
            });
            let pool = Pool::builder()
                .background_collector(collector)
                .health_check(HealthCheck::OnCheckout)
                .build(manager)
                .unwrap();
            assert!(slot.set(pool.clone()).is_ok());
            let held = pool.get();
            let other = pool.get();
            drop((held, other));
            assert!(pool.is_closed(), "{at}");
            pool.close_timeout(SOON).unwrap();
            all_disposed(&backend);
        }
    }
}

#[test]
fn an_abandoned_check_that_returns_after_its_slot_was_taken_again_harms_nobody() {
    let backend = MemoryManager::new();
    let pool = quick("again")
        .max_size(1)
        .check_timeout(ms(30))
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    let mut guard = pool.get_timeout(SOON).unwrap();
    assert_eq!(guard.id(), 2);
    assert_eq!(pool.stats().abandoned, 1);
    backend.release();
    eventually(|| pool.stats().abandoned == 0);
    assert_eq!((pool.stats().in_use, pool.stats().size), (1, 1));
    assert_eq!(guard.execute("PING").unwrap(), "PONG");
    drop(guard);
    fill(&pool, 1);
    close_clean(&pool, &backend);
}
