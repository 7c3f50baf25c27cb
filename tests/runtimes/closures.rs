//! Closures of tokio's tasks: where they run, and what a cancelled task does to its closure.

use crate::common::{Gate, Rng, eventually, ms, secs, take};
use crate::scenarios::{close_at_rest, pool_of, until, yields};
use crate::tokio_runtimes::{one_thread, several_threads};
use conpool::{EvictReason, Hook, InteractError, MemoryConnection};
use std::thread;
use tokio::runtime::Runtime;

fn runtimes() -> [Runtime; 2] {
    [one_thread(), several_threads()]
}

#[test]
fn a_closure_that_blocks_leaves_the_only_thread_of_the_runtime_to_other_tasks() {
    let (pool, backend) = pool_of("blocks", 1);
    let runtime = one_thread();
    let gate = Gate::default();
    let inside = gate.clone();
    let (mine, theirs) = runtime.block_on(async {
        let closure = runtime.spawn(pool.interact(move |_| {
            inside.pass();
            thread::current().id()
        }));
        // This would wait for ever if the closure blocked the thread.
        until(|| gate.arrivals() == 1).await;
        gate.open();
        (thread::current().id(), closure.await.unwrap().unwrap())
    });
    assert_ne!(mine, theirs);
    close_at_rest(&pool, &backend, "blocks");
}

#[test]
fn a_panic_of_a_closure_is_an_error_of_its_task_and_no_panic_of_the_task() {
    let (pool, backend) = pool_of("panics", 1);
    for runtime in runtimes() {
        let task = runtime.spawn(pool.interact(|_| panic!("as ordered")));
        let outcome: Result<(), _> = runtime.block_on(task).expect("the task did not panic");
        assert!(matches!(outcome, Err(InteractError::Panicked { .. })));
    }
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 2);
    close_at_rest(&pool, &backend, "panics");
}

#[test]
fn an_aborted_task_interrupts_the_connection_of_a_closure_that_was_told_so() {
    for runtime in runtimes() {
        let (pool, backend) = pool_of("aborts", 1);
        backend.hang(Hook::Execute);
        let closure = pool.interact(|connection| connection.execute("SLEEP").is_err());
        let task = runtime.spawn(closure.interrupt_on_drop());
        runtime.block_on(async {
            until(|| backend.running(Hook::Execute) == 1).await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        });
        eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
        backend.release();
        assert_eq!(runtime.block_on(pool.get_async()).unwrap().id(), 2);
        close_at_rest(&pool, &backend, "aborts");
    }
}

/// Every closure hangs until its task is aborted, so that the end of the last one needs every interrupt.
#[test]
fn aborts_in_any_order_end_every_closure_and_the_pool_is_whole_again() {
    const CLOSURES: usize = 200;
    for runtime in runtimes() {
        let (pool, backend) = pool_of("hanging", 4);
        backend.hang(Hook::Execute);
        let mut random = Rng::new(9);
        let mut tasks: Vec<_> = (0..CLOSURES)
            .map(|_| {
                let work = |connection: &mut MemoryConnection| connection.execute("SLEEP");
                runtime.spawn(pool.interact(work).interrupt_on_drop())
            })
            .collect();
        runtime.block_on(async {
            until(|| (pool.stats().waiters, backend.running(Hook::Execute)) == (CLOSURES - 4, 4))
                .await;
            while !tasks.is_empty() {
                let which = random.below(tasks.len() as u64) as usize;
                let task = tasks.swap_remove(which);
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
                yields(random.below(20)).await;
            }
        });
        eventually(|| pool.stats().in_use == 0);
        backend.release();
        let stats = pool.stats();
        assert!(stats.evicted(EvictReason::Interrupted) >= 4, "{stats}");
        drop(take(&pool, 4));
        close_at_rest(&pool, &backend, "hanging");
    }
}

#[test]
fn a_timeout_of_interact_and_a_closed_pool_are_errors_of_the_task() {
    let (pool, _) = pool_of("refused", 1);
    let held = pool.get().unwrap();
    for runtime in runtimes() {
        let limited = pool.interact_timeout(ms(20), |_| ());
        let error = runtime.block_on(limited).unwrap_err();
        assert!(error.get_error().unwrap().is_timeout(), "{error}");
    }
    let runtime = several_threads();
    let waiting = runtime.spawn(pool.interact(|_| ()));
    runtime.block_on(until(|| pool.stats().waiters == 1));
    pool.close();
    let error = runtime.block_on(waiting).unwrap().unwrap_err();
    assert!(error.get_error().unwrap().is_closed(), "{error}");
    drop(held);
    pool.close_timeout(secs(20)).unwrap();
}
