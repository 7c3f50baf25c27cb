//! A day of hard work in a minute: users, an operator and a server with its bad days share one pool,
//! and everything the pool promises is checked while they do.
//!
//! Run with `cargo run --release --example soak`. `CONPOOL_SOAK_SECS` says how long the day takes
//! (10 s unless set), `CONPOOL_SOAK_SEED` repeats the dice of a run (not its interleaving). Ages pass
//! by a clock of the soak's own: 24 hours of idling, lifetimes and keepalives, however short the run.
//! Exit code: 0 when every promise held, 1 when one broke.

mod backend;
mod dice;
mod line;
mod operator;
mod report;
mod user;
mod verdict;
mod waits;
mod watch;

use backend::{Backend, OVERDUE};
use conpool::{Backoff, HealthCheck, ManualClock, Pool};
use dice::Dice;
use line::Exchange;
use operator::Operator;
use std::{
    env,
    error::Error,
    hash::{BuildHasher, RandomState},
    process::{self, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use user::{Fresh, Tally, User};
use verdict::Verdict;
use watch::{Memory, Progress, Seen};

const USERS: u64 = 6;
/// How large the pool is at first and in the end.
const SIZE: usize = 8;
/// The largest size that the operator asks for.
const MOST: usize = 12;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Of each hour, most users rest after so much of it: long enough for what they used to idle out.
const WORK: Duration = Duration::from_secs(40 * 60);
/// How long the end of anything may take that does not hang.
const SOON: Duration = Duration::from_secs(10);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let secs = number("CONPOOL_SOAK_SECS")?.unwrap_or(10).max(1);
    let seed = number("CONPOOL_SOAK_SEED")?.unwrap_or_else(|| RandomState::new().hash_one(0) >> 32);
    println!("24 hours in {secs} s, CONPOOL_SOAK_SEED={seed}");

    let verdict = Arc::new(Verdict::default());
    let soak = Soak {
        clock: ManualClock::new(),
        backend: Backend::new(seed, SIZE, &verdict),
        verdict,
        tally: Arc::default(),
        lull: Arc::default(),
        over: Arc::default(),
    };
    end_at_the_latest(Duration::from_secs(secs) + SOON * 6);
    let pool = soak.pool()?;
    let start = Instant::now();
    let mut people = soak.people(&pool, &mut Dice::new(seed));
    let memory = soak.pass_the_day(&pool, Duration::from_secs(secs));
    let took = start.elapsed();

    soak.over.store(true, Relaxed);
    soak.backend.heal();
    if !all_home(&mut people) {
        // Whoever is stuck in the pool would hold up the end for ever.
        soak.verdict.breach(format!("wedged: {:?}", pool.stats()));
    }
    soak.take_all(&pool);
    soak.close(&pool);
    let report = report::Report {
        stats: pool.stats(),
        took,
        memory,
    };
    Ok(report.print(&soak))
}

fn number(name: &str) -> Result<Option<u64>, String> {
    let Ok(text) = env::var(name) else {
        return Ok(None);
    };
    let number = text.trim().parse();
    number
        .map(Some)
        .map_err(|error| format!("{name} is {text:?}: {error}"))
}

/// What everybody shares.
struct Soak {
    clock: ManualClock,
    backend: Arc<Backend>,
    verdict: Arc<Verdict>,
    tally: Arc<Tally>,
    lull: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Soak {
    fn pool(&self) -> Result<Pool<Exchange>, Box<dyn Error>> {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let mut backoff = Backoff::default();
        backoff.initial = Duration::from_millis(2);
        backoff.max = Duration::from_millis(50);
        let pool = Pool::builder()
            .name("soak")
            .max_size(SIZE)
            .min_idle(1)
            .clock(self.clock.clone())
            .idle_timeout(minutes(10))
            .max_lifetime(minutes(30))
            .keepalive_interval(minutes(5))
            .leak_threshold(minutes(120))
            .health_check(HealthCheck::AfterIdle(minutes(1)))
            .max_uses(100_000)
            .create_timeout(OVERDUE * 2)
            .check_timeout(OVERDUE * 2)
            .dispose_timeout(OVERDUE * 2)
            .backoff(backoff)
            .build(Exchange(Arc::clone(&self.backend)))?;
        Ok(pool)
    }

    /// Users and operator, at work.
    fn people(&self, pool: &Pool<Exchange>, dice: &mut Dice) -> Vec<JoinHandle<()>> {
        let operator = Operator {
            pool: pool.clone(),
            backend: Arc::clone(&self.backend),
            verdict: Arc::clone(&self.verdict),
            dice: dice.fork(),
            over: Arc::clone(&self.over),
        };
        let mut people = vec![thread::spawn(move || operator.work())];
        for number in 0..USERS {
            let user = User {
                pool: pool.clone(),
                backend: Arc::clone(&self.backend),
                verdict: Arc::clone(&self.verdict),
                tally: Arc::clone(&self.tally),
                dice: dice.fork(),
                tireless: number == 0,
                lull: Arc::clone(&self.lull),
                over: Arc::clone(&self.over),
                fresh: Fresh::default(),
            };
            people.push(thread::spawn(move || user.live()));
        }
        people
    }

    /// Moves the clock through a day in this time, and looks at everything meanwhile.
    fn pass_the_day(&self, pool: &Pool<Exchange>, time: Duration) -> Memory {
        let (mut memory, mut progress) = (Memory::default(), Progress::new());
        let seen = Seen {
            tally: &self.tally,
            backend: &self.backend,
            verdict: &self.verdict,
        };
        let (start, mut day, mut round) = (Instant::now(), Duration::ZERO, 0);
        while day < DAY {
            thread::sleep(Duration::from_millis(5));
            let passed = start.elapsed().div_duration_f64(time).min(1.0);
            let now = DAY.mul_f64(passed);
            self.clock.advance(now.saturating_sub(day));
            day = now;
            let in_the_hour = Duration::from_secs(day.as_secs() % 3600);
            self.lull.store(in_the_hour > WORK, Relaxed);
            let stats = watch::check(pool, &self.verdict);
            if round % 20 == 0 {
                memory.sample(passed);
                progress.draw(passed, day, &stats, &seen);
            }
            round += 1;
        }
        progress.finish();
        memory
    }

    /// After the faults everything is as before: the whole size can be had at once, and works.
    fn take_all(&self, pool: &Pool<Exchange>) {
        self.backend.set_limit(MOST);
        pool.resume();
        if let Err(error) = pool.set_max_size(SIZE) {
            self.verdict.breach(error.to_string());
        }
        let mut all = Vec::new();
        // What the server cut last is found only by who uses it.
        for _ in 0..SIZE + MOST {
            match pool.get_timeout(SOON) {
                Ok(mut guard) => {
                    if guard.ping() {
                        all.push(guard);
                    }
                }
                Err(error) => {
                    self.verdict.breach(format!("not at full size: {error}"));
                    break;
                }
            }
            if all.len() == SIZE {
                break;
            }
        }
        let stats = watch::check(pool, &self.verdict);
        self.verdict.must(stats.in_use == SIZE, || {
            format!("not all of it in use: {stats:?}")
        });
    }

    fn close(&self, pool: &Pool<Exchange>) {
        if let Err(left) = pool.close_timeout(SOON) {
            self.verdict.breach(left.to_string());
        }
        let start = Instant::now();
        // A thread that has been joined may be listed for some microseconds more.
        while watch::threads("soak-") > 0 {
            if start.elapsed() > SOON {
                let threads = watch::threads("soak-");
                self.verdict
                    .breach(format!("{threads} threads left after close"));
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A pool that wedges whoever asks it, the main thread too, shall not hold up the end.
fn end_at_the_latest(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("\nbroken promise: still not over after {limit:?}");
        process::exit(1);
    });
}

/// Waits until everybody has come home, but not for ever.
fn all_home(people: &mut Vec<JoinHandle<()>>) -> bool {
    let start = Instant::now();
    while !people.iter().all(JoinHandle::is_finished) {
        if start.elapsed() > SOON {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    people.drain(..).all(|person| person.join().is_ok())
}
