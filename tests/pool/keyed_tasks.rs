//! Tasks and closures on the connections of a key.

use crate::common::executor::{ByHand, block_on};
use crate::common::{Gate, assert_at, eventually, ms, secs, spawn, stays, timed};
use conpool::{EvictReason, GetError, InteractError, KeyedPool, MemoryManager};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

type Keyed = KeyedPool<u8, MemoryManager>;

fn keyed(max_total: usize, max_per_key: usize) -> Keyed {
    let pool = KeyedPool::builder().max_total(max_total);
    let pool = pool
        .max_per_key(max_per_key)
        .build(|_: &u8| MemoryManager::new());
    pool.unwrap()
}

/// A keyed pool whose factory waits for the gate.
fn with_slow_factory(gate: &Gate) -> Keyed {
    let gate = gate.clone();
    let factory = move |_: &u8| {
        gate.pass();
        MemoryManager::new()
    };
    KeyedPool::builder().build(factory).unwrap()
}

#[test]
fn a_task_gets_a_connection_of_its_key() {
    let pool = keyed(4, 2);
    for key in [1, 2, 1] {
        drop(block_on(pool.get_async(&key)).unwrap());
    }
    let guard = ByHand::new(pool.get_async(&1)).poll().expect("one is idle");
    drop(guard.unwrap());
    assert_eq!((pool.stats().gets, pool.stats().created), (4, 2));
    pool.close_timeout(secs(20)).unwrap();
}

#[test]
fn a_task_at_the_total_gets_the_slot_of_another_key() {
    let pool = keyed(1, 1);
    let held = pool.get(&1).unwrap();
    let mut task = ByHand::pending(pool.get_async(&2));
    stays(|| !task.is_woken());
    drop(held);
    eventually(|| task.is_woken());
    drop(task.poll().unwrap().unwrap());
    assert_eq!(pool.stats().evicted(EvictReason::MadeRoom), 1);
    pool.close_timeout(secs(20)).unwrap();
}

#[test]
fn a_task_of_a_key_whose_manager_is_being_created_is_woken_when_it_is_there() {
    let gate = Gate::default();
    let pool = with_slow_factory(&gate);
    let first = spawn({
        let pool = pool.clone();
        move || drop(pool.get(&1).unwrap())
    });
    eventually(|| gate.arrivals() == 1);
    let mut task = ByHand::pending(pool.get_async(&1));
    stays(|| !task.is_woken());
    let cancelled = ByHand::pending(pool.get_async(&1));
    drop(cancelled);
    gate.open();
    first.join_soon();
    eventually(|| task.is_woken());
    drop(block_on(async move { task_result(&mut task).await }).unwrap());
    assert_eq!(gate.arrivals(), 1, "the factory ran once");
    pool.close_timeout(secs(20)).unwrap();
}

/// Polls on, with the waker of the executor.
async fn task_result<F: Future>(task: &mut ByHand<F>) -> F::Output {
    std::future::poll_fn(|context| match task.poll_with(context.waker()) {
        Some(output) => std::task::Poll::Ready(output),
        None => std::task::Poll::Pending,
    })
    .await
}

#[test]
fn a_factory_that_hangs_costs_a_task_no_more_than_its_deadline() {
    let gate = Gate::default();
    let pool = with_slow_factory(&gate);
    let first = spawn({
        let pool = pool.clone();
        move || drop(pool.get(&1).unwrap())
    });
    eventually(|| gate.arrivals() == 1);
    let (error, took) = timed(|| block_on(pool.get_async_timeout(&1, ms(100))).unwrap_err());
    assert_at(took, ms(100));
    assert!(error.is_timeout(), "{error}");
    gate.open();
    first.join_soon();
    pool.close_timeout(secs(20)).unwrap();
}

#[test]
fn a_close_ends_the_wait_of_a_task() {
    let pool = keyed(1, 1);
    let held = pool.get(&1).unwrap();
    let mut same = ByHand::pending(pool.get_async(&1));
    let mut other = ByHand::pending(pool.get_async(&2));
    pool.close();
    for task in [&mut same, &mut other] {
        eventually(|| task.is_woken());
        assert!(task.poll().unwrap().unwrap_err().is_closed());
    }
    drop(held);
}

#[test]
fn a_closure_gets_a_connection_of_its_key_and_its_threads_are_those_of_all_keys() {
    let pool = keyed(2, 1);
    let runs = Arc::new(AtomicUsize::new(0));
    let jobs: Vec<_> = (0..20u8)
        .map(|n| {
            let runs = Arc::clone(&runs);
            let work = move |_: &mut _| runs.fetch_add(1, SeqCst);
            ByHand::begun(pool.interact_timeout(&(n % 2), secs(20), work))
        })
        .collect();
    for mut job in jobs {
        job.finish().unwrap();
    }
    assert_eq!((runs.load(SeqCst), pool.stats().gets), (20, 20));
    assert!(pool.with(&1, |connection| connection.id()).is_ok());
    let error = pool.with(&1, |_| panic!("as ordered")).unwrap_err();
    assert!(matches!(error, InteractError::Panicked { .. }));
    let discarded = pool.with_or_discard(&1, |_| Err::<(), _>(7)).unwrap();
    assert_eq!(discarded, Err(7));
    assert_eq!(pool.stats().evicted(EvictReason::Discarded), 1);
    pool.close_timeout(secs(20)).unwrap();
}

#[test]
fn a_keyed_pool_without_a_collector_says_why_a_task_cannot_wait() {
    let pool = KeyedPool::builder()
        .max_total(1)
        .background_collector(false);
    let pool: Keyed = pool.build(|_: &u8| MemoryManager::new()).unwrap();
    let is_no_collector = |error: &GetError<_>| matches!(error, GetError::NoCollector { .. });
    let error = block_on(pool.get_async(&1)).unwrap_err();
    assert!(is_no_collector(&error), "{error}");
    let held = pool.get(&1).unwrap();
    drop(held);
    assert!(block_on(pool.get_async(&1)).is_ok());
    let error = block_on(pool.interact(&1, |_| ())).unwrap_err();
    assert!(error.get_error().is_some_and(is_no_collector), "{error}");
}

#[test]
fn the_future_of_a_key_may_move_between_threads() {
    const fn is_send<T: Send + 'static + Unpin>(_: &T) {}
    let pool = keyed(1, 1);
    let future = pool.get_async(&1);
    is_send(&future);
    assert!(size_of_val(&future) < 256, "{}", size_of_val(&future));
}

/// The lookup of the key panics on a thread of the pool, and the task must not wait for ever.
#[test]
fn a_key_whose_hash_panics_ends_the_wait_of_its_closure() {
    static PANICS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    #[derive(Clone, PartialEq, Eq)]
    struct Hostile(u8);
    impl std::hash::Hash for Hostile {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            assert!(!PANICS.load(SeqCst), "as ordered");
            self.0.hash(state);
        }
    }
    let gate = Gate::default();
    let factory_gate = gate.clone();
    let pool = KeyedPool::builder().build(move |_: &Hostile| {
        factory_gate.pass();
        MemoryManager::new()
    });
    let pool = pool.unwrap();
    let first = spawn({
        let pool = pool.clone();
        move || drop(std::panic::catch_unwind(|| pool.get(&Hostile(1)).map(drop)))
    });
    eventually(|| gate.arrivals() == 1);
    let mut job = ByHand::pending(pool.interact(&Hostile(1), |_| ()));
    PANICS.store(true, SeqCst);
    gate.open();
    first.join_soon();
    eventually(|| job.is_woken());
    let error = job.poll().expect("it was woken").unwrap_err();
    assert!(matches!(error, InteractError::Panicked { .. }), "{error}");
}
