//! The combined rounds of a cell.

use crate::{
    cell::Cell,
    measure::{Round, Waits, no_waits},
};

/// All rounds of one subject in one cell.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<Round>,
    /// The merged waits of all rounds.
    pub(crate) waits: Waits,
}

impl Summary {
    pub(crate) fn new(name: &'static str, rounds: Vec<Round>) -> Self {
        let mut waits = no_waits();
        for round in &rounds {
            waits.add(&round.waits).expect("the same bounds");
        }
        Self {
            name,
            rounds,
            waits,
        }
    }

    pub(crate) fn median(&self, what: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(what).collect())
    }

    pub(crate) fn throughput(&self) -> f64 {
        self.median(|round| round.throughput)
    }

    /// The distance of the slowest and the fastest round from the median, as shares of it.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let rounds = self.rounds.iter().map(|round| round.throughput);
        let least = rounds.clone().fold(f64::INFINITY, f64::min);
        let most = rounds.fold(0.0, f64::max);
        let median = self.throughput();
        (least / median - 1.0, most / median - 1.0)
    }

    /// The wait that most rounds did not exceed. One stall of the scheduler raises the maximum, but not this
    /// value.
    pub(crate) fn wait_of_most_rounds(&self, quantile: f64) -> f64 {
        self.median(|round| round.wait_nanos(quantile))
    }

    pub(crate) fn wait_of_all_rounds(&self, quantile: f64) -> f64 {
        self.waits.value_at_quantile(quantile) as f64
    }

    pub(crate) fn switches(&self) -> Option<f64> {
        let rounds: Option<Vec<f64>> = self.rounds.iter().map(|round| round.switches).collect();
        rounds.map(median)
    }
}

/// All subjects of one cell.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) cell: Cell,
    pub(crate) summaries: Vec<Summary>,
}

impl Outcome {
    pub(crate) fn of(&self, name: &str) -> Option<&Summary> {
        self.summaries.iter().find(|summary| summary.name == name)
    }

    /// The ratio of the throughput of `name` to that of `to`: the median over the rounds, each compared
    /// within itself.
    pub(crate) fn ratio(&self, name: &str, to: &str) -> Option<f64> {
        let (rounds, others) = (&self.of(name)?.rounds, &self.of(to)?.rounds);
        let pairs = rounds.iter().zip(others);
        let ratios = pairs.map(|(round, other)| round.throughput / other.throughput);
        Some(median(ratios.collect()))
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
