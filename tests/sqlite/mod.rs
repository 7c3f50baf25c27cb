//! Shared by the tests of SQLite databases.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]

pub(crate) use crate::common::chain;
use crate::common::{folder, ms, noise, quick_backoff, secs};
use conpool::{Pool, PoolBuilder, PooledConnection, SqliteManager, rusqlite};
use std::{
    ops, path,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// A folder for one test, removed on drop.
#[derive(Debug)]
pub(crate) struct Folder(folder::Folder);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(folder::Folder::new("sqlite"))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A manager for a database in this folder.
    pub(crate) fn manager(&self) -> SqliteManager {
        SqliteManager::file(self.database())
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.file("test.db")
    }

    /// A connection outside of all pools, like that of another program.
    pub(crate) fn other_program(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.database()).unwrap()
    }
}

impl ops::Deref for Folder {
    type Target = path::Path;

    fn deref(&self) -> &path::Path {
        &self.0
    }
}

/// A manager for a memory database with a unique name.
pub(crate) fn memory() -> SqliteManager {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    SqliteManager::memory(format!("test {}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// A file and a memory database, with a folder that must outlive them.
pub(crate) fn both() -> (Folder, [SqliteManager; 2]) {
    let folder = Folder::new();
    let managers = [folder.manager(), memory()];
    (folder, managers)
}

/// A manager that creates a table `t` with one column `n`.
pub(crate) fn with_table(manager: SqliteManager) -> SqliteManager {
    manager.init(|connection| connection.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER)"))
}

pub(crate) fn quick(name: &str) -> PoolBuilder<SqliteManager> {
    let _ = noise();
    Pool::builder()
        .name(name)
        .backoff(quick_backoff())
        .get_timeout(secs(30))
}

/// A pool of at most four connections, with the table.
pub(crate) fn pool(name: &str, manager: SqliteManager) -> Pool<SqliteManager> {
    quick(name)
        .max_size(4)
        .build(with_table(manager.busy_timeout(ms(2_000))))
        .unwrap()
}

/// The number that a query returns.
pub(crate) fn number(connection: &rusqlite::Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The numbers in the table, in order.
pub(crate) fn numbers(connection: &rusqlite::Connection) -> Vec<i64> {
    let mut statement = connection.prepare("SELECT n FROM t ORDER BY n").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

pub(crate) fn insert(connection: &rusqlite::Connection, n: i64) {
    let sql = "INSERT INTO t VALUES (?1)";
    connection.execute(sql, [n]).unwrap();
}

pub(crate) fn text(connection: &rusqlite::Connection, sql: &str) -> String {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The number of a connection in its pool.
pub(crate) fn id(guard: &PooledConnection<SqliteManager>) -> u64 {
    PooledConnection::info(guard).id
}
