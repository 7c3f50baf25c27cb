//! Interrupts on PostgreSQL: a statement that does not end, ended by the server's own means.

#[path = "../../common/mod.rs"]
mod common;

use common::{SOON, Task, eventually, ms, spawn};
use conpool::{ConnectionManager, EvictReason, HealthCheck, Interrupt, LeakAction, Pool};
use conpool_live::Postgres;
use r2d2_postgres::postgres::{CancelToken, Client, Config, Error, NoTls, error::SqlState};

/// A manager whose interrupter asks the server to cancel the running statement.
struct Sessions(Config);

struct Cancel(CancelToken);

impl Interrupt for Cancel {
    fn interrupt(&self) {
        // A session that has ended needs no request.
        let _ = self.0.cancel_query(NoTls);
    }
}

impl ConnectionManager for Sessions {
    type Connection = Client;
    type Error = Error;

    fn create(&self) -> Result<Client, Error> {
        self.0.connect(NoTls)
    }

    fn check_aliveness(&self, client: &mut Client) -> Result<(), Error> {
        client.simple_query("").map(drop)
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }

    fn interrupter(&self, client: &mut Client) -> Option<Box<dyn Interrupt>> {
        Some(Box::new(Cancel(client.cancel_token())))
    }
}

/// The number of sessions of this name at the server, and how many of them sleep in a statement.
fn sessions(admin: &mut Client, name: &str) -> (i64, i64) {
    let count = "SELECT count(*), count(*) FILTER (WHERE wait_event = 'PgSleep') \
                 FROM pg_stat_activity WHERE application_name = $1";
    let row = admin.query_one(count, &[&name]).unwrap();
    (row.get(0), row.get(1))
}

/// A thread whose statement takes ten minutes.
fn sleeper(pool: &Pool<Sessions>) -> Task<Result<(), Error>> {
    let pool = pool.clone();
    spawn(move || {
        let mut client = pool.get_timeout(SOON).unwrap();
        client.batch_execute("SELECT pg_sleep(600)")
    })
}

#[track_caller]
fn cancelled(result: &Result<(), Error>) {
    let error = result.as_ref().expect_err("ten minutes have not passed");
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}");
}

#[test]
fn a_statement_that_does_not_end_fails_with_the_error_of_the_server() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut admin = server.admin();
    let pool = Pool::builder().name("pgstuck").max_size(1);
    let pool = pool.build(Sessions(server.config("pgstuck"))).unwrap();
    let stuck = sleeper(&pool);
    eventually(|| sessions(&mut admin, "pgstuck") == (1, 1));
    let id = pool.holders()[0].connection_id;
    assert!(pool.interrupt(id));
    cancelled(&stuck.join_soon());
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
    // The next caller gets another session.
    let mut client = pool.get_timeout(SOON).unwrap();
    client.batch_execute("SELECT 1").unwrap();
    drop(client);
    assert_eq!(pool.stats().created, 2);
    pool.close_timeout(SOON).unwrap();
    eventually(|| sessions(&mut admin, "pgstuck").0 == 0);
}

#[test]
fn a_shutdown_ends_statements_that_would_not_end() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut admin = server.admin();
    let pool = Pool::builder().name("pgshutdown").max_size(3);
    let pool = pool.build(Sessions(server.config("pgshutdown"))).unwrap();
    let stuck: Vec<_> = (0..3).map(|_| sleeper(&pool)).collect();
    eventually(|| sessions(&mut admin, "pgshutdown") == (3, 3));
    pool.close_interrupting(ms(50), SOON).unwrap();
    for stuck in stuck {
        cancelled(&stuck.join_soon());
    }
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 3);
    eventually(|| sessions(&mut admin, "pgshutdown").0 == 0);
}

#[test]
fn a_session_that_the_administrator_ends_under_a_caller_costs_that_caller_only() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut admin = server.admin();
    // The driver may notice the end of a session only at its next use, so the check decides.
    let pool = Pool::builder()
        .name("pgkilled")
        .max_size(2)
        .health_check(HealthCheck::OnCheckout);
    let pool = pool.build(Sessions(server.config("pgkilled"))).unwrap();
    let stuck = sleeper(&pool);
    eventually(|| sessions(&mut admin, "pgkilled") == (1, 1));
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    admin.query(kill, &[&"pgkilled"]).unwrap();
    assert!(stuck.join_soon().is_err());
    let mut client = pool.get_timeout(SOON).unwrap();
    client.batch_execute("SELECT 1").unwrap();
    drop(client);
    assert_eq!(pool.stats().created, 2);
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn a_leak_is_ended_after_its_time() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let pool = Pool::builder()
        .name("pgleak")
        .max_size(1)
        .leak_threshold(ms(50))
        .leak_action(LeakAction::Interrupt { after: ms(300) })
        .build(Sessions(server.config("pgleak")))
        .unwrap();
    cancelled(&sleeper(&pool).join_soon());
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
    pool.close_timeout(SOON).unwrap();
}
