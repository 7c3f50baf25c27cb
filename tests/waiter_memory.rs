//! The memory of a waiter: less than 1 KiB beyond that of its thread, and less than 512 bytes for a task with its
//! future. One test in a process of its own,
//! because the counting allocator counts every thread. The memory of idle slots and of a warm cycle is
//! asserted in `memory.rs`.

use conpool::{MemoryManager, Pool};
use std::{
    sync::{Arc, Barrier},
    task::{Context, Waker},
    thread::{self, Builder},
    time::Duration,
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The most expensive number: the hash table of parked threads in parking_lot has just doubled.
const WAITERS: usize = 345;

/// The most expensive number: the queue has just doubled.
const TASKS: usize = 1025;

fn bytes_per_waiting_task(pool: &Pool<MemoryManager>) -> usize {
    let before = dhat::HeapStats::get();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let mut task = Box::pin(pool.get_async_timeout(Duration::from_secs(60)));
            let mut context = Context::from_waker(Waker::noop());
            assert!(task.as_mut().poll(&mut context).is_pending());
            task
        })
        .collect();
    let after = dhat::HeapStats::get();
    assert_eq!(pool.stats().waiters, tasks.len());
    (after.curr_bytes - before.curr_bytes) / TASKS
}

#[test]
fn a_waiting_thread_takes_less_than_a_kibibyte_and_a_task_half_of_it() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let pool = Pool::builder()
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let each = bytes_per_waiting_task(&pool);
    println!("{each} bytes per waiting task");
    assert!(each < 512, "{each} bytes per waiting task");
    assert!(each > 0, "nothing was counted");

    let start = Arc::new(Barrier::new(WAITERS + 1));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let (pool, start) = (pool.clone(), Arc::clone(&start));
            let thread = Builder::new().stack_size(256 * 1024);
            let body = move || {
                start.wait();
                pool.get_timeout(Duration::from_secs(60)).map(drop)
            };
            thread.spawn(body).unwrap()
        })
        .collect();
    // All threads run, with all of their own memory.
    let before = dhat::HeapStats::get();
    start.wait();
    while pool.stats().waiters < WAITERS {
        thread::sleep(Duration::from_millis(5));
    }
    // In the queue, but perhaps not yet asleep.
    thread::sleep(Duration::from_millis(50));
    let after = dhat::HeapStats::get();
    let each = (after.curr_bytes - before.curr_bytes) / WAITERS;
    println!("{each} bytes per waiter");
    assert!(each < 1024, "{each} bytes per waiter");
    assert!(each > 0, "nothing was counted");

    drop(held);
    for waiter in waiters {
        waiter.join().unwrap().unwrap();
    }
}
