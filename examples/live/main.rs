//! Pools on a screen: a row for each, redrawn while threads use them and a server is killed and restarted.
//!
//! Run with `cargo run --example live`. It takes 14 seconds, or as many as `CONPOOL_LIVE_SECS` says; the
//! server is killed at three tenths of that and restarted at six tenths. On a terminal the rows stay in place
//! (in colours, unless `NO_COLOR` is set); elsewhere they are printed once a second. Exit code: 0 when the
//! pools of the killed server served again in the end, and the others never stopped.

mod load;
mod screen;
#[path = "../../tests/support/mod.rs"]
mod support;
mod window;

use load::{Load, World};
use screen::{Headline, Screen};
use std::{
    env,
    error::Error,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// The interval between two looks at the pools.
const TICK: Duration = Duration::from_millis(100);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let length = match env::var("CONPOOL_LIVE_SECS") {
        Ok(secs) => Duration::from_secs_f64(secs.parse::<f64>()?.clamp(3.0, 86_400.0)),
        Err(_) => Duration::from_secs(14),
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // The screen must be restored at the end, so Ctrl-C only sets a flag.
    ctrlc::set_handler(move || flag.store(true, Relaxed))?;

    let world = World::new()?;
    let load = Load::start(&world);
    let recovered = watch(&world, length, &interrupted)?;
    load.stop();
    world.close();
    if interrupted.load(Relaxed) {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(verdict(&world, recovered))
}

/// Draws until the time is over, and kills and restarts the server. Returns the time from the restart until
/// all of the killed server's pools served again.
fn watch(
    world: &World,
    length: Duration,
    interrupted: &AtomicBool,
) -> Result<Option<Duration>, Box<dyn Error>> {
    let start = Instant::now();
    let (kill_at, restart_at) = (length.mul_f64(0.3), length.mul_f64(0.6));
    let (mut killed, mut back, mut recovered) = (None, None, None);
    let mut screen = Screen::new();
    while start.elapsed() < length && !interrupted.load(Relaxed) {
        let now = Instant::now();
        if killed.is_none() && start.elapsed() >= kill_at {
            world.north.stop();
            killed = Some(now);
        }
        if back.is_none() && start.elapsed() >= restart_at {
            world.rows[world.victim].seen.forget_first();
            world.north.restart()?;
            back = Some(Instant::now());
        }
        if let (Some(back), None) = (back, recovered) {
            let first = world.rows[world.victim].seen.first();
            recovered = first.map(|first| first.saturating_duration_since(back));
        }
        let headline = Headline {
            passed: start.elapsed(),
            length,
            down_for: killed.filter(|_| back.is_none()).map(|at| at.elapsed()),
            recovered,
        };
        screen.draw(&headline, &world.rows);
        thread::sleep(TICK);
    }
    Ok(recovered)
}

fn verdict(world: &World, recovered: Option<Duration>) -> ExitCode {
    println!();
    for row in &world.rows {
        println!("{}", (row.stats)());
    }
    println!();
    let Some(after) = recovered else {
        eprintln!("{} did not serve again", world.rows[world.victim].name);
        return ExitCode::FAILURE;
    };
    println!(
        "{} served again {after:.0?} after its server was back",
        world.rows[world.victim].name
    );
    let unaffected = world.rows.iter().filter(|row| !row.on_north);
    let affected: Vec<_> = unaffected
        .filter(|row| (row.stats)().timeouts > 0)
        .map(|row| row.name)
        .collect();
    if affected.is_empty() {
        println!("the pools of the other server never made anybody wait in vain");
        return ExitCode::SUCCESS;
    }
    eprintln!("the death of one server made callers of others time out: {affected:?}");
    ExitCode::FAILURE
}
