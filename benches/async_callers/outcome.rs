//! All rounds under one load.

use crate::load::{Load, Sample};

pub(crate) struct Summary {
    pub(crate) name: &'static str,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) struct Outcome {
    pub(crate) load: Load,
    pub(crate) summaries: Vec<Summary>,
}

impl Summary {
    /// Returns the median over the rounds.
    pub(crate) fn median(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<f64> = self.samples.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    /// Returns the requests without a connection, of all rounds.
    pub(crate) fn failed(&self) -> f64 {
        self.samples.iter().map(|sample| sample.failed).sum()
    }
}

impl Outcome {
    pub(crate) fn of(&self, name: &str) -> &Summary {
        let mut summaries = self.summaries.iter();
        summaries
            .find(|summary| summary.name == name)
            .expect("every subject was measured")
    }

    /// Returns the highest rate of a subject.
    pub(crate) fn best_rate(&self) -> f64 {
        let rates = self.summaries.iter();
        let rates = rates.map(|summary| summary.median(|sample| sample.rate));
        rates.fold(0.0, f64::max)
    }
}
