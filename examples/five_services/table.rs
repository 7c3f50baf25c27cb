//! Prints a line for each service once a second.

use crate::{services::Service, tally::Phase};
use std::{fmt, time::Duration};

pub(crate) fn draw(second: u32, phase: Phase, services: &[Service]) {
    let headline = match phase {
        Phase::Before => "all are up",
        Phase::Outage => "one is DOWN",
        Phase::After => "all are up again",
    };
    println!(
        "{second:>3} s  {:>7}{:>10}{:>10}{:>8}{:>8}{:>6}{:>7}  {:<10}  {headline}",
        "gets", "reuse", "p99 wait", "errors", "in use", "idle", "leaks", "health"
    );
    for service in services {
        let (stats, (gets, p99)) = (service.pool.stats(), service.tally.recent());
        let (suspected, resolved) = service.leaks.count();
        println!(
            "{:<7}{gets:>7}{:>8.2} %{:>10}{:>8}{:>8}{:>6}{:>7}  {}",
            service.name,
            stats.reuse_rate() * 100.0,
            Short(p99).to_string(),
            service.tally.failed(),
            format!("{}/{}", stats.in_use, stats.max_size),
            stats.idle,
            suspected.saturating_sub(resolved),
            stats.health
        );
    }
    println!();
}

/// Formats a duration in a fitting unit.
pub(crate) struct Short(pub(crate) Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() {
            micros @ 0..=999 => write!(f, "{micros} µs"),
            1_000..=9_999 => write!(f, "{:.1} ms", self.0.as_secs_f64() * 1e3),
            10_000..=999_999 => write!(f, "{} ms", self.0.as_millis()),
            _ => write!(f, "{:.1} s", self.0.as_secs_f64()),
        }
    }
}
