//! A driver that blocks, used by the tasks of an async runtime, on four pools.
//!
//! ```text
//! cargo bench --bench async_callers                   four minutes
//! cargo bench --bench async_callers -- cancelled      this part only
//! cargo bench --bench async_callers -- --test         small and quick, to see that it works
//! ```
//!
//! # load
//!
//! 10, 1 000 and 10 000 tasks share 10 connections. Each task does its requests in turn, and each request blocks a
//! thread for 1 ms, with `std::thread::sleep` and without the slack of the system's timers. So at most 10 000 requests
//! complete in a second. 10 tasks never wait for long; of the others, nearly all wait all the time. Each round measures each subject in a process of its
//! own, so that threads and memory are those of one subject. The memory is what the process itself has written. The
//! kernel's part of a thread, its stack of 16 KiB and its page tables, does not count.
//!
//! # cancelled
//!
//! 700 requests occupy a connection for 400 ms each, and their clients give up after 1 s. Five quick requests of 1 ms
//! follow at once.
//!
//! # Settings
//!
//! All subjects run on a tokio runtime with two workers and at most 512 threads for `spawn_blocking`, which is the
//! default. Each pool has 10 connections, all open before the first request, no check at checkout, and a limit of 60 s
//! for a wait, which no request reaches; a request that failed would be counted. Every other setting is the default.
//!
//! - *conpool*: `interact`, with the default fairness: a caller may overtake the head of the queue for 500 µs.
//! - *spawn_blocking + r2d2*: `spawn_blocking(|| pool.get())`, and the work in the same closure.
//! - *bb8 + spawn_blocking*: the task awaits the checkout, so that only a request with a connection occupies a thread.
//!   The closure gives the connection back. `block_in_place` is the alternative.
//! - *deadpool interact*: `SyncWrapper::interact` of deadpool-sync, which runs the closure in `spawn_blocking`. The task
//!   gives the connection back, because the API returns it there. deadpool has no default limit for a wait, and always
//!   asks its manager whether the object is usable; the manager asks the mutex of the wrapper.

mod arguments;
mod cancelled;
mod chart;
mod child;
#[path = "../common/mod.rs"]
mod common;
mod driver;
mod goals;
mod load;
mod outcome;
mod subjects;
mod table;
mod usage;

use arguments::{Arguments, Asked};
use cancelled::Crowd;
use common::cores;
use load::Load;
use outcome::{Outcome, Summary};
use std::{env, error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};
use subjects::{NAMES, SIZE};

fn loads(test: bool) -> [Load; 3] {
    let load = |tasks, requests| Load { tasks, requests };
    match test {
        true => [load(SIZE, 20), load(50, 5), load(500, 1)],
        false => [load(SIZE, 1_500), load(1_000, 40), load(10_000, 4)],
    }
}

fn crowd(test: bool) -> Crowd {
    let crowd = |requests, hold, patience| Crowd {
        requests,
        hold: Duration::from_millis(hold),
        patience: Duration::from_millis(patience),
    };
    match test {
        true => crowd(100, 20, 50),
        false => crowd(700, 400, 1_000),
    }
}

/// Runs all rounds under one load. Each round begins with another subject.
fn compare(load: Load, rounds: usize) -> Result<Outcome, Box<dyn Error>> {
    let mut summaries = NAMES.map(|name| Summary {
        name,
        samples: Vec::new(),
    });
    for round in 0..rounds {
        for turn in 0..summaries.len() {
            let next = (round + turn) % summaries.len();
            let sample = child::sample(summaries[next].name, load)?;
            summaries[next].samples.push(sample);
        }
    }
    let summaries = summaries.into();
    Ok(Outcome { load, summaries })
}

/// The folder of the chart. A test run has a folder of its own, because its numbers mean nothing.
fn folder(test: bool) -> PathBuf {
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let target = scratch.parent().map(PathBuf::from).unwrap_or_default();
    if test { scratch } else { target }.join("async_callers")
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    println!(
        "{} cores{}; rounds: {}",
        cores::count(),
        cores::load().map_or(String::new(), |load| format!(", load {load}")),
        arguments.rounds,
    );
    if arguments.has("load") {
        println!("{}", table::LEGEND);
        let mut outcomes = Vec::new();
        for load in loads(arguments.test) {
            let outcome = compare(load, arguments.rounds)?;
            table::print(&outcome);
            outcomes.push(outcome);
        }
        outcomes.iter().for_each(goals::print);
        let folder = folder(arguments.test);
        let folder = arguments.charts.as_ref().unwrap_or(&folder);
        fs::create_dir_all(folder)?;
        let file = folder.join("async_callers.svg");
        chart::draw(&file, &outcomes[1])?;
        println!("\nchart: {}", file.display());
    }
    if arguments.has("cancelled") {
        let crowd = crowd(arguments.test);
        let mut rows = Vec::new();
        for name in NAMES {
            rows.push((name, child::aftermath(name, crowd)?));
        }
        table::print_cancelled(crowd, &rows);
    }
    if arguments.test {
        println!("\nthis was a test run: the numbers mean nothing");
    }
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((first, words)) if first == child::CHILD => child::main(words),
        _ => match Arguments::parse(words.into_iter()) {
            Ok(Asked::Run(arguments)) => run(&arguments),
            Ok(Asked::Help) => {
                println!("{}", arguments::USAGE);
                Ok(())
            }
            Err(refusal) => Err(refusal.into()),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("async_callers: {error}");
            ExitCode::FAILURE
        }
    }
}
