//! HTTP over pooled connections, compared with a new connection for each request.
//!
//! ```text
//! cargo bench --bench http --features http                half a minute
//! cargo bench --bench http --features http -- --test      small and quick, to see that it works
//! ```
//!
//! Both sides use the same client. The second one sends `connection: close`, so that each request opens a
//! connection of its own. The server runs in the same process, with a thread for each connection, on
//! loopback: a connection without a network and without TLS has the lowest cost. The two are measured in
//! turn, round after round, so that other load on the machine affects both alike.
//!
//! Memory is the resident size beyond the start of the process, after the last round of each side, including
//! the server. The exit code is 1 if the pool is less than 15 % faster.

use conpool::{HttpPool, http_types::Request};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The body of every response.
const BODY: usize = 1024;
/// The highest allowed ratio of the pool's time to the other side's time.
const ENOUGH: f64 = 1.0 / 1.15;

static ACCEPTED: AtomicUsize = AtomicUsize::new(0);

/// Answers until the client disconnects or sends `connection: close`.
fn converse(stream: &TcpStream, response: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut closes = false;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            closes |= line.trim_end() == "connection: close";
            if line.trim_end().is_empty() {
                break;
            }
        }
        (&*stream).write_all(response)?;
        if closes {
            return Ok(());
        }
    }
}

fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    let mut response = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n").into_bytes();
    response.resize(response.len() + BODY, b'x');
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            ACCEPTED.fetch_add(1, Ordering::Relaxed);
            let response = response.clone();
            thread::spawn(move || converse(&stream, &response));
        }
    });
    Ok(addr)
}

/// One way to make requests.
struct Way {
    name: &'static str,
    http: HttpPool,
    closes: bool,
    waits: Vec<Duration>,
    /// The number of requests, and the time in which all threads together made them.
    total: (usize, Duration),
    connections: usize,
    memory: Option<u64>,
}

impl Way {
    fn new(name: &'static str, closes: bool) -> Self {
        let http = HttpPool::builder()
            .name(name)
            .total_timeout(Duration::from_secs(10));
        Self {
            name,
            http: http.build().expect("the settings are good"),
            closes,
            waits: Vec::new(),
            total: (0, Duration::ZERO),
            connections: 0,
            memory: None,
        }
    }

    fn request(&self, url: &str, scratch: &mut [u8]) {
        let request = Request::get(url);
        let request = match self.closes {
            true => request.header("connection", "close"),
            false => request,
        };
        let response = self.http.send(request.body(()).expect("a good request"));
        let mut body = response.expect("a response").into_body();
        body.read_exact(scratch).expect("a body");
    }

    fn round(&mut self, url: &str, threads: usize, requests: usize) {
        let start = Barrier::new(threads + 1);
        let before = ACCEPTED.load(Ordering::Relaxed);
        let this = &*self;
        let (waits, took) = thread::scope(|scope| {
            let all: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let mut scratch = vec![0; BODY];
                        let mut waits = Vec::with_capacity(requests);
                        start.wait();
                        for _ in 0..requests {
                            let begin = Instant::now();
                            this.request(url, &mut scratch);
                            waits.push(begin.elapsed());
                        }
                        waits
                    })
                })
                .collect();
            start.wait();
            let begin = Instant::now();
            let waits = all
                .into_iter()
                .flat_map(|thread| thread.join().expect("no panic"));
            let waits: Vec<_> = waits.collect();
            (waits, begin.elapsed())
        });
        self.total.0 += waits.len();
        self.total.1 += took;
        self.waits.extend(waits);
        self.connections += ACCEPTED.load(Ordering::Relaxed) - before;
        self.memory = resident();
    }

    fn per_second(&self) -> f64 {
        self.total.0 as f64 / self.total.1.as_secs_f64()
    }

    fn print(&mut self, base: Option<u64>) {
        self.waits.sort_unstable();
        let at = |share: f64| self.waits[((self.waits.len() - 1) as f64 * share) as usize];
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let memory = match (self.memory, base) {
            (Some(now), Some(base)) => format!("{} KiB", now.saturating_sub(base) / 1024),
            _ => "?".to_owned(),
        };
        println!(
            "  {:<24} {:>9.0} {:>9.0} {:>9.0} {:>12.0} {:>12} {:>12}",
            self.name,
            micros(at(0.5)),
            micros(at(0.99)),
            micros(at(1.0)),
            self.per_second(),
            self.connections,
            memory,
        );
    }
}

/// The resident memory in bytes, where the system reports it.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// Whether the pool is fast enough with `threads` threads.
fn compare(url: &str, threads: usize, rounds: usize, requests: usize) -> bool {
    let base = resident();
    let mut ways = [
        Way::new("pooled", false),
        Way::new("connection per request", true),
    ];
    for round in 0..rounds {
        for turn in 0..ways.len() {
            ways[(round + turn) % 2].round(url, threads, requests);
        }
    }
    println!("{threads} threads");
    println!(
        "  {:<24} {:>9} {:>9} {:>9} {:>12} {:>12} {:>12}",
        "", "p50 µs", "p99 µs", "max µs", "requests/s", "connections", "memory"
    );
    for way in &mut ways {
        way.print(base);
    }
    let [pooled, single] = &ways;
    let share = single.per_second() / pooled.per_second();
    println!(
        "  pooled: {:.2} times the throughput, {:.0} % of the median wait\n",
        1.0 / share,
        100.0 * pooled.waits[pooled.waits.len() / 2].as_secs_f64()
            / single.waits[single.waits.len() / 2].as_secs_f64()
    );
    share <= ENOUGH
}

fn main() -> ExitCode {
    let test = env::args().any(|argument| argument == "--test");
    let (rounds, requests) = if test { (2, 100) } else { (10, 1000) };
    let addr = match serve() {
        Ok(addr) => addr,
        Err(error) => {
            println!("no server: {error}");
            return ExitCode::FAILURE;
        }
    };
    let url = format!("http://{addr}/");
    println!(
        "GET of {BODY} bytes over loopback, {rounds} rounds of {requests} requests by each thread\n"
    );
    let mut fast = true;
    for threads in [1, 8] {
        fast &= compare(&url, threads, rounds, requests);
    }
    if !fast {
        println!("BROKEN: the pool is not 15 % faster");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
