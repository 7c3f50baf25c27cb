//! The main job of this crate, over real TCP: eight threads share the only connection that a bus bridge
//! grants, while the bridge closes, resets and sends unsolicited telegrams.
//!
//! Run with `cargo run --example quickstart`; it takes about three seconds and needs nothing but a free
//! loopback port. Exit code: 0 when every promise held, 1 when one broke.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use conpool::{
    ConbusSocketManager, EvictReason, Pool, PoolBuilder, PoolStats, PooledConnection, StillInUse,
};
use support::{
    client::{self, ClientError},
    emulator::{Counters, Emulator, Ending},
    telegram::Event,
};

const READERS: u32 = 8;
const ROUNDS: u32 = 5;
const READS_PER_ROUND: u32 = 10;
const ALL_READS: u32 = READERS * ROUNDS * READS_PER_ROUND;

/// A connection lives six hours in the preset; here it lives for a fraction of a second.
const LIFETIME: Duration = Duration::from_millis(300);
/// The bridge closes the connection of a client that is silent for this long.
const IDLE_CLOSE: Duration = Duration::from_millis(80);
/// All readers are silent for this long between two rounds.
const BREAK: Duration = Duration::from_millis(150);
/// The reply timeout of a device. The emulated ones need 4 ms.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// The number of attempts of a read whose connection breaks.
const ATTEMPTS: u32 = 5;

/// Serial number and temperature of each device. All differ, so that a mixed-up reply shows.
const DEVICES: [(u64, i32); 8] = [
    (1_013_010_000, 185),
    (1_123_010_001, 192),
    (1_202_010_002, 207),
    (1_302_410_003, 213),
    (1_420_330_004, 224),
    (1_520_331_005, 236),
    (1_620_332_006, 241),
    (1_702_033_007, -38),
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let bridge = Emulator::builder()
        .max_clients(1)
        .idle_close(IDLE_CLOSE)
        .reply_delay(Duration::from_millis(4))
        .start()?;
    for (serial, tenths) in DEVICES {
        bridge.set_temperature(serial, tenths);
    }
    println!(
        "a bridge with room for one client listens on {}",
        bridge.addr()
    );
    println!("{READERS} threads read {ALL_READS} temperatures through it");

    // The preset holds the settings for such a bridge: one connection, opened and kept ready. A program with
    // a real bridge leaves the two lifetimes alone.
    let pool = PoolBuilder::from(ConbusSocketManager::pool_config())
        .idle_timeout(LIFETIME)
        .max_lifetime(LIFETIME)
        .build(ConbusSocketManager::new(bridge.addr().to_string()))?;

    let start = Instant::now();
    let tally = Tally::default();
    read_everything(&pool, &bridge, &tally);
    let took = start.elapsed();

    // Waits until the connection is back and closed, and the pool's threads have ended.
    let closed = pool.close_timeout(Duration::from_secs(5));
    Ok(report(
        &tally,
        &pool.stats(),
        &bridge.counters(),
        took,
        closed,
    ))
}

/// The results of the readers.
#[derive(Default)]
struct Tally {
    done: AtomicU32,
    retried: AtomicU32,
    wrong: AtomicU32,
    lost: AtomicU32,
}

/// Runs the readers and injects the bridge's faults, and draws the progress.
fn read_everything(pool: &Pool<ConbusSocketManager>, bridge: &Emulator, tally: &Tally) {
    let rounds = Barrier::new(READERS as usize);
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let rounds = &rounds;
                scope.spawn(move || be_a_reader(number, rounds, pool, tally))
            })
            .collect();
        scope.spawn(|| misbehave(bridge, &finished));

        let mut progress = Progress::new();
        while !readers.iter().all(|reader| reader.is_finished()) {
            progress.draw(tally, &pool.stats());
            thread::sleep(Duration::from_millis(30));
        }
        finished.store(true, Relaxed);
        progress.finish(tally, &pool.stats());
    });
}

/// One thread's share of the reads, each from another device than the last.
fn be_a_reader(number: u32, rounds: &Barrier, pool: &Pool<ConbusSocketManager>, tally: &Tally) {
    for round in 0..ROUNDS {
        for read in 0..READS_PER_ROUND {
            let (serial, tenths) = DEVICES[((number + read) % 8) as usize];
            match read_temperature(pool, serial, tally) {
                Some(celsius) if (celsius * 10.0).round() == f64::from(tenths) => {}
                Some(_) => _ = tally.wrong.fetch_add(1, Relaxed),
                None => _ = tally.lost.fetch_add(1, Relaxed),
            }
            tally.done.fetch_add(1, Relaxed);
        }
        rounds.wait();
        if round + 1 < ROUNDS {
            thread::sleep(BREAK);
        }
    }
}

/// Reads one temperature, in degrees Celsius.
///
/// The pool never hands out a connection that it knows to be dead, but a connection can die in use. Only the
/// reader knows that a read may be repeated: it discards the connection and tries another.
fn read_temperature(pool: &Pool<ConbusSocketManager>, serial: u64, tally: &Tally) -> Option<f64> {
    for _ in 0..ATTEMPTS {
        let mut connection = match pool.get() {
            Ok(connection) => connection,
            Err(error) => {
                eprintln!("\n{error}");
                return None;
            }
        };
        match client::read_temperature(&mut connection, serial, REPLY_TIMEOUT) {
            Ok(celsius) => return Some(celsius),
            Err(ClientError::Io(_) | ClientError::Closed) => {
                PooledConnection::discard(connection);
                tally.retried.fetch_add(1, Relaxed);
            }
            Err(error) => {
                // The reply may still come. The next reader must not get it.
                PooledConnection::discard(connection);
                eprintln!("\ndevice {serial}: {error}");
                return None;
            }
        }
    }
    None
}

/// Injects the usual faults of bridges: a button event every 25 ms, and a cut every 0.4 s.
fn misbehave(bridge: &Emulator, finished: &AtomicBool) {
    for tick in 1.. {
        thread::sleep(Duration::from_millis(25));
        if finished.load(Relaxed) {
            return;
        }
        bridge.push_event(Event {
            origin: 'E',
            module_type: 14,
            link: 0,
            input: 2,
            make: tick % 2 == 1,
        });
        if tick % 16 == 0 {
            bridge.close_all_clients(Ending::Rst);
        }
    }
}

/// A progress bar on a terminal, and a line from time to time elsewhere.
struct Progress {
    terminal: bool,
    quarters: u32,
}

impl Progress {
    fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            quarters: 0,
        }
    }

    fn draw(&mut self, tally: &Tally, stats: &PoolStats) {
        let done = tally.done.load(Relaxed);
        let retried = tally.retried.load(Relaxed);
        let news = format!(
            "{done:>3} of {ALL_READS} reads, connection {:>2}, {retried} retried",
            stats.created
        );
        if self.terminal {
            let (full, width) = (done * 40 / ALL_READS, 40);
            let bar: String = (0..width)
                .map(|at| if at < full { '█' } else { '░' })
                .collect();
            print!("\r{bar} {news} ");
            // An output error does not end the program.
            let _ = io::stdout().flush();
        } else if done * 4 / ALL_READS > self.quarters {
            self.quarters = done * 4 / ALL_READS;
            println!("{news}");
        }
    }

    fn finish(mut self, tally: &Tally, stats: &PoolStats) {
        self.draw(tally, stats);
        if self.terminal {
            println!();
        }
    }
}

/// Prints the table and says whether every promise held.
fn report(
    tally: &Tally,
    stats: &PoolStats,
    bridge: &Counters,
    took: Duration,
    closed: Result<(), StillInUse>,
) -> ExitCode {
    let (done, retried) = (tally.done.load(Relaxed), tally.retried.load(Relaxed));
    let missed = tally.wrong.load(Relaxed) + tally.lost.load(Relaxed);
    let evicted: Vec<String> = EvictReason::ALL
        .iter()
        .copied()
        .filter(|reason| stats.evicted(*reason) > 0)
        .map(|reason| format!("{} {reason}", stats.evicted(reason)))
        .collect();
    let row = |name: &str, value: &dyn std::fmt::Display| println!("  {name:<22}{value}");
    println!();
    row("reads", &format!("{done} in {:.1} s", took.as_secs_f64()));
    row("retried", &format!("{retried} (the line broke in use)"));
    row("wrong or lost", &format!("{missed} (must be 0)"));
    row("connections created", &stats.created);
    row("accepted by device", &bridge.accepted);
    row("turned away", &format!("{} (must be 0)", bridge.refused));
    row("peak open", &format!("{} (must be 1)", bridge.peak_open));
    row(
        "reuse rate",
        &format!("{:.1} %", stats.reuse_rate() * 100.0),
    );
    row(
        "wait p50 / p99",
        &format!("{} / {}", millis(stats.wait.p50), millis(stats.wait.p99)),
    );
    row("evictions", &evicted.join(", "));
    row(
        "device hung up",
        &format!("{} times on a silent line", bridge.idle_closed),
    );
    row("device events", &bridge.pushed);
    println!();

    let promises = [
        ("every read is answered", done == ALL_READS && missed == 0),
        (
            "the device never sees two clients",
            bridge.peak_open == 1 && bridge.refused == 0,
        ),
        (
            "everything created is disposed",
            stats.created == stats.disposed,
        ),
        ("closing leaves nothing behind", closed.is_ok()),
    ];
    for (promise, _) in promises.iter().filter(|(_, held)| !held) {
        eprintln!("broken promise: {promise}");
    }
    if let Err(left) = closed {
        eprintln!("{left}");
    }
    if promises.iter().all(|(_, held)| *held) {
        println!("every promise held");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
