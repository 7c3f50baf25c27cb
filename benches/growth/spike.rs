//! Fifty requests at once on five idle connections. A connect takes 150 ms and the work 2 ms: the queue is
//! empty before any new connection could help.

use crate::measure::{Numbers, Scale, median, millis, r2d2, table, verdict};
use conpool::{HealthCheck, Pool};
use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

const REQUESTS: usize = 50;
const IDLE: usize = 5;
const CONNECT: Duration = Duration::from_millis(150);
const WORK: Duration = Duration::from_millis(2);
const MOST: usize = 10;
/// The allowed time, in seconds, to wake the next waiter.
const HAND_OVER: f64 = 200e-6;

/// One spike.
struct Spike {
    connections: usize,
    slowest: f64,
    /// The wait of the last caller when every connection goes to the next caller at once.
    needed: f64,
}

pub(crate) fn run(scale: Scale) {
    let rounds = scale.pick(7, 1);
    let numbers = Numbers {
        create: CONNECT,
        ..Numbers::default()
    };
    let ours = |min_idle| {
        let builder = Pool::builder()
            .max_size(REQUESTS)
            .health_check(HealthCheck::Never);
        let pool = builder.build_lazy(numbers).expect("good settings");
        (0..IDLE).for_each(|_| pool.add(0).expect("room"));
        pool.set_min_idle(min_idle).expect("below the maximum");
        spike(&|| pool.get().expect("in time"), || {
            while pool.stats().creating > 0 {
                thread::sleep(Duration::from_millis(5));
            }
            pool.stats().size
        })
    };
    let theirs = || {
        let pool = r2d2(REQUESTS, Some(IDLE), numbers);
        spike(&|| pool.get().expect("in time"), || {
            // r2d2 opens three at a time and does not report how many connects are under way.
            let mut seen = (0, 1);
            while seen.0 != seen.1 {
                thread::sleep(CONNECT * 2);
                seen = (pool.state().connections, seen.0);
            }
            seen.0 as usize
        })
    };
    let mut rows = Vec::new();
    for (name, min_idle) in [("min_idle 0", 0), ("min_idle 5", IDLE)] {
        let spikes: Vec<Spike> = (0..rounds).map(|_| ours(min_idle)).collect();
        rows.push((name.to_owned(), spikes));
    }
    rows.push(("r2d2, min_idle 5".to_owned(), vec![theirs()]));

    let cells: Vec<_> = rows
        .iter()
        .map(|(name, spikes)| row(name, spikes))
        .collect();
    let head = [
        "50 on 5 idle",
        "connections after it",
        "slowest wait",
        "the queue's ideal",
    ];
    table(&head, &cells);
    for (name, spikes) in rows.iter().filter(|(name, _)| !name.starts_with("r2d2")) {
        let most = spikes.iter().map(|spike| spike.connections).max();
        let most = most.unwrap_or(0);
        let required = format!("at most {MOST} connections after it ({name})");
        verdict(&required, most <= MOST, &most.to_string());
        let (slowest, needed) = (of(spikes, |one| one.slowest), of(spikes, |one| one.needed));
        let found = format!("{} of {}", in_millis(slowest), in_millis(needed));
        let required = format!("no caller slower than the queue needed ({name})");
        // The last caller's connection is handed over nine times.
        let turns = (REQUESTS / IDLE - 1) as f64;
        verdict(&required, slowest <= needed + turns * HAND_OVER, &found);
    }
}

fn of(spikes: &[Spike], what: impl Fn(&Spike) -> f64) -> f64 {
    median(spikes.iter().map(what).collect())
}

fn in_millis(seconds: f64) -> String {
    millis(Duration::from_secs_f64(seconds))
}

fn row(name: &str, spikes: &[Spike]) -> Vec<String> {
    let most = spikes.iter().map(|spike| spike.connections).max();
    vec![
        name.to_owned(),
        most.unwrap_or(0).to_string(),
        in_millis(of(spikes, |spike| spike.slowest)),
        in_millis(of(spikes, |spike| spike.needed)),
    ]
}

/// Makes all requests at once, then returns what `settled` says about the connections.
fn spike<G>(get: &(impl Fn() -> G + Sync), settled: impl FnOnce() -> usize) -> Spike {
    let ready = Barrier::new(REQUESTS);
    let seen: Vec<(Duration, Duration)> = thread::scope(|scope| {
        let request = || {
            ready.wait();
            let start = Instant::now();
            let guard = get();
            let waited = start.elapsed();
            thread::sleep(WORK);
            let worked = start.elapsed() - waited;
            drop(guard);
            (waited, worked)
        };
        let requests: Vec<_> = (0..REQUESTS).map(|_| scope.spawn(request)).collect();
        let seen = requests.into_iter().map(|request| request.join());
        seen.map(|seen| seen.expect("no panic")).collect()
    });
    let slowest = seen.iter().map(|(waited, _)| waited.as_secs_f64());
    let work = median(
        seen.iter()
            .map(|(_, worked)| worked.as_secs_f64())
            .collect(),
    );
    Spike {
        connections: settled(),
        slowest: slowest.fold(0.0, f64::max),
        needed: work * (REQUESTS / IDLE - 1) as f64,
    }
}
