//! A runtime ends while its tasks wait, hold connections, or have a connection on its way.

use crate::common::{Gate, SOON, Task, eventually, queued, secs, spawn, take};
use crate::scenarios::{Tally, close_at_rest, pool_of, until};
use crate::tokio_runtimes::{one_thread, several_threads};
use conpool::{MemoryManager, Pool};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::runtime::Runtime;

const WAITING: usize = 200;

type End = fn(Runtime);

/// The ways to end a runtime without an end of its tasks.
const ENDS: [End; 3] = [
    |runtime| drop(runtime),
    |runtime| runtime.shutdown_background(),
    |runtime| runtime.shutdown_timeout(SOON),
];

fn runtimes() -> impl Iterator<Item = (Runtime, End)> {
    let each = ENDS.map(|end| [(one_thread(), end), (several_threads(), end)]);
    each.into_iter().flatten()
}

fn thread_in_line(pool: &Pool<MemoryManager>) -> Task<u64> {
    let pool = pool.clone();
    spawn(move || pool.get_timeout(secs(60)).expect("a connection").id())
}

/// Spawns tasks that wait for a connection and keep it.
fn spawn_waiting(runtime: &Runtime, pool: &Pool<MemoryManager>, tally: &Arc<Tally>) {
    for _ in 0..WAITING {
        let (entry, pool) = (tally.enter(), pool.clone());
        drop(runtime.spawn(async move {
            let _guard = pool.get_async().await.expect("a connection");
            entry.served();
            pending::<()>().await;
        }));
    }
}

#[test]
fn the_places_and_connections_of_tasks_come_back_when_their_runtime_ends() {
    for (runtime, end) in runtimes() {
        let (pool, backend) = pool_of("ends", 2);
        let tally = Arc::new(Tally::default());
        spawn_waiting(&runtime, &pool, &tally);
        runtime.block_on(until(|| pool.stats().waiters == WAITING - 2));
        let behind = thread_in_line(&pool);
        queued(&pool, WAITING - 1);
        end(runtime);
        behind.join_soon();
        eventually(|| tally.cancelled() == WAITING - tally.served());
        close_at_rest(&pool, &backend, "ends");
    }
}

#[test]
fn a_connection_on_its_way_to_a_task_goes_on_when_the_runtime_ends() {
    // Only a runtime without threads leaves a task that was woken unpolled.
    for end in ENDS {
        let runtime = one_thread();
        let (pool, backend) = pool_of("onitsway", 1);
        let tally = Arc::new(Tally::default());
        let held = take(&pool, 1);
        spawn_waiting(&runtime, &pool, &tally);
        runtime.block_on(until(|| pool.stats().waiters == WAITING));
        let behind = thread_in_line(&pool);
        queued(&pool, WAITING + 1);
        drop(held);
        queued(&pool, WAITING);
        end(runtime);
        assert_eq!(behind.join_soon(), 1);
        assert_eq!((tally.served(), tally.cancelled()), (0, WAITING));
        close_at_rest(&pool, &backend, "onitsway");
    }
}

#[test]
fn closures_that_wait_never_run_after_their_runtime_has_ended_and_one_that_runs_ends() {
    for (runtime, end) in runtimes() {
        let (pool, backend) = pool_of("jobends", 1);
        let (gate, runs) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..WAITING {
            let (gate, runs) = (gate.clone(), Arc::clone(&runs));
            let work = move |_: &mut _| {
                gate.pass();
                runs.fetch_add(1, SeqCst);
            };
            drop(runtime.spawn(pool.interact(work)));
        }
        runtime.block_on(until(|| {
            (pool.stats().waiters, gate.arrivals()) == (WAITING - 1, 1)
        }));
        end(runtime);
        queued(&pool, 0);
        gate.open();
        let behind = thread_in_line(&pool);
        assert_eq!(behind.join_soon(), 1);
        close_at_rest(&pool, &backend, "jobends");
        assert_eq!(runs.load(SeqCst), 1);
    }
}
