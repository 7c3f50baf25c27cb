//! The command line's arguments.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
cargo bench --bench async_callers -- [OPTIONS] [PART ...]

PART          only the parts of these names: load, cancelled
--rounds N    how often each pool is measured under each load (5)
--charts DIR  where the chart goes (target/async_callers)
--test        a small run of each; also without the --bench that cargo bench passes";

#[derive(Debug)]
pub(crate) enum Asked {
    Run(Arguments),
    Help,
}

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) test: bool,
    pub(crate) rounds: usize,
    pub(crate) charts: Option<PathBuf>,
    parts: Vec<String>,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let (mut bench, mut test) = (false, false);
        let (mut rounds, mut charts, mut parts) = (None, None, Vec::new());
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next();
                value.ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"))
            };
            match word.as_str() {
                "--bench" => bench = true,
                "--test" => test = true,
                "--rounds" => {
                    let value = value()?;
                    let number = value
                        .parse()
                        .ok()
                        .filter(|number| (1..=100).contains(number));
                    let number = number.ok_or(format!("--rounds {value}: must be from 1 to 100"));
                    rounds = Some(number?);
                }
                "--charts" => charts = Some(PathBuf::from(value()?)),
                "--help" | "-h" => return Ok(Asked::Help),
                _ if word.starts_with('-') => {
                    return Err(format!("unknown argument {word}\n\n{USAGE}"));
                }
                _ => parts.push(word),
            }
        }
        // Like other benches: `cargo test --benches` must not take minutes.
        let test = test || !bench;
        Ok(Asked::Run(Self {
            test,
            rounds: rounds.unwrap_or(if test { 1 } else { 5 }),
            charts,
            parts,
        }))
    }

    pub(crate) fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|name| name == part)
    }
}
