//! A bank in one file: threads move money between accounts, some transfers fail half-way, one clerk panics,
//! and in the end not a cent is missing.
//!
//! Run with `cargo run --example sqlite --features sqlite`; it takes about a second and needs a temporary
//! folder, which it removes. Exit code: 0 when every promise held, 1 when one broke.

use conpool::{
    IsolationLevel, Pool, SqliteManager, SqliteTransaction, Synchronous, TransactionError, rusqlite,
};
use std::{
    env,
    error::Error,
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{self, ExitCode},
    thread,
    time::{Duration, Instant},
};

const ACCOUNTS: i64 = 10;
const CENTS_EACH: i64 = 1_000;
const CLERKS: i64 = 8;
const TRANSFERS: i64 = 100;

/// The reason why a transfer failed.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("account {0} has not that much")]
    TooPoor(i64),
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folder = Temporary::new()?;
    let file = folder.0.join("bank.db");
    let manager = SqliteManager::file(&file)
        // A power failure may cost the last transfers, but no money.
        .synchronous(Synchronous::Normal)
        .init(|connection| {
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS accounts (
                     id INTEGER PRIMARY KEY,
                     cents INTEGER NOT NULL CHECK (cents >= 0)
                 );
                 CREATE TABLE IF NOT EXISTS letters (account INTEGER NOT NULL)",
            )
        });
    let pool = Pool::builder().name("bank").max_size(4).build(manager)?;
    pool.transaction(IsolationLevel::Immediate, |tx| {
        for id in 0..ACCOUNTS {
            tx.execute("INSERT INTO accounts VALUES (?1, ?2)", [id, CENTS_EACH])?;
        }
        Ok::<_, rusqlite::Error>(())
    })?;
    println!(
        "{CLERKS} clerks make {TRANSFERS} transfers each over {} connections to {}",
        pool.config().max_size,
        file.display()
    );

    let start = Instant::now();
    let tally = work(&pool)?;
    let took = start.elapsed();
    let fell = fall_over(&pool);
    let total = number(&pool, "SELECT sum(cents) FROM accounts")?;
    let letters = number(&pool, "SELECT count(*) FROM letters")?;
    let stats = pool.stats();
    // Waits until every connection is closed; the last one empties the write-ahead log into the file.
    let closed = pool.close_timeout(Duration::from_secs(5));
    let left = files(&folder.0)?;

    let row = |name: &str, value: String| println!("  {name:<10}{value}");
    let millis = took.as_secs_f64() * 1_000.0;
    row(
        "made",
        format!("{} transfers in {millis:.0} ms", tally.made),
    );
    row(
        "refused",
        format!("{}, half done and rolled back", tally.refused),
    );
    row(
        "letters",
        format!("{letters} sent, the others undone by themselves"),
    );
    row("money", format!("{total} cents, as at the start"));
    row("pool", stats.to_string());

    let promises = [
        (
            "every transfer is made or refused",
            tally.made + tally.refused == CLERKS * TRANSFERS && tally.refused > 0,
        ),
        ("not a cent is lost or won", total == ACCOUNTS * CENTS_EACH),
        (
            "a savepoint is undone alone, and goes with its transaction",
            letters == tally.letters,
        ),
        ("a panic undoes its transaction and goes on", fell),
        (
            "closing leaves the database and nothing else",
            closed.is_ok() && left == ["bank.db"],
        ),
    ];
    for (promise, _) in promises.iter().filter(|(_, held)| !held) {
        eprintln!("broken promise: {promise}");
    }
    if promises.iter().all(|(_, held)| *held) {
        println!("every promise held");
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

/// The counts of the clerks.
#[derive(Default)]
struct Tally {
    made: i64,
    refused: i64,
    letters: i64,
}

/// Runs the clerks at the same time.
fn work(pool: &Pool<SqliteManager>) -> Result<Tally, Box<dyn Error>> {
    let clerks: Vec<_> = (0..CLERKS)
        .map(|clerk| {
            let pool = pool.clone();
            thread::spawn(move || be_a_clerk(clerk, &pool))
        })
        .collect();
    let mut all = Tally::default();
    for clerk in clerks {
        let one = clerk.join().expect("no clerk falls over here")?;
        all.made += one.made;
        all.refused += one.refused;
        all.letters += one.letters;
    }
    Ok(all)
}

fn be_a_clerk(clerk: i64, pool: &Pool<SqliteManager>) -> Result<Tally, TransactionError<Refused>> {
    let mut tally = Tally::default();
    for n in 0..TRANSFERS {
        let from = (clerk * 3 + n) % ACCOUNTS;
        let to = (from + 1 + n % 4) % ACCOUNTS;
        let cents = 50 + n * 37 % 700;
        let done = pool.transaction(IsolationLevel::Immediate, |tx| {
            transfer(tx, from, to, cents)?;
            // A letter can be rolled back without the transfer.
            let letter = tx.savepoint(|sp| {
                sp.execute("INSERT INTO letters VALUES (?1)", [to])?;
                if n % 3 == 0 {
                    return Err(Refused::TooPoor(to));
                }
                Ok(())
            });
            Ok(letter.is_ok())
        });
        match done {
            Ok(letter) => {
                tally.made += 1;
                tally.letters += i64::from(letter);
            }
            Err(TransactionError::Body(Refused::TooPoor(_))) => tally.refused += 1,
            Err(other) => return Err(other),
        }
    }
    Ok(tally)
}

/// Credits before it debits, so that a refusal comes when half is done.
fn transfer(tx: &SqliteTransaction<'_>, from: i64, to: i64, cents: i64) -> Result<(), Refused> {
    let sql = "UPDATE accounts SET cents = cents + ?2 WHERE id = ?1";
    tx.execute(sql, [to, cents])?;
    match tx.execute(sql, [from, -cents]) {
        Ok(_) => Ok(()),
        Err(error)
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
        {
            Err(Refused::TooPoor(from))
        }
        Err(error) => Err(error.into()),
    }
}

/// Panics in the middle of a transfer; returns whether the panic came through.
fn fall_over(pool: &Pool<SqliteManager>) -> bool {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let fell = panic::catch_unwind(AssertUnwindSafe(|| {
        pool.transaction(IsolationLevel::Immediate, |tx| -> Result<(), Refused> {
            tx.execute("UPDATE accounts SET cents = 0", [])?;
            panic!("the clerk fell over")
        })
    }));
    panic::set_hook(previous);
    fell.is_err_and(|panic| panic.downcast_ref() == Some(&"the clerk fell over"))
}

fn number(pool: &Pool<SqliteManager>, sql: &str) -> Result<i64, Box<dyn Error>> {
    Ok(pool.get()?.query_row(sql, [], |row| row.get(0))?)
}

/// A temporary folder, removed on drop.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("conpool-bank-{}", process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The names of the files in a folder.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
