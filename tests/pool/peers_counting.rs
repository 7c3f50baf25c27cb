//! Bugs of other pools in counting their connections. The whole list, with links, is `src/docs/peers.md`.

use crate::common;

use common::{SOON, close_clean, eventually, fill, ms, quick, spawn, stays, take};
use conpool::{ConnectionManager, EvictReason, HealthCheck, Hook, MemoryManager, PooledConnection};

/// deadpool #92: a get that passed over several dead connections counted one of them.
#[test]
fn four_evictions_in_one_get_are_counted_four_times() {
    let backend = MemoryManager::new();
    // Without it, a create would serve a caller whose check takes long on a busy machine.
    let pool = quick("d92")
        .background_collector(false)
        .max_size(4)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 4);
    assert_eq!(backend.kill_all(), 4);
    let held = pool.get_timeout(SOON).unwrap();
    assert_eq!(held.id(), 5);
    eventually(|| pool.stats().disposing == 0);
    let stats = pool.stats();
    assert_eq!((stats.size, stats.in_use, stats.idle), (1, 1, 0));
    assert_eq!(stats.evicted(EvictReason::CheckFailed), 4);
    assert_eq!(stats.check_failures, 4);
    drop(held);
    close_clean(&pool, &backend);
}

/// puddle 2.2.1: `CreateResource` added to a pool that was full.
#[test]
fn a_create_under_way_counts_when_a_connection_is_added() {
    let backend = MemoryManager::new();
    let pool = quick("pu221").max_size(3).build(backend.clone()).unwrap();
    let _held = take(&pool, 2);
    let spare = backend.create().unwrap();
    backend.hang(Hook::Create);
    let caller = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(|guard| guard.id())
    });
    eventually(|| pool.stats().creating == 1);
    let refused = pool.add(spare).unwrap_err();
    assert!(refused.is_full(), "{refused:?}");
    backend.dispose(refused.into_inner());
    backend.release();
    assert_eq!(caller.join_soon().unwrap(), 4);
    assert_eq!(pool.stats().size, 3);
}

/// pgx 5.4.3: the background check of `pgxpool` opened connections for its minimum besides those of callers,
/// and the pool exceeded its maximum.
#[test]
fn refill_and_callers_together_never_exceed_max_size() {
    let backend = MemoryManager::new();
    backend.delay(Hook::Create, ms(1));
    let pool = quick("pgx543")
        .max_size(3)
        .min_idle(3)
        .build(backend.clone())
        .unwrap();
    let users: Vec<_> = (0..6)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || {
                for turn in 0..30 {
                    let guard = pool.get_timeout(SOON).expect("a connection");
                    if turn % 2 == 0 {
                        PooledConnection::discard(guard);
                    }
                }
            })
        })
        .collect();
    users.into_iter().for_each(|user| user.join_soon());
    let seen = backend.counters();
    assert!(seen.peak_open <= 3, "{seen:?}");
    close_clean(&pool, &backend);
}

/// POOL-243 and POOL-336: an exception, or an `Error`, out of the factory kept the slot. connection_pool
/// #73 counted a connection before it was made.
#[test]
fn creates_that_fail_or_panic_give_their_slots_back() {
    let backend = MemoryManager::new();
    let pool = quick("p243")
        .max_size(2)
        .build_lazy(backend.clone())
        .unwrap();
    for turn in 0..20 {
        if turn % 2 == 0 {
            backend.fail(Hook::Create, 1);
        } else {
            backend.panic(Hook::Create, 1);
        }
        let error = pool.get_timeout(SOON).unwrap_err();
        assert!(!error.is_timeout(), "{error:?}");
        let stats = pool.stats();
        assert_eq!((stats.size, stats.creating), (0, 0), "{stats:?}");
    }
    assert_eq!(take(&pool, 2).len(), 2);
    close_clean(&pool, &backend);
}

/// SQLAlchemy #2772: when the replacement of an invalidated connection failed to connect, the count of
/// those checked out was wrong from then on.
#[test]
fn a_replacement_that_fails_after_a_clear_leaves_the_counts_right() {
    let backend = MemoryManager::new();
    let pool = quick("s2772").max_size(2).build(backend.clone()).unwrap();
    fill(&pool, 2);
    for _ in 0..10 {
        pool.clear();
        eventually(|| pool.stats().disposing == 0);
        backend.fail(Hook::Create, 1);
        assert!(pool.get_timeout(SOON).is_err());
        let stats = pool.stats();
        assert_eq!((stats.size, stats.in_use), (0, 0), "{stats:?}");
        drop(pool.get_timeout(SOON).unwrap());
    }
    assert_eq!(take(&pool, 2).len(), 2);
    close_clean(&pool, &backend);
}

/// POOL-192: `clear` gave back the objects, and not the capacity that they took.
#[test]
fn clearing_again_and_again_gives_every_slot_back() {
    let backend = MemoryManager::new();
    let pool = quick("p192").max_size(4).build(backend.clone()).unwrap();
    for _ in 0..20 {
        fill(&pool, 4);
        let held = take(&pool, 2);
        pool.clear();
        drop(held);
        eventually(|| pool.stats().size + pool.stats().disposing == 0);
    }
    assert_eq!(pool.stats().evicted(EvictReason::Cleared), 80);
    assert_eq!(take(&pool, 4).len(), 4);
    close_clean(&pool, &backend);
}

/// POOL-248 and SQLAlchemy #4252: a connection given back twice was counted twice, and could be handed to two
/// callers at once. A guard can be given back only once; the only second way is to detach and add the
/// connection.
#[test]
fn a_connection_that_is_detached_and_added_again_is_there_once() {
    let backend = MemoryManager::new();
    let pool = quick("p248").max_size(2).build(backend.clone()).unwrap();
    for _ in 0..10 {
        let connection = PooledConnection::detach(pool.get().unwrap());
        assert_eq!(pool.stats().size, 0);
        pool.add(connection).unwrap();
        let stats = pool.stats();
        assert_eq!((stats.size, stats.idle), (1, 1), "{stats:?}");
    }
    let held = pool.get().unwrap();
    assert_eq!(held.id(), 1, "the same one all the time");
    let other = pool.get().unwrap();
    assert_eq!(other.id(), 2, "and not to two at once");
    drop((held, other));
    close_clean(&pool, &backend);
}

/// HikariCP #128: connections that came back while the pool shut down were subtracted twice, down to a
/// total of −2.
#[test]
fn guards_that_come_back_while_the_pool_closes_are_counted_once() {
    for _ in 0..20 {
        let backend = MemoryManager::new();
        let pool = quick("h128").max_size(4).build(backend.clone()).unwrap();
        let users: Vec<_> = take(&pool, 4)
            .into_iter()
            .map(|guard| spawn(move || drop(guard)))
            .collect();
        pool.close();
        users.into_iter().for_each(|user| user.join_soon());
        close_clean(&pool, &backend);
        let stats = pool.stats();
        assert_eq!(stats.evicted(EvictReason::Closed), 4, "{stats:?}");
        assert_eq!((stats.created, stats.disposed), (4, 4), "{stats:?}");
    }
}

/// deadpool 0.9.5: an object that failed to be recycled left its permit behind, and the pool grew
/// beyond its maximum.
#[test]
fn connections_that_fail_at_check_in_and_checkout_make_no_room_for_more_than_the_maximum() {
    let backend = MemoryManager::new();
    let pool = quick("d095").max_size(2).build(backend.clone()).unwrap();
    for hook in [Hook::Checkin, Hook::HasBroken, Hook::Checkout] {
        for _ in 0..10 {
            let held = take(&pool, 2);
            if hook == Hook::Checkout {
                drop(held);
                backend.fail(hook, 1);
            } else {
                backend.fail(hook, 2);
                drop(held);
            }
        }
    }
    backend.heal();
    let held = take(&pool, 2);
    let waiter = common::waiter(&pool);
    stays(|| !waiter.is_finished());
    assert!(
        backend.counters().peak_open <= 2,
        "{:?}",
        backend.counters()
    );
    drop(held);
    waiter.join_soon().unwrap();
}
