//! Numbers as text.

/// Formats nanoseconds with a unit.
pub(crate) fn nanos(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{} us", digits(n / 1e3)),
        n if n < 1e9 => format!("{} ms", digits(n / 1e6)),
        n => format!("{} s", digits(n / 1e9)),
    }
}

pub(crate) fn rate(rate: f64) -> String {
    match rate {
        r if r < 1e3 => format!("{r:.0}"),
        r if r < 1e6 => format!("{} k", digits(r / 1e3)),
        r => format!("{} M", digits(r / 1e6)),
    }
}

pub(crate) fn times(ratio: f64) -> String {
    format!("{}x", digits(ratio))
}

pub(crate) fn digits(value: f64) -> String {
    match value {
        v if v < 0.9995 => format!("{v:.3}"),
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}
