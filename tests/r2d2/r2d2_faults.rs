//! `R2d2Manager`: every hook with every fault of the table in its documentation. After each fault the pool
//! serves at its full size, and closing releases everything.

use crate::common;
use crate::r2d2;

use common::{
    Gate, SOON, assert_at, eventually, fill, ms, now, spawn, take, timed, timeout_with_cause,
};
use conpool::{Cause, EvictReason, GetError, HealthCheck, Pool, PooledConnection, R2d2Manager};
use r2d2::{Fault, HOOKS, Hook, Peer, Refused, builder, close_clean, manager};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

const SIZE: usize = 2;

type TestPool = Pool<R2d2Manager<Peer>>;

/// A pool that checks at every checkout.
fn pool(name: &str, peer: &Peer) -> TestPool {
    let builder = builder(name)
        .max_size(SIZE)
        .health_check(HealthCheck::OnCheckout);
    builder.build_lazy(manager(peer)).unwrap()
}

/// The hook timeout in the tests of hanging hooks.
const LIMIT: Duration = ms(60);

/// A pool that checks at every checkout, with [`LIMIT`] as the timeout of every hook.
fn pool_with_timeouts(name: &str, peer: &Peer) -> TestPool {
    let builder = builder(name)
        .max_size(SIZE)
        .health_check(HealthCheck::OnCheckout)
        .create_timeout(LIMIT)
        .check_timeout(LIMIT)
        .dispose_timeout(LIMIT);
    builder.build_lazy(manager(peer)).unwrap()
}

/// Takes every slot, gives all back, and closes. `refused`: connections that `on_acquire` did not accept.
#[track_caller]
fn serves_in_full_and_closes(pool: &TestPool, refused: u64) {
    pool.manager().get_ref().heal();
    let held = take(pool, SIZE);
    assert_eq!(pool.stats().in_use, SIZE);
    assert!(pool.try_get().is_none());
    drop(held);
    close_clean(pool, refused);
}

#[test]
fn a_failure_costs_at_most_that_connection() {
    for hook in HOOKS {
        let peer = Peer::default();
        let pool = pool("r2fail", &peer);
        if matches!(hook, Hook::IsValid | Hook::HasBroken) {
            fill(&pool, 1);
        }
        peer.plan(hook, Fault::Fail, 1);
        let guard = pool.get_timeout(SOON).unwrap();
        if hook == Hook::OnRelease {
            PooledConnection::discard(guard);
        } else {
            drop(guard);
        }
        let stats = pool.stats();
        let seen = (
            stats.create_errors,
            stats.check_failures,
            stats.evicted(EvictReason::Broken),
        );
        let expected = match hook {
            Hook::Connect | Hook::OnAcquire => (1, 0, 0),
            Hook::IsValid => (0, 1, 0),
            Hook::HasBroken => (0, 0, 1),
            Hook::OnRelease => (0, 0, 0),
        };
        assert_eq!(seen, expected, "{hook:?}");
        serves_in_full_and_closes(&pool, u64::from(hook == Hook::OnAcquire));
    }
}

#[test]
fn a_panic_costs_at_most_that_connection() {
    for hook in HOOKS {
        let peer = Peer::default();
        let pool = pool("r2panic", &peer);
        if matches!(hook, Hook::IsValid | Hook::HasBroken) {
            fill(&pool, 1);
        }
        peer.plan(hook, Fault::Panic, 1);
        match (hook, pool.get_timeout(SOON)) {
            (Hook::Connect | Hook::OnAcquire, result) => {
                let error = result.unwrap_err();
                assert!(
                    matches!(&error, GetError::Panicked { hook: "create", message, .. }
                        if *message == format!("{hook:?} panics")),
                    "{error}"
                );
            }
            (Hook::OnRelease, result) => PooledConnection::discard(result.unwrap()),
            (_, result) => drop(result.unwrap()),
        }
        eventually(|| pool.stats().panics == 1);
        serves_in_full_and_closes(&pool, u64::from(hook == Hook::OnAcquire));
    }
}

#[test]
fn a_hang_costs_its_slot_until_its_timeout_and_no_caller_more_than_its_deadline() {
    for hook in [
        Hook::Connect,
        Hook::OnAcquire,
        Hook::IsValid,
        Hook::OnRelease,
    ] {
        let peer = Peer::default();
        let pool = pool_with_timeouts("r2hang", &peer);
        let gate = Gate::default();
        if matches!(hook, Hook::IsValid | Hook::OnRelease) {
            fill(&pool, SIZE);
        }
        peer.plan(hook, Fault::Hang(gate.clone()), SIZE as u64);
        let start = now();
        if hook == Hook::OnRelease {
            take(&pool, SIZE)
                .into_iter()
                .for_each(PooledConnection::discard);
        }
        // All slots are held by hooks that hang. On a thread of its own, so that a hang fails the test.
        let caller = spawn({
            let pool = pool.clone();
            move || timed(|| pool.get_timeout(ms(20)).map(drop))
        });
        match caller.join_soon() {
            // So late that the first connections were abandoned before.
            (Ok(()), _) => assert!(start.elapsed() >= LIMIT, "{hook:?}"),
            (Err(error), took) => {
                assert!(error.is_timeout(), "{error}");
                assert_at(took, ms(20));
            }
        }

        // Once their timeouts are over, the slots are free.
        let guard = pool.get_timeout(SOON).unwrap();
        assert!(pool.stats().abandoned >= 1, "{hook:?}: {}", pool.stats());
        drop(guard);

        // A connection that comes back late is released like any other.
        gate.open();
        eventually(|| pool.stats().abandoned == 0);
        serves_in_full_and_closes(&pool, 0);
    }
}

#[test]
fn a_has_broken_that_hangs_holds_the_thread_that_drops_and_nobody_else() {
    let peer = Peer::default();
    let pool = pool("r2slow", &peer);
    let guard = pool.get_timeout(SOON).unwrap();
    let gate = Gate::default();
    peer.plan(Hook::HasBroken, Fault::Hang(gate.clone()), 1);
    let dropper = spawn(move || drop(guard));
    eventually(|| peer.count(Hook::HasBroken) == 1);
    drop(pool.get_timeout(SOON).unwrap());
    assert!(!dropper.is_finished());
    gate.open();
    dropper.join_soon();
    serves_in_full_and_closes(&pool, 0);
}

#[test]
fn a_hang_is_named_as_the_cause_of_a_timeout() {
    let peer = Peer::default();
    let pool = pool_with_timeouts("r2cause", &peer);
    let gate = Gate::default();
    peer.plan(Hook::Connect, Fault::Hang(gate.clone()), u64::MAX);
    let told = timeout_with_cause(&pool, ms(200));
    assert!(
        matches!(told.last, Some(Cause::TimedOut { hook: "create", after }) if after == LIMIT),
        "{told:?}"
    );
    peer.heal();
    gate.open();
    serves_in_full_and_closes(&pool, 0);
}

#[test]
fn an_outage_ends_for_the_callers_that_wait_when_the_backend_is_back() {
    let peer = Peer::default();
    let pool = pool("r2outage", &peer);
    fill(&pool, SIZE);
    peer.plan(Hook::IsValid, Fault::Fail, u64::MAX);
    peer.plan(Hook::Connect, Fault::Fail, u64::MAX);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(SOON).map(drop))
        })
        .collect();
    // Both were found dead, and connecting was repeated.
    eventually(|| pool.stats().check_failures == 2 && peer.count(Hook::Connect) > 5);
    let error = pool.get_timeout(ms(30)).unwrap_err();
    assert_eq!(error.last_create_error(), Some(&Refused(Hook::Connect)));
    peer.heal();
    for caller in callers {
        caller.join_soon().unwrap();
    }
    serves_in_full_and_closes(&pool, 0);
}

#[test]
fn what_a_panic_dropped_is_evicted() {
    let peer = Peer::default();
    let pool = pool("r2taint", &peer);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _guard = pool.get_timeout(SOON).unwrap();
        panic!("halfway through a reply");
    }));
    assert!(result.is_err());
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 1);
    serves_in_full_and_closes(&pool, 0);
}

#[test]
fn a_classifier_that_panics_is_caught_counted_and_taken_for_a_no() {
    let peer = Peer::default();
    let classifier = |_: &Refused| -> bool { panic!("the classifier panics") };
    let pool = builder("r2class")
        .build_lazy(manager(&peer).transient(classifier))
        .unwrap();
    peer.plan(Hook::Connect, Fault::Fail, 1);
    let (result, took) = timed(|| pool.get().map(drop));
    assert_at(took, ms(0));
    let error = result.unwrap_err();
    assert!(matches!(error, GetError::Create { .. }), "{error:?}");
    assert_eq!(error.last_create_error(), Some(&Refused(Hook::Connect)));
    assert_eq!(pool.stats().panics, 1);
    serves_in_full_and_closes(&pool, 0);
}
