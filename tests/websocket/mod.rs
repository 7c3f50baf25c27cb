//! Shared by the tests of WebSockets: real servers on this machine, and pools of clients to them.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests time the pool from outside and are themselves the users' threads"
)]

#[cfg(feature = "tls")]
#[path = "../common/authority.rs"]
pub(crate) mod authority;

use crate::common::{self, SOON, acceptor::Acceptor, eventually, noise, secs};
use conpool::{
    ConnectionManager, ManualClock, Pool, PoolBuilder, PooledConnection, WebSocketConnection,
    WebSocketError, WebSocketManager, WebSocketManagerBuilder,
    managers::websocket::{
        Bytes, Message,
        tungstenite::{Error, WebSocket, accept, handshake::derive_accept_key},
    },
};
use std::{
    io::{self, BufRead, BufReader},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

pub(crate) type Far = WebSocket<TcpStream>;
pub(crate) type Guard = PooledConnection<WebSocketManager>;

/// A server with a thread for each client. Everything ends when it is dropped.
pub(crate) struct Server {
    acceptor: Acceptor,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    open: AtomicUsize,
    sessions: Mutex<Vec<(Option<TcpStream>, JoinHandle<()>)>>,
}

impl Server {
    /// Runs `serve` for every client, on a thread of its own, which must end when the client is gone.
    pub(crate) fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::on(listener, false, serve)
    }

    /// Echoes every message. Dropping it ends the connections.
    pub(crate) fn echo() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::on(listener, true, echo)
    }

    /// An echo server on an address that another server had before.
    pub(crate) fn echo_again(address: SocketAddr) -> Self {
        let mut listener = TcpListener::bind(address);
        eventually(|| {
            // A client that connected in vain may still hold the port for a moment.
            if listener.is_err() {
                listener = TcpListener::bind(address);
            }
            listener.is_ok()
        });
        Self::on(listener.unwrap(), true, echo)
    }

    fn on(
        listener: TcpListener,
        ends: bool,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let inner = Arc::new(Inner::default());
        let (here, serve) = (Arc::clone(&inner), Arc::new(serve));
        let acceptor = Acceptor::on(listener, move |_, client| {
            here.open.fetch_add(1, Ordering::SeqCst);
            // While a copy is open, a close sends no reset.
            let handle = ends.then(|| client.try_clone().expect("a descriptor"));
            let (there, serve) = (Arc::clone(&here), Arc::clone(&serve));
            let copy = handle
                .as_ref()
                .map(|stream| stream.try_clone().expect("one more"));
            let session = thread::spawn(move || {
                serve(client);
                if let Some(stream) = copy {
                    let _ = stream.shutdown(Shutdown::Both);
                }
                there.open.fetch_sub(1, Ordering::SeqCst);
            });
            let mut sessions = here.sessions.lock().unwrap();
            sessions.retain(|(_, session)| !session.is_finished());
            sessions.push((handle, session));
        });
        Self { acceptor, inner }
    }

    /// Upgrades every client and hands it to the test.
    pub(crate) fn by_hand() -> (Self, Clients) {
        let (sender, receiver) = mpsc::channel();
        let server = Self::start(move |client| {
            if let Ok(far) = accept(client) {
                let _ = sender.send(far);
            }
        });
        (server, Clients(receiver))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.acceptor.addr()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.address())
    }

    pub(crate) fn accepted(&self) -> usize {
        self.acceptor.accepted()
    }

    /// Sessions that have not ended.
    pub(crate) fn open(&self) -> usize {
        self.inner.open.load(Ordering::SeqCst)
    }

    /// A manager with short timeouts, for tests that do not depend on them.
    pub(crate) fn manager(&self) -> WebSocketManagerBuilder {
        WebSocketManager::builder(self.url())
            .close_timeout(secs(2))
            .read_timeout(SOON)
            .write_timeout(SOON)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.acceptor.stop();
        let sessions = std::mem::take(&mut *self.inner.sessions.lock().unwrap());
        for (stream, session) in sessions {
            if let Some(stream) = stream {
                let _ = stream.shutdown(Shutdown::Both);
            }
            let _ = session.join();
        }
    }
}

/// The server's ends of connections, in the order in which they were made.
pub(crate) struct Clients(mpsc::Receiver<Far>);

impl Clients {
    #[track_caller]
    pub(crate) fn next(&self) -> Far {
        let far = self.0.recv_timeout(SOON).expect("a client");
        far.get_ref().set_read_timeout(Some(SOON)).unwrap();
        far
    }
}

pub(crate) fn echo(client: TcpStream) {
    let _ = client.set_nodelay(true);
    if let Ok(mut socket) = accept(client) {
        let _ = echo_all(&mut socket);
    }
}

pub(crate) fn echo_all<S: io::Read + io::Write>(socket: &mut WebSocket<S>) -> Result<(), Error> {
    loop {
        let message = socket.read()?;
        if message.is_text() || message.is_binary() {
            socket.send(message)?;
        }
    }
}

/// Ends the connection with a reset.
pub(crate) fn reset(far: Far) {
    reset_stream(far.into_inner());
}

pub(crate) use crate::common::found_dead;
pub(crate) use crate::support::sockets::{arrives, reset as reset_stream};

/// Waits until this many bytes can be read.
#[track_caller]
pub(crate) fn arrive(socket: &TcpStream, bytes: usize) {
    let mut seen = vec![0; bytes];
    socket.set_nonblocking(false).unwrap();
    eventually(|| socket.peek(&mut seen).unwrap() == bytes);
}

/// A whole frame of a server: the first byte, then the length and the payload.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        long @ 126..=0xFFFF => {
            frame.push(126);
            frame.extend((long as u16).to_be_bytes());
        }
        longer => {
            frame.push(127);
            frame.extend((longer as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// A pool with a stopped clock and quick retries, and no initial connections.
pub(crate) fn pool(
    name: &str,
    size: usize,
    manager: &WebSocketManager,
) -> (PoolBuilder<WebSocketManager>, ManualClock) {
    // Starts the latency monitor.
    noise();
    let clock = ManualClock::new();
    let builder = PoolBuilder::from(manager.pool_config())
        .name(name)
        .max_size(size)
        .backoff(common::quick_backoff())
        .clock(clock.clone());
    (builder, clock)
}

/// A pool of one, with its only connection held, and the server's end of it.
pub(crate) fn one(
    name: &str,
    clients: &Clients,
    manager: WebSocketManager,
) -> (Pool<WebSocketManager>, ManualClock, Guard, Far) {
    let (builder, clock) = pool(name, 1, &manager);
    let pool = builder.build_lazy(manager).unwrap();
    let guard = pool.get_timeout(SOON).expect("a connection");
    let far = clients.next();
    (pool, clock, guard, far)
}

pub(crate) fn text(number: usize) -> Message {
    Message::text(format!("message {number}"))
}

#[track_caller]
pub(crate) fn echoes(guard: &mut Guard, message: &str) {
    guard.send(message.into()).unwrap();
    assert_eq!(guard.read().unwrap(), Message::text(message));
}

/// Closes the pool and asserts that it has released everything.
#[track_caller]
pub(crate) fn leave(pool: &Pool<WebSocketManager>) {
    pool.close_timeout(SOON).unwrap();
    common::left_nothing(&pool.stats(), pool.name());
}

/// Reads until the client's close frame and answers it, as a server should.
#[track_caller]
pub(crate) fn sees_close(mut far: Far) -> Option<u16> {
    loop {
        if let Message::Close(frame) = far.read().expect("a close frame") {
            let _ = far.flush();
            return frame.map(|frame| frame.code.into());
        }
    }
}

pub(crate) const WELCOME: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n";

/// Reads the whole head of the request.
pub(crate) fn request(client: &TcpStream) -> Vec<String> {
    let lines = BufReader::new(client).lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// The response to an upgrade request, for tests that write it themselves.
pub(crate) fn welcome(head: &[String]) -> Vec<u8> {
    let (_, key) = head
        .iter()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .expect("a key");
    let key = derive_accept_key(key.as_bytes());
    format!("{WELCOME}Connection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n").into_bytes()
}

#[track_caller]
pub(crate) fn fails(manager: &WebSocketManager) -> WebSocketError {
    let error = manager.create().expect_err("a create that fails");
    assert!(!error.to_string().contains('\n'), "{error}");
    assert_eq!(manager.is_transient(&error), error.is_transient());
    error
}

/// A connection without a pool, its manager and the server's end.
pub(crate) fn pair(
    server: &Server,
    clients: &Clients,
) -> (WebSocketManager, WebSocketConnection, Far) {
    let manager = server.manager().ping_timeout(SOON).build();
    let near = manager.create().unwrap();
    (manager, near, clients.next())
}

/// Waits for a ping of the client and returns its payload. The next read or flush answers it.
pub(crate) fn next_ping(far: &mut Far) -> Bytes {
    match far.read().expect("a ping") {
        Message::Ping(payload) => payload,
        other => panic!("{other:?} instead of a ping"),
    }
}
