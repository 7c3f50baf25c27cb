//! Threads and tasks in one queue.

use super::{Runtime, SERVED, Tally, close_at_rest, pool_of, yields};
use crate::common::executor::block_on;
use crate::common::spawn;
use std::sync::Arc;
use std::thread;

const THREADS: usize = 4;
const CALLS: usize = 300;
const TASKS: usize = 2_000;

/// Threads that block, threads that drive futures, and tasks: all of them are served.
pub(crate) fn threads_and_tasks_in_one_queue<R: Runtime>(runtime: &R, name: &str) {
    let (pool, backend) = pool_of(name, 3);
    let threads: Vec<_> = (0..2 * THREADS)
        .map(|n| {
            let pool = pool.clone();
            spawn(move || {
                for _ in 0..CALLS {
                    let guard = match n % 2 {
                        0 => pool.get_timeout(SERVED),
                        _ => block_on(pool.get_async()),
                    };
                    let _guard = guard.expect("a connection");
                    thread::yield_now();
                }
            })
        })
        .collect();
    let tally = Arc::new(Tally::default());
    runtime.block_on(async {
        for n in 0..TASKS {
            let (entry, pool) = (tally.enter(), pool.clone());
            R::detach(runtime.spawn(Box::pin(async move {
                let guard = pool.get_async().await.expect("a connection");
                yields(n as u64 % 3).await;
                drop(guard);
                entry.served();
            })));
        }
        tally.ended(TASKS).await;
    });
    threads.into_iter().for_each(|thread| thread.join_soon());

    assert_eq!((tally.served(), tally.cancelled()), (TASKS, 0));
    let gets = 2 * THREADS * CALLS + TASKS;
    assert_eq!(pool.stats().gets, gets as u64);
    close_at_rest(&pool, &backend, name);
}
