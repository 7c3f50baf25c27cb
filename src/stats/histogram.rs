//! The buckets of a histogram, and the samples in them at one moment.

use super::Latency;
use std::time::Duration;

/// Each power of two of nanoseconds is divided into `1 << SUB_BITS` buckets of equal width.
const SUB_BITS: u32 = 3;
const SUBS: usize = 1 << SUB_BITS;

/// Values with this number of bits or more (2.4 hours) share the last bucket.
const TOP_BITS: u32 = 43;

/// One row for the values below `SUBS`, which are exact, and one row for each power of two above.
pub(super) const BUCKETS: usize = (TOP_BITS - SUB_BITS + 1) as usize * SUBS;

/// The samples of a histogram at one moment, which can be subtracted from those of a later one.
///
/// A snapshot may contain parts of samples that are recorded at the same time. In each latency p50 ≤ p90 ≤ p99 ≤
/// max and mean ≤ max hold nevertheless.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistogramSnapshot {
    /// The buckets that have samples, in ascending order, with their counts.
    buckets: Vec<(usize, u64)>,
    /// The sum of all samples in nanoseconds.
    sum: u128,
    /// The longest sample in nanoseconds, or a bound of it.
    max: u64,
}

impl HistogramSnapshot {
    pub(super) fn new(counts: impl IntoIterator<Item = u64>, sum: u128, max: u64) -> Self {
        let buckets = counts.into_iter().enumerate();
        Self {
            buckets: buckets.filter(|(_, count)| *count > 0).collect(),
            sum,
            max,
        }
    }

    /// Returns the samples that `earlier` does not contain. A bucket that has fewer samples than in `earlier`
    /// counts none.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let buckets = self.buckets.iter().filter_map(|&(bucket, count)| {
            let count = count.saturating_sub(earlier.count_in(bucket));
            (count > 0).then_some((bucket, count))
        });
        let buckets: Vec<_> = buckets.collect();
        let top = buckets.last().map_or(0, |(bucket, _)| *bucket);
        let is_new_max = self.max > earlier.max && bucket_of(self.max) == top;
        Self {
            buckets,
            sum: self.sum.saturating_sub(earlier.sum),
            max: match is_new_max {
                true => self.max,
                false => upper_bound(top).min(self.max),
            },
        }
    }

    pub(super) fn latency(&self) -> Latency {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        let mean = self.sum.checked_div(u128::from(count)).unwrap_or(0);
        let percentile = |percent: u128| {
            let rank = (u128::from(count) * percent).div_ceil(100);
            let mut seen = 0;
            let reached = self.buckets.iter().find(|(_, here)| {
                seen += u128::from(*here);
                seen >= rank
            });
            let bound = reached.map_or(self.max, |(bucket, _)| upper_bound(*bucket));
            Duration::from_nanos(bound.min(self.max))
        };
        Latency {
            count,
            mean: Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX).min(self.max)),
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            max: Duration::from_nanos(self.max),
        }
    }

    fn count_in(&self, bucket: usize) -> u64 {
        let found = self.buckets.binary_search_by_key(&bucket, |(at, _)| *at);
        found.map_or(0, |at| self.buckets[at].1)
    }
}

pub(super) fn bucket_of(nanos: u64) -> usize {
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
    use crate::stats::Recorder;

    const fn nanos(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    /// Records milliseconds and returns the samples so far.
    fn record(recorder: &Recorder, millis: impl IntoIterator<Item = u64>) -> HistogramSnapshot {
        for millis in millis {
            recorder.record(Duration::from_millis(millis));
        }
        recorder.snapshot(0)
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
    fn a_difference_has_only_the_later_samples() {
        let recorder = Recorder::default();
        let earlier = record(&recorder, [2000; 100]);
        let window = record(&recorder, 1..=100).since(&earlier).latency();
        assert_eq!(window.count, 100);
        assert_eq!(window.mean, Duration::from_micros(50_500));
        for (is, millis) in [(window.p50, 50), (window.p90, 90), (window.p99, 99)] {
            let exact = Duration::from_millis(millis);
            assert!(is >= exact && is <= exact * 9 / 8, "{is:?} for {exact:?}");
        }
    }

    #[test]
    fn the_max_of_a_difference_is_bounded_by_its_bucket() {
        let recorder = Recorder::default();
        let earlier = record(&recorder, [2000]);
        let window = record(&recorder, [100, 7]).since(&earlier).latency();
        let exact = Duration::from_millis(100);
        assert!(window.max >= exact && window.max <= exact * 9 / 8);
        assert!(window.p99 <= window.max);
    }

    #[test]
    fn the_max_of_a_difference_is_exact_if_it_is_the_longest_of_all() {
        let recorder = Recorder::default();
        let earlier = record(&recorder, [99]);
        let window = record(&recorder, [100]).since(&earlier).latency();
        let all = [window.mean, window.p50, window.p99, window.max];
        assert_eq!(all, [Duration::from_millis(100); 4]);
    }

    #[test]
    fn a_max_that_another_thread_has_just_recorded_is_not_the_max_of_a_lower_bucket() {
        // The sample of 900 was counted in the earlier snapshot, and its maximum after that snapshot.
        let earlier = HistogramSnapshot {
            max: 10,
            ..HistogramSnapshot::new((0..BUCKETS).map(|n| u64::from(n == bucket_of(900))), 900, 0)
        };
        let recorder = Recorder::default();
        recorder.record(nanos(900));
        recorder.record(nanos(5));
        let window = recorder.snapshot(0).since(&earlier).latency();
        assert_eq!((window.count, window.max), (1, nanos(5)));
    }

    #[test]
    fn a_difference_without_samples_is_all_zero() {
        let recorder = Recorder::default();
        let earlier = record(&recorder, [3, 14, 15]);
        let window = recorder.snapshot(0).since(&earlier);
        assert_eq!(window.latency(), Latency::default());
        let swapped = earlier.since(&record(&recorder, [92]));
        assert_eq!(swapped.latency(), Latency::default());
    }

    #[test]
    fn samples_beyond_the_last_bucket_are_bounded_by_the_longest_of_all() {
        let recorder = Recorder::default();
        let day = Duration::from_secs(86_400);
        recorder.record(day * 3);
        let earlier = recorder.snapshot(0);
        recorder.record(day);
        let window = recorder.snapshot(0).since(&earlier).latency();
        assert_eq!(
            (window.mean, window.p50, window.max),
            (day, day * 3, day * 3)
        );
    }

    #[test]
    fn samples_of_no_time_are_subtracted_too() {
        let recorder = Recorder::default();
        let earlier = recorder.snapshot(40);
        recorder.record(nanos(1000));
        let window = recorder.snapshot(50).since(&earlier).latency();
        assert_eq!((window.count, window.mean), (10, nanos(100)));
        assert_eq!((window.p90, window.max), (Duration::ZERO, nanos(1000)));
    }
}
