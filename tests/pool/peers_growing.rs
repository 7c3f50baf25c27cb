//! Bugs of other pools in opening connections: too many, too few, or never again. The whole list, with links,
//! is `src/docs/peers.md`.

use crate::common;

use common::{SOON, close_clean, eventually, ms, quick, secs, spawn, stays, take};
use conpool::{Hook, ManualClock, MemoryManager, PooledConnection};

/// bb8 #221: a notification left over from an earlier check-in made one get open two connections.
#[test]
fn a_lone_caller_opens_one_connection_at_a_time() {
    let backend = MemoryManager::new();
    let pool = quick("b221")
        .max_size(5)
        .build_lazy(backend.clone())
        .unwrap();
    for turn in 0..30 {
        let guard = pool.get_timeout(SOON).unwrap();
        assert_eq!(guard.id(), turn + 1);
        drop(guard);
        let guard = pool.get_timeout(SOON).unwrap();
        assert_eq!(guard.id(), turn + 1);
        PooledConnection::discard(guard);
    }
    stays(|| backend.counters().created == 30);
    close_clean(&pool, &backend);
}

/// HikariCP 2.2.4: after an outage the pool grew to its maximum for callers that had timed out long before.
#[test]
fn after_an_outage_the_first_caller_finds_one_connection_and_not_ten() {
    let backend = MemoryManager::new();
    let pool = quick("h224").build_lazy(backend.clone()).unwrap();
    backend.fail_transient(Hook::Create, u64::MAX);
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(ms(30)).map(drop))
        })
        .collect();
    for caller in callers {
        assert!(caller.join_soon().unwrap_err().is_timeout());
    }
    eventually(|| pool.stats().creating == 0);
    backend.heal();
    drop(pool.get_timeout(SOON).unwrap());
    stays(|| backend.counters().created == 1);
}

/// HikariCP #559: every pass of the housekeeper requested again the connections that were already on their
/// way.
#[test]
fn a_refill_under_way_is_not_asked_for_again() {
    let backend = MemoryManager::new();
    backend.hang(Hook::Create);
    let pool = quick("h559")
        .min_idle(2)
        .build_lazy(backend.clone())
        .unwrap();
    eventually(|| backend.running(Hook::Create) == 2);
    for _ in 0..10 {
        pool.sweep();
    }
    assert_eq!(pool.stats().creating, 2);
    backend.release();
    eventually(|| pool.stats().idle == 2);
    stays(|| backend.calls(Hook::Create) == 2);
    close_clean(&pool, &backend);
}

/// psycopg #1176: a connection whose close failed was replaced again with every retry.
#[test]
fn a_dispose_that_panics_asks_for_one_replacement_only() {
    let backend = MemoryManager::new();
    let pool = quick("y1176").min_idle(2).build(backend.clone()).unwrap();
    backend.panic(Hook::Dispose, u64::MAX);
    for n in 1..=5 {
        pool.clear();
        eventually(|| pool.stats().idle == 2 && pool.stats().disposing == 0);
        stays(|| backend.counters().created == 2 + 2 * n);
    }
    assert_eq!(pool.stats().panics, 10);
    close_clean(&pool, &backend);
}

/// HikariCP 2.3.7 (many connections that reached their age together drove the pool to its maximum) and
/// 2.4.4 (so did the end of a machine's sleep).
#[test]
fn after_a_long_sleep_the_pool_does_not_grow_to_its_maximum() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("h237")
        .clock(clock.clone())
        .max_size(50)
        .min_idle(3)
        .idle_timeout(secs(600))
        .max_lifetime(secs(1800))
        .build(backend.clone())
        .unwrap();
    for _ in 0..5 {
        let before = backend.counters();
        clock.advance(secs(36_000));
        let old = before.disposed + before.open as u64;
        assert!(backend.wait_for(|seen| seen.disposed >= old, SOON));
        eventually(|| pool.stats().idle >= 3 && pool.stats().creating == 0);
    }
    // Each may live beside its replacement.
    let seen = backend.counters();
    assert!(seen.peak_open < 12, "{seen:?}");
    close_clean(&pool, &backend);
}

/// HikariCP 2.0.1: the housekeeper added idle connections with a minimum of 0.
#[test]
fn with_a_minimum_of_zero_nothing_is_opened_that_nobody_asked_for() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("h201")
        .clock(clock.clone())
        .min_idle(0)
        .keepalive_interval(secs(10))
        .build_lazy(backend.clone())
        .unwrap();
    for _ in 0..5 {
        clock.advance(secs(3600));
        pool.sweep();
        assert_eq!(pool.check_health().checked(), 0);
    }
    stays(|| backend.calls(Hook::Create) == 0);
    drop(pool.get_timeout(SOON).unwrap());
    clock.advance(secs(36_000));
    pool.sweep();
    eventually(|| pool.stats().size == 0);
    stays(|| backend.calls(Hook::Create) == 1);
}

/// psycopg #230: a race between building the pool and its first workers left it unfilled.
#[test]
fn a_pool_fills_up_every_time_it_is_built() {
    for _ in 0..40 {
        let backend = MemoryManager::new();
        let pool = quick("y230")
            .min_idle(3)
            .build_lazy(backend.clone())
            .unwrap();
        assert!(backend.wait_for(|seen| seen.created == 3, SOON));
        eventually(|| pool.stats().idle == 3);
        close_clean(&pool, &backend);
    }
}

/// psycopg #438: `check` evicted the dead connections, and the empty pool stayed empty.
#[test]
fn a_pool_that_a_check_has_emptied_fills_itself_again() {
    let backend = MemoryManager::new();
    let pool = quick("y438").min_idle(3).build(backend.clone()).unwrap();
    for _ in 0..5 {
        let before = backend.counters();
        assert!(backend.kill_all() >= 3);
        assert!(pool.check_health().failed() >= 3);
        assert!(backend.wait_for(|seen| seen.created >= before.created + 3, SOON));
        eventually(|| pool.stats().idle >= 3 && pool.check_health().is_healthy());
    }
    close_clean(&pool, &backend);
}

/// HikariCP 5.0.0: a race, reported now and then, drained the pool to 0, and the pool was not refilled.
#[test]
fn a_pool_whose_connections_all_die_in_use_is_refilled_every_time() {
    let backend = MemoryManager::new();
    let pool = quick("h500")
        .max_size(4)
        .min_idle(3)
        .build(backend.clone())
        .unwrap();
    for turn in 0..15 {
        let mut held = take(&pool, 4);
        backend.kill_all();
        if turn % 3 == 0 {
            backend.fail_transient(Hook::Create, 2);
        }
        for guard in &mut held {
            guard.execute("PING").expect_err("it is dead");
        }
        let users: Vec<_> = held
            .into_iter()
            .map(|guard| spawn(move || drop(guard)))
            .collect();
        users.into_iter().for_each(|user| user.join_soon());
        eventually(|| pool.stats().idle == 3);
    }
    close_clean(&pool, &backend);
}
