//! Keyed pools with backends that hang and panic, with closes at the worst time, and with many callers.

use crate::common;
use crate::keyed;

use common::{
    HOOKS, Rng, SOON, assert_at, eventually, ms, noise, now, secs, spawn, threads, timed,
};
use conpool::{Fairness, HealthCheck, Hook};
use keyed::{
    Backends, Keyed, audit, await_waiters, close_all, crowd, quick_keyed, sorted_keys, take_each,
    wait_as,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

fn hang_costs_others_one_slot_for_a_while(pool: &Keyed, backends: &Backends, hook: Hook) {
    let backend = backends.of(1);
    backend.hang(hook);
    // On a busy machine a caller may time out before its hook begins; then the hook is never begun.
    while backend.running(hook) == 0 {
        let (result, took) = timed(|| pool.get_timeout(&1, ms(40)));
        // Or the caller was delayed so long that it did not have to wait for a check any more.
        assert!(result.map_or_else(|error| error.is_timeout(), |_| took >= ms(100)));
        assert_at(took, ms(40));
    }
    for key in 2..8 {
        let (result, took) = timed(|| pool.get_timeout(&key, SOON).map(drop));
        result.unwrap();
        assert!(took <= noise(), "{key} waited for {took:?}");
    }
    // Both slots at once: the hook's slot comes back.
    let held = take_each(pool, &[8, 9]);
    assert_eq!(audit(pool, 2).abandoned, 1);
    drop(held);
    backends.heal();
    close_all(pool, backends);
}

#[test]
fn a_create_that_hangs_costs_others_its_slot_and_only_until_create_timeout() {
    let backends = Backends::new();
    let builder = quick_keyed("fcreate").max_total(2);
    let pool = backends.build(builder.create_timeout(ms(300)));
    hang_costs_others_one_slot_for_a_while(&pool, &backends, Hook::Create);
}

#[test]
fn a_key_whose_creates_hang_in_every_slot_gives_way_when_they_time_out() {
    let backends = Backends::new();
    let builder = quick_keyed("fevery").max_total(2);
    let pool = backends.build(builder.create_timeout(ms(60)));
    backends.of(1).hang(Hook::Create);
    let hung = [1, 2].map(|n| wait_as(&pool, n, 1, secs(3)));
    let (served, took) = timed(|| pool.get_timeout(&2, SOON));
    assert!(took <= ms(60) + noise(), "{took:?}");
    drop(served.unwrap());
    backends.heal();
    for caller in hung {
        drop(caller.join_soon().unwrap());
    }
    close_all(&pool, &backends);
}

#[test]
fn if_the_dispose_of_the_victim_hangs_another_one_makes_room_before_long() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("fvictim").max_total(2));
    drop(take_each(&pool, &[1, 2]));
    backends.of(1).hang(Hook::Dispose);
    backends.of(2).hang(Hook::Dispose);
    let waiter = wait_as(&pool, 1, 3, SOON);
    // Either of the two: the test cannot know which one was idle longer. On a busy machine the other has
    // followed.
    eventually(|| {
        backends.of(1).running(Hook::Dispose) + backends.of(2).running(Hook::Dispose) >= 1
    });
    let hangs = if backends.of(1).running(Hook::Dispose) == 1 {
        1
    } else {
        2
    };
    backends.of(3 - hangs).release();
    let (served, took) = timed(|| waiter.join_soon());
    assert!(took <= ms(100) + noise(), "{took:?}");
    let stats = audit(&pool, 2);
    assert_eq!((stats.in_use, stats.disposing), (1, 1), "{stats:?}");
    drop(served.unwrap());
    backends.heal();
    close_all(&pool, &backends);
}

#[test]
fn a_waiter_whose_only_victim_hangs_is_served_after_dispose_timeout() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("fonly").max_total(1).dispose_timeout(ms(60)));
    drop(pool.get(&1).unwrap());
    backends.of(1).hang(Hook::Dispose);
    let (served, took) = timed(|| pool.get_timeout(&2, SOON));
    assert_at(took, ms(60));
    assert_eq!(audit(&pool, 1).abandoned, 1);
    drop(served.unwrap());
    backends.heal();
    close_all(&pool, &backends);
}

#[test]
fn a_waiter_does_not_hang_with_a_victim_though_the_key_before_it_in_the_queue_is_gone() {
    let backends = Backends::new();
    let builder = quick_keyed("fgone").max_total(3);
    let pool = backends.build(builder.health_check(HealthCheck::Never));
    drop(take_each(&pool, &[1, 1]));
    let last = pool.get(&4).unwrap();
    backends.of(1).hang(Hook::Dispose);
    // Each has one of the two connections that cannot be evicted.
    let first = wait_as(&pool, 1, 2, ms(60));
    let second = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(&3, secs(3))
    });
    eventually(|| backends.of(1).running(Hook::Dispose) == 2);
    assert!(first.join_soon().unwrap_err().is_timeout());
    await_waiters(&pool, 1);
    pool.sweep();
    assert_eq!(sorted_keys(&pool), [1, 3, 4]);
    // Idle, and evicted as soon as the victim is no longer waited for.
    drop(last);
    let (served, took) = timed(|| second.join_soon());
    drop(served.unwrap());
    assert!(took <= ms(100) + noise(), "{took:?}");
    backends.heal();
    close_all(&pool, &backends);
}

#[test]
fn a_check_that_hangs_costs_others_its_slot_and_only_until_check_timeout() {
    let backends = Backends::new();
    let pool = backends.build(
        quick_keyed("fcheck")
            .max_total(2)
            .health_check(HealthCheck::OnCheckout)
            .check_timeout(ms(300)),
    );
    drop(pool.get(&1).unwrap());
    hang_costs_others_one_slot_for_a_while(&pool, &backends, Hook::Check);
}

#[test]
fn a_panic_in_any_hook_costs_one_connection_and_nobody_else_anything() {
    for hook in HOOKS {
        let backends = Backends::new();
        let builder = quick_keyed("fpanic").max_total(1);
        let pool = backends.build(builder.health_check(HealthCheck::OnCheckout));
        backends.of(1).needs_reset(hook == Hook::Reset);
        backends.of(1).panic(hook, 1);
        for key in [1, 1, 2, 1, 2, 2] {
            match pool.get_timeout(&key, SOON) {
                Ok(mut guard) => assert_eq!(guard.execute("PING").unwrap(), "PONG"),
                Err(error) => assert!(key == 1, "{hook:?}: {error:?}"),
            }
        }
        assert_eq!(audit(&pool, 1).panics, 1, "{hook:?}");
        assert_eq!(backends.peak(), 1, "{hook:?}");
        close_all(&pool, &backends);
    }
}

#[test]
fn close_tells_callers_of_every_key_at_once_also_while_a_create_hangs() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("fclose").max_total(2));
    let held = pool.get(&1).unwrap();
    backends.of(2).hang(Hook::Create);
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
    backends.heal();
    close_all(&pool, &backends);
}

#[test]
fn the_last_handle_may_be_dropped_inside_a_hook() {
    for armed in [Hook::Create, Hook::Dispose, Hook::Checkin] {
        let last = Arc::new(Mutex::new(None::<Keyed>));
        let backends = Backends::with({
            let last = Arc::clone(&last);
            move |_, hook| {
                let handle = (hook == armed).then(|| last.lock().unwrap().take());
                drop(handle);
            }
        });
        let pool = backends.build(quick_keyed("flast").min_idle(1));
        let held = take_each(&pool, &[1, 2]);
        eventually(|| pool.stats().idle == 2);
        *last.lock().unwrap() = Some(pool.clone());
        pool.clear();
        drop(pool);
        drop(held);
        eventually(|| last.lock().unwrap().is_none());
        eventually(|| threads("flast-") == 0);
        backends.all_disposed();
    }
}

/// Runs 64 threads on 12 keys with slots for four connections.
fn contended_load(name: &str, fairness: Fairness, collector: bool) {
    let backends = Backends::new();
    let builder = quick_keyed(name).max_total(4).max_per_key(3);
    let pool = backends.build(builder.fairness(fairness).background_collector(collector));
    let (user, least) = (pool.clone(), Arc::new(AtomicU64::new(u64::MAX)));
    let served_least = Arc::clone(&least);
    let slowest = crowd(64, move |n| {
        let (mut rng, until) = (Rng::new(n), now() + ms(500));
        let mut served = 0;
        while now() < until {
            // Half of the callers want the same key.
            let key = if n % 2 == 0 { 0 } else { rng.below(12) as u32 };
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
    assert!(backends.peak() <= 4, "{}", backends.peak());
    if !collector {
        assert_eq!(threads(name), 0);
    }
    close_all(&pool, &backends);
}

#[test]
fn sixty_four_threads_on_twelve_keys_and_four_slots_are_all_served() {
    contended_load("fsiege", Fairness::default(), true);
}

#[test]
fn so_they_are_with_strict_fairness() {
    contended_load("fstrict", Fairness::Strict, true);
}

#[test]
fn so_they_are_without_a_fairness_bound() {
    contended_load("fnolimit", Fairness::Eventual(Duration::MAX), true);
}

#[test]
fn so_they_are_without_a_collector() {
    contended_load("falone", Fairness::default(), false);
}
