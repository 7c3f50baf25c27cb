//! The pause between failed creates.

use std::time::Duration;

/// The pause between repeated creates.
///
/// The pause starts at `initial` and grows by `factor` with every failure in a row, up to `max`. `jitter`
/// spreads the pauses, so that many processes do not retry in step.
///
/// | field | meaning | unit | default | allowed |
/// |---|---|---|---|---|
/// | `initial` | pause after the first failure | duration | 50 ms | above zero |
/// | `factor` | growth per further failure | ratio | 2.0 | finite, at least 1.0 |
/// | `max` | the longest pause, jitter included | duration | 5 s | at least `initial` |
/// | `jitter` | each pause is longer or shorter by up to this share | ratio | 0.2 | 0.0..=1.0 |
///
/// With a jitter of 1.0 a pause can be as short as zero.
///
/// While a caller waits for a connection, in `get` or in `build`, the pause ends after a quarter of
/// `get_timeout`, and after 500 ms at the latest. `jitter` may shorten that limit. A small `get_timeout` does
/// not make it shorter than 10 ms, and a `get_timeout` of zero is ignored. Callers are therefore served
/// within half a second after the server is back, and pauses of up to `max` occur only while `min_idle` alone
/// asks for connections. A caller that arrives during a long pause shortens it to the same limit, counted
/// from the last failure.
///
/// # Example
///
/// ```
/// use conpool::Backoff;
/// use std::time::Duration;
///
/// let gentle = Backoff::default()
///     .with_initial(Duration::from_millis(200))
///     .with_max(Duration::from_secs(30));
/// assert_eq!(gentle.factor, 2.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// The pause after the first failure. Default 50 ms; must be above zero.
    pub initial: Duration,
    /// The growth of the pause with every further failure. Default 2.0; finite, at least 1.0.
    pub factor: f64,
    /// The longest pause, jitter included. Default 5 s; at least `initial`.
    pub max: Duration,
    /// The random share by which a pause is made longer or shorter. Default 0.2; 0.0..=1.0.
    pub jitter: f64,
}

impl Backoff {
    const DEFAULT: Self = Self {
        initial: Duration::from_millis(50),
        factor: 2.0,
        max: Duration::from_secs(5),
        jitter: 0.2,
    };

    /// Sets the [`initial`](Self::initial) pause.
    #[must_use]
    pub const fn with_initial(mut self, initial: Duration) -> Self {
        self.initial = initial;
        self
    }

    /// Sets the growth [`factor`](Self::factor).
    #[must_use]
    pub const fn with_factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Sets the [`max`](Self::max)imum pause.
    #[must_use]
    pub const fn with_max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets the [`jitter`](Self::jitter).
    #[must_use]
    pub const fn with_jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// Returns the pause after this number of failures in a row, which is zero without a failure.
    /// `random_unit` in 0.0..=1.0 picks the place within the jitter; 0.5 means no change.
    pub(crate) fn pause(&self, failures_in_a_row: u32, random_unit: f64) -> Duration {
        let Some(repeats) = failures_in_a_row.checked_sub(1) else {
            return Duration::ZERO;
        };
        let growth = self.factor.powi(i32::try_from(repeats).unwrap_or(i32::MAX));
        // `min` also caps a growth that has reached infinity.
        let base = (self.initial.as_secs_f64() * growth).min(self.max.as_secs_f64());
        let spread = self.jitter * (2.0 * random_unit.clamp(0.0, 1.0) - 1.0);
        // The base is positive and the spread is at least -1, so a product that Duration cannot hold is above
        // the maximum.
        Duration::try_from_secs_f64(base * (1.0 + spread)).map_or(self.max, |p| p.min(self.max))
    }

    /// Returns a pause of at most `longest`, shortened by up to the jitter.
    pub(crate) fn cut(&self, longest: Duration, random_unit: f64) -> Duration {
        longest.mul_f64(1.0 - self.jitter * random_unit.clamp(0.0, 1.0))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let steady = Backoff::default().with_jitter(0.0);
        let pauses: Vec<_> = (0..9).map(|n| steady.pause(n, 0.9)).collect();
        let expected = [0, 50, 100, 200, 400, 800, 1600, 3200, 5000].map(MS);
        assert_eq!(pauses, expected);
    }

    #[test]
    fn jitter_spreads_both_ways_but_never_above_the_maximum() {
        let backoff = Backoff::default().with_jitter(0.5);
        assert_eq!(backoff.pause(2, 0.0), MS(50));
        assert_eq!(backoff.pause(2, 0.5), MS(100));
        assert_eq!(backoff.pause(2, 1.0), MS(150));
        assert_eq!(backoff.pause(60, 0.0), MS(2500));
        assert_eq!(backoff.pause(60, 1.0), MS(5000));
    }

    #[test]
    fn a_cut_pause_is_spread_downwards_only() {
        let backoff = Backoff::default().with_jitter(0.5);
        assert_eq!(backoff.cut(MS(500), 0.0), MS(500));
        assert_eq!(backoff.cut(MS(500), 1.0), MS(250));
        assert_eq!(backoff.cut(MS(500), 7.0), MS(250));
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let unlimited = Backoff::default().with_max(Duration::MAX).with_jitter(1.0);
        assert_eq!(unlimited.pause(u32::MAX, 1.0), Duration::MAX);
        assert_eq!(unlimited.pause(u32::MAX, 0.0), Duration::ZERO);
        let longest = unlimited.with_initial(Duration::MAX).with_factor(f64::MAX);
        assert_eq!(longest.pause(1, 0.5), Duration::MAX);
        assert_eq!(longest.pause(u32::MAX, 0.5), Duration::MAX);
        let flat = Backoff::default().with_factor(1.0).with_jitter(0.0);
        assert_eq!(flat.pause(u32::MAX, 0.5), MS(50));
    }

    #[test]
    fn a_random_number_out_of_range_does_no_harm() {
        let backoff = Backoff::default();
        assert_eq!(backoff.pause(1, 7.0), MS(60));
        assert_eq!(backoff.pause(1, -7.0), MS(40));
    }

    #[test]
    fn every_rule_is_checked() {
        let good = Backoff::default();
        assert_eq!(good.validate(), Ok(()));
        for (bad, field) in [
            (good.with_initial(Duration::ZERO), "backoff.initial"),
            (good.with_factor(0.99), "backoff.factor"),
            (good.with_factor(f64::NAN), "backoff.factor"),
            (good.with_factor(f64::INFINITY), "backoff.factor"),
            (good.with_max(MS(49)), "backoff.max"),
            (good.with_jitter(-0.1), "backoff.jitter"),
            (good.with_jitter(1.1), "backoff.jitter"),
            (good.with_jitter(f64::NAN), "backoff.jitter"),
        ] {
            assert_eq!(bad.validate().unwrap_err().field(), field, "{bad:?}");
        }
        let widest = good.with_initial(Duration::MAX).with_max(Duration::MAX);
        assert_eq!(widest.with_jitter(1.0).validate(), Ok(()));
    }
}
