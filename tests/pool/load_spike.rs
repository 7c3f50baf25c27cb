//! A spike: more callers than connections, and a slow connect. Returned connections serve the callers, and
//! the pool does not grow for callers that are gone.

use crate::common;

use common::{Gate, close_clean, eventually, queued, quick, spawn, stays};
use conpool::{ConnectionManager, HealthCheck, Hook, MemoryManager};
use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering::SeqCst};

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
                    let guard = pool.get_timeout(common::secs(60)).unwrap();
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
