//! `set_max_size` and `set_min_idle` while the pool is busy.

use crate::common;

use common::{SOON, close_clean, eventually, fill, ms, queued, quick, spawn, stays, take};
use conpool::{EvictReason, Hook, MemoryManager};

#[test]
fn growing_wakes_those_who_wait() {
    let backend = MemoryManager::new();
    let pool = quick("rgrow").max_size(1).build(backend.clone()).unwrap();
    let _held = pool.get().unwrap();
    let waiters = [(); 3].map(|()| {
        let pool = pool.clone();
        spawn(move || {
            let guard = pool.get_timeout(SOON).unwrap();
            std::thread::sleep(ms(20));
            guard.id()
        })
    });
    queued(&pool, 3);
    pool.set_max_size(4).unwrap();
    let mut ids = waiters.map(|waiter| waiter.join_soon());
    ids.sort_unstable();
    assert!(ids.iter().all(|id| *id > 1), "{ids:?}");
    assert_eq!(pool.config().max_size, 4);
    assert_eq!(pool.stats().max_size, 4);
}

#[test]
fn shrinking_evicts_idle_ones_now_and_the_rest_at_check_in() {
    let backend = MemoryManager::new();
    let pool = quick("rshrink").max_size(5).build(backend.clone()).unwrap();
    fill(&pool, 5);
    let mut held = take(&pool, 3);
    pool.set_max_size(2).unwrap();
    assert!(backend.wait_for(|seen| seen.disposed == 2, SOON));
    assert!(pool.try_get().is_none());
    stays(|| backend.counters().disposed == 2);
    drop(held.pop());
    assert!(backend.wait_for(|seen| seen.disposed == 3, SOON));
    drop(held);
    eventually(|| pool.stats().idle == 2);
    stays(|| pool.stats().size == 2);
    assert_eq!(pool.stats().evicted(EvictReason::Shrunk), 3);
    assert_eq!(take(&pool, 2).len(), 2);
}

#[test]
fn a_shrunk_pool_serves_its_waiters_with_what_is_left() {
    let pool = quick("rwait")
        .max_size(3)
        .build(MemoryManager::new())
        .unwrap();
    let mut held = take(&pool, 3);
    pool.set_max_size(1).unwrap();
    let waiter = common::waiter(&pool);
    drop(held.pop());
    drop(held.pop());
    drop(held.pop());
    waiter.join_soon().unwrap();
    eventually(|| pool.stats().size == 1);
}

#[test]
fn a_create_in_flight_that_no_longer_fits_is_not_kept() {
    let backend = MemoryManager::new();
    let pool = quick("rflight").max_size(2).build(backend.clone()).unwrap();
    let _held = pool.get().unwrap();
    backend.hang(Hook::Create);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(ms(100)).map(drop)
    });
    eventually(|| backend.running(Hook::Create) == 1);
    pool.set_max_size(1).unwrap();
    backend.release();
    drop(waiter.join_soon());
    eventually(|| pool.stats().size == 1 && pool.stats().disposing == 0);
}

#[test]
fn bad_sizes_are_refused_and_change_nothing() {
    let pool = quick("rbad")
        .max_size(3)
        .min_idle(1)
        .build(MemoryManager::new())
        .unwrap();
    assert!(
        pool.set_max_size(0)
            .unwrap_err()
            .to_string()
            .contains("max_size")
    );
    assert!(
        pool.set_min_idle(4)
            .unwrap_err()
            .to_string()
            .contains("min_idle")
    );
    let config = pool.config();
    assert_eq!((config.max_size, config.min_idle), (3, 1));
}

#[test]
fn raising_min_idle_fills_in_the_background() {
    let pool = quick("rmin")
        .max_size(5)
        .build(MemoryManager::new())
        .unwrap();
    pool.set_min_idle(4).unwrap();
    eventually(|| pool.stats().idle == 4);
    assert_eq!(pool.stats().min_idle, 4);
}

#[test]
fn resizing_without_pause_under_load_wedges_nothing() {
    let backend = MemoryManager::new();
    let pool = quick("rload").max_size(8).build(backend.clone()).unwrap();
    let users: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || {
                for _ in 0..300 {
                    pool.get_timeout(SOON).unwrap().execute("PING").unwrap();
                }
            })
        })
        .collect();
    let mut size = 1;
    while users.iter().any(|user| !user.is_finished()) {
        pool.set_max_size(size).unwrap();
        size = size % 8 + 1;
        std::thread::sleep(ms(1));
    }
    users.into_iter().for_each(|user| user.join_soon());
    assert!(backend.counters().peak_open <= 8);
    pool.set_max_size(1).unwrap();
    eventually(|| pool.stats().size <= 1);
    close_clean(&pool, &backend);
}

#[test]
fn resizing_a_closed_pool_does_no_harm() {
    let backend = MemoryManager::new();
    let pool = quick("rclosed").build(backend.clone()).unwrap();
    pool.close();
    drop(pool.set_max_size(3));
    drop(pool.set_min_idle(1));
    close_clean(&pool, &backend);
    stays(|| backend.calls(Hook::Create) == 1);
}
