//! One program with two runtimes: smol and tokio share a pool, and futures move between them.

use crate::common::{ms, take};
use crate::scenarios::{Runtime, Tally, close_at_rest, pool_of, yields};
use crate::smol_runtimes::Smol;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::runtime::{Builder, Runtime as Tokio};
use tokio::time::timeout;

fn tokio_runtime() -> Tokio {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().unwrap()
}

#[test]
fn tasks_of_smol_and_of_tokio_stand_in_one_queue_and_all_of_them_are_served() {
    const TASKS: usize = 2_000;
    let (pool, backend) = pool_of("shared", 3);
    let (smol, tokio) = (Smol::new(1), tokio_runtime());
    let tally = Arc::new(Tally::default());
    for n in 0..TASKS {
        let (entry, pool) = (tally.enter(), pool.clone());
        let job = Box::pin(async move {
            let guard = pool.get_async().await.expect("a connection");
            yields(1).await;
            drop(guard);
            entry.served();
        });
        match n % 2 {
            0 => Smol::detach(smol.spawn(job)),
            _ => drop(tokio.spawn(job)),
        }
    }
    smol.block_on(tally.ended(TASKS));
    assert_eq!((tally.served(), tally.cancelled()), (TASKS, 0));
    close_at_rest(&pool, &backend, "shared");
}

#[test]
fn a_future_that_moves_between_smol_and_tokio_is_woken_where_it_was_polled_last() {
    let (pool, backend) = pool_of("moves", 1);
    let (smol, tokio) = (Smol::new(1), tokio_runtime());
    for n in 0..100 {
        let held = take(&pool, 1);
        let mut future = pool.get_async();
        let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context)));
        let polled = match n % 2 {
            0 => smol.block_on(polled),
            _ => tokio.block_on(polled),
        };
        assert!(polled.is_pending());
        let returns = std::thread::spawn(move || drop(held));
        let guard = match n % 2 {
            0 => tokio.block_on(future),
            _ => smol.block_on(future),
        };
        assert_eq!(guard.unwrap().id(), 1);
        returns.join().unwrap();
    }
    close_at_rest(&pool, &backend, "moves");
}

#[test]
fn a_closure_of_a_pool_is_awaited_by_either_runtime() {
    let (pool, backend) = pool_of("either", 1);
    let (smol, tokio) = (Smol::new(0), tokio_runtime());
    for _ in 0..50 {
        assert_eq!(smol.block_on(pool.interact(|c| c.id())).unwrap(), 1);
        assert_eq!(tokio.block_on(pool.interact(|c| c.id())).unwrap(), 1);
    }
    let held = take(&pool, 1);
    let elapsed = tokio.block_on(async { timeout(ms(20), pool.interact(|_| ())).await.is_err() });
    assert!(elapsed, "every connection is held");
    drop(held);
    close_at_rest(&pool, &backend, "either");
}
