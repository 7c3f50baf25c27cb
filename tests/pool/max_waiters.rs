//! `max_waiters`: more callers than this are refused at once.

use crate::common;

use common::{SOON, eventually, noise, queued, quick, spawn, timed};
use conpool::{GetError, Hook, MemoryManager};

#[test]
fn the_caller_beyond_the_limit_is_refused_at_once() {
    let pool = quick("shed")
        .max_size(1)
        .max_waiters(2)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let waiters = [1, 2].map(|n| {
        let task = spawn({
            let pool = pool.clone();
            move || pool.get_timeout(SOON).map(drop)
        });
        queued(&pool, n);
        task
    });
    let (result, took) = timed(|| pool.get());
    assert!(took <= noise(), "{took:?}");
    let Err(GetError::Saturated { max_waiters, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(max_waiters, 2);
    assert_eq!(pool.stats().saturated, 1);
    drop(held);
    for waiter in waiters {
        waiter.join_soon().unwrap();
    }
    drop(pool.get_timeout(SOON).expect("there is room again"));
}

#[test]
fn zero_never_queues_but_uses_what_is_idle() {
    let pool = quick("noqueue")
        .max_size(1)
        .max_waiters(0)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    assert!(pool.get().unwrap_err().is_saturated());
    drop(held);
    assert_eq!(pool.get().unwrap().id(), 1);
}

#[test]
fn a_caller_whose_own_create_is_under_way_does_not_count() {
    let backend = MemoryManager::new();
    let pool = quick("owncreate")
        .max_size(2)
        .max_waiters(0)
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    let callers = [1, 2].map(|n| {
        let task = spawn({
            let pool = pool.clone();
            move || {
                let guard = pool.get_timeout(SOON)?;
                std::thread::sleep(common::ms(20));
                drop(guard);
                Ok::<(), GetError<_>>(())
            }
        });
        eventually(|| backend.running(Hook::Create) == n);
        task
    });
    assert!(
        pool.get().unwrap_err().is_saturated(),
        "two creates, two callers, no more"
    );
    backend.release();
    for caller in callers {
        caller.join_soon().unwrap();
    }
}

#[test]
fn a_waiter_that_gave_up_makes_room() {
    let pool = quick("room")
        .max_size(1)
        .max_waiters(1)
        .build(MemoryManager::new())
        .unwrap();
    let _held = pool.get().unwrap();
    for _ in 0..3 {
        assert!(pool.get_timeout(common::ms(10)).unwrap_err().is_timeout());
    }
    assert_eq!(pool.stats().saturated, 0);
}
