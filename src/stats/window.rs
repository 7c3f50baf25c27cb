//! Windows: the statistics of the time between two snapshots.

use super::histogram::HistogramSnapshot;
use super::{PoolStats, Recorder};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// The pool of a snapshot, the time of the snapshot, and the samples of its latencies.
///
/// All origins are equal, so that snapshots compare by their numbers.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    /// The id of the pool in its keyed pool, or 0. Together with the name, which is allocated once for each pool
    /// or keyed pool, the id identifies the pool.
    id_in_group: u64,
    /// When the pool was built, by its clock.
    built_at: Option<Instant>,
    taken_at: Option<Instant>,
    samples: Option<Arc<Samples>>,
    /// The snapshot at the end of a window.
    end: Option<Arc<PoolStats>>,
}

/// The samples of all latencies since the pool was built.
#[derive(Default)]
struct Samples {
    wait: HistogramSnapshot,
    create: HistogramSnapshot,
    held: HistogramSnapshot,
}

impl Origin {
    pub(crate) fn new(id_in_group: u64, built_at: Instant, taken_at: Instant) -> Self {
        Self {
            id_in_group,
            built_at: Some(built_at),
            taken_at: Some(taken_at),
            ..Self::default()
        }
    }
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("built_at", &self.built_at)
            .field("taken_at", &self.taken_at)
            .finish_non_exhaustive()
    }
}

impl PoolStats {
    /// Returns the statistics of the time between two snapshots of a pool: a *window*.
    ///
    /// - Counters (`gets` to `panics`, and [`evicted`](Self::evicted)) and latencies (`wait`, `create` and `held`)
    ///   are those of the window. So are [`reuse_rate`](Self::reuse_rate) and [`error_rate`](Self::error_rate).
    /// - All other fields describe the moment of `self`, as in a snapshot: gauges, `health`, holders, `last_error`
    ///   and [`utilization`](Self::utilization). The two peaks are those since the pool was built.
    /// - [`window`](Self::window) is the length of the window. [`per_second`](Self::per_second) turns a counter into
    ///   a rate. The Display has rates in place of counts.
    ///
    /// The call changes nothing in the pool, so each reader can have windows of its own. It takes about a
    /// microsecond.
    ///
    /// # The other cases
    ///
    /// The function does not fail and does not panic.
    ///
    /// - `earlier` is of another pool, of another key, or is [`PoolStats::default`]: the window begins when the pool
    ///   of `self` was built. A pool that was rebuilt under its old name is another pool, and so is the pool of a
    ///   key that was removed and used again ([`KeyedPool::stats_for`](crate::KeyedPool::stats_for)). The sums of a
    ///   keyed pool include its removed keys.
    /// - `earlier` is later than `self`: the window is empty. Its length and all counters are zero.
    /// - Both are the same snapshot: the window is empty, too.
    /// - One of the two is a window: it counts as the snapshot at its end. Each window can therefore be the start of
    ///   the next one.
    ///
    /// A call of `get` that returns while a snapshot is taken may count in `gets` of two successive windows.
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::{ManualClock, MemoryManager, Pool, PoolStats};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let pool = Pool::builder().name("orders").clock(clock.clone()).build(MemoryManager::new())?;
    /// let mut window = pool.stats().since(&PoolStats::default()); // since the pool was built
    /// for _ in 0..600 {
    ///     drop(pool.get()?);
    /// }
    /// clock.advance(Duration::from_secs(60)); // instead of a minute of sleep
    /// window = pool.stats().since(&window);
    /// assert_eq!((window.gets, window.created, window.wait.count), (600, 0, 600));
    /// assert_eq!(window.window(), Some(Duration::from_secs(60)));
    /// assert_eq!(window.per_second(window.gets), 10.0);
    /// assert!(window.to_string().starts_with(r#"pool "orders" over 60s: size 1/10"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let (now, earlier, nothing) = (self.at_end(), earlier.at_end(), Self::default());
        let (start, starts_at) = match now.is_same_pool(earlier) {
            true => (earlier, earlier.origin.taken_at),
            false => (&nothing, now.origin.built_at),
        };
        let mut window = now.clone();
        window.combine_counters(start, |now, before| now.saturating_sub(before));
        // A snapshot reads the parts of a total before the total. An event in between is in the total of that
        // snapshot, and its part is in the next one.
        let failed = window.timeouts + window.saturated;
        window.failed_gets = window.failed_gets.max(failed);
        window.gets = window.gets.max(window.gets_waited).max(failed);
        if let Some(samples) = &now.origin.samples {
            let none = Samples::default();
            let before = start.origin.samples.as_deref().unwrap_or(&none);
            window.wait = samples.wait.since(&before.wait).latency();
            window.create = samples.create.since(&before.create).latency();
            window.held = samples.held.since(&before.held).latency();
        }
        let length = now.origin.taken_at.zip(starts_at);
        window.window = Some(length.map_or(Duration::ZERO, |(end, start)| {
            end.saturating_duration_since(start)
        }));
        window.origin.end = Some(Arc::new(now.clone()));
        window
    }

    /// Returns the length of the window if [`since`](Self::since) made this value. `None` for a snapshot, whose
    /// counters begin when the pool was built.
    #[must_use]
    pub fn window(&self) -> Option<Duration> {
        self.window
    }

    /// Returns the time of the snapshot, by the clock of the pool; for a window the time of its end. `None` for
    /// [`PoolStats::default`].
    #[must_use]
    pub fn taken_at(&self) -> Option<Instant> {
        self.origin.taken_at
    }

    /// Returns how many events per second a counter of this window stands for: `count` divided by the seconds of
    /// [`window`](Self::window). 0.0 if the window has no length, and for a snapshot, which is no window.
    ///
    /// ```
    /// # use conpool::{EvictReason, MemoryManager, Pool, PoolStats};
    /// # let pool = Pool::new(MemoryManager::new())?;
    /// let window = pool.stats().since(&PoolStats::default());
    /// let timeouts = window.per_second(window.timeouts);
    /// let evicted = window.per_second(window.evicted(EvictReason::Broken));
    /// assert_eq!((timeouts, evicted), (0.0, 0.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate needs no more than the 52 bits that are exact"
    )]
    pub fn per_second(&self, count: u64) -> f64 {
        match self.window {
            Some(window) if !window.is_zero() => count as f64 / window.as_secs_f64(),
            _ => 0.0,
        }
    }

    /// Sets the latencies and keeps their samples. `wait.count` and `held.count` are known from elsewhere; the
    /// samples that took no time are in no recorder.
    pub(crate) fn set_latencies(&mut self, wait: &Recorder, create: &Recorder, held: &Recorder) {
        let samples = Samples {
            wait: wait.snapshot(self.wait.count),
            create: create.snapshot(0),
            held: held.snapshot(self.held.count),
        };
        self.wait = samples.wait.latency();
        self.create = samples.create.latency();
        self.held = samples.held.latency();
        self.origin.samples = Some(Arc::new(samples));
    }

    /// Returns the snapshot at the end of a window. A snapshot is its own end.
    fn at_end(&self) -> &Self {
        self.origin.end.as_deref().unwrap_or(self)
    }

    /// Returns whether one pool returned both. Values that no pool has returned belong together.
    fn is_same_pool(&self, other: &Self) -> bool {
        let (own, others) = (&self.origin, &other.origin);
        let same_id = (own.id_in_group, own.built_at) == (others.id_in_group, others.built_at);
        same_id && (own.built_at.is_none() || Arc::ptr_eq(&self.name, &other.name))
    }
}
