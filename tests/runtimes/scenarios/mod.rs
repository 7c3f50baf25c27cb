//! Loads that every runtime must carry.

mod cancelling;
mod closures;
mod keyed;
mod mixed;
mod runtime;
mod tally;

pub(crate) use cancelling::ten_thousand_tasks_half_of_them_cancelled;
pub(crate) use closures::closures_half_of_them_cancelled;
pub(crate) use keyed::keys_with_tasks_and_closures_half_of_them_cancelled;
pub(crate) use mixed::threads_and_tasks_in_one_queue;
pub(crate) use runtime::{Job, Runtime, race, until, yields};
pub(crate) use tally::Tally;

use crate::common::{close_clean, eventually, left_nothing, quick, secs};
use conpool::{MemoryManager, Pool};
use std::time::Duration;

/// The timeout of a get that must be served. A sanitizer makes a load take many times as long.
pub(crate) const SERVED: Duration = secs(300);

pub(crate) fn pool_of(name: &str, max_size: usize) -> (Pool<MemoryManager>, MemoryManager) {
    let backend = MemoryManager::new();
    let pool = quick(name).max_size(max_size).get_timeout(SERVED);
    (pool.build(backend.clone()).unwrap(), backend)
}

/// Asserts that nobody waits and nothing is in use, closes the pool, and asserts that it has released everything.
#[track_caller]
pub(crate) fn close_at_rest(pool: &Pool<MemoryManager>, backend: &MemoryManager, name: &str) {
    eventually(|| pool.stats().in_use == 0);
    let stats = pool.stats();
    assert_eq!((stats.waiters, stats.timeouts), (0, 0), "{stats}");
    assert!(pool.holders().is_empty(), "{:?}", pool.holders());
    close_clean(pool, backend);
    left_nothing(&pool.stats(), name);
}
