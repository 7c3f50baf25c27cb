//! One HTTP client for a whole program: a singleton for all threads, over a pool of connections.
//!
//! ```text
//! cargo run --release --features http --example http_client
//! ```
//!
//! Eight threads request pages from a small server in the same program and send it orders. At the end the
//! program prints how many connections that took, and fails if a promise was broken.

use conpool::{
    HttpPool, HttpRequestBody,
    http_types::{Request, StatusCode},
};
use std::{
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// The client. The first use builds it.
static HTTP: LazyLock<HttpPool> = LazyLock::new(|| {
    HttpPool::builder()
        .name("client")
        .max_total(100)
        .max_per_host(4)
        .connect_timeout(Duration::from_secs(2))
        .total_timeout(Duration::from_secs(5))
        .build()
        .expect("the settings are good")
});

const THREADS: usize = 8;
const ROUNDS: usize = 250;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Requests a page. Once its body is read to the end, the connection serves the next request.
fn page(server: SocketAddr, number: usize) -> Outcome<()> {
    let response = HTTP.get(format!("http://{server}/pages/{number}"))?;
    let text = io::read_to_string(response.into_body())?;
    if text != format!("you asked for /pages/{number}") {
        return Err(format!("a page that was asked for by somebody else: {text:?}").into());
    }
    Ok(())
}

/// Sends an order whose body is streamed from a reader.
fn order(server: SocketAddr, number: usize) -> Outcome<()> {
    let lines = format!("{number} pieces, please\n").repeat(200);
    let request = Request::post(format!("http://{server}/orders"))
        .header("content-type", "text/plain")
        .body(HttpRequestBody::chunked(lines.as_bytes()))?;
    let response = HTTP.send(request)?;
    if response.status() != StatusCode::CREATED {
        return Err(format!("an order was answered with {}", response.status()).into());
    }
    let taken = io::read_to_string(response.into_body())?;
    if taken != lines.len().to_string() {
        return Err(format!("{taken} of {} bytes arrived", lines.len()).into());
    }
    Ok(())
}

fn work(server: SocketAddr, thread: usize) -> Outcome<()> {
    for round in 0..ROUNDS {
        match round % 5 {
            0 => order(server, round)?,
            _ => page(server, thread * ROUNDS + round)?,
        }
    }
    Ok(())
}

fn run() -> Outcome<bool> {
    let (server, accepted) = serve()?;
    let threads: Vec<_> = (0..THREADS)
        .map(|number| thread::spawn(move || work(server, number)))
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }

    let stats = HTTP.stats();
    let requests = THREADS * ROUNDS;
    let connections = accepted.load(Ordering::SeqCst);
    println!(
        "{requests} requests by {THREADS} threads over {connections} connections: {:.2} % of them had one \
         that was open already",
        100.0 * stats.reuse_rate()
    );
    println!("{stats}");
    // Before main returns, so that the server sees every connection end in order.
    HTTP.close_timeout(Duration::from_secs(2))?;

    let kept = connections <= 4 && stats.gets == requests as u64 && stats.reuse_rate() > 0.99;
    if !kept {
        println!("BROKEN: more connections than promised");
    }
    Ok(kept)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("BROKEN: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The server: the part of HTTP that this example needs. It counts the connections it accepts.
fn serve() -> io::Result<(SocketAddr, &'static AtomicUsize)> {
    static ACCEPTED: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            ACCEPTED.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || converse(&stream));
        }
    });
    Ok((addr, &ACCEPTED))
}

fn converse(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut chunked = false;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            chunked |= line
                .trim_end()
                .eq_ignore_ascii_case("transfer-encoding: chunked");
            if line.trim_end().is_empty() {
                break;
            }
        }
        let (status, text) = match chunked {
            true => ("201 Created", chunks(&mut reader)?.to_string()),
            false => {
                let path = first.split(' ').nth(1).unwrap_or_default();
                ("200 OK", format!("you asked for {path}"))
            }
        };
        let length = text.len();
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{text}");
        (&*stream).write_all(response.as_bytes())?;
    }
}

/// The number of bytes of data in a chunked body.
fn chunks(reader: &mut impl BufRead) -> io::Result<usize> {
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        // Including the line end.
        io::copy(&mut reader.by_ref().take(size as u64 + 2), &mut io::sink())?;
        total += size;
        if size == 0 {
            return Ok(total);
        }
    }
}
