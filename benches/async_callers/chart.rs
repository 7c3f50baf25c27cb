//! The chart of the waits.

use crate::{
    common::{
        cores,
        curves::{self, Curve},
        paint::Drawn,
    },
    outcome::Outcome,
    subjects::SIZE,
};
use std::path::Path;

pub(crate) fn draw(file: &Path, outcome: &Outcome) -> Drawn {
    let summaries = outcome.summaries.iter();
    let curves: Vec<Curve> = summaries
        .map(|summary| Curve {
            name: summary.name,
            waits: (0..4)
                .map(|index| summary.median(|sample| sample.waits[index]))
                .collect(),
        })
        .collect();
    let title = format!(
        "How long {} tasks wait for one of {SIZE} connections",
        outcome.load.tasks
    );
    let rounds = outcome.summaries[0].samples.len();
    let below = format!(
        "each blocks a thread for 1 ms; r2d2 inside spawn_blocking; {} cores, median of {rounds} round{}",
        cores::count(),
        if rounds == 1 { "" } else { "s" },
    );
    let labels = ["p50", "p99", "p99.9", "max"];
    curves::draw(file, &title, &below, &labels, &curves)
}
