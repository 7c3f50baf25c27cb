//! A spike: more callers than connections, and a slow connect. Returned connections serve the callers, and
//! the pool does not grow for callers that are gone.

use crate::common;

use common::{Gate, Log, close_clean, eventually, ms, queued, quick, secs, spawn, stays};
use conpool::{
    ConnectionManager, GetError, HealthCheck, Hook, KeyedPool, MemoryManager, Pool, PoolBuilder,
    PoolEvent, PoolObserver,
};
use std::sync::{Arc, Barrier, Mutex, atomic::AtomicUsize, atomic::Ordering::SeqCst};
use std::thread;

/// 50 requests come at once on 5 idle connections. The last of them is served before any connect ends.
#[test]
fn a_spike_is_served_by_what_comes_back_and_leaves_few_connections_behind() {
    for min_idle in [0, 5] {
        let backend = MemoryManager::new();
        let pool = quick("spike")
            .max_size(50)
            .min_idle(min_idle)
            .health_check(HealthCheck::Never)
            .build_lazy(backend.clone())
            .unwrap();
        eventually(|| pool.stats().idle == min_idle);
        for _ in min_idle..5 {
            pool.add(backend.create().unwrap()).unwrap();
        }
        backend.hang(Hook::Create);

        let (work, holding) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let (pool, work, holding) = (pool.clone(), work.clone(), Arc::clone(&holding));
                spawn(move || {
                    let guard = pool.get_timeout(secs(60)).unwrap();
                    holding.fetch_add(1, SeqCst);
                    work.pass();
                    guard.id()
                })
            })
            .collect();
        eventually(|| holding.load(SeqCst) == 5);
        queued(&pool, 45);
        // The pool has begun to grow, but not by one for each waiter.
        eventually(|| backend.running(Hook::Create) == 4);
        work.open();
        for caller in callers {
            let id = caller.join_soon();
            assert!((1..=5).contains(&id), "served by a new connection, {id}");
        }
        let stats = pool.stats();
        assert_eq!((stats.gets, stats.gets_waited), (50, 45), "{stats}");

        backend.release();
        eventually(|| pool.stats().creating == 0);
        stays(|| pool.stats().size <= 10 && pool.stats().creating == 0);
        assert!(backend.counters().peak_open <= 10);
        close_clean(&pool, &backend);
    }
}

/// 50 callers come at once on 5 idle connections, use them for 2 ms each, and a connect takes 1.5 s. The queue
/// is empty long before a quarter of a connect has passed. (psycopg_pool asserts fewer than 7 connections.)
#[test]
fn a_spike_that_check_ins_serve_opens_at_most_one_more_connection() {
    for min_idle in [0, 5] {
        short_spike(min_idle);
    }
}

fn short_spike(min_idle: usize) {
    let backend = MemoryManager::new();
    backend.delay(Hook::Create, ms(1500));
    let pool = quick("shortspike")
        .max_size(10)
        .max_creating(5)
        .min_idle(5)
        .health_check(HealthCheck::Never)
        .get_timeout(secs(60))
        .create_timeout(secs(60))
        .build(backend.clone())
        .unwrap();
    eventually(|| pool.stats().idle == 5);
    pool.set_min_idle(min_idle).unwrap();
    // In the first round the pool knows nothing about checkouts. In the second it does.
    for most in [6, 7] {
        let start = Arc::new(Barrier::new(50));
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let (pool, start) = (pool.clone(), Arc::clone(&start));
                spawn(move || {
                    start.wait();
                    let guard = pool.get().unwrap();
                    thread::sleep(ms(2));
                    drop(guard);
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join_soon());
        let stats = pool.stats();
        assert!(stats.size <= most, "{stats}");
        eventually(|| pool.stats().creating == 0);
    }
    close_clean(&pool, &backend);
}

/// A pool that has seen short checkouts only. A connect takes 80 ms.
fn short_checkouts(builder: PoolBuilder<MemoryManager>) -> (Pool<MemoryManager>, MemoryManager) {
    let backend = MemoryManager::new();
    backend.delay(Hook::Create, ms(80));
    let pool = builder
        .health_check(HealthCheck::Never)
        .get_timeout(secs(60))
        .build(backend.clone())
        .unwrap();
    for _ in 0..20 {
        drop(pool.get().unwrap());
    }
    (pool, backend)
}

/// A wrong guess costs a quarter of a connect and no more: here every connection comes back late.
#[test]
fn a_create_that_was_deferred_starts_although_nothing_comes_back() {
    let (pool, backend) = short_checkouts(quick("wrongguess").max_size(3));
    let held = pool.get().unwrap();
    // Short checkouts were the rule, so the pool waits for this one, in vain.
    let second = pool.get().unwrap();
    // A caller that gives up before the create starts is proof that the pool guessed wrong. The next caller
    // has a create at once, and that create goes on when its caller gives up too.
    for _ in 0..2 {
        let error = pool.get_timeout(ms(5)).unwrap_err();
        assert!(error.is_timeout());
    }
    eventually(|| pool.stats().idle == 1);
    drop((held, second));
    close_clean(&pool, &backend);
}

/// `max_waiters` counts only callers that no create will serve, and a deferred create will.
#[test]
fn a_caller_whose_create_is_deferred_is_not_refused() {
    let (pool, backend) = short_checkouts(quick("notrefused").max_size(2).max_waiters(0));
    let held = [pool.get().unwrap(), pool.get().unwrap()];
    assert!(matches!(
        pool.get(),
        Err(conpool::GetError::Saturated { .. })
    ));
    drop(held);
    close_clean(&pool, &backend);
}

/// The total of all keys leaves no room, so no create is deferred for the caller.
#[test]
fn a_caller_that_the_total_leaves_no_create_for_is_refused() {
    let backend = MemoryManager::new();
    backend.delay(Hook::Create, ms(400));
    let pool = KeyedPool::<u8, MemoryManager>::builder()
        .max_total(2)
        .max_waiters(0)
        .health_check(HealthCheck::Never)
        .get_timeout(secs(5))
        .build({
            let backend = backend.clone();
            move |_| backend.clone()
        })
        .unwrap();
    for _ in 0..20 {
        drop(pool.get(&1).unwrap());
    }
    let held = [pool.get(&1).unwrap(), pool.get(&2).unwrap()];
    let refused = pool.get(&1);
    assert!(
        matches!(refused, Err(GetError::Saturated { .. })),
        "{refused:?}"
    );
    drop(held);
}

/// Takes a connection when a leak is reported, on the thread that would start a deferred create.
#[derive(Clone, Default)]
struct Takes(Arc<Mutex<Option<Pool<MemoryManager>>>>, Log);

impl PoolObserver for Takes {
    fn on_event(&self, event: &PoolEvent) {
        if let PoolEvent::LeakSuspected { .. } = event {
            let pool = self.0.lock().unwrap().take();
            let got = pool.map(|pool| pool.get_timeout(secs(10)).is_ok());
            self.1.push(format!("{got:?}"));
        }
    }
}

#[test]
fn a_create_that_was_deferred_starts_although_the_collector_waits_for_it() {
    let backend = MemoryManager::new();
    backend.delay(Hook::Create, ms(80));
    let observer = Takes::default();
    let pool = quick("collectorwaits")
        .max_size(3)
        .health_check(HealthCheck::Never)
        .leak_threshold(ms(50))
        .observer(observer.clone())
        .build(backend.clone())
        .unwrap();
    for _ in 0..20 {
        drop(pool.get().unwrap());
    }
    *observer.0.lock().unwrap() = Some(pool.clone());
    let held = pool.get().unwrap();
    eventually(|| observer.1.count("") > 0);
    assert_eq!(observer.1.lines()[0], "Some(true)");
    drop(held);
    close_clean(&pool, &backend);
}
