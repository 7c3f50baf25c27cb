//! Descriptors and threads: all are released when a pool is gone, after every kind of use.

#![cfg(target_os = "linux")]

use crate::common;
use crate::resources;
use crate::sqlite;

use common::{SOON, noise};
use conpool::{IsolationLevel, KeyedPool, SqliteManager, SqlitePath, TransactionError, rusqlite};
use resources::{process, usage::Usage};
use sqlite::{Folder, insert, memory, quick, with_table};
use std::{fs, thread};

/// Runs every kind of use: work, rollbacks, panics, evictions, and connections left in a transaction.
fn every_use(manager: SqliteManager) {
    let pool = quick("day")
        .max_size(6)
        .min_idle(2)
        .build(with_table(manager))
        .unwrap();
    thread::scope(|scope| {
        for number in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..10 {
                    let said = pool.transaction(IsolationLevel::Immediate, |tx| {
                        insert(tx, n);
                        if n % 3 == 0 { Err(n) } else { Ok(()) }
                    });
                    assert!(matches!(said, Ok(()) | Err(TransactionError::Body(_))));
                    let held = pool.get().unwrap();
                    match n {
                        4 => conpool::PooledConnection::discard(held),
                        5 => held.execute_batch("BEGIN").unwrap(),
                        6 if number == 0 => pool.clear(),
                        7 => drop(conpool::PooledConnection::detach(held)),
                        _ => {}
                    }
                }
            });
        }
    });
    let user = pool.clone();
    let panics = thread::spawn(move || {
        let _held = user.get().unwrap();
        panic!("by the user");
    });
    panics.join().unwrap_err();
    pool.close_timeout(SOON).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.size + stats.disposing + stats.abandoned, 0, "{stats}");
}

/// SQLite keeps a few resources for the process from its first use on.
fn warmed_up() -> Usage {
    let _ = noise();
    let folder = Folder::new();
    for manager in [folder.manager(), memory()] {
        drop(conpool::ConnectionManager::create(&manager).unwrap());
    }
    Usage::now()
}

#[test]
fn after_a_day_with_a_file_nothing_is_left() {
    process::alone(|| {
        let before = warmed_up();
        let folder = Folder::new();
        every_use(folder.manager());
        before.is_restored("a file");
        // The last connection removes the log too.
        let left: Vec<_> = fs::read_dir(&*folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["test.db"]);
    });
}

#[test]
fn after_a_day_in_memory_nothing_is_left() {
    process::alone(|| {
        let before = warmed_up();
        every_use(memory());
        before.is_restored("memory");
    });
}

#[test]
fn after_creates_that_failed_nothing_is_left() {
    process::alone(|| {
        let before = warmed_up();
        let folder = Folder::new();
        fs::write(folder.database(), vec![7; 10_000]).unwrap();
        let failing = [
            folder.manager(),
            SqliteManager::file(folder.file("nowhere/a.db")),
            SqliteManager::file(folder.file("b.db"))
                .init(|connection| connection.execute_batch("BEGIN")),
            memory().init(|connection| connection.execute_batch("nonsense")),
        ];
        for manager in failing {
            quick("failing").build(manager).unwrap_err();
        }
        before.is_restored("failures");
    });
}

#[test]
fn after_many_files_nothing_is_left() {
    process::alone(|| {
        let before = warmed_up();
        let folder = Folder::new();
        let files = KeyedPool::builder()
            .max_total(5)
            .max_per_key(2)
            .build(SqlitePath::manager)
            .unwrap();
        for n in 0..12 {
            let key = SqlitePath::new(folder.file(&format!("{n}.db"))).unwrap();
            let said = files.transaction(&key, IsolationLevel::Immediate, |tx| {
                tx.execute_batch("CREATE TABLE t (n)")?;
                Ok::<_, rusqlite::Error>(())
            });
            said.unwrap();
        }
        files.close_timeout(SOON).unwrap();
        drop(files);
        before.is_restored("many files");
    });
}
