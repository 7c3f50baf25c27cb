//! Callers that must not wait for a backend that is down.

use crate::common;
use crate::log_lines;

use common::{
    Custom, Gate, SOON, all_disposed, assert_at, close_clean, eventually, ms, noise, queued, quick,
    secs, spawn, timed,
};
use conpool::{
    Backoff, BuildError, Cause, ConnectionManager, GetError, HealthCheck, Hook, MemoryManager,
    Pool, PoolBuilder, PooledConnection,
};
use log_lines::{Line, Lines};
use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};
use tracing::Level;

/// One attempt, and the next one after a long time.
fn long_pause() -> Backoff {
    Backoff::default().with_initial(secs(60)).with_max(secs(60))
}

fn fast(name: &str) -> PoolBuilder<MemoryManager> {
    quick(name).fail_fast(true)
}

fn down() -> MemoryManager {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, u64::MAX);
    backend
}

#[track_caller]
fn fails_at_once(pool: &Pool<MemoryManager>) {
    let (got, took) = timed(|| pool.get());
    assert!(matches!(got, Err(GetError::Create { .. })), "{got:?}");
    assert_at(took, ms(0));
}

#[test]
fn the_first_caller_hears_the_cause_and_the_next_ones_cost_no_attempt() {
    let backend = down();
    let pool = fast("first").backoff(long_pause());
    let pool = pool.build_lazy(backend.clone()).unwrap();
    fails_at_once(&pool);
    for _ in 0..10 {
        fails_at_once(&pool);
    }
    assert_eq!(backend.calls(Hook::Create), 1);
    assert_eq!(pool.stats().timeouts, 0);
    close_clean(&pool, &backend);
}

#[test]
fn all_who_wait_are_told_when_an_attempt_fails() {
    let backend = down();
    backend.hang(Hook::Create);
    let pool = fast("all").backoff(long_pause());
    let pool = pool.max_creating(1).build_lazy(backend.clone()).unwrap();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get().map(drop))
        })
        .collect();
    queued(&pool, 8);
    backend.release();
    for caller in callers {
        let got = caller.join_soon();
        assert!(matches!(got, Err(GetError::Create { .. })), "{got:?}");
    }
    assert_eq!(backend.calls(Hook::Create), 1);
    close_clean(&pool, &backend);
}

#[test]
fn while_one_tries_again_the_others_need_not_wait_for_it() {
    let backend = down();
    let pool = fast("probe").build_lazy(backend.clone()).unwrap();
    fails_at_once(&pool);
    backend.hang(Hook::Create);
    // After the pause the next caller makes the attempt.
    let prober = loop {
        let prober = pool.clone();
        let prober = spawn(move || prober.get().map(drop));
        eventually(|| backend.running(Hook::Create) == 1 || prober.is_finished());
        if backend.running(Hook::Create) == 1 {
            break prober;
        }
    };
    fails_at_once(&pool);
    backend.heal();
    prober.join_soon().unwrap();
    drop(pool.get().unwrap());
    close_clean(&pool, &backend);
}

#[test]
fn an_open_connection_is_worth_waiting_for() {
    let backend = MemoryManager::new();
    let pool = fast("open").max_size(2).build(backend.clone()).unwrap();
    let guard = pool.get().unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    let waiter = pool.clone();
    let waiter = spawn(move || waiter.get().map(|guard| guard.id()));
    eventually(|| pool.stats().create_errors >= 1);
    assert_eq!(pool.stats().waiters, 1, "not sent away");
    let id = guard.id();
    drop(guard);
    assert_eq!(waiter.join_soon().unwrap(), id);
    close_clean(&pool, &backend);
}

#[test]
fn a_create_that_takes_too_long_is_a_cause_as_well() {
    let backend = MemoryManager::new();
    backend.hang(Hook::Create);
    let pool = fast("slow").backoff(long_pause()).create_timeout(ms(50));
    let pool = pool.build_lazy(backend.clone()).unwrap();
    let (got, took) = timed(|| pool.get());
    assert_at(took, ms(50));
    let Err(GetError::TimedOut(timeout)) = got else {
        panic!("{got:?}");
    };
    let after = ms(50);
    let hook = "create";
    assert!(
        matches!(&timeout.last, Some(Cause::TimedOut { hook: h, after: a }) if *h == hook && *a == after),
        "{timeout:?}"
    );
    let (got, took) = timed(|| pool.get());
    assert!(got.is_err());
    assert_at(took, ms(0));
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn without_a_collector_it_is_the_same() {
    let backend = down();
    let pool = fast("inline")
        .backoff(long_pause())
        .background_collector(false);
    let pool = pool.build_lazy(backend.clone()).unwrap();
    fails_at_once(&pool);
    fails_at_once(&pool);
    assert_eq!(backend.calls(Hook::Create), 1);
    close_clean(&pool, &backend);
}

#[test]
fn by_default_callers_wait_for_the_recovery_and_all_are_served() {
    let backend = down();
    let pool = quick("wait")
        .max_size(4)
        .build_lazy(backend.clone())
        .unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get().map(std::mem::forget))
        })
        .collect();
    queued(&pool, 4);
    eventually(|| backend.calls(Hook::Create) >= 3);
    assert_eq!(
        backend.peak_running(Hook::Create).min(4),
        backend.peak_running(Hook::Create)
    );
    backend.heal();
    for caller in callers {
        caller.join_soon().unwrap();
    }
    assert_eq!(pool.stats().in_use, 4);
}

/// The backend may recover between the reading of the pause and the reading of its cause.
#[test]
fn who_comes_at_the_moment_of_recovery_is_not_told_of_a_timeout_that_never_was() {
    let backend = MemoryManager::new();
    let pool = fast("recovery").max_size(8).create_timeout(secs(30));
    let pool = pool.build_lazy(backend.clone()).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            spawn(move || {
                while !over.load(SeqCst) {
                    match pool.get() {
                        Ok(_) | Err(GetError::Create { .. }) => {}
                        Err(error) => return Some(format!("{error:?}")),
                    }
                }
                None
            })
        })
        .collect();
    for _ in 0..60 {
        backend.fail_transient(Hook::Create, u64::MAX);
        backend.kill_all();
        pool.clear();
        thread::sleep(ms(5));
        backend.heal();
        thread::sleep(ms(5));
    }
    over.store(true, SeqCst);
    for caller in callers {
        assert_eq!(caller.join_soon(), None);
    }
    close_clean(&pool, &backend);
}

#[test]
fn what_a_check_said_is_not_told_as_what_create_said() {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, 1);
    let pool = fast("check")
        .backoff(long_pause())
        .health_check(HealthCheck::OnCheckout)
        .build_lazy(backend.clone())
        .unwrap();
    fails_at_once(&pool);
    // All connections are gone again after this one, and the last failure is a check's.
    pool.add(pool.manager().create().unwrap()).unwrap();
    backend.fail(Hook::Check, 1);
    for _ in 0..2 {
        let error = pool.get().unwrap_err();
        let told = error.last_create_error().unwrap().to_string();
        assert!(told.contains("create"), "{told}");
    }
    assert_eq!(pool.stats().check_failures, 1);
}

#[test]
fn who_waits_beside_a_check_that_hangs_hears_of_the_outage_when_the_check_is_given_up_on() {
    let backend = MemoryManager::new();
    let pool = fast("hung").backoff(long_pause()).max_size(2);
    let pool = pool
        .health_check(HealthCheck::OnCheckout)
        .check_timeout(ms(150))
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    backend.fail_transient(Hook::Create, u64::MAX);
    // The caller's soft deadline for the check is 100 ms. Then a create is tried, and fails beside the
    // connection in the check.
    let got = pool.get_timeout(SOON).map(drop);
    assert!(matches!(got, Err(GetError::Create { .. })), "{got:?}");
    assert_eq!(
        backend.calls(Hook::Create),
        2,
        "another attempt was waited for"
    );
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn who_waits_for_the_last_connection_hears_of_the_outage_when_it_is_gone() {
    let backend = MemoryManager::new();
    let pool = fast("last").backoff(long_pause()).max_size(2);
    let pool = pool.build(backend.clone()).unwrap();
    for detached in [false, true] {
        let held = pool.get().unwrap();
        backend.fail_transient(Hook::Create, 1);
        let caller = spawn({
            let pool = pool.clone();
            move || pool.get().map(drop)
        });
        // Its create has failed and freed its slot, and it waits for the one connection.
        eventually(|| {
            let stats = pool.stats();
            stats.create_errors == 1 + u64::from(detached) && stats.creating == 0
        });
        queued(&pool, 1);
        match detached {
            true => drop(PooledConnection::detach(held)),
            false => PooledConnection::discard(held),
        }
        let got = caller.join_soon();
        assert!(matches!(got, Err(GetError::Create { .. })), "{got:?}");
        // One connection is open again for the second round, as after a recovery.
        pool.add(pool.manager().create().unwrap()).unwrap();
    }
}

fn build_fails_at_once<M: ConnectionManager<Error: fmt::Debug>>(
    builder: PoolBuilder<M>,
    manager: M,
    after: Duration,
) -> BuildError<M::Error> {
    let (built, took) = timed(|| builder.build(manager));
    assert_at(took, after);
    built.map(drop).unwrap_err()
}

#[test]
fn a_build_reports_the_first_failed_create_although_it_is_transient() {
    for collector in [true, false] {
        let backend = down();
        let builder = fast("bfirst").max_creating(1).min_idle(3);
        // Without a pause a second create would follow at once.
        let builder = builder.backoff(Backoff::default().with_initial(Duration::from_nanos(1)));
        let builder = builder.background_collector(collector);
        let error = build_fails_at_once(builder, backend.clone(), ms(0));
        assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
        assert!(error.last_create_error().is_some(), "{error:?}");
        assert_eq!(backend.calls(Hook::Create), 1, "collector: {collector}");
        all_disposed(&backend);
        eventually(|| common::threads("bfirst-") == 0);
    }
}

#[test]
fn a_build_reports_a_failed_create_although_others_have_succeeded() {
    let backend = MemoryManager::new();
    let remote = backend.clone();
    let manager = Custom::new(&backend, move |hook, number| {
        if hook == Hook::Create && number == 3 {
            remote.fail_transient(Hook::Create, u64::MAX);
        }
    });
    let builder = Pool::builder().name("bsome").fail_fast(true);
    let builder = builder.min_idle(4).max_size(4).max_creating(1);
    let error = build_fails_at_once(builder, manager, ms(0));
    assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
    assert_eq!(backend.counters().created, 2);
    all_disposed(&backend);
}

#[test]
fn a_build_reports_a_create_that_takes_too_long_when_create_timeout_is_over() {
    let backend = MemoryManager::new();
    backend.hang(Hook::Create);
    let builder = fast("bhang").create_timeout(ms(50)).min_idle(2);
    let error = build_fails_at_once(builder, backend.clone(), ms(50));
    let BuildError::TimedOut(timeout) = &error else {
        panic!("{error:?}");
    };
    let (hook, after) = ("create", ms(50));
    assert!(
        matches!(&timeout.last, Some(Cause::TimedOut { hook: h, after: a }) if *h == hook && *a == after),
        "{timeout:?}"
    );
    assert!(timeout.waited >= after, "{timeout:?}");
    let source = error.source().expect("the hook that took too long");
    assert_eq!(source.to_string(), "create did not return within 50ms");
    backend.release();
    all_disposed(&backend);
}

#[test]
fn a_build_that_has_failed_does_not_wait_for_another_create_that_hangs() {
    for permanent in [true, false] {
        let backend = down();
        if permanent {
            backend.heal();
            backend.fail(Hook::Create, u64::MAX);
        }
        let gate = Gate::default();
        let hangs = gate.clone();
        let manager = Custom::new(&backend, move |hook, number| {
            if hook == Hook::Create && number == 1 {
                hangs.pass();
            }
        });
        let builder = Pool::builder().name("bother").fail_fast(!permanent);
        let error = build_fails_at_once(builder.min_idle(2), manager, ms(0));
        assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
        gate.open();
        all_disposed(&backend);
        eventually(|| common::threads("bother-") == 0);
    }
}

#[test]
fn a_build_that_has_failed_waits_for_the_disposes_of_what_it_opened() {
    let backend = MemoryManager::new();
    backend.delay(Hook::Dispose, ms(300));
    let remote = backend.clone();
    let manager = Custom::new(&backend, move |hook, number| {
        if hook == Hook::Create && number == 2 {
            remote.fail_transient(Hook::Create, u64::MAX);
        }
    });
    let builder = Pool::builder().name("bdispose").fail_fast(true);
    let builder = builder.min_idle(2).max_size(2).max_creating(1);
    build_fails_at_once(builder, manager, ms(300));
    assert_eq!(backend.counters().disposed, 1);
}

#[test]
fn a_build_without_fail_fast_repeats_what_is_transient_until_its_deadline() {
    let backend = down();
    let builder = quick("bpatient").get_timeout(ms(100));
    let error = build_fails_at_once(builder, backend.clone(), ms(100));
    assert!(error.is_timeout(), "{error:?}");
    assert!(error.last_create_error().is_some(), "{error:?}");
    assert!(backend.calls(Hook::Create) >= 2);
    all_disposed(&backend);
}

/// The warnings of a build of this pool that continues after a failure.
fn build_warnings(warnings: &Lines, pool: &str) -> Vec<Line> {
    let mut lines = warnings.of(pool);
    lines.retain(|line| line.message().contains("build waits"));
    lines
}

/// A refusal with a cause.
#[derive(Debug)]
struct Refused(std::io::Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("db error")
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

struct Refuses;

impl ConnectionManager for Refuses {
    type Connection = ();
    type Error = Refused;

    fn create(&self) -> Result<(), Refused> {
        Err(Refused(std::io::Error::other("the password is wrong")))
    }

    fn check_aliveness(&self, (): &mut ()) -> Result<(), Refused> {
        Ok(())
    }

    fn is_transient(&self, _: &Refused) -> bool {
        true
    }
}

#[test]
fn a_build_that_waits_after_failures_warns_at_once_and_then_once_a_second() {
    let warnings = Lines::global(Level::WARN);
    let begun = Instant::now();
    let builder = Pool::builder()
        .name("blog")
        .backoff(common::quick_backoff())
        .get_timeout(ms(2500));
    let (built, took) = timed(|| builder.build(Refuses));
    assert!(built.unwrap_err().is_timeout());
    let lines = build_warnings(&warnings, "blog");
    let first = &lines[0];
    assert!(first.at <= begun + noise(), "{:?}", first.at - begun);
    assert!(
        first.fields["error"].contains("db error: the password is wrong"),
        "no chain of causes in {first:?}"
    );
    assert!(
        (2..=1 + took.as_secs() as usize).contains(&lines.len()),
        "{lines:?}"
    );
    for pair in lines.windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart + noise() >= secs(1), "{apart:?}");
    }
}

#[test]
fn a_build_that_ends_with_its_first_failure_does_not_warn_that_it_waits() {
    let warnings = Lines::global(Level::WARN);
    let builder = Pool::builder().name("bnolog").fail_fast(true);
    let error = builder.build(Refuses).unwrap_err();
    assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
    assert!(build_warnings(&warnings, "bnolog").is_empty());
}
