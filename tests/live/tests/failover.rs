//! A failover on PostgreSQL: the primary stops answering, its replica is promoted, and `clear_interrupting` frees the
//! callers that hang in statements on the old one.

#[path = "../../common/mod.rs"]
mod common;

use common::{SOON, Task, eventually, queued, secs, spawn, stays};
use conpool::{ConnectionManager, EvictReason, HealthCheck, Interrupt, Pool};
use conpool_live::Postgres;
use r2d2_postgres::postgres::{Client, Config, Error, NoTls};
use std::{
    io,
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    thread,
};

/// A way to a server that the process of the client can cut. The driver gives no access to its socket, and a request to
/// cancel a statement needs a server that answers.
struct Relay(TcpStream);

impl Relay {
    /// Connects to this port. Returns the port at which the relay waits for one client.
    fn to(port: u16) -> io::Result<(Self, u16)> {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let own_port = listener.local_addr()?.port();
        let relay = Self(server.try_clone()?);
        thread::spawn(move || -> io::Result<()> {
            let (mut client, _) = listener.accept()?;
            let (mut requests, mut to_server) = (client.try_clone()?, server.try_clone()?);
            thread::spawn(move || {
                let _ended = io::copy(&mut requests, &mut to_server);
                to_server.shutdown(Shutdown::Both)
            });
            let _ended = io::copy(&mut server, &mut client);
            client.shutdown(Shutdown::Both)
        });
        Ok((relay, own_port))
    }
}

impl Interrupt for Relay {
    fn interrupt(&self) {
        // A relay whose server has ended needs no cut.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

struct Session {
    client: Client,
    relay: Relay,
}

/// A manager of sessions at the present primary.
struct Sessions {
    primary: Arc<AtomicU16>,
    config: Config,
}

impl Sessions {
    fn new(server: &Postgres, name: &str) -> (Self, Arc<AtomicU16>) {
        let mut config = Config::new();
        config
            .user("postgres")
            .dbname("postgres")
            .application_name(name);
        let primary = Arc::new(AtomicU16::new(server.port()));
        let manager = Self {
            primary: Arc::clone(&primary),
            config,
        };
        (manager, primary)
    }
}

impl ConnectionManager for Sessions {
    type Connection = Session;
    type Error = Error;

    fn create(&self) -> Result<Session, Error> {
        let opened = Relay::to(self.primary.load(SeqCst));
        let (relay, port) = opened.expect("both servers run");
        let mut config = self.config.clone();
        let client = config.host("127.0.0.1").port(port).connect(NoTls)?;
        Ok(Session { client, relay })
    }

    fn check_aliveness(&self, session: &mut Session) -> Result<(), Error> {
        session.client.simple_query("").map(drop)
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.client.is_closed()
    }

    fn interrupter(&self, session: &mut Session) -> Option<Box<dyn Interrupt>> {
        let relay = session.relay.0.try_clone().ok()?;
        Some(Box::new(Relay(relay)))
    }
}

/// A thread that runs this statement in a session of the pool.
fn runs(pool: &Pool<Sessions>, statement: &'static str) -> Task<Result<(), Error>> {
    let pool = pool.clone();
    spawn(move || {
        let mut session = pool.get_timeout(SOON).unwrap();
        session.client.batch_execute(statement)
    })
}

/// The number of sessions of this name at the server.
fn sessions(admin: &mut Client, name: &str) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    admin.query_one(count, &[&name]).unwrap().get(0)
}

fn orders(client: &mut Client) -> i64 {
    let counted = client.query_one("SELECT count(*) FROM orders", &[]);
    counted.map_or(0, |row| row.get(0))
}

#[test]
fn callers_that_hang_on_the_old_primary_are_freed_and_the_pool_works_on_the_promoted_replica() {
    let Some(mut old) = Postgres::start() else {
        return;
    };
    let table = "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)";
    old.admin().batch_execute(table).unwrap();
    let new = old.start_replica();
    let mut admin = new.admin();
    eventually(|| orders(&mut admin) == 1);

    let (manager, primary) = Sessions::new(&old, "failover");
    // The servers may be slow on a busy machine, and no hook may end by its timeout here.
    let pool = Pool::builder()
        .name("failover")
        .max_size(3)
        .get_timeout(secs(600))
        .health_check(HealthCheck::Never)
        .dispose_timeout(secs(600))
        .build(manager)
        .unwrap();
    let sleeper = runs(&pool, "SELECT pg_sleep(600)");
    let mut sessions_of_old = old.admin();
    eventually(|| sessions(&mut sessions_of_old, "failover") == 1 && pool.stats().in_use == 1);
    // Two more sessions, so that nothing has to be opened at the server that hangs.
    let held = [(); 2].map(|()| pool.get_timeout(SOON).unwrap());
    drop(held);
    old.freeze();
    let stuck = [
        sleeper,
        runs(&pool, "INSERT INTO orders VALUES (2)"),
        runs(&pool, "SELECT 1"),
    ];
    eventually(|| pool.stats().in_use == 3);
    let waiter = runs(&pool, "INSERT INTO orders VALUES (3)");
    queued(&pool, 1);
    stays(|| stuck.iter().all(|task| !task.is_finished()) && !waiter.is_finished());

    new.promote();
    primary.store(new.port(), SeqCst);
    assert_eq!(pool.clear_interrupting(), 3);
    for task in stuck {
        assert!(task.join_soon().is_err(), "the old server answers nothing");
    }
    waiter.join_soon().unwrap();
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 3);
    runs(&pool, "INSERT INTO orders VALUES (4)")
        .join_soon()
        .unwrap();
    assert_eq!(orders(&mut admin), 3);
    eventually(|| sessions(&mut admin, "failover") == pool.stats().size as i64);
    pool.close_timeout(SOON).unwrap();
    eventually(|| sessions(&mut admin, "failover") == 0);
    old.thaw();
}
