//! A day of load in a short time: users, an operator and a server with faults share one pool, while
//! everything the pool promises is checked.
//!
//! Run with `cargo run --release --example soak`. `CONPOOL_SOAK_SECS` sets the duration (10 s unless set),
//! `CONPOOL_SOAK_SEED` repeats the random numbers of a run (not its interleaving). A manual clock advances
//! the ages by 24 hours of idle times, lifetimes and keepalives in any run. Exit code: 0 when every promise
//! held, 1 when one broke.

mod backend;
mod conn;
mod operator;
mod report;
mod rng;
mod user;
mod verdict;
mod waits;
mod watch;

use backend::{Backend, OVERDUE};
use conn::SoakManager;
use conpool::{Backoff, HealthCheck, ManualClock, Pool};
use operator::Operator;
use rng::Rng;
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
/// The size of the pool at first and in the end.
const SIZE: usize = 8;
/// The largest size that the operator sets.
const MOST: usize = 12;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The share of each hour in which all users work. The rest is long enough for idle connections to time out.
const WORK: Duration = Duration::from_secs(40 * 60);
/// The time in which anything that does not hang must end.
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
    let mut threads = soak.threads(&pool, &mut Rng::new(seed));
    let memory = soak.run_load(&pool, Duration::from_secs(secs));
    let took = start.elapsed();

    soak.over.store(true, Relaxed);
    soak.backend.heal();
    if !all_ended(&mut threads) {
        // A thread stuck in the pool would block the end forever.
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

/// The state that all threads share.
struct Soak {
    clock: ManualClock,
    backend: Arc<Backend>,
    verdict: Arc<Verdict>,
    tally: Arc<Tally>,
    lull: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Soak {
    fn pool(&self) -> Result<Pool<SoakManager>, Box<dyn Error>> {
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
            .build(SoakManager(Arc::clone(&self.backend)))?;
        Ok(pool)
    }

    /// The threads of users and operator.
    fn threads(&self, pool: &Pool<SoakManager>, rng: &mut Rng) -> Vec<JoinHandle<()>> {
        let operator = Operator {
            pool: pool.clone(),
            backend: Arc::clone(&self.backend),
            verdict: Arc::clone(&self.verdict),
            rng: rng.fork(),
            over: Arc::clone(&self.over),
        };
        let mut threads = vec![thread::spawn(move || operator.work())];
        for number in 0..USERS {
            let user = User {
                pool: pool.clone(),
                backend: Arc::clone(&self.backend),
                verdict: Arc::clone(&self.verdict),
                tally: Arc::clone(&self.tally),
                rng: rng.fork(),
                never_rests: number == 0,
                lull: Arc::clone(&self.lull),
                over: Arc::clone(&self.over),
                fresh: Fresh::default(),
            };
            threads.push(thread::spawn(move || user.live()));
        }
        threads
    }

    /// Advances the clock by a day in `time`, and checks everything meanwhile.
    fn run_load(&self, pool: &Pool<SoakManager>, time: Duration) -> Memory {
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

    /// Checks the pool after the faults: all connections can be checked out at once, and work.
    fn take_all(&self, pool: &Pool<SoakManager>) {
        self.backend.set_limit(MOST);
        pool.resume();
        if let Err(error) = pool.set_max_size(SIZE) {
            self.verdict.breach(error.to_string());
        }
        let mut all = Vec::new();
        // Only a use finds the connections that the server cut last.
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

    fn close(&self, pool: &Pool<SoakManager>) {
        if let Err(left) = pool.close_timeout(SOON) {
            self.verdict.breach(left.to_string());
        }
        let start = Instant::now();
        // The system may list a joined thread for some microseconds more.
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

/// Ends the process by a time limit, even when the pool blocks the main thread.
fn end_at_the_latest(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("\nbroken promise: still not over after {limit:?}");
        process::exit(1);
    });
}

/// Waits for a bounded time until all threads have ended.
fn all_ended(threads: &mut Vec<JoinHandle<()>>) -> bool {
    let start = Instant::now();
    while !threads.iter().all(JoinHandle::is_finished) {
        if start.elapsed() > SOON {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    threads.drain(..).all(|person| person.join().is_ok())
}
