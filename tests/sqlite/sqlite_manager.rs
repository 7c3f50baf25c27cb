//! The SQLite manager alone: what it opens, sets and refuses, and how long databases live.

use crate::common;
use crate::sqlite;

use common::{SOON, eventually, interrupt_holder, ms, secs};
use conpool::{
    ConnectionManager, EvictReason, JournalMode, ManualClock, Pool, SqliteError, SqliteManager,
    Synchronous, TempStore, managers, rusqlite,
};
use sqlite::{Folder, both, chain, insert, memory, number, numbers, pool, quick, text};
use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

#[track_caller]
fn refused(manager: &SqliteManager) -> SqliteError {
    let error = manager.create().unwrap_err();
    assert!(!manager.is_transient(&error), "{error:?}");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

#[test]
fn a_file_has_a_log_foreign_keys_and_a_busy_timeout_by_default() {
    let folder = Folder::new();
    let opened = folder.manager().create().unwrap();
    assert_eq!(text(&opened, "PRAGMA journal_mode"), "wal");
    assert_eq!(number(&opened, "PRAGMA foreign_keys"), 1);
    assert_eq!(number(&opened, "PRAGMA busy_timeout"), 5_000);
    assert_eq!(number(&opened, "PRAGMA synchronous"), 2);
    assert_eq!(number(&opened, "PRAGMA query_only"), 0);
    assert!(folder.database().exists());
}

#[test]
fn memory_has_foreign_keys_and_a_busy_timeout_by_default() {
    let opened = memory().create().unwrap();
    assert_eq!(text(&opened, "PRAGMA journal_mode"), "memory");
    assert_eq!(number(&opened, "PRAGMA foreign_keys"), 1);
    assert_eq!(number(&opened, "PRAGMA busy_timeout"), 5_000);
}

#[test]
fn every_journal_mode_is_set_and_none_leaves_the_one_of_the_file() {
    let folder = Folder::new();
    let modes = [
        (JournalMode::Truncate, "truncate"),
        (JournalMode::Persist, "persist"),
        (JournalMode::Memory, "memory"),
        (JournalMode::Off, "off"),
        (JournalMode::Delete, "delete"),
        (JournalMode::Wal, "wal"),
    ];
    for (mode, word) in modes {
        let opened = folder.manager().journal_mode(mode).create().unwrap();
        assert_eq!(text(&opened, "PRAGMA journal_mode"), word);
    }
    let opened = folder.manager().journal_mode(None).create().unwrap();
    assert_eq!(text(&opened, "PRAGMA journal_mode"), "wal");
    drop(opened);
    let opened = Folder::new().manager().journal_mode(None).create().unwrap();
    assert_eq!(text(&opened, "PRAGMA journal_mode"), "delete");
}

#[test]
fn the_other_pragmas_are_set() {
    let (_folder, managers) = both();
    for manager in managers {
        for (synchronous, number_) in [
            (Synchronous::Off, 0),
            (Synchronous::Normal, 1),
            (Synchronous::Full, 2),
            (Synchronous::Extra, 3),
        ] {
            let opened = manager.clone().synchronous(synchronous).create().unwrap();
            assert_eq!(number(&opened, "PRAGMA synchronous"), number_);
        }
        for (store, number_) in [
            (TempStore::Default, 0),
            (TempStore::File, 1),
            (TempStore::Memory, 2),
        ] {
            let opened = manager.clone().temp_store(store).create().unwrap();
            assert_eq!(number(&opened, "PRAGMA temp_store"), number_);
        }
        for size in [-777, 123] {
            let opened = manager.clone().cache_size(size).create().unwrap();
            assert_eq!(number(&opened, "PRAGMA cache_size"), size.into());
        }
        for (enforced, number_) in [(true, 1), (false, 0)] {
            let opened = manager.clone().foreign_keys(enforced).create().unwrap();
            assert_eq!(number(&opened, "PRAGMA foreign_keys"), number_);
        }
        for (timeout, millis) in [
            (Duration::ZERO, 0),
            (Duration::from_micros(1), 1),
            (ms(70), 70),
            (Duration::MAX, i32::MAX.into()),
        ] {
            let opened = manager.clone().busy_timeout(timeout).create().unwrap();
            assert_eq!(number(&opened, "PRAGMA busy_timeout"), millis);
        }
    }
}

#[test]
fn a_pragma_that_sqlite_does_not_take_is_named_with_its_value() {
    let error = refused(&memory().journal_mode(JournalMode::Wal));
    let said = error.to_string();
    assert!(
        said.starts_with("cannot set journal_mode to wal on the database \":memory:test"),
        "{said}"
    );
    assert!(said.ends_with("it stays memory"), "{said}");

    // A read-only connection cannot change the journal mode.
    let folder = Folder::new();
    folder
        .other_program()
        .execute_batch("CREATE TABLE t (n)")
        .unwrap();
    let manager = folder.manager().read_only(true);
    refused(&manager.clone().journal_mode(JournalMode::Wal));
    let opened = manager.create().unwrap();
    assert_eq!(text(&opened, "PRAGMA journal_mode"), "delete");
}

#[test]
fn read_only_reads_only() {
    let (_folder, managers) = both();
    for manager in managers {
        let writing = pool("writing", manager.clone());
        insert(&writing.get().unwrap(), 1);
        let reading = Pool::new(manager.read_only(true)).unwrap();
        let held = reading.get().unwrap();
        assert_eq!(numbers(&held), [1]);
        let error = held.execute("INSERT INTO t VALUES (2)", []).unwrap_err();
        let code = error.sqlite_error_code();
        assert_eq!(code, Some(rusqlite::ErrorCode::ReadOnly), "{error}");
        drop(held);
        assert!(reading.check_health().is_healthy());
    }
}

#[test]
fn a_missing_file_is_made_only_where_it_may_be() {
    let folder = Folder::new();
    for manager in [
        folder.manager().create_if_missing(false),
        folder.manager().read_only(true),
    ] {
        let error = refused(&manager);
        assert!(matches!(error, SqliteError::Missing { .. }), "{error:?}");
        assert!(!folder.database().exists());
    }
    drop(folder.manager().create().unwrap());
    drop(folder.manager().create_if_missing(false).create().unwrap());
}

#[test]
fn the_init_hook_gets_each_new_connection_when_all_is_set() {
    let (_folder, managers) = both();
    for manager in managers {
        let manager = manager.busy_timeout(ms(70)).init(|connection| {
            assert_eq!(number(connection, "PRAGMA busy_timeout"), 70);
            connection.execute_batch("CREATE TEMP TABLE mine (n); PRAGMA cache_size = 55")
        });
        let pool = quick("init").build(manager).unwrap();
        let (one, two) = (pool.get().unwrap(), pool.get().unwrap());
        for held in [&one, &two] {
            assert_eq!(number(held, "SELECT count(*) FROM mine"), 0);
            assert_eq!(number(held, "PRAGMA cache_size"), 55);
        }
    }
}

#[test]
fn an_init_hook_that_fails_or_leaves_a_transaction_open_fails_the_create() {
    let (_folder, managers) = both();
    for manager in managers {
        let bad = |sql: &'static str| manager.clone().init(move |c| c.execute_batch(sql));
        let error = refused(&bad("SELECT nonsense"));
        assert!(matches!(error, SqliteError::Init { .. }), "{error:?}");
        assert!(chain(&error).contains("nonsense"), "{}", chain(&error));
        let error = refused(&bad("BEGIN"));
        assert!(matches!(error, SqliteError::InitUnfinished { .. }));
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let cases = [
        (SqliteManager::file(""), "must not be empty"),
        (SqliteManager::file(":memory:"), "SqliteManager::memory"),
        (SqliteManager::file("file:a.db?mode=ro"), "no URI"),
        (SqliteManager::memory(""), "empty name"),
        (SqliteManager::memory("a\0b"), "zero byte"),
    ];
    for (manager, rule) in cases {
        let error = refused(&manager);
        assert!(matches!(error, SqliteError::Name { .. }), "{error:?}");
        assert!(error.to_string().contains(rule), "{error}");
    }
}

#[test]
fn a_path_says_what_it_looks_like_whatever_is_in_it() {
    let folder = Folder::new();
    for name in ["a b?c=d#e%20.db", "größe.db", "file:x.db", "-wal"] {
        drop(SqliteManager::file(folder.file(name)).create().unwrap());
        assert!(folder.file(name).exists(), "{name}");
    }
}

#[test]
fn making_a_manager_touches_nothing() {
    let folder = Folder::new();
    let manager = folder.manager();
    drop(quick("untouched").build_lazy(manager.clone()).unwrap());
    assert!(!folder.database().exists());
    drop(manager.create().unwrap());
    assert!(folder.database().exists());
}

#[test]
fn memory_lives_as_long_as_the_manager_does() {
    let manager = memory();
    let first = pool("lives", manager.clone());
    insert(&first.get().unwrap(), 1);
    first.clear();
    eventually(|| first.stats().size == 0);
    first.close_timeout(SOON).unwrap();
    drop(first);
    // Only the manager's own connection is left.
    let second = pool("lives", manager.clone());
    assert_eq!(numbers(&second.get().unwrap()), [1]);
    second.close_timeout(SOON).unwrap();
    drop((second, manager.clone()));
    assert_eq!(numbers(&manager.create().unwrap()), [1]);

    // The database ends there: the same name begins with an empty one.
    let name = SqliteManager::memory("lives no longer");
    let third = pool("lives", name);
    insert(&third.get().unwrap(), 1);
    third.close_timeout(SOON).unwrap();
    drop(third);
    let fourth = pool("lives", SqliteManager::memory("lives no longer"));
    assert_eq!(numbers(&fourth.get().unwrap()), []);
}

#[test]
fn managers_of_one_name_share_their_memory_and_of_two_do_not() {
    let [a, again, b] = ["shared 1", "shared 1", "shared/1"].map(SqliteManager::memory);
    let (a, b, again) = (pool("a", a), pool("b", b), pool("again", again));
    insert(&a.get().unwrap(), 1);
    assert_eq!(numbers(&again.get().unwrap()), [1]);
    assert_eq!(numbers(&b.get().unwrap()), []);
}

#[test]
fn a_closed_pool_leaves_the_whole_database_in_one_file() {
    for _ in 0..20 {
        let folder = Folder::new();
        let pool = quick("whole")
            .build(sqlite::with_table(folder.manager()))
            .unwrap();
        let held = common::take(&pool, 8);
        insert(&held[0], 1);
        drop(held);
        pool.close_timeout(SOON).unwrap();
        let left: Vec<_> = std::fs::read_dir(&*folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["test.db"]);
    }
}

#[test]
fn connections_expire_and_are_replaced() {
    let (_folder, managers) = both();
    for manager in managers {
        let clock = ManualClock::new();
        let pool = quick("expire")
            .clock(clock.clone())
            .max_lifetime(secs(60))
            .idle_timeout(secs(20))
            .max_uses(3)
            .build(sqlite::with_table(manager))
            .unwrap();
        insert(&pool.get().unwrap(), 1);
        clock.advance(secs(21));
        pool.sweep();
        assert_eq!(pool.stats().evicted(EvictReason::IdleTimeout), 1);
        assert_eq!(numbers(&pool.get().unwrap()), [1]);
        for _ in 0..4 {
            clock.advance(secs(16));
            // An idle connection is checked, and only the check proves that it works.
            assert_eq!(numbers(&pool.get().unwrap()), [1]);
        }
        let stats = pool.stats();
        let gone = stats.evicted(EvictReason::MaxLifetime) + stats.evicted(EvictReason::MaxUses);
        assert!(gone >= 1, "{stats}");
        assert_eq!(stats.check_failures, 0);
        pool.close_timeout(SOON).unwrap();
    }
}

#[test]
fn the_names_are_at_the_root_and_in_the_module_and_rusqlite_is_the_same_crate() {
    let manager: managers::sqlite::SqliteManager = memory();
    let opened: managers::sqlite::rusqlite::Connection = manager.create().unwrap().into_inner();
    let _: conpool::rusqlite::Result<()> = opened.execute_batch("SELECT 1");
}

#[test]
fn a_path_is_resolved_when_the_manager_is_made() {
    let manager = SqliteManager::file("nowhere-at-all/a.db");
    let error = refused(&manager);
    let here = std::env::current_dir().unwrap();
    let SqliteError::NoFolder { path } = error else {
        panic!("{error:?}")
    };
    assert_eq!(&*path, here.join("nowhere-at-all/a.db").as_path());
    assert!(Path::new(&*path).is_absolute());
}

#[test]
fn a_create_waits_for_locks_no_longer_than_the_busy_timeout_in_all() {
    let folder = Folder::new();
    let holder = folder.other_program();
    holder
        .execute_batch("CREATE TABLE t (n); BEGIN EXCLUSIVE")
        .unwrap();
    let manager = folder.manager().busy_timeout(ms(80));
    let start = Instant::now();
    let error = manager.create().unwrap_err();
    common::assert_at(start.elapsed(), ms(80));
    assert!(manager.is_transient(&error));
    assert!(matches!(error, SqliteError::Read { .. }), "{error:?}");
    assert_eq!(error.code(), Some(rusqlite::ErrorCode::DatabaseBusy));
}

#[test]
fn a_create_in_memory_waits_for_a_schema_that_somebody_is_changing() {
    let manager = memory();
    let holder = manager.create().unwrap();
    holder.execute_batch("BEGIN; CREATE TABLE t (n)").unwrap();
    let creating = manager.clone();
    let creating = common::spawn(move || creating.create().map(drop));
    common::stays(|| !creating.is_finished());
    holder.execute_batch("COMMIT").unwrap();
    creating.join_soon().unwrap();
}

#[test]
fn a_statement_that_runs_for_ever_is_ended_by_an_interrupt() {
    let pool = Pool::builder().max_size(1).build(memory()).unwrap();
    let (started, running) = mpsc::channel();
    let endless = common::spawn({
        let pool = pool.clone();
        move || {
            let connection = pool.get().unwrap();
            let counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                            SELECT i FROM n";
            let mut statement = connection.prepare(counting)?;
            let mut rows = statement.query([])?;
            rows.next()?;
            started.send(()).unwrap();
            while rows.next()?.is_some() {}
            Ok::<_, rusqlite::Error>(())
        }
    });
    running.recv_timeout(SOON).unwrap();
    interrupt_holder(&pool);
    let error = endless.join_soon().unwrap_err();
    assert_eq!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::OperationInterrupted)
    );
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
    pool.close_timeout(SOON).unwrap();
}
