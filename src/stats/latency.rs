//! Histograms of durations in bounded memory.

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
/// never above `max`. `count`, `mean` and `max` are exact. Beyond two hours a percentile equals `max`. All
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
    pub max: Duration,
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

/// Each power of two of nanoseconds is divided into `1 << SUB_BITS` buckets of equal width.
const SUB_BITS: u32 = 3;
const SUBS: usize = 1 << SUB_BITS;

/// Values with this number of bits or more (2.4 hours) share the last bucket.
const TOP_BITS: u32 = 43;

/// One row for the values below `SUBS`, which are exact, and one row for each power of two above.
const BUCKETS: usize = (TOP_BITS - SUB_BITS + 1) as usize * SUBS;

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

    /// Returns the latency of all samples, plus `zeros` samples of zero that were counted elsewhere.
    ///
    /// The snapshot may contain parts of samples that are recorded at the same time. p50 ≤ p90 ≤ p99 ≤ max
    /// and mean ≤ max hold nevertheless.
    pub(crate) fn snapshot(&self, zeros: u64) -> Latency {
        let Some(histogram) = self.histogram.get() else {
            return Latency {
                count: zeros,
                ..Latency::default()
            };
        };
        let counts: [u64; BUCKETS] =
            std::array::from_fn(|bucket| histogram.buckets[bucket].load(Relaxed));
        let count = zeros + counts.iter().sum::<u64>();
        let sum = (u128::from(histogram.sum_high.load(Relaxed)) << 64)
            | u128::from(histogram.sum_low.load(Relaxed));
        let max = histogram.max.load(Relaxed);
        let mean = sum.checked_div(u128::from(count)).unwrap_or(0);
        let percentile = |percent: u128| {
            let rank = (u128::from(count) * percent).div_ceil(100);
            let mut seen = u128::from(zeros);
            if rank <= seen {
                return Duration::ZERO;
            }
            let bucket = counts.iter().position(|&here| {
                seen += u128::from(here);
                seen >= rank
            });
            Duration::from_nanos(bucket.map_or(max, upper_bound).min(max))
        };
        Latency {
            count,
            mean: Duration::from_nanos(u64::try_from(mean).map_or(max, |mean| mean.min(max))),
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            max: Duration::from_nanos(max),
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recorder").field(&self.snapshot(0)).finish()
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

fn bucket_of(nanos: u64) -> usize {
    let bits = u64::BITS - nanos.leading_zeros();
    if bits <= SUB_BITS {
        return usize::try_from(nanos).unwrap_or(0);
    }
    if bits > TOP_BITS {
        return BUCKETS - 1;
    }
    // The bits below the highest one select the bucket within its power of two.
    let shift = bits - SUB_BITS - 1;
    let sub = usize::try_from(nanos >> shift).unwrap_or(0) - SUBS;
    (shift as usize + 1) * SUBS + sub
}

/// Returns the largest value of this bucket.
fn upper_bound(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let (row, sub) = (bucket / SUBS, bucket % SUBS);
    match row.checked_sub(1) {
        None => sub as u64,
        Some(shift) => (((SUBS + sub + 1) as u64) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{mem::size_of, sync::Barrier, thread};

    const fn nanos(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    #[test]
    fn memory_is_bounded_and_small_until_used() {
        assert!(size_of::<Histogram>() < 4096);
        assert!(size_of::<Recorder>() <= 16);
        assert!(Recorder::default().histogram.get().is_none());
    }

    #[test]
    fn buckets_are_gapless_and_an_eighth_wide_at_most() {
        for bucket in 0..BUCKETS - 1 {
            let upper = upper_bound(bucket);
            assert_eq!(bucket_of(upper), bucket);
            assert_eq!(bucket_of(upper + 1), bucket + 1);
            let lower = if bucket == 0 {
                0
            } else {
                upper_bound(bucket - 1) + 1
            };
            assert!((upper - lower) * 8 <= lower, "{lower}..={upper}");
        }
        assert!(nanos(upper_bound(BUCKETS - 2)) > Duration::from_secs(2 * 3600));
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_recorded_is_all_zero() {
        assert_eq!(Recorder::default().snapshot(0), Latency::default());
        assert_eq!(Recorder::default().snapshot(0).to_string(), "none");
    }

    #[test]
    fn zeros_counted_apart_take_part() {
        let recorder = Recorder::default();
        assert_eq!(recorder.snapshot(3).count, 3);
        recorder.record(Duration::from_micros(100));
        let latency = recorder.snapshot(9);
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
        let latency = recorder.snapshot(0);
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
        let latency = recorder.snapshot(0);
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
        let latency = recorder.snapshot(0);
        assert_eq!((latency.mean, latency.max), (day * 2, day * 3));
        assert_eq!(latency.p50, day * 3);
    }

    #[test]
    fn a_sum_beyond_64_bits_is_carried() {
        let recorder = Recorder::default();
        for _ in 0..3 {
            recorder.record(Duration::MAX);
        }
        let latency = recorder.snapshot(0);
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
        let latency = recorder.snapshot(0);
        assert_eq!((latency.count, latency.max), (4000, nanos(999)));
        assert_eq!(latency.mean, nanos(499));
    }
}
