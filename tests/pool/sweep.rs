//! A sweep blocks no other operation, whatever hook it is in.

use crate::common;

use common::{Gate, SOON, close_clean, eventually, queued, quick, secs, spawn, take};
use conpool::{
    ConnectionManager, Fairness, HealthCheck, Hook, ManualClock, MemoryManager, Pool, PoolBuilder,
    PoolEvent, PoolObserver,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

fn quiet(name: &str, clock: &ManualClock) -> PoolBuilder<MemoryManager> {
    quick(name)
        .clock(clock.clone())
        .max_size(4)
        .idle_timeout(secs(60))
        .max_lifetime(None)
        .health_check(HealthCheck::Never)
        .fairness(Fairness::Strict)
}

/// Runs everything that needs a slot or the pool's lock on a thread of its own: it must not hang.
fn everything_goes_on(pool: &Pool<MemoryManager>) {
    let held = take(pool, 1);
    let user = spawn({
        let pool = pool.clone();
        move || {
            for _ in 0..3 {
                // Idle in any slot, and then idle in the slot that this thread used last.
                drop(pool.get_timeout(SOON).unwrap());
                drop(pool.try_get().expect("an idle one"));
            }
            let stats = pool.stats();
            assert_eq!(stats.size, stats.idle + stats.in_use + stats.creating);
            pool.retain(|_, _| true);
            assert_eq!(pool.holders().len(), 1);
        }
    });
    user.join_soon();
    // A check-in serves a waiting caller, and a caller without a connection times out in time.
    let rest: Vec<_> = std::iter::from_fn(|| pool.try_get()).collect();
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(drop)
    });
    queued(pool, 1);
    drop(held);
    waiter.join_soon().unwrap();
    drop(rest);
}

/// In a pool without threads the calling sweep itself is in the hook.
#[test]
fn callers_go_on_while_a_sweep_is_in_a_hook() {
    for hook in [Hook::Create, Hook::Check, Hook::Dispose] {
        let (clock, backend) = (ManualClock::new(), MemoryManager::new());
        let mut builder = quiet("sweephook", &clock).background_collector(false);
        builder = match hook {
            Hook::Create => builder.max_size(5).min_idle(5),
            Hook::Check => builder.idle_timeout(None).keepalive_interval(secs(60)),
            _ => builder,
        };
        let pool = builder.build_lazy(backend.clone()).unwrap();
        for _ in 0..4 {
            pool.add(backend.create().unwrap()).unwrap();
        }
        // These two are in use, so the sweep does not touch them.
        let held = take(&pool, 2);
        clock.advance(secs(61));
        backend.hang(hook);
        let sweeper = spawn({
            let pool = pool.clone();
            move || pool.sweep()
        });
        eventually(|| backend.running(hook) == 1);
        drop(held);
        everything_goes_on(&pool);
        assert_eq!(backend.running(hook), 1, "the sweep is still in {hook}");
        backend.release();
        sweeper.join_soon();
        close_clean(&pool, &backend);
    }
}

/// Blocks the first thread that reports an eviction.
#[derive(Clone, Default)]
struct Slow {
    gate: Gate,
    evictions: Arc<AtomicUsize>,
}

impl PoolObserver for Slow {
    fn on_event(&self, event: &PoolEvent) {
        if let PoolEvent::Evicted { .. } = event {
            if self.evictions.fetch_add(1, SeqCst) == 0 {
                self.gate.pass();
            }
        }
    }
}

#[test]
fn callers_and_other_sweeps_go_on_while_a_sweep_tells_of_what_it_did() {
    let (clock, backend, slow) = (ManualClock::new(), MemoryManager::new(), Slow::default());
    let pool = quiet("tells", &clock)
        .observer(slow.clone())
        .build_lazy(backend.clone())
        .unwrap();
    for _ in 0..4 {
        pool.add(backend.create().unwrap()).unwrap();
    }
    let held = take(&pool, 2);
    // The collector or this sweep, whichever comes first, is blocked.
    clock.advance(secs(61));
    let sweeper = spawn({
        let pool = pool.clone();
        move || pool.sweep()
    });
    eventually(|| slow.evictions.load(SeqCst) >= 1);
    drop(held);
    everything_goes_on(&pool);
    let second = spawn({
        let pool = pool.clone();
        move || pool.sweep().evicted
    });
    assert_eq!(second.join_soon(), 0);
    slow.gate.open();
    sweeper.join_soon();
    assert!(backend.wait_for(|seen| seen.disposed >= 2, SOON));
    close_clean(&pool, &backend);
}

#[test]
fn a_sweep_that_finds_nothing_due_takes_no_connection_out_of_its_slot() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quiet("nothing", &clock)
        .max_size(200)
        .keepalive_interval(secs(50))
        .build_lazy(backend.clone())
        .unwrap();
    for _ in 0..200 {
        pool.add(backend.create().unwrap()).unwrap();
    }
    clock.advance(secs(20));
    let over = Arc::new(AtomicBool::new(false));
    let sweeper = spawn({
        let (pool, over) = (pool.clone(), Arc::clone(&over));
        move || {
            let sweeps = std::iter::repeat_with(|| pool.sweep().evicted);
            let sweeps = sweeps.take_while(|_| !over.load(SeqCst));
            sweeps.sum::<usize>()
        }
    });
    for _ in 0..100 {
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.size), (200, 200), "{stats}");
        let all: Vec<_> = std::iter::from_fn(|| pool.try_get()).collect();
        assert_eq!(all.len(), 200);
    }
    over.store(true, SeqCst);
    assert_eq!(sweeper.join_soon(), 0);
    close_clean(&pool, &backend);
}
