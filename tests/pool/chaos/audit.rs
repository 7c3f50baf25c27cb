//! The invariants of the numbers at any instant, and at the end.

use super::backend::{Backend, Counts, Flaky};
use conpool::{EvictReason, Pool, PoolEvent, PoolObserver, PoolStats};
use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

/// The counts of the pool's users and of its observer.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) gets: AtomicU64,
    pub(crate) served: AtomicU64,
    pub(crate) added: AtomicU64,
    pub(crate) detached: AtomicU64,
    observed: [AtomicU64; 4],
    events: AtomicU64,
}

impl Tally {
    pub(crate) fn observer(self: &Arc<Self>) -> impl PoolObserver + use<> {
        Watcher(Arc::clone(self))
    }

    fn observed(&self) -> [u64; 4] {
        [0, 1, 2, 3].map(|kind: usize| self.observed[kind].load(SeqCst))
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, SeqCst);
}

/// Counts four kinds of events, and sometimes panics.
struct Watcher(Arc<Tally>);

impl PoolObserver for Watcher {
    fn on_event(&self, event: &PoolEvent) {
        let kind = match event {
            PoolEvent::Created { .. } => Some(0),
            PoolEvent::Evicted { .. } => Some(1),
            PoolEvent::CheckedOut { .. } => Some(2),
            PoolEvent::CheckedIn { .. } => Some(3),
            _ => None,
        };
        if let Some(kind) = kind {
            count(&self.0.observed[kind]);
        }
        if self.0.events.fetch_add(1, SeqCst) % 97 == 96 {
            resume_unwind(Box::new("the observer has seen enough"));
        }
    }
}

/// Checks the invariants of one snapshot.
pub(crate) fn check(pool: &Pool<Flaky>, backend: &Backend) -> PoolStats {
    let stats = pool.stats();
    let must = |holds: bool, what: &str| {
        if !holds {
            backend.violation(format!("{what}: {stats:?}"));
        }
    };
    must(
        stats.size == stats.idle + stats.in_use + stats.creating,
        "size is not idle + in_use + creating",
    );
    must(stats.abandoned == 0, "abandoned without a timeout");
    must(
        (stats.created + stats.added).checked_sub(stats.disposed + stats.detached)
            == Some((stats.idle + stats.in_use + stats.disposing) as u64),
        "what came and has not gone is not what is there",
    );
    stats
}

/// Compares the final counts of the pool, its users, its observer and the backend.
pub(crate) fn settle(pool: &Pool<Flaky>, backend: &Backend, tally: &Tally, observed: bool) {
    let stats = check(pool, backend);
    println!("{stats}");
    let evicted: u64 = EvictReason::ALL
        .iter()
        .map(|&reason| stats.evicted(reason))
        .sum();
    let Counts {
        open,
        created,
        disposed,
        violations,
        ..
    } = backend.snapshot();
    assert_eq!(violations, [""; 0]);
    assert_eq!(stats.size + stats.disposing + stats.waiters, 0, "{stats}");
    assert_eq!(open, 0, "{stats}");
    assert_eq!(stats.created + stats.added, stats.disposed + stats.detached);
    assert_eq!(stats.created, created, "{stats}");
    assert_eq!(stats.disposed, disposed, "{stats}");
    assert_eq!(stats.disposed, evicted, "{stats}");
    assert_eq!(stats.gets, tally.gets.load(SeqCst), "{stats}");
    assert_eq!(stats.added, tally.added.load(SeqCst), "{stats}");
    assert_eq!(stats.detached, tally.detached.load(SeqCst), "{stats}");
    if observed {
        let served = tally.served.load(SeqCst);
        assert_eq!(
            tally.observed(),
            [created, evicted, served, served],
            "{stats}"
        );
    }
}
