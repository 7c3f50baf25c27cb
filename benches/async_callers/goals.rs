//! The goals of this pool beside the others, and whether they were met.

use crate::{
    common::units::{digits, times},
    outcome::Outcome,
    subjects::SIZE,
};

/// Threads above one for each connection.
const FEW: usize = 4;

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

fn line(what: &str, bound: Bound, measured: f64, write: fn(f64) -> String) -> String {
    let (sign, limit, is_met) = match bound {
        AtLeast(limit) => (">=", limit, measured >= limit),
        AtMost(limit) => ("<=", limit, measured <= limit),
    };
    format!(
        "  {what:48} {:>10} {:>10}  {}",
        format!("{sign} {}", write(limit)),
        write(measured),
        if is_met { "met" } else { "MISSED" },
    )
}

pub(crate) fn print(outcome: &Outcome) {
    let (ours, theirs) = (outcome.of("conpool"), outcome.of("r2d2"));
    let rate = ours.median(|sample| sample.rate) / outcome.best_rate();
    let wait = ours.median(|sample| sample.waits[2]) / theirs.median(|sample| sample.waits[2]);
    let threads = ours.median(|sample| sample.threads);
    let memory = ours.median(|sample| sample.memory) / theirs.median(|sample| sample.memory);
    println!("\nThe goals of conpool with {} tasks", outcome.load.tasks);
    let few = |count: f64| format!("{count:.0}");
    let mut lines = vec![
        line("requests/s by the best", AtLeast(0.98), rate, times),
        line("threads", AtMost((SIZE + FEW) as f64), threads, few),
    ];
    if outcome.load.tasks > SIZE {
        let name = "p99.9 of the wait by spawn_blocking + r2d2";
        lines.push(line(name, AtMost(1.0 / 3.0), wait, times));
        let name = "memory by spawn_blocking + r2d2";
        lines.push(line(name, AtMost(0.1), memory, digits));
    }
    lines.iter().for_each(|line| println!("{line}"));
}
