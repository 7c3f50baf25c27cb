//! A real backend: the Conbus emulator over loopback TCP, with a new connection for each request, with a
//! pooled one, and with one that stays open.

use crate::measure::{Scale, Stopwatch, nanos, table, verdict};
use crate::support::{client, emulator::Emulator};
use conpool::{ConbusSocketManager, ConnectionManager, Pool};
use std::{
    hint::black_box,
    io,
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

const SERIAL: u64 = 1_013_010_000;
const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests on the held connection, and requests with get and drop around each, per turn.
const TURN: usize = 20;

/// Connects, and has no other hooks: the measured cost is the pool's.
struct Plain(SocketAddr);

impl Plain {
    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.0)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl ConnectionManager for Plain {
    type Connection = TcpStream;
    type Error = io::Error;

    fn create(&self) -> io::Result<TcpStream> {
        self.connect()
    }

    fn check_aliveness(&self, _: &mut TcpStream) -> io::Result<()> {
        Ok(())
    }

    fn check_may_block(&self) -> bool {
        false
    }
}

fn request(stream: &mut TcpStream) {
    black_box(client::read_temperature(stream, SERIAL, TIMEOUT).expect("an answer"));
}

pub(crate) fn run(scale: Scale) {
    let bridge = Emulator::builder().broadcast(false).start();
    let bridge = bridge.expect("a port of this machine");
    let plain = || Plain(bridge.addr());
    let conbus = || ConbusSocketManager::new(bridge.addr().to_string());

    let mut rows = Vec::new();
    let mut faster = true;
    for (threads, size) in [(1, 1), (8, 4)] {
        let each = scale.pick(4000, 200) / threads;
        let direct = load(threads, each, &|| {
            request(&mut plain().connect().expect("a connection"));
        });
        let pool = Pool::builder().max_size(size).build(conbus());
        let pool = pool.expect("a connection");
        let pooled = load(threads, each, &|| {
            request(&mut pool.get().expect("a connection"));
        });
        faster &= pooled.0.at(0.5) < direct.0.at(0.5) && pooled.1 > direct.1;
        for (name, (watch, rate)) in [("connect per request", direct), ("pooled", pooled)] {
            rows.push(vec![
                format!("{name}, threads: {threads}"),
                nanos(watch.at(0.5) as f64),
                nanos(watch.at(0.99) as f64),
                format!("{rate:.0}"),
            ]);
        }
    }
    table(&["loopback TCP", "p50", "p99", "requests/s"], &rows);
    let required = "a pooled request is faster and there are more of them (the bound is our own)";
    verdict(required, faster, if faster { "both" } else { "no" });

    let requests = scale.pick(10_000, 300);
    let shares = [
        share(
            "the pool alone",
            &Pool::new(plain()).expect("a connection"),
            requests,
        ),
        share(
            "with the probe of the socket",
            &Pool::new(conbus()).expect("one"),
            requests,
        ),
    ];
    let row = |share: &Share| {
        vec![
            share.name.to_owned(),
            nanos(share.held),
            nanos(share.pooled),
            nanos(share.own),
            format!("{:.2} %", share.per_cent()),
            format!("{:.2} %", (share.pooled / share.held - 1.0) * 100.0),
        ]
    };
    let head = [
        "share of a request",
        "held",
        "pooled",
        "get + drop",
        "share",
        "by difference",
    ];
    table(&head, &shares.each_ref().map(row));
    println!(
        "  held, pooled: medians of requests in turn on one connection, kept and with get and drop around \
         each;\n  get + drop: the mean of nothing else, on the same pool"
    );
    let own = shares[0].per_cent();
    let required =
        "the pool's own share of a request, in per cent (no bound is named; ours is 1 %)";
    verdict(required, own < 1.0, &format!("{own:.2} %"));
}

/// Runs `each` requests on each of `threads` threads. Returns the latencies and the requests per second.
fn load(threads: usize, each: usize, once: &(impl Fn() + Sync)) -> (Stopwatch, f64) {
    once();
    let start = Instant::now();
    let watches: Vec<Stopwatch> = thread::scope(|scope| {
        let user = || {
            let mut watch = Stopwatch::new();
            (0..each).for_each(|_| watch.time(once));
            watch
        };
        let users: Vec<_> = (0..threads).map(|_| scope.spawn(user)).collect();
        let watches = users.into_iter().map(|user| user.join());
        watches.map(|watch| watch.expect("no panic")).collect()
    });
    let rate = (threads * each) as f64 / start.elapsed().as_secs_f64();
    let mut all = Stopwatch::new();
    watches.iter().for_each(|watch| all.join(watch));
    (all, rate)
}

/// The cost that a pool adds to requests.
struct Share {
    name: &'static str,
    /// Nanoseconds of a request on a held connection.
    held: f64,
    /// Nanoseconds of a request with get and drop around it.
    pooled: f64,
    /// Nanoseconds of get and drop alone.
    own: f64,
}

impl Share {
    fn per_cent(&self) -> f64 {
        self.own / (self.held + self.own) * 100.0
    }
}

fn share<M: ConnectionManager<Connection = TcpStream>>(
    name: &'static str,
    pool: &Pool<M>,
    requests: usize,
) -> Share {
    let (mut held, mut pooled) = (Stopwatch::new(), Stopwatch::new());
    // Both use the same connection: the core of its other end makes more of a difference than the pool.
    for _ in 0..requests / TURN {
        let mut kept = pool.get().expect("a connection");
        (0..TURN).for_each(|_| held.time(|| request(&mut kept)));
        drop(kept);
        (0..TURN).for_each(|_| pooled.time(|| request(&mut pool.get().expect("a connection"))));
    }
    let start = Instant::now();
    for _ in 0..requests {
        drop(black_box(pool.get()));
    }
    Share {
        name,
        held: held.at(0.5) as f64,
        pooled: pooled.at(0.5) as f64,
        own: start.elapsed().as_nanos() as f64 / requests as f64,
    }
}
