//! The charts of the README. A chart is drawn when all of its cells were run.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use crate::{
    bars::{self, Group},
    cell::{
        self, Cell,
        Hold::{Nothing, Sleep},
    },
    common::{
        cores,
        curves::{self, Curve},
        paint::Drawn,
    },
    outcome::Outcome,
};

/// Draws the charts and returns the files written.
pub(crate) fn draw(outcomes: &[Outcome], folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut telling = cell::subset();
    telling.retain(|cell| cell.hold == Nothing);
    let mut files = Vec::new();
    if let Some(outcomes) = chosen(outcomes, &telling) {
        files.push(folder.join("throughput.svg"));
        let title = "Checkouts per second, as a multiple of r2d2";
        ratios(&files[files.len() - 1], title, &outcomes)?;
    }
    if let Some(outcomes) = chosen(outcomes, &[Cell::new(64, 10, Sleep)]) {
        files.push(folder.join("tail.svg"));
        tail(&files[files.len() - 1], outcomes[0])?;
    }
    if let Some(outcomes) = chosen(outcomes, &cell::public()) {
        files.push(folder.join("public.svg"));
        let title = "Checkouts per second on the grid that other pools publish";
        ratios(&files[files.len() - 1], title, &outcomes)?;
    }
    Ok(files)
}

/// The outcomes of those cells, if all were run.
fn chosen<'a>(outcomes: &'a [Outcome], cells: &[Cell]) -> Option<Vec<&'a Outcome>> {
    let found = |cell: &Cell| outcomes.iter().find(|outcome| outcome.cell == *cell);
    cells.iter().map(found).collect()
}

fn ratios(file: &Path, title: &str, outcomes: &[&Outcome]) -> Drawn {
    let pools = ["conpool", "conpool checked", "deadpool", "bb8"];
    let groups: Vec<Group> = outcomes
        .iter()
        .map(|outcome| Group {
            label: format!("{} on {}", outcome.cell.threads, outcome.cell.size),
            ratios: pools
                .iter()
                .filter_map(|pool| outcome.ratio(pool, "r2d2"))
                .collect(),
        })
        .collect();
    let below = format!(
        "given back at once; no checks unless said; {}",
        how(outcomes)
    );
    bars::draw(file, title, &below, &pools, &groups)
}

fn tail(file: &Path, outcome: &Outcome) -> Drawn {
    let quantiles = [0.5, 0.99, 0.999, 1.0];
    let curves: Vec<Curve> = ["conpool", "r2d2", "deadpool", "bb8"]
        .into_iter()
        .filter_map(|name| {
            let summary = outcome.of(name)?;
            let waits = quantiles.map(|quantile| summary.wait_of_most_rounds(quantile));
            Some(Curve {
                name,
                waits: waits.to_vec(),
            })
        })
        .collect();
    let title = "How long 64 threads wait for one of 10 connections";
    let below = format!("each held for a sleep of 100 us; {}", how(&[outcome]));
    let labels = ["p50", "p99", "p99.9", "max"];
    curves::draw(file, title, &below, &labels, &curves)
}

/// Describes how the numbers were measured.
fn how(outcomes: &[&Outcome]) -> String {
    let rounds = outcomes[0].summaries[0].rounds.len();
    let plural = if rounds == 1 { "" } else { "s" };
    format!("{} cores, median of {rounds} round{plural}", cores::count())
}
