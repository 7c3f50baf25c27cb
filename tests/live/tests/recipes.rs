//! The code and the statements of the page src/docs/recipes.md, run with real servers. Also the guide's
//! statements about PgBouncer.

#[path = "recipes/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the page shows code of a program's own"
)]
mod code;
#[path = "../../common/mod.rs"]
mod common;
mod shared;

use common::{SOON, assert_at, eventually, ms, noise, secs, spawn, timed};
use conpool::{
    BuildError, ConbusSocketManager, ConnectionManager, EvictReason, HealthCheck, Pool,
    PooledConnection, R2d2Manager,
};
use conpool_live::{PgBouncer, Postgres, Redis};
use r2d2_postgres::{
    PostgresConnectionManager,
    postgres::{
        Client, Config, Error, NoTls, SimpleQueryMessage, config::SslMode, error::SqlState,
    },
};
use shared::{builder, close};
use std::{
    fmt::Debug,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    thread,
    time::Duration,
};

/// The timeout of a build that should fail at once.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn the_page_shows_what_runs_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../../src/docs/recipes.md")).unwrap();
    // Including the lines that rustdoc hides.
    let lines = page
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line));
    let page = lines.collect::<Vec<_>>().join("\n");
    for file in ["diesel", "postgres", "redis_client", "redis_line", "smtp"] {
        let path = root.join(format!("tests/recipes/{file}.rs"));
        let text = fs::read_to_string(path).unwrap();
        let (_, code) = text.split_once("compares them.\n").unwrap();
        assert!(page.contains(code.trim()), "{file}.rs is not on the page");
    }
}

/// Builds a pool, which has to fail long before its deadline.
#[track_caller]
fn fails_at_once<M>(name: &str, manager: M) -> BuildError<M::Error>
where
    M: ConnectionManager<Error: Debug>,
{
    let builder = Pool::builder().name(name).get_timeout(LONG);
    let (built, took) = timed(|| builder.build(manager));
    assert!(took < SOON, "{took:?}");
    let error = built.map(drop).unwrap_err();
    assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
    error
}

/// Builds a pool while the server is down; `back` starts the server. The build continues and succeeds.
#[track_caller]
fn waits_for_the_server<M: ConnectionManager<Error: Debug>>(
    name: &'static str,
    manager: M,
    back: impl FnOnce(),
) {
    let build = spawn(move || builder(name).get_timeout(LONG).build(manager));
    thread::sleep(ms(200));
    assert!(!build.is_finished(), "it did not wait");
    back();
    let pool = build.join_soon().unwrap();
    assert!(pool.stats().create_errors >= 1, "{}", pool.stats());
    close(&pool);
}

/// The manager of r2d2_postgres with the classifier of the page.
fn adapted(config: Config) -> R2d2Manager<PostgresConnectionManager<NoTls>> {
    let manager = PostgresConnectionManager::new(config, NoTls);
    R2d2Manager::new(manager).transient(code::postgres::is_transient)
}

/// The manager of the page.
fn recipe(config: Config) -> code::postgres::Postgres {
    code::postgres::Postgres { config }
}

/// A server with the role `guest`, whose password is "right".
fn with_guest() -> Option<Postgres> {
    let server = Postgres::start()?;
    let guest = "CREATE ROLE guest LOGIN PASSWORD 'right'";
    server.admin().batch_execute(guest).unwrap();
    server.ask_for_password("guest");
    let mut config = server.config("guest");
    config.user("guest");
    eventually(|| config.connect(NoTls).is_err());
    Some(server)
}

#[test]
fn postgres_a_wrong_and_a_missing_password_fail_the_build_at_once() {
    let Some(server) = with_guest() else { return };
    let mut config = server.config("password");
    config.user("guest");
    let (missing, mut wrong) = (config.clone(), config);
    wrong.password("wrong");
    for (config, code) in [(missing, None), (wrong.clone(), Some("28P01"))] {
        let error = fails_at_once("pgpassword", recipe(config.clone()));
        let told = error.last_create_error().unwrap().code();
        assert_eq!(told.map(SqlState::code), code, "{error:?}");
        fails_at_once("pgpassword", adapted(config));
    }
    wrong.password("right");
    close(&builder("pgpassword").build(recipe(wrong)).unwrap());
}

#[test]
fn postgres_tls_that_is_required_and_not_there_fails_the_build_at_once() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut config = server.config("tls");
    config.ssl_mode(SslMode::Require);
    let error = fails_at_once("pgtls", recipe(config.clone()));
    let error = error.last_create_error().unwrap();
    assert!(error.to_string().contains("TLS"), "{error}");
    fails_at_once("pgtls", adapted(config));
}

#[test]
fn postgres_an_unknown_database_fails_the_build_at_once() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let mut config = server.config("nowhere");
    config.dbname("nowhere");
    let error = fails_at_once("pgnowhere", recipe(config));
    let code = error.last_create_error().unwrap().code().unwrap();
    assert_eq!(code.code(), "3D000");
}

#[test]
fn postgres_a_server_that_is_down_is_waited_for() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let config = server.config("down");
    server.crash();
    waits_for_the_server("pgdown", recipe(config.clone()), || server.start_again());
    server.crash();
    waits_for_the_server("pgdown", adapted(config), || server.start_again());
}

#[test]
fn postgres_an_error_that_passes_is_transient_and_that_of_a_statement_is_not() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let transient = code::postgres::is_transient;
    let failed = |config: &Config| config.connect(NoTls).err().unwrap();
    let code = |error: &Error| error.code().map(|state| state.code().to_owned());
    let mut admin = server.admin();

    let limited = "CREATE ROLE limited LOGIN CONNECTION LIMIT 0";
    admin.batch_execute(limited).unwrap();
    let mut config = server.config("limited");
    config.user("limited");
    let error = failed(&config);
    assert_eq!(code(&error).as_deref(), Some("53300"));
    assert!(transient(&error));

    let mut client = server.admin();
    let end = "SELECT pg_terminate_backend(pg_backend_pid())";
    let error = client.batch_execute(end).unwrap_err();
    assert_ended(&error, "57P01");
    // The session is gone, and the client knows it.
    let error = client.batch_execute("SELECT 1").unwrap_err();
    assert!(transient(&error), "{error:?}");

    let mut socket = Config::new();
    socket.host_path("/nowhere/at/all").user("postgres");
    let error = failed(&socket);
    assert!(transient(&error), "{error:?}");

    let error = admin.batch_execute("SELECT nothing").unwrap_err();
    assert!(!transient(&error), "{error:?}");

    // The last client keeps the server from ending. A starting server sends the same code.
    server.begin_shut_down();
    let config = server.config("down");
    eventually(|| {
        let error = config.connect(NoTls).err();
        error.is_some_and(|error| code(&error).as_deref() == Some("57P03") && transient(&error))
    });
}

/// Asserts that the session ended with `code`. The server sends the error and closes; a client that sees both
/// at once reports only the close.
fn assert_ended(error: &Error, code: &str) {
    let told = error.code().map(SqlState::code);
    assert!(told.is_none_or(|told| told == code), "{error:?}");
    assert!(code::postgres::is_transient(error), "{error:?}");
}

/// The server's process id of this session.
fn session(client: &mut Client) -> i32 {
    let row = client.query_one("SELECT pg_backend_pid()", &[]);
    row.unwrap().get(0)
}

fn rows(client: &mut Client) -> i64 {
    let row = client.query_one("SELECT count(*) FROM ledger", &[]);
    row.unwrap().get(0)
}

/// A server with an empty table `ledger`.
fn with_ledger() -> Option<Postgres> {
    let server = Postgres::start()?;
    let create = "CREATE TABLE ledger (id int8)";
    server.admin().batch_execute(create).unwrap();
    Some(server)
}

/// Leaves a transaction open, with a row in it, and returns its session.
fn leave_open<M: ConnectionManager<Connection = Client>>(pool: &Pool<M>) -> i32 {
    let mut client = pool.get_timeout(SOON).unwrap();
    let begin = "BEGIN; INSERT INTO ledger VALUES (1)";
    client.batch_execute(begin).unwrap();
    session(&mut client)
}

#[test]
fn postgres_a_transaction_left_open_by_hand_reaches_the_next_user_of_r2d2_postgres() {
    let Some(server) = with_ledger() else { return };
    let pool = builder("pgopen")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(adapted(server.config("pgopen")))
        .unwrap();
    let left = leave_open(&pool);
    let mut client = pool.get_timeout(SOON).unwrap();
    assert_eq!((session(&mut client), rows(&mut client)), (left, 1));
    assert_eq!(rows(&mut server.admin()), 0, "nobody has committed it");
    // The page's rule for users who send BEGIN.
    PooledConnection::discard(client);
    let mut client = pool.get_timeout(SOON).unwrap();
    assert_eq!(rows(&mut client), 0);
    drop(client);
    close(&pool);
}

#[test]
fn postgres_the_check_of_the_recipe_rolls_back_what_was_left_open() {
    let Some(server) = with_ledger() else { return };
    let pool = builder("pgrollback")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(recipe(server.config("pgrollback")))
        .unwrap();
    let mut admin = server.admin();
    for _ in 0..3 {
        let left = leave_open(&pool);
        // The transaction stays open at the server until the next checkout.
        let state = "SELECT state FROM pg_stat_activity WHERE pid = $1";
        let state = admin.query_one(state, &[&left]).unwrap();
        assert_eq!(state.get::<_, &str>(0), "idle in transaction");
        let mut client = pool.get_timeout(SOON).unwrap();
        assert_eq!((session(&mut client), rows(&mut client)), (left, 0));
    }
    // The same for a transaction that has failed and needs only its ROLLBACK.
    let mut client = pool.get_timeout(SOON).unwrap();
    client.batch_execute("BEGIN; SELECT nothing").unwrap_err();
    client.batch_execute("SELECT 1").unwrap_err();
    drop(client);
    let mut client = pool.get_timeout(SOON).unwrap();
    client.batch_execute("SELECT 1").unwrap();
    drop(client);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.check_failures), (1, 0), "{stats}");
    close(&pool);
}

#[test]
fn postgres_a_transaction_left_open_is_ended_by_the_servers_own_limit() {
    let Some(server) = with_ledger() else { return };
    let mut config = server.config("pgidle");
    config.options("-c idle_in_transaction_session_timeout=100ms");
    let pool = builder("pgidle").max_size(1).build(recipe(config)).unwrap();
    let left = leave_open(&pool);
    let mut admin = server.admin();
    let there = "SELECT 1 FROM pg_stat_activity WHERE pid = $1";
    eventually(|| admin.query(there, &[&left]).unwrap().is_empty());
    close(&pool);
}

#[test]
fn postgres_without_the_check_at_each_checkout_the_next_user_has_the_open_transaction() {
    let Some(server) = with_ledger() else { return };
    let pool = builder("pgwindow")
        .max_size(1)
        .health_check(HealthCheck::AfterIdle(LONG))
        .build(recipe(server.config("pgwindow")))
        .unwrap();
    let left = leave_open(&pool);
    let mut client = pool.get_timeout(SOON).unwrap();
    assert_eq!((session(&mut client), rows(&mut client)), (left, 1));
    drop(client);
    close(&pool);
}

#[test]
fn postgres_a_session_that_has_ended_is_replaced_and_a_server_that_hangs_holds_nobody() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let pool = builder("pgended")
        .max_size(1)
        .check_timeout(ms(300))
        .health_check(HealthCheck::OnCheckout)
        .build(recipe(server.config("pgended")))
        .unwrap();
    let ended = session(&mut pool.get_timeout(SOON).unwrap());
    let kill = format!("SELECT pg_terminate_backend({ended})");
    server.admin().batch_execute(&kill).unwrap();
    eventually(|| session(&mut pool.get_timeout(SOON).unwrap()) != ended);

    server.freeze();
    let _ = noise();
    let (got, took) = timed(|| pool.get_timeout(ms(600)).map(drop));
    assert_at(took, ms(600));
    assert!(got.unwrap_err().is_timeout());
    eventually(|| pool.stats().evicted(EvictReason::CheckFailed) >= 1);
    server.thaw();
    let mut client = pool.get_timeout(SOON * 2).unwrap();
    client.batch_execute("SELECT 1").unwrap();
    drop(client);
    close(&pool);
}

/// The session's statement_timeout. Read without a prepared statement, which PgBouncer may not find again in
/// transaction mode.
fn statement_timeout(client: &mut Client) -> String {
    let answer = client.simple_query("SHOW statement_timeout").unwrap();
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap().to_owned()
}

/// A manager with the `SET` of the guide in its `create`.
struct Sets(Config);

impl ConnectionManager for Sets {
    type Connection = Client;
    type Error = Error;

    fn create(&self) -> Result<Client, Error> {
        let mut client = self.0.connect(NoTls)?;
        client.batch_execute("SET statement_timeout = '5s'")?;
        Ok(client)
    }

    fn check_aliveness(&self, client: &mut Client) -> Result<(), Error> {
        client.batch_execute("ROLLBACK")
    }
}

/// The results of two connections of a pool in concurrent transactions, and so in two sessions of the server.
fn two_at_once<M: ConnectionManager<Connection = Client>>(pool: &Pool<M>) -> [String; 2] {
    let mut first = pool.get_timeout(SOON).unwrap();
    let mut second = pool.get_timeout(SOON).unwrap();
    first.batch_execute("BEGIN").unwrap();
    second.batch_execute("BEGIN").unwrap();
    let seen = [&mut first, &mut second].map(|client| statement_timeout(client));
    first.batch_execute("COMMIT").unwrap();
    second.batch_execute("COMMIT").unwrap();
    seen
}

#[test]
fn pgbouncer_in_transaction_mode_loses_what_create_has_set() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let Some(bouncer) = PgBouncer::start(&server, "") else {
        return;
    };
    let config = bouncer.config("postgres");
    // One create after the other: each gets the one free session.
    let sets = Sets(config.clone());
    let pool = builder("bouncerset")
        .max_creating(1)
        .min_idle(2)
        .build(sets);
    let pool = pool.unwrap();
    let seen = two_at_once(&pool);
    assert!(seen.contains(&"0".to_owned()), "nothing is lost: {seen:?}");
    close(&pool);

    // Without PgBouncer the setting holds.
    let sets = Sets(server.config("direct"));
    let pool = builder("directset").build(sets).unwrap();
    assert_eq!(two_at_once(&pool), ["5s", "5s"]);
    close(&pool);
}

#[test]
fn pgbouncer_in_transaction_mode_gives_what_create_has_set_to_other_clients() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let Some(bouncer) = PgBouncer::start(&server, "") else {
        return;
    };
    let config = bouncer.config("postgres");
    let pool = builder("bouncergives").build(Sets(config.clone()));
    close(&pool.unwrap());
    let mut other = config.connect(NoTls).unwrap();
    assert_eq!(statement_timeout(&mut other), "5s");
}

#[test]
fn pgbouncer_keeps_what_the_role_connect_query_or_the_transaction_sets() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let role = "CREATE ROLE app LOGIN; ALTER ROLE app SET statement_timeout = '5s'";
    server.admin().batch_execute(role).unwrap();
    let Some(bouncer) = PgBouncer::start(&server, "") else {
        return;
    };
    let app = recipe(bouncer.config("app"));
    let pool = builder("bouncerrole").build(app).unwrap();
    assert_eq!(two_at_once(&pool), ["5s", "5s"]);
    close(&pool);

    let postgres = recipe(bouncer.config("postgres"));
    let pool = builder("bouncerlocal").build(postgres).unwrap();
    let mut client = pool.get_timeout(SOON).unwrap();
    let local = "BEGIN; SET LOCAL statement_timeout = '5s'";
    client.batch_execute(local).unwrap();
    assert_eq!(statement_timeout(&mut client), "5s");
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(statement_timeout(&mut client), "0");
    drop(client);
    close(&pool);

    let query = "connect_query='SET statement_timeout = ''5s'''";
    let Some(bouncer) = PgBouncer::start(&server, query) else {
        return;
    };
    let postgres = recipe(bouncer.config("postgres"));
    let pool = builder("bouncerquery").build(postgres).unwrap();
    assert_eq!(two_at_once(&pool), ["5s", "5s"]);
    close(&pool);
}

/// Sets the password of the server.
fn set_password(server: &Redis, password: &str) {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("requirepass").arg(password);
    set.exec(&mut server.admin()).unwrap();
}

#[test]
fn redis_a_wrong_password_fails_the_build_at_once_and_a_server_that_is_down_is_waited_for() {
    let Some(mut server) = Redis::start() else {
        return;
    };
    let port = server.port();
    let adapted = |client| R2d2Manager::new(client).transient(code::redis_client::is_transient);
    let line = || {
        let tcp = ConbusSocketManager::builder(format!("127.0.0.1:{port}"));
        code::redis_line::Redis(tcp.read_timeout(secs(2)).build())
    };
    set_password(&server, "other");
    let url = format!("redis://:secret@127.0.0.1:{port}");
    fails_at_once("rdwrong", adapted(redis::Client::open(url).unwrap()));
    fails_at_once("rdwrongline", line());

    server.kill();
    waits_for_the_server("rddown", adapted(server.client()), || server.start_again());
    set_password(&server, "secret");
    let pool = builder("rdline")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(line())
        .unwrap();
    drop(pool.get_timeout(SOON).unwrap());
    drop(pool.get_timeout(SOON).unwrap());
    let stats = pool.stats();
    assert_eq!((stats.created, stats.check_failures), (1, 0), "{stats}");
    close(&pool);
}

#[test]
fn diesel_a_file_that_is_not_there_fails_the_build_at_once() {
    use diesel::{SqliteConnection, r2d2::ConnectionManager as Diesel};
    let manager = Diesel::<SqliteConnection>::new("/nowhere/at/all.db");
    let manager = R2d2Manager::new(manager).transient(code::diesel::is_transient);
    fails_at_once("dsnowhere", manager);
}

#[cfg(feature = "libpq")]
#[test]
fn diesel_a_wrong_password_fails_the_build_at_once_and_a_server_that_is_down_is_waited_for() {
    use diesel::{PgConnection, r2d2::ConnectionManager as Diesel};
    let Some(mut server) = with_guest() else {
        return;
    };
    let port = server.port();
    let manager = |user: &str| {
        let url = format!("postgres://{user}@127.0.0.1:{port}/postgres");
        R2d2Manager::new(Diesel::<PgConnection>::new(url)).transient(code::diesel::is_transient)
    };
    fails_at_once("dswrong", manager("guest:wrong"));
    fails_at_once("dsmissing", manager("guest"));
    server.crash();
    waits_for_the_server("dsdown", manager("guest:right"), || server.start_again());
}

/// Answers one client after the other like a mail server, and records their commands.
fn mail_server(heard: common::Log) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for line in listener.incoming() {
            let mut line = BufReader::new(line.unwrap());
            line.get_mut().write_all(b"220 mail.example\r\n").unwrap();
            let mut said = String::new();
            while line.read_line(&mut said).is_ok_and(|length| length > 0) {
                let answer = match said.trim_end() {
                    "EHLO client.example" => "250-mail.example\r\n250 SIZE 1000\r\n",
                    "QUIT" => "221 bye\r\n",
                    "MAIL FROM:<nobody>" => "550 no such user\r\n",
                    _ => "250 ok\r\n",
                };
                heard.push(said.trim_end());
                said.clear();
                line.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    address
}

#[test]
fn smtp_a_session_that_a_failed_mail_has_left_dirty_is_reset_before_the_next_user_has_it() {
    let heard = common::Log::default();
    let tcp = ConbusSocketManager::builder(mail_server(heard.clone()));
    let smtp = code::smtp::Smtp(tcp.read_timeout(secs(10)).build());
    let pool = builder("smtp")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(smtp)
        .unwrap();
    let mut session = pool.get_timeout(SOON).unwrap();
    session.say("MAIL FROM:<nobody>").unwrap_err();
    drop(session);
    drop(pool.get_timeout(SOON).unwrap());
    drop(pool.get_timeout(SOON).unwrap());
    close(&pool);
    let expected = [
        "EHLO client.example",
        "NOOP",
        "MAIL FROM:<nobody>",
        "RSET",
        "NOOP",
        "QUIT",
    ];
    assert_eq!(heard.lines(), expected);
}

#[test]
fn pgbouncer_tells_of_a_server_that_is_down_and_of_an_unknown_user_with_one_code() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let Some(bouncer) = PgBouncer::start(&server, "") else {
        return;
    };
    let mut config = bouncer.config("nobody");
    config.connect_timeout(secs(10));
    let told = |config: &Config| {
        let error = config.connect(NoTls).err().unwrap();
        let code = error.code().map(|state| state.code().to_owned());
        (code, code::postgres::is_transient(&error))
    };
    assert_eq!(told(&config), (Some("08P01".to_owned()), true));
    server.crash();
    // PgBouncer accepts a client before it needs a server; a statement shows that there is none.
    let mut client = bouncer.config("postgres").connect(NoTls).unwrap();
    let error = client.batch_execute("SELECT 1").unwrap_err();
    assert_ended(&error, "08P01");
}
