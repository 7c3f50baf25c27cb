//! Tasks and closures on the connections of several keys.

use super::{Runtime, SERVED, Tally, yields};
use crate::common::{Rng, all_disposed, eventually, secs};
use conpool::{KeyedPool, MemoryManager};
use std::sync::Arc;

const KEYS: u64 = 3;
const TASKS: usize = 2_000;

/// The connections of three keys share a total of four. Half of the tasks are cancelled.
pub(crate) fn keys_with_tasks_and_closures_half_of_them_cancelled<R: Runtime>(runtime: &R) {
    let backends: Vec<_> = (0..KEYS).map(|_| MemoryManager::new()).collect();
    let of_key = backends.clone();
    let pool = KeyedPool::builder().max_total(4).get_timeout(SERVED);
    let pool = pool
        .build(move |key: &u64| of_key[*key as usize].clone())
        .unwrap();
    let tally = Arc::new(Tally::default());
    let mut random = Rng::new(8);
    runtime.block_on(async {
        let mut cancelled = Vec::new();
        for n in 0..TASKS {
            let (entry, pool) = (tally.enter(), pool.clone());
            let (key, is_closure) = (random.below(KEYS), random.below(2) == 0);
            let task = runtime.spawn(Box::pin(async move {
                match is_closure {
                    true => pool.interact(&key, |_| ()).await.expect("a connection"),
                    false => {
                        let guard = pool.get_async(&key).await.expect("a connection");
                        yields(1).await;
                        drop(guard);
                    }
                }
                entry.served();
            }));
            match n % 2 {
                0 => R::detach(task),
                _ => cancelled.push(task),
            }
        }
        for task in cancelled {
            yields(random.below(3)).await;
            R::cancel(task);
        }
        tally.ended(TASKS).await;
    });

    assert!(tally.served() >= TASKS / 2, "{tally:?}");
    eventually(|| pool.stats().in_use == 0);
    let stats = pool.stats();
    assert_eq!(stats.waiters, 0, "{stats}");
    pool.close_timeout(secs(20)).unwrap();
    backends.iter().for_each(all_disposed);
    let stats = pool.stats();
    assert_eq!(stats.created, stats.disposed, "{stats}");
    assert_eq!(stats.panics, 0, "{stats}");
}
