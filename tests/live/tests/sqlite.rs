//! SQLite with r2d2_sqlite: files, memory, locks, and state that a user leaves open.

#[path = "../../common/mod.rs"]
mod common;
mod shared;

use common::{SOON, descriptors, eventually, ms, noise};
use conpool::{EvictReason, HealthCheck, Pool, PooledConnection, R2d2Manager};
use r2d2_sqlite::{
    SqliteConnectionManager,
    rusqlite::{Connection, Error, ErrorCode},
};
use shared::{SIZE, builder, close, serves_in_full, timeout_with_cause, under_load};
use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// A folder for a database, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("conpool-{name}-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        Self(fs::canonicalize(folder).unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.join("test.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn manager(file: &Path) -> R2d2Manager<SqliteConnectionManager> {
    let manager = SqliteConnectionManager::file(file);
    R2d2Manager::new(manager.with_init(|connection| {
        connection.busy_timeout(SOON * 4)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")
    }))
}

fn count(connection: &Connection) -> Result<i64, Error> {
    connection.query_row("SELECT count(*) FROM ledger", [], |row| row.get(0))
}

#[test]
fn sixteen_users_share_four_connections_to_a_file_and_nothing_is_lost() {
    let folder = Folder::new("sqload");
    let pool = builder("sqload")
        .get_timeout(SOON)
        .build(manager(&folder.file()))
        .unwrap();
    pool.get()
        .unwrap()
        .execute_batch("CREATE TABLE ledger (id INTEGER PRIMARY KEY)")
        .unwrap();
    let written = AtomicU64::new(0);
    let tally = under_load(
        &pool,
        |connection, number| {
            connection.execute("INSERT INTO ledger VALUES (?1)", [number as i64])?;
            written.fetch_add(1, SeqCst);
            let question = "SELECT id FROM ledger WHERE id = ?1";
            let id: i64 = connection.query_row(question, [number as i64], |row| row.get(0))?;
            assert_eq!(id, number as i64);
            Ok::<_, Error>(())
        },
        |tally| tally.wait_for_more(500),
    );
    assert_eq!(tally.broken.load(SeqCst), 0);
    assert_eq!(
        count(&pool.get().unwrap()).unwrap() as u64,
        written.load(SeqCst)
    );
    assert!(pool.stats().created <= SIZE as u64);
    assert!(descriptors(&folder.file()) >= 1);
    close(&pool);
    eventually(|| descriptors(&folder.file()) == 0);
}

#[test]
fn the_connections_of_a_manager_in_memory_see_one_database() {
    let manager = R2d2Manager::new(SqliteConnectionManager::memory());
    let pool = builder("sqmemory")
        .health_check(HealthCheck::OnCheckout)
        .build(manager)
        .unwrap();
    pool.get()
        .unwrap()
        .execute_batch("CREATE TABLE ledger (id INTEGER); INSERT INTO ledger VALUES (1)")
        .unwrap();
    serves_in_full(&pool, |connection| {
        assert_eq!(count(connection)?, 1);
        Ok::<_, Error>(())
    });
    close(&pool);
}

#[test]
fn a_transaction_rolls_back_by_its_guard_but_a_bare_begin_is_the_next_users_as_with_r2d2() {
    let folder = Folder::new("sqbegin");
    let pool = builder("sqbegin")
        .max_size(1)
        .build(manager(&folder.file()))
        .unwrap();
    let mut connection = pool.get().unwrap();
    connection
        .execute_batch("CREATE TABLE ledger (id INTEGER)")
        .unwrap();
    let transaction = connection.transaction().unwrap();
    transaction
        .execute("INSERT INTO ledger VALUES (1)", [])
        .unwrap();
    drop(transaction);
    drop(connection);
    let connection = pool.get().unwrap();
    assert_eq!(count(&connection).unwrap(), 0);

    // The manager's has_broken always returns false, so neither pool notices.
    connection
        .execute_batch("BEGIN; INSERT INTO ledger VALUES (2)")
        .unwrap();
    drop(connection);
    let connection = pool.get().unwrap();
    assert!(!connection.is_autocommit());
    PooledConnection::discard(connection);
    let connection = pool.get().unwrap();
    assert!(connection.is_autocommit());
    assert_eq!(count(&connection).unwrap(), 0);
    drop(connection);
    close(&pool);
}

#[test]
fn what_a_panic_leaves_open_is_rolled_back_with_its_connection() {
    let folder = Folder::new("sqpanic");
    let pool = builder("sqpanic")
        .max_size(1)
        .build(manager(&folder.file()))
        .unwrap();
    let create = "CREATE TABLE ledger (id INTEGER)";
    pool.get().unwrap().execute_batch(create).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let connection = pool.get().unwrap();
        connection
            .execute_batch("BEGIN; INSERT INTO ledger VALUES (1)")
            .unwrap();
        panic!("halfway through a transaction");
    }));
    assert!(panicked.is_err());
    let connection = pool.get_timeout(SOON).unwrap();
    assert!(connection.is_autocommit());
    assert_eq!(count(&connection).unwrap(), 0);
    drop(connection);
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 1);
    close(&pool);
}

#[test]
fn a_file_that_cannot_be_opened_is_the_cause_until_it_can() {
    let folder = Folder::new("sqnowhere");
    let missing = folder.0.join("not yet");
    let _ = noise();
    let pool: Pool<_> = builder("sqnowhere")
        .build_lazy(manager(&missing.join("test.db")))
        .unwrap();
    let error = timeout_with_cause(&pool, ms(60));
    let cause = error.last_create_error().and_then(Error::sqlite_error_code);
    assert_eq!(cause, Some(ErrorCode::CannotOpen), "{error:?}");
    fs::create_dir(&missing).unwrap();
    drop(pool.get_timeout(SOON).unwrap());
    close(&pool);
}
