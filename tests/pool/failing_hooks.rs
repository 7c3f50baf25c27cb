//! Failing creates and hooks past their timeouts, under load: backoff, hangs, wake-ups.

use crate::common;

use common::{
    Custom, Gate, SOON, close_clean, eventually, fill, ms, noise, queued, quick, quick_backoff,
    secs, spawn, take, threads, timed,
};
use conpool::{
    Backoff, EvictReason, HealthCheck, Hook, ManualClock, MemoryManager, Pool, PooledConnection,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn steep() -> Backoff {
    Backoff::default()
        .with_initial(ms(20))
        .with_factor(10.0)
        .with_max(secs(10))
        .with_jitter(0.0)
}

#[test]
fn the_backoff_grows_when_on_checkout_fails_on_every_new_connection() {
    let backend = MemoryManager::new();
    let pool = quick("growing")
        .backoff(steep())
        .build_lazy(backend.clone())
        .unwrap();
    backend.fail_transient(Hook::Checkout, u64::MAX);
    assert!(pool.get_timeout(ms(600)).unwrap_err().is_timeout());
    // Attempts at 0, 20 and 220 ms; the next would come at 720 ms, since a caller waits.
    assert!(
        backend.calls(Hook::Create) <= 3,
        "{}",
        backend.calls(Hook::Create)
    );
}

#[test]
fn a_success_ends_the_pause_for_all_who_wait() {
    let (backend, gate) = (MemoryManager::new(), Gate::default());
    let manager = Custom::new(&backend, {
        let (gate, backend) = (gate.clone(), backend.clone());
        move |hook, call| match (hook, call) {
            (Hook::Create, 1) => gate.pass(),
            (Hook::Create, 2) => backend.fail_transient(Hook::Create, 1),
            _ => {}
        }
    });
    let pool = Pool::builder()
        .max_size(2)
        .backoff(Backoff::default().with_initial(secs(4)))
        .build_lazy(manager)
        .unwrap();
    let users: Vec<_> = (1..=2)
        .map(|n| {
            let user = spawn({
                let pool = pool.clone();
                move || pool.get_timeout(secs(2))
            });
            queued(&pool, n);
            eventually(|| backend.calls(Hook::Create) + 1 >= n as u64);
            user
        })
        .collect();
    eventually(|| pool.stats().create_errors == 1);
    gate.open();
    let held: Vec<_> = users.into_iter().map(|user| user.join_soon()).collect();
    assert!(held.iter().all(Result::is_ok), "{held:?}");
}

#[test]
fn a_waiter_whose_connection_was_cleared_on_arrival_takes_another_free_slot() {
    let (backend, gate) = (MemoryManager::new(), Gate::default());
    let manager = Custom::new(&backend, {
        let gate = gate.clone();
        move |hook, call| {
            if hook == Hook::Create && call == 1 {
                gate.pass();
            }
        }
    });
    let pool = Pool::builder().max_size(2).build_lazy(manager).unwrap();
    backend.hang(Hook::Dispose);
    let user = spawn({
        let pool = pool.clone();
        move || timed(|| pool.get_timeout(secs(2)).map(drop))
    });
    eventually(|| gate.arrivals() == 1);
    pool.clear();
    // The work that `clear` started is over.
    std::thread::sleep(ms(50));
    gate.open();
    let (result, took) = user.join_soon();
    backend.release();
    assert!(result.is_ok(), "{result:?} after {took:?}");
}

#[test]
fn a_dispose_is_not_queued_behind_a_create_that_hangs() {
    for _ in 0..300 {
        let backend = MemoryManager::new();
        let pool = quick("behind").max_size(2).build(backend.clone()).unwrap();
        drop(pool.get_timeout(SOON).unwrap());
        // The worker that created it still lingers, asleep.
        let start = common::now();
        while start.elapsed() < std::time::Duration::from_micros(150) {
            std::hint::spin_loop();
        }
        backend.hang(Hook::Create);
        backend.fail(Hook::Checkout, 1);
        assert!(pool.get_timeout(ms(2)).is_err());
        let disposed = backend.wait_for(|seen| seen.disposed == 1, secs(1));
        backend.release();
        assert!(disposed, "{:?}", pool.stats());
        close_clean(&pool, &backend);
    }
}

#[test]
fn an_expired_connection_goes_even_if_the_create_of_its_replacement_hangs() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("replace")
        .clock(clock.clone())
        .max_size(3)
        .min_idle(1)
        .lifetime_jitter(0.0)
        .max_lifetime(secs(60))
        .create_timeout(ms(50))
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    clock.advance(secs(61));
    let gone = || pool.stats().evicted(EvictReason::MaxLifetime) == 1;
    let start = common::now();
    while !gone() && start.elapsed() < secs(2) {
        pool.sweep();
        std::thread::sleep(ms(10));
    }
    let (gone, stats) = (gone(), pool.stats());
    backend.release();
    assert!(gone, "{stats:?}");
    close_clean(&pool, &backend);
}

#[test]
fn a_hook_that_kept_its_slot_at_the_bound_is_given_up_on_when_another_returns() {
    let backend = MemoryManager::new();
    let gates: Vec<_> = (0..6).map(|_| Gate::default()).collect();
    let manager = Custom::new(&backend, {
        let gates = gates.clone();
        move |hook, call| {
            if hook == Hook::Create {
                if let Some(gate) = gates.get(call as usize - 1) {
                    gate.pass();
                }
            }
        }
    });
    let pool = Pool::builder()
        .max_size(1)
        .create_timeout(ms(20))
        .backoff(quick_backoff())
        .build_lazy(manager)
        .unwrap();
    let user = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(drop)
    });
    // Four are abandoned, the fifth keeps the only slot.
    eventually(|| pool.stats().abandoned == 4 && pool.stats().creating == 1);
    common::stays(|| pool.stats().abandoned == 4 && pool.stats().creating == 1);
    gates[0].open();
    // The fifth is abandoned, and the sixth keeps the slot.
    eventually(|| backend.counters().disposed == 1);
    eventually(|| pool.stats().abandoned == 4 && pool.stats().creating == 1);
    gates[5].open();
    user.join_soon().unwrap();
    gates.iter().for_each(Gate::open);
    eventually(|| pool.stats().abandoned == 0);
    close_clean(&pool, &backend);
}

#[test]
fn a_dispose_that_kept_its_slot_at_the_bound_is_given_up_on_when_another_returns() {
    let backend = MemoryManager::new();
    let gates: Vec<_> = (0..5).map(|_| Gate::default()).collect();
    let manager = Custom::new(&backend, {
        let gates = gates.clone();
        move |hook, id| {
            if hook == Hook::Dispose {
                if let Some(gate) = gates.get(id as usize - 1) {
                    gate.pass();
                }
            }
        }
    });
    let pool = Pool::builder()
        .max_size(1)
        .dispose_timeout(ms(20))
        .build_lazy(manager)
        .unwrap();
    for _ in &gates {
        PooledConnection::discard(pool.get_timeout(SOON).unwrap());
    }
    // Four are abandoned, the fifth keeps the only slot.
    eventually(|| pool.stats().abandoned == 4 && pool.stats().disposing == 1);
    common::stays(|| pool.stats().abandoned == 4 && pool.stats().disposing == 1);
    gates[2].open();
    eventually(|| pool.stats().abandoned == 4 && pool.stats().disposing == 0);
    drop(pool.get_timeout(SOON).unwrap());
    gates.iter().for_each(Gate::open);
    eventually(|| pool.stats().abandoned == 0);
    close_clean(&pool, &backend);
}

#[test]
fn with_permanent_errors_waiters_are_told_one_after_the_other_in_their_order() {
    let backend = MemoryManager::new();
    // The pauses are long enough for each error to be recorded before the next is reported.
    let pool = quick("inorder")
        .backoff(
            Backoff::default()
                .with_initial(ms(80))
                .with_max(ms(80))
                .with_jitter(0.0),
        )
        .max_size(1)
        .build_lazy(backend.clone())
        .unwrap();
    pool.suspend();
    let order = common::Log::default();
    let users: Vec<_> = (0..4)
        .map(|n| {
            let user = spawn({
                let (pool, order) = (pool.clone(), order.clone());
                move || {
                    let result = pool.get_timeout(SOON).map(drop);
                    order.push(n.to_string());
                    result
                }
            });
            queued(&pool, n + 1);
            user
        })
        .collect();
    backend.fail(Hook::Create, u64::MAX);
    pool.resume();
    for user in users {
        assert!(user.join_soon().unwrap_err().last_create_error().is_some());
    }
    assert_eq!(order.lines(), ["0", "1", "2", "3"]);
    assert_eq!(backend.peak_running(Hook::Create), 1);
}

#[test]
fn during_an_outage_creates_are_tried_one_at_a_time_and_then_side_by_side() {
    let backend = MemoryManager::new();
    let pool = quick("probe")
        .max_size(4)
        .build_lazy(backend.clone())
        .unwrap();
    backend.fail_transient(Hook::Create, 1);
    drop(pool.get_timeout(SOON).unwrap());
    // The state is restored: four callers, four creates at once, besides the idle one.
    let held = take(&pool, 1);
    backend.hang(Hook::Create);
    let users: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || pool.get_timeout(SOON).map(drop))
        })
        .collect();
    eventually(|| backend.running(Hook::Create) == 3);
    backend.release();
    users.into_iter().for_each(|user| user.join_soon().unwrap());
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn a_long_line_of_quick_disposes_starts_few_threads() {
    let backend = MemoryManager::new();
    let pool = quick("line").max_size(1000).build(backend.clone()).unwrap();
    fill(&pool, 1000);
    backend.delay(Hook::Dispose, ms(1));
    close_clean(&pool, &backend);
    // Four that run, and a few more in case the machine held all of them up for a moment.
    let peak = backend.peak_running(Hook::Dispose);
    assert!(peak <= 64, "{peak} at once");
}

#[test]
fn three_hundred_slow_disposes_share_a_few_threads() {
    let backend = MemoryManager::new();
    let pool = quick("slowly")
        .max_size(300)
        .build(backend.clone())
        .unwrap();
    fill(&pool, 300);
    backend.delay(Hook::Dispose, ms(50));
    let over = Arc::new(AtomicBool::new(false));
    let watcher = spawn({
        let over = Arc::clone(&over);
        move || {
            let mut most = 0;
            while !over.load(SeqCst) {
                most = most.max(threads("slowly-worker"));
                std::thread::sleep(ms(2));
            }
            most
        }
    });
    let (all, took) = timed(|| {
        pool.clear();
        backend.wait_for(|seen| seen.disposed == 300, SOON)
    });
    over.store(true, SeqCst);
    let most = watcher.join_soon();
    assert!(all, "{:?}", pool.stats());
    // 16 at a time take 0.95 s.
    assert!(took <= secs(2) + noise() * 4, "{took:?}");
    // A few more in case the machine held all of them up for 100 ms.
    let peak = backend.peak_running(Hook::Dispose);
    assert!((8..=32).contains(&peak), "{peak} at once");
    assert!(most <= 40, "{most} threads");
    close_clean(&pool, &backend);
}

#[test]
fn many_disposes_that_hang_do_not_block_the_rest() {
    let (backend, gate) = (MemoryManager::new(), Gate::default());
    let manager = Custom::new(&backend, {
        let gate = gate.clone();
        move |hook, id| {
            if hook == Hook::Dispose && id <= 40 {
                gate.pass();
            }
        }
    });
    let pool = Pool::builder().max_size(300).build(manager).unwrap();
    fill(&pool, 300);
    let (rest, took) = timed(|| {
        pool.clear();
        backend.wait_for(|seen| seen.disposed == 260, SOON)
    });
    let came = gate.arrivals();
    gate.open();
    assert!(rest, "{:?}", pool.stats());
    assert_eq!(came, 40);
    // 40 hanging ones are 24 more than the initial threads: six times four of them.
    assert!(took <= secs(2) + noise() * 4, "{took:?}");
    close_clean(&pool, &backend);
}

#[test]
fn disposes_that_hang_hold_up_no_other() {
    let backend = MemoryManager::new();
    let pool = quick("stuck").max_size(20).build(backend.clone()).unwrap();
    fill(&pool, 20);
    backend.hang(Hook::Dispose);
    pool.clear();
    assert!(backend.wait_for(|_| backend.running(Hook::Dispose) == 20, SOON));
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn a_failed_on_checkout_after_a_check_is_no_failed_create_though_nobody_used_it_before() {
    let backend = MemoryManager::new();
    let pool = quick("checked")
        .max_size(1)
        .min_idle(1)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    backend.blocking_check(true);
    backend.fail(Hook::Checkout, 1);
    drop(pool.get_timeout(SOON).unwrap());
    let stats = pool.stats();
    assert_eq!((stats.create_errors, stats.created), (0, 2), "{stats}");
    assert_eq!(stats.evicted(EvictReason::HookFailed), 1);
    close_clean(&pool, &backend);
}
