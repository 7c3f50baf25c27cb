//! The goals of this pool beside the others on a machine of two cores, and the results.

use crate::{
    cell::{
        Cell,
        Hold::{Nothing, Sleep, Spin},
    },
    common::units::{digits, nanos, times},
    outcome::{Outcome, Summary},
};

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

struct Goal {
    cell: Cell,
    what: &'static str,
    bound: Bound,
    /// Formats the goal's numbers.
    write: fn(f64) -> String,
    /// `None` where the goal's cells were not run.
    measured: Option<f64>,
}

impl Goal {
    fn is_met(&self, measured: f64) -> bool {
        match self.bound {
            AtLeast(bound) => measured >= bound,
            AtMost(bound) => measured <= bound,
        }
    }

    fn line(&self, measured: f64) -> String {
        let bound = match self.bound {
            AtLeast(bound) => format!(">= {}", (self.write)(bound)),
            AtMost(bound) => format!("<= {}", (self.write)(bound)),
        };
        format!(
            "{:28} {:44} {bound:>12} {:>10}  {}",
            self.cell.to_string(),
            self.what,
            (self.write)(measured),
            if self.is_met(measured) { "yes" } else { "NO" },
        )
    }
}

/// Prints the goals whose cells were run.
pub(crate) fn print(outcomes: &[Outcome]) {
    let goals = Measured(outcomes).goals();
    let total = goals.len();
    let run: Vec<(f64, Goal)> = goals
        .into_iter()
        .filter_map(|goal| Some((goal.measured?, goal)))
        .collect();
    if !run.is_empty() {
        println!(
            "\nThe goals of conpool beside r2d2, no checks; waits are medians over the rounds"
        );
        println!("{:28} {:44} {:>12} {:>10}  met", "", "", "goal", "measured");
    }
    for (measured, goal) in &run {
        println!("{}", goal.line(*measured));
    }
    let met = run.iter().filter(|(measured, goal)| goal.is_met(*measured));
    println!(
        "\n{} of {} goals met, {} not run",
        met.count(),
        run.len(),
        total - run.len()
    );
}

struct Measured<'a>(&'a [Outcome]);

impl Measured<'_> {
    fn at(&self, cell: Cell) -> Option<&Outcome> {
        self.0.iter().find(|outcome| outcome.cell == cell)
    }

    fn ours(&self, cell: Cell) -> Option<&Summary> {
        self.at(cell)?.of("conpool")
    }

    fn throughput(&self, cell: Cell) -> Option<f64> {
        self.at(cell)?.ratio("conpool", "r2d2")
    }

    /// The ratio of a wait of conpool to the same wait of r2d2.
    fn wait(&self, cell: Cell, quantile: f64) -> Option<f64> {
        let theirs = self.at(cell)?.of("r2d2")?.wait_of_most_rounds(quantile);
        Some(self.ours(cell)?.wait_of_most_rounds(quantile) / theirs)
    }

    fn goals(&self) -> Vec<Goal> {
        let mut goals = self.warm();
        goals.extend(self.sleepers());
        goals.extend(self.spinners(16, 4));
        goals.extend(self.spinners(64, 10));
        goals.extend(self.stretch());
        goals
    }

    fn warm(&self) -> Vec<Goal> {
        let cell = |threads, size| Cell::new(threads, size, Nothing);
        let faster = |cell, bound| goal(cell, THROUGHPUT, AtLeast(bound), self.throughput(cell));
        let (one, two) = (cell(1, 10), cell(2, 10));
        let floor = self
            .at(one)
            .and_then(|outcome| outcome.ratio("Mutex<Vec>", "conpool"));
        let single = self.ours(one).map(Summary::throughput);
        let double = self.ours(two).map(Summary::throughput);
        let scaled = double.zip(single).map(|(double, single)| double / single);
        vec![
            faster(one, 8.0),
            goal(
                one,
                "time of a cycle by that of a bare Mutex<Vec>",
                AtMost(0.6),
                floor,
            ),
            faster(two, 50.0),
            goal(
                two,
                "throughput by its own on 1 thread",
                AtLeast(1.8),
                scaled,
            ),
            faster(cell(64, 64), 50.0),
        ]
    }

    fn sleepers(&self) -> Vec<Goal> {
        let cell = Cell::new(64, 10, Sleep);
        let ours = self.ours(cell);
        let even = ours.map(|ours| ours.wait_of_most_rounds(0.99) / ours.wait_of_most_rounds(0.5));
        let jain = ours.map(|ours| ours.median(|round| round.jain));
        let mut fair = goal(cell, "Jain index", AtLeast(0.999), jain);
        fair.write = |jain| format!("{jain:.4}");
        vec![
            goal(cell, THROUGHPUT, AtLeast(0.95), self.throughput(cell)),
            goal(cell, "p99 by its own p50", AtMost(1.3), even),
            goal(
                cell,
                "p99.9 by that of r2d2",
                AtMost(1.0 / 6.0),
                self.wait(cell, 0.999),
            ),
            goal(
                cell,
                "max by that of r2d2",
                AtMost(1.0 / 8.0),
                self.wait(cell, 1.0),
            ),
            fair,
        ]
    }

    fn spinners(&self, threads: usize, size: usize) -> Vec<Goal> {
        let cell = Cell::new(threads, size, Spin);
        let slowest = self
            .ours(cell)
            .map(|ours| ours.median(|round| round.slowest));
        let mut fair = goal(cell, "slowest thread by the fastest", AtLeast(0.4), slowest);
        fair.write = digits;
        vec![
            goal(cell, THROUGHPUT, AtLeast(0.9), self.throughput(cell)),
            goal(
                cell,
                "p99.9 by that of r2d2",
                AtMost(1.0 / 3.0),
                self.wait(cell, 0.999),
            ),
            fair,
        ]
    }

    fn stretch(&self) -> Vec<Goal> {
        let cell = Cell::new(2, 1, Spin);
        let tail = self.ours(cell).map(|ours| ours.wait_of_most_rounds(0.999));
        let mut tail = goal(cell, "p99.9 (stretch)", AtMost(30_000.0), tail);
        tail.write = nanos;
        let throughput = self.throughput(cell);
        vec![
            tail,
            goal(
                cell,
                "throughput by that of r2d2 (stretch)",
                AtLeast(1.0),
                throughput,
            ),
        ]
    }
}

const THROUGHPUT: &str = "throughput by that of r2d2";

fn goal(cell: Cell, what: &'static str, bound: Bound, measured: Option<f64>) -> Goal {
    Goal {
        cell,
        what,
        bound,
        write: times,
        measured,
    }
}
