//! `background_collector(false)` under load: creates in turn, pauses, closing and clearing meanwhile.

use crate::common;

use common::{
    Custom, Gate, SOON, assert_at, close_clean, fill, ms, noise, queued, quick, quick_backoff,
    secs, spawn, take, timed,
};
use conpool::{
    Backoff, EvictReason, HealthCheck, Hook, ManualClock, MemoryManager, Pool, PoolBuilder,
    PooledConnection,
};

fn alone(name: &str) -> PoolBuilder<MemoryManager> {
    quick(name).background_collector(false)
}

/// A pool without threads whose creates first call this function.
fn gated(
    backend: &MemoryManager,
    max_size: usize,
    before: impl Fn(Hook, u64) + Send + Sync + 'static,
) -> Pool<Custom> {
    Pool::builder()
        .background_collector(false)
        .max_size(max_size)
        .backoff(quick_backoff())
        .build_lazy(Custom::new(backend, before))
        .unwrap()
}

#[test]
fn a_create_that_ends_lets_the_next_caller_create() {
    let backend = MemoryManager::new();
    let pool = alone("turns")
        .max_size(3)
        .max_creating(1)
        .build_lazy(backend.clone())
        .unwrap();
    backend.delay(Hook::Create, ms(20));
    let users: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(secs(2)))
        })
        .collect();
    let held: Vec<_> = users.into_iter().map(|user| user.join_soon()).collect();
    assert!(held.iter().all(Result::is_ok), "{held:?}");
    assert_eq!(backend.peak_running(Hook::Create), 1);
}

#[test]
fn build_opens_more_connections_than_may_be_created_at_once() {
    let pool = alone("many")
        .min_idle(5)
        .max_creating(2)
        .get_timeout(secs(2))
        .build(MemoryManager::new())
        .unwrap();
    assert_eq!(pool.stats().idle, 5);
}

#[test]
fn one_sweep_fills_min_idle_however_few_creates_may_be_in_flight() {
    let backend = MemoryManager::new();
    let pool = alone("sweepmin")
        .min_idle(5)
        .max_creating(2)
        .build_lazy(backend.clone())
        .unwrap();
    pool.sweep();
    assert_eq!(pool.stats().idle, 5);
    assert!(backend.peak_running(Hook::Create) <= 2);
}

#[test]
fn after_an_outage_every_caller_that_finds_a_free_slot_is_served() {
    let backend = MemoryManager::new();
    let pool = alone("outage")
        .max_size(4)
        .build_lazy(backend.clone())
        .unwrap();
    backend.fail_transient(Hook::Create, 3);
    let users: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(secs(2)))
        })
        .collect();
    let held: Vec<_> = users.into_iter().map(|user| user.join_soon()).collect();
    assert!(held.iter().all(Result::is_ok), "{held:?}");
}

#[test]
fn build_repeats_a_transient_error_even_after_the_shortest_pause() {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, 1);
    let pool = alone("shortest")
        .backoff(Backoff::default().with_initial(std::time::Duration::from_nanos(1)))
        .get_timeout(secs(2))
        .build(backend.clone());
    assert!(pool.is_ok(), "{pool:?}");
}

#[test]
fn a_connection_created_while_the_pool_closes_is_not_handed_out() {
    let (backend, gate) = (MemoryManager::new(), Gate::default());
    let pool = gated(&backend, 1, {
        let gate = gate.clone();
        move |hook, _| {
            if hook == Hook::Create {
                gate.pass();
            }
        }
    });
    let user = spawn({
        let pool = pool.clone();
        move || pool.get().map(drop)
    });
    common::eventually(|| gate.arrivals() == 1);
    pool.close();
    gate.open();
    let error = user.join_soon().expect_err("the pool is closed");
    assert!(error.is_closed(), "{error}");
    close_clean(&pool, &backend);
}

#[test]
fn a_connection_created_while_the_pool_is_cleared_is_not_handed_out() {
    let (backend, gate) = (MemoryManager::new(), Gate::default());
    let pool = gated(&backend, 1, {
        let gate = gate.clone();
        move |hook, call| {
            if hook == Hook::Create && call == 1 {
                gate.pass();
            }
        }
    });
    let user = spawn({
        let pool = pool.clone();
        move || {
            let guard = pool.get().unwrap();
            PooledConnection::info(&guard).generation
        }
    });
    common::eventually(|| gate.arrivals() == 1);
    pool.clear();
    gate.open();
    assert_eq!(user.join_soon(), 1, "of a generation that was cleared");
    assert_eq!(pool.stats().evicted(EvictReason::Cleared), 1);
}

#[test]
fn slow_checks_of_dead_connections_end_with_the_hook_during_which_the_deadline_passes() {
    let backend = MemoryManager::new();
    let pool = alone("slowdead")
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    drop(take(&pool, 10));
    backend.kill_all();
    backend.delay(Hook::Check, ms(150));
    let (result, took) = timed(|| pool.get_timeout(ms(200)));
    assert!(result.is_err(), "{result:?}");
    assert!(took <= ms(200) + ms(150) + noise(), "took {took:?}");
}

#[test]
fn slow_disposes_of_expired_connections_end_with_the_hook_during_which_the_deadline_passes() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = alone("slowold")
        .clock(clock.clone())
        .max_lifetime(secs(60))
        .build(backend.clone())
        .unwrap();
    drop(take(&pool, 10));
    clock.advance(secs(61));
    backend.delay(Hook::Dispose, ms(150));
    let (result, took) = timed(|| pool.get_timeout(ms(200)));
    // Plus the due work, which is bounded.
    assert!(took <= ms(200) + ms(150) * 3 + noise(), "took {took:?}");
    drop(result);
}

#[test]
fn check_in_disposes_what_is_due() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = alone("tidy")
        .clock(clock.clone())
        .max_size(2)
        .idle_timeout(secs(60))
        .health_check(HealthCheck::Never)
        .build(backend.clone())
        .unwrap();
    // Twice, so that every slot was used before.
    fill(&pool, 2);
    fill(&pool, 2);
    let mut held = take(&pool, 2);
    let kept = held.pop();
    drop(held);
    clock.advance(secs(61));
    assert_eq!(backend.counters().disposed, 0);
    drop(kept);
    assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 1);
    assert_eq!(backend.counters().disposed, 1);
}

#[test]
fn several_waiters_survive_the_pauses_of_a_long_outage() {
    let backend = MemoryManager::new();
    let pool = alone("waiters")
        .max_size(2)
        .build_lazy(backend.clone())
        .unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    // Known to be down: only the callers before the first failure may create beside each other.
    assert!(pool.get_timeout(ms(1)).is_err());
    let users: Vec<_> = (0..4)
        .map(|n| {
            let pool = pool.clone();
            spawn(move || timed(|| pool.get_timeout(ms(100 + 40 * n)).map(drop)))
        })
        .collect();
    for (n, user) in users.into_iter().enumerate() {
        let (result, took) = user.join_soon();
        let error = result.unwrap_err();
        assert!(error.is_timeout());
        assert!(error.last_create_error().is_some(), "{error}");
        assert_at(took, ms(100 + 40 * n as u64));
    }
    assert_eq!(backend.peak_running(Hook::Create), 1);
}

#[test]
fn a_pool_that_closes_during_a_pause_tells_all_waiters() {
    let backend = MemoryManager::new();
    let pool = alone("closing")
        .backoff(Backoff::default().with_initial(secs(5)))
        .build_lazy(backend.clone())
        .unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    let users: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get().map(drop))
        })
        .collect();
    queued(&pool, 3);
    pool.close();
    for user in users {
        assert!(user.join_soon().unwrap_err().is_closed());
    }
    assert!(pool.close_timeout(SOON).is_ok());
}
