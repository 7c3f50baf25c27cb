//! Futures that move between threads and executors, and futures with several wakers.

use crate::common::executor::{ByHand, block_on};
use crate::common::{Rng, spawn, take};
use crate::scenarios::{close_at_rest, pool_of, yields};
use crate::tokio_runtimes::{one_thread, several_threads};
use conpool::{GetFuture, MemoryManager, PooledConnection};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// How often a race is run.
const RACES: u64 = 300;

/// Polls once, and returns whether the future is pending.
async fn is_pending(future: &mut GetFuture<MemoryManager>) -> bool {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_pending())).await
}

#[test]
fn a_future_that_moves_to_another_runtime_is_woken_there() {
    let (pool, backend) = pool_of("moves", 1);
    let (first, second) = (one_thread(), several_threads());
    for _ in 0..20 {
        let held = take(&pool, 1);
        let mut future = pool.get_async();
        assert!(first.block_on(is_pending(&mut future)));
        let moved = second.spawn(async move { future.await.map(|guard| guard.id()) });
        // The first runtime polls its own tasks meanwhile, and the future is none of them.
        first.block_on(yields(3));
        drop(held);
        assert_eq!(second.block_on(moved).unwrap().unwrap(), 1);
    }
    close_at_rest(&pool, &backend, "moves");
}

#[test]
fn a_future_outlives_the_runtime_that_polled_it_first() {
    let (pool, backend) = pool_of("outlives", 1);
    let held = take(&pool, 1);
    let mut future = pool.get_async();
    let runtime = several_threads();
    assert!(runtime.block_on(is_pending(&mut future)));
    drop(runtime);
    drop(held);
    assert_eq!(block_on(future).unwrap().id(), 1);
    close_at_rest(&pool, &backend, "outlives");
}

#[test]
fn a_connection_that_comes_while_the_future_moves_is_not_lost() {
    let (pool, backend) = pool_of("whilemoving", 1);
    let (first, second) = (one_thread(), several_threads());
    let mut random = Rng::new(3);
    for _ in 0..RACES {
        let held = take(&pool, 1);
        let mut future = pool.get_async();
        assert!(first.block_on(is_pending(&mut future)));
        let pause = random.below(200);
        let returns = spawn(move || {
            (0..pause).for_each(|_| std::hint::spin_loop());
            drop(held);
        });
        let moved = second.spawn(async move { future.await.map(|guard| guard.id()) });
        assert_eq!(second.block_on(moved).unwrap().unwrap(), 1);
        returns.join_soon();
    }
    close_at_rest(&pool, &backend, "whilemoving");
}

#[test]
fn a_guard_moves_between_runtimes_and_threads() {
    let (pool, backend) = pool_of("guards", 1);
    let (first, second) = (one_thread(), several_threads());
    for _ in 0..50 {
        let guard = first.block_on(pool.get_async()).unwrap();
        let guard = second.spawn(async move {
            yields(1).await;
            guard
        });
        let mut guard = second.block_on(guard).unwrap();
        guard.execute("PING").unwrap();
        spawn(move || drop(guard)).join_soon();
    }
    assert_eq!(pool.stats().created, 1);
    close_at_rest(&pool, &backend, "guards");
}

/// One future that several tasks poll. One of them takes its output and tells the others.
struct Shared {
    future: Option<ByHand<GetFuture<MemoryManager>>>,
    others: Vec<Waker>,
}

type Output = Option<PooledConnection<MemoryManager>>;

impl Shared {
    fn new(future: GetFuture<MemoryManager>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            future: Some(ByHand::new(future)),
            others: Vec::new(),
        }))
    }

    /// None: another task has taken the output.
    fn poll(&mut self, context: &Context<'_>) -> Poll<Output> {
        let Some(future) = &mut self.future else {
            return Poll::Ready(None);
        };
        match future.poll_with(context.waker()) {
            Some(got) => {
                self.future = None;
                self.others.drain(..).for_each(Waker::wake);
                Poll::Ready(Some(got.expect("a connection")))
            }
            None => {
                self.others.push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Polls after some pauses, so that the tasks alternate, and then whenever it is woken.
async fn take_part(shared: Arc<Mutex<Shared>>, pauses: u64) -> Output {
    for _ in 0..3 {
        yields(pauses).await;
        let polled = poll_fn(|context| Poll::Ready(shared.lock().unwrap().poll(context))).await;
        if let Poll::Ready(output) = polled {
            return output;
        }
    }
    poll_fn(|context| shared.lock().unwrap().poll(context)).await
}

#[test]
fn of_the_wakers_of_two_executors_the_newest_is_woken_and_one_of_them_gets_the_connection() {
    let (pool, backend) = pool_of("twowakers", 1);
    let runtime = several_threads();
    let mut random = Rng::new(5);
    for _ in 0..RACES {
        let held = take(&pool, 1);
        let shared = Shared::new(pool.get_async());
        let pauses = random.below(8);
        let on_runtime = runtime.spawn(take_part(Arc::clone(&shared), pauses));
        let on_thread = spawn({
            let (shared, pauses) = (Arc::clone(&shared), random.below(8));
            move || block_on(take_part(shared, pauses)).is_some()
        });
        let returns = spawn(move || drop(held));
        let got = runtime.block_on(on_runtime).unwrap().is_some();
        assert_ne!(got, on_thread.join_soon(), "one of the two gets it");
        returns.join_soon();
    }
    close_at_rest(&pool, &backend, "twowakers");
}
