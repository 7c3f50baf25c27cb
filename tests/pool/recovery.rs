//! How fast a pool serves again after an outage, and how often it connects during one.

use crate::common;
use crate::keyed;

use common::{SOON, close_clean, ms, noise, now, quick, secs, spawn, stays, timed};
use conpool::{Backoff, Hook, KeyedPool, MemoryManager, Pool};
use keyed::{Backends, close_all};
use std::thread;

/// The longest pause while a caller waits, at the default `get_timeout`.
const CAP: u64 = 500;

/// One attempt, and the next one after a long time unless a caller waits.
fn long() -> Backoff {
    Backoff::default().with_initial(secs(60)).with_max(secs(60))
}

#[test]
fn callers_are_served_within_half_a_second_of_the_return_of_the_server() {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, u64::MAX);
    let _ = noise();
    let pool = Pool::builder().name("return");
    let pool = pool.build_lazy(backend.clone()).unwrap();
    let start = now();
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || while pool.get_timeout(secs(1)).is_err() {})
        })
        .collect();
    // The configured pauses alone would end at 50, 150, 350, 750, 1550, 3150 and 6350 ms.
    thread::sleep(ms(3600));
    let attempts = backend.calls(Hook::Create);
    let outage = start.elapsed();
    backend.heal();
    let ((), took) = timed(|| {
        for caller in callers {
            caller.join_soon();
        }
    });
    assert!(took <= ms(CAP) + noise(), "served after {took:?}");
    // Each of the first four callers may create beside the others; then come the first pauses. From then on
    // each pause is as long as the cap, and shorter by up to the jitter.
    let most = 4 + 4 + outage.as_millis() as u64 / (CAP * 4 / 5);
    assert!(attempts <= most, "{attempts} attempts in {outage:?}");
    assert_eq!(
        pool.stats().create_errors,
        backend.calls(Hook::Create) - pool.stats().created
    );
    close_clean(&pool, &backend);
}

#[test]
fn a_caller_that_comes_in_the_middle_of_a_long_pause_ends_it_in_time() {
    for threads in [true, false] {
        let backend = MemoryManager::new();
        backend.fail_transient(Hook::Create, 1);
        let pool = quick("middle")
            .backoff(long())
            .background_collector(threads);
        let pool = pool.build_lazy(backend.clone()).unwrap();
        while backend.calls(Hook::Create) == 0 {
            assert!(pool.get_timeout(ms(5)).unwrap_err().is_timeout());
        }
        let (got, took) = timed(|| pool.get_timeout(SOON).map(drop));
        got.unwrap();
        assert!(took <= ms(CAP) + noise(), "served after {took:?}");
        assert_eq!(backend.calls(Hook::Create), 2);
        close_clean(&pool, &backend);
    }
}

#[test]
fn the_pause_of_those_who_wait_is_at_most_a_quarter_of_get_timeout() {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, 3);
    let pool = quick("quarter").backoff(long()).get_timeout(secs(1));
    let pool = pool.build_lazy(backend.clone()).unwrap();
    let (got, took) = timed(|| pool.get_timeout(SOON).map(drop));
    got.unwrap();
    assert!(took <= ms(3 * 250) + noise(), "served after {took:?}");
    assert!(took >= ms(3 * 200), "served after {took:?}");
    close_clean(&pool, &backend);
}

#[test]
fn build_waits_as_a_caller_does() {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, 2);
    let (pool, took) = timed(|| {
        quick("build")
            .backoff(long())
            .build(backend.clone())
            .unwrap()
    });
    assert!(took <= ms(2 * CAP) + noise(), "built after {took:?}");
    close_clean(&pool, &backend);
}

#[test]
fn while_nobody_waits_the_configured_pause_holds() {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, u64::MAX);
    let pool = quick("nobody").backoff(long()).min_idle(2);
    let pool = pool.build_lazy(backend.clone()).unwrap();
    assert!(pool.get_timeout(ms(100)).unwrap_err().is_timeout());
    // The waiters are gone, and a create that was already on its way may still come.
    thread::sleep(ms(20));
    let calls = backend.calls(Hook::Create);
    thread::sleep(ms(2 * CAP));
    stays(|| backend.calls(Hook::Create) == calls);
    close_clean(&pool, &backend);
}

#[test]
fn a_key_of_several_recovers_as_fast() {
    let backends = Backends::new();
    let builder = KeyedPool::builder().name("keys").backoff(long());
    let pool = backends.build(builder.max_total(4));
    backends.of(1).fail_transient(Hook::Create, 1);
    while backends.of(1).calls(Hook::Create) == 0 {
        assert!(pool.get_timeout(&1, ms(5)).unwrap_err().is_timeout());
    }
    let (got, took) = timed(|| pool.get_timeout(&1, SOON).map(drop));
    got.unwrap();
    assert!(took <= ms(CAP) + noise(), "served after {took:?}");
    close_all(&pool, &backends);
}
