//! The table of faults on the page of the module, row by row: the database's state, the caller's error, and
//! the pool's recovery.

use crate::common;
use crate::sqlite;

use common::{
    Gate, SOON, assert_at, eventually, ms, noise, queued, spawn, timed, timeout_with_cause,
};
use conpool::{
    BuildError, Cause, EvictReason, GetError, Health, HealthCheck, IsolationLevel, JournalMode,
    Pool, SqliteError, SqliteManager, rusqlite,
};
use sqlite::{Folder, both, chain, id, insert, numbers, pool, quick, with_table};
use std::{
    fs::{self, OpenOptions},
    io::{Seek, Write},
    path::Path,
};

/// Asserts that build and get fail at once, without waiting or repeating.
#[track_caller]
fn told_at_once(manager: &SqliteManager, says: &str) -> SqliteError {
    let (built, took) = timed(|| quick("at-once").build(manager.clone()));
    let error = built.unwrap_err();
    assert!(took < SOON, "{took:?}");
    assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
    let pool = quick("at-once").build_lazy(manager.clone()).unwrap();
    let (got, took) = timed(|| pool.get_timeout(SOON * 4));
    let error = got.unwrap_err();
    assert!(took < SOON, "{took:?}");
    assert!(matches!(error, GetError::Create { .. }), "{error:?}");
    assert!(chain(&error).contains(says), "{}", chain(&error));
    assert!(!chain(&error).contains('\n'), "{}", chain(&error));
    pool.close_timeout(SOON).unwrap();
    conpool::ConnectionManager::create(manager).unwrap_err()
}

fn names(error: &SqliteError, path: &Path) -> bool {
    error.to_string().contains(path.to_str().unwrap())
}

#[test]
fn a_missing_file_is_told_at_once_and_used_when_it_is_there() {
    let folder = Folder::new();
    let manager = folder.manager().create_if_missing(false);
    let error = told_at_once(&manager, "there is no database");
    assert!(names(&error, &folder.database()));
    let pool = quick("missing").build_lazy(manager).unwrap();
    pool.get().unwrap_err();
    folder
        .other_program()
        .execute_batch("CREATE TABLE t (n)")
        .unwrap();
    assert_eq!(numbers(&pool.get().unwrap()), []);
}

#[test]
fn a_missing_folder_is_told_at_once() {
    let folder = Folder::new();
    let path = folder.file("nowhere/a.db");
    let error = told_at_once(&SqliteManager::file(&path), "there is no folder");
    assert!(matches!(error, SqliteError::NoFolder { .. }), "{error:?}");
    assert!(names(&error, &path));
}

#[test]
fn a_folder_in_the_place_of_the_file_is_told_at_once() {
    let folder = Folder::new();
    let error = told_at_once(&SqliteManager::file(&*folder), "is not a file");
    assert!(matches!(error, SqliteError::NotAFile { .. }), "{error:?}");
}

#[test]
fn a_file_that_is_no_database_is_told_at_once_and_left_alone() {
    let folder = Folder::new();
    let junk = vec![7; 10_000];
    fs::write(folder.database(), &junk).unwrap();
    let error = told_at_once(&folder.manager(), "file is not a database");
    assert!(matches!(error, SqliteError::Read { .. }), "{error:?}");
    assert_eq!(error.code(), Some(rusqlite::ErrorCode::NotADatabase));
    assert!(names(&error, &folder.database()));
    assert_eq!(fs::read(folder.database()).unwrap(), junk);
}

#[test]
fn a_damaged_schema_is_told_at_once() {
    let folder = Folder::new();
    let maker = folder.other_program();
    maker.execute_batch("CREATE TABLE t (n)").unwrap();
    maker.close().unwrap();
    // The schema follows the header of the file.
    let mut file = OpenOptions::new().write(true).open(folder.database());
    let file = file.as_mut().unwrap();
    file.seek(std::io::SeekFrom::Start(100)).unwrap();
    file.write_all(&[0xAA; 400]).unwrap();
    let error = told_at_once(&folder.manager(), "malformed");
    assert_eq!(error.code(), Some(rusqlite::ErrorCode::DatabaseCorrupt));
}

#[test]
fn a_locked_database_is_waited_for_and_the_timeout_carries_the_cause() {
    let folder = Folder::new();
    let holder = folder.other_program();
    holder
        .execute_batch("CREATE TABLE t (n); BEGIN EXCLUSIVE")
        .unwrap();
    let manager = folder.manager().busy_timeout(ms(10));
    let pool = quick("locked").build_lazy(manager).unwrap();
    let (got, took) = timed(|| pool.get_timeout(ms(300)));
    assert_at(took, ms(300));
    let error = got.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    let cause = error.last_create_error().unwrap();
    assert!(cause.is_transient());
    assert!(chain(cause).contains("database is locked"), "{cause:?}");

    // A caller that waits at that time is served.
    let waiting = pool.clone();
    let waiter = spawn(move || numbers(&waiting.get().unwrap()));
    queued(&pool, 1);
    holder.execute_batch("COMMIT").unwrap();
    assert_eq!(waiter.join_soon(), []);
}

/// Root may always write, so the test continues as an unprivileged user.
#[cfg(unix)]
#[test]
fn a_write_protected_file_is_told_at_once_and_can_be_read() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    const NAME: &str = "a_write_protected_file_is_told_at_once_and_can_be_read";
    const NOBODY: u32 = 65_534;
    let folder = Folder::new();
    let maker = folder.other_program();
    maker
        .execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
        .unwrap();
    maker.close().unwrap();
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(&folder.database(), 0o444);
    if OpenOptions::new()
        .append(true)
        .open(folder.database())
        .is_ok()
    {
        allow(&folder, 0o755);
        let program = folder.file("program");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        allow(&program, 0o755);
        let ran = std::process::Command::new(program)
            .args([NAME, "--nocapture"])
            .current_dir("/")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && printed.contains("1 passed"),
            "{ran:?}"
        );
        return;
    }
    for mode in [Some(JournalMode::Wal), None] {
        let manager = folder.manager().journal_mode(mode);
        let error = told_at_once(&manager, "is write-protected; read_only opens it");
        assert!(matches!(error, SqliteError::WriteProtected { .. }));
    }
    let pool = quick("protected").build(folder.manager().read_only(true));
    assert_eq!(numbers(&pool.unwrap().get().unwrap()), [1]);

    // A file without read permission.
    allow(&folder.database(), 0o000);
    let error = told_at_once(&folder.manager(), "cannot open the database");
    assert!(matches!(error, SqliteError::Open { .. }), "{error:?}");
}

/// A pool of this size that checks at each checkout, with an idle connection.
fn checking(name: &str, size: usize, manager: SqliteManager) -> Pool<SqliteManager> {
    let pool = quick(name)
        .max_size(size)
        .health_check(HealthCheck::OnCheckout)
        .build(with_table(manager))
        .unwrap();
    insert(&pool.get().unwrap(), 1);
    pool
}

#[cfg(unix)]
#[test]
fn a_file_that_is_gone_is_noticed_by_the_check() {
    let folder = Folder::new();
    let manager = folder.manager().create_if_missing(false);
    drop(pool("maker", folder.manager()));
    let pool = checking("gone", 1, manager);
    assert!(pool.check_health().is_healthy());
    fs::rename(folder.database(), folder.file("elsewhere.db")).unwrap();
    let health = pool.check_health();
    assert!(
        matches!(
            health,
            Health::Unhealthy {
                checked: 1,
                failed: 1,
                ..
            }
        ),
        "{health:?}"
    );
    let error = pool.get().unwrap_err();
    assert!(chain(&error).contains("there is no database"), "{error:?}");
    fs::rename(folder.file("elsewhere.db"), folder.database()).unwrap();
    assert_eq!(numbers(&pool.get().unwrap()), [1]);
    assert_eq!(pool.stats().evicted(EvictReason::CheckFailed), 1);
}

#[cfg(unix)]
#[test]
fn a_file_that_was_replaced_is_noticed_by_the_check() {
    let folder = Folder::new();
    let pool = checking(
        "replaced",
        1,
        folder.manager().journal_mode(JournalMode::Delete),
    );
    let first = id(&pool.get().unwrap());
    let restored = rusqlite::Connection::open(folder.file("backup.db")).unwrap();
    restored
        .execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (7)")
        .unwrap();
    restored.close().unwrap();
    fs::rename(folder.file("backup.db"), folder.database()).unwrap();
    let held = pool.get().unwrap();
    assert_eq!(numbers(&held), [7]);
    assert_ne!(id(&held), first);
    assert_eq!(pool.stats().evicted(EvictReason::CheckFailed), 1);
}

#[test]
fn a_file_that_was_overwritten_is_noticed_by_the_check() {
    let folder = Folder::new();
    let pool = checking(
        "ruined",
        1,
        folder.manager().journal_mode(JournalMode::Delete),
    );
    let mut file = OpenOptions::new().write(true).open(folder.database());
    file.as_mut().unwrap().write_all(&[7; 4096]).unwrap();
    let error = pool.get().unwrap_err();
    assert!(
        chain(&error).contains("file is not a database"),
        "{error:?}"
    );
    assert_eq!(pool.stats().evicted(EvictReason::CheckFailed), 1);
}

#[test]
fn a_lock_is_no_reason_to_evict_and_the_check_does_not_wait_for_it() {
    let (folder, [_, memory]) = both();
    let file = folder.manager().journal_mode(JournalMode::Delete);
    for manager in [file, memory] {
        let pool = checking("held", 2, manager);
        let [holder, idle] = [(); 2].map(|()| pool.get().unwrap());
        let idle_id = id(&idle);
        holder
            .execute_batch("BEGIN EXCLUSIVE; CREATE TABLE u (n)")
            .unwrap();
        drop(idle);
        let (idle, took) = timed(|| pool.get().unwrap());
        assert!(took < ms(2_300) + noise(), "{took:?}");
        assert_eq!(id(&idle), idle_id);
        holder.execute_batch("ROLLBACK").unwrap();
        // The busy timeout is as before.
        assert_eq!(sqlite::number(&idle, "PRAGMA busy_timeout"), 5_000);
        assert_eq!(pool.stats().check_failures, 0);
    }
}

#[test]
fn an_init_hook_that_hangs_costs_its_slot_and_not_the_callers_deadline() {
    let (_folder, managers) = both();
    for manager in managers {
        let gate = Gate::default();
        let hangs = gate.clone();
        let manager = manager.init(move |_| {
            hangs.pass();
            Ok(())
        });
        let pool = quick("hangs")
            .max_size(1)
            .create_timeout(ms(50))
            .build_lazy(manager)
            .unwrap();
        let last = timeout_with_cause(&pool, ms(200)).last.unwrap();
        assert!(matches!(last, Cause::TimedOut { .. }), "{last:?}");
        gate.open();
        drop(pool.get_timeout(SOON).unwrap());
        pool.close_timeout(SOON).unwrap();
    }
}

#[test]
fn an_init_hook_that_panics_costs_that_connection() {
    let (_folder, managers) = both();
    for manager in managers {
        let manager = manager.init(|_| panic!("by the hook"));
        let error = quick("panics").build(manager).unwrap_err();
        assert!(matches!(error, BuildError::Panicked { .. }), "{error:?}");
    }
}

#[test]
fn a_statement_without_end_in_memory_costs_the_others_their_timeouts_only() {
    let manager = sqlite::memory();
    let pool = quick("endless")
        .max_size(2)
        .health_check(HealthCheck::OnCheckout)
        .check_timeout(ms(60))
        .create_timeout(ms(60))
        .build(with_table(manager))
        .unwrap();
    let (busy, idle) = (pool.get().unwrap(), pool.get().unwrap());
    insert(&busy, 1);
    drop(idle);
    let stop = busy.get_interrupt_handle();
    let endless = spawn(move || {
        let sql = "WITH RECURSIVE c (i) AS (SELECT n FROM t UNION ALL SELECT i + 1 FROM c)
            SELECT count(*) FROM c";
        busy.query_row(sql, [], |_| Ok(())).unwrap_err()
    });
    // Statements on a shared memory database run one after another.
    eventually(|| pool.get_timeout(ms(150)).is_err());
    let (got, took) = timed(|| pool.get_timeout(ms(250)));
    assert_at(took, ms(250));
    assert!(got.unwrap_err().is_timeout());
    stop.interrupt();
    let code = endless.join_soon().sqlite_error_code();
    assert_eq!(code, Some(rusqlite::ErrorCode::OperationInterrupted));
    assert_eq!(numbers(&pool.get_timeout(SOON).unwrap()), [1]);
    eventually(|| pool.stats().abandoned == 0);
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn a_user_that_panics_in_the_middle_costs_that_connection() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("user", manager);
        let user = pool.clone();
        let panicking = std::thread::spawn(move || {
            let held = user.get().unwrap();
            held.execute_batch("BEGIN IMMEDIATE").unwrap();
            insert(&held, 1);
            panic!("by the user");
        });
        panicking.join().unwrap_err();
        let said = pool.transaction(IsolationLevel::Immediate, |tx| {
            Ok::<_, rusqlite::Error>(numbers(tx).len())
        });
        assert_eq!(said.unwrap(), 0);
        assert_eq!(pool.stats().evicted(EvictReason::Panicked), 1);
    }
}
