//! Two servers, the pools in front of them, and threads that use the pools.

use crate::support::{client, emulator::Emulator};
use crate::window::Window;
use conpool::{
    Backoff, ConbusError, ConbusSocketManager, GetError, KeyedPool, Pool, PoolBuilder, PoolStats,
    PooledConnection,
};
use std::{
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

type Connection = PooledConnection<ConbusSocketManager>;
type Refusal = GetError<ConbusError>;

/// The get timeout of a caller.
const BUDGET: Duration = Duration::from_millis(600);
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
const DEVICE: u64 = 1_013_010_000;

/// A pool's row on the screen.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) stats: Box<dyn Fn() -> PoolStats>,
    pub(crate) seen: Window,
    /// Whether the pool needs the server that is killed.
    pub(crate) on_north: bool,
}

pub(crate) struct World {
    /// The server that is killed.
    pub(crate) north: Emulator,
    _south: Emulator,
    orders: Pool<ConbusSocketManager>,
    bridge: Pool<ConbusSocketManager>,
    sites: KeyedPool<Site, ConbusSocketManager>,
    pub(crate) rows: Vec<Row>,
    /// The row of the pool that uses only the killed server.
    pub(crate) victim: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Site {
    North,
    South,
}

impl World {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let server = || {
            Emulator::builder()
                .reply_delay(Duration::from_millis(5))
                // Each client receives its own replies only.
                .broadcast(false)
                .start()
        };
        let (north, south) = (server()?, server()?);
        // A restarted server should be found soon, because a person watches for seconds.
        let mut backoff = Backoff::default();
        backoff.max = Duration::from_millis(250);

        let orders_seen = Window::default();
        let orders = Pool::builder()
            .name("orders")
            .max_size(8)
            .min_idle(2)
            .get_timeout(BUDGET)
            .idle_timeout(Duration::from_secs(2))
            .backoff(backoff)
            .observer(orders_seen.clone())
            .build(ConbusSocketManager::new(north.addr().to_string()))?;

        let bridge_seen = Window::default();
        let bridge = PoolBuilder::from(ConbusSocketManager::pool_config())
            .name("bridge")
            .observer(bridge_seen.clone())
            .build(ConbusSocketManager::new(south.addr().to_string()))?;

        let sites_seen = Window::default();
        let addresses: [SocketAddr; 2] = [north.addr(), south.addr()];
        let sites = KeyedPool::builder()
            .name("sites")
            .max_total(12)
            .max_per_key(8)
            .get_timeout(BUDGET)
            .backoff(backoff)
            .observer(sites_seen.clone())
            .build(move |site| ConbusSocketManager::new(addresses[*site as usize].to_string()))?;

        let (of_orders, of_bridge, of_sites) = (orders.clone(), bridge.clone(), sites.clone());
        let row = |name, stats, seen, on_north| Row {
            name,
            stats,
            seen,
            on_north,
        };
        let rows = vec![
            row(
                "orders",
                Box::new(move || of_orders.stats()),
                orders_seen,
                true,
            ),
            row(
                "sites",
                Box::new(move || of_sites.stats()),
                sites_seen,
                true,
            ),
            row(
                "bridge",
                Box::new(move || of_bridge.stats()),
                bridge_seen,
                false,
            ),
        ];
        Ok(Self {
            north,
            _south: south,
            orders,
            bridge,
            sites,
            rows,
            victim: 0,
        })
    }

    pub(crate) fn close(&self) {
        self.sites.close();
        for pool in [&self.orders, &self.bridge] {
            if let Err(left) = pool.close_timeout(Duration::from_secs(2)) {
                eprintln!("{left}");
            }
        }
    }
}

/// The threads that use the pools.
pub(crate) struct Load {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(world: &World) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let mut users =
            |count: u64, get: Arc<dyn Fn() -> Result<Connection, Refusal> + Send + Sync>| {
                for number in 0..count {
                    let (done, get) = (Arc::clone(&done), Arc::clone(&get));
                    threads.push(thread::spawn(move || be_a_user(number, &done, &*get)));
                }
            };
        let orders = world.orders.clone();
        users(10, Arc::new(move || orders.get()));
        let bridge = world.bridge.clone();
        users(3, Arc::new(move || bridge.get()));
        for site in [Site::North, Site::South] {
            let sites = world.sites.clone();
            users(4, Arc::new(move || sites.get(&site)));
        }
        Self { done, threads }
    }

    pub(crate) fn stop(self) {
        self.done.store(true, Relaxed);
        for thread in self.threads {
            thread.join().expect("a user panicked");
        }
    }
}

/// Asks a device its temperature, pauses, and asks again.
fn be_a_user(number: u64, done: &AtomicBool, get: &dyn Fn() -> Result<Connection, Refusal>) {
    // Each user pauses for another time, so that the users do not run in step.
    let pause = Duration::from_millis(3 + 2 * number);
    while !done.load(Relaxed) {
        match get() {
            Ok(mut connection) => {
                let answer = client::read_temperature(&mut connection, DEVICE, REPLY_TIMEOUT);
                if answer.is_err_and(|error| error.is_broken()) {
                    PooledConnection::discard(connection);
                }
            }
            // The row of the pool shows the error.
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
        thread::sleep(pause);
    }
}
