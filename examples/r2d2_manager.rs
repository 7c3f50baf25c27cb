//! A manager written for r2d2, in r2d2 and in conpool: the same server and the same faults.
//!
//! `cargo run --release --features r2d2 --example r2d2_manager`
//!
//! Fails when this crate breaks a promise; r2d2's column is only printed.

use conpool::{HealthCheck, R2d2Manager};
use r2d2::ManageConnection;
use std::{
    error::Error,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::DerefMut,
    panic,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

const SIZE: usize = 4;
const TIMEOUT: Duration = Duration::from_millis(100);
/// The tolerance for a busy machine.
const NOISE: Duration = Duration::from_millis(400);

/// The manager: sends a line of text and reads the same line back. Like most managers it sets no timeouts of
/// its own.
struct Lines {
    server: SocketAddr,
    panics: Arc<AtomicBool>,
}

struct Line {
    stream: BufReader<TcpStream>,
    broken: bool,
}

impl Line {
    fn ask(&mut self, text: &str) -> io::Result<()> {
        let answer = self.try_ask(text);
        self.broken |= answer.is_err();
        assert_eq!(answer?, text, "somebody else's answer");
        Ok(())
    }

    fn try_ask(&mut self, text: &str) -> io::Result<String> {
        self.stream
            .get_mut()
            .write_all(format!("{text}\n").as_bytes())?;
        let mut answer = String::new();
        match self.stream.read_line(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer.trim_end().to_owned()),
        }
    }
}

impl ManageConnection for Lines {
    type Connection = Line;
    type Error = io::Error;

    fn connect(&self) -> io::Result<Line> {
        assert!(!self.panics.swap(false, SeqCst), "a bug in connect");
        let stream = TcpStream::connect(self.server)?;
        stream.set_nodelay(true)?;
        Ok(Line {
            stream: BufReader::new(stream),
            broken: false,
        })
    }

    fn is_valid(&self, line: &mut Line) -> io::Result<()> {
        line.ask("still there?")
    }

    fn has_broken(&self, line: &mut Line) -> bool {
        line.broken
    }
}

/// A server that echoes every line, unless it is frozen.
#[derive(Clone, Default)]
struct Server {
    clients: Arc<Mutex<Vec<TcpStream>>>,
    frozen: Arc<Mutex<()>>,
}

impl Server {
    fn start(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let frozen = Arc::clone(&server.frozen);
                server.clients.lock().unwrap().extend(stream.try_clone());
                thread::spawn(move || serve(&stream, &frozen));
            }
        });
        Ok(address)
    }

    fn cut_all(&self) {
        for client in self.clients.lock().unwrap().drain(..) {
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(stream: &TcpStream, frozen: &Mutex<()>) {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
        drop(frozen.lock());
        if (&mut &*stream).write_all(line.as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}

/// The get of either pool: a guard, or the error.
type Get = Box<dyn Fn(Duration) -> Result<Box<dyn DerefMut<Target = Line>>, String> + Sync>;

/// The results of one of the two pools.
struct Seen {
    opened: usize,
    /// Without a check, and with one at every checkout.
    requests: [u64; 2],
    hang: Duration,
    /// Requests that were answered, out of the first `size` after all connections died.
    after_cut: usize,
    after_panic: bool,
    error: String,
}

fn watch(build: impl Fn(Lines, usize, bool) -> (Get, usize)) -> io::Result<Seen> {
    let server = Server::default();
    let address = server.start()?;
    let panics = Arc::new(AtomicBool::new(false));
    let lines = |server| Lines {
        server,
        panics: Arc::clone(&panics),
    };

    let (get, opened) = build(lines(address), SIZE, false);
    let unchecked = work(&get);
    drop(get);
    let (get, _) = build(lines(address), SIZE, true);
    let requests = [unchecked, work(&get)];

    let busy = server.frozen.lock();
    let (hang, _) = thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let start = Instant::now();
            let result = get(TIMEOUT).map(drop);
            (start.elapsed(), result)
        });
        thread::sleep(TIMEOUT * 6);
        drop(busy);
        caller
            .join()
            .expect("a caller that was told in time, or late")
    });

    drop((0..SIZE).map(|_| get(NOISE)).collect::<Vec<_>>());
    server.cut_all();
    let answers = (0..SIZE).map(|_| get(NOISE).map(|mut line| line.ask("after")));
    let after_cut = answers
        .filter(|answer| matches!(answer, Ok(Ok(()))))
        .count();
    drop(get);

    panics.store(true, SeqCst);
    let (get, _) = build(lines(address), 1, true);
    let _ = get(NOISE);
    let after_panic = get(NOISE).is_ok();

    // The port of a dropped listener refuses connects.
    let nowhere = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (get, _) = build(lines(nowhere), 1, true);
    let error = get(NOISE).err().unwrap_or_default();
    Ok(Seen {
        opened,
        requests,
        hang,
        after_cut,
        after_panic,
        error,
    })
}

/// Runs twice as many users as connections, for a while.
fn work(get: &Get) -> u64 {
    let requests = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for user in 0..2 * SIZE {
            let requests = &requests;
            scope.spawn(move || {
                while start.elapsed() < Duration::from_millis(300) {
                    let mut line = get(NOISE * 10).expect("a line");
                    line.ask(&format!("I am {user}")).expect("an answer");
                    requests.fetch_add(1, SeqCst);
                }
            });
        }
    });
    requests.into_inner()
}

fn with_r2d2(lines: Lines, size: usize, check: bool) -> (Get, usize) {
    let pool = r2d2::Pool::builder()
        .max_size(size as u32)
        .test_on_check_out(check)
        .build_unchecked(lines);
    let start = Instant::now();
    while pool.state().connections < size as u32 && start.elapsed() < TIMEOUT {
        thread::sleep(Duration::from_millis(1));
    }
    let opened = pool.state().connections as usize;
    let get = move |timeout| match pool.get_timeout(timeout) {
        Ok(guard) => Ok(Box::new(guard) as Box<dyn DerefMut<Target = Line>>),
        Err(error) => Err(error.to_string()),
    };
    (Box::new(get), opened)
}

fn with_conpool(lines: Lines, size: usize, check: bool) -> (Get, usize) {
    let check = if check {
        HealthCheck::OnCheckout
    } else {
        HealthCheck::Never
    };
    let pool = conpool::Pool::builder()
        .name("lines")
        .max_size(size)
        .health_check(check)
        .build_lazy(R2d2Manager::new(lines))
        .expect("settings that make sense");
    drop(pool.get_timeout(NOISE));
    let opened = pool.stats().size;
    let get = move |timeout| match pool.get_timeout(timeout) {
        Ok(guard) => Ok(Box::new(guard) as Box<dyn DerefMut<Target = Line>>),
        Err(error) => Err(chain(&error)),
    };
    (Box::new(get), opened)
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let behind = error.source().map(chain);
    behind.map_or_else(
        || error.to_string(),
        |behind| format!("{error}\n      {behind}"),
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    // The panic below is intended; one line of it is enough.
    panic::set_hook(Box::new(|info| eprintln!("({info})")));
    let (r2d2, conpool) = (watch(with_r2d2)?, watch(with_conpool)?);
    let row = |what: &str, r2d2: String, conpool: String| {
        println!("{what:<58} {r2d2:>12} {conpool:>12}");
    };
    let slot = |left| if left { "served" } else { "lost" }.to_owned();
    row("", "r2d2 0.8".into(), "conpool".into());
    row(
        "connections opened before anybody needs a second one",
        r2d2.opened.to_string(),
        conpool.opened.to_string(),
    );
    for (what, way) in [
        ("requests of 8 users on 4 connections in 300 ms", 0),
        ("the same, with a check at every checkout", 1),
    ] {
        let [old, new] = [&r2d2, &conpool].map(|seen| seen.requests[way].to_string());
        row(what, old, new);
    }
    row(
        "get_timeout(100 ms) while the server hangs for 600 ms",
        format!("{:.0?}", r2d2.hang),
        format!("{:.0?}", conpool.hang),
    );
    row(
        "4 connections cut while idle: of 4 requests, answered",
        r2d2.after_cut.to_string(),
        conpool.after_cut.to_string(),
    );
    row(
        "a connect panicked once: the next caller of that slot is",
        slot(r2d2.after_panic),
        slot(conpool.after_panic),
    );
    println!(
        "\nnobody listens, and the caller reads\n  r2d2:    {}\n  conpool: {}",
        r2d2.error, conpool.error
    );

    let kept = [
        (conpool.opened == 1, "a pool opens what is needed"),
        (!conpool.requests.contains(&0), "requests are served"),
        (
            conpool.hang >= TIMEOUT && conpool.hang < TIMEOUT + NOISE,
            "a timeout holds",
        ),
        (
            conpool.after_cut == SIZE,
            "a dead connection is not handed out",
        ),
        (conpool.after_panic, "a panic costs no slot"),
        (
            conpool.error.contains("refused"),
            "an error names its cause",
        ),
    ];
    match kept.iter().find(|(kept, _)| !kept) {
        Some((_, promise)) => Err(format!("broken: {promise}").into()),
        None => Ok(()),
    }
}
