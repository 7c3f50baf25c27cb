//! Histograms of durations in bounded memory.

use super::histogram::{BUCKETS, HistogramSnapshot, bucket_of};
use crate::rounded::Rounded;
use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The distribution of a duration over all its samples.
///
/// The percentiles come from a histogram: each is at most an eighth above the true value, never below it and
/// never above `max`. `count`, `mean` and `max` are exact, except for the `max` of a window. Beyond two hours a
/// percentile equals `max`, and the `max` of a window equals the longest sample since the pool was built. All
/// fields are zero without samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// The number of samples.
    pub count: u64,
    /// The mean of all samples.
    pub mean: Duration,
    /// The duration that half of the samples do not exceed.
    pub p50: Duration,
    /// The duration that 90 % of the samples do not exceed.
    pub p90: Duration,
    /// The duration that 99 % of the samples do not exceed.
    pub p99: Duration,
    /// The longest sample.
    ///
    /// In a [window](crate::PoolStats::since) the value is exact if the sample is the longest since the pool was
    /// built. Otherwise the value is the bound of the histogram's bucket: at most an eighth above the longest
    /// sample of the window, and never below it.
    pub max: Duration,
}

impl Latency {
    /// Returns a latency of which only the number of samples is known.
    pub(crate) fn of_count(count: u64) -> Self {
        Self {
            count,
            ..Self::default()
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("none");
        }
        write!(
            f,
            "p50 {}, p90 {}, p99 {}, max {}",
            Rounded(self.p50),
            Rounded(self.p90),
            Rounded(self.p99),
            Rounded(self.max)
        )
    }
}

struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    /// The sum of all values in nanoseconds, as a low half and its carries. One `u64` would overflow within
    /// weeks if thousands of connections are in use all the time.
    sum_low: AtomicU64,
    sum_high: AtomicU64,
    max: AtomicU64,
}

/// Counts durations without a lock. Takes a few words until the first sample, then under 4 KiB.
///
/// All operations are relaxed. A thread that must see a sample in a snapshot has been woken by the thread
/// that recorded it, and the wake-up orders the two.
#[derive(Default)]
pub(crate) struct Recorder {
    histogram: OnceLock<Box<Histogram>>,
}

impl Recorder {
    /// Counts one sample, capped at `u64::MAX` nanoseconds (584 years).
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let histogram = self.histogram.get_or_init(Histogram::new_boxed);
        histogram.buckets[bucket_of(nanos)].fetch_add(1, Relaxed);
        let before = histogram.sum_low.fetch_add(nanos, Relaxed);
        if before.checked_add(nanos).is_none() {
            histogram.sum_high.fetch_add(1, Relaxed);
        }
        histogram.max.fetch_max(nanos, Relaxed);
    }

    /// Adds the samples of another recorder.
    pub(crate) fn absorb(&self, other: &Self) {
        let Some(other) = other.histogram.get() else {
            return;
        };
        let histogram = self.histogram.get_or_init(Histogram::new_boxed);
        for (sum, more) in histogram.buckets.iter().zip(&other.buckets) {
            let more = more.load(Relaxed);
            if more > 0 {
                sum.fetch_add(more, Relaxed);
            }
        }
        let more = other.sum_low.load(Relaxed);
        let before = histogram.sum_low.fetch_add(more, Relaxed);
        let carry = u64::from(before.checked_add(more).is_none());
        let more = other.sum_high.load(Relaxed) + carry;
        histogram.sum_high.fetch_add(more, Relaxed);
        histogram.max.fetch_max(other.max.load(Relaxed), Relaxed);
    }

    /// Returns the samples so far. If more than the recorded samples were counted elsewhere, the other samples
    /// took no time.
    pub(crate) fn snapshot(&self, counted: u64) -> HistogramSnapshot {
        let Some(histogram) = self.histogram.get() else {
            return HistogramSnapshot::new([counted], 0, 0);
        };
        let mut counts: [u64; BUCKETS] =
            std::array::from_fn(|bucket| histogram.buckets[bucket].load(Relaxed));
        counts[0] += counted.saturating_sub(counts.iter().sum());
        let sum = (u128::from(histogram.sum_high.load(Relaxed)) << 64)
            | u128::from(histogram.sum_low.load(Relaxed));
        HistogramSnapshot::new(counts, sum, histogram.max.load(Relaxed))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recorder")
            .field(&self.snapshot(0).latency())
            .finish()
    }
}

impl Histogram {
    fn new_boxed() -> Box<Self> {
        Box::new(Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_low: AtomicU64::new(0),
            sum_high: AtomicU64::new(0),
            max: AtomicU64::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{mem::size_of, sync::Barrier, thread};

    const fn nanos(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    fn latency_of(recorder: &Recorder) -> Latency {
        recorder.snapshot(0).latency()
    }

    #[test]
    fn memory_is_bounded_and_small_until_used() {
        assert!(size_of::<Histogram>() < 4096);
        assert!(size_of::<Recorder>() <= 16);
        assert!(Recorder::default().histogram.get().is_none());
    }

    #[test]
    fn nothing_recorded_is_all_zero() {
        let latency = latency_of(&Recorder::default());
        assert_eq!(latency, Latency::default());
        assert_eq!(latency.to_string(), "none");
    }

    #[test]
    fn zeros_counted_apart_take_part() {
        let recorder = Recorder::default();
        assert_eq!(recorder.snapshot(3).latency().count, 3);
        recorder.record(Duration::from_micros(100));
        let latency = recorder.snapshot(10).latency();
        assert_eq!(
            (latency.count, latency.mean),
            (10, Duration::from_micros(10))
        );
        assert_eq!((latency.p50, latency.p90), (Duration::ZERO, Duration::ZERO));
        assert_eq!(latency.p99, Duration::from_micros(100));
    }

    #[test]
    fn percentiles_are_close_from_above_and_the_rest_is_exact() {
        let recorder = Recorder::default();
        for micros in 1..=1000 {
            recorder.record(Duration::from_micros(micros));
        }
        let latency = latency_of(&recorder);
        assert_eq!(latency.count, 1000);
        assert_eq!(latency.mean, nanos(500_500));
        assert_eq!(latency.max, Duration::from_millis(1));
        for (is, micros) in [(latency.p50, 500), (latency.p90, 900), (latency.p99, 990)] {
            let exact = Duration::from_micros(micros);
            assert!(is >= exact && is <= exact * 9 / 8, "{is:?} for {exact:?}");
            assert!(is <= latency.max);
        }
    }

    #[test]
    fn a_single_sample_is_every_percentile() {
        let recorder = Recorder::default();
        recorder.record(nanos(1_234_567));
        let latency = latency_of(&recorder);
        let all = [
            latency.mean,
            latency.p50,
            latency.p90,
            latency.p99,
            latency.max,
        ];
        assert_eq!(all, [nanos(1_234_567); 5]);
        assert_eq!(
            latency.to_string(),
            "p50 1.2ms, p90 1.2ms, p99 1.2ms, max 1.2ms"
        );
    }

    #[test]
    fn values_beyond_the_last_bucket_keep_mean_and_max_exact() {
        let recorder = Recorder::default();
        let day = Duration::from_secs(86_400);
        recorder.record(day);
        recorder.record(day * 3);
        let latency = latency_of(&recorder);
        assert_eq!((latency.mean, latency.max), (day * 2, day * 3));
        assert_eq!(latency.p50, day * 3);
    }

    #[test]
    fn a_sum_beyond_64_bits_is_carried() {
        let recorder = Recorder::default();
        for _ in 0..3 {
            recorder.record(Duration::MAX);
        }
        let latency = latency_of(&recorder);
        assert_eq!(
            (latency.mean, latency.max),
            (nanos(u64::MAX), nanos(u64::MAX))
        );
    }

    #[test]
    fn no_sample_is_lost_between_threads() {
        let recorder = Recorder::default();
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    for value in 0..1000 {
                        recorder.record(nanos(value));
                    }
                });
            }
        });
        let latency = latency_of(&recorder);
        assert_eq!((latency.count, latency.max), (4000, nanos(999)));
        assert_eq!(latency.mean, nanos(499));
    }
}
