//! Promise 1: `get` returns by its deadline and never times out before it, whatever the hooks do.

use crate::common;

use common::{
    SOON, assert_at, fill, ms, noise, now, queued, quick, quick_backoff, secs, spawn, take, timed,
};
use conpool::{GetError, HealthCheck, Hook, MemoryManager, Phase, Pool, PooledConnection};
use std::time::Duration;

const T: Duration = ms(60);

#[test]
fn a_full_pool_gives_up_at_the_deadline_and_says_what_it_waited_for() {
    let backend = MemoryManager::new();
    let pool = quick("full").max_size(1).build(backend).unwrap();
    let _held = pool.get().unwrap();
    let (result, took) = timed(|| pool.get_timeout(T));
    assert_at(took, T);
    let Err(GetError::TimedOut(timeout)) = result else {
        panic!("{result:?}");
    };
    assert!(matches!(timeout.phase, Phase::Waiting), "{timeout:?}");
    assert_eq!((timeout.size, timeout.max_size, timeout.in_use), (1, 1, 1));
    assert!(timeout.waited >= T && timeout.waited <= took);
    assert_eq!(timeout.held_by_this_thread, 1);
}

#[test]
fn the_default_budget_is_the_setting_get_timeout() {
    let pool = quick("budget")
        .max_size(1)
        .get_timeout(T)
        .build(MemoryManager::new())
        .unwrap();
    let _held = pool.get().unwrap();
    let (result, took) = timed(|| pool.get());
    assert_at(took, T);
    assert!(result.unwrap_err().is_timeout());
}

#[test]
fn a_deadline_is_kept_as_a_point_in_time() {
    let pool = quick("point")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let _held = pool.get().unwrap();
    let deadline = now() + T;
    assert!(pool.get_deadline(deadline).unwrap_err().is_timeout());
    assert!(now() >= deadline && now() <= deadline + noise());
}

#[test]
fn a_deadline_that_has_passed_takes_what_is_idle_and_waits_for_nothing() {
    let pool = quick("past")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let deadline = now();
    let held = pool.get_deadline(deadline).unwrap();
    let (result, took) = timed(|| pool.get_deadline(deadline));
    assert!(result.unwrap_err().is_timeout());
    assert!(took <= noise(), "{took:?}");
    drop(held);
}

#[test]
fn a_create_that_hangs_is_left_behind_and_its_connection_serves_the_next() {
    let backend = MemoryManager::new();
    let pool = quick("hangcr")
        .max_size(1)
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let (result, took) = timed(|| pool.get_timeout(T));
    assert_at(took, T);
    let Err(GetError::TimedOut(timeout)) = result else {
        panic!("{result:?}");
    };
    assert!(matches!(timeout.phase, Phase::Creating), "{timeout:?}");

    let next = common::waiter(&pool);
    backend.release();
    assert_eq!(next.join_soon().unwrap(), 1);
    assert_eq!(
        backend.calls(Hook::Create),
        1,
        "the first create must have been used"
    );
}

#[test]
fn a_check_that_hangs_does_not_hold_its_caller() {
    let backend = MemoryManager::new();
    let pool = quick("hangch")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Check);
    let (result, took) = timed(|| pool.get_timeout(T));
    assert_at(took, T);
    let Err(GetError::TimedOut(timeout)) = result else {
        panic!("{result:?}");
    };
    assert!(matches!(timeout.phase, Phase::Checking), "{timeout:?}");
    backend.release();
    drop(pool.get_timeout(SOON).unwrap());
}

#[test]
fn a_dispose_that_hangs_does_not_hold_the_caller_that_needs_its_slot() {
    let backend = MemoryManager::new();
    let pool = quick("hangdi").max_size(1).build(backend.clone()).unwrap();
    backend.hang(Hook::Dispose);
    let ((), took) = timed(|| PooledConnection::discard(pool.get().unwrap()));
    assert!(took <= noise(), "discard waited {took:?}");
    let (result, took) = timed(|| pool.get_timeout(T));
    assert_at(took, T);
    let Err(GetError::TimedOut(timeout)) = result else {
        panic!("{result:?}");
    };
    assert!(matches!(timeout.phase, Phase::Disposing), "{timeout:?}");
    backend.release();
    drop(pool.get_timeout(SOON).unwrap());
}

#[test]
fn with_every_blocking_hook_hanging_every_caller_still_keeps_its_deadline() {
    let backend = MemoryManager::new();
    let pool = quick("hangall")
        .max_size(3)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 2);
    let held = pool.get().unwrap();
    for hook in [Hook::Create, Hook::Check, Hook::Dispose] {
        backend.hang(hook);
    }
    PooledConnection::discard(held);
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || timed(|| pool.get_timeout(T).map(drop)))
        })
        .collect();
    for caller in callers {
        let (result, took) = caller.join_soon();
        assert!(result.unwrap_err().is_timeout());
        assert_at(took, T);
    }
    let ((), took) = timed(|| pool.close());
    assert!(took <= noise(), "close waited {took:?}");
    backend.release();
}

#[test]
fn slow_checks_of_many_dead_connections_share_one_budget() {
    let backend = MemoryManager::new();
    let pool = quick("manydead")
        .max_size(8)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 8);
    backend.kill_all();
    backend.delay(Hook::Check, ms(40));
    backend.delay(Hook::Create, ms(100));
    let (result, took) = timed(|| pool.get_timeout(T));
    assert!(took <= T + noise(), "{took:?}");
    assert!(result.is_ok() || took >= T, "gave up after {took:?}");
}

#[test]
fn a_backoff_longer_than_the_budget_changes_nothing_about_the_deadline() {
    let backend = MemoryManager::new();
    let mut slow = quick_backoff();
    slow.initial = secs(3600);
    slow.max = secs(3600);
    let pool = quick("longback")
        .backoff(slow)
        .build_lazy(backend.clone())
        .unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    let (result, took) = timed(|| pool.get_timeout(T));
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, T);
}

#[test]
fn permanent_failures_beside_an_open_connection_do_not_end_the_wait_early() {
    let backend = MemoryManager::new();
    let pool = quick("permopen")
        .max_size(2)
        .build(backend.clone())
        .unwrap();
    let _held = pool.get().unwrap();
    backend.fail(Hook::Create, u64::MAX);
    let (result, took) = timed(|| pool.get_timeout(T));
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, T);
}

#[test]
fn no_timeout_at_all_waits_until_something_comes() {
    let backend = MemoryManager::new();
    let pool = quick("forever")
        .max_size(1)
        .get_timeout(Duration::MAX)
        .build(backend)
        .unwrap();
    let held = pool.get_timeout(Duration::MAX).unwrap();
    let callers = [Duration::MAX, Duration::MAX - ms(1), secs(u64::MAX / 4)].map(|timeout| {
        let pool = pool.clone();
        spawn(move || pool.get_timeout(timeout).map(drop))
    });
    let default = spawn({
        let pool = pool.clone();
        move || pool.get().map(drop)
    });
    queued(&pool, 4);
    drop(held);
    for caller in callers {
        caller.join_soon().unwrap();
    }
    default.join_soon().unwrap();
}

#[test]
fn thirty_callers_with_thirty_deadlines_each_get_their_own() {
    let pool: Pool<_> = quick("thirty")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let _held = take(&pool, 1);
    let callers: Vec<_> = (0..30)
        .map(|n| {
            let pool = pool.clone();
            let timeout = ms(5 + 3 * (n * 7 % 30));
            (
                timeout,
                spawn(move || timed(|| pool.get_timeout(timeout).map(drop))),
            )
        })
        .collect();
    for (timeout, caller) in callers {
        let (result, took) = caller.join_soon();
        assert!(result.unwrap_err().is_timeout());
        assert_at(took, timeout);
    }
    assert_eq!(pool.stats().waiters, 0);
    assert_eq!(pool.stats().timeouts, 30);
}
