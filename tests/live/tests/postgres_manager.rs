//! `PostgresManager` with a real server: what callers see of its faults, what a caller leaves behind, transactions.

#[path = "../../common/mod.rs"]
mod common;

use common::{SOON, eventually, ms, spawn};
use conpool::postgres::error::SqlState;
use conpool::postgres::{Client, Error, IsolationLevel, NoTls};
use conpool::{
    EvictReason, GetError, Pool, PoolBuilder, PooledConnection, PostgresManager,
    PostgresSavepointError, PostgresTransactionError, Reset, TxOptions,
};
use conpool_live::Postgres;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

type PgPool = Pool<PostgresManager>;

fn manager(server: &Postgres, name: &str) -> PostgresManager {
    PostgresManager::from_url(&server.url(name), NoTls).unwrap()
}

fn builder(name: &str) -> PoolBuilder<PostgresManager> {
    Pool::builder().name(name).get_timeout(SOON)
}

/// A pool of `n` sessions, and an administrator's session.
fn pool_of(server: &Postgres, name: &str, n: usize) -> (PgPool, Client) {
    let pool = builder(name).max_size(n).build(manager(server, name));
    (pool.unwrap(), server.admin())
}

fn count(admin: &mut Client, query: &str) -> i64 {
    admin.query_one(query, &[]).unwrap().get(0)
}

/// The sessions of this name in this state.
fn sessions(admin: &mut Client, name: &str, state: &str) -> i64 {
    let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state = $2";
    admin.query_one(query, &[&name, &state]).unwrap().get(0)
}

fn end_sessions(admin: &mut Client, name: &str) -> i64 {
    let query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE application_name = $1";
    admin.query_one(query, &[&name]).unwrap().get(0)
}

/// A table of one counter.
fn counter(admin: &mut Client) {
    let table = "CREATE TABLE counter (n bigint); INSERT INTO counter VALUES (0)";
    admin.batch_execute(table).unwrap();
}

const READ: &str = "SELECT n FROM counter";

#[test]
fn a_session_is_used_like_the_client_and_a_transaction_is_kept_or_not() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "plain", 2);
    counter(&mut admin);
    let n: i64 = pool.get().unwrap().query_one(READ, &[]).unwrap().get(0);
    assert_eq!(n, 0);
    let before = pool.transaction(TxOptions::new(), |tx| {
        tx.execute("UPDATE counter SET n = n + 1", &[])?;
        Ok::<i64, Error>(tx.query_one(READ, &[])?.get(0))
    });
    assert_eq!(before.unwrap(), 1);
    let failed = pool.transaction(TxOptions::new(), |tx| {
        tx.execute("UPDATE counter SET n = n + 1", &[])?;
        Err::<(), Box<dyn std::error::Error>>("changed my mind".into())
    });
    assert!(matches!(failed, Err(PostgresTransactionError::Body(_))));
    assert_eq!(count(&mut admin, READ), 1);
    pool.close_timeout(SOON).unwrap();
    eventually(|| sessions(&mut admin, "plain", "idle") == 0);
}

#[test]
fn a_savepoint_is_undone_alone() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "savepoint", 1);
    counter(&mut admin);
    pool.transaction(TxOptions::new(), |tx| {
        tx.execute("UPDATE counter SET n = n + 1", &[])?;
        let inner = tx.savepoint(|sp| {
            sp.execute("UPDATE counter SET n = n + 10", &[])?;
            let innermost = sp.savepoint(|sp| sp.execute("UPDATE counter SET n = n + 100", &[]));
            assert_eq!(innermost.unwrap(), 1);
            sp.execute("SELECT no_such_function()", &[])
        });
        assert!(inner.is_err());
        tx.execute("UPDATE counter SET n = n + 1000", &[])
    })
    .unwrap();
    assert_eq!(count(&mut admin, READ), 1001);
}

#[test]
fn a_serialization_failure_is_repeated_until_everybody_has_counted() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "serial", 8);
    counter(&mut admin);
    let attempts = Arc::new(AtomicUsize::new(0));
    let users: Vec<_> = (0..8)
        .map(|_| {
            let (pool, attempts) = (pool.clone(), Arc::clone(&attempts));
            spawn(move || {
                let options = TxOptions::new().isolation(IsolationLevel::Serializable);
                for _ in 0..20 {
                    let counted = pool.transaction(options.retries(1000), |tx| {
                        attempts.fetch_add(1, SeqCst);
                        let n: i64 = tx.query_one(READ, &[])?.get(0);
                        tx.execute("UPDATE counter SET n = $1", &[&(n + 1)])
                    });
                    counted.unwrap();
                }
            })
        })
        .collect();
    for user in users {
        user.join_soon();
    }
    assert_eq!(count(&mut admin, READ), 160);
    assert!(attempts.load(SeqCst) > 160, "nobody met anybody");
    assert_eq!(pool.stats().created, 8, "failures cost no session");
}

#[test]
fn a_transaction_is_repeated_no_more_often_than_it_may() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "often", 1);
    counter(&mut admin);
    let mut attempts = 0;
    let failed = pool.transaction(TxOptions::new().retries(2), |tx| {
        attempts += 1;
        tx.batch_execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")
    });
    let error = failed.unwrap_err();
    assert_eq!(error.body().unwrap().code().unwrap().code(), "40001");
    assert_eq!(attempts, 3);
}

#[test]
fn two_that_wait_for_each_other_both_end() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "deadlock", 2);
    let table =
        "CREATE TABLE pair (id int PRIMARY KEY, n int); INSERT INTO pair VALUES (1, 0), (2, 0)";
    admin.batch_execute(table).unwrap();
    let both_have_one = Arc::new(Barrier::new(2));
    let users = [(1, 2), (2, 1)].map(|(first, second)| {
        let (pool, both) = (pool.clone(), Arc::clone(&both_have_one));
        spawn(move || {
            let mut met = false;
            pool.transaction(TxOptions::new(), |tx| {
                tx.execute("UPDATE pair SET n = n + 1 WHERE id = $1", &[&first])?;
                if !std::mem::replace(&mut met, true) {
                    both.wait();
                }
                tx.execute("UPDATE pair SET n = n + 1 WHERE id = $1", &[&second])
            })
            .unwrap();
        })
    });
    for user in users {
        user.join_soon();
    }
    assert_eq!(count(&mut admin, "SELECT sum(n) FROM pair"), 4);
}

#[test]
fn a_transaction_that_a_caller_left_open_is_rolled_back_before_the_next_caller() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "open", 1);
    counter(&mut admin);
    for left in [
        "BEGIN; UPDATE counter SET n = n + 1",
        // A transaction that has failed needs another way out.
        "BEGIN; SELECT no_such_function()",
        "SELECT 1",
    ] {
        let mut session = pool.get().unwrap();
        let _ = session.batch_execute(left);
        drop(session);
        let mut session = pool.get().unwrap();
        let state: i64 = session.query_one(READ, &[]).unwrap().get(0);
        assert_eq!(state, 0, "after {left}");
        drop(session);
        eventually(|| pool.stats().idle == 1);
        assert_eq!(sessions(&mut admin, "open", "idle in transaction"), 0);
    }
    assert_eq!(pool.stats().created, 1);
    let log = fs::read_to_string(server.folder().join("log")).unwrap();
    assert!(
        !log.contains("there is no transaction in progress"),
        "{log}"
    );
}

#[test]
fn only_a_session_that_was_used_outside_of_the_helper_is_rolled_back() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "skipped", 1);
    counter(&mut admin);
    let statements = "SELECT query FROM pg_stat_activity WHERE application_name = 'skipped'";
    let last = |admin: &mut Client| -> String { admin.query_one(statements, &[]).unwrap().get(0) };
    pool.transaction(TxOptions::new(), |tx| tx.execute(READ, &[]))
        .unwrap();
    drop(pool.get().unwrap());
    assert_eq!(last(&mut admin), "SELECT 1; COMMIT");
    pool.get().unwrap().execute(READ, &[]).unwrap();
    eventually(|| last(&mut admin) == "BEGIN; ROLLBACK");
}

#[test]
fn discard_all_and_a_query_leave_nothing_of_the_last_caller() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let resets = [
        Reset::DiscardAll,
        Reset::Query("RESET ALL; DISCARD TEMP".to_owned()),
    ];
    for reset in resets {
        let manager = manager(&server, "discard").reset(reset);
        let pool = builder("discard").max_size(1).build(manager).unwrap();
        let leave = "SET search_path = nowhere; CREATE TEMP TABLE mine (n int)";
        pool.get().unwrap().batch_execute(leave).unwrap();
        let mut session = pool.get().unwrap();
        let path: String = session.query_one("SHOW search_path", &[]).unwrap().get(0);
        assert_ne!(path, "nowhere");
        assert!(session.execute("SELECT n FROM mine", &[]).is_err());
        drop(session);
        assert_eq!(pool.stats().created, 1);
        // The driver still knows how to ask for types.
        let mut session = pool.get().unwrap();
        session
            .query_one("SELECT '{1,2}'::int[], 'a'::\"char\"", &[])
            .unwrap();
        drop(session);
        pool.close_timeout(SOON).unwrap();
    }
}

#[test]
fn a_panic_in_a_transaction_rolls_back_and_costs_its_session() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "panic", 1);
    counter(&mut admin);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.transaction(TxOptions::new(), |tx| -> Result<(), Error> {
            tx.execute("UPDATE counter SET n = n + 1", &[])?;
            panic!("as ordered")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 1);
    assert_eq!(count(&mut admin, READ), 0);
    assert!(pool.get().is_ok());
}

#[test]
fn sessions_that_the_administrator_ends_cost_no_caller_that_comes_later() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let pool = builder("ended").max_size(3).min_idle(3);
    let pool = pool.health_check(conpool::HealthCheck::OnCheckout);
    let pool = pool.build(manager(&server, "ended")).unwrap();
    let mut admin = server.admin();
    // In use: the caller sees it, and the session is gone at check-in.
    let mut session = pool.get().unwrap();
    assert_eq!(end_sessions(&mut admin, "ended"), 3);
    let error = session.batch_execute("SELECT 1").unwrap_err();
    assert!(
        error.is_closed() || error.code().is_some_and(|code| code.code() == "57P01"),
        "{error:?}"
    );
    drop(session);
    assert_eq!(pool.stats().evicted(EvictReason::Broken), 1);
    for _ in 0..6 {
        pool.get().unwrap().batch_execute("SELECT 1").unwrap();
    }
}

#[test]
fn a_session_at_a_server_that_became_read_only_is_evicted() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "readonly", 1);
    counter(&mut admin);
    let read_only = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";
    pool.get().unwrap().batch_execute(read_only).unwrap();
    let write = || {
        pool.transaction(TxOptions::new(), |tx| {
            tx.execute("UPDATE counter SET n = n + 1", &[])
        })
    };
    let error = write().unwrap_err();
    assert_eq!(error.body().unwrap().code().unwrap().code(), "25006");
    assert_eq!(pool.stats().evicted(EvictReason::Discarded), 1);
    assert_eq!(write().unwrap(), 1);
}

/// A deferred trigger makes the commit take as long as the test likes.
#[test]
fn a_commit_whose_outcome_is_unknown_is_never_repeated() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "unknown", 1);
    counter(&mut admin);
    admin
        .batch_execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_sleep(600); RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON counter \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()",
        )
        .unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let user = spawn({
        let (pool, attempts) = (pool.clone(), Arc::clone(&attempts));
        move || {
            pool.transaction(TxOptions::new(), |tx| {
                attempts.fetch_add(1, SeqCst);
                tx.execute("UPDATE counter SET n = n + 1", &[])
            })
        }
    });
    let sleeping = "SELECT count(*) FROM pg_stat_activity \
                    WHERE application_name = 'unknown' AND wait_event = 'PgSleep'";
    eventually(|| count(&mut admin, sleeping) == 1);
    end_sessions(&mut admin, "unknown");
    let error = user.join_soon().unwrap_err();
    assert!(
        matches!(error, PostgresTransactionError::CommitUnknown(_)),
        "{error:?}"
    );
    assert!(!error.is_rolled_back());
    assert_eq!(attempts.load(SeqCst), 1);
    eventually(|| pool.stats().size == 0);
}

#[test]
fn a_commit_that_the_server_refuses_is_rolled_back_and_the_session_stays() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "refused", 1);
    let table = "CREATE TABLE parent (id int PRIMARY KEY); \
                 CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)";
    admin.batch_execute(table).unwrap();
    let refused = pool.transaction(TxOptions::new(), |tx| {
        tx.execute("INSERT INTO child VALUES (7)", &[])
    });
    assert!(matches!(refused, Err(PostgresTransactionError::Commit(_))));
    assert_eq!(count(&mut admin, "SELECT count(*) FROM child"), 0);
    assert!(pool.get().is_ok());
    assert_eq!(pool.stats().created, 1);
}

/// The server answers the COMMIT of a failed transaction with success, and rolls back.
#[test]
fn a_body_that_ignores_the_error_of_a_statement_does_not_seem_to_commit() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "ignored", 1);
    counter(&mut admin);
    let ignored = pool.transaction(TxOptions::new(), |tx| {
        tx.execute("UPDATE counter SET n = n + 1", &[])?;
        let _ = tx.execute("SELECT no_such_function()", &[]);
        Ok::<(), Error>(())
    });
    let Err(PostgresTransactionError::Commit(error)) = ignored else {
        panic!("{ignored:?}");
    };
    assert_eq!(error.code().map(SqlState::code), Some("25P02"));
    assert_eq!(count(&mut admin, READ), 0);
    // In a savepoint the rest is kept.
    pool.transaction(TxOptions::new(), |tx| {
        tx.execute("UPDATE counter SET n = n + 1", &[])?;
        let released = tx.savepoint(|sp| {
            sp.execute("UPDATE counter SET n = n + 10", &[])?;
            let _ = sp.execute("SELECT no_such_function()", &[]);
            Ok::<(), Error>(())
        });
        assert!(matches!(released, Err(PostgresSavepointError::Release(_))));
        tx.execute("UPDATE counter SET n = n + 100", &[])
    })
    .unwrap();
    assert_eq!(count(&mut admin, READ), 101);
    assert_eq!(pool.stats().created, 1);
    let log = fs::read_to_string(server.folder().join("log")).unwrap();
    assert!(
        !log.contains("there is no transaction in progress"),
        "{log}"
    );
}

#[test]
fn a_fault_of_the_configuration_fails_at_once_and_a_server_that_is_down_is_waited_for() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    server
        .admin()
        .batch_execute("CREATE ROLE clerk LOGIN PASSWORD 'right'")
        .unwrap();
    server.ask_for_password("clerk");
    let port = server.port();
    let permanent = [
        (
            format!("postgres://clerk:wrong@127.0.0.1:{port}/postgres"),
            Some("28P01"),
        ),
        (
            format!("postgres://postgres@127.0.0.1:{port}/nowhere"),
            Some("3D000"),
        ),
        (
            format!("postgres://nobody@127.0.0.1:{port}/postgres"),
            Some("28000"),
        ),
        (format!("postgres://clerk@127.0.0.1:{port}/postgres"), None),
        (
            format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=require"),
            None,
        ),
        (
            format!("postgres://postgres@127.0.0.1:{port}/postgres?options=-c%20nothing%3D1"),
            Some("42704"),
        ),
    ];
    for (url, code) in permanent {
        let pool = builder("permanent").build_lazy(PostgresManager::from_url(&url, NoTls).unwrap());
        let error = pool.unwrap().get().unwrap_err();
        let GetError::Create { error, .. } = &error else {
            panic!("{url}: {error:?}");
        };
        if let Some(code) = code {
            assert_eq!(error.code().map(SqlState::code), Some(code), "{url}");
        }
    }
    server.crash();
    let pool = builder("waits")
        .build_lazy(manager(&server, "waits"))
        .unwrap();
    assert!(pool.get_timeout(ms(300)).unwrap_err().is_timeout());
    let waiting = spawn({
        let pool = pool.clone();
        move || pool.get().map(drop)
    });
    server.start_again();
    assert!(waiting.join_soon().is_ok());
}

#[test]
fn a_server_that_is_full_is_waited_for() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let pool = builder("full")
        .build_lazy(manager(&server, "full"))
        .unwrap();
    let mut others = Vec::new();
    while let Ok(client) = server.config("others").connect(NoTls) {
        others.push(client);
    }
    let error = pool.get_timeout(ms(300)).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let cause = error.last_create_error().unwrap();
    assert_eq!(cause.code().map(SqlState::code), Some("53300"));
    others.clear();
    assert!(pool.get().is_ok());
}

#[test]
fn a_statement_that_does_not_end_is_cancelled_at_a_shutdown() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (pool, mut admin) = pool_of(&server, "stuck", 2);
    let stuck = [(); 2].map(|()| {
        let pool = pool.clone();
        spawn(move || pool.get().unwrap().batch_execute("SELECT pg_sleep(600)"))
    });
    let sleeping = "SELECT count(*) FROM pg_stat_activity \
                    WHERE application_name = 'stuck' AND wait_event = 'PgSleep'";
    eventually(|| count(&mut admin, sleeping) == 2);
    pool.close_interrupting(ms(20), SOON).unwrap();
    for user in stuck {
        let error = user.join_soon().unwrap_err();
        assert_eq!(error.code().map(SqlState::code), Some("57014"), "{error}");
    }
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 2);
    eventually(|| sessions(&mut admin, "stuck", "idle") == 0);
}

#[test]
fn nothing_is_lost_or_doubled_while_the_server_is_restarted_under_fifty_threads() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let pool = builder("restart").max_size(10);
    let pool = pool.build(manager(&server, "restart")).unwrap();
    server
        .admin()
        .batch_execute("CREATE TABLE entries (id text PRIMARY KEY)")
        .unwrap();
    let confirmed = Arc::new(AtomicUsize::new(0));
    let unknown = Arc::new(AtomicUsize::new(0));
    let users: Vec<_> = (0..50)
        .map(|user| {
            let (pool, confirmed, unknown) = (pool.clone(), confirmed.clone(), unknown.clone());
            spawn(move || {
                for entry in 0..20 {
                    let id = format!("{user}-{entry}");
                    loop {
                        let kept = pool.transaction(TxOptions::new(), |tx| {
                            tx.execute("INSERT INTO entries VALUES ($1)", &[&id])
                        });
                        match kept {
                            Ok(_) => {
                                confirmed.fetch_add(1, SeqCst);
                                break;
                            }
                            Err(PostgresTransactionError::CommitUnknown(_)) => {
                                unknown.fetch_add(1, SeqCst);
                                break;
                            }
                            Err(error) => {
                                assert!(error.is_rolled_back());
                                thread::sleep(ms(1));
                            }
                        }
                    }
                }
            })
        })
        .collect();
    for stop in [Postgres::shut_down as fn(&mut Postgres), Postgres::crash] {
        thread::sleep(ms(100));
        stop(&mut server);
        server.start_again();
    }
    for user in users {
        user.join_soon();
    }
    let there = count(&mut server.admin(), "SELECT count(*) FROM entries") as usize;
    let (confirmed, unknown) = (confirmed.load(SeqCst), unknown.load(SeqCst));
    assert_eq!(confirmed + unknown, 1000);
    assert!(
        (confirmed..=1000).contains(&there),
        "{there} of {confirmed} and {unknown} unknown"
    );
    PooledConnection::discard(pool.get().unwrap());
    pool.close_timeout(SOON).unwrap();
}
