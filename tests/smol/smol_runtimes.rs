//! smol with one thread and with several, under the loads that every runtime must carry.

use crate::common::{eventually, queued, secs, spawn};
use crate::scenarios::{
    Job, Runtime, Tally, close_at_rest, closures_half_of_them_cancelled,
    keys_with_tasks_and_closures_half_of_them_cancelled, pool_of,
    ten_thousand_tasks_half_of_them_cancelled, threads_and_tasks_in_one_queue, until,
};
use smol::{Executor, channel};
use std::future::{Future, pending};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// An executor of smol, with threads that run it until it is dropped.
pub(crate) struct Smol {
    executor: Arc<Executor<'static>>,
    stop: Option<channel::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Smol {
    /// `threads`: beside the thread in `block_on`.
    pub(crate) fn new(threads: usize) -> Self {
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = channel::bounded(1);
        let threads = (0..threads)
            .map(|_| {
                let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
                thread::spawn(move || {
                    // An error: every sender is gone.
                    let _ = smol::block_on(executor.run(stopped.recv()));
                })
            })
            .collect();
        Self {
            executor,
            stop: Some(stop),
            threads,
        }
    }
}

impl Drop for Smol {
    fn drop(&mut self) {
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread of the executor panicked");
        }
    }
}

impl Runtime for Smol {
    type Task = smol::Task<()>;

    fn spawn(&self, job: Job) -> Self::Task {
        self.executor.spawn(job)
    }

    fn cancel(task: Self::Task) {
        drop(task);
    }

    fn detach(task: Self::Task) {
        task.detach();
    }

    fn block_on<T>(&self, main: impl Future<Output = T>) -> T {
        smol::block_on(self.executor.run(main))
    }
}

#[test]
fn ten_thousand_tasks_of_which_half_are_cancelled_lose_nothing_on_one_thread_of_smol() {
    ten_thousand_tasks_half_of_them_cancelled(&Smol::new(0), "one");
}

#[test]
fn ten_thousand_tasks_of_which_half_are_cancelled_lose_nothing_on_several_threads_of_smol() {
    ten_thousand_tasks_half_of_them_cancelled(&Smol::new(2), "several");
}

#[test]
fn threads_and_tasks_on_one_thread_of_smol_are_all_served() {
    threads_and_tasks_in_one_queue(&Smol::new(0), "mixone");
}

#[test]
fn threads_and_tasks_on_several_threads_of_smol_are_all_served() {
    threads_and_tasks_in_one_queue(&Smol::new(2), "mixmany");
}

#[test]
fn closures_of_cancelled_tasks_never_run_or_run_to_their_end_under_smol() {
    closures_half_of_them_cancelled(&Smol::new(0), "jobone");
    closures_half_of_them_cancelled(&Smol::new(2), "jobmany");
}

#[test]
fn tasks_of_several_keys_lose_nothing_under_smol() {
    keys_with_tasks_and_closures_half_of_them_cancelled(&Smol::new(0));
    keys_with_tasks_and_closures_half_of_them_cancelled(&Smol::new(2));
}

#[test]
fn the_places_and_connections_of_tasks_come_back_when_their_executor_is_dropped() {
    const WAITING: usize = 200;
    for threads in [0, 2] {
        let (pool, backend) = pool_of("ends", 2);
        let smol = Smol::new(threads);
        let tally = Arc::new(Tally::default());
        for _ in 0..WAITING {
            let (entry, pool) = (tally.enter(), pool.clone());
            Smol::detach(smol.spawn(Box::pin(async move {
                let _guard = pool.get_async().await.expect("a connection");
                entry.served();
                pending::<()>().await;
            })));
        }
        smol.block_on(until(|| pool.stats().waiters == WAITING - 2));
        let behind = spawn({
            let pool = pool.clone();
            move || pool.get_timeout(secs(60)).is_ok()
        });
        queued(&pool, WAITING - 1);
        drop(smol);
        assert!(behind.join_soon());
        eventually(|| tally.served() + tally.cancelled() == WAITING);
        close_at_rest(&pool, &backend, "ends");
    }
}
