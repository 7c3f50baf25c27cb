//! Keyed pools: everyday use.

use crate::common;
use crate::keyed;

use common::{SOON, assert_at, eventually, ms, noise, now, secs, threads, timed};
use conpool::{EvictReason, GetError, Hook, KeyedPool, ManualClock, PooledConnection};
use keyed::{
    Backends, Keyed, await_waiters, close_all, quick_keyed, sorted_keys, take_each, wait_as,
};
use std::{
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

#[test]
fn each_key_has_a_pool_of_its_own_that_is_made_on_first_use() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kown"));
    assert_eq!((pool.keys().len(), backends.made(1)), (0, 0));
    for _ in 0..3 {
        let mut guards = take_each(&pool, &[1, 2]);
        guards[0].execute("SET who one").unwrap();
        assert_eq!(guards[1].execute("GET who").unwrap(), "");
    }
    assert_eq!(sorted_keys(&pool), [1, 2]);
    assert_eq!((backends.made(1), backends.made(2)), (1, 1));
    assert_eq!(backends.of(1).counters().created, 1);
    assert!(pool.stats_for(&3).is_none());
    assert!(pool.get_deadline(&1, now() + SOON).is_ok());
    close_all(&pool, &backends);
}

#[test]
fn the_number_of_a_connection_is_never_that_of_another_whatever_their_keys() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kids"));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let guards = take_each(&pool, &[1, 2]);
        seen.extend(guards.iter().map(|guard| PooledConnection::info(guard).id));
        drop(guards);
        // The keys are removed, and added again.
        pool.clear();
        eventually(|| {
            pool.sweep();
            pool.keys().is_empty()
        });
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

#[test]
fn try_get_calls_no_factory_and_creates_nothing_and_neither_waits() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("ktry"));
    assert!(pool.try_get(&1).is_none());
    assert_eq!((backends.made(1), pool.keys().len()), (0, 0));
    let held = pool.get(&1).unwrap();
    assert!(pool.try_get(&1).is_none());
    let (result, took) = timed(|| pool.get_timeout(&1, Duration::ZERO));
    assert!(result.unwrap_err().is_timeout() && took < noise());
    assert!(
        pool.get_timeout(&2, Duration::ZERO)
            .unwrap_err()
            .is_timeout()
    );
    assert!(pool.get_deadline(&1, now()).unwrap_err().is_timeout());
    drop(held);
    assert_eq!(pool.try_get(&1).unwrap().id(), 1);
    assert_eq!(pool.get_timeout(&1, Duration::ZERO).unwrap().id(), 1);
    assert_eq!(backends.of(1).calls(Hook::Create), 1);
}

#[test]
fn stats_are_the_sum_over_all_keys_and_stats_for_those_of_one() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("ksum").max_total(6).max_per_key(3));
    let held = take_each(&pool, &[1, 1, 2]);
    drop(take_each(&pool, &[2, 3]));
    backends.of(4).fail(Hook::Create, 1);
    assert!(matches!(pool.get(&4), Err(GetError::Create { .. })));
    let (all, one) = (pool.stats(), pool.stats_for(&2).unwrap());
    assert_eq!((all.max_size, all.size, all.idle, all.in_use), (6, 5, 2, 3));
    assert_eq!((all.gets, all.created, all.create_errors), (6, 5, 1));
    assert_eq!((one.max_size, one.size, one.idle, one.in_use), (3, 2, 1, 1));
    assert_eq!((one.gets, one.created, one.create_errors), (2, 2, 0));
    assert_eq!(sorted_keys(&pool), [1, 2, 3, 4]);
    assert!(format!("{pool:?}").contains("ksum"));
    drop(held);
    close_all(&pool, &backends);
}

#[test]
fn clear_ends_all_connections_of_today_and_clear_key_those_of_one() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kclear"));
    drop(take_each(&pool, &[1, 1, 2, 3]));
    let held = pool.get(&1).unwrap();
    pool.clear_key(&1);
    pool.clear_key(&99);
    eventually(|| backends.of(1).counters().disposed == 1);
    drop(held);
    eventually(|| backends.of(1).counters().disposed == 2);
    assert_eq!(
        (backends.of(2).counters().disposed, backends.made(99)),
        (0, 0)
    );
    assert_eq!(pool.get(&2).unwrap().id(), 1);
    pool.clear();
    eventually(|| pool.stats().disposed == 4);
    assert_eq!(pool.stats().evicted(EvictReason::Cleared), 4);
    assert_eq!(pool.get(&3).unwrap().id(), 2);
    close_all(&pool, &backends);
}

#[test]
fn clones_are_handles_and_the_last_one_dropped_closes() {
    let here = thread::current().id();
    let on_this_thread = Arc::new(AtomicUsize::new(0));
    let backends = Backends::with({
        let seen = Arc::clone(&on_this_thread);
        move |_, hook| {
            if hook == Hook::Dispose && thread::current().id() == here {
                seen.fetch_add(1, SeqCst);
            }
        }
    });
    let pool = backends.build(quick_keyed("kclone"));
    let other = pool.clone();
    drop(take_each(&pool, &[1, 2]));
    let mut held = other.get(&1).unwrap();
    drop(pool);
    assert_eq!(other.stats().size, 2);
    drop(other.get(&2).unwrap());
    drop(other);
    eventually(|| backends.of(2).counters().open == 0);
    assert_eq!(held.execute("PING").unwrap(), "PONG");
    drop(held);
    backends.all_disposed();
    eventually(|| threads("kclone-") == 0);
    assert_eq!(on_this_thread.load(SeqCst), 0);
}

#[test]
fn a_closed_pool_says_so_for_every_key_and_calls_no_factory() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kshut"));
    drop(pool.get(&1).unwrap());
    pool.close();
    pool.close();
    assert!(pool.is_closed() && pool.clone().is_closed());
    for key in [1, 2] {
        let error = pool.get(&key).unwrap_err();
        assert!(
            error.is_closed() && error.to_string().contains("kshut"),
            "{error}"
        );
        assert!(pool.try_get(&key).is_none());
    }
    assert_eq!(backends.made(2), 0);
    close_all(&pool, &backends);
}

#[test]
fn close_timeout_tells_who_still_holds_connections_of_which_keys() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kheld").leak_threshold(secs(60)));
    let held = take_each(&pool, &[1, 1]);
    let line = line!() + 1;
    let direct = pool.get(&2).unwrap();
    assert_eq!(pool.holders().len(), 3);
    let (result, took) = timed(|| pool.close_timeout(ms(40)));
    assert_at(took, ms(40));
    let left = result.unwrap_err();
    assert_eq!(
        (left.in_use, left.hooks_running, left.holders.len()),
        (3, 0, 3)
    );
    let mut named = left.holders.iter().filter(|holder| holder.line == line);
    assert!(named.any(|holder| holder.file == file!()), "{left:?}");
    assert!(left.to_string().contains("kheld"), "{left}");
    drop((held, direct));
    close_all(&pool, &backends);
}

#[test]
fn one_collector_serves_all_keys_and_bears_the_name_of_the_pool() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kone").min_idle(1));
    drop(take_each(&pool, &(0..40).collect::<Vec<_>>()));
    // A new thread has the name of its parent for a moment.
    eventually(|| threads("kone-collector") == 1);
    eventually(|| threads("kone-") == 1);
    close_all(&pool, &backends);
}

#[test]
fn without_a_collector_no_thread_is_started_and_everything_else_works() {
    let backends = Backends::new();
    let clock = ManualClock::new();
    let pool = backends.build(
        quick_keyed("kalone")
            .background_collector(false)
            .clock(clock.clone())
            .idle_timeout(secs(60))
            .max_total(2),
    );
    for key in 0..20 {
        let mut guard = pool.get_timeout(&(key % 5), SOON).unwrap();
        assert_eq!(guard.execute("PING").unwrap(), "PONG");
        if key % 3 == 0 {
            PooledConnection::discard(guard);
        }
    }
    assert!(backends.peak() <= 2, "{}", backends.peak());
    let held = take_each(&pool, &[1, 1]);
    let waiter = wait_as(&pool, 1, 2, SOON);
    assert!(pool.get_timeout(&3, ms(20)).unwrap_err().is_timeout());
    await_waiters(&pool, 1);
    drop(held);
    drop(waiter.join_soon().unwrap());
    clock.advance(secs(61));
    pool.sweep();
    assert_eq!((pool.keys().len(), pool.stats().size), (0, 0));
    assert_eq!(threads("kalone"), 0);
    close_all(&pool, &backends);
}

#[test]
fn a_handle_goes_anywhere() {
    fn anywhere<T: Send + Sync + UnwindSafe + RefUnwindSafe + Clone + 'static>() {}
    anywhere::<Keyed>();
    anywhere::<KeyedPool<String, common::Custom>>();
}
