//! After every scenario descriptors and threads are back at the start.

#![cfg(target_os = "linux")]

use crate::common;
use crate::resources;

use common::{HOOKS, SOON, eventually, ms, quick_backoff, secs, spawn, take};
use conpool::{EvictReason, HealthCheck, Hook, ManualClock, MemoryManager, Pool, PoolBuilder};
use conpool::{GetError, PooledConnection};
use resources::{
    process::alone,
    usage::Usage,
    wired::{Wired, WiredManager},
};
use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

type Wires = Pool<WiredManager>;

/// The starting point of a scenario.
struct Setup {
    backend: MemoryManager,
    collector: bool,
}

impl Setup {
    fn builder(&self) -> PoolBuilder<WiredManager> {
        Pool::builder()
            .name("stage")
            .max_size(4)
            .backoff(quick_backoff())
            .background_collector(self.collector)
    }

    fn manager(&self) -> WiredManager {
        WiredManager(self.backend.clone())
    }

    fn pool(&self) -> Wires {
        self.builder().build(self.manager()).unwrap()
    }

    /// A pool that checks at every checkout and abandons hooks after 30 ms.
    fn with_short_timeouts(&self) -> Wires {
        self.builder()
            .health_check(HealthCheck::OnCheckout)
            .create_timeout(ms(30))
            .check_timeout(ms(30))
            .dispose_timeout(ms(30))
            .build(self.manager())
            .unwrap()
    }
}

/// Runs the scenarios, each with the listed collector settings, each with a new setup.
fn run_scenarios(scenarios: &[(&str, fn(&Setup))], collectors: &[bool]) {
    alone(|| {
        let _ = common::noise();
        let before = Usage::now();
        for (scenario, run) in scenarios {
            for collector in collectors.iter().copied() {
                let backend = MemoryManager::new();
                run(&Setup {
                    backend: backend.clone(),
                    collector,
                });
                before.is_restored(&format!("{scenario}, collector: {collector}"));
                let seen = backend.counters();
                assert_eq!((seen.open, seen.in_hook), (0, 0), "{scenario}: {seen:?}");
            }
        }
    });
}

fn closed(setup: &Setup) {
    let pool = setup.pool();
    drop(take(&pool, 4));
    pool.close_timeout(SOON).unwrap();
}

fn dropped(setup: &Setup) {
    let pool = setup.pool();
    drop(take(&pool, 4));
}

fn never_used(setup: &Setup) {
    drop(
        setup
            .builder()
            .min_idle(3)
            .build_lazy(setup.manager())
            .unwrap(),
    );
}

fn outlived_by_guards(setup: &Setup) {
    let pool = setup.pool();
    let mut held = take(&pool, 3);
    drop(pool);
    assert_eq!(held[0].execute("PING").unwrap(), "PONG");
}

fn outlived_on_another_thread(setup: &Setup) {
    let pool = setup.pool();
    let held = take(&pool, 3);
    let keeping = spawn(move || drop(held));
    pool.close();
    drop(pool);
    keeping.join_soon();
}

fn suspended_for_ever(setup: &Setup) {
    let pool = setup.pool();
    let held = take(&pool, 2);
    pool.suspend();
    assert!(pool.get_timeout(ms(5)).unwrap_err().is_timeout());
    drop(held);
}

fn closed_over_waiters(setup: &Setup) {
    let pool = setup.pool();
    let held = take(&pool, 4);
    let waiters = [(); 3].map(|()| {
        let pool = pool.clone();
        spawn(move || pool.get_timeout(SOON).map(drop).unwrap_err().is_closed())
    });
    common::queued(&pool, 3);
    pool.close();
    assert!(waiters.into_iter().all(|waiter| waiter.join_soon()));
    drop(held);
    pool.close_timeout(SOON).unwrap();
}

fn cleared_shrunk_and_grown(setup: &Setup) {
    let pool = setup.pool();
    let held = take(&pool, 4);
    pool.clear();
    pool.set_max_size(1).unwrap();
    drop(held);
    pool.set_max_size(4).unwrap();
    drop(take(&pool, 4));
    pool.retain(|_, info| info.uses > 1);
    pool.close_timeout(SOON).unwrap();
}

fn added_and_detached(setup: &Setup) {
    let pool = setup.pool();
    let wires: Vec<Wired> = take(&pool, 4)
        .into_iter()
        .map(PooledConnection::detach)
        .collect();
    for wire in wires {
        pool.add(wire).unwrap();
    }
    let mine = PooledConnection::detach(pool.get_timeout(SOON).unwrap());
    pool.close_timeout(SOON).unwrap();
    drop(pool.add(mine).unwrap_err().into_inner());
}

fn expired(setup: &Setup) {
    let clock = ManualClock::new();
    let pool = setup
        .builder()
        .clock(clock.clone())
        .min_idle(2)
        .idle_timeout(secs(10))
        .max_lifetime(secs(60))
        .keepalive_interval(secs(5))
        .leak_threshold(secs(5))
        .build(setup.manager())
        .unwrap();
    for _ in 0..10 {
        drop(take(&pool, 4));
        clock.advance(secs(13));
        pool.sweep();
    }
    assert!(pool.stats().evicted(EvictReason::IdleTimeout) > 0);
    pool.close_timeout(SOON).unwrap();
}

fn left_by_panics(setup: &Setup) {
    let pool = setup.pool();
    for _ in 0..4 {
        let guards = take(&pool, 2);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guards = guards;
            resume_unwind(Box::new("the user gives up"));
        }));
        assert!(panicked.is_err());
    }
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 8);
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn whatever_users_do_descriptors_and_threads_are_back_at_the_start() {
    run_scenarios(
        &[
            ("closed", closed),
            ("dropped", dropped),
            ("never used", never_used),
            ("outlived by guards", outlived_by_guards),
            ("outlived on another thread", outlived_on_another_thread),
            ("suspended for ever", suspended_for_ever),
            ("closed over waiters", closed_over_waiters),
            ("cleared, shrunk and grown", cleared_shrunk_and_grown),
            ("added and detached", added_and_detached),
            ("expired", expired),
            ("left by panics", left_by_panics),
        ],
        &[true, false],
    );
}

/// Runs some of every operation; errors are ignored.
fn use_ignoring_errors(pool: &Wires) {
    for round in 0..6 {
        let guards: Vec<_> = (0..3).map(|_| pool.get_timeout(ms(20))).collect();
        if round == 2 {
            pool.clear();
        }
        for guard in guards.into_iter().flatten() {
            match round {
                4 => PooledConnection::discard(guard),
                _ => drop(guard),
            }
        }
    }
    pool.sweep();
}

fn hooks_fail(setup: &Setup) {
    for hook in HOOKS {
        let pool = setup.with_short_timeouts();
        setup.backend.fail(hook, u64::MAX);
        use_ignoring_errors(&pool);
        setup.backend.fail_transient(hook, 5);
        use_ignoring_errors(&pool);
        setup.backend.heal();
    }
}

fn hooks_panic(setup: &Setup) {
    for hook in HOOKS {
        let pool = setup.with_short_timeouts();
        setup.backend.panic(hook, 5);
        use_ignoring_errors(&pool);
        setup.backend.heal();
        drop(pool.get_timeout(SOON).unwrap());
        pool.close_timeout(SOON).unwrap();
    }
}

fn builds_fail(setup: &Setup) {
    let builder = || setup.builder().min_idle(3).get_timeout(ms(30));
    setup.backend.fail(Hook::Create, u64::MAX);
    builder().build(setup.manager()).unwrap_err();
    setup.backend.fail_transient(Hook::Create, u64::MAX);
    builder().build(setup.manager()).unwrap_err();
    setup.backend.heal();
    setup.backend.panic(Hook::Create, u64::MAX);
    builder().build(setup.manager()).unwrap_err();
    setup.backend.heal();
    setup
        .builder()
        .max_size(0)
        .build(setup.manager())
        .unwrap_err();
}

#[test]
fn whatever_fails_descriptors_and_threads_are_back_at_the_start() {
    run_scenarios(
        &[
            ("hooks fail", hooks_fail),
            ("hooks panic", hooks_panic),
            ("builds fail", builds_fail),
        ],
        &[true, false],
    );
}

/// Lets calls of this hook hang until they are abandoned, runs `end`, and lets the calls return.
fn hung(setup: &Setup, hook: Hook, end: impl FnOnce(&Wires)) {
    let pool = setup.with_short_timeouts();
    drop(take(&pool, 3));
    setup.backend.hang(hook);
    pool.clear();
    // On a busy machine a caller may time out before its hook begins; then the hook is never begun.
    eventually(|| {
        drop(pool.get_timeout(ms(5)));
        setup.backend.running(hook) > 0
    });
    eventually(|| pool.stats().abandoned > 0);
    end(&pool);
    setup.backend.release();
}

fn a_create_hangs(setup: &Setup) {
    hung(setup, Hook::Create, |_| ());
}

fn a_create_hangs_beyond_close(setup: &Setup) {
    hung(setup, Hook::Create, |pool| {
        let left = pool.close_timeout(Duration::ZERO).unwrap_err();
        assert!(left.hooks_running > 0, "{left}");
    });
}

fn a_dispose_hangs(setup: &Setup) {
    hung(setup, Hook::Dispose, |pool| drop(take(pool, 4)));
}

fn a_dispose_hangs_beyond_close(setup: &Setup) {
    hung(setup, Hook::Dispose, Pool::close);
}

fn a_check_hangs(setup: &Setup) {
    let pool = setup.with_short_timeouts();
    setup.backend.hang(Hook::Check);
    // The check is abandoned, and a new connection serves.
    drop(pool.get_timeout(SOON).unwrap());
    eventually(|| pool.stats().abandoned == 1);
    setup.backend.release();
    pool.close_timeout(SOON).unwrap();
}

fn a_build_is_given_up(setup: &Setup) {
    setup.backend.hang(Hook::Create);
    let result = setup.builder().get_timeout(ms(20)).build(setup.manager());
    result.unwrap_err();
    setup.backend.release();
}

fn a_late_create_meets_a_closed_pool(setup: &Setup) {
    let pool = setup.builder().build_lazy(setup.manager()).unwrap();
    setup.backend.delay(Hook::Create, ms(40));
    let error = pool.get_timeout(ms(5)).unwrap_err();
    assert!(matches!(error, GetError::TimedOut(_)), "{error}");
    drop(pool);
}

#[test]
fn whatever_hangs_descriptors_and_threads_are_back_at_the_start_when_it_returns() {
    run_scenarios(
        &[
            ("a create hangs", a_create_hangs),
            ("a create hangs beyond close", a_create_hangs_beyond_close),
            ("a dispose hangs", a_dispose_hangs),
            ("a dispose hangs beyond close", a_dispose_hangs_beyond_close),
            ("a check hangs", a_check_hangs),
            ("a build is given up", a_build_is_given_up),
            ("a late create", a_late_create_meets_a_closed_pool),
        ],
        &[true],
    );
}

#[test]
fn of_a_forgotten_guard_its_descriptor_stays_and_nothing_else() {
    alone(|| {
        let _ = common::noise();
        let before = Usage::now();
        for collector in [true, false] {
            let setup = Setup {
                backend: MemoryManager::new(),
                collector,
            };
            let pool = setup.pool();
            let mut held = take(&pool, 4);
            mem::forget(held.pop());
            drop(held);
            pool.close_timeout(ms(20)).unwrap_err();
        }
        let left = Usage {
            descriptors: before.descriptors + 2,
            ..before
        };
        left.is_restored("two forgotten guards");
    });
}
