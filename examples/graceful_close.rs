//! Ends a program gracefully, on Ctrl-C or by itself after a second: takes no new work, lets running work
//! end, waits a bounded time, and names the holders of connections that are still in use.
//!
//! Run with `cargo run --example graceful_close`. Exit code: 0 when everything came back, 1 when something
//! was still held at the bound.

use conpool::{MemoryManager, Pool};
use std::{process::ExitCode, sync::mpsc, thread, time::Duration};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let pool = Pool::builder()
        .name("orders")
        .max_size(3)
        // Makes the pool record call sites, so that the end can name holders.
        .leak_threshold(Duration::from_secs(30))
        .build(MemoryManager::new())?;

    let (stop, stopped) = mpsc::channel();
    ctrlc::set_handler(move || {
        // Fails only when main no longer listens, because it is ending already.
        let _ = stop.send(());
    })?;

    let workers: Vec<_> = (0..6)
        .map(|n| {
            let pool = pool.clone();
            thread::spawn(move || work(n, &pool))
        })
        .collect();

    match stopped.recv_timeout(Duration::from_secs(1)) {
        Ok(()) => println!("interrupted"),
        Err(_) => println!("enough for today"),
    }

    // From here every `get` fails with Closed, and the workers leave their loops.
    let code = match pool.close_timeout(Duration::from_secs(2)) {
        Ok(()) => {
            for worker in workers {
                worker.join().expect("a worker panicked");
            }
            println!("all connections are back and disposed");
            ExitCode::SUCCESS
        }
        Err(left) => {
            eprintln!("gave up waiting: {left}");
            for holder in &left.holders {
                eprintln!("  {holder}");
            }
            ExitCode::FAILURE
        }
    };
    println!("{}", pool.stats());
    Ok(code)
}

/// Does one job after another until the pool is closed.
fn work(number: u32, pool: &Pool<MemoryManager>) {
    let mut done = 0;
    loop {
        match pool.get() {
            Ok(mut connection) => {
                let stored = connection.execute(&format!("SET worker-{number} {done}"));
                thread::sleep(Duration::from_millis(20));
                stored.expect("the store is in memory");
                done += 1;
            }
            Err(error) if error.is_closed() => break,
            Err(error) => eprintln!("worker {number}: {error}"),
        }
    }
    println!("worker {number} did {done} jobs");
}
