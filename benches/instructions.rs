//! The instructions of a warm `get` and drop, counted by valgrind, with a ceiling.
//!
//! ```text
//! cargo bench --bench instructions
//! ```
//!
//! Unlike time, the count is the same on a busy machine. The exit code is 1 when a count is more than 5 %
//! above the recorded one. Where valgrind is missing, the benchmark says so and exits with 0.
//!
//! Valgrind hides the functions that the kernel maps into each process (the vDSO), so the two readings of the
//! coarse clock count as system calls here. They are also counted alone, and the table shows the cycle with
//! and without them.

mod nothing;

use std::{
    env::{args, current_exe},
    hint::black_box,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use conpool::{HealthCheck, KeyedPool, Pool, PoolBuilder, PoolEvent, PoolObserver};
use nothing::Nothing;

/// The counted cycles, and the recorded number of instructions, with rustc 1.95 on x86-64.
const COUNTED: [(&str, u64); 8] = [
    (WARM, 178),
    (WINDOW, 178),
    (TRY, 178),
    (CLOCK, 25),
    (CHECKED, 262),
    (OBSERVED, 306),
    (LEAKS, 178),
    (KEYED, 254),
];
const WARM: &str = "get and drop, no check";
const WINDOW: &str = "get and drop, check after idle time";
const TRY: &str = "try_get and drop";
const CLOCK: &str = "one reading of the clock";
const CHECKED: &str = "get and drop, check at each checkout";
const OBSERVED: &str = "get and drop, with an observer";
const LEAKS: &str = "get and drop, with leak_threshold";
const KEYED: &str = "get by a number and drop";

/// In percent. Generated code differs a little from compiler to compiler.
const TOLERANCE: u64 = 105;

/// The difference between many and few cycles excludes start-up.
const FEW: u64 = 1_000;
const MANY: u64 = 101_000;

struct IgnoringObserver;

impl PoolObserver for IgnoringObserver {
    fn on_event(&self, event: &PoolEvent) {
        black_box(event);
    }
}

fn pool(change: impl FnOnce(PoolBuilder<Nothing>) -> PoolBuilder<Nothing>) -> Pool<Nothing> {
    let pool = change(Pool::builder().health_check(HealthCheck::Never));
    pool.build(Nothing).expect("nothing can fail")
}

#[inline(never)]
fn get(pool: &Pool<Nothing>) {
    let mut connection = pool.get().expect("one is idle");
    black_box(&mut *connection);
}

#[inline(never)]
fn try_get(pool: &Pool<Nothing>) {
    let mut connection = pool.try_get().expect("one is idle");
    black_box(&mut *connection);
}

#[inline(never)]
fn get_keyed(pool: &KeyedPool<u64, Nothing>) {
    let mut connection = pool.get(&7).expect("one is idle");
    black_box(&mut *connection);
}

#[cfg(target_os = "linux")]
#[inline(never)]
fn clock() {
    use rustix::time::{ClockId, clock_gettime};
    black_box(clock_gettime(ClockId::MonotonicCoarse));
}

#[cfg(not(target_os = "linux"))]
fn clock() {}

/// Runs one of the cycles `times` times, under valgrind.
fn repeat(what: &str, times: u64) {
    let hour = Duration::from_secs(3600);
    let cycles = |pool: Pool<Nothing>| (0..times).for_each(|_| get(&pool));
    match what {
        WARM => cycles(pool(|builder| builder)),
        WINDOW => cycles(pool(|builder| {
            builder.health_check(HealthCheck::AfterIdle(hour))
        })),
        CHECKED => cycles(pool(|builder| {
            builder.health_check(HealthCheck::OnCheckout)
        })),
        OBSERVED => cycles(pool(|builder| builder.observer(IgnoringObserver))),
        LEAKS => cycles(pool(|builder| builder.leak_threshold(hour))),
        TRY => {
            let pool = pool(|builder| builder);
            (0..times).for_each(|_| try_get(&pool));
        }
        KEYED => {
            let pool = KeyedPool::builder().health_check(HealthCheck::Never);
            let pool = pool.build(|_: &u64| Nothing).expect("nothing can fail");
            (0..times).for_each(|_| get_keyed(&pool));
        }
        CLOCK => (0..times).for_each(|_| clock()),
        _ => panic!("nothing is called {what:?}"),
    }
}

/// The instructions of this program when it runs the cycle `times` times.
fn count(what: &str, times: u64) -> Result<u64, String> {
    let program = current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--repeat", what, &times.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("no valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    let collected = collected.and_then(|number| number.trim().parse().ok());
    collected.ok_or_else(|| format!("valgrind ended with {}:\n{text}", output.status))
}

fn per_cycle(what: &str) -> Result<u64, String> {
    Ok((count(what, MANY)? - count(what, FEW)?) / (MANY - FEW))
}

fn main() -> ExitCode {
    let arguments: Vec<_> = args().skip(1).collect();
    if let [flag, what, times] = &arguments[..] {
        if flag == "--repeat" {
            repeat(what, times.parse().expect("a number"));
            return ExitCode::SUCCESS;
        }
    }
    if arguments.iter().any(|argument| argument == "--test") {
        COUNTED.iter().for_each(|(what, _)| repeat(what, FEW));
        println!("each of {} repeats: ok", COUNTED.len());
        return ExitCode::SUCCESS;
    }
    let (mut high, mut counts) = (false, Vec::new());
    println!("{:40}{:>14}{:>10}", "", "instructions", "ceiling");
    for (what, recorded) in COUNTED {
        let counted = match per_cycle(what) {
            Ok(counted) => counted,
            Err(reason) => {
                println!("SKIPPED: {reason}");
                return ExitCode::SUCCESS;
            }
        };
        let ceiling = recorded * TOLERANCE / 100;
        let verdict = if counted > ceiling { "TOO HIGH" } else { "" };
        println!("{what:40}{counted:>14}{ceiling:>10} {verdict}");
        high |= counted > ceiling;
        counts.push(counted);
    }
    let without = counts[0].saturating_sub(2 * counts[3]);
    println!(
        "{:40}{without:>14}",
        "get and drop without its clock readings"
    );
    match high {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
