//! The statistics of a pool at one moment.

mod display;
mod histogram;
mod latency;
#[cfg(feature = "serde")]
mod serialize;
mod window;

pub use latency::Latency;
pub(crate) use latency::Recorder;
pub(crate) use window::Origin;

use crate::event::EvictReason;
use crate::health::HealthState;
use crate::info::{Holder, NAMED_HOLDERS};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A snapshot of a pool: its current state, and its counts since it was built.
///
/// `size` = `idle` + `in_use` + `creating` in every snapshot. Displays as one line.
///
/// ```
/// use conpool::{MemoryManager, Pool};
///
/// let pool = Pool::builder().name("orders").max_size(4).build(MemoryManager::new())?;
/// let _one = pool.get()?;
/// let stats = pool.stats();
/// assert_eq!((stats.in_use, stats.idle, stats.gets, stats.timeouts), (1, 0, 1, 0));
/// assert_eq!(stats.utilization(), 0.25);
/// assert!(stats.to_string().starts_with(r#"pool "orders": size 1/4"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The statistics of a keyed pool are sums over its keys, including `min_idle`. `health` is the worst of all
/// keys, and `last_error` is the latest.
///
/// [`since`](Self::since) returns the counts and the latencies of the time between two snapshots.
///
/// Two values are equal if their numbers are equal. [`taken_at`](Self::taken_at) is not compared, so a program can
/// tell whether anything has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// The limit on connections.
    pub max_size: usize,
    /// The number of idle connections kept ready.
    pub min_idle: usize,
    /// Connections that count towards `max_size`: idle, in use and creating.
    pub size: usize,
    /// Connections ready to be handed out.
    pub idle: usize,
    /// Connections that callers hold, including those being checked.
    pub in_use: usize,
    /// Creates under way.
    pub creating: usize,
    /// Connections being disposed that still hold their slots; `size` excludes them.
    pub disposing: usize,
    /// Hooks that exceeded their timeout and have not returned. They hold no slot.
    pub abandoned: usize,
    /// Callers that wait for a connection.
    pub waiters: usize,
    /// The recent health of the backend.
    pub health: HealthState,
    /// The highest `in_use` that a snapshot, the collector or a waiter has seen.
    pub peak_in_use: usize,
    /// The highest `waiters` that a snapshot, the collector or a waiter has seen.
    pub peak_waiters: usize,
    /// The age of the oldest connection. `None` without connections.
    pub oldest_age: Option<Duration>,

    /// Calls of `get`, `get_timeout` and `get_deadline` that have returned, with any result. Calls that still
    /// wait are counted in `waiters`.
    pub gets: u64,
    /// The part of `gets` that had to wait: for a connection, for a create, or for a check that may block.
    /// Never exceeds `gets`; the sum of `timeouts` and `saturated` does not either.
    pub gets_waited: u64,
    /// The part of `gets` that reached its deadline.
    pub timeouts: u64,
    /// The part of `gets` that was refused because `max_waiters` was reached.
    pub saturated: u64,
    /// Connections that `create` returned.
    pub created: u64,
    /// Creates that failed, took too long or panicked.
    pub create_errors: u64,
    /// Checks that failed, took too long or panicked.
    pub check_failures: u64,
    /// Connections whose `dispose` has finished.
    pub disposed: u64,
    /// Connections added by `add`.
    pub added: u64,
    /// Connections removed by `detach`.
    pub detached: u64,
    /// Panics of hooks and of the observer.
    pub panics: u64,

    /// The longest holders of connections, the longest first, at most three. Their `held` is the time at the snapshot.
    pub longest_holders: Vec<Holder>,
    /// How many connections are held beyond those of `longest_holders`.
    pub more_holders: usize,

    /// The last error of a create or a check: its time, and its text with the texts of its causes.
    pub last_error: Option<(Instant, String)>,

    /// How long callers waited that got a connection; most waited for no time. The other callers are counted
    /// in `timeouts` and `saturated`.
    pub wait: Latency,
    /// How long `create` ran when it succeeded.
    pub create: Latency,
    /// How long connections were in use, in the resolution of the pool's clock.
    pub held: Latency,

    pub(crate) name: Arc<str>,
    /// The counts of evictions, indexed by [`EvictReason::index`].
    pub(crate) evictions: [u64; EvictReason::EACH.len()],
    /// Checkouts of a connection that had been used before.
    pub(crate) reused: u64,
    /// Checkouts of every kind, `try_get` included.
    pub(crate) checkouts: u64,
    /// The part of `gets` that returned an error.
    pub(crate) failed_gets: u64,
    /// The length of the window. `None` if the counters are those since the pool was built.
    pub(crate) window: Option<Duration>,
    pub(crate) origin: Origin,
}

impl PoolStats {
    /// Returns the pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of connections evicted for this reason.
    #[must_use]
    pub fn evicted(&self, reason: EvictReason) -> u64 {
        self.evictions[reason.index()]
    }

    /// Adds the statistics of another pool. Of latencies only the `count` of `wait` and `held` is added; the
    /// recorders are merged separately.
    pub(crate) fn absorb(&mut self, other: &Self) {
        macro_rules! add {
            ($($field:ident)+) => { $(self.$field += other.$field;)+ };
        }
        add!(max_size min_idle size idle in_use creating disposing abandoned waiters);
        self.wait.count += other.wait.count;
        self.held.count += other.held.count;
        self.combine_counters(other, |sum, more| sum + more);
        self.longest_holders
            .extend_from_slice(&other.longest_holders);
        self.longest_holders.sort_by_key(|holder| holder.since);
        self.more_holders += other.more_holders;
        self.more_holders += self.longest_holders.len().saturating_sub(NAMED_HOLDERS);
        self.longest_holders.truncate(NAMED_HOLDERS);
        self.health = self.health.max(other.health);
        self.peak_in_use = self.peak_in_use.max(other.peak_in_use);
        self.peak_waiters = self.peak_waiters.max(other.peak_waiters);
        self.oldest_age = self.oldest_age.max(other.oldest_age);
        if other.last_error.as_ref().map(|(at, _)| at) > self.last_error.as_ref().map(|(at, _)| at)
        {
            self.last_error.clone_from(&other.last_error);
        }
    }

    /// Replaces each counter by `combine` of this counter and the counter of `other`.
    fn combine_counters(&mut self, other: &Self, combine: impl Fn(u64, u64) -> u64) {
        macro_rules! each {
            ($($field:ident)+) => { $(self.$field = combine(self.$field, other.$field);)+ };
        }
        each!(gets gets_waited timeouts saturated created create_errors check_failures);
        each!(disposed added detached panics reused checkouts failed_gets);
        for (own, other) in self.evictions.iter_mut().zip(other.evictions) {
            *own = combine(*own, other);
        }
    }

    /// Returns the share of `max_size` that is in use, in 0.0..=1.0.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        share(self.in_use as u64, self.max_size as u64)
    }

    /// Returns the share of checkouts, in 0.0..=1.0, that reused a connection and cost no create. 0.0 without
    /// checkouts.
    #[must_use]
    pub fn reuse_rate(&self) -> f64 {
        share(self.reused, self.checkouts)
    }

    /// Returns the share of `gets`, in 0.0..=1.0, that returned an error. 0.0 without gets.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        share(self.failed_gets, self.gets)
    }
}

/// Returns `part / whole`, limited to 1.0. Counters that are read one after the other can be inconsistent,
/// and after a shrink more connections than `max_size` can be in use.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share needs no more than the 52 bits that are exact"
)]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_zero_when_nothing_happened() {
        let stats = PoolStats::default();
        let rates = [stats.utilization(), stats.reuse_rate(), stats.error_rate()];
        assert_eq!(format!("{rates:?}"), "[0.0, 0.0, 0.0]");
    }

    #[test]
    fn rates_are_shares() {
        let stats = PoolStats {
            max_size: 8,
            in_use: 2,
            gets: 10,
            failed_gets: 1,
            checkouts: 4,
            reused: 3,
            ..PoolStats::default()
        };
        let rates = [stats.utilization(), stats.reuse_rate(), stats.error_rate()];
        assert_eq!(format!("{rates:?}"), "[0.25, 0.75, 0.1]");
    }

    #[test]
    fn rates_never_exceed_one() {
        let stats = PoolStats {
            max_size: 2,
            in_use: 5,
            gets: 1,
            failed_gets: 2,
            checkouts: 1,
            reused: 3,
            ..PoolStats::default()
        };
        let rates = [stats.utilization(), stats.reuse_rate(), stats.error_rate()];
        assert_eq!(format!("{rates:?}"), "[1.0, 1.0, 1.0]");
    }

    #[test]
    fn evictions_are_counted_by_reason() {
        let mut stats = PoolStats::default();
        for (count, reason) in (1..).zip(EvictReason::EACH) {
            stats.evictions[reason.index()] = count;
        }
        assert_eq!(stats.evicted(EvictReason::Broken), 1);
        let last = EvictReason::EACH.len() as u64;
        assert_eq!(stats.evicted(EvictReason::Surplus), last);
    }
}
