//! Keyed pools: the total that all keys share, and the receiver of a slot that becomes free.

use crate::common;
use crate::keyed;

use common::{Gate, Log, Rng, SOON, eventually, ms, noise, secs, spawn, stays, timed};
use conpool::{EvictReason, Fairness, GetError, HealthCheck, Hook, ManualClock, PooledConnection};
use keyed::{
    Backends, Guard, Keyed, audit, await_waiters, close_all, crowd, quick_keyed, take_each, wait_as,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

fn made_room(pool: &Keyed) -> u64 {
    pool.stats().evicted(EvictReason::MadeRoom)
}

/// Backends whose disposes block until the gate is open.
fn with_blocking_disposes() -> (Backends, Gate) {
    let gate = Gate::default();
    let backends = Backends::with({
        let gate = gate.clone();
        move |_, hook| {
            if hook == Hook::Dispose {
                gate.pass();
            }
        }
    });
    (backends, gate)
}

#[test]
fn no_mix_of_keys_faults_and_clears_exceeds_the_total() {
    const TOTAL: usize = 3;
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("tmix").max_total(TOTAL).max_uses(9));
    let (stop, looked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let watcher = spawn({
        let (pool, stop, looked) = (pool.clone(), Arc::clone(&stop), Arc::clone(&looked));
        move || {
            while !stop.load(SeqCst) {
                let stats = audit(&pool, TOTAL);
                let there = stats.idle + stats.in_use + stats.disposing;
                assert_eq!(stats.created - stats.disposed, there as u64, "{stats:?}");
                looked.fetch_add(1, SeqCst);
            }
        }
    });
    let (user, backends_of_thread) = (pool.clone(), backends.clone());
    crowd(8, move |seed| {
        let mut rng = Rng::new(seed + 1);
        for _ in 0..60 {
            random_operation(&user, &backends_of_thread, &mut rng);
        }
    });
    stop.store(true, SeqCst);
    watcher.join_soon();
    assert!(
        looked.load(SeqCst) > 0 && backends.peak() <= TOTAL,
        "{}",
        backends.peak()
    );
    assert!(made_room(&pool) > 0, "the total was never reached");
    backends.heal();
    drop(pool.get_timeout(&7, SOON).unwrap());
    close_all(&pool, &backends);
}

/// One random operation of a user, an operator or a failing backend.
fn random_operation(pool: &Keyed, backends: &Backends, rng: &mut Rng) {
    let key = rng.below(6) as u32;
    let hooks = [
        Hook::Create,
        Hook::Dispose,
        Hook::HasBroken,
        Hook::Checkout,
        Hook::Checkin,
    ];
    let hook = hooks[rng.below(5) as usize];
    match rng.below(12) {
        0 => backends.of(key).fail(hook, 1),
        1 => backends.of(key).fail_transient(hook, 2),
        2 => backends.of(key).panic(hook, 1),
        3 => pool.clear_key(&key),
        4 => drop(pool.sweep()),
        _ => {}
    }
    let Ok(mut guard) = pool.get_timeout(&key, ms(20)) else {
        return;
    };
    match rng.below(4) {
        0 => PooledConnection::discard(guard),
        1 => panic_with(guard),
        _ => drop(guard.execute("PING")),
    }
}

fn panic_with(guard: Guard) {
    drop(catch_unwind(AssertUnwindSafe(|| {
        let _guard = guard;
        panic!("the user's own panic");
    })));
}

#[test]
fn the_connection_of_another_key_that_was_idle_longest_makes_room() {
    let (backends, clock, log) = (Backends::new(), ManualClock::new(), Log::default());
    let pool = backends.build(
        quick_keyed("tlong")
            .clock(clock.clone())
            .observer(log.clone())
            .health_check(HealthCheck::Never)
            .max_total(4),
    );
    let held = take_each(&pool, &[1, 2, 2, 3]);
    let [one, two, second, three] = held.try_into().unwrap();
    let ids = [&three, &second, &one, &two].map(|guard| guard.id());
    for guard in [three, second, one, two] {
        clock.advance(secs(1));
        drop(guard);
    }
    clock.advance(secs(1));
    let (mut kept, mut slow) = (Vec::new(), false);
    for (n, key) in [3, 2, 1, 2].into_iter().enumerate() {
        let asking = 10 + n as u32;
        let (got, took) = timed(|| pool.get_timeout(&asking, SOON).unwrap());
        kept.push(got);
        // A dispose that takes 100 ms is no longer waited for, and the next connection is evicted too.
        slow |= took >= ms(100);
        let (made, due) = (made_room(&pool), n as u64 + 1);
        assert!(made == due || slow && made > due, "{made}, not {due}");
        assert!(
            !backends.of(key).kill(ids[n]),
            "{key} is to go as number {n}"
        );
    }
    assert_eq!(pool.stats().created, 8);
    let told = || {
        (log.lines().iter())
            .filter(|line| line.contains("MadeRoom"))
            .count()
    };
    eventually(|| told() == 4);
    drop(kept);
    close_all(&pool, &backends);
}

#[test]
fn a_key_is_served_by_its_own_connection_however_long_others_are_idle() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("tserve").max_total(2));
    drop(take_each(&pool, &[1, 2]));
    for key in [2, 1, 1, 2] {
        assert_eq!(pool.get(&key).unwrap().id(), 1);
    }
    assert_eq!(made_room(&pool), 0);
}

#[test]
fn nothing_is_evicted_before_the_total_is_reached_nor_for_a_key_at_its_own_cap() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("tcap").max_total(3).max_per_key(1));
    drop(take_each(&pool, &[1, 2, 3]));
    let _held = pool.get(&1).unwrap();
    assert!(pool.get_timeout(&1, ms(40)).unwrap_err().is_timeout());
    let stats = pool.stats();
    assert_eq!((stats.created, stats.idle, made_room(&pool)), (3, 2, 0));
}

#[test]
fn the_dispose_of_one_key_ends_before_the_create_of_the_next_begins() {
    let (backends, gate) = with_blocking_disposes();
    let pool = backends.build(quick_keyed("torder").max_total(1));
    drop(pool.get(&0).unwrap());
    let waiter = wait_as(&pool, 1, 1, SOON);
    stays(|| backends.of(1).calls(Hook::Create) == 0);
    let stats = audit(&pool, 1);
    assert_eq!((stats.size, stats.disposing, stats.waiters), (0, 1, 1));
    gate.open();
    drop(waiter.join_soon().unwrap());
    for key in 2..8 {
        drop(pool.get_timeout(&key, SOON).unwrap());
    }
    let expected: Vec<_> = (0..8)
        .flat_map(|key| {
            ["create", "created", "dispose", "disposed"].map(|what| format!("{what} {key}."))
        })
        .collect();
    assert_eq!(backends.log().lines(), expected[..30]);
    assert_eq!(backends.peak(), 1);
    close_all(&pool, &backends);
}

#[test]
fn a_check_in_goes_to_the_caller_of_another_key_if_that_one_waits_longer() {
    let backends = Backends::new();
    let pool = backends.build(
        quick_keyed("tquiet")
            .max_total(1)
            .fairness(Fairness::Strict),
    );
    let hot = pool.get(&1).unwrap();
    let quiet = wait_as(&pool, 1, 2, SOON);
    let next = wait_as(&pool, 2, 1, SOON);
    drop(hot);
    let guard = quiet.join_soon().unwrap();
    assert_eq!(made_room(&pool), 1);
    assert!(!next.is_finished());
    drop(guard);
    assert_eq!(next.join_soon().unwrap().id(), 2, "the first one made room");
    close_all(&pool, &backends);
}

#[test]
fn a_check_in_goes_to_the_caller_of_its_own_key_if_that_one_waits_longer() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("town").max_total(1).fairness(Fairness::Strict));
    let hot = pool.get(&1).unwrap();
    let next = wait_as(&pool, 1, 1, SOON);
    let quiet = wait_as(&pool, 2, 2, SOON);
    drop(hot);
    let guard = next.join_soon().unwrap();
    assert_eq!((guard.id(), made_room(&pool)), (1, 0));
    assert!(!quiet.is_finished());
    drop(guard);
    drop(quiet.join_soon().unwrap());
    close_all(&pool, &backends);
}

#[test]
fn callers_of_several_keys_are_served_in_the_order_they_came() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("tfifo").max_total(2).fairness(Fairness::Strict));
    let mut held = take_each(&pool, &[0, 0]);
    let log = Log::default();
    let keys = [1, 2, 0, 0, 3, 1, 1, 2, 0, 3, 3, 1];
    let waiters: Vec<_> = (0..keys.len())
        .map(|n| {
            let (asking, log) = (pool.clone(), log.clone());
            let task = spawn(move || {
                let _guard = asking.get_timeout(&keys[n], SOON).unwrap();
                log.push(n.to_string());
            });
            await_waiters(&pool, n + 1);
            task
        })
        .collect();
    // The other connection stays in use, so that one slot is handed on.
    drop(held.pop());
    waiters.into_iter().for_each(|waiter| waiter.join_soon());
    let expected: Vec<_> = (0..keys.len()).map(|n| n.to_string()).collect();
    assert_eq!(log.lines(), expected);
    drop(held);
    close_all(&pool, &backends);
}

#[test]
fn a_quiet_key_is_not_starved_by_a_hot_one_nor_the_hot_one_by_it() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("thot").max_total(2));
    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let busy_threads = [(); 4].map(|()| {
        let (pool, stop, served) = (pool.clone(), Arc::clone(&stop), Arc::clone(&served));
        spawn(move || {
            while !stop.load(SeqCst) {
                drop(pool.get_timeout(&1, SOON).unwrap());
                served.fetch_add(1, SeqCst);
            }
        })
    });
    for key in 2..12 {
        let before = served.load(SeqCst);
        let (result, took) = timed(|| pool.get_timeout(&key, SOON).map(drop));
        result.unwrap();
        assert!(took <= noise(), "starved for {took:?}");
        eventually(|| served.load(SeqCst) > before);
    }
    stop.store(true, SeqCst);
    busy_threads.into_iter().for_each(|hog| hog.join_soon());
    close_all(&pool, &backends);
}

#[test]
fn what_is_on_its_way_to_a_waiter_that_gives_up_goes_to_the_next_of_any_key() {
    let (backends, gate) = with_blocking_disposes();
    let pool = backends.build(quick_keyed("tgrant").max_total(1));
    let held = pool.get(&1).unwrap();
    let first = wait_as(&pool, 1, 2, ms(100));
    let second = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(&3, SOON)
    });
    drop(held);
    // The victim's slot is reserved for the first caller, which times out before it is free.
    assert!(first.join_soon().unwrap_err().is_timeout());
    gate.open();
    drop(second.join_soon().unwrap());
    assert_eq!(
        backends.of(2).calls(Hook::Create),
        0,
        "nobody wanted it any more"
    );
    close_all(&pool, &backends);
}

#[test]
fn a_slot_that_races_a_timeout_is_never_lost() {
    for fairness in [Fairness::Strict, Fairness::Eventual(Duration::ZERO)] {
        let backends = Backends::new();
        let pool = backends.build(quick_keyed("trace").max_total(1).fairness(fairness));
        for round in 0..100 {
            let held = pool
                .get_timeout(&(round % 3), SOON)
                .expect("the slot was lost");
            let asking = pool.clone();
            let waiter = spawn(move || {
                asking
                    .get_timeout(&((round + 1) % 3), ms(1))
                    .map(drop)
                    .is_ok()
            });
            // Covers the time around the waiter's deadline.
            thread::sleep(ms(1) / 100 * (60 + round % 80));
            drop(held);
            waiter.join_soon();
        }
        eventually(|| pool.stats().waiters == 0);
        assert!(backends.peak() == 1);
        close_all(&pool, &backends);
    }
}

#[test]
fn every_way_a_connection_ends_frees_its_slot_for_another_key() {
    let ways: [(&str, fn(Guard, &Backends)); 6] = [
        ("detach", |guard, _| drop(PooledConnection::detach(guard))),
        ("discard", |guard, _| PooledConnection::discard(guard)),
        ("panic", |guard, _| panic_with(guard)),
        ("broken", |guard, backends| {
            backends.of(1).fail(Hook::HasBroken, 1);
            drop(guard);
        }),
        ("check-in fails", |guard, backends| {
            backends.of(1).panic(Hook::Checkin, 1);
            drop(guard);
        }),
        ("dispose panics", |guard, backends| {
            backends.of(1).panic(Hook::Dispose, 1);
            PooledConnection::discard(guard);
        }),
    ];
    for (way, end) in ways {
        let backends = Backends::new();
        let pool = backends.build(quick_keyed("tends").max_total(1));
        let held = pool.get(&1).unwrap();
        let waiter = wait_as(&pool, 1, 2, SOON);
        end(held, &backends);
        let served = waiter.join_soon();
        assert!(served.is_ok(), "{way}: {served:?}");
        assert_eq!(made_room(&pool), 0, "{way}");
    }
}

#[test]
fn a_create_that_fails_frees_its_slot_for_another_key() {
    for panics in [false, true] {
        let gate = Gate::default();
        let backends = Backends::with({
            let gate = gate.clone();
            move |key, hook| {
                if (key, hook) == (1, Hook::Create) {
                    gate.pass();
                }
            }
        });
        let pool = backends.build(quick_keyed("tfail").max_total(1));
        let first = wait_as(&pool, 1, 1, SOON);
        let second = wait_as(&pool, 2, 2, SOON);
        stays(|| backends.of(2).calls(Hook::Create) == 0);
        if panics {
            backends.of(1).panic(Hook::Create, 1);
        } else {
            backends.of(1).fail(Hook::Create, 1);
        }
        gate.open();
        let told = first.join_soon().unwrap_err();
        let expected = matches!(told, GetError::Create { .. }) != panics;
        assert!(expected, "{told:?}");
        drop(second.join_soon().unwrap());
        close_all(&pool, &backends);
    }
}

#[test]
fn a_key_that_waits_for_its_backoff_keeps_no_slot_from_others() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("tdown").max_total(1));
    backends.of(1).fail_transient(Hook::Create, u64::MAX);
    let down = wait_as(&pool, 1, 1, SOON);
    for key in 2..10 {
        let (result, took) = timed(|| pool.get_timeout(&key, SOON).map(drop));
        result.unwrap();
        assert!(took <= noise(), "{key} waited for {took:?}");
    }
    backends.of(1).heal();
    drop(down.join_soon().unwrap());
    close_all(&pool, &backends);
}
