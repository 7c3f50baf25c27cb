//! Promise 4: failure is visible, and never worse than waiting.

use crate::common;

use common::{SOON, ms, noise, queued, quick, quick_backoff, secs, spawn, stays, timed};
use conpool::{
    Cause, EvictReason, Fairness, GetError, HealthCheck, Hook, MemoryError, MemoryManager, Pool,
    PoolEvent, PooledConnection,
};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

fn scripted(error: &MemoryError) -> bool {
    matches!(error, MemoryError::Scripted { .. })
}

#[test]
fn a_permanent_error_is_reported_at_once_when_nothing_is_open() {
    let backend = MemoryManager::new();
    let pool = quick("perm").build_lazy(backend.clone()).unwrap();
    backend.fail(Hook::Create, 1);
    let (result, took) = timed(|| pool.get());
    assert!(took <= noise(), "{took:?}");
    let error = result.unwrap_err();
    assert!(error.last_create_error().is_some_and(scripted));
    assert!(!error.is_timeout() && !error.is_closed() && !error.is_saturated());
    let GetError::Create {
        pool: name, error, ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(name.to_string(), "perm");
    assert!(scripted(&error));
    drop(pool.get_timeout(SOON).expect("the backend is well again"));
}

#[test]
fn a_panic_in_create_is_reported_at_once_when_nothing_is_open() {
    let backend = MemoryManager::new();
    let pool = quick("panics").build_lazy(backend.clone()).unwrap();
    backend.panic(Hook::Create, 1);
    let (result, took) = timed(|| pool.get());
    assert!(took <= noise(), "{took:?}");
    let Err(GetError::Panicked { message, .. }) = result else {
        panic!("{result:?}");
    };
    assert!(message.contains("scripted panic in create"), "{message}");
    assert_eq!(pool.stats().panics, 1);
    drop(pool.get_timeout(SOON).unwrap());
}

#[test]
fn a_permanent_error_goes_to_the_head_waiter_only() {
    let backend = MemoryManager::new();
    let pool = quick("headonly")
        .max_creating(1)
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let head = common::waiter(&pool);
    let next = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(drop)
    });
    queued(&pool, 2);
    backend.fail(Hook::Create, 1);
    backend.release();
    assert!(head.join_soon().unwrap_err().last_create_error().is_some());
    next.join_soon().unwrap();
}

/// The thread that ran the create may be delayed before its failure is reported. Callers that wait for it get
/// the error all the same, and no second create is begun in vain.
#[test]
fn a_permanent_error_reaches_its_waiter_when_the_thread_that_brings_it_is_held_up() {
    let backend = MemoryManager::new();
    let reported = Arc::new(AtomicUsize::new(0));
    let reports = Arc::clone(&reported);
    let pool = quick("heldup")
        .observer(move |event: &PoolEvent| {
            if let PoolEvent::CreateFailed { .. } = event {
                // Many times the pause after a failure.
                thread::sleep(ms(40));
                reports.fetch_add(1, SeqCst);
            }
        })
        .build_lazy(backend.clone())
        .unwrap();
    for turn in 1..=4 {
        if turn % 2 == 0 {
            backend.panic(Hook::Create, 1);
        } else {
            backend.fail(Hook::Create, 1);
        }
        let error = pool.get_timeout(SOON).unwrap_err();
        assert!(!error.is_timeout(), "{error:?}");
        assert_eq!(reported.load(SeqCst), turn, "reported before it is told");
        let stats = pool.stats();
        assert_eq!((stats.size, stats.creating), (0, 0), "{stats:?}");
        assert_eq!(backend.calls(Hook::Create), turn as u64);
    }
    drop(pool.get_timeout(SOON).unwrap());
}

#[test]
fn with_a_connection_open_a_permanent_error_leaves_the_waiter_in_its_place() {
    let backend = MemoryManager::new();
    let pool = quick("keepplace")
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    backend.fail(Hook::Create, u64::MAX);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(|guard| guard.id())
    });
    backend.wait_for(|seen| seen.create_errors > 0, SOON);
    stays(|| !waiter.is_finished());
    drop(held);
    assert_eq!(waiter.join_soon().unwrap(), 1);
}

#[test]
fn with_a_connection_open_a_failed_create_is_repeated_for_the_waiter() {
    for panics in [false, true] {
        let backend = MemoryManager::new();
        let pool = quick("again").max_size(2).build(backend.clone()).unwrap();
        let _held = pool.get().unwrap();
        if panics {
            backend.panic(Hook::Create, 3);
        } else {
            backend.fail(Hook::Create, 3);
        }
        assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
        assert_eq!(backend.calls(Hook::Create), 5);
    }
}

#[test]
fn when_the_last_open_connection_goes_the_waiter_gets_the_permanent_error() {
    let backend = MemoryManager::new();
    let pool = quick("lastgoes")
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    backend.fail(Hook::Create, u64::MAX);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get().map(drop)
    });
    backend.wait_for(|seen| seen.create_errors > 0, SOON);
    PooledConnection::discard(held);
    assert!(
        waiter
            .join_soon()
            .unwrap_err()
            .last_create_error()
            .is_some()
    );
}

#[test]
fn a_transient_error_is_repeated_until_it_works() {
    let backend = MemoryManager::new();
    let pool = quick("flaky").build_lazy(backend.clone()).unwrap();
    backend.fail_transient(Hook::Create, 4);
    drop(pool.get_timeout(SOON).unwrap());
    assert_eq!(backend.counters().create_errors, 4);
    assert_eq!(pool.stats().create_errors, 4);
}

#[test]
fn a_transient_error_that_lasts_comes_out_as_the_cause_of_the_timeout() {
    let backend = MemoryManager::new();
    let pool = quick("lasting").build_lazy(backend.clone()).unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    // Long enough for a busy machine to reach the first create.
    let error = pool.get_timeout(ms(400)).unwrap_err();
    assert!(error.is_timeout());
    assert!(
        error
            .last_create_error()
            .is_some_and(MemoryError::is_transient)
    );
    let GetError::TimedOut(timeout) = error else {
        panic!("{error:?}");
    };
    assert!(
        matches!(timeout.last, Some(Cause::Create(_))),
        "{timeout:?}"
    );
}

#[test]
fn callers_and_refill_share_one_backoff() {
    let backend = MemoryManager::new();
    let mut backoff = quick_backoff();
    backoff.initial = ms(40);
    backoff.max = ms(40);
    let pool = quick("shared").max_size(60).min_idle(3).backoff(backoff);
    backend.fail_transient(Hook::Create, u64::MAX);
    let pool = pool.build_lazy(backend.clone()).unwrap();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(ms(100)).map(drop))
        })
        .collect();
    for caller in callers {
        assert!(caller.join_soon().unwrap_err().is_timeout());
    }
    // At most max_creating calls in each of a few rounds.
    let calls = backend.calls(Hook::Create);
    assert!((2..=40).contains(&calls), "{calls} creates for 50 callers");
}

#[test]
fn repeated_creates_stop_when_nobody_wants_a_connection() {
    let backend = MemoryManager::new();
    let pool = quick("quiet").build_lazy(backend.clone()).unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    assert!(pool.get_timeout(ms(30)).unwrap_err().is_timeout());
    // One that was already on its way may still come.
    std::thread::sleep(ms(20));
    let calls = backend.calls(Hook::Create);
    stays(|| backend.calls(Hook::Create) == calls);
}

#[test]
fn a_failed_on_checkout_of_a_new_connection_is_a_failed_create() {
    let backend = MemoryManager::new();
    let pool = quick("newcheckout").build_lazy(backend.clone()).unwrap();
    backend.fail(Hook::Checkout, 1);
    let (result, took) = timed(|| pool.get());
    assert!(took <= noise(), "{took:?}");
    assert!(
        result
            .unwrap_err()
            .last_create_error()
            .is_some_and(scripted)
    );
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));

    backend.fail_transient(Hook::Checkout, 2);
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 4);
}

#[test]
fn a_failed_on_checkout_of_an_idle_connection_only_costs_that_one() {
    for panics in [false, true] {
        let backend = MemoryManager::new();
        let pool = quick("idlecheckout")
            .max_size(2)
            .build(backend.clone())
            .unwrap();
        common::fill(&pool, 2);
        if panics {
            backend.panic(Hook::Checkout, 1);
        } else {
            backend.fail(Hook::Checkout, 1);
        }
        drop(pool.get_timeout(SOON).unwrap());
        let stats = pool.stats();
        let reason = if panics {
            EvictReason::Panicked
        } else {
            EvictReason::HookFailed
        };
        assert_eq!(stats.evicted(reason), 1, "{stats:?}");
        assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    }
}

#[test]
fn a_waiter_whose_connection_fails_its_check_keeps_its_place() {
    let backend = MemoryManager::new();
    let pool = quick("placekept")
        .max_size(1)
        .fairness(Fairness::Strict)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    let log = common::Log::default();
    let waiters = ["first", "second"].map(|name| {
        let task = spawn({
            let (pool, log) = (pool.clone(), log.clone());
            move || {
                let guard = pool.get_timeout(SOON).unwrap();
                log.push(format!("{name} {}", guard.id()));
            }
        });
        queued(&pool, if name == "first" { 1 } else { 2 });
        task
    });
    assert!(backend.kill(held.id()));
    drop(held);
    waiters.into_iter().for_each(|waiter| waiter.join_soon());
    assert_eq!(log.lines(), ["first 2", "second 2"]);
    assert_eq!(pool.stats().evicted(EvictReason::CheckFailed), 1);
}

#[test]
fn however_a_connection_goes_the_waiter_is_woken() {
    type Way = fn(&MemoryManager, PooledConnection<MemoryManager>);
    let ways: [(&str, Way); 8] = [
        ("discard", |_, guard| PooledConnection::discard(guard)),
        ("detach", |_, guard| drop(PooledConnection::detach(guard))),
        ("killed", |backend, mut guard| {
            backend.kill_all();
            guard.execute("PING").unwrap_err();
        }),
        ("has_broken", |backend, _guard| {
            backend.fail(Hook::HasBroken, 1)
        }),
        ("on_checkin", |backend, _guard| {
            backend.fail(Hook::Checkin, 1)
        }),
        ("has_broken panics", |backend, _guard| {
            backend.panic(Hook::HasBroken, 1)
        }),
        ("on_checkin panics", |backend, _guard| {
            backend.panic(Hook::Checkin, 1)
        }),
        ("dispose panics", |backend, guard| {
            backend.panic(Hook::Dispose, 1);
            PooledConnection::discard(guard);
        }),
    ];
    for (name, way) in ways {
        let backend = MemoryManager::new();
        let pool = quick("woken")
            .max_size(1)
            .get_timeout(secs(60))
            .build(backend.clone())
            .unwrap();
        let held = pool.get().unwrap();
        let waiter = spawn({
            let pool = pool.clone();
            move || timed(|| pool.get().map(|guard| guard.id()))
        });
        queued(&pool, 1);
        let ((), took) = timed(|| way(&backend, held));
        assert!(took <= noise(), "{name}: {took:?}");
        assert_eq!(waiter.join_soon().0.unwrap(), 2, "{name}");
    }
}

#[test]
fn a_finished_dispose_wakes_the_waiter_that_needs_its_slot() {
    let backend = MemoryManager::new();
    let pool: Pool<_> = quick("finished")
        .max_size(1)
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Dispose);
    PooledConnection::discard(pool.get().unwrap());
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get().map(drop)
    });
    queued(&pool, 1);
    stays(|| !waiter.is_finished());
    backend.release();
    waiter.join_soon().unwrap();
}

#[test]
fn a_caller_that_comes_during_the_pause_is_served_when_it_is_over() {
    let backend = MemoryManager::new();
    let mut backoff = quick_backoff();
    backoff.initial = ms(60);
    backoff.max = ms(60);
    let pool = quick("midpause")
        .backoff(backoff)
        .build_lazy(backend.clone())
        .unwrap();
    backend.fail_transient(Hook::Create, 1);
    assert!(pool.get_timeout(ms(10)).unwrap_err().is_timeout());
    // The collector runs now and finds no need for a create after the pause.
    pool.set_min_idle(0).unwrap();
    std::thread::sleep(ms(10));
    drop(pool.get_timeout(SOON).unwrap());
    assert_eq!(backend.counters().create_errors, 1);
}
