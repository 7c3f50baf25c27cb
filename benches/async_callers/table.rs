//! The tables.

use crate::{
    cancelled::{Aftermath, Crowd, QUICK},
    common::units::{nanos, rate},
    outcome::{Outcome, Summary},
    subjects::SIZE,
};

pub(crate) const LEGEND: &str = "\
requests/s: of all tasks together; spread: slowest and fastest round
wait: from the start of a request until its closure begins with a connection; whole: until its task goes on
threads: the most at a time, without those of the runtime; memory: its growth at its highest, by task
each figure is the median over the rounds";

/// The name of a subject in the tables.
fn title(name: &str) -> &str {
    match name {
        "conpool" => "conpool interact",
        "r2d2" => "spawn_blocking + r2d2",
        "bb8" => "bb8 + spawn_blocking",
        _ => "deadpool interact",
    }
}

pub(crate) fn print(outcome: &Outcome) {
    let load = outcome.load;
    println!(
        "\n{} tasks on {SIZE} connections, {} requests each",
        load.tasks, load.requests
    );
    println!(
        "{:22}{:>10}{:>11}{:>9}{:>9}{:>9}{:>9}{:>11}{:>9}{:>9}{:>9}{:>8}{:>9}",
        "",
        "requests/s",
        "spread",
        "wait p50",
        "p99",
        "p99.9",
        "max",
        "whole p50",
        "p99",
        "p99.9",
        "max",
        "threads",
        "memory"
    );
    for summary in &outcome.summaries {
        println!("{}", line(summary));
    }
}

fn line(summary: &Summary) -> String {
    let middle = summary.median(|sample| sample.rate);
    let rates = || summary.samples.iter().map(|sample| sample.rate);
    let spread = [
        rates().fold(f64::INFINITY, f64::min),
        rates().fold(0.0, f64::max),
    ];
    let spread = spread.map(|end| (end / middle - 1.0) * 100.0);
    let wait = |index: usize| nanos(summary.median(|sample| sample.waits[index]));
    let whole = |index: usize| nanos(summary.median(|sample| sample.wholes[index]));
    let failed = match summary.failed() {
        0.0 => String::new(),
        failed => format!("  {failed} FAILED"),
    };
    format!(
        "{:22}{:>10}{:>11}{:>9}{:>9}{:>9}{:>9}{:>11}{:>9}{:>9}{:>9}{:>8}{:>9}{failed}",
        title(summary.name),
        rate(middle),
        format!("{:+.0}% {:+.0}%", spread[0], spread[1]),
        wait(0),
        wait(1),
        wait(2),
        wait(3),
        whole(0),
        whole(1),
        whole(2),
        whole(3),
        summary.median(|sample| sample.threads),
        format!("{:.0} B", summary.median(|sample| sample.memory)),
    )
}

pub(crate) fn print_cancelled(crowd: Crowd, rows: &[(&str, Aftermath)]) {
    let patience = nanos(crowd.patience.as_nanos() as f64);
    println!(
        "\n{} requests of {} on {SIZE} connections, each given up after {patience}; then {QUICK} quick requests with \
         the same limit",
        crowd.requests,
        nanos(crowd.hold.as_nanos() as f64),
    );
    println!(
        "{:22}{:>12}{:>9}{:>9}{:>14}{:>10}{:>12}",
        "", "slow served", "threads", "waiting", "quick served", "longest", "ran in vain"
    );
    for (name, after) in rows {
        let waiting = match after.waiting {
            waiting if waiting < 0.0 => "?".to_owned(),
            waiting => waiting.to_string(),
        };
        let longest = match after.quick {
            0.0 => "-".to_owned(),
            _ => nanos(after.longest),
        };
        println!(
            "{:22}{:>12}{:>9}{waiting:>9}{:>14}{longest:>10}{:>12}",
            title(name),
            after.served,
            after.threads,
            format!("{} of {QUICK}", after.quick),
            after.in_vain,
        );
    }
}
