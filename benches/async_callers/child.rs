//! A run in a process of its own, so that its threads and its memory are those of one subject.

use crate::{
    cancelled::{self, Aftermath, Crowd},
    driver::sleep_precisely,
    load::{self, Load, Sample},
    subjects::{Bb8, Conpool, Deadpool, R2d2, Subject},
};
use std::{
    env,
    error::Error,
    process::{Command, Stdio},
    time::Duration,
};

/// How a child tells its result.
pub(crate) type Numbers = Vec<f64>;

/// The first argument of a child.
pub(crate) const CHILD: &str = "--child";

/// What a child measures.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    Load(Load),
    Cancelled(Crowd),
}

impl Run {
    fn to_words(self) -> Vec<String> {
        let (part, numbers) = match self {
            Self::Load(load) => ("load", vec![load.tasks, load.requests]),
            Self::Cancelled(crowd) => {
                let millis = |time: Duration| time.as_millis() as usize;
                let numbers = vec![crowd.requests, millis(crowd.hold), millis(crowd.patience)];
                ("cancelled", numbers)
            }
        };
        let numbers = numbers.iter().map(usize::to_string);
        [part.to_owned()].into_iter().chain(numbers).collect()
    }

    fn from_words(words: &[String]) -> Option<Self> {
        let (part, numbers) = words.split_first()?;
        let numbers: Result<Vec<usize>, _> = numbers.iter().map(|word| word.parse()).collect();
        match (part.as_str(), numbers.ok()?.as_slice()) {
            ("load", &[tasks, requests]) => Some(Self::Load(Load { tasks, requests })),
            ("cancelled", &[requests, hold, patience]) => Some(Self::Cancelled(Crowd {
                requests,
                hold: Duration::from_millis(hold as u64),
                patience: Duration::from_millis(patience as u64),
            })),
            _ => None,
        }
    }

    fn of<S: Subject>(self) -> Numbers {
        match self {
            Self::Load(load) => load::run::<S>(load).to_numbers(),
            Self::Cancelled(crowd) => cancelled::run::<S>(crowd).to_numbers(),
        }
    }
}

/// Runs as a child: measures, and prints the numbers.
pub(crate) fn main(words: &[String]) -> Result<(), Box<dyn Error>> {
    let (subject, words) = words.split_first().ok_or("no subject")?;
    let run = Run::from_words(words).ok_or("no run")?;
    sleep_precisely();
    let numbers = match subject.as_str() {
        "conpool" => run.of::<Conpool>(),
        "r2d2" => run.of::<R2d2>(),
        "bb8" => run.of::<Bb8>(),
        "deadpool" => run.of::<Deadpool>(),
        _ => return Err(format!("no subject has the name {subject}").into()),
    };
    let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
    println!("{}", numbers.join(" "));
    Ok(())
}

fn measure(subject: &str, run: Run) -> Result<Numbers, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?)
        .args([CHILD, subject])
        .args(run.to_words())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the run of {subject} ended with {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers: Result<Numbers, _> = text.split_whitespace().map(|word| word.parse()).collect();
    Ok(numbers?)
}

/// Measures a subject under load, in a new process.
pub(crate) fn sample(subject: &str, load: Load) -> Result<Sample, Box<dyn Error>> {
    let numbers = measure(subject, Run::Load(load))?;
    Ok(Sample::from_numbers(&numbers).ok_or("the child has told too little")?)
}

/// Measures a subject with clients that give up, in a new process.
pub(crate) fn aftermath(subject: &str, crowd: Crowd) -> Result<Aftermath, Box<dyn Error>> {
    let numbers = measure(subject, Run::Cancelled(crowd))?;
    Ok(Aftermath::from_numbers(&numbers).ok_or("the child has told too little")?)
}
