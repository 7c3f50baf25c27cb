//! The command line's arguments.

use std::{iter::Peekable, path::PathBuf};

use crate::cell::{self, Cell};

pub(crate) const USAGE: &str = "\
cargo bench --bench versus -- [OPTIONS] [CELL ...]

CELL          only the cells of these names: 64x10 (threads x size), 1us (hold), or 64x10@1us
--all         the full grid: threads 1, 2, 4, 8, 16, 64 x size 1, 2, 4, 10, 64, 1000 x hold 0, 1us, 100us
--public      the grid that other pools publish: 8x{2,4,8}, 16x{4,8,16}, 32x{8,16,32}
--rounds N    how often each pool is measured in a cell (5)
--millis N    how long each of the two runs of a round takes, at most 10000 (200)
--charts DIR  where the charts go (target/versus, as the results)
--test        each cell once for some milliseconds; also without the --bench that cargo bench passes";

/// Pools time out a get after 30 s, so a run must end long before.
const LONGEST: u64 = 10_000;

#[derive(Debug)]
pub(crate) enum Asked {
    Run(Arguments),
    Help,
}

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) test: bool,
    pub(crate) rounds: usize,
    pub(crate) millis: u64,
    pub(crate) charts: Option<PathBuf>,
    all: bool,
    public: bool,
    names: Vec<String>,
}

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut words = words.peekable();
        let (mut bench, mut test, mut all, mut public) = (false, false, false, false);
        let (mut rounds, mut millis, mut charts, mut names) = (None, None, None, Vec::new());
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => bench = true,
                "--test" => test = true,
                "--all" => all = true,
                "--public" => public = true,
                "--rounds" => rounds = Some(number(&word, &mut words, 1000)?),
                "--millis" => millis = Some(number(&word, &mut words, LONGEST)?),
                "--charts" => charts = Some(PathBuf::from(value(&word, &mut words)?)),
                "--help" | "-h" => return Ok(Asked::Help),
                _ if word.starts_with('-') => {
                    return Err(format!("unknown argument {word}\n\n{USAGE}"));
                }
                _ => names.push(word),
            }
        }
        // Like other benches: `cargo test --benches` must not take minutes.
        let test = test || !bench;
        Ok(Asked::Run(Self {
            test,
            rounds: rounds.unwrap_or(if test { 1 } else { 5 }) as usize,
            millis: millis.unwrap_or(if test { 10 } else { 200 }),
            charts,
            all,
            public,
            names,
        }))
    }

    /// The cells to measure, in the order of the chosen grids.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = match (self.all, self.public) {
            (false, false) => cell::subset(),
            (true, _) => cell::grid(),
            (false, true) => Vec::new(),
        };
        if self.public {
            for cell in cell::public() {
                if !cells.contains(&cell) {
                    cells.push(cell);
                }
            }
        }
        if !self.names.is_empty() {
            cells.retain(|cell| self.names.iter().any(|name| cell.is_called(name)));
        }
        cells
    }
}

fn value(
    option: &str,
    words: &mut Peekable<impl Iterator<Item = String>>,
) -> Result<String, String> {
    words
        .next_if(|word| !word.starts_with('-'))
        .ok_or_else(|| format!("{option} needs a value\n\n{USAGE}"))
}

fn number(
    option: &str,
    words: &mut Peekable<impl Iterator<Item = String>>,
    most: u64,
) -> Result<u64, String> {
    let value = value(option, words)?;
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("{option} {value}: must be from 1 to {most}")),
    }
}
