//! A checkout and its check-in, compared with other pools in one process and at the same time.
//!
//! ```text
//! cargo bench --bench versus                     the telling cells, under four minutes
//! cargo bench --bench versus -- 64x10            those of 64 threads on 10 connections
//! cargo bench --bench versus -- --all            the full grid, about half an hour
//! cargo bench --bench versus -- --test           everything once, to see that it works
//! ```
//!
//! A cell is a number of threads, a size of the pool and a hold time. In each cell all pools are measured in
//! turn, round after round, so that a disturbance of the machine affects all of them. Each round runs twice:
//! without reading the clock, for the throughput, and with two readings around each get, for the waits. The
//! connection is a number, every hook returns at once, and all connections are open before the first round,
//! so the result is the cost of the pool alone.
//!
//! "checked" means that each checkout asks the manager whether the connection is alive. deadpool always asks.
//! The floors are no pools: they cannot wait, so they run only where every thread finds a connection.

mod arguments;
mod bars;
mod cell;
mod charts;
#[path = "../common/mod.rs"]
mod common;
mod goals;
mod measure;
#[path = "../nothing/mod.rs"]
mod nothing;
mod outcome;
mod results;
mod subjects;
mod table;

use std::{error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};

use arguments::{Arguments, Asked};
use cell::Cell;
use common::cores;
use outcome::{Outcome, Summary};

/// Runs all rounds of one cell. Each round begins with another subject.
fn compare(cell: Cell, arguments: &Arguments) -> Outcome {
    let subjects = subjects::of(cell);
    let mut rounds: Vec<_> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        for turn in 0..subjects.len() {
            let next = (round + turn) % subjects.len();
            let length = Duration::from_millis(arguments.millis);
            rounds[next].push(subjects[next].round(cell, length));
        }
    }
    let named = subjects.iter().map(|subject| subject.name()).zip(rounds);
    let summaries = named.map(|(name, rounds)| Summary::new(name, rounds));
    Outcome {
        cell,
        summaries: summaries.collect(),
    }
}

/// The folder of the results. A test run has a folder of its own, because its numbers mean nothing.
fn folder(test: bool) -> PathBuf {
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let target = scratch.parent().map(PathBuf::from).unwrap_or_default();
    if test { scratch } else { target }.join("versus")
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let cells = arguments.cells();
    if cells.is_empty() {
        // This is no error: `cargo bench -- WORD` passes the same word to every bench.
        println!("versus: no cell has that name, see --help");
        return Ok(());
    }
    println!(
        "{} cores{}; {} cells, {} rounds of 2 x {} ms",
        cores::count(),
        cores::load().map_or(String::new(), |load| format!(", load {load}")),
        cells.len(),
        arguments.rounds,
        arguments.millis,
    );
    println!("{}", table::LEGEND);
    let mut outcomes = Vec::new();
    for cell in cells {
        let outcome = compare(cell, arguments);
        table::print(&outcome);
        outcomes.push(outcome);
    }
    goals::print(&outcomes);

    let folder = folder(arguments.test);
    let charts = arguments.charts.as_ref().unwrap_or(&folder);
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(charts)?;
    println!();
    for file in results::write(&outcomes, &folder)? {
        println!("results: {}", file.display());
    }
    for file in charts::draw(&outcomes, charts)? {
        println!("chart: {}", file.display());
    }
    if arguments.test {
        println!("this was a test run: the numbers mean nothing");
    }
    Ok(())
}

fn main() -> ExitCode {
    let done = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Asked::Run(arguments)) => run(&arguments),
        Ok(Asked::Help) => {
            println!("{}", arguments::USAGE);
            Ok(())
        }
        Err(refusal) => Err(refusal.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}
