//! The durations of gets, measured outside the pool.

use std::time::Duration;

/// Each power of two of nanoseconds is divided into this many equal parts.
const PARTS: u64 = 8;
const BUCKETS: usize = 40 * PARTS as usize;

/// Counts durations up to some minutes.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    buckets: [u64; BUCKETS],
    count: u64,
    max: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            count: 0,
            max: Duration::ZERO,
        }
    }
}

impl Waits {
    #[inline]
    pub(crate) fn note(&mut self, took: Duration) {
        let nanos = (took.as_nanos() as u64).max(PARTS);
        let power = u64::from(nanos.ilog2());
        let part = (nanos >> (power - u64::from(PARTS.ilog2()))) - PARTS;
        let bucket = power * PARTS + part;
        self.buckets[(bucket as usize).min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.max = self.max.max(took);
    }

    /// Moves the counts of `other` into this one.
    pub(crate) fn absorb(&mut self, other: &mut Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
        *other = Self::default();
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// The duration that this share of all did not exceed.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= wanted
        });
        let bucket = reached.unwrap_or(BUCKETS - 1) as u64;
        let (power, part) = (bucket / PARTS, bucket % PARTS);
        let top = ((PARTS + part + 1) << power) / PARTS;
        Duration::from_nanos(top).min(self.max)
    }
}
