//! One round of one subject: many threads get, work and give back until they are stopped.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;

use crate::{cell::Cell, common::cores, subjects::Subject};

/// Waits in nanoseconds. Two digits keep the buckets of a thread small enough to stay in its cache.
pub(crate) type Waits = Histogram<u64>;

/// The result of one round.
#[derive(Debug)]
pub(crate) struct Round {
    /// Get-and-drop cycles per second of all threads together.
    pub(crate) throughput: f64,
    /// Jain's fairness index over the cycles of the threads: 1 if all did the same, 1/n if one did all.
    pub(crate) jain: f64,
    /// The cycles of the slowest thread divided by those of the fastest.
    pub(crate) slowest: f64,
    /// Context switches per cycle, where the system counts them.
    pub(crate) switches: Option<f64>,
    /// From the call of a get until it returns a connection.
    pub(crate) waits: Waits,
}

/// A subject of any type.
pub(crate) trait Measured {
    fn name(&self) -> &'static str;
    fn round(&self, cell: Cell, length: Duration) -> Round;
}

impl<S: Subject> Measured for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn round(&self, cell: Cell, length: Duration) -> Round {
        let laps = together(self, cell, length, |thread, gate| {
            count(self, cell, thread, gate)
        });
        let mut waits = no_waits();
        for found in together(self, cell, length, |thread, gate| {
            time(self, cell, thread, gate)
        }) {
            waits.add(found).expect("the same bounds");
        }
        Round::new(&laps, waits)
    }
}

impl Round {
    fn new(laps: &[Lap], waits: Waits) -> Self {
        let start = laps.iter().map(|lap| lap.start).min();
        let end = laps.iter().map(|lap| lap.end).max();
        let took = start
            .zip(end)
            .map_or(Duration::ZERO, |(start, end)| end - start);
        let cycles = laps.iter().map(|lap| lap.cycles as f64);
        let sum: f64 = cycles.clone().sum();
        let squares: f64 = cycles.clone().map(|cycles| cycles * cycles).sum();
        let least = cycles.clone().fold(f64::INFINITY, f64::min);
        let most = cycles.fold(0.0, f64::max);
        let switches: Option<u64> = laps.iter().map(|lap| lap.switches).sum();
        Self {
            throughput: sum / took.as_secs_f64(),
            jain: sum * sum / (laps.len() as f64 * squares),
            slowest: least / most,
            switches: switches.map(|switches| switches as f64 / sum),
            waits,
        }
    }

    /// In nanoseconds: microseconds would hide the cost of a get that does not wait.
    pub(crate) fn wait_nanos(&self, quantile: f64) -> f64 {
        self.waits.value_at_quantile(quantile) as f64
    }
}

/// The work of one thread in a round.
struct Lap {
    cycles: u64,
    start: Instant,
    end: Instant,
    switches: Option<u64>,
}

/// Starts and stops all threads together.
struct Gate {
    ready: Barrier,
    // On a cache line of its own: every thread reads it in each cycle.
    stage: CachePadded<AtomicU8>,
}

/// The threads run, but the scheduler has not yet given each its first time slice.
const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

impl Gate {
    fn is_at(&self, stage: u8) -> bool {
        self.stage.load(Relaxed) == stage
    }
}

/// Runs `body` on all threads of the cell. Each thread must wait at the gate once, and end when it closes.
fn together<T: Send>(
    subject: &impl Subject,
    cell: Cell,
    length: Duration,
    body: impl Fn(usize, &Gate) -> T + Sync,
) -> Vec<T> {
    let gate = Gate {
        ready: Barrier::new(cell.threads + 1),
        stage: CachePadded::new(AtomicU8::new(WARMING)),
    };
    let (gate, body) = (&gate, &body);
    thread::scope(|scope| {
        let running: Vec<_> = (0..cell.threads)
            .map(|thread| {
                scope.spawn(move || {
                    if cell.is_pinned() {
                        cores::pin(thread);
                    }
                    subject.around(|| body(thread, gate))
                })
            })
            .collect();
        gate.ready.wait();
        thread::sleep(length / 2);
        gate.stage.store(COUNTING, Relaxed);
        thread::sleep(length);
        gate.stage.store(OVER, Relaxed);
        let done = running.into_iter().map(|thread| thread.join());
        done.map(|found| found.expect("no pool fails")).collect()
    })
}

fn count(subject: &impl Subject, cell: Cell, thread: usize, gate: &Gate) -> Lap {
    gate.ready.wait();
    while gate.is_at(WARMING) {
        subject.with(thread, |connection| cell.hold.work(connection));
    }
    let before = cores::switches();
    let start = Instant::now();
    let mut cycles = 0;
    loop {
        subject.with(thread, |connection| cell.hold.work(connection));
        cycles += 1;
        if gate.is_at(OVER) {
            break;
        }
    }
    let end = Instant::now();
    let switches = before
        .zip(cores::switches())
        .map(|(before, now)| now - before);
    Lap {
        cycles,
        start,
        end,
        switches,
    }
}

fn time(subject: &impl Subject, cell: Cell, thread: usize, gate: &Gate) -> Waits {
    let mut waits = no_waits();
    gate.ready.wait();
    while gate.is_at(WARMING) {
        subject.with(thread, |connection| cell.hold.work(connection));
    }
    loop {
        let mut waited = Duration::ZERO;
        let start = Instant::now();
        subject.with(thread, |connection| {
            waited = start.elapsed();
            cell.hold.work(connection);
        });
        waits.saturating_record(waited.as_nanos() as u64);
        if gate.is_at(OVER) {
            break waits;
        }
    }
}

pub(crate) fn no_waits() -> Waits {
    // Every pool here times out a get after 30 s.
    Waits::new_with_bounds(1, 60_000_000_000, 2).expect("legal bounds")
}
