//! Durations as people read them: rounded, one unit.

use std::{fmt, time::Duration};

/// Shows a duration in its largest fitting unit: `30s`, `1.5s`, `250ms`, `12µs`, `0s`.
///
/// Below ten of a unit one decimal is kept, above none: the numbers say how long something took,
/// and the scheduling noise behind them says nothing.
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        // The borders lie where rounding would print a thousand of the smaller unit.
        let (unit, name) = match nanos {
            0 => return f.write_str("0s"),
            1..=999 => (1, "ns"),
            1_000..=999_499 => (1_000, "µs"),
            999_500..=999_499_999 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let tenths = (nanos * 10 + unit / 2) / unit;
        if tenths < 100 && tenths % 10 != 0 {
            write!(f, "{}.{}{name}", tenths / 10, tenths % 10)
        } else {
            write!(f, "{}{name}", (nanos + unit / 2) / unit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_fits_and_the_noise_is_gone() {
        for (nanos, text) in [
            (0, "0s"),
            (850, "850ns"),
            (1_500, "1.5µs"),
            (999_499, "999µs"),
            (999_500, "1ms"),
            (50_083_000, "50ms"),
            (250_400_000, "250ms"),
            (999_500_000, "1s"),
            (1_503_000_000, "1.5s"),
            (9_960_000_000, "10s"),
            (30_000_321_000, "30s"),
            (3_600_000_000_000, "3600s"),
        ] {
            assert_eq!(Rounded(Duration::from_nanos(nanos)).to_string(), text);
        }
    }

    #[test]
    fn the_longest_duration_does_not_overflow() {
        assert_eq!(Rounded(Duration::MAX).to_string(), "18446744073709551616s");
    }
}
