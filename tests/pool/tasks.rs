//! Tasks that wait for a connection: they stand in the one queue, the collector keeps their deadlines, and a drop ends
//! their wait.

use crate::common::executor::{ByHand, block_on};
use crate::common::{
    Task, assert_at, close_clean, eventually, ms, queued, quick, secs, spawn, stays, take, timed,
};
use conpool::{
    ConnectionManager, EvictReason, GetError, HealthCheck, Hook, MemoryManager, OnSuspend, Pool,
    PooledConnection,
};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

fn pool_of(max_size: usize) -> (Pool<MemoryManager>, MemoryManager) {
    let backend = MemoryManager::new();
    let pool = quick("tasks").max_size(max_size).build(backend.clone());
    (pool.unwrap(), backend)
}

fn thread_in_line(pool: &Pool<MemoryManager>) -> Task<bool> {
    let pool = pool.clone();
    spawn(move || pool.get_timeout(secs(20)).is_ok())
}

#[test]
fn an_idle_connection_is_ready_at_the_first_poll() {
    let (pool, backend) = pool_of(2);
    for _ in 0..3 {
        let guard = ByHand::new(pool.get_async()).poll().unwrap().unwrap();
        assert_eq!(guard.id(), 1);
    }
    assert_eq!((pool.stats().gets, pool.stats().gets_waited), (3, 0));
    close_clean(&pool, &backend);
}

#[test]
fn a_future_does_nothing_before_its_first_poll() {
    let (pool, backend) = pool_of(1);
    let future = pool.get_async();
    assert_eq!((pool.stats().in_use, pool.stats().gets), (0, 0));
    drop(future);
    assert_eq!((pool.stats().in_use, pool.stats().gets), (0, 0));
    close_clean(&pool, &backend);
}

#[test]
fn futures_are_small_and_may_move_between_threads() {
    const fn is_send<T: Send + 'static + Unpin>(_: &T) {}
    let (pool, _) = pool_of(1);
    let future = pool.get_async();
    is_send(&future);
    assert!(size_of_val(&future) < 256, "{}", size_of_val(&future));
    let job = pool.interact(|connection| connection.id());
    is_send(&job);
    assert!(size_of_val(&job) < 256, "{}", size_of_val(&job));
}

#[test]
fn a_task_waits_for_a_check_in_and_is_woken_once() {
    let (pool, backend) = pool_of(1);
    let held = pool.get().unwrap();
    let mut task = ByHand::pending(pool.get_async());
    assert_eq!(pool.stats().waiters, 1);
    stays(|| !task.is_woken());
    drop(held);
    eventually(|| task.is_woken());
    assert_eq!(pool.stats().waiters, 0);
    let guard = task.poll().unwrap().unwrap();
    assert_eq!((guard.id(), task.wakes.count()), (1, 1));
    drop(guard);
    assert_eq!((pool.stats().gets, pool.stats().gets_waited), (2, 1));
    close_clean(&pool, &backend);
}

#[test]
fn a_task_in_a_pool_with_room_gets_a_new_connection() {
    let backend = MemoryManager::new();
    let pool = quick("room").build_lazy(backend.clone()).unwrap();
    let guard = block_on(pool.get_async()).unwrap();
    assert_eq!((guard.id(), pool.stats().created), (1, 1));
    drop(guard);
    close_clean(&pool, &backend);
}

#[test]
fn the_deadline_of_a_task_needs_no_timer_of_a_runtime() {
    let (pool, backend) = pool_of(1);
    let held = pool.get().unwrap();
    for timeout in [ms(1), ms(100), ms(300)] {
        let (error, took) = timed(|| block_on(pool.get_async_timeout(timeout)).unwrap_err());
        assert_at(took, timeout);
        let GetError::TimedOut(timed_out) = &error else {
            panic!("{error}");
        };
        assert_eq!((timed_out.waited, timed_out.waiters), (timeout, 0));
        assert_eq!(
            timed_out.held_by_this_thread, 0,
            "other tasks may hold them"
        );
    }
    assert_eq!((pool.stats().timeouts, pool.stats().waiters), (3, 0));
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn a_deadline_that_has_passed_and_a_zero_timeout_wait_for_nothing() {
    let (pool, backend) = pool_of(1);
    let held = pool.get().unwrap();
    let past = ByHand::new(pool.get_async_deadline(std::time::Instant::now())).poll();
    let zero = ByHand::new(pool.get_async_timeout(ms(0))).poll();
    for error in [past, zero] {
        let error = error.expect("it does not wait").unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
    drop(held);
    close_clean(&pool, &backend);
}

#[test]
fn the_time_of_a_timeout_begins_at_the_first_poll() {
    let (pool, _) = pool_of(1);
    let _held = pool.get().unwrap();
    let future = pool.get_async_timeout(ms(200));
    std::thread::sleep(ms(100));
    let (error, took) = timed(|| block_on(future).unwrap_err());
    assert_at(took, ms(200));
    assert!(error.is_timeout());
}

#[test]
fn a_task_that_is_polled_late_still_sees_its_deadline() {
    let (pool, _) = pool_of(1);
    let _held = pool.get().unwrap();
    let mut task = ByHand::pending(pool.get_async_timeout(ms(50)));
    eventually(|| task.is_woken());
    assert_eq!(pool.stats().waiters, 0);
    assert!(task.poll().unwrap().unwrap_err().is_timeout());
}

#[test]
fn threads_and_tasks_are_served_in_the_order_in_which_they_came() {
    let (pool, backend) = pool_of(1);
    let mut held = Some(pool.get().unwrap());
    let order = Arc::new(Mutex::new(Vec::new()));
    let callers: Vec<_> = (0..8)
        .map(|n| {
            let (own, order) = (pool.clone(), Arc::clone(&order));
            let caller = spawn(move || {
                let guard = match n % 2 {
                    0 => own.get_timeout(secs(20)),
                    _ => block_on(own.get_async_timeout(secs(20))),
                };
                order.lock().unwrap().push(n);
                drop(guard.unwrap());
            });
            queued(&pool, n + 1);
            caller
        })
        .collect();
    // All of them have waited longer than the fairness bound.
    std::thread::sleep(ms(5));
    drop(held.take());
    callers.into_iter().for_each(|caller| caller.join_soon());
    assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
    close_clean(&pool, &backend);
}

#[test]
fn nobody_overtakes_a_task_that_is_woken_and_not_polled_yet() {
    let (pool, backend) = pool_of(1);
    let held = pool.get().unwrap();
    let mut task = ByHand::pending(pool.get_async());
    drop(held);
    eventually(|| task.is_woken());
    assert!(pool.try_get().is_none(), "the connection is the task's");
    assert!(pool.get_timeout(ms(0)).is_err());
    assert_eq!(task.poll().unwrap().unwrap().id(), 1);
    close_clean(&pool, &backend);
}

/// A task is polled whenever its executor likes, so the pool never waits for a task that should search.
#[test]
fn a_task_that_is_never_polled_again_holds_up_nobody_behind_it() {
    let (pool, backend) = pool_of(2);
    let mut held = take(&pool, 2);
    let lazy = ByHand::pending(pool.get_async());
    let next = thread_in_line(&pool);
    queued(&pool, 2);
    held.clear();
    assert!(next.join_soon());
    drop(lazy);
    close_clean(&pool, &backend);
}

#[test]
fn a_dropped_future_leaves_the_queue() {
    let (pool, backend) = pool_of(1);
    let held = pool.get().unwrap();
    let [first, second] = [pool.get_async(), pool.get_async()].map(ByHand::pending);
    assert_eq!(pool.stats().waiters, 2);
    drop(first);
    assert_eq!(pool.stats().waiters, 1);
    let mut second = second;
    drop(held);
    eventually(|| second.is_woken());
    assert!(second.poll().unwrap().is_ok());
    let stats = pool.stats();
    assert_eq!((stats.waiters, stats.gets, stats.gets_waited), (0, 3, 2));
    close_clean(&pool, &backend);
}

#[test]
fn a_connection_on_its_way_to_a_dropped_future_goes_to_the_next_in_line() {
    let (pool, backend) = pool_of(1);
    let held = pool.get().unwrap();
    let first = ByHand::pending(pool.get_async());
    let mut second = ByHand::pending(pool.get_async());
    let third = thread_in_line(&pool);
    queued(&pool, 3);
    drop(held);
    eventually(|| first.is_woken());
    drop(first);
    eventually(|| second.is_woken());
    assert_eq!(second.poll().unwrap().unwrap().id(), 1);
    assert!(third.join_soon());
    assert_eq!(pool.stats().waiters, 0);
    close_clean(&pool, &backend);
}

#[test]
fn a_connection_on_its_way_to_the_last_future_becomes_idle_again() {
    let (pool, backend) = pool_of(1);
    let held = pool.get().unwrap();
    let task = ByHand::pending(pool.get_async());
    drop(held);
    eventually(|| task.is_woken());
    assert_eq!((pool.stats().idle, pool.stats().in_use), (0, 1));
    drop(task);
    assert_eq!((pool.stats().idle, pool.stats().in_use), (1, 0));
    close_clean(&pool, &backend);
}

#[test]
fn a_future_that_is_dropped_during_its_create_leaves_the_connection_to_the_pool() {
    let backend = MemoryManager::new();
    let pool = quick("create").build_lazy(backend.clone()).unwrap();
    backend.hang(Hook::Create);
    let task = ByHand::pending(pool.get_async());
    eventually(|| backend.counters().in_hook == 1);
    drop(task);
    assert_eq!(pool.stats().waiters, 0);
    backend.release();
    eventually(|| pool.stats().idle == 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_future_that_is_dropped_during_its_check_leaves_the_connection_to_the_pool() {
    let backend = MemoryManager::new();
    let pool = quick("check").health_check(HealthCheck::OnCheckout);
    let pool = pool.build(backend.clone()).unwrap();
    backend.hang(Hook::Check);
    let task = ByHand::pending(pool.get_async());
    eventually(|| backend.counters().in_hook == 1);
    drop(task);
    assert_eq!(pool.stats().waiters, 0);
    backend.release();
    eventually(|| pool.stats().idle == 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_stale_connection_is_checked_before_a_task_gets_it() {
    let backend = MemoryManager::new();
    let pool = quick("stale").health_check(HealthCheck::OnCheckout);
    let pool = pool.build(backend.clone()).unwrap();
    assert_eq!(block_on(pool.get_async()).unwrap().id(), 1);
    backend.fail(Hook::Check, 1);
    assert_eq!(block_on(pool.get_async()).unwrap().id(), 2);
    assert_eq!(pool.stats().evicted(EvictReason::CheckFailed), 1);
    close_clean(&pool, &backend);
}

/// The check of the first connection fails while the task waits for it, and the second one has never been used.
#[test]
fn a_connection_that_the_pool_finds_for_a_task_is_checked_too() {
    let backend = MemoryManager::new();
    let pool = quick("found").max_size(2);
    let pool = pool.health_check(HealthCheck::OnCheckout);
    let pool = pool.build(backend.clone()).unwrap();
    pool.add(backend.create().unwrap()).unwrap();
    backend.fail(Hook::Check, 2);
    assert_eq!(block_on(pool.get_async()).unwrap().id(), 3);
    assert_eq!(pool.stats().check_failures, 2);
    close_clean(&pool, &backend);
}

#[test]
fn a_permanent_failure_reaches_the_task_at_the_head_at_once() {
    let backend = MemoryManager::new();
    backend.fail(Hook::Create, 1);
    let pool = quick("failing").build_lazy(backend.clone()).unwrap();
    let error = block_on(pool.get_async_timeout(secs(20))).unwrap_err();
    assert!(matches!(error, GetError::Create { .. }), "{error}");
    assert!(block_on(pool.get_async()).is_ok());
    close_clean(&pool, &backend);
}

#[test]
fn close_suspend_and_clear_waiters_end_the_wait_of_a_task() {
    let (pool, _) = pool_of(1);
    let _held = pool.get().unwrap();
    let mut cleared = ByHand::pending(pool.get_async());
    assert_eq!(pool.clear_waiters(), 1);
    eventually(|| cleared.is_woken());
    assert!(cleared.poll().unwrap().unwrap_err().is_cleared());

    let mut closed = ByHand::pending(pool.get_async());
    pool.close();
    eventually(|| closed.is_woken());
    assert!(closed.poll().unwrap().unwrap_err().is_closed());

    let pool = quick("suspended").on_suspend(OnSuspend::Fail);
    let pool = pool.suspended(true).build(MemoryManager::new()).unwrap();
    assert!(block_on(pool.get_async()).unwrap_err().is_suspended());
}

#[test]
fn a_task_in_a_suspended_pool_is_served_after_the_resume() {
    let (pool, backend) = pool_of(1);
    pool.suspend();
    let mut task = ByHand::pending(pool.get_async());
    stays(|| !task.is_woken());
    pool.resume();
    eventually(|| task.is_woken());
    assert_eq!(task.poll().unwrap().unwrap().id(), 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_future_keeps_the_pool_open() {
    let (pool, backend) = pool_of(1);
    let future = pool.get_async();
    drop(pool);
    let guard = block_on(future).unwrap();
    assert_eq!(guard.id(), 1);
    drop(guard);
    eventually(|| backend.counters().disposed == 1);
}

#[test]
fn the_newest_waker_is_the_one_that_is_woken() {
    let (pool, backend) = pool_of(1);
    let held = pool.get().unwrap();
    let mut task = ByHand::pending(pool.get_async());
    let newer = Arc::new(crate::common::executor::Wakes::default());
    assert!(task.poll_with(&Waker::from(Arc::clone(&newer))).is_none());
    drop(held);
    eventually(|| newer.count() == 1);
    assert!(!task.is_woken(), "the task has moved to another executor");
    assert!(task.poll().unwrap().is_ok());
    close_clean(&pool, &backend);
}

/// A waker that panics, or calls the pool, on the thread that gives the connection back.
#[test]
fn a_waker_that_panics_or_calls_the_pool_harms_nobody() {
    struct Hostile(Pool<MemoryManager>);
    impl Wake for Hostile {
        fn wake(self: Arc<Self>) {
            assert_eq!(self.0.stats().waiters, 1, "the next one still waits");
            assert!(self.0.try_get().is_none());
            self.0.sweep();
            panic!("as ordered");
        }
    }
    let (pool, backend) = pool_of(1);
    let held = pool.get().unwrap();
    let mut task = ByHand::new(pool.get_async());
    let waker = Waker::from(Arc::new(Hostile(pool.clone())));
    assert!(task.poll_with(&waker).is_none());
    drop(waker);
    let next = thread_in_line(&pool);
    queued(&pool, 2);
    drop(held);
    assert!(task.poll().unwrap().is_ok());
    assert!(next.join_soon());
    close_clean(&pool, &backend);
}

#[test]
fn a_pool_without_a_collector_serves_a_task_from_what_is_idle_and_says_why_it_cannot_wait() {
    let backend = MemoryManager::new();
    let pool = quick("inline").max_size(1).background_collector(false);
    let pool = pool.build(backend.clone()).unwrap();
    let guard = block_on(pool.get_async()).unwrap();
    let error = block_on(pool.get_async()).unwrap_err();
    assert!(matches!(error, GetError::NoCollector { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "pool \"inline\": a task cannot wait, because background_collector is false and the pool has no threads"
    );
    assert!(
        block_on(pool.get_async_timeout(ms(0)))
            .unwrap_err()
            .is_timeout()
    );
    drop(guard);
    assert_eq!(
        backend.counters().created,
        1,
        "it creates nothing for a task"
    );
    assert!(block_on(pool.get_async()).is_ok());
    pool.close();
    assert!(block_on(pool.get_async()).unwrap_err().is_closed());
}

#[test]
fn a_holder_names_the_line_that_called_get_async() {
    let (pool, _) = pool_of(1);
    let (future, line) = (pool.get_async(), line!());
    let _guard: PooledConnection<MemoryManager> = block_on(future).unwrap();
    let holders = pool.holders();
    assert_eq!((holders[0].line, holders.len()), (line, 1));
    assert!(holders[0].file.ends_with("tasks.rs"));
}

#[test]
fn ten_thousand_tasks_on_four_connections_of_which_half_are_cancelled_lose_nothing() {
    let (pool, backend) = pool_of(4);
    let mut random = crate::common::Rng::new(7);
    let mut tasks: Vec<_> = (0..10_000)
        .map(|_| Some(ByHand::new(pool.get_async_timeout(secs(60)))))
        .collect();
    let (mut served, mut cancelled) = (0, 0);
    while served + cancelled < tasks.len() {
        let which = random.below(tasks.len() as u64) as usize;
        let Some(mut task) = tasks[which].take() else {
            continue;
        };
        match task.poll() {
            Some(got) => {
                drop(got.unwrap());
                served += 1;
            }
            None if random.below(2) == 0 => {
                drop(task);
                cancelled += 1;
            }
            None => tasks[which] = Some(task),
        }
    }
    assert!(served > 1000, "{served} served");
    let stats = pool.stats();
    assert_eq!((stats.waiters, stats.in_use, stats.gets), (0, 0, 10_000));
    close_clean(&pool, &backend);
}
