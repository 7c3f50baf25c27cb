//! The time of `get` with many threads on one SQLite file, compared with r2d2 in the same run.
//!
//! ```text
//! cargo bench --bench sqlite --features sqlite              some ten seconds
//! cargo bench --bench sqlite --features sqlite -- --test    small and quick, to see that it works
//! ```
//!
//! Both pools have ten connections to one file with a write-ahead log. All connections are open before the
//! clock starts, and a connection that was just used is not checked. Each thread takes a connection, reads
//! one row, holds the connection for another tenth of a millisecond, and gives it back. Only `get` is
//! measured: with up to ten threads the result is the cost of the pool, with more threads it is the wait. The
//! two are measured in turn, round after round, so that other load on the machine affects both alike.

use conpool::{Pool, SqliteManager, rusqlite::Connection};
use std::{
    env, error, fs, io,
    path::{Path, PathBuf},
    process,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

const SIZE: usize = 10;
const HOLD: Duration = Duration::from_micros(100);
const THREADS: [usize; 4] = [1, 10, 50, 100];

/// The minimal equivalent manager for r2d2.
#[derive(Debug)]
struct R2d2Sqlite(PathBuf);

impl r2d2::ManageConnection for R2d2Sqlite {
    type Connection = Connection;
    type Error = conpool::rusqlite::Error;

    fn connect(&self) -> Result<Connection, Self::Error> {
        let connection = Connection::open(&self.0)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON")?;
        Ok(connection)
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<(), Self::Error> {
        connection.execute_batch("SELECT 1")
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

/// Takes a connection, reads with it, and returns how long the checkout took.
type Cycle<'a> = Box<dyn Fn() -> Duration + Sync + 'a>;

fn read(connection: &Connection) {
    let one = connection.query_row("SELECT n FROM t WHERE n = 7", [], |row| {
        row.get::<_, i64>(0)
    });
    assert_eq!(one.expect("the row is there"), 7);
    thread::sleep(HOLD);
}

/// The waits of all threads together.
fn measure(cycle: &Cycle<'_>, threads: usize, cycles: usize) -> Vec<Duration> {
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    (0..cycles).map(|_| cycle()).collect::<Vec<_>>()
                })
            })
            .collect();
        all.into_iter()
            .flat_map(|thread| thread.join().expect("no thread fails"))
            .collect()
    })
}

fn print(name: &str, threads: usize, mut seen: Vec<Duration>) {
    seen.sort_unstable();
    let mean = seen.iter().sum::<Duration>() / seen.len() as u32;
    let p95 = seen[seen.len() * 95 / 100];
    let max = seen[seen.len() - 1];
    let micros = |time: Duration| time.as_nanos() as f64 / 1_000.0;
    println!(
        "{threads:>7}  {name:<8}{:>12.2}{:>12.2}{:>12.2}",
        micros(mean),
        micros(p95),
        micros(max)
    );
}

fn main() -> Result<(), Box<dyn error::Error>> {
    let quick = env::args().any(|argument| argument == "--test");
    let (rounds, gets) = if quick { (1, 1_000) } else { (10, 20_000) };
    let folder = Temporary::new()?;
    let file = folder.0.join("bench.db");

    let ours = Pool::builder()
        .max_size(SIZE)
        .min_idle(SIZE)
        .build(SqliteManager::file(&file))?;
    ours.get()?
        .execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (7)")?;
    let theirs = r2d2::Pool::builder()
        .max_size(SIZE as u32)
        .test_on_check_out(false)
        .build(R2d2Sqlite(file))?;
    let pools: [(&str, Cycle<'_>); 2] = [
        (
            "conpool",
            Box::new(|| {
                let start = Instant::now();
                let connection = ours.get().expect("a connection");
                let took = start.elapsed();
                read(&connection);
                took
            }),
        ),
        (
            "r2d2",
            Box::new(|| {
                let start = Instant::now();
                let connection = theirs.get().expect("a connection");
                let took = start.elapsed();
                read(&connection);
                took
            }),
        ),
    ];

    println!("microseconds of get, {SIZE} connections");
    println!(
        "{:>7}  {:<8}{:>12}{:>12}{:>12}",
        "threads", "pool", "mean", "p95", "max"
    );
    for threads in THREADS {
        let mut seen = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for ((_, cycle), seen) in pools.iter().zip(&mut seen) {
                seen.extend(measure(cycle, threads, gets / rounds / threads));
            }
        }
        for ((name, _), seen) in pools.iter().zip(seen) {
            print(name, threads, seen);
        }
    }
    drop(pools);
    ours.close_timeout(Duration::from_secs(5))?;
    Ok(())
}

/// A temporary folder, removed on drop.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("conpool-bench-{}", process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all::<&Path>(&self.0);
    }
}
