//! Closures on a connection: on a thread of the pool for a task, on the calling thread for a thread.

use crate::common::executor::{ByHand, block_on};
use crate::common::{Gate, close_clean, eventually, ms, quick, secs, spawn, stays, take, threads};
use conpool::{EvictReason, GetError, Hook, InteractError, MemoryManager, Pool};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

fn pool_of(name: &str, max_size: usize) -> (Pool<MemoryManager>, MemoryManager) {
    let backend = MemoryManager::new();
    let pool = quick(name).max_size(max_size).build(backend.clone());
    (pool.unwrap(), backend)
}

#[test]
fn a_closure_runs_on_a_thread_of_the_pool_and_returns_its_value() {
    let (pool, backend) = pool_of("ownthread", 1);
    let (id, name) = block_on(pool.interact(|connection| {
        let name = thread::current().name().map(str::to_owned);
        (connection.id(), name)
    }))
    .unwrap();
    assert_eq!((id, name.as_deref()), (1, Some("ownthread-worker")));
    assert_eq!((pool.stats().in_use, pool.stats().gets), (0, 1));
    close_clean(&pool, &backend);
}

#[test]
fn the_connection_is_back_when_the_task_is_woken() {
    let (pool, backend) = pool_of("back", 1);
    for _ in 0..200 {
        block_on(pool.interact(|connection| connection.id())).unwrap();
        assert!(pool.try_get().is_some());
    }
    close_clean(&pool, &backend);
}

/// Runs closures of a millisecond, and returns how many ran at once, and on how many threads.
fn most_at_once(pool: &Pool<MemoryManager>, closures: usize) -> (usize, usize) {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let mut jobs: Vec<_> = (0..closures)
        .map(|_| {
            let (running, most, seen) = (running.clone(), most.clone(), seen.clone());
            ByHand::begun(pool.interact(move |_: &mut _| {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                seen.lock().unwrap().insert(thread::current().id());
                thread::sleep(ms(1));
                running.fetch_sub(1, SeqCst);
            }))
        })
        .collect();
    for job in &mut jobs {
        job.finish().unwrap();
    }
    let prefix = format!("{}-worker", pool.name());
    eventually(|| threads(&prefix) == 0);
    (most.load(SeqCst), seen.lock().unwrap().len())
}

#[test]
fn a_hundred_closures_on_two_connections_run_two_at_a_time_and_leave_no_thread() {
    let (pool, backend) = pool_of("twothreads", 2);
    let (most, threads) = most_at_once(&pool, 100);
    assert_eq!(most, 2);
    // Two, if no thread is held up between the end of its closure and the next one.
    assert!(threads <= 20, "{threads} threads for a hundred closures");
    close_clean(&pool, &backend);
}

#[test]
fn closures_whose_connections_are_checked_first_need_no_more_threads() {
    let backend = MemoryManager::new();
    let pool = quick("checked").max_size(8);
    let pool = pool.health_check(conpool::HealthCheck::OnCheckout);
    let pool = pool.build_lazy(backend.clone()).unwrap();
    let (most, threads) = most_at_once(&pool, 400);
    assert!(most <= 8, "{most} at once");
    assert!(threads <= 40, "{threads} threads for 400 closures");
    close_clean(&pool, &backend);
}

#[test]
fn a_closure_that_panics_is_an_error_and_costs_its_connection() {
    let (pool, backend) = pool_of("panicking", 1);
    let job = pool.interact(|_| -> u64 { panic!("as ordered") });
    let error = block_on(job).unwrap_err();
    assert!(matches!(&error, InteractError::Panicked { message } if message == "as ordered"));
    assert_eq!(
        error.to_string(),
        "the closure panicked with \"as ordered\""
    );
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 1);
    assert_eq!(
        block_on(pool.interact(|connection| connection.id())).unwrap(),
        2
    );
    let error = pool.with(|_| panic!("as ordered")).unwrap_err();
    assert!(matches!(error, InteractError::Panicked { .. }));
    assert_eq!(pool.with(|connection| connection.id()).unwrap(), 3);
    close_clean(&pool, &backend);
}

#[test]
fn a_future_that_is_dropped_before_its_closure_began_never_runs_it() {
    let (pool, backend) = pool_of("neverruns", 1);
    let held = pool.get().unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let job = |runs: &Arc<AtomicUsize>| {
        let runs = Arc::clone(runs);
        pool.interact(move |_| runs.fetch_add(1, SeqCst))
    };
    drop(job(&runs));
    let waiting = ByHand::pending(job(&runs));
    assert_eq!(pool.stats().waiters, 1);
    drop(waiting);
    assert_eq!(pool.stats().waiters, 0);
    drop(held);
    stays(|| runs.load(SeqCst) == 0);
    block_on(job(&runs)).unwrap();
    assert_eq!(runs.load(SeqCst), 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_closure_whose_future_is_dropped_runs_to_its_end_and_its_connection_is_checked_in() {
    let (pool, backend) = pool_of("tail", 1);
    let (gate, ends) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let job = ByHand::pending(pool.interact({
        let (gate, ends) = (gate.clone(), Arc::clone(&ends));
        move |_| {
            gate.pass();
            ends.fetch_add(1, SeqCst);
        }
    }));
    eventually(|| gate.arrivals() == 1);
    drop(job);
    assert_eq!(pool.stats().in_use, 1);
    gate.open();
    eventually(|| pool.stats().idle == 1);
    assert_eq!(ends.load(SeqCst), 1);
    assert_eq!(pool.get().unwrap().id(), 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_drop_interrupts_the_connection_of_a_closure_that_was_told_so() {
    let (pool, backend) = pool_of("interrupted", 1);
    backend.hang(Hook::Execute);
    let result = Arc::new(Mutex::new(None));
    let job = pool.interact({
        let result = Arc::clone(&result);
        move |connection| *result.lock().unwrap() = Some(connection.execute("SLEEP"))
    });
    let job = ByHand::pending(job.interrupt_on_drop());
    eventually(|| backend.counters().in_hook == 1);
    drop(job);
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
    assert!(result.lock().unwrap().as_ref().unwrap().is_err());
    backend.release();
    assert_eq!(pool.get().unwrap().id(), 2);
    close_clean(&pool, &backend);
}

/// The next user of the connection must not be hit by the interrupt of the one before.
#[test]
fn a_drop_after_the_end_of_the_closure_interrupts_nobody() {
    let (pool, backend) = pool_of("after", 1);
    for _ in 0..300 {
        let mut job = ByHand::new(pool.interact(|_| ()).interrupt_on_drop());
        assert!(job.poll().is_none_or(|done| done.is_ok()));
        eventually(|| pool.stats().gets > 0);
        drop(job);
        let mut next = pool.get().unwrap();
        next.execute("PING").unwrap();
    }
    close_clean(&pool, &backend);
}

#[test]
fn an_error_of_the_closure_discards_the_connection_where_asked_to() {
    let (pool, backend) = pool_of("discard", 1);
    let fail = |_: &mut _| Err::<(), _>("refused");
    let kept = block_on(pool.interact(fail)).unwrap();
    assert_eq!(
        (kept, pool.stats().evicted(EvictReason::Discarded)),
        (Err("refused"), 0)
    );
    let discarded = block_on(pool.interact(fail).discard_on_err()).unwrap();
    assert_eq!(
        (discarded, pool.stats().evicted(EvictReason::Discarded)),
        (Err("refused"), 1)
    );
    assert_eq!(pool.with(fail).unwrap(), Err("refused"));
    assert_eq!(pool.stats().evicted(EvictReason::Discarded), 1);
    assert_eq!(pool.with_or_discard(fail).unwrap(), Err("refused"));
    assert_eq!(pool.stats().evicted(EvictReason::Discarded), 2);
    assert_eq!(pool.with_or_discard(|_| Ok::<_, ()>(7)).unwrap(), Ok(7));
    assert_eq!(pool.stats().evicted(EvictReason::Discarded), 2);
    close_clean(&pool, &backend);
}

#[test]
fn the_timeout_of_interact_limits_the_wait_for_a_connection_and_not_the_closure() {
    let (pool, backend) = pool_of("limit", 1);
    let held = pool.get().unwrap();
    let error = block_on(pool.interact_timeout(ms(50), |_| ())).unwrap_err();
    assert!(
        error.get_error().is_some_and(GetError::is_timeout),
        "{error}"
    );
    drop(held);
    let slow = pool.interact_timeout(ms(50), |_| thread::sleep(ms(200)));
    block_on(slow).unwrap();
    close_clean(&pool, &backend);
}

#[test]
fn closures_and_threads_stand_in_one_line() {
    let (pool, backend) = pool_of("oneline", 1);
    let held = pool.get().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut jobs: Vec<_> = (0..20)
        .map(|n| {
            let order = Arc::clone(&order);
            let work = move |_: &mut _| order.lock().unwrap().push(n);
            ByHand::pending(pool.interact_timeout(secs(20), work))
        })
        .collect();
    drop(held);
    for job in &mut jobs {
        job.finish().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    close_clean(&pool, &backend);
}

/// The value of a closure whose future is gone is dropped on the thread of the pool.
#[test]
fn a_value_whose_drop_hangs_holds_up_neither_the_next_closure_nor_a_close() {
    struct Slow(Gate);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.pass();
        }
    }
    let (pool, backend) = pool_of("slowdrop", 1);
    let (start, gate) = (Gate::default(), Gate::default());
    let first = ByHand::pending(pool.interact({
        let (start, gate) = (start.clone(), gate.clone());
        move |_| {
            start.pass();
            Slow(gate)
        }
    }));
    eventually(|| start.arrivals() == 1);
    let mut second = ByHand::pending(pool.interact(|_| ()));
    drop(first);
    start.open();
    eventually(|| gate.arrivals() == 1);
    second.finish().unwrap();

    // Three closures that never run, each with such a value.
    let held = pool.get().unwrap();
    let mut waiting: Vec<_> = (0..3)
        .map(|_| {
            let slow = Slow(gate.clone());
            ByHand::pending(pool.interact(move |_| drop(slow)))
        })
        .collect();
    pool.close();
    for job in &mut waiting {
        assert!(job.finish().is_err());
    }
    gate.open();
    drop(held);
    close_clean(&pool, &backend);
}

/// `on_checkout` must not block, but one that does costs nobody else.
#[test]
fn a_hook_that_hangs_before_one_closure_does_not_hold_up_another() {
    let (pool, backend) = pool_of("hook", 3);
    let mut held = take(&pool, 3);
    let mut jobs: Vec<_> = (0..3)
        .map(|_| ByHand::pending(pool.interact(|_| ())))
        .collect();
    backend.hang(Hook::Checkout);
    drop(held.pop());
    eventually(|| backend.running(Hook::Checkout) == 1);
    // The others wait behind it, in turn.
    held.clear();
    eventually(|| backend.running(Hook::Checkout) == 3);
    backend.release();
    for job in &mut jobs {
        job.finish().unwrap();
    }
    close_clean(&pool, &backend);
}

/// The closure that waits next runs on the thread that gives the connection back, but only once that thread is free.
#[test]
fn a_closure_may_give_back_another_connection_and_wait_for_the_closure_that_gets_it() {
    let (pool, backend) = pool_of("nested", 2);
    let other = pool.get().unwrap();
    let second_ran = Gate::default();
    let gate = second_ran.clone();
    let start = Gate::default();
    let started = start.clone();
    let mut first = ByHand::begun(pool.interact(move |_| {
        started.pass();
        drop(other);
        eventually(|| gate.arrivals() == 1);
    }));
    eventually(|| start.arrivals() == 1);
    let gate = second_ran.clone();
    let mut second = ByHand::begun(pool.interact(move |_| gate.pass()));
    second_ran.open();
    start.open();
    for job in [&mut first, &mut second] {
        job.finish().unwrap();
    }
    close_clean(&pool, &backend);
}

#[test]
fn a_pool_without_a_collector_has_no_thread_for_a_closure() {
    let backend = MemoryManager::new();
    let pool = quick("inline").background_collector(false);
    let pool = pool.build(backend.clone()).unwrap();
    let error = block_on(pool.interact(|_| ())).unwrap_err();
    let error = error.get_error().expect("no connection");
    assert!(matches!(error, GetError::NoCollector { .. }), "{error}");
    assert_eq!(pool.with(|connection| connection.id()).unwrap(), 1);
    pool.close();
    let error = block_on(pool.interact(|_| ())).unwrap_err();
    assert!(error.get_error().is_some_and(GetError::is_closed));
}

#[test]
fn a_close_ends_the_wait_of_a_closure_and_lets_one_that_runs_end() {
    let (pool, backend) = pool_of("closed", 1);
    let gate = Gate::default();
    let mut running = ByHand::pending(pool.interact({
        let gate = gate.clone();
        move |_| gate.pass()
    }));
    eventually(|| gate.arrivals() == 1);
    let mut waiting = ByHand::pending(pool.interact(|_| ()));
    pool.close();
    let error = waiting.finish().unwrap_err();
    assert!(
        error.get_error().is_some_and(GetError::is_closed),
        "{error}"
    );
    assert_eq!(pool.stats().in_use, 1);
    gate.open();
    running.finish().unwrap();
    close_clean(&pool, &backend);
}

#[test]
fn a_permanent_failure_of_a_create_is_the_error_of_the_closure() {
    let backend = MemoryManager::new();
    let pool = quick("failing").build_lazy(backend.clone()).unwrap();
    backend.fail(Hook::Create, 1);
    let error = block_on(pool.interact(|_| ())).unwrap_err();
    assert!(
        matches!(error, InteractError::Get(GetError::Create { .. })),
        "{error}"
    );
    block_on(pool.interact(|_| ())).unwrap();
    close_clean(&pool, &backend);
}

#[test]
fn a_stale_connection_is_checked_before_a_closure_gets_it() {
    let backend = MemoryManager::new();
    let pool = quick("stale").health_check(conpool::HealthCheck::OnCheckout);
    let pool = pool.build(backend.clone()).unwrap();
    assert_eq!(block_on(pool.interact(|c| c.id())).unwrap(), 1);
    backend.fail(Hook::Check, 1);
    assert_eq!(block_on(pool.interact(|c| c.id())).unwrap(), 2);
    close_clean(&pool, &backend);
}

#[test]
fn closures_that_end_without_a_connection_need_no_thread_each() {
    let (pool, backend) = pool_of("burst", 2);
    let held = take(&pool, 2);
    let jobs: Vec<_> = (0..500)
        .map(|_| ByHand::pending(pool.interact(|_| ())))
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let watch = spawn({
        let over = Arc::clone(&over);
        move || {
            let mut most = 0;
            while !over.load(SeqCst) {
                most = most.max(threads("burst-worker"));
            }
            most
        }
    });
    assert_eq!(pool.clear_waiters(), 500);
    for mut job in jobs {
        assert!(job.finish().is_err());
    }
    over.store(true, SeqCst);
    let most = watch.join_soon();
    drop(held);
    close_clean(&pool, &backend);
    assert!(most <= 6, "{most} threads");
}
