//! Transactions: what is committed, what is rolled back, the caller's error, and that no connection comes
//! back in the middle of one.

use crate::common;
use crate::sqlite;

use common::{Gate, SOON, assert_at, ms, noise, spawn, stays, timed};
use conpool::{
    EvictReason, GetError, IsolationLevel, JournalMode, Pool, SavepointError, SqliteManager,
    TransactionError, rusqlite,
};
use sqlite::{Folder, both, chain, insert, memory, number, numbers, pool, quick, with_table};
use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
};

const LEVELS: [IsolationLevel; 3] = [
    IsolationLevel::Deferred,
    IsolationLevel::Immediate,
    IsolationLevel::Exclusive,
];

/// An error of its own type, and neither `Error` nor `Display`.
#[derive(Debug, PartialEq)]
struct OwnError(&'static str);

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}

#[test]
fn what_the_body_did_stays_when_it_says_ok() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-ok", manager);
        for (n, level) in (1..).zip(LEVELS) {
            let said = pool.transaction(level, |tx| {
                insert(tx, n);
                Ok::<_, OwnError>(n * 10)
            });
            assert_eq!(said.unwrap(), n * 10);
        }
        assert_eq!(numbers(&pool.get().unwrap()), [1, 2, 3]);
    }
}

#[test]
fn nothing_stays_when_it_fails_and_its_error_comes_back_as_it_was() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-err", manager);
        for level in LEVELS {
            let said = pool.transaction(level, |tx| {
                insert(tx, 1);
                Err::<(), _>(OwnError("no"))
            });
            let error = said.unwrap_err();
            assert_eq!(error.body(), Some(&OwnError("no")));
            assert_eq!(error.into_body().unwrap(), OwnError("no"));
        }
        assert_eq!(numbers(&pool.get().unwrap()), []);
        // The connection is reused.
        assert_eq!(pool.stats().created, 1);
    }
}

#[test]
fn nothing_stays_when_it_panics_and_the_panic_goes_on_as_it_was() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-panic", manager);
        let other = pool.get().unwrap();
        other.busy_timeout(ms(0)).unwrap();
        for level in LEVELS {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.transaction(level, |tx| -> Result<(), OwnError> {
                    insert(tx, 1);
                    std::panic::panic_any(OwnError("panic"))
                })
            }));
            let panic = caught.unwrap_err();
            assert_eq!(panic.downcast_ref::<OwnError>(), Some(&OwnError("panic")));
            // The lock is free before the caller gets the error.
            other.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
            assert_eq!(numbers(&other), []);
        }
        drop(other);
        assert_eq!(pool.stats().evicted(EvictReason::Panicked), 3);
        pool.close_timeout(SOON).unwrap();
    }
}

#[test]
fn a_deferred_transaction_takes_no_lock_before_it_needs_one() {
    let folder = Folder::new();
    let pool = pool("tx-deferred", folder.manager());
    let other = folder.other_program();
    other.busy_timeout(ms(0)).unwrap();
    let said = pool.transaction(IsolationLevel::Deferred, |_| {
        other.execute_batch("BEGIN IMMEDIATE; ROLLBACK")
    });
    said.unwrap();
}

#[test]
fn an_immediate_one_keeps_writers_out_and_lets_readers_in() {
    for mode in [JournalMode::Wal, JournalMode::Delete] {
        let folder = Folder::new();
        let pool = pool("tx-immediate", folder.manager().journal_mode(mode));
        let other = folder.other_program();
        other.busy_timeout(ms(0)).unwrap();
        let said = pool.transaction(IsolationLevel::Immediate, |tx| {
            insert(tx, 1);
            assert!(is_busy(
                &other.execute_batch("BEGIN IMMEDIATE").unwrap_err()
            ));
            assert_eq!(numbers(&other), []);
            Ok::<_, OwnError>(())
        });
        said.unwrap();
        assert_eq!(numbers(&other), [1]);
    }
}

#[test]
fn an_exclusive_one_keeps_readers_out_where_there_is_no_log() {
    for (mode, kept_out) in [(JournalMode::Wal, false), (JournalMode::Delete, true)] {
        let folder = Folder::new();
        let pool = pool("tx-exclusive", folder.manager().journal_mode(mode));
        let other = folder.other_program();
        other.busy_timeout(ms(0)).unwrap();
        let said = pool.transaction(IsolationLevel::Exclusive, |_| {
            let read = other.query_row("SELECT count(*) FROM t", [], |_| Ok(()));
            Ok::<_, OwnError>(read.is_err_and(|error| is_busy(&error)))
        });
        assert_eq!(said.unwrap(), kept_out);
    }
}

#[test]
fn the_inner_work_is_undone_and_the_outer_stays() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-nested", manager);
        let said = pool.transaction(IsolationLevel::Immediate, |tx| {
            insert(tx, 1);
            let failed = tx.savepoint(|sp| {
                insert(sp, 2);
                let kept = sp.savepoint(|deeper| {
                    insert(deeper, 3);
                    Ok::<_, OwnError>(())
                });
                assert!(kept.is_ok());
                Err::<(), _>(OwnError("inner"))
            });
            assert!(matches!(
                failed,
                Err(SavepointError::Body(OwnError("inner")))
            ));
            let value = tx.savepoint(|sp| {
                insert(sp, 4);
                let failed = sp.savepoint(|deeper| {
                    insert(deeper, 5);
                    deeper.savepoint(|deepest| {
                        insert(deepest, 6);
                        Err::<(), _>(OwnError("deepest"))
                    })
                });
                assert!(failed.is_err());
                Ok::<_, OwnError>(7)
            });
            Ok::<_, OwnError>(value.unwrap())
        });
        assert_eq!(said.unwrap(), 7);
        assert_eq!(numbers(&pool.get().unwrap()), [1, 4]);
    }
}

#[test]
fn savepoints_are_undone_when_the_outer_fails() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-outer", manager);
        let said = pool.transaction(IsolationLevel::Immediate, |tx| {
            let kept = tx.savepoint(|sp| {
                insert(sp, 1);
                Ok::<_, OwnError>(())
            });
            assert!(kept.is_ok());
            Err::<(), _>(OwnError("outer"))
        });
        assert_eq!(said.unwrap_err().body(), Some(&OwnError("outer")));
        assert_eq!(numbers(&pool.get().unwrap()), []);
    }
}

#[test]
fn a_panic_in_a_savepoint_that_the_body_catches_undoes_the_inner_work_only() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-caught", manager);
        let said = pool.transaction(IsolationLevel::Immediate, |tx| {
            insert(tx, 1);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                tx.savepoint(|sp| -> Result<(), OwnError> {
                    insert(sp, 2);
                    panic!("inner")
                })
            }));
            assert!(caught.is_err());
            insert(tx, 3);
            Ok::<_, OwnError>(())
        });
        said.unwrap();
        assert_eq!(numbers(&pool.get().unwrap()), [1, 3]);
    }
}

#[test]
fn the_question_mark_turns_the_error_of_a_savepoint_into_that_of_rusqlite() {
    let pool = pool("tx-mark", memory());
    let said = pool.transaction(IsolationLevel::Immediate, |tx| {
        tx.savepoint(|sp| sp.execute("INSERT INTO nowhere VALUES (1)", []))?;
        Ok::<_, rusqlite::Error>(())
    });
    let error = said.unwrap_err();
    assert!(
        chain(&error).contains("no such table: nowhere"),
        "{}",
        chain(&error)
    );
}

#[test]
fn a_commit_that_a_reader_forbids_is_told_and_undone() {
    let folder = Folder::new();
    let manager = folder.manager().journal_mode(JournalMode::Delete);
    let pool = quick("tx-reader")
        .build(with_table(manager.busy_timeout(ms(60))))
        .unwrap();
    let reader = folder.other_program();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM t")
        .unwrap();
    let (said, took) = timed(|| {
        pool.transaction(IsolationLevel::Immediate, |tx| {
            insert(tx, 1);
            Ok::<_, OwnError>(())
        })
    });
    let error = said.unwrap_err();
    assert!(matches!(error, TransactionError::Commit(_)), "{error:?}");
    assert!(error.is_busy());
    assert_at(took, ms(60));
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(numbers(&reader), []);
    assert_eq!(pool.stats().created, 1);
    reader.execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
}

#[test]
fn a_commit_that_a_foreign_key_forbids_is_told_and_undone() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-fk", manager);
        let tables = "CREATE TABLE p (id INTEGER PRIMARY KEY);
            CREATE TABLE c (p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)";
        pool.get().unwrap().execute_batch(tables).unwrap();
        let said = pool.transaction(IsolationLevel::Immediate, |tx| {
            tx.execute("INSERT INTO c VALUES (7)", [])
        });
        let error = said.unwrap_err();
        assert!(matches!(error, TransactionError::Commit(_)), "{error:?}");
        assert!(!error.is_busy());
        assert_eq!(number(&pool.get().unwrap(), "SELECT count(*) FROM c"), 0);
    }
}

#[test]
fn a_commit_waits_for_a_schema_that_somebody_else_is_changing() {
    let pool = pool("tx-schema", memory());
    let other = pool.get().unwrap();
    let said = pool.transaction(IsolationLevel::Deferred, |_| {
        other.execute_batch("BEGIN; CREATE TABLE u (n)").unwrap();
        Ok::<_, OwnError>(spawn(move || {
            std::thread::sleep(ms(50));
            other.execute_batch("COMMIT").unwrap();
        }))
    });
    said.unwrap().join_soon();
}

#[test]
fn a_body_that_ends_its_transaction_itself_is_told_so() {
    let pool = pool("tx-ended", memory());
    for end in ["COMMIT", "ROLLBACK"] {
        let said = pool.transaction(IsolationLevel::Immediate, |tx| tx.execute_batch(end));
        assert!(matches!(said, Err(TransactionError::Ended)), "{said:?}");
    }
    // The closure's own error takes precedence.
    let said = pool.transaction(IsolationLevel::Immediate, |tx| {
        tx.execute_batch("ROLLBACK").unwrap();
        Err::<(), _>(OwnError("first"))
    });
    assert_eq!(said.unwrap_err().body(), Some(&OwnError("first")));
}

#[test]
fn after_sqlite_has_rolled_all_back_inside_a_savepoint_nothing_is_committed() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-lost", manager);
        let table = "CREATE TABLE u (n UNIQUE ON CONFLICT ROLLBACK); INSERT INTO u VALUES (1)";
        pool.get().unwrap().execute_batch(table).unwrap();
        let said = pool.transaction(IsolationLevel::Immediate, |tx| {
            insert(tx, 1);
            let failed = tx.savepoint(|sp| sp.execute("INSERT INTO u VALUES (1)", []));
            assert!(failed.is_err());
            // Without the outer rollback this would stay.
            insert(tx, 2);
            let kept = tx.savepoint(|sp| sp.execute("INSERT INTO t VALUES (3)", []));
            assert_eq!(kept.unwrap(), 1);
            Ok::<_, OwnError>(())
        });
        assert!(matches!(said, Err(TransactionError::Ended)), "{said:?}");
        assert_eq!(numbers(&pool.get().unwrap()), []);
        assert_eq!(pool.stats().created, 1);
    }
}

#[test]
fn a_lock_that_somebody_else_holds_is_waited_for_as_long_as_the_busy_timeout_says() {
    let (folder, [file, memory]) = both();
    let keeps = |manager: &SqliteManager| {
        let manager = with_table(manager.clone().busy_timeout(ms(80)));
        quick("tx-busy").build(manager).unwrap()
    };
    let (in_file, in_memory) = (keeps(&file), keeps(&memory));
    let other_program = folder.other_program();
    let insider = in_memory.get().unwrap();
    let cases: [(&Pool<SqliteManager>, &rusqlite::Connection); 2] =
        [(&in_file, &other_program), (&in_memory, &insider)];
    for (pool, holder) in cases {
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (said, took) =
            timed(|| pool.transaction(IsolationLevel::Immediate, |_| Ok::<_, rusqlite::Error>(())));
        let error = said.unwrap_err();
        assert!(matches!(error, TransactionError::Begin { .. }), "{error:?}");
        assert!(error.is_busy());
        assert!(chain(&error).contains("locked"), "{}", chain(&error));
        assert_at(took, ms(80));
        holder.execute_batch("COMMIT").unwrap();
    }
}

#[test]
fn who_waits_for_a_lock_goes_on_when_it_is_free() {
    let (folder, [file, memory]) = both();
    let (in_file, in_memory) = (pool("tx-free", file), pool("tx-free", memory));
    let other_program = folder.other_program();
    let insider = in_memory.get().unwrap();
    let cases: [(&Pool<SqliteManager>, &rusqlite::Connection); 2] =
        [(&in_file, &other_program), (&in_memory, &insider)];
    for (pool, holder) in cases {
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let begun = Gate::default();
        let (waiting, begins) = (pool.clone(), begun.clone());
        let waiter = spawn(move || {
            begins.open();
            waiting.transaction(IsolationLevel::Immediate, |_| Ok::<_, rusqlite::Error>(()))
        });
        begun.pass();
        stays(|| !waiter.is_finished());
        holder.execute_batch("COMMIT").unwrap();
        waiter.join_soon().unwrap();
    }
}

#[test]
fn who_reads_and_then_writes_after_somebody_else_wrote_is_told_at_once() {
    let folder = Folder::new();
    let pool = pool("tx-snapshot", folder.manager());
    let other = folder.other_program();
    let (said, took) = timed(|| {
        pool.transaction(IsolationLevel::Deferred, |tx| {
            assert_eq!(numbers(tx), []);
            insert(&other, 1);
            tx.execute("INSERT INTO t VALUES (2)", [])
        })
    });
    let error = said.unwrap_err().into_body().unwrap();
    assert!(is_busy(&error), "{error}");
    assert!(took < ms(800) + noise(), "{took:?}");
    assert_eq!(numbers(&other), [1]);
}

#[test]
fn without_a_connection_the_error_is_that_of_get() {
    let pool = pool("tx-closed", memory());
    pool.close();
    let said = pool.transaction(IsolationLevel::Immediate, |_| Ok::<_, rusqlite::Error>(()));
    let error = said.unwrap_err();
    assert!(
        matches!(&error, TransactionError::Get(GetError::Closed { .. })),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "no connection for the transaction");
    assert_eq!(
        error.source().unwrap().to_string(),
        r#"pool "tx-closed": closed"#
    );
}

#[test]
fn several_transactions_can_use_one_checkout() {
    let pool = pool("tx-checkout", memory());
    let mut held = pool.get().unwrap();
    for n in 1..=3 {
        let said = held.in_transaction(IsolationLevel::Immediate, |tx| {
            insert(tx, n);
            Ok::<_, OwnError>(())
        });
        said.unwrap();
    }
    // Inside a transaction another cannot begin, and the first is unchanged.
    held.execute_batch("BEGIN").unwrap();
    insert(&held, 4);
    let said = held.in_transaction(IsolationLevel::Immediate, |_| Ok::<_, OwnError>(()));
    assert!(matches!(said, Err(TransactionError::Begin { .. })));
    held.execute_batch("COMMIT").unwrap();
    assert_eq!(numbers(&held), [1, 2, 3, 4]);
}
