//! diesel's `ConnectionManager`: its broken connections, its customizer for tests, and PostgreSQL with the
//! feature `libpq`.

#[path = "../../common/mod.rs"]
mod common;
mod shared;

use common::{SOON, descriptors, eventually, ms};
use conpool::{EvictReason, HealthCheck, Pool, R2d2Manager};
use diesel::{
    Connection, ConnectionError, QueryResult, RunQueryDsl, SqliteConnection,
    connection::{AnsiTransactionManager, TransactionManager},
    r2d2::{ConnectionManager, Error as ManagerError, TestCustomizer},
    result::Error,
    sql_query,
    sql_types::{BigInt, Text},
};
use shared::{SIZE, builder, close, serves_in_full, timeout_with_cause, under_load};
use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

type SqlitePool = Pool<R2d2Manager<ConnectionManager<SqliteConnection>>>;

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(diesel::QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

fn count(connection: &mut SqliteConnection) -> QueryResult<i64> {
    let row: Number = sql_query("SELECT count(*) AS number FROM ledger").get_result(connection)?;
    Ok(row.number)
}

fn insert(connection: &mut SqliteConnection, id: u64) -> QueryResult<usize> {
    let insert = sql_query("INSERT INTO ledger VALUES (?)");
    insert.bind::<BigInt, _>(id as i64).execute(connection)
}

/// A file for a database, removed on drop.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("conpool-{name}-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        Self(fs::canonicalize(folder).unwrap().join("test.db"))
    }

    /// A pool of connections to the file, with an empty table.
    fn pool(&self, name: &str, size: usize) -> SqlitePool {
        let manager = ConnectionManager::<SqliteConnection>::new(self.0.to_str().unwrap());
        let pool = builder(name)
            .max_size(size)
            .get_timeout(SOON)
            .health_check(HealthCheck::OnCheckout)
            .build(R2d2Manager::new(manager))
            .unwrap();
        let mut connection = pool.get().unwrap();
        for statement in [
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE ledger (id INTEGER PRIMARY KEY)",
        ] {
            sql_query(statement).execute(&mut *connection).unwrap();
        }
        drop(connection);
        pool
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[test]
fn sixteen_users_share_four_connections_and_nothing_is_lost() {
    let file = File::new("dsload");
    let pool = file.pool("dsload", SIZE);
    let written = AtomicU64::new(0);
    let tally = under_load(
        &pool,
        |connection, number| {
            sql_query("PRAGMA busy_timeout = 20000").execute(connection)?;
            connection.transaction(|connection| insert(connection, number))?;
            written.fetch_add(1, SeqCst);
            QueryResult::Ok(())
        },
        |tally| tally.wait_for_more(200),
    );
    assert_eq!(tally.broken.load(SeqCst), 0);
    let mut connection = pool.get().unwrap();
    assert_eq!(count(&mut connection).unwrap() as u64, written.load(SeqCst));
    drop(connection);
    serves_in_full(&pool, |connection| count(connection).map(drop));
    close(&pool);
    eventually(|| descriptors(&file.0) == 0);
}

#[test]
fn a_transaction_left_open_makes_the_connection_broken_and_the_next_user_gets_another() {
    let file = File::new("dsopen");
    let pool = file.pool("dsopen", 1);
    let mut connection = pool.get().unwrap();
    AnsiTransactionManager::begin_transaction(&mut *connection).unwrap();
    insert(&mut connection, 1).unwrap();
    drop(connection);
    let mut connection = pool.get().unwrap();
    assert_eq!(count(&mut connection).unwrap(), 0);
    drop(connection);
    let stats = pool.stats();
    assert_eq!((stats.evicted(EvictReason::Broken), stats.created), (1, 2));
    close(&pool);
}

#[test]
fn a_transaction_manager_in_error_makes_the_connection_broken() {
    let file = File::new("dslost");
    let pool = file.pool("dslost", 1);
    let mut connection = pool.get().unwrap();
    // diesel does this when it can no longer tell whether a transaction is open.
    AnsiTransactionManager::transaction_manager_status_mut(&mut *connection).set_in_error();
    let refused = connection.transaction(|connection| insert(connection, 1));
    assert!(matches!(refused, Err(Error::BrokenTransactionManager)));
    drop(connection);
    let mut connection = pool.get().unwrap();
    connection
        .transaction(|connection| insert(connection, 1))
        .unwrap();
    drop(connection);
    assert_eq!(pool.stats().evicted(EvictReason::Broken), 1);
    close(&pool);
}

#[test]
fn a_transaction_that_ends_in_an_error_is_rolled_back_and_its_connection_stays() {
    let file = File::new("dserror");
    let pool = file.pool("dserror", 1);
    let mut connection = pool.get().unwrap();
    connection
        .transaction(|connection| {
            insert(connection, 1)?;
            insert(connection, 1)
        })
        .unwrap_err();
    drop(connection);
    assert_eq!(count(&mut pool.get().unwrap()).unwrap(), 0);
    assert_eq!(pool.stats().created, 1);
    close(&pool);
}

#[test]
fn what_a_panic_leaves_open_is_rolled_back_with_its_connection() {
    let file = File::new("dspanic");
    let pool = file.pool("dspanic", 1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut connection = pool.get().unwrap();
        AnsiTransactionManager::begin_transaction(&mut *connection).unwrap();
        insert(&mut connection, 1).unwrap();
        panic!("halfway through a transaction");
    }));
    assert!(panicked.is_err());
    assert_eq!(count(&mut pool.get().unwrap()).unwrap(), 0);
    assert_eq!(pool.stats().created, 2);
    close(&pool);
}

#[test]
fn diesels_customizer_for_tests_goes_where_r2d2s_builder_took_it() {
    let file = File::new("dstest");
    close(&file.pool("dsbefore", 1));
    let manager = ConnectionManager::<SqliteConnection>::new(file.0.to_str().unwrap());
    let manager = R2d2Manager::new(manager).customizer(Box::new(TestCustomizer));
    let pool = builder("dstest").max_size(1).build(manager).unwrap();
    insert(&mut pool.get().unwrap(), 1).unwrap();
    // A test transaction does not make the connection broken.
    assert_eq!(count(&mut pool.get().unwrap()).unwrap(), 1);
    assert_eq!(pool.stats().created, 1);
    close(&pool);
    let pool = builder("dsafter").build(R2d2Manager::new(
        ConnectionManager::<SqliteConnection>::new(file.0.to_str().unwrap()),
    ));
    let pool = pool.unwrap();
    assert_eq!(count(&mut pool.get().unwrap()).unwrap(), 0);
    close(&pool);
}

#[test]
fn a_file_that_cannot_be_opened_is_the_cause_of_the_timeout() {
    let manager = ConnectionManager::<SqliteConnection>::new("/nowhere/at/all.db");
    let pool: SqlitePool = builder("dsnowhere")
        .build_lazy(R2d2Manager::new(manager))
        .unwrap();
    let error = timeout_with_cause(&pool, ms(60));
    let cause = error.last_create_error();
    assert!(
        matches!(
            cause,
            Some(ManagerError::ConnectionError(
                ConnectionError::BadConnection(_)
            ))
        ),
        "{error:?}"
    );
    close(&pool);
}

#[test]
fn diesel_and_r2d2_sqlite_have_one_sqlite_in_one_program() {
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    let row: Version = sql_query("SELECT sqlite_version() AS version")
        .get_result(&mut connection)
        .unwrap();
    assert_eq!(row.version, r2d2_sqlite::rusqlite::version());
}

#[cfg(feature = "libpq")]
mod postgres {
    use super::*;
    use conpool_live::Postgres;
    use diesel::PgConnection;
    use std::thread;

    fn ask(connection: &mut PgConnection, number: u64) -> QueryResult<()> {
        let row: Number = sql_query("SELECT $1 * 3 AS number")
            .bind::<BigInt, _>(number as i64)
            .get_result(connection)?;
        assert_eq!(row.number, number as i64 * 3, "somebody else's answer");
        Ok(())
    }

    #[test]
    fn a_server_restarted_under_load_costs_errors_in_time_and_all_is_well_after_it() {
        let Some(mut server) = Postgres::start() else {
            return;
        };
        let manager = ConnectionManager::<PgConnection>::new(server.url("dspg"));
        let pool = builder("dspg")
            .health_check(HealthCheck::OnCheckout)
            .build(R2d2Manager::new(manager))
            .unwrap();
        let tally = under_load(&pool, ask, |tally| {
            tally.wait_for_more(100);
            server.crash();
            thread::sleep(ms(50));
            server.start_again();
            tally.wait_for_more(100);
        });
        assert!(tally.served() >= 200);
        serves_in_full(&pool, |connection| ask(connection, 7));
        close(&pool);
    }

    #[test]
    fn a_transaction_left_open_makes_the_connection_broken() {
        let Some(server) = Postgres::start() else {
            return;
        };
        let manager = ConnectionManager::<PgConnection>::new(server.url("dspgtx"));
        let pool = builder("dspgtx")
            .max_size(1)
            .build(R2d2Manager::new(manager))
            .unwrap();
        let mut connection = pool.get().unwrap();
        AnsiTransactionManager::begin_transaction(&mut *connection).unwrap();
        drop(connection);
        ask(&mut pool.get().unwrap(), 1).unwrap();
        let stats = pool.stats();
        assert_eq!((stats.evicted(EvictReason::Broken), stats.created), (1, 2));
        close(&pool);
    }

    #[test]
    fn a_transaction_whose_connection_was_ended_is_an_error_and_its_connection_broken() {
        let Some(server) = Postgres::start() else {
            return;
        };
        let manager = ConnectionManager::<PgConnection>::new(server.url("dspgend"));
        let pool = builder("dspgend")
            .max_size(1)
            .build(R2d2Manager::new(manager))
            .unwrap();
        let mut connection = pool.get().unwrap();
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE application_name = 'dspgend'";
        connection
            .transaction(|connection| {
                server.admin().batch_execute(kill).unwrap();
                ask(connection, 1)
            })
            .unwrap_err();
        drop(connection);
        connection = pool.get().unwrap();
        connection
            .transaction(|connection| ask(connection, 2))
            .unwrap();
        drop(connection);
        assert_eq!(pool.stats().evicted(EvictReason::Broken), 1);
        close(&pool);
    }
}
