//! Keyed pools: how the factory adds keys, and how keys are removed.

use crate::common;
use crate::keyed;

use common::{Gate, Rng, SOON, assert_at, eventually, ms, noise, now, secs, spawn, stays, timed};
use conpool::{
    ConnectionManager, EvictReason, GetError, KeyedPool, ManualClock, MemoryConnection,
    MemoryError, MemoryManager, PooledConnection,
};
use keyed::{
    Backends, Keyed, audit, await_waiters, close_all, crowd, quick_keyed, sorted_keys, take_each,
    wait_as,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

#[test]
fn eight_threads_that_ask_for_a_new_key_at_once_call_the_factory_once() {
    let (calls, backend) = (Arc::new(AtomicUsize::new(0)), MemoryManager::new());
    let pool = KeyedPool::<&str, MemoryManager>::builder()
        .build({
            let (calls, backend) = (Arc::clone(&calls), backend.clone());
            move |_| {
                calls.fetch_add(1, SeqCst);
                thread::sleep(ms(20));
                backend.clone()
            }
        })
        .unwrap();
    let start = Arc::new(Barrier::new(8));
    let users = pool.clone();
    crowd(8, move |_| {
        start.wait();
        drop(users.get_timeout(&"db", SOON).unwrap());
    });
    assert_eq!(calls.load(SeqCst), 1);
    assert_eq!(pool.stats().gets, 8);
}

#[test]
fn a_factory_that_panics_is_told_to_its_caller_and_the_next_one_tries_again() {
    let (backends, gate, calls) = (Backends::new(), Gate::default(), AtomicUsize::new(0));
    let inside = Arc::new(Barrier::new(2));
    let pool = quick_keyed("kpanic").build({
        let (backends, gate, inside) = (backends.clone(), gate.clone(), Arc::clone(&inside));
        move |key: &u32| {
            if calls.fetch_add(1, SeqCst) == 0 {
                inside.wait();
                gate.pass();
                panic!("no such host");
            }
            backends.member(*key)
        }
    });
    let pool = pool.unwrap();
    let ask = || {
        spawn({
            let pool = pool.clone();
            move || pool.get_timeout(&1, SOON).map(drop)
        })
    };
    let first = ask();
    inside.wait();
    let second = ask();
    stays(|| !second.is_finished());
    gate.open();
    let error = first.join_soon().unwrap_err();
    let GetError::Panicked { message, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(message, "no such host");
    assert!(error.to_string().contains("kpanic"), "{error}");
    second.join_soon().unwrap();
    assert_eq!(backends.made(1), 1);
    close_all(&pool, &backends);
}

#[test]
fn a_slow_factory_holds_up_no_other_key_and_not_the_deadline_of_its_own() {
    let (backends, gate) = (Backends::new(), Gate::default());
    let inside = Arc::new(Barrier::new(2));
    let pool = quick_keyed("kslow").build({
        let (backends, gate, inside) = (backends.clone(), gate.clone(), Arc::clone(&inside));
        move |key: &u32| {
            if *key == 1 {
                inside.wait();
                gate.pass();
            }
            backends.member(*key)
        }
    });
    let pool = pool.unwrap();
    let slow = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(&1, SOON).map(drop)
    });
    inside.wait();
    // Enough keys to collide with the slow one in any hash table.
    drop(take_each(&pool, &(2..80).collect::<Vec<_>>()));
    assert!(pool.try_get(&1).is_none());
    let (result, took) = timed(|| pool.get_timeout(&1, ms(40)));
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(40));
    assert_eq!(pool.stats().size, 78);
    pool.sweep();
    gate.open();
    slow.join_soon().unwrap();
    close_all(&pool, &backends);
}

#[test]
fn a_factory_may_use_the_pool_for_another_key() {
    let (backends, inner) = (Backends::new(), Arc::new(Mutex::new(None::<Keyed>)));
    let pool = quick_keyed("finner").build({
        let (backends, inner) = (backends.clone(), Arc::clone(&inner));
        move |key: &u32| {
            let handle = inner.lock().unwrap().clone();
            if let Some(pool) = handle.filter(|_| *key < 5) {
                assert_eq!(pool.get(&(key + 1)).unwrap().id(), 1);
            }
            backends.member(*key)
        }
    });
    let pool = pool.unwrap();
    *inner.lock().unwrap() = Some(pool.clone());
    drop(pool.get_timeout(&1, SOON).unwrap());
    assert_eq!(sorted_keys(&pool), [1, 2, 3, 4, 5]);
    inner.lock().unwrap().take();
    close_all(&pool, &backends);
}

#[test]
fn close_tells_callers_who_wait_for_a_factory_at_once() {
    let (backends, gate) = (Backends::new(), Gate::default());
    let inside = Arc::new(Barrier::new(2));
    let pool = quick_keyed("ffactory").build({
        let (backends, gate, inside) = (backends.clone(), gate.clone(), Arc::clone(&inside));
        move |key: &u32| {
            inside.wait();
            gate.pass();
            backends.member(*key)
        }
    });
    let pool = pool.unwrap();
    let ask = |pool: &Keyed| {
        let pool = pool.clone();
        spawn(move || pool.get_timeout(&1, SOON).map(drop))
    };
    let first = ask(&pool);
    inside.wait();
    let second = ask(&pool);
    stays(|| !second.is_finished());
    pool.close();
    let start = now();
    while !second.is_finished() && start.elapsed() < noise() {
        std::thread::sleep(ms(1));
    }
    let told_at_once = second.is_finished();
    gate.open();
    assert!(first.join_soon().unwrap_err().is_closed());
    assert!(second.join_soon().unwrap_err().is_closed());
    close_all(&pool, &backends);
    assert!(told_at_once, "it waited for the factory of a closed pool");
}

#[test]
fn a_sweep_removes_a_key_only_if_nothing_is_open_and_nobody_waits() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("ksweep").max_total(3));
    drop(pool.get(&1).unwrap());
    drop(pool.get(&2).unwrap());
    pool.clear_key(&1);
    // By the pool's count: its slot is free a moment after the hook.
    eventually(|| pool.stats().disposed == 1);
    pool.sweep();
    assert_eq!(sorted_keys(&pool), [2]);
    let held = take_each(&pool, &[3, 3, 3]);
    let waiter = wait_as(&pool, 1, 4, SOON);
    pool.sweep();
    assert_eq!(sorted_keys(&pool), [3, 4]);
    drop(held);
    drop(waiter.join_soon().unwrap());
    // The counts of removed keys are still included.
    let stats = pool.stats();
    assert_eq!((stats.gets, stats.created), (6, 6));
    drop(pool.get(&1).unwrap());
    assert_eq!((backends.made(1), pool.stats().gets), (2, 7));
    close_all(&pool, &backends);
    assert_eq!(pool.stats().disposed, 7);
}

#[test]
fn a_key_that_is_not_used_any_more_goes_by_itself_and_its_counts_stay() {
    let (backends, clock) = (Backends::new(), ManualClock::new());
    let builder = quick_keyed("kidle").clock(clock.clone());
    let pool = backends.build(builder.idle_timeout(secs(60)));
    let held = pool.get(&1).unwrap();
    drop(take_each(&pool, &[2, 3]));
    clock.advance(secs(61));
    eventually(|| pool.stats().disposed == 2);
    clock.advance(secs(61));
    eventually(|| sorted_keys(&pool) == [1]);
    let stats = pool.stats();
    assert_eq!((stats.gets, stats.created, stats.disposed), (3, 3, 2));
    assert_eq!(stats.evicted(EvictReason::IdleTimeout), 2);
    drop(held);
    stays(|| sorted_keys(&pool) == [1]);
    close_all(&pool, &backends);
}

#[test]
fn a_key_goes_one_idle_timeout_after_its_last_use_and_not_two() {
    let (backends, clock) = (Backends::new(), ManualClock::new());
    let builder = quick_keyed("kgoes").clock(clock.clone());
    let pool = backends.build(builder.idle_timeout(secs(60)));
    drop(pool.get(&1).unwrap());
    clock.advance(secs(61));
    eventually(|| pool.stats().disposed == 1);
    eventually(|| pool.keys().is_empty());
}

#[test]
fn keys_that_are_swept_and_cleared_while_callers_use_them_lose_nothing() {
    for collector in [true, false] {
        let backends = Backends::new();
        let builder = quick_keyed("fsweep").max_total(4).max_uses(5);
        let pool = backends.build(builder.background_collector(collector));
        let stop = Arc::new(AtomicBool::new(false));
        let sweepers = [0, 1].map(|n| {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            spawn(move || {
                let mut rng = Rng::new(n);
                while !stop.load(SeqCst) {
                    pool.clear_key(&(rng.below(12) as u32));
                    pool.sweep();
                    audit(&pool, 4);
                }
            })
        });
        let user = pool.clone();
        crowd(6, move |seed| {
            let (mut rng, until) = (Rng::new(seed + 7), now() + ms(400));
            while now() < until {
                let key = rng.below(12) as u32;
                match user.get_timeout(&key, ms(rng.below(20))) {
                    Ok(guard) if rng.below(3) == 0 => PooledConnection::discard(guard),
                    Ok(mut guard) => drop(guard.execute("PING").unwrap()),
                    Err(error) => assert!(error.is_timeout(), "{error:?}"),
                }
                drop(user.try_get(&key));
            }
        });
        stop.store(true, SeqCst);
        sweepers.into_iter().for_each(|sweeper| sweeper.join_soon());
        await_waiters(&pool, 0);
        let made: usize = (0..12).map(|key| backends.made(key)).sum();
        assert!(made > 12, "no key was ever removed");
        close_all(&pool, &backends);
        assert!(backends.peak() <= 4, "{}", backends.peak());
    }
}

#[test]
fn a_get_that_meets_a_key_on_its_way_out_is_counted_once() {
    let backends = Backends::new();
    let pool = backends.build(quick_keyed("fcount"));
    let stop = Arc::new(AtomicBool::new(false));
    let sweepers = [(); 2].map(|()| {
        let (pool, stop) = (pool.clone(), Arc::clone(&stop));
        spawn(move || {
            while !stop.load(SeqCst) {
                pool.sweep();
            }
        })
    });
    let user = pool.clone();
    crowd(4, move |n| {
        for _ in 0..300 {
            let guard = user.get_timeout(&(n as u32 % 2), SOON).unwrap();
            PooledConnection::discard(guard);
        }
    });
    stop.store(true, SeqCst);
    sweepers.into_iter().for_each(|sweeper| sweeper.join_soon());
    close_all(&pool, &backends);
    let stats = pool.stats();
    assert_eq!((stats.gets, stats.error_rate()), (1200, 0.0), "{stats:?}");
}

/// A manager whose drop panics for some keys.
struct PanicsOnDrop(MemoryManager, bool);

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        assert!(!self.1, "dropped");
    }
}

impl ConnectionManager for PanicsOnDrop {
    type Connection = MemoryConnection;
    type Error = MemoryError;
    fn create(&self) -> Result<MemoryConnection, MemoryError> {
        self.0.create()
    }
    fn check_aliveness(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        self.0.check_aliveness(connection)
    }
}

#[test]
fn a_manager_whose_drop_panics_harms_no_other_key() {
    let pool = KeyedPool::<u32, PanicsOnDrop>::builder()
        .max_total(1)
        .build(|key| PanicsOnDrop(MemoryManager::new(), *key == 3))
        .unwrap();
    let get = |key: u32| {
        let got = catch_unwind(AssertUnwindSafe(|| {
            pool.get_timeout(&key, secs(1)).map(drop)
        }));
        got.expect("a panic that is not this caller's").unwrap();
    };
    // More keys than are kept, so that some are removed meanwhile.
    let panicked = (0..200).find(|key| catch_unwind(AssertUnwindSafe(|| get(*key))).is_err());
    pool.clear();
    eventually(|| pool.stats().disposing + pool.stats().size == 0);
    drop(catch_unwind(AssertUnwindSafe(|| pool.sweep())));
    // The caller got the panic, and it is over.
    panicked.into_iter().for_each(get);
    assert_eq!(panicked, None);
}
