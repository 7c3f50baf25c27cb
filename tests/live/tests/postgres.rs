//! PostgreSQL with r2d2_postgres: load, restarts, connections ended by the administrator, and servers that
//! hang, are full or refuse.

#[path = "../../common/mod.rs"]
mod common;
mod shared;

use common::{SOON, eventually, ms, noise, queued, spawn, take, timed};
use conpool::{EvictReason, HealthCheck, ManualClock, Pool, R2d2Manager};
use conpool_live::Postgres;
use r2d2_postgres::{
    PostgresConnectionManager,
    postgres::{Client, Error, NoTls, error::SqlState},
};
use shared::{
    SIZE, builder, callers_time_out_during_a_hang, close, process, serves_in_full,
    timeout_with_cause, under_load, usage::Usage,
};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

type Manager = R2d2Manager<PostgresConnectionManager<NoTls>>;

/// A manager whose connections have the pool's name at the server.
fn manager(server: &Postgres, name: &str) -> Manager {
    R2d2Manager::new(PostgresConnectionManager::new(server.config(name), NoTls))
}

/// Sends a query with a unique answer.
fn ask(client: &mut Client, number: u64) -> Result<(), Error> {
    let row = client.query_one("SELECT $1::int8 * 3, pg_backend_pid()", &[&(number as i64)])?;
    assert_eq!(
        row.get::<_, i64>(0),
        number as i64 * 3,
        "somebody else's answer"
    );
    Ok(())
}

/// The number of connections of this name at the server.
fn connections(admin: &mut Client, name: &str) -> usize {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    let row = admin.query_one(count, &[&name]).unwrap();
    row.get::<_, i64>(0) as usize
}

/// Ends every connection of this name, and waits until the server has none.
fn terminate(admin: &mut Client, name: &str) -> usize {
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    let killed = admin.query(kill, &[&name]).unwrap().len();
    eventually(|| connections(admin, name) == 0);
    killed
}

#[test]
fn sixteen_users_share_four_connections_and_the_server_never_sees_a_fifth() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut admin = server.admin();
    admin
        .batch_execute("CREATE TABLE ledger (id int8 PRIMARY KEY)")
        .unwrap();
    let pool = builder("pgload")
        .get_timeout(SOON)
        .build(manager(&server, "pgload"))
        .unwrap();
    let written = Mutex::new(BTreeSet::new());
    let done = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut admin = server.admin();
            let mut most = 0;
            while !done.load(SeqCst) {
                most = most.max(connections(&mut admin, "pgload"));
            }
            most
        });
        let tally = under_load(
            &pool,
            |client, number| {
                let id = number as i64;
                client.execute("INSERT INTO ledger VALUES ($1)", &[&id])?;
                let row = client.query_one("SELECT id FROM ledger WHERE id = $1", &[&id])?;
                assert_eq!(row.get::<_, i64>(0), id);
                written.lock().unwrap().insert(id);
                Ok::<_, Error>(())
            },
            |tally| tally.wait_for_more(500),
        );
        done.store(true, SeqCst);
        assert_eq!(tally.broken.load(SeqCst), 0);
        watch.join().unwrap()
    });
    assert!((1..=SIZE).contains(&most), "{most} connections");
    let rows = admin.query("SELECT id FROM ledger", &[]).unwrap();
    let rows: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, *written.lock().unwrap());
    assert_eq!(pool.stats().created, SIZE as u64, "{}", pool.stats());
    close(&pool);
    eventually(|| connections(&mut admin, "pgload") == 0);
}

#[test]
fn a_server_restarted_under_load_costs_errors_in_time_and_nothing_that_was_acknowledged() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    server
        .admin()
        .batch_execute("CREATE TABLE ledger (id int8 PRIMARY KEY)")
        .unwrap();
    let pool = builder("pgrestart")
        .build(manager(&server, "pgrestart"))
        .unwrap();
    let acknowledged = Mutex::new(BTreeSet::new());
    let tally = under_load(
        &pool,
        |client, number| {
            client.execute("INSERT INTO ledger VALUES ($1)", &[&(number as i64)])?;
            acknowledged.lock().unwrap().insert(number as i64);
            ask(client, number)
        },
        |tally| {
            tally.wait_for_more(100);
            server.crash();
            thread::sleep(ms(50));
            server.start_again();
            tally.wait_for_more(100);
            server.shut_down();
            server.start_again();
            tally.wait_for_more(100);
        },
    );
    assert!(tally.broken.load(SeqCst) >= 1, "{tally:?}");
    let mut admin = server.admin();
    let rows = admin.query("SELECT id FROM ledger", &[]).unwrap();
    let rows: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(
        acknowledged.is_subset(&rows),
        "lost {:?}",
        acknowledged.difference(&rows)
    );
    serves_in_full(&pool, |client| ask(client, 7));
    let stats = pool.stats();
    assert_eq!((stats.waiters, stats.abandoned), (0, 0), "{stats}");
    assert_eq!(connections(&mut admin, "pgrestart"), SIZE);
    close(&pool);
    eventually(|| connections(&mut admin, "pgrestart") == 0);
}

#[test]
fn idle_connections_that_the_administrator_ended_are_not_handed_out() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut admin = server.admin();
    for check in [HealthCheck::OnCheckout, HealthCheck::default()] {
        let clock = ManualClock::new();
        let pool = builder("pgidle")
            .health_check(check)
            .clock(clock.clone())
            .build(manager(&server, "pgidle"))
            .unwrap();
        serves_in_full(&pool, |client| ask(client, 1));
        assert_eq!(terminate(&mut admin, "pgidle"), SIZE);
        // By default a connection is checked after half a second of idle time.
        clock.advance(ms(501));
        serves_in_full(&pool, |client| ask(client, 2));
        let stats = pool.stats();
        assert_eq!(
            stats.evicted(EvictReason::CheckFailed),
            SIZE as u64,
            "{stats}"
        );
        assert_eq!((stats.timeouts, stats.create_errors), (0, 0), "{stats}");
        close(&pool);
        // The server takes a moment to notice.
        eventually(|| connections(&mut admin, "pgidle") == 0);
    }
}

#[test]
fn a_keepalive_finds_what_the_administrator_ended_before_anybody_asks() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut admin = server.admin();
    let pool = builder("pgalive")
        .health_check(HealthCheck::Never)
        .keepalive_interval(ms(50))
        .min_idle(2)
        .build(manager(&server, "pgalive"))
        .unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    let killed = admin.query(kill, &[&"pgalive"]).unwrap().len();
    assert!(killed >= 2, "{killed}");
    eventually(|| pool.stats().evicted(EvictReason::CheckFailed) >= killed as u64);
    // Other connections replace them, all of them alive.
    eventually(|| {
        let size = pool.stats().size;
        size >= 2 && connections(&mut admin, "pgalive") == size
    });
    assert_eq!(pool.stats().gets, 0);
    ask(&mut pool.get_timeout(SOON).unwrap(), 1).unwrap();
    close(&pool);
}

#[test]
fn one_that_is_ended_in_use_shows_in_the_query_and_is_evicted_when_it_comes_back() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut admin = server.admin();
    let pool = builder("pguse")
        .max_size(1)
        .build(manager(&server, "pguse"))
        .unwrap();
    let mut held = pool.get_timeout(SOON).unwrap();
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(|mut client| ask(&mut client, 2))
    });
    queued(&pool, 1);
    terminate(&mut admin, "pguse");
    let error = ask(&mut held, 1).unwrap_err();
    assert!(held.is_closed(), "{error}");
    drop(held);
    waiter.join_soon().unwrap().unwrap();
    assert_eq!(pool.stats().evicted(EvictReason::Broken), 1);
    close(&pool);
}

#[test]
fn while_the_server_hangs_callers_hear_of_it_by_their_deadline_and_after_it_all_is_well() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut admin = server.admin();
    let pool = builder("pghang")
        .health_check(HealthCheck::OnCheckout)
        .check_timeout(ms(100))
        .create_timeout(ms(100))
        .dispose_timeout(ms(100))
        .build(manager(&server, "pghang"))
        .unwrap();
    callers_time_out_during_a_hang(&pool, || server.freeze());

    server.thaw();
    eventually(|| pool.stats().abandoned == 0);
    serves_in_full(&pool, |client| ask(client, 3));
    eventually(|| connections(&mut admin, "pghang") == SIZE);
    close(&pool);
    eventually(|| connections(&mut admin, "pghang") == 0);
}

#[test]
fn a_pool_that_closes_while_the_server_hangs_holds_nobody_and_ends_with_the_server() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let pool = builder("pgclose")
        .health_check(HealthCheck::OnCheckout)
        .check_timeout(ms(50))
        .dispose_timeout(ms(50))
        .build(manager(&server, "pgclose"))
        .unwrap();
    drop(take(&pool, SIZE));
    server.freeze();
    assert!(pool.get_timeout(ms(100)).is_err());
    let (_, took) = timed(|| pool.close_timeout(ms(200)));
    assert!(took <= ms(200) + noise(), "{took:?}");
    server.thaw();
    close(&pool);
}

#[test]
fn a_refusal_is_the_cause_of_the_timeout_with_the_servers_own_code() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut config = server.config("pgcause");
    config.dbname("nowhere");
    let manager = R2d2Manager::new(PostgresConnectionManager::new(config, NoTls));
    let pool: Pool<Manager> = builder("pgcause").build_lazy(manager).unwrap();
    let error = timeout_with_cause(&pool, ms(100));
    let cause = error.last_create_error().and_then(Error::code);
    assert_eq!(cause, Some(&SqlState::INVALID_CATALOG_NAME), "{error:?}");
    close(&pool);
}

#[test]
fn a_server_that_takes_fewer_than_max_size_serves_all_with_what_it_takes() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut admin = server.admin();
    admin
        .batch_execute("CREATE ROLE guest LOGIN CONNECTION LIMIT 2")
        .unwrap();
    let mut config = server.config("pgfull");
    config.user("guest");
    let manager = R2d2Manager::new(PostgresConnectionManager::new(config, NoTls));
    let pool: Pool<Manager> = builder("pgfull").max_creating(1).build(manager).unwrap();
    let tally = under_load(&pool, ask, |tally| {
        tally.wait_for_more(200);
        eventually(|| pool.stats().create_errors >= 1);
        tally.wait_for_more(200);
    });
    assert_eq!(tally.broken.load(SeqCst), 0);
    assert!(connections(&mut admin, "pgfull") <= 2);
    admin
        .batch_execute("ALTER ROLE guest CONNECTION LIMIT -1")
        .unwrap();
    serves_in_full(&pool, |client| ask(client, 5));
    close(&pool);
}

#[test]
fn when_the_pool_is_gone_so_are_its_descriptors_and_threads() {
    process::alone(|| {
        let Some(mut server) = Postgres::start() else {
            return;
        };
        let _ = noise();
        let before = Usage::now();
        let pool = builder("pggone").build(manager(&server, "pggone")).unwrap();
        let tally = under_load(&pool, ask, |tally| {
            tally.wait_for_more(100);
            server.crash();
            server.start_again();
            tally.wait_for_more(100);
        });
        assert!(tally.served() >= 200);
        let guard = pool.get_timeout(SOON).unwrap();
        drop(pool);
        drop(guard);
        before.is_restored("the pool is gone");
    });
}

#[test]
fn a_transaction_left_open_is_rolled_back_by_its_own_guard() {
    let Some(server) = Postgres::start() else {
        return;
    };
    server
        .admin()
        .batch_execute("CREATE TABLE ledger (id int8)")
        .unwrap();
    let pool = builder("pgtx")
        .max_size(1)
        .build(manager(&server, "pgtx"))
        .unwrap();
    {
        let mut client = pool.get_timeout(SOON).unwrap();
        let mut transaction = client.transaction().unwrap();
        transaction
            .execute("INSERT INTO ledger VALUES (1)", &[])
            .unwrap();
        // An early return, without a commit or rollback.
    }
    let mut client = pool.get_timeout(SOON).unwrap();
    let row = client
        .query_one("SELECT count(*) FROM ledger", &[])
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    client
        .execute("INSERT INTO ledger VALUES (2)", &[])
        .unwrap();
    drop(client);
    assert_eq!(pool.stats().created, 1);
    close(&pool);
}
