//! Bugs of other pools in the lifetime of connections. The whole list, with links, is `src/docs/peers.md`.

use crate::common;

use common::{Custom, SOON, close_clean, eventually, fill, ms, now, quick, secs, spawn, stays};
use conpool::{
    Clock, EvictReason, HealthCheck, ManualClock, MemoryManager, Pool, PoolBuilder,
    PooledConnection,
};
use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// A pool whose ages follow `clock`, without limits on them.
fn ageless(name: &str, clock: impl Clock) -> PoolBuilder<MemoryManager> {
    quick(name)
        .clock(clock)
        .idle_timeout(None)
        .max_lifetime(None)
        .lifetime_jitter(0.0)
        .health_check(HealthCheck::Never)
}

/// psycopg #482 (a check renewed a connection whose lifetime was over) and db_connection 2.10.1 (lifetime was
/// ignored while a connection was idle).
#[test]
fn a_connection_that_passes_every_check_still_ends_by_its_age() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = ageless("y482", clock.clone())
        .keepalive_interval(secs(10))
        .max_lifetime(secs(60))
        .build(backend.clone())
        .unwrap();
    for n in 1..=5 {
        clock.advance(secs(11));
        eventually(|| backend.counters().checked == 2 * n - 1 && pool.stats().idle == 1);
        assert!(pool.check_health().is_healthy());
    }
    assert_eq!(backend.counters().disposed, 0);
    clock.advance(secs(11));
    pool.sweep();
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    assert_eq!(pool.stats().evicted(EvictReason::MaxLifetime), 1);
    close_clean(&pool, &backend);
}

/// golang/go #41114: a limit on idle time had no effect without a limit on lifetime.
#[test]
fn each_limit_works_without_the_other() {
    for idle in [true, false] {
        let (clock, backend) = (ManualClock::new(), MemoryManager::new());
        let pool = ageless("g41114", clock.clone())
            .idle_timeout(idle.then_some(secs(60)))
            .max_lifetime((!idle).then_some(secs(60)))
            .build(backend.clone())
            .unwrap();
        fill(&pool, 3);
        clock.advance(secs(59));
        pool.sweep();
        assert_eq!(pool.stats().idle, 3);
        clock.advance(secs(2));
        assert!(backend.wait_for(|seen| seen.disposed == 3, SOON));
        let reason = if idle {
            EvictReason::IdleTimeout
        } else {
            EvictReason::MaxLifetime
        };
        assert_eq!(pool.stats().evicted(reason), 3);
        close_clean(&pool, &backend);
    }
}

/// golang/go #45993: a cleaner that slept until the end of the lifetime did not wake for the idle
/// timeout, which ended earlier.
#[test]
fn the_collector_does_not_sleep_through_a_short_idle_timeout_before_a_long_lifetime() {
    let backend = MemoryManager::new();
    let pool = quick("g45993")
        .idle_timeout(ms(50))
        .max_lifetime(secs(3600))
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    // Without idle connections the collector sleeps until the end of the lifetime.
    pool.sweep();
    thread::sleep(ms(80));
    drop(held);
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 1);
    close_clean(&pool, &backend);
}

/// node-postgres #1404: removing one client stopped the idle timers of the others.
#[test]
fn evicting_one_idle_connection_leaves_the_others_to_expire_in_their_time() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = ageless("pg1404", clock.clone())
        .idle_timeout(secs(60))
        .build(backend.clone())
        .unwrap();
    fill(&pool, 5);
    clock.advance(secs(30));
    pool.sweep();
    assert_eq!(pool.retain(|_, info| info.id != 2), 1);
    clock.advance(secs(29));
    pool.sweep();
    assert_eq!(pool.stats().idle, 4);
    clock.advance(secs(2));
    assert!(backend.wait_for(|seen| seen.disposed == 5, SOON));
    assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 4);
    close_clean(&pool, &backend);
}

/// A clock that can be set to any time.
#[derive(Clone)]
struct SettableClock(Arc<Mutex<Instant>>);

impl SettableClock {
    fn set(&self, time: Instant) {
        *self.0.lock().unwrap() = time;
    }
}

impl Clock for SettableClock {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }
}

/// POOL-279: idle times could become negative. A clock that is set back must not cause that, nor make
/// connections look old.
#[test]
fn a_clock_that_goes_back_expires_nothing_and_a_later_end_still_comes() {
    let noon = now() + secs(100_000);
    let clock = SettableClock(Arc::new(Mutex::new(noon)));
    let backend = MemoryManager::new();
    let pool = ageless("p279", clock.clone())
        .health_check(HealthCheck::AfterIdle(secs(30)))
        .idle_timeout(secs(60))
        .max_lifetime(secs(600))
        .keepalive_interval(secs(40))
        .leak_threshold(secs(50))
        .build(backend.clone())
        .unwrap();
    for back in [1, 3600, 90_000] {
        clock.set(noon - secs(back));
        pool.sweep();
        let guard = pool.get().unwrap();
        assert_eq!(guard.id(), 1);
        assert_eq!(PooledConnection::info(&guard).age, Duration::ZERO);
        clock.set(noon - secs(back + 5));
        drop(guard);
        assert_eq!(pool.stats().oldest_age, Some(Duration::ZERO));
    }
    stays(|| backend.counters().disposed == 0 && backend.counters().checked == 0);
    clock.set(noon + secs(61));
    pool.sweep();
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 1);
    close_clean(&pool, &backend);
}

/// db_connection 2.2.2: each idle interval pinged only some of the idle connections, and the others became
/// stale.
#[test]
fn keepalive_looks_at_every_idle_connection_every_time() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = ageless("dbc222", clock.clone())
        .max_size(8)
        .keepalive_interval(secs(10))
        .build(backend.clone())
        .unwrap();
    fill(&pool, 8);
    for n in 1..=5 {
        clock.advance(secs(10));
        pool.sweep();
        eventually(|| backend.counters().checked == 8 * n && pool.stats().idle == 8);
    }
    stays(|| backend.counters().checked == 40);
    close_clean(&pool, &backend);
}

/// HikariCP #2311 (a thread that outlived a pool kept the whole pool) and #1186 (so did a thread that only
/// gave back what others had taken, until memory ran out).
#[test]
fn threads_outlive_hundreds_of_pools_and_keep_nothing_of_them() {
    let token = Arc::new(());
    let (returns, guards) = mpsc::channel::<PooledConnection<Custom>>();
    let (done, ready) = mpsc::channel();
    let returner = spawn(move || {
        for guard in guards {
            drop(guard);
            done.send(()).unwrap();
        }
    });
    for turn in 0..300 {
        let backend = MemoryManager::new();
        let kept = Arc::clone(&token);
        let manager = Custom::new(&backend, move |_, _| {
            let _ = &kept;
        });
        let pool = Pool::builder()
            .background_collector(false)
            .build(manager)
            .unwrap();
        drop(pool.get().unwrap());
        returns.send(pool.get().unwrap()).unwrap();
        ready.recv().unwrap();
        drop(pool.get().unwrap());
        if turn % 2 == 0 {
            pool.close();
        }
        drop(pool);
        assert_eq!(backend.counters().open, 0);
    }
    // Both threads still run, with their thread-local state.
    assert_eq!(Arc::strong_count(&token), 1);
    drop(returns);
    returner.join_soon();
}
