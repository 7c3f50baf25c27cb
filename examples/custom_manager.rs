//! A pool of things that are not sockets: `cat` processes that send every line back.
use conpool::{ConnectionManager, Pool};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::{thread, time::Duration};

struct Workers;

impl ConnectionManager for Workers {
    type Connection = Child;
    type Error = io::Error;
    fn create(&self) -> io::Result<Child> {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    }
    fn check_aliveness(&self, worker: &mut Child) -> io::Result<()> {
        ask(worker, "still there?").map(drop)
    }
    fn dispose(&self, mut worker: Child) {
        // `wait` closes the input of `cat` first, so `cat` ends by itself and leaves no zombie.
        let _ = worker.wait();
    }
}

fn ask(worker: &mut Child, line: &str) -> io::Result<String> {
    let Some((input, output)) = worker.stdin.as_mut().zip(worker.stdout.as_mut()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    writeln!(input, "{line}")?;
    let mut answer = String::new();
    // The buffer holds this one answer only, because a worker sends nothing unasked.
    match BufReader::new(output).read_line(&mut answer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(answer.trim_end().to_owned()),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::builder().name("cats").max_size(3).build(Workers)?;
    thread::scope(|scope| {
        for n in 0..12 {
            let pool = &pool;
            scope.spawn(move || {
                let mut worker = pool.get().expect("a worker");
                let answer = ask(&mut worker, &format!("job {n}")).expect("an answer");
                assert_eq!(answer, format!("job {n}"), "somebody else's answer");
                println!("process {} did {answer}", worker.id());
            });
        }
    });
    println!("{}", pool.stats());
    assert!(pool.stats().created <= 3, "more processes than max_size");
    Ok(pool.close_timeout(Duration::from_secs(5))?)
}
