//! A pool of WebSockets to an echo server on this machine.
//!
//! ```text
//! cargo run --example websocket --features websocket
//! ```
//!
//! Eight threads share three connections. Then the server pushes a message to an idle connection, and closes
//! another one; the next users find the message and no dead connection. The exit code tells whether every
//! promise held.

use conpool::{
    EvictReason, Pool, PoolBuilder, WebSocketManager,
    managers::websocket::{CloseCode, CloseFrame, Message, tungstenite},
};
use std::{
    error::Error,
    net::{TcpListener, TcpStream},
    process::ExitCode,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const THREADS: usize = 8;
const ROUNDS: usize = 100;
const SOCKETS: usize = 3;
const SOON: Duration = Duration::from_secs(2);

type Pooled = Pool<WebSocketManager>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let server = Server::start()?;
    let manager = WebSocketManager::builder(&server.url)
        .ping_interval(Duration::from_millis(200))
        .read_timeout(SOON)
        .write_timeout(SOON)
        .build();
    let pool = PoolBuilder::from(manager.pool_config())
        .max_size(SOCKETS)
        .build(manager)?;
    println!("an echo server at {}", server.url);

    work(&pool)?;
    push(&pool, &server)?;
    close(&pool, &server)?;

    pool.close_timeout(SOON)?;
    let stats = pool.stats();
    expect(
        stats.created == stats.disposed,
        "every connection is disposed",
    )?;
    expect(pool.manager().unread() == 0, "no message is lost")?;
    println!("closed     {stats}");
    Ok(())
}

/// Every thread gets its own words back, although the threads share connections.
fn work(pool: &Pooled) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|user| {
            let pool = pool.clone();
            thread::spawn(move || -> Result<bool, String> {
                let mut right = true;
                for round in 0..ROUNDS {
                    let message = Message::text(format!("user {user}, round {round}"));
                    let mut socket = pool.get().map_err(|error| error.to_string())?;
                    let answer = socket.send(message.clone()).and_then(|()| socket.read());
                    right &= answer.map_err(|error| error.to_string())? == message;
                }
                Ok(right)
            })
        })
        .collect();
    for thread in threads {
        let right = thread.join().map_err(|_| "a user panicked")??;
        expect(right, "everybody gets their own answer")?;
    }
    let stats = pool.stats();
    expect(
        stats.created <= SOCKETS as u64,
        "no more sockets than allowed",
    )?;
    println!(
        "shared     {} messages of {THREADS} threads over {} sockets in {:.0?}",
        THREADS * ROUNDS,
        stats.created,
        start.elapsed()
    );
    Ok(())
}

/// A message to an idle connection is kept for the next user, while the collector pings.
fn push(pool: &Pooled, server: &Server) -> Result<(), Box<dyn Error>> {
    server.tell(Order::Push);
    thread::sleep(Duration::from_millis(500));
    // One of the connections has the message.
    let mut sockets = (0..pool.stats().idle)
        .map(|_| pool.get())
        .collect::<Result<Vec<_>, _>>()?;
    let mut news = Vec::new();
    for socket in &mut sockets {
        while let Some(message) = socket.try_read()? {
            news.push(message);
        }
    }
    expect(news == [Message::text("news")], "the news is kept, once")?;
    let stats = pool.stats();
    expect(stats.check_failures == 0, "every ping has its pong")?;
    println!(
        "pushed     \"{}\" came to an idle connection and was kept",
        news[0]
    );
    Ok(())
}

/// A connection that the server has closed is replaced before the next checkout.
fn close(pool: &Pooled, server: &Server) -> Result<(), Box<dyn Error>> {
    server.tell(Order::Close);
    let start = Instant::now();
    let replaced = |pool: &Pooled| {
        let stats = pool.stats();
        stats.evicted(EvictReason::CheckFailed) + stats.evicted(EvictReason::HookFailed)
    };
    while replaced(pool) == 0 {
        expect(start.elapsed() < SOON, "the collector sees the close")?;
        thread::sleep(Duration::from_millis(10));
    }
    let seen = start.elapsed();
    let mut socket = pool.get()?;
    socket.send("still here?".into())?;
    expect(socket.read()? == Message::text("still here?"), "an answer")?;
    let trip = socket.ping(SOON)?;
    println!("closed     by the server, seen after {seen:.0?}; the next ping took {trip:.0?}");
    Ok(())
}

fn expect(kept: bool, promise: &str) -> Result<(), String> {
    match kept {
        true => Ok(()),
        false => Err(format!("broken promise: {promise}")),
    }
}

/// Actions of the server on one of its clients, besides echoing.
#[derive(Clone, Copy)]
enum Order {
    Push,
    Close,
}

struct Server {
    url: String,
    order: Arc<Mutex<Option<Order>>>,
}

impl Server {
    fn start() -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("ws://{}/", listener.local_addr()?);
        let order = Arc::new(Mutex::new(None));
        let orders = Arc::clone(&order);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let orders = Arc::clone(&orders);
                // A client that disconnects ends its session.
                thread::spawn(move || serve(client, &orders).err());
            }
        });
        Ok(Self { url, order })
    }

    /// Orders an action. The first session that sees the order carries it out.
    fn tell(&self, order: Order) {
        *self.order.lock().unwrap() = Some(order);
    }
}

fn serve(client: TcpStream, orders: &Mutex<Option<Order>>) -> Result<(), tungstenite::Error> {
    client.set_nodelay(true)?;
    let patience = client.try_clone()?;
    let mut socket = tungstenite::accept(client).map_err(|error| match error {
        tungstenite::HandshakeError::Failure(error) => error,
        tungstenite::HandshakeError::Interrupted(_) => tungstenite::Error::ConnectionClosed,
    })?;
    patience.set_read_timeout(Some(Duration::from_millis(20)))?;
    loop {
        match socket.read() {
            Ok(message) if message.is_text() => socket.send(message)?,
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        match orders.lock().unwrap().take() {
            Some(Order::Push) => socket.send("news".into())?,
            Some(Order::Close) => socket.close(Some(CloseFrame {
                code: CloseCode::Restart,
                reason: "back soon".into(),
            }))?,
            None => {}
        }
    }
}
