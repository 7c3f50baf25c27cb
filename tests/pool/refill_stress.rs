//! Refill under sweeps without pause: never more connections than `min_idle` needs.

use crate::common;

use common::{SOON, Task, close_clean, eventually, ms, now, quick, secs, spawn, timed};
use conpool::{HealthCheck, Hook, ManualClock, MemoryManager, Pool};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Sweeps without pause until it is dropped.
struct Sweeper(Arc<AtomicBool>, Option<Task<()>>);

impl Sweeper {
    fn start(pool: &Pool<MemoryManager>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let task = spawn({
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            move || {
                while !over.load(Ordering::Relaxed) {
                    pool.sweep();
                }
            }
        });
        Self(over, Some(task))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join_soon();
    }
}

/// At most this many rounds, or as many as a busy machine completes in two seconds.
fn rounds(most: u32) -> impl Iterator<Item = u32> {
    let start = now();
    (0..most).take_while(move |_| start.elapsed() < secs(2))
}

/// Its creates run concurrently. A create that gets no core for a while still counts. (After half a second
/// without a core, one more create is right.)
#[test]
fn a_build_opens_min_idle_connections_and_no_more() {
    let crowd: Vec<_> = (0..4)
        .map(|_| {
            spawn(|| {
                for _ in rounds(25) {
                    let backend = MemoryManager::new();
                    backend.delay(Hook::Create, ms(8));
                    let pool = quick("prime").min_idle(2).max_size(4);
                    let (created, took) = timed(|| {
                        let pool = pool.build(backend.clone()).unwrap();
                        eventually(|| pool.stats().creating == 0);
                        backend.counters().created
                    });
                    assert!(created == 2 || took > ms(500), "{created} in {took:?}");
                }
            })
        })
        .collect();
    crowd.into_iter().for_each(Task::join_soon);
}

/// A create that ends while a sweep counts must be counted, as a create or as its result.
#[test]
fn a_connection_that_expires_is_replaced_once() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("once")
        .clock(clock.clone())
        .min_idle(3)
        .max_lifetime(secs(60))
        .build(backend.clone())
        .unwrap();
    assert_eq!(pool.stats().created, 3);
    let _sweeper = Sweeper::start(&pool);
    for n in 1..=500 {
        clock.advance(secs(61));
        assert!(backend.wait_for(|seen| seen.disposed >= 3 * n, SOON));
        // The last replacement may not have begun yet.
        eventually(|| backend.counters().created >= 3 + 3 * n && pool.stats().creating == 0);
        assert_eq!(backend.counters().created, 3 + 3 * n, "in round {n}");
        assert_eq!(pool.stats().idle, 3);
    }
}

/// From the moment it is taken out, an idle connection counts as being checked.
#[test]
fn a_connection_that_is_checked_is_not_missing() {
    let backend = MemoryManager::new();
    let pool = quick("checked").min_idle(3).build(backend.clone()).unwrap();
    let sweeper = Sweeper::start(&pool);
    for _ in 0..500 {
        assert!(pool.check_health().is_healthy());
    }
    drop(sweeper);
    assert_eq!(backend.counters().created, 3);
}

/// The checks of one sweep count in another one that runs meanwhile.
#[test]
fn a_connection_kept_alive_is_not_missing() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("kept")
        .clock(clock.clone())
        .health_check(HealthCheck::Never)
        .idle_timeout(None)
        .max_lifetime(None)
        .min_idle(3)
        .keepalive_interval(secs(10))
        .build(backend.clone())
        .unwrap();
    let _sweeper = Sweeper::start(&pool);
    for n in 1..=300 {
        clock.advance(secs(10));
        eventually(|| backend.counters().checked >= 3 * n && pool.stats().idle >= 3);
        assert_eq!(backend.counters().created, 3, "after {n} rounds");
    }
}

/// A create of the refill may serve the caller. The caller's own create, which is then not needed and not
/// started, was counted.
#[test]
fn min_idle_is_reached_whichever_create_serves_the_first_caller() {
    let crowd: Vec<_> = (0..8)
        .map(|_| {
            spawn(|| {
                for round in rounds(100) {
                    let backend = MemoryManager::new();
                    let pool = quick("first").min_idle(2);
                    let pool = pool.build_lazy(backend.clone()).unwrap();
                    let held = pool.get().unwrap();
                    let start = now();
                    while pool.stats().idle < 2 {
                        let stats = pool.stats();
                        assert!(start.elapsed() < SOON, "in round {round}: {stats:?}");
                        thread::yield_now();
                    }
                    drop(held);
                    close_clean(&pool, &backend);
                }
            })
        })
        .collect();
    crowd.into_iter().for_each(Task::join_soon);
}
