//! Keyed pools among backends that hang and panic, users who close at the worst time, and crowds.

use crate::common;
use crate::keyed;

use common::{Dice, SOON, assert_at, eventually, ms, noise, now, secs, spawn, threads, timed};
use conpool::{Fairness, HealthCheck, Hook};
use keyed::{
    Fleet, Keyed, audit, close_all, crowd, in_line, quick_keyed, sorted_keys, take_each, wait_as,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

fn hang_costs_others_one_slot_for_a_while(pool: &Keyed, fleet: &Fleet, hook: Hook) {
    let backend = fleet.of(1);
    backend.hang(hook);
    // On a busy machine a caller may have left before the hook was begun for it, which it then is not.
    while backend.running(hook) == 0 {
        let (result, took) = timed(|| pool.get_timeout(&1, ms(40)));
        // Or it was kept from leaving for so long that it was not left to wait for a check any more.
        assert!(result.map_or_else(|error| error.is_timeout(), |_| took >= ms(100)));
        assert_at(took, ms(40));
    }
    for key in 2..8 {
        let (result, took) = timed(|| pool.get_timeout(&key, SOON).map(drop));
        result.unwrap();
        assert!(took <= noise(), "{key} waited for {took:?}");
    }
    // Both slots at once: that of the hook comes back.
    let held = take_each(pool, &[8, 9]);
    assert_eq!(audit(pool, 2).abandoned, 1);
    drop(held);
    fleet.heal();
    close_all(pool, fleet);
}

#[test]
fn a_create_that_hangs_costs_others_its_slot_and_only_until_create_timeout() {
    let fleet = Fleet::new();
    let builder = quick_keyed("fcreate").max_total(2);
    let pool = fleet.build(builder.create_timeout(ms(300)));
    hang_costs_others_one_slot_for_a_while(&pool, &fleet, Hook::Create);
}

#[test]
fn a_key_whose_creates_hang_in_every_slot_gives_way_when_they_time_out() {
    let fleet = Fleet::new();
    let builder = quick_keyed("fevery").max_total(2);
    let pool = fleet.build(builder.create_timeout(ms(60)));
    fleet.of(1).hang(Hook::Create);
    let hung = [1, 2].map(|n| wait_as(&pool, n, 1, secs(3)));
    let (served, took) = timed(|| pool.get_timeout(&2, SOON));
    assert!(took <= ms(60) + noise(), "{took:?}");
    drop(served.unwrap());
    fleet.heal();
    for caller in hung {
        drop(caller.join_soon().unwrap());
    }
    close_all(&pool, &fleet);
}

#[test]
fn if_the_dispose_of_the_victim_hangs_another_one_makes_room_before_long() {
    let fleet = Fleet::new();
    let pool = fleet.build(quick_keyed("fvictim").max_total(2));
    drop(take_each(&pool, &[1, 2]));
    fleet.of(1).hang(Hook::Dispose);
    fleet.of(2).hang(Hook::Dispose);
    let waiter = wait_as(&pool, 1, 3, SOON);
    // One of the two; the test cannot know which was idle longer. On a busy machine the other has followed.
    eventually(|| fleet.of(1).running(Hook::Dispose) + fleet.of(2).running(Hook::Dispose) >= 1);
    let hangs = if fleet.of(1).running(Hook::Dispose) == 1 {
        1
    } else {
        2
    };
    fleet.of(3 - hangs).release();
    let (served, took) = timed(|| waiter.join_soon());
    assert!(took <= ms(100) + noise(), "{took:?}");
    let stats = audit(&pool, 2);
    assert_eq!((stats.in_use, stats.disposing), (1, 1), "{stats:?}");
    drop(served.unwrap());
    fleet.heal();
    close_all(&pool, &fleet);
}

#[test]
fn a_waiter_whose_only_victim_hangs_is_served_after_dispose_timeout() {
    let fleet = Fleet::new();
    let pool = fleet.build(quick_keyed("fonly").max_total(1).dispose_timeout(ms(60)));
    drop(pool.get(&1).unwrap());
    fleet.of(1).hang(Hook::Dispose);
    let (served, took) = timed(|| pool.get_timeout(&2, SOON));
    assert_at(took, ms(60));
    assert_eq!(audit(&pool, 1).abandoned, 1);
    drop(served.unwrap());
    fleet.heal();
    close_all(&pool, &fleet);
}

#[test]
fn a_waiter_does_not_hang_with_a_victim_though_the_key_before_it_in_line_is_gone() {
    let fleet = Fleet::new();
    let builder = quick_keyed("fgone").max_total(3);
    let pool = fleet.build(builder.health_check(HealthCheck::Never));
    drop(take_each(&pool, &[1, 1]));
    let last = pool.get(&4).unwrap();
    fleet.of(1).hang(Hook::Dispose);
    // Each has one of the two connections that will not go.
    let first = wait_as(&pool, 1, 2, ms(60));
    let second = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(&3, secs(3))
    });
    eventually(|| fleet.of(1).running(Hook::Dispose) == 2);
    assert!(first.join_soon().unwrap_err().is_timeout());
    in_line(&pool, 1);
    pool.sweep();
    assert_eq!(sorted_keys(&pool), [1, 3, 4]);
    // Idle, and to make room as soon as nobody counts on the victim any more.
    drop(last);
    let (served, took) = timed(|| second.join_soon());
    drop(served.unwrap());
    assert!(took <= ms(100) + noise(), "{took:?}");
    fleet.heal();
    close_all(&pool, &fleet);
}

#[test]
fn a_check_that_hangs_costs_others_its_slot_and_only_until_check_timeout() {
    let fleet = Fleet::new();
    let pool = fleet.build(
        quick_keyed("fcheck")
            .max_total(2)
            .health_check(HealthCheck::OnCheckout)
            .check_timeout(ms(300)),
    );
    drop(pool.get(&1).unwrap());
    hang_costs_others_one_slot_for_a_while(&pool, &fleet, Hook::Check);
}

#[test]
fn a_panic_in_any_hook_costs_one_connection_and_nobody_else_anything() {
    for hook in [
        Hook::Create,
        Hook::Check,
        Hook::Dispose,
        Hook::HasBroken,
        Hook::Checkout,
        Hook::Checkin,
    ] {
        let fleet = Fleet::new();
        let builder = quick_keyed("fpanic").max_total(1);
        let pool = fleet.build(builder.health_check(HealthCheck::OnCheckout));
        fleet.of(1).panic(hook, 1);
        for key in [1, 1, 2, 1, 2, 2] {
            match pool.get_timeout(&key, SOON) {
                Ok(mut guard) => assert_eq!(guard.execute("PING").unwrap(), "PONG"),
                Err(error) => assert!(key == 1, "{hook:?}: {error:?}"),
            }
        }
        assert_eq!(audit(&pool, 1).panics, 1, "{hook:?}");
        assert_eq!(fleet.peak(), 1, "{hook:?}");
        close_all(&pool, &fleet);
    }
}

#[test]
fn close_tells_callers_of_every_key_at_once_also_while_a_create_hangs() {
    let fleet = Fleet::new();
    let pool = fleet.build(quick_keyed("fclose").max_total(2));
    let held = pool.get(&1).unwrap();
    fleet.of(2).hang(Hook::Create);
    let waiters: Vec<_> = (0..8)
        .map(|n| wait_as(&pool, n + 1, 2 + n as u32 / 2, secs(60)))
        .collect();
    let ((), took) = timed(|| pool.close());
    assert!(took <= noise(), "{took:?}");
    for waiter in waiters {
        assert!(waiter.join_soon().unwrap_err().is_closed());
    }
    let left = pool.close_timeout(ms(20)).unwrap_err();
    assert_eq!((left.in_use, left.hooks_running), (1, 1), "{left:?}");
    drop(held);
    fleet.heal();
    close_all(&pool, &fleet);
}

#[test]
fn the_last_handle_may_be_dropped_inside_a_hook() {
    for armed in [Hook::Create, Hook::Dispose, Hook::Checkin] {
        let last = Arc::new(Mutex::new(None::<Keyed>));
        let fleet = Fleet::with({
            let last = Arc::clone(&last);
            move |_, hook| {
                let handle = (hook == armed).then(|| last.lock().unwrap().take());
                drop(handle);
            }
        });
        let pool = fleet.build(quick_keyed("flast").min_idle(1));
        let held = take_each(&pool, &[1, 2]);
        eventually(|| pool.stats().idle == 2);
        *last.lock().unwrap() = Some(pool.clone());
        pool.clear();
        drop(pool);
        drop(held);
        eventually(|| last.lock().unwrap().is_none());
        eventually(|| threads("flast-") == 0);
        fleet.all_disposed();
    }
}

/// 64 threads on 12 keys with room for four connections.
fn besiege(name: &str, fairness: Fairness, collector: bool) {
    let fleet = Fleet::new();
    let builder = quick_keyed(name).max_total(4).max_per_key(3);
    let pool = fleet.build(builder.fairness(fairness).background_collector(collector));
    let (user, least) = (pool.clone(), Arc::new(AtomicU64::new(u64::MAX)));
    let served_least = Arc::clone(&least);
    let slowest = crowd(64, move |n| {
        let (mut dice, until) = (Dice::new(n), now() + ms(500));
        let mut served = 0;
        while now() < until {
            // Half of the callers want the same key.
            let key = if n % 2 == 0 { 0 } else { dice.roll(12) as u32 };
            let guard = user.get_timeout(&key, SOON);
            assert!(guard.is_ok(), "{guard:?}");
            if served % 8 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
            served += 1;
        }
        least.fetch_min(served, SeqCst);
    });
    let stats = audit(&pool, 4);
    println!(
        "{name}: {slowest:?}, at least {}, {stats}",
        served_least.load(SeqCst)
    );
    assert!(served_least.load(SeqCst) > 0);
    assert_eq!(
        (stats.waiters, stats.in_use, stats.timeouts),
        (0, 0, 0),
        "{stats:?}"
    );
    assert!(fleet.peak() <= 4, "{}", fleet.peak());
    if !collector {
        assert_eq!(threads(name), 0);
    }
    close_all(&pool, &fleet);
}

#[test]
fn sixty_four_threads_on_twelve_keys_and_four_slots_are_all_served() {
    besiege("fsiege", Fairness::default(), true);
}

#[test]
fn so_they_are_with_strict_fairness() {
    besiege("fstrict", Fairness::Strict, true);
}

#[test]
fn so_they_are_where_overtaking_has_no_limit() {
    besiege("fnolimit", Fairness::Eventual(Duration::MAX), true);
}

#[test]
fn so_they_are_without_a_collector() {
    besiege("falone", Fairness::default(), false);
}
