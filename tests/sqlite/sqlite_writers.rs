//! Many writing threads: each gets its turn, and every increment is there in the end.

use crate::common;
use crate::sqlite;

use common::{SOON, assert_at, ms, secs, spawn, timed};
use conpool::{IsolationLevel, Pool, SqliteManager, SqlitePath, TransactionError, rusqlite};
use sqlite::{Folder, both, memory, number, quick, text};
use std::{sync::Barrier, thread};

fn counter(manager: SqliteManager) -> SqliteManager {
    manager.init(|connection| {
        let tables = "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, n INTEGER);
            INSERT OR IGNORE INTO counter VALUES (1, 0)";
        // A writer waits for its turn; a reader need not.
        let made = "SELECT count(*) FROM sqlite_master WHERE name = 'counter'";
        if number(connection, made) == 0 {
            connection.execute_batch(tables)?;
        }
        Ok(())
    })
}

fn value(pool: &Pool<SqliteManager>) -> i64 {
    number(&pool.get().unwrap(), "SELECT n FROM counter")
}

/// Reads and writes in two steps: without a transaction increments would get lost.
fn increment(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    let n = number(connection, "SELECT n FROM counter");
    connection.execute("UPDATE counter SET n = ?1", [n + 1])?;
    Ok(())
}

/// Runs threads that increment at once, `times` times each. All must succeed.
#[track_caller]
fn all_increment(pool: &Pool<SqliteManager>, level: IsolationLevel, threads: usize, times: usize) {
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..times {
                        pool.transaction(level, |tx| increment(tx))?;
                    }
                    Ok::<_, TransactionError<rusqlite::Error>>(())
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
    });
    assert_eq!(value(pool), (threads * times) as i64);
}

#[test]
fn ten_threads_with_five_increments_each_make_fifty() {
    for level in [IsolationLevel::Immediate, IsolationLevel::Exclusive] {
        let (_folder, managers) = both();
        for manager in managers {
            let pool = quick("ten").build(counter(manager)).unwrap();
            all_increment(&pool, level, 10, 5);
        }
    }
}

#[test]
fn a_hundred_writers_all_succeed() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = quick("hundred").build(counter(manager)).unwrap();
        all_increment(&pool, IsolationLevel::Immediate, 100, 1);
    }
}

#[test]
fn a_hundred_and_fifty_writers_all_succeed() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = quick("more").build(counter(manager)).unwrap();
        all_increment(&pool, IsolationLevel::Immediate, 150, 1);
    }
}

#[test]
fn a_hundred_and_fifty_writers_with_a_connection_each_all_succeed() {
    let (_folder, managers) = both();
    for manager in managers {
        let builder = quick("each").max_size(150).max_creating(16);
        let pool = builder.build(counter(manager)).unwrap();
        all_increment(&pool, IsolationLevel::Immediate, 150, 2);
    }
}

#[test]
fn writers_of_two_pools_on_one_file_all_succeed() {
    let folder = Folder::new();
    let managers = [folder.manager(), folder.manager()];
    let pools = managers.map(|manager| quick("pair").build(counter(manager)).unwrap());
    thread::scope(|scope| {
        for pool in &pools {
            for _ in 0..10 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let done = pool.transaction(IsolationLevel::Immediate, |tx| increment(tx));
                        done.unwrap();
                    }
                });
            }
        }
    });
    assert_eq!(value(&pools[0]), 60);
}

#[test]
fn a_writer_waits_as_long_as_the_queue_moves() {
    let manager = memory().busy_timeout(ms(1_500));
    let pool = quick("line").max_size(20).build(counter(manager)).unwrap();
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let done = pool.transaction(IsolationLevel::Immediate, |tx| {
                    thread::sleep(ms(100));
                    increment(tx)
                });
                done.unwrap();
            });
        }
    });
    assert_eq!(value(&pool), 20);
}

#[test]
fn a_writer_that_takes_longer_than_the_busy_timeout_is_not_waited_for() {
    let (_folder, managers) = both();
    for manager in managers {
        let manager = counter(manager.busy_timeout(ms(80)));
        let pool = quick("stuck").build(manager).unwrap();
        let said = pool.transaction(IsolationLevel::Immediate, |_| {
            let other = pool.clone();
            let waiting = spawn(move || {
                timed(|| other.transaction(IsolationLevel::Immediate, |tx| increment(tx)))
            });
            let (said, took) = waiting.join_soon();
            let error = said.unwrap_err();
            assert!(matches!(error, TransactionError::Begin { .. }), "{error:?}");
            assert!(error.is_busy());
            assert_at(took, ms(80));
            Ok::<_, rusqlite::Error>(())
        });
        said.unwrap();
        assert_eq!(value(&pool), 0);
    }
}

#[test]
fn readers_go_on_while_somebody_writes() {
    let folder = Folder::new();
    let pool = quick("readers").build(counter(folder.manager())).unwrap();
    let said = pool.transaction(IsolationLevel::Immediate, |tx| {
        increment(tx)?;
        let reader = pool.clone();
        let reading = spawn(move || {
            reader.transaction(IsolationLevel::Deferred, |tx| {
                Ok::<_, rusqlite::Error>(number(tx, "SELECT n FROM counter"))
            })
        });
        assert_eq!(reading.join_soon().unwrap(), 0);
        Ok::<_, rusqlite::Error>(())
    });
    said.unwrap();
    assert_eq!(value(&pool), 1);
}

#[test]
fn a_hundred_threads_can_open_a_fresh_database_at_once() {
    let folder = Folder::new();
    // Each with a manager of its own, so that the writers' queue does not order them.
    let start = Barrier::new(100);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let manager = folder.manager().busy_timeout(secs(30));
                start.wait();
                let opened = conpool::ConnectionManager::create(&manager);
                let mode = text(&opened.unwrap(), "PRAGMA journal_mode");
                assert_eq!(mode, "wal");
            });
        }
    });
}

#[test]
fn a_database_in_memory_outlives_a_stampede_of_its_connections() {
    let manager = counter(memory());
    let pool = quick("stampede").max_size(50).build(manager).unwrap();
    let start = Barrier::new(50);
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..4 {
                    let done = pool.transaction(IsolationLevel::Immediate, |tx| increment(tx));
                    done.unwrap();
                    pool.clear();
                }
            });
        }
    });
    assert_eq!(value(&pool), 200);
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn the_writers_of_different_files_do_not_wait_for_each_other() {
    let folder = Folder::new();
    let files = conpool::KeyedPool::builder()
        .max_total(4)
        .max_per_key(2)
        .build(|path: &SqlitePath| counter(path.manager().busy_timeout(ms(2_000))))
        .unwrap();
    let [a, b] = ["a.db", "b.db"].map(|name| SqlitePath::new(folder.file(name)).unwrap());
    let said = files.transaction(&a, IsolationLevel::Immediate, |tx| {
        increment(tx)?;
        let other = files.transaction(&b, IsolationLevel::Immediate, |tx| increment(tx));
        other.unwrap();
        Ok::<_, rusqlite::Error>(())
    });
    said.unwrap();
}
