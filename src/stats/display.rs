//! Statistics as one line: counts since the pool was built, or the rates of a window.

use super::PoolStats;
use crate::info::LongestHolders;
use crate::rounded::Rounded;
use std::fmt;

/// Displays as one line. A window displays its length, and rates per second in place of counts.
impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {:?}", self.name)?;
        if let Some(window) = self.window {
            write!(f, " over {}", Rounded(window))?;
        }
        write!(
            f,
            ": size {}/{}: {} idle, {} in use, {} creating",
            self.size, self.max_size, self.idle, self.in_use, self.creating
        )?;
        if self.disposing > 0 {
            write!(f, ", {} disposing", self.disposing)?;
        }
        if self.abandoned > 0 {
            write!(f, ", {} abandoned", self.abandoned)?;
        }
        let amount = |count| Amount { stats: self, count };
        write!(
            f,
            "; waiters {}; gets {} ({} waited, {} timed out, {} saturated); created {}, failed {}, \
             evicted {}, disposed {}; wait {}",
            self.waiters,
            amount(self.gets),
            amount(self.gets_waited),
            amount(self.timeouts),
            amount(self.saturated),
            amount(self.created),
            amount(self.create_errors),
            amount(self.evictions.iter().sum()),
            amount(self.disposed),
            self.wait
        )?;
        let (holders, more) = (&self.longest_holders, self.more_holders);
        write!(f, "{}", LongestHolders { holders, more })
    }
}

/// A counter: displays as a rate in a window, and as a count otherwise.
struct Amount<'a> {
    stats: &'a PoolStats,
    count: u64,
}

impl fmt::Display for Amount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stats.window {
            None => write!(f, "{}", self.count),
            Some(_) => write!(f, "{}/s", TwoDigits(self.stats.per_second(self.count))),
        }
    }
}

/// Displays a rate with at least two significant digits, so that one timeout in an hour does not read as none.
struct TwoDigits(f64);

impl fmt::Display for TwoDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut decimals, mut bound) = (0, 9.95);
        while self.0 > 0.0 && self.0 < bound && decimals < 9 {
            decimals += 1;
            bound /= 10.0;
        }
        let digits = format!("{:.decimals$}", self.0);
        f.write_str(match decimals {
            0 => &digits,
            _ => digits.trim_end_matches('0').trim_end_matches('.'),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EvictReason;
    use std::time::Duration;

    fn orders() -> PoolStats {
        PoolStats {
            name: "orders".into(),
            max_size: 10,
            size: 7,
            idle: 5,
            in_use: 2,
            gets: 1200,
            gets_waited: 3,
            created: 9,
            ..PoolStats::default()
        }
    }

    #[test]
    fn display_is_one_line_with_the_numbers() {
        let mut stats = PoolStats {
            disposed: 2,
            ..orders()
        };
        stats.evictions[EvictReason::Cleared.index()] = 2;
        assert_eq!(
            stats.to_string(),
            "pool \"orders\": size 7/10: 5 idle, 2 in use, 0 creating; waiters 0; \
             gets 1200 (3 waited, 0 timed out, 0 saturated); \
             created 9, failed 0, evicted 2, disposed 2; wait none"
        );
        stats.disposing = 1;
        stats.abandoned = 4;
        let text = stats.to_string();
        assert!(text.contains("0 creating, 1 disposing, 4 abandoned; waiters 0;"));
    }

    #[test]
    fn a_window_displays_its_length_and_rates_per_second() {
        let mut stats = PoolStats {
            timeouts: 1,
            window: Some(Duration::from_secs(60)),
            ..orders()
        };
        stats.evictions[EvictReason::Cleared.index()] = 120;
        assert_eq!(
            stats.to_string(),
            "pool \"orders\" over 60s: size 7/10: 5 idle, 2 in use, 0 creating; waiters 0; \
             gets 20/s (0.05/s waited, 0.017/s timed out, 0/s saturated); \
             created 0.15/s, failed 0/s, evicted 2/s, disposed 0/s; wait none"
        );
    }

    #[test]
    fn rates_have_two_significant_digits_and_are_zero_only_without_events() {
        for (rate, text) in [
            (0.0, "0"),
            (1.0 / 86_400.0, "0.000012"),
            (0.0999, "0.1"),
            (0.5, "0.5"),
            (1.04, "1"),
            (9.94, "9.9"),
            (9.96, "10"),
            (10.0, "10"),
            (1234.4, "1234"),
            (70_000_000.0, "70000000"),
        ] {
            assert_eq!(TwoDigits(rate).to_string(), text);
        }
    }
}
