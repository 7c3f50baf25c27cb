//! Races that a test can only provoke: each runs as often as a short test allows.

use crate::common;

use common::{Custom, SOON, ms, quick, secs, spawn, timed};
use conpool::{Clock, Fairness, HealthCheck, Hook, ManualClock, MemoryManager, Pool};
use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// Runs `work` on a thread of its own in a loop until the returned guard is dropped.
struct Meanwhile(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

fn meanwhile(mut work: impl FnMut() + Send + 'static) -> Meanwhile {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        while !stopped.load(SeqCst) {
            work();
        }
    });
    Meanwhile(stop, Some(thread))
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
        let _ = self.1.take().unwrap().join();
    }
}

#[test]
fn stats_may_be_asked_while_try_get_runs_without_pause() {
    let pool = quick("tries")
        .max_size(1)
        .health_check(HealthCheck::Never)
        .build(MemoryManager::new())
        .unwrap();
    let user = pool.clone();
    let _users = meanwhile(move || drop(user.try_get()));
    let start = Instant::now();
    while start.elapsed() < ms(500) {
        assert_eq!(pool.stats().gets, 0);
    }
}

#[test]
fn a_create_never_runs_on_the_collector_while_threads_can_be_had() {
    let backend = MemoryManager::new();
    let wrong = Arc::new(AtomicU64::new(0));
    for _ in 0..700 {
        let clock = ManualClock::new();
        let manager = Custom::new(&backend, {
            let wrong = Arc::clone(&wrong);
            move |hook, _| {
                let name = thread::current().name().map(str::to_owned);
                let here = name.is_some_and(|name| name.ends_with("collector"));
                if hook == Hook::Create && here {
                    wrong.fetch_add(1, SeqCst);
                }
            }
        });
        let pool = Pool::builder()
            .clock(clock.clone())
            .build_lazy(manager)
            .unwrap();
        // Keeps the collector awake.
        let _ticking = meanwhile(move || clock.advance(Duration::from_nanos(1)));
        drop(pool.get_timeout(SOON).unwrap());
    }
    assert_eq!(wrong.load(SeqCst), 0);
}

#[test]
fn every_step_of_a_clock_reaches_the_collector_even_when_two_threads_advance_it() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("steps")
        .clock(clock.clone())
        .max_lifetime(secs(60))
        .build(backend.clone())
        .unwrap();
    // Another user of the clock, whose wake-up callback is slow.
    let (inside, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    clock.on_jump({
        let (inside, leave) = (Arc::clone(&inside), Arc::clone(&leave));
        let called = AtomicBool::new(false);
        Box::new(move || {
            if !called.swap(true, SeqCst) {
                inside.wait();
                leave.wait();
            }
            true
        })
    });
    let slow = spawn({
        let clock = clock.clone();
        move || clock.advance(secs(1))
    });
    inside.wait();
    clock.advance(secs(61));
    leave.wait();
    slow.join_soon();
    let disposed = backend.wait_for(|seen| seen.disposed == 1, secs(2));
    assert!(disposed, "{:?}", pool.stats());
}

#[test]
fn a_waiter_does_not_sleep_beside_an_idle_connection_without_a_fairness_bound() {
    let pool = quick("nolimit")
        .max_size(1)
        .fairness(Fairness::Eventual(Duration::MAX))
        .health_check(HealthCheck::Never)
        .build(MemoryManager::new())
        .unwrap();
    for _ in 0..200 {
        let held = pool.get_timeout(SOON).unwrap();
        let waiter = common::waiter(&pool);
        // Overtaken once; after that there are no other callers.
        drop(held);
        drop(pool.try_get());
        waiter.join_soon().unwrap();
    }
}

#[test]
fn an_idle_connection_is_found_by_every_thread_whoever_used_it_last() {
    for fairness in [Fairness::Strict, Fairness::Eventual(ms(1))] {
        let pool = quick("found")
            .max_size(1)
            .fairness(fairness)
            .health_check(HealthCheck::Never)
            .build(MemoryManager::new())
            .unwrap();
        let users: Vec<_> = (0..4)
            .map(|n| {
                let pool = pool.clone();
                spawn(move || {
                    for round in 0..20_000 {
                        if (n + round) % 3 == 0 {
                            drop(pool.try_get());
                        } else {
                            drop(pool.get_timeout(secs(2)).unwrap());
                        }
                    }
                })
            })
            .collect();
        let start = Instant::now();
        while users.iter().any(|user| !user.is_finished()) && start.elapsed() < secs(20) {
            thread::sleep(ms(10));
        }
        users.into_iter().for_each(|user| user.join_soon());
        // On a thread without a cached slot of this pool.
        let stranger = pool.clone();
        assert!(spawn(move || stranger.try_get().is_some()).join_soon());
    }
}

#[test]
fn a_success_and_a_failure_at_the_same_moment_do_not_leave_creates_one_at_a_time() {
    for _ in 0..300 {
        let backend = MemoryManager::new();
        let inside = Arc::new(AtomicU64::new(0));
        let manager = Custom::new(&backend, {
            let backend = backend.clone();
            move |hook, call| {
                if hook == Hook::Create && call <= 2 {
                    // Both creates have begun, and then one of them fails.
                    if inside.fetch_add(1, SeqCst) == 0 {
                        backend.fail_transient(Hook::Create, 1);
                    }
                    while inside.load(SeqCst) < 2 {
                        std::hint::spin_loop();
                    }
                }
            }
        });
        let pool = Pool::builder()
            .max_size(4)
            .backoff(common::quick_backoff())
            .build_lazy(manager)
            .unwrap();
        let get = || {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(SOON))
        };
        let first = [get(), get()].map(|user| user.join_soon().unwrap());
        // The failed create was repeated and has succeeded: the outage is over.
        backend.hang(Hook::Create);
        let second = [get(), get()];
        let start = Instant::now();
        while backend.running(Hook::Create) < 2 && start.elapsed() < SOON {
            thread::sleep(ms(1));
        }
        let side_by_side = backend.running(Hook::Create);
        backend.release();
        drop(second.map(|user| user.join_soon().unwrap()));
        assert_eq!(side_by_side, 2);
        drop(first);
    }
}

#[test]
fn a_waiter_from_before_a_resume_gets_the_connection_that_comes_back_after_it() {
    let pool = quick("resumed")
        .max_size(1)
        .health_check(HealthCheck::Never)
        .build(MemoryManager::new())
        .unwrap();
    // The first check-in of a connection differs from all later ones.
    drop(pool.get().unwrap());
    let held = pool.get().unwrap();
    pool.suspend();
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(secs(2)).map(drop)
    });
    common::queued(&pool, 1);
    pool.resume();
    thread::sleep(ms(20));
    drop(held);
    assert!(waiter.join_soon().is_ok(), "{:?}", pool.stats());
}

#[test]
fn a_waiter_whose_connection_is_being_checked_gets_one_that_comes_back_first() {
    // A slow machine may miss the moment, but not five times.
    let at_once = (0..5).any(|_| {
        let (clock, backend) = (ManualClock::new(), MemoryManager::new());
        let pool = quick("beside")
            .clock(clock.clone())
            .max_size(2)
            .build(backend.clone())
            .unwrap();
        common::fill(&pool, 2);
        let held = pool.get().unwrap();
        let id = held.id();
        // The other connection has to be checked now.
        clock.advance(secs(1));
        backend.delay(Hook::Check, ms(90));
        let waiter = spawn({
            let pool = pool.clone();
            move || pool.get_timeout(SOON).unwrap().id()
        });
        common::eventually(|| backend.running(Hook::Check) == 1);
        drop(held);
        waiter.join_soon() == id
    });
    assert!(at_once, "it slept beside an idle connection");
}

#[test]
fn one_caller_has_one_connection_checked_however_many_are_idle() {
    let backend = MemoryManager::new();
    let pool = quick("onecheck")
        .max_size(8)
        .min_idle(8)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    backend.delay(Hook::Check, ms(20));
    let (got, took) = timed(|| pool.get_timeout(SOON));
    drop(got.unwrap());
    // After 100 ms it would try another connection.
    common::stays(|| backend.counters().checked == 1 || took >= ms(100));
}
