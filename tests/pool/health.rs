//! `check_health` and `sweep` on request.

use crate::common;

use common::{
    Gate, SOON, assert_at, close_clean, eventually, fill, ms, noise, quick, secs, spawn, stays,
    timed,
};
use conpool::{
    Backoff, ConnectionManager, EvictReason, Health, Hook, ManualClock, MemoryManager, Pool,
};
use std::{
    error::Error,
    fmt,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

#[test]
fn all_good_is_healthy_some_dead_is_degraded_and_none_left_is_unhealthy() {
    let backend = MemoryManager::new();
    let pool = quick("health").max_size(4).build(backend.clone()).unwrap();
    fill(&pool, 4);
    let health = pool.check_health();
    assert!(matches!(health, Health::Healthy { .. }), "{health:?}");
    assert_eq!(backend.counters().checked, 4);

    backend.kill(1);
    let health = pool.check_health();
    assert!(matches!(health, Health::Degraded { .. }), "{health:?}");
    assert_eq!(pool.stats().evicted(EvictReason::CheckFailed), 1);

    backend.kill_all();
    backend.fail(Hook::Create, u64::MAX);
    let health = pool.check_health();
    assert!(matches!(health, Health::Unhealthy { .. }), "{health:?}");
    eventually(|| backend.counters().open == 0);
}

/// Creates one connection, which fails its check. Later creates fail with an error whose text takes until
/// `print` opens; a dispose takes until `dispose` opens.
struct DiesOnce {
    left: AtomicUsize,
    print: Gate,
    dispose: Gate,
}

#[derive(Debug)]
enum Died {
    Check,
    Create(Gate),
}

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Create(print) = self {
            print.pass();
        }
        f.write_str("the server has died")
    }
}

impl Error for Died {}

impl ConnectionManager for DiesOnce {
    type Connection = ();
    type Error = Died;

    fn create(&self) -> Result<(), Died> {
        match self.left.swap(0, SeqCst) {
            0 => Err(Died::Create(self.print.clone())),
            _ => Ok(()),
        }
    }

    fn check_aliveness(&self, (): &mut ()) -> Result<(), Died> {
        Err(Died::Check)
    }

    fn dispose(&self, (): ()) {
        self.dispose.pass();
    }
}

#[test]
fn a_dispose_that_ends_while_a_create_fails_does_not_hide_the_failure() {
    let (print, dispose) = (Gate::default(), Gate::default());
    let manager = DiesOnce {
        left: AtomicUsize::new(1),
        print: print.clone(),
        dispose: dispose.clone(),
    };
    let pool = Pool::builder().name("diesonce").max_size(2);
    let pool = pool.build(manager).unwrap();
    let asked = spawn({
        let pool = pool.clone();
        move || pool.check_health()
    });
    eventually(|| print.arrivals() == 1 && dispose.arrivals() == 1);
    dispose.open();
    eventually(|| pool.stats().disposing == 0);
    stays(|| !asked.is_finished());
    print.open();
    let health = asked.join_soon();
    assert!(matches!(health, Health::Unhealthy { .. }), "{health:?}");
}

#[test]
fn a_pool_with_nothing_open_opens_one_connection_to_know() {
    for threads in [true, false] {
        let backend = MemoryManager::new();
        let pool = quick("reopen").background_collector(threads);
        let pool = pool.build_lazy(backend.clone()).unwrap();
        assert_eq!(
            pool.check_health().to_string(),
            "healthy: 0 of 0 checks failed",
            "it has never failed"
        );
        backend.fail(Hook::Create, 4);
        for _ in 0..3 {
            assert!(pool.get().is_err());
        }
        thread::sleep(ms(10));
        // The fourth failure is its own.
        let health = pool.check_health();
        assert_eq!(health.to_string(), "unhealthy: 1 of 1 checks failed");
        assert_eq!(backend.calls(Hook::Create), 4);
        eventually(|| pool.check_health().is_healthy());
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.created), (1, 1), "{stats}");
        assert!(backend.counters().checked >= 1);
        let health = pool.check_health();
        assert_eq!(health.to_string(), "healthy: 0 of 1 checks failed");
        close_clean(&pool, &backend);
    }
}

#[test]
fn during_the_pause_after_a_failed_create_the_answer_is_that_failure() {
    let backend = MemoryManager::new();
    let long = Backoff::default().with_initial(secs(60)).with_max(secs(60));
    let pool = quick("pausing").backoff(long);
    let pool = pool.build_lazy(backend.clone()).unwrap();
    backend.fail(Hook::Create, 1);
    assert!(pool.get().is_err());
    let (health, took) = timed(|| pool.check_health());
    assert!(matches!(health, Health::Unhealthy { .. }), "{health:?}");
    assert!(took <= noise(), "{took:?}");
    assert_eq!(backend.calls(Hook::Create), 1);
    close_clean(&pool, &backend);
}

#[test]
fn when_all_that_was_idle_is_dead_a_new_connection_decides() {
    let backend = MemoryManager::new();
    let pool = quick("restart").max_size(3).build(backend.clone()).unwrap();
    fill(&pool, 3);
    backend.kill_all();
    let health = pool.check_health();
    assert_eq!(health.to_string(), "degraded: 3 of 3 checks failed");
    assert!(pool.stats().idle >= 1);
    assert!(pool.check_health().is_healthy());
    close_clean(&pool, &backend);
}

#[test]
fn a_create_that_hangs_holds_up_the_answer_no_longer_than_its_timeout() {
    let backend = MemoryManager::new();
    let pool = quick("stuck")
        .create_timeout(ms(100))
        .check_timeout(ms(100));
    let pool = pool.build_lazy(backend.clone()).unwrap();
    backend.fail(Hook::Create, 3);
    for _ in 0..3 {
        assert!(pool.get().is_err());
    }
    backend.hang(Hook::Create);
    thread::sleep(ms(10));
    let (health, took) = timed(|| pool.check_health());
    assert!(matches!(health, Health::Unhealthy { .. }), "{health:?}");
    assert!(took <= ms(200) + noise(), "{took:?}");
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn a_check_that_panics_counts_as_failed() {
    let backend = MemoryManager::new();
    let pool = quick("healthpanic")
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 2);
    backend.panic(Hook::Check, 1);
    let health = pool.check_health();
    assert!(matches!(health, Health::Degraded { .. }), "{health:?}");
    close_clean(&pool, &backend);
}

#[test]
fn a_check_that_hangs_ends_with_check_timeout() {
    let backend = MemoryManager::new();
    let pool = quick("healthhang")
        .check_timeout(ms(50))
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    let (health, took) = timed(|| pool.check_health());
    assert_at(took, ms(50));
    assert!(!matches!(health, Health::Healthy { .. }), "{health:?}");
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn callers_are_served_while_health_is_being_checked() {
    let backend = MemoryManager::new();
    let pool = quick("healthbusy")
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    let checker = spawn({
        let pool = pool.clone();
        move || pool.check_health()
    });
    eventually(|| backend.running(Hook::Check) == 1);
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
    backend.release();
    checker.join_soon();
}

#[test]
fn the_evictions_of_a_sweep_are_counted_when_it_returns() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("sweeps")
        .clock(clock.clone())
        .max_size(5)
        .idle_timeout(None)
        .max_lifetime(secs(60))
        .lifetime_jitter(0.0)
        .build(backend.clone())
        .unwrap();
    for round in 1..=3 {
        fill(&pool, 5);
        clock.advance(secs(61));
        pool.sweep();
        assert_eq!(pool.stats().evicted(EvictReason::MaxLifetime), 5 * round);
    }
    close_clean(&pool, &backend);
}

#[test]
fn many_threads_may_sweep_at_once_and_on_a_closed_pool_too() {
    let backend = MemoryManager::new();
    let pool = quick("sweepmany")
        .max_size(3)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 3);
    let sweepers = [(); 8].map(|()| {
        let pool = pool.clone();
        spawn(move || {
            pool.sweep();
        })
    });
    sweepers.into_iter().for_each(|sweeper| sweeper.join_soon());
    close_clean(&pool, &backend);
    let (_, took) = timed(|| pool.sweep());
    assert!(took <= SOON);
    let _ = pool.check_health();
}
