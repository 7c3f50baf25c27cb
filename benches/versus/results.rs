//! The results as CSV: a line for each subject, and a line for each of its rounds.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::outcome::{Outcome, Summary};

const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];
const WHERE: &str = "threads,size,hold_us,subject";
const WHAT: &str =
    "cycles_per_second,p50_ns,p99_ns,p999_ns,max_ns,jain,slowest_to_fastest,switches_per_cycle";

pub(crate) fn write(outcomes: &[Outcome], folder: &Path) -> io::Result<[PathBuf; 2]> {
    let mut totals = vec![format!(
        "{WHERE},rounds,{WHAT},slowest_round,fastest_round,times_r2d2,p999_ns_median,max_ns_median"
    )];
    let mut rounds = vec![format!("{WHERE},round,{WHAT}")];
    for outcome in outcomes {
        for summary in &outcome.summaries {
            let place = format!(
                "{},{},{},{}",
                outcome.cell.threads,
                outcome.cell.size,
                outcome.cell.hold.micros(),
                summary.name
            );
            let fields = total(outcome, summary).join(",");
            totals.push(format!("{place},{fields}"));
            for (number, round) in summary.rounds.iter().enumerate() {
                let mut fields = vec![number.to_string(), format!("{:.0}", round.throughput)];
                let waits = QUANTILES.map(|quantile| round.wait_nanos(quantile).to_string());
                fields.extend(waits);
                fields.extend([round.jain, round.slowest].map(|share| format!("{share:.6}")));
                fields.push(optional(round.switches));
                rounds.push(format!("{place},{}", fields.join(",")));
            }
        }
    }
    let files = ["versus.csv", "versus-rounds.csv"].map(|name| folder.join(name));
    fs::write(&files[0], totals.join("\n") + "\n")?;
    fs::write(&files[1], rounds.join("\n") + "\n")?;
    Ok(files)
}

fn total(outcome: &Outcome, summary: &Summary) -> Vec<String> {
    let median = summary.throughput();
    let mut fields = vec![summary.rounds.len().to_string(), format!("{median:.0}")];
    let waits = QUANTILES.map(|quantile| summary.wait_of_all_rounds(quantile).to_string());
    fields.extend(waits);
    let jain = summary.median(|round| round.jain);
    let slowest = summary.median(|round| round.slowest);
    fields.extend([jain, slowest].map(|share| format!("{share:.6}")));
    fields.push(optional(summary.switches()));
    let (below, above) = summary.spread();
    let ends = [below, above].map(|share| format!("{:.0}", median * (1.0 + share)));
    fields.extend(ends);
    fields.push(optional(outcome.ratio(summary.name, "r2d2")));
    let most = [0.999, 1.0].map(|quantile| summary.wait_of_most_rounds(quantile).to_string());
    fields.extend(most);
    fields
}

/// An empty text for a value that could not be measured.
fn optional(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.6}"))
}
