//! The cost of a pool as it grows, and its share of a request.
//!
//! ```text
//! cargo bench --bench growth                    all of it, one minute
//! cargo bench --bench growth -- sizes sweep     these parts only
//! cargo bench --bench growth -- --test          all of it, small and quick, to see that it works
//! ```
//!
//! Each part prints a table, the requirement, and whether the requirement was met. r2d2 is measured in the
//! same run where both do the same.

mod backends;
mod measure;
mod ramp;
mod sizes;
mod spike;
#[path = "../../tests/support/mod.rs"]
mod support;
mod sweep;
mod waiters;
#[path = "../../tests/wakeups/mod.rs"]
mod wakeups;

use measure::Scale;
use std::{env, process::ExitCode};

/// The parts by name, in the order in which they run.
const PARTS: [(&str, fn(Scale)); 6] = [
    ("sizes", sizes::run),
    ("sweep", sweep::run),
    ("waiters", waiters::run),
    ("ramp", ramp::run),
    ("spike", spike::run),
    ("backends", backends::run),
];

fn main() -> ExitCode {
    let mut scale = Scale::Full;
    let mut wanted = Vec::new();
    for argument in env::args().skip(1) {
        match argument.as_str() {
            // Cargo passes this argument to every benchmark.
            "--bench" => {}
            "--test" => scale = Scale::Quick,
            name if PARTS.iter().any(|(part, _)| *part == name) => wanted.push(argument),
            _ => {
                let parts = PARTS.map(|(part, _)| part).join(", ");
                eprintln!("unknown argument {argument:?}; there are --test and {parts}");
                return ExitCode::from(2);
            }
        }
    }
    for (name, run) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            println!("\n== {name}");
            run(scale);
        }
    }
    ExitCode::SUCCESS
}
