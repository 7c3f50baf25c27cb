//! A page of metrics for Prometheus, under the names of OpenTelemetry.
//!
//! Run with `cargo run --features metrics --example prometheus`; it runs for three seconds, reads its own
//! page twice and prints the values that are not zero. To serve until it is interrupted:
//!
//! ```sh
//! CONPOOL_METRICS_ADDR=127.0.0.1:9464 cargo run --features metrics --example prometheus
//! curl http://127.0.0.1:9464/metrics
//! ```
//!
//! The example contains the services behind the pools. Its server answers one scrape after the other, which
//! is enough for direct scrapes; behind a proxy that holds connections open, use a real HTTP server.

#[path = "../tests/support/mod.rs"]
mod support;

use conpool::{
    ConbusSocketManager, Hook, KeyedPool, MemoryManager, Pool, PoolBuilder, PoolMetrics,
    PoolRegistry, PooledConnection,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    env,
    error::Error,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};
use support::{
    client,
    emulator::{Emulator, Ending},
};

/// In seconds: from a checkout without a wait, over a connect of some milliseconds, to a deadline of some
/// seconds.
const BUCKETS: [f64; 10] = [0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The interval between two readings of the page.
const PAUSE: Duration = Duration::from_millis(1500);

/// The timeout of a client's request and of the answer.
const PATIENCE: Duration = Duration::from_secs(2);

const DEVICE: u64 = 1_013_010_000;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // The recorder comes first: metrics registered before it are lost.
    let page = PrometheusBuilder::new()
        // Adds the unit to each name, and _total to the name of each counter.
        .with_recommended_naming(true)
        .set_buckets_for_metric(Matcher::Suffix("_time".into()), &BUCKETS)?
        .install_recorder()?;
    let metrics = PoolMetrics::new();
    let services = Services::new(&metrics)?;

    let keeps = env::var("CONPOOL_METRICS_ADDR").ok();
    let listener = TcpListener::bind(keeps.as_deref().unwrap_or("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    println!("serving http://{address}/metrics");

    let done = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| serve(&listener, &done, || services.page(&metrics, &page)));
        services.work(scope, &done);
        let outcome = match keeps {
            Some(_) => loop {
                thread::sleep(PAUSE);
                services.inject_faults();
            },
            None => visit(address, &services),
        };
        done.store(true, Relaxed);
        // A last request lets the server see that it must end.
        outcome.and(fetch(address, "/metrics").map(|_| ()))
    });
    services.close();
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Three kinds of pools, and their backends.
struct Services {
    registry: PoolRegistry,
    orders: Pool<MemoryManager>,
    database: MemoryManager,
    bridge_pool: Pool<ConbusSocketManager>,
    bridge: Emulator,
    tenants: KeyedPool<u32, MemoryManager>,
}

impl Services {
    fn new(metrics: &PoolMetrics) -> Result<Self, Box<dyn Error>> {
        let database = MemoryManager::new();
        database.delay(Hook::Create, Duration::from_millis(3));
        let orders = Pool::builder()
            .name("orders")
            .max_size(4)
            .min_idle(1)
            .observer(metrics.clone())
            .build(database.clone())?;
        let bridge = Emulator::builder()
            .max_clients(1)
            .reply_delay(Duration::from_millis(4))
            .start()?;
        let bridge_pool = PoolBuilder::from(ConbusSocketManager::pool_config())
            .name("bridge")
            .observer(metrics.clone())
            .build(ConbusSocketManager::new(bridge.addr().to_string()))?;
        let tenants = KeyedPool::builder()
            .name("tenants")
            .max_total(6)
            .max_per_key(4)
            .observer(metrics.clone())
            .build(|_| MemoryManager::new())?;
        let registry = PoolRegistry::new();
        registry.register("orders", orders.clone())?;
        registry.register("bridge", bridge_pool.clone())?;
        Ok(Self {
            registry,
            orders,
            database,
            bridge_pool,
            bridge,
            tenants,
        })
    }

    /// Renders the page. Rendering reads the gauges and puts the pending histogram samples into buckets; a
    /// program that is never scraped should run the exporter's upkeep from time to time.
    fn page(&self, metrics: &PoolMetrics, page: &PrometheusHandle) -> String {
        for stats in self.registry.stats().values() {
            metrics.publish(stats);
        }
        metrics.publish(&self.tenants.stats());
        page.render()
    }

    /// Starts threads that use the pools until `done`.
    fn work<'a>(&'a self, scope: &'a thread::Scope<'a, '_>, done: &'a AtomicBool) {
        let busy = |number: u32| {
            if let Ok(mut connection) = self.orders.get_timeout(Duration::from_millis(20)) {
                thread::sleep(Duration::from_millis(5 + u64::from(number)));
                if connection.execute("PING").is_err() {
                    PooledConnection::discard(connection);
                }
            }
            if let Ok(mut connection) = self.bridge_pool.get() {
                let answer = client::read_temperature(&mut connection, DEVICE, PATIENCE);
                if answer.is_err_and(|error| error.is_broken()) {
                    PooledConnection::discard(connection);
                }
            }
            if let Ok(_connection) = self.tenants.get(&(number % 3)) {
                thread::sleep(Duration::from_millis(1));
            }
        };
        for number in 0..6 {
            scope.spawn(move || {
                while !done.load(Relaxed) {
                    busy(number);
                }
            });
        }
    }

    /// Injects faults: one service loses its connections, another is down for a moment.
    fn inject_faults(&self) {
        self.database.kill_all();
        self.database.fail_transient(Hook::Create, 2);
        self.bridge.close_all_clients(Ending::Rst);
    }

    fn close(&self) {
        self.tenants.close();
        if let Err(error) = self.registry.close_all(PATIENCE) {
            eprintln!("{error}");
        }
    }
}

/// Requests the page like Prometheus.
fn visit(address: SocketAddr, services: &Services) -> Result<(), Box<dyn Error>> {
    for look in ["after a while", "after some trouble"] {
        thread::sleep(PAUSE);
        let text = fetch(address, "/metrics")?;
        show(look, &text);
        for wanted in [
            "db_client_connection_count{",
            "db_client_connection_wait_time_seconds_bucket{",
            "db_client_connection_evictions_total{",
        ] {
            if !text.contains(wanted) {
                return Err(format!("the page has no {wanted}...}}").into());
            }
        }
        services.inject_faults();
    }
    Ok(())
}

/// Prints the values that are not zero.
fn show(look: &str, text: &str) {
    let values = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let all = text.lines().filter(values).count();
    let telling = |line: &&str| values(line) && !line.ends_with(" 0") && !line.contains("_bucket{");
    let mut lines: Vec<_> = text.lines().filter(telling).collect();
    lines.sort_unstable();
    println!("\n{look}: {all} values, of which these are not zero (buckets left out)");
    for line in lines {
        println!("  {line}");
    }
}

/// Answers scrapes until `done`.
fn serve(listener: &TcpListener, done: &AtomicBool, page: impl Fn() -> String) {
    while !done.load(Relaxed) {
        let served = listener
            .accept()
            .and_then(|(stream, _)| answer(stream, &page));
        if let Err(error) = served {
            eprintln!("a scrape failed: {error}");
        }
    }
}

fn answer(mut stream: TcpStream, page: impl Fn() -> String) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut piece)?;
        if read == 0 || request.len() > 16 * 1024 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
    }
    let (status, body) = match request.starts_with(b"GET /metrics ") {
        true => ("200 OK", page()),
        false => ("404 Not Found", "see /metrics\n".to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn fetch(address: SocketAddr, path: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("half an answer")?;
    match head.starts_with("HTTP/1.1 200 ") {
        true => Ok(body.to_owned()),
        false => Err(head.lines().next().unwrap_or_default().into()),
    }
}
