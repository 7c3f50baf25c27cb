//! Closures of which half are cancelled.

use super::{Runtime, Tally, close_at_rest, pool_of, until, yields};
use crate::common::{Rng, take};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

const CONNECTIONS: usize = 4;
const CLOSURES: usize = 2_000;
/// The closures that are cancelled while all connections are held.
const NEVER: usize = CLOSURES / 4;

/// A closure that is cancelled before it begins never runs, and every closure that begins runs to its end.
pub(crate) fn closures_half_of_them_cancelled<R: Runtime>(runtime: &R, name: &str) {
    let (pool, backend) = pool_of(name, CONNECTIONS);
    let tally = Arc::new(Tally::default());
    let begun: Arc<[AtomicBool]> = (0..CLOSURES).map(|_| AtomicBool::new(false)).collect();
    let ended = Arc::new(AtomicUsize::new(0));
    let mut random = Rng::new(4);
    let held = take(&pool, CONNECTIONS);
    runtime.block_on(async {
        let mut tasks: Vec<_> = (0..CLOSURES)
            .map(|n| {
                let (entry, pool) = (tally.enter(), pool.clone());
                let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
                runtime.spawn(Box::pin(async move {
                    let work = move |_: &mut _| {
                        begun[n].store(true, SeqCst);
                        std::thread::yield_now();
                        ended.fetch_add(1, SeqCst);
                        n
                    };
                    assert_eq!(pool.interact(work).await.expect("a connection"), n);
                    entry.served();
                }))
            })
            .collect();
        until(|| pool.stats().waiters == CLOSURES).await;
        let later = tasks.split_off(NEVER);
        tasks.into_iter().for_each(R::cancel);
        until(|| pool.stats().waiters == CLOSURES - NEVER).await;
        drop(held);
        for (n, task) in later.into_iter().enumerate() {
            match n % 3 {
                0 => {
                    yields(random.below(4)).await;
                    R::cancel(task);
                }
                _ => R::detach(task),
            }
        }
        tally.ended(CLOSURES).await;
    });

    // A closure may outlive its task.
    crate::common::eventually(|| pool.stats().in_use == 0);
    let ran = begun.iter().filter(|begun| begun.load(SeqCst)).count();
    assert_eq!(ran, ended.load(SeqCst), "every closure ran to its end");
    assert!(begun[..NEVER].iter().all(|begun| !begun.load(SeqCst)));
    assert!(ran >= tally.served(), "{ran} ran, {tally:?}");
    let most = CLOSURES - NEVER;
    assert!(tally.served() <= most && tally.served() >= most / 2);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.peak_in_use), (4, 4), "{stats}");
    close_at_rest(&pool, &backend, name);
}
