//! Keyed pools: idle connections kept ready, as far as the total leaves slots for them.

use crate::common;
use crate::keyed;

use common::{SOON, eventually, ms, secs, stays};
use conpool::{EvictReason, Hook, ManualClock, PoolEvent, PoolObserver, PooledConnection};
use keyed::{Backends, Keyed, audit, close_all, quick_keyed, take_each, wait_as};
use std::{
    sync::{Arc, Mutex},
    thread,
};

fn made_room(pool: &Keyed) -> u64 {
    pool.stats().evicted(EvictReason::MadeRoom)
}

#[test]
fn min_idle_is_opened_for_each_key_once_it_is_used() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("kmin").min_idle(2));
    for key in [1, 2] {
        assert_eq!(backends.of(key).calls(Hook::Create), 0);
        let _held = pool.get(&key).unwrap();
        eventually(|| pool.stats_for(&key).unwrap().idle == 2);
    }
    eventually(|| pool.stats().idle >= 4);
    close_all(&pool, &backends);
}

#[test]
fn min_idle_is_filled_from_free_slots_only_and_protects_nothing() {
    let backends = Backends::new();
    // Without a collector the test fills it, without a race with a caller.
    let builder = quick_keyed("mfree").background_collector(false);
    let pool = backends.build(builder.max_total(4).min_idle(2));
    let held = take_each(&pool, &[1, 2]);
    for _ in 0..3 {
        pool.sweep();
        let stats = audit(&pool, 4);
        assert_eq!((stats.size, stats.idle, made_room(&pool)), (4, 2, 0));
    }
    let three = pool.get_timeout(&3, SOON).unwrap();
    assert_eq!((pool.stats().idle, made_room(&pool)), (1, 1));
    pool.sweep();
    assert_eq!((pool.stats().created, made_room(&pool)), (5, 1));
    // A slot that becomes free without a waiter goes to it.
    PooledConnection::discard(three);
    pool.sweep();
    assert_eq!((pool.stats().idle, made_room(&pool)), (2, 1));
    drop(held);
    close_all(&pool, &backends);
}

#[test]
fn a_slot_that_somebody_waits_for_is_not_filled_for_min_idle() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("tfill").max_total(2).min_idle(1));
    let mut held = take_each(&pool, &[1, 1]);
    for key in 2..20 {
        let waiter = wait_as(&pool, 1, key, SOON);
        PooledConnection::discard(held.pop().unwrap());
        held.push(waiter.join_soon().unwrap());
        assert_eq!(backends.of(key).counters().created, 1);
    }
    assert_eq!(
        (backends.of(1).calls(Hook::Create), made_room(&pool)),
        (2, 0)
    );
    drop(held);
    close_all(&pool, &backends);
}

#[test]
fn min_idle_lapses_without_use_and_comes_back_with_it() {
    let (backends, clock) = (Backends::new(), ManualClock::new());
    let builder = quick_keyed("mlapse").clock(clock.clone());
    let pool = backends.build(builder.min_idle(2).idle_timeout(secs(60)));
    for _ in 0..2 {
        drop(pool.get_timeout(&1, SOON).unwrap());
        eventually(|| pool.stats().idle >= 2);
        clock.advance(secs(61));
        // The collector may not have seen the last use before.
        thread::sleep(ms(50));
        clock.advance(secs(61));
        eventually(|| pool.stats().size == 0);
        stays(|| pool.stats().size == 0);
    }
    close_all(&pool, &backends);
}

#[test]
fn min_idle_lapses_one_idle_timeout_after_the_last_use_and_neither_sooner_nor_later() {
    let (backends, clock) = (Backends::new(), ManualClock::new());
    let pool = backends.build(
        quick_keyed("mlate")
            .background_collector(false)
            .clock(clock.clone())
            .min_idle(2)
            .idle_timeout(secs(60)),
    );
    for _ in 0..2 {
        for _ in 0..3 {
            drop(pool.get_timeout(&1, SOON).unwrap());
            pool.sweep();
            assert_eq!(pool.stats().idle, 2);
            clock.advance(secs(59));
        }
        pool.sweep();
        assert_eq!(pool.stats().idle, 2);
        clock.advance(secs(2));
        assert_eq!(pool.sweep().creates_started, 0);
        assert_eq!((pool.stats().size, pool.keys().len()), (0, 0));
    }
    close_all(&pool, &backends);
}

#[test]
fn a_use_that_ends_with_a_discard_keeps_min_idle_too() {
    let (backends, clock) = (Backends::new(), ManualClock::new());
    let pool = backends.build(
        quick_keyed("mdiscard")
            .background_collector(false)
            .clock(clock.clone())
            .min_idle(1)
            .idle_timeout(secs(60)),
    );
    drop(take_each(&pool, &[1, 1]));
    pool.sweep();
    clock.advance(secs(50));
    PooledConnection::discard(pool.get(&1).unwrap());
    pool.sweep();
    clock.advance(secs(11));
    pool.sweep();
    assert_eq!(pool.stats().idle, 1, "used eleven seconds ago");
    close_all(&pool, &backends);
}

#[test]
fn a_connection_on_its_way_out_is_not_taken_for_a_use_that_keeps_min_idle() {
    let (backends, clock) = (Backends::new(), ManualClock::new());
    let again = Arc::new(Mutex::new(None::<Keyed>));
    let pool = backends.build(
        quick_keyed("mleave")
            .background_collector(false)
            .clock(clock.clone())
            .min_idle(2)
            .idle_timeout(secs(60))
            .observer(Sweeper(Arc::clone(&again))),
    );
    drop(pool.get_timeout(&1, SOON).unwrap());
    pool.sweep();
    assert_eq!(pool.stats().idle, 2);
    clock.advance(secs(61));
    // A second sweep meets the first one as it evicts.
    *again.lock().unwrap() = Some(pool.clone());
    pool.sweep();
    assert!(again.lock().unwrap().is_none(), "nothing was evicted");
    assert_eq!(pool.stats().size, 0);
    close_all(&pool, &backends);
}

/// Sweeps once, when a connection is evicted.
struct Sweeper(Arc<Mutex<Option<Keyed>>>);

impl PoolObserver for Sweeper {
    fn on_event(&self, event: &PoolEvent) {
        if matches!(event, PoolEvent::Evicted { .. }) {
            let pool = self.0.lock().unwrap().take();
            if let Some(pool) = pool {
                pool.sweep();
            }
        }
    }
}

#[test]
fn a_keepalive_check_is_not_taken_for_a_use_that_keeps_min_idle() {
    let (backends, clock) = (Backends::new(), ManualClock::new());
    let pool = backends.build(
        quick_keyed("malive")
            .clock(clock.clone())
            .min_idle(1)
            .idle_timeout(secs(60))
            .keepalive_interval(secs(20)),
    );
    drop(pool.get_timeout(&1, SOON).unwrap());
    eventually(|| pool.stats().idle >= 1);
    // Lets the collector see the use.
    thread::sleep(ms(50));
    let backend = backends.of(1);
    for _ in 0..5 {
        backend.hang(Hook::Check);
        clock.advance(secs(20));
        eventually(|| backend.running(Hook::Check) > 0 || pool.stats().size == 0);
        pool.sweep();
        backend.release();
        eventually(|| backend.running(Hook::Check) == 0);
    }
    // Unused for a hundred seconds.
    pool.sweep();
    eventually(|| pool.stats().size == 0);
    close_all(&pool, &backends);
}

#[test]
fn a_free_slot_fills_min_idle_of_the_key_that_lacks_it() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("mthin").max_total(4).min_idle(1));
    let held = take_each(&pool, &[1, 2, 3, 3]);
    let [one, two, three, third] = held.try_into().unwrap();
    // All of them lack an idle connection, and there is no slot for one.
    stays(|| pool.stats().size == 4 && pool.stats().idle == 0);
    drop((one, three));
    let (before, stats) = (made_room(&pool), pool.stats());
    assert_eq!((stats.idle, stats.in_use), (2, 2));
    PooledConnection::discard(third);
    eventually(|| pool.stats_for(&2).unwrap().idle == 1);
    assert_eq!(made_room(&pool), before);
    drop(two);
    close_all(&pool, &backends);
}
