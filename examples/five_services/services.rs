//! The five services: the server, its pool with fitting settings, and its request.

use crate::{
    POOLS,
    http::{self, HttpManager},
    server::Server,
    support::{client, emulator::Emulator},
    tally::Tally,
    user::{self, Answer, Tag, UserLoop},
    ws::{self, WsManager},
};
use conpool::{
    Backoff, ConbusSocketManager, ConnectionManager, HealthCheck, HealthState, Holder, Hook,
    MemoryManager, Pool, PoolBuilder, PoolEvent, PoolObserver, PoolStats, PooledConnection,
};
use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Users of this example hold a connection for much less.
const LEAK_THRESHOLD: Duration = Duration::from_secs(3);
/// The reply timeout of a device on the bus.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Serial number and temperature of each device on the bus, all different.
const DEVICES: [(u64, i32); 8] = [
    (1_013_010_000, 171),
    (1_123_010_001, 188),
    (1_202_010_002, 195),
    (1_302_410_003, 202),
    (1_420_330_004, 219),
    (1_520_331_005, 226),
    (1_620_332_006, 233),
    (1_702_033_007, -40),
];

pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) pool: Box<dyn View>,
    pub(crate) user_loop: Arc<UserLoop>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) leaks: Leaks,
}

/// A server that can be stopped.
pub(crate) trait Backend {
    /// Refuses new connections and kills all existing ones.
    fn kill(&self);
    fn revive(&self) -> io::Result<()>;
}

impl Backend for Server {
    fn kill(&self) {
        self.kill();
    }

    fn revive(&self) -> io::Result<()> {
        self.revive()
    }
}

impl Backend for Emulator {
    fn kill(&self) {
        self.stop();
    }

    fn revive(&self) -> io::Result<()> {
        self.restart()
    }
}

impl Backend for MemoryManager {
    fn kill(&self) {
        self.fail_transient(Hook::Create, u64::MAX);
        self.kill_all();
    }

    fn revive(&self) -> io::Result<()> {
        self.heal();
        Ok(())
    }
}

/// The operations of a pool that do not depend on its manager.
pub(crate) trait View {
    fn stats(&self) -> PoolStats;
    fn health(&self) -> HealthState;
    fn holders(&self) -> Vec<Holder>;
}

impl<M: ConnectionManager> View for Pool<M> {
    fn stats(&self) -> PoolStats {
        self.stats()
    }

    fn health(&self) -> HealthState {
        self.health()
    }

    fn holders(&self) -> Vec<Holder> {
        self.holders()
    }
}

/// Counts suspected leaks, and those of them that were resolved.
#[derive(Clone, Default)]
pub(crate) struct Leaks(Arc<[AtomicU64; 2]>);

impl Leaks {
    /// Returns the suspected and the resolved leaks.
    pub(crate) fn count(&self) -> (u64, u64) {
        (self.0[0].load(Relaxed), self.0[1].load(Relaxed))
    }
}

impl PoolObserver for Leaks {
    fn on_event(&self, event: &PoolEvent) {
        let counter = match event {
            PoolEvent::LeakSuspected { .. } => &self.0[0],
            PoolEvent::LeakResolved { .. } => &self.0[1],
            _ => return,
        };
        counter.fetch_add(1, Relaxed);
    }
}

impl Service {
    fn open<M: ConnectionManager>(
        name: &'static str,
        backend: impl Backend + 'static,
        settings: PoolBuilder<M>,
        manager: M,
        ask: impl Fn(PooledConnection<M>, &Tag) -> Answer + Send + Sync + 'static,
    ) -> Result<Self, Box<dyn Error>> {
        // A restarted server should be found soon, because a person watches for seconds.
        let mut backoff = Backoff::default();
        backoff.max = Duration::from_millis(250);
        let leaks = Leaks::default();
        let pool = settings
            .name(name)
            .backoff(backoff)
            .leak_threshold(LEAK_THRESHOLD)
            .observer(leaks.clone())
            .build(manager)?;
        POOLS.register(name, pool.clone())?;
        let tally = Arc::new(Tally::default());
        Ok(Self {
            name,
            backend: Box::new(backend),
            pool: Box::new(pool),
            user_loop: user::user_loop(name, Arc::clone(&tally), ask),
            tally,
            leaks,
        })
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.pool.health() == HealthState::Healthy
    }

    /// Whether there were enough calls to judge the rate of reuse. The first use of each connection is no
    /// reuse.
    pub(crate) fn can_be_judged(&self) -> bool {
        let stats = self.pool.stats();
        stats.gets >= 150 * stats.max_size as u64
    }
}

pub(crate) fn all() -> Result<Vec<Service>, Box<dyn Error>> {
    Ok(vec![
        http("orders", Duration::from_millis(2))?,
        http("search", Duration::from_millis(3))?,
        chat()?,
        bus()?,
        cache()?,
    ])
}

/// Many short requests: a wide pool with some idle connections. `get` fails at once while the server is down,
/// because a web page prefers an error to a wait.
fn http(name: &'static str, work: Duration) -> Result<Service, Box<dyn Error>> {
    let server = Server::start(move |stream| http::serve(stream, name, work))?;
    let manager = HttpManager(server.address());
    let settings = Pool::builder()
        .max_size(20)
        .min_idle(5)
        .idle_timeout(Duration::from_secs(600))
        .fail_fast(true);
    let ask = move |mut connection: PooledConnection<HttpManager>, tag: &Tag| {
        let path = format!("/{name}/{tag}");
        Ok(connection.get(&path)? == http::answer(name, &path))
    };
    Service::open(name, server, settings, manager, ask)
}

/// Few persistent connections: a ping every thirty seconds in the background, and a check at checkout only
/// after so long.
fn chat() -> Result<Service, Box<dyn Error>> {
    const CHECK: Duration = Duration::from_secs(30);
    let server = Server::start(|stream| ws::serve(stream, Duration::from_millis(1)))?;
    let manager = WsManager(server.address());
    let settings = Pool::builder()
        .max_size(5)
        .min_idle(1)
        .health_check(HealthCheck::AfterIdle(CHECK))
        .keepalive_interval(CHECK);
    let ask = |mut connection: PooledConnection<WsManager>, tag: &Tag| {
        let text = format!("hello from {tag}");
        Ok(connection.echo(&text)? == text)
    };
    Service::open("chat", server, settings, manager, ask)
}

/// A bridge that accepts one client: all users share one connection.
fn bus() -> Result<Service, Box<dyn Error>> {
    let bridge = Emulator::builder()
        .max_clients(1)
        .rst_instead_of_fin(true)
        .start()?;
    for (serial, tenths) in DEVICES {
        bridge.set_temperature(serial, tenths);
    }
    let manager = ConbusSocketManager::new(bridge.addr().to_string());
    let settings = PoolBuilder::from(ConbusSocketManager::pool_config());
    let ask = |mut connection: PooledConnection<ConbusSocketManager>, tag: &Tag| {
        // A telegram has no space for a tag. Neighbours in the queue ask different devices.
        let (serial, tenths) = DEVICES[((u64::from(tag.user) + tag.call) % 8) as usize];
        let answer = client::read_temperature(&mut connection, serial, REPLY_TIMEOUT);
        if answer.as_ref().is_err_and(|error| error.is_broken()) {
            // The manager pools bare sockets, which cannot tell that an answer is missing.
            PooledConnection::discard(connection);
        }
        Ok((answer? * 10.0).round() == f64::from(tenths))
    };
    Service::open("bus", bridge, settings, manager, ask)
}

/// A store in memory.
fn cache() -> Result<Service, Box<dyn Error>> {
    let manager = MemoryManager::new();
    let settings = Pool::builder().max_size(10).min_idle(2);
    let ask = |mut connection: PooledConnection<MemoryManager>, tag: &Tag| {
        let user = tag.user;
        connection.execute(&format!("SET user-{user} {tag}"))?;
        thread::sleep(Duration::from_millis(1));
        let value = connection.execute(&format!("GET user-{user}"))?;
        Ok(value == tag.to_string())
    };
    Service::open("cache", manager.clone(), settings, manager, ask)
}
