//! The table of the run.

use crate::{
    CONNECTIONS, Run,
    service::Service,
    tally::{Phase, PhaseTally},
    waits::Waits,
};
use conpool::PoolStats;
use std::{
    fmt::{self, Display},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

pub(crate) fn print(run: &Run, service: &Service, threads: Option<usize>, stats: &PoolStats) {
    let tally = &run.tally;
    println!(
        "{:<14}{:>10}{:>10}{:>11}{:>10}{:>10}{:>10}",
        "the folder is", "answered", "failed", "cancelled", "p50", "p99", "p99.9"
    );
    let mut waits = Waits::default();
    for phase in Phase::ALL {
        let name = match phase {
            Phase::Before => "there",
            Phase::Away => "AWAY",
            Phase::Back => "back",
        };
        let tally = &tally.phases[phase as usize];
        line(name, tally, &tally.waits);
        waits.absorb(&mut tally.waits.clone());
    }
    let all = PhaseTally {
        answered: tally.sum(|phase| phase.answered),
        failed: tally.sum(|phase| phase.failed),
        cancelled: tally.sum(|phase| phase.cancelled),
        ..PhaseTally::default()
    };
    line("all", &all, &waits);
    println!();

    let row = |name: &str, value: &dyn Display| println!("{name:<14}  {value}");
    let secs = run.took.as_secs_f64();
    let requests = tally.requests();
    row(
        "requests",
        &format!(
            "{requests} in {secs:.1} s, {:.0} a second",
            requests as f64 / secs
        ),
    );
    let kinds = tally.failed.iter();
    let kinds: Vec<_> = kinds
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    row("failed", &kinds.join(", "));
    let handlers = &service.handlers;
    row(
        "handlers",
        &format!(
            "{} begun, {} answered, {} dropped by axum",
            handlers.begun.load(Relaxed),
            handlers.answered.load(Relaxed),
            handlers.dropped.load(Relaxed)
        ),
    );
    match threads {
        Some(threads) => row(
            "threads",
            &format!("{threads} at the peak beside the runtime's, for {CONNECTIONS} connections"),
        ),
        None => row("threads", &"not told by this system"),
    }
    row("pool", stats);
    println!();
}

fn line(name: &str, tally: &PhaseTally, waits: &Waits) {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| match waits.count() {
        0 => "-".to_owned(),
        _ => Short(waits.percentile(share)).to_string(),
    });
    println!(
        "{name:<14}{:>10}{:>10}{:>11}{p50:>10}{p99:>10}{p999:>10}",
        tally.answered, tally.failed, tally.cancelled
    );
}

/// Formats a duration in a fitting unit.
pub(crate) struct Short(pub(crate) Duration);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() {
            micros @ 0..=999 => write!(f, "{micros} µs"),
            1_000..=9_999 => write!(f, "{:.1} ms", self.0.as_secs_f64() * 1e3),
            10_000..=999_999 => write!(f, "{} ms", self.0.as_millis()),
            _ => write!(f, "{:.1} s", self.0.as_secs_f64()),
        }
    }
}
