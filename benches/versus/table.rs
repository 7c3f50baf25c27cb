//! A table for each cell.

use crate::{
    common::units::{nanos, rate, times},
    outcome::{Outcome, Summary},
};

pub(crate) const LEGEND: &str = "\
cycles/s: get and drop, all threads together, median of the rounds; spread: slowest and fastest round
p50 .. max: from the call of get until the connection is there (reading the clock included), all rounds
max~: median over the rounds of the highest wait of each, and p99.9~ likewise
jain: 1 when all threads did the same number of cycles; slow: the slowest thread by the fastest
switches: context switches per cycle";

pub(crate) fn print(outcome: &Outcome) {
    let cell = outcome.cell;
    let pinned = if cell.is_pinned() { ", pinned" } else { "" };
    println!("\n{cell}{pinned}");
    println!(
        "{:16} {:>9} {:>11} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>5} {:>8}",
        "",
        "cycles/s",
        "spread",
        "x r2d2",
        "p50",
        "p99",
        "p99.9",
        "max",
        "p99.9~",
        "max~",
        "jain",
        "slow",
        "switches"
    );
    for summary in &outcome.summaries {
        println!("{}", line(outcome, summary));
    }
}

fn line(outcome: &Outcome, summary: &Summary) -> String {
    let (below, above) = summary.spread();
    let ratio = outcome.ratio(summary.name, "r2d2");
    let all = |quantile| nanos(summary.wait_of_all_rounds(quantile));
    let most = |quantile| nanos(summary.wait_of_most_rounds(quantile));
    format!(
        "{:16} {:>9} {:>11} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6.4} {:>5.2} {:>8}",
        summary.name,
        rate(summary.throughput()),
        format!("{:+.0}% {:+.0}%", below * 100.0, above * 100.0),
        ratio.map_or("-".to_owned(), times),
        all(0.5),
        all(0.99),
        all(0.999),
        all(1.0),
        most(0.999),
        most(1.0),
        summary.median(|round| round.jain),
        summary.median(|round| round.slowest),
        summary
            .switches()
            .map_or("-".to_owned(), |switches| format!("{switches:.4}")),
    )
}
