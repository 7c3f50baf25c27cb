//! A manager for WebSockets, with the codec and the handshake of [tungstenite].
//!
//! [`WebSocketManager`] opens a TCP connection as [`ConbusSocketManager`](crate::ConbusSocketManager)
//! does, with `wss` a TLS session over it as `TlsSocketManager` (feature `tls`) does, and makes the
//! upgrade before the connection counts as created. It checks with a ping that carries a nonce, lets
//! the collector keep idle connections alive, and closes with the closing handshake. Messages that
//! come while nobody reads are kept for the next user or cost the connection; they are never lost
//! silently.
//!
//! ```
//! # use conpool::{PoolBuilder, WebSocketManager, managers::websocket::{Message, tungstenite}};
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let url = format!("ws://{}/", listener.local_addr()?);
//! # let server = std::thread::spawn(move || {
//! #     let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
//! #     while let Ok(message) = socket.read() {
//! #         if message.is_text() { socket.send(message).unwrap(); }
//! #     }
//! # });
//! let manager = WebSocketManager::new(url);
//! let pool = PoolBuilder::from(manager.pool_config()).build(manager)?;
//! let mut socket = pool.get()?;
//! socket.send(Message::text("hello"))?;
//! assert_eq!(socket.read()?, Message::text("hello"));
//! # drop(socket);
//! # pool.close_timeout(std::time::Duration::from_secs(5))?;
//! # server.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What bounds what
//!
//! | step | bounded by | when that is over |
//! |---|---|---|
//! | resolving and connecting | as in [`conbus`](crate::managers::conbus): `connect_timeout` (10 s) | `create` fails, transient |
//! | the handshake of TLS, with `wss` | `handshake_timeout` (10 s) | `create` fails, transient |
//! | the upgrade, however slowly the server speaks | `handshake_timeout` (10 s), counted anew | `create` fails, transient |
//! | all of it | the pool's `create_timeout` | the late connection is disposed |
//! | the wait for one message of the user, and for the pong before it | `read_timeout` | [`ReadTimeout`](WebSocketError::ReadTimeout); a later read goes on |
//! | sending one message of the user | `write_timeout` | [`WriteTimeout`](WebSocketError::WriteTimeout); the connection is broken |
//! | a health check, ping and pong | `ping_timeout` (10 s), and above it the pool's `check_timeout` | evicted |
//! | the look at a checkout | nothing: it never waits, and takes in at most what may be kept and 64 KiB of control frames | evicted if there is more |
//! | the closing handshake until the server has ended TCP | `close_timeout` (1 s), and above it the pool's `dispose_timeout` | the socket is closed without it |
//!
//! Each of these is for all reads and writes of its step together: a server that sends a byte a second
//! gains nothing. [`pool_config`](WebSocketManager::pool_config) sets the timeouts of the pool above
//! those of the manager. Where `check_timeout` is the shorter one, it counts: the pool evicts the
//! connection then, and the thread that checks it is back, and the connection disposed, when
//! `ping_timeout` is over. `dispose_timeout` and `close_timeout` are alike.
//!
//! # Idle connections
//!
//! The pool's `keepalive_interval` makes its collector check every connection that was idle so long:
//! `pool_config` sets it to `ping_interval` (30 s). A check sends a ping and takes in what has come, so
//! this is also when pings of the server are answered. A server that waits for pongs for a shorter
//! time closes the connection. Nothing is pinged while a user holds the connection; there, whatever
//! the user reads with answers.
//!
//! Messages that come are kept as [`Pushed`] allows, in order, and the next user reads them first. A
//! checkout looks for them, too, so [`kept`](WebSocketConnection::kept) tells how many wait; one that is
//! here in part is completed when it is read. What nobody read goes down with the connection when the
//! pool evicts it, for its age or because it ended: [`unread`](WebSocketManager::unread) counts that,
//! and a warning of `tracing` tells it. A program that lives on what is pushed holds its connection, or
//! sets the pool's `idle_timeout` and `max_lifetime` accordingly.
//!
//! # What can go wrong
//!
//! | the server … | in `create` | idle: the check, or the look at a checkout | in use |
//! |---|---|---|---|
//! | refuses, is a black hole, does not resolve | [`Transport`](WebSocketError::Transport), transient or not as [`ConbusError`](crate::ConbusError) says | – | – |
//! | answers with another status than 101 | [`Refused`](WebSocketError::Refused), transient for 429, 502, 503, 504 | – | – |
//! | speaks no HTTP, or does not upgrade | [`Handshake`](WebSocketError::Handshake), permanent | – | – |
//! | is silent, or too slow | [`HandshakeTimeout`](WebSocketError::HandshakeTimeout), transient | [`PingTimeout`](WebSocketError::PingTimeout) of the check; the look sees nothing | `ReadTimeout`, `WriteTimeout` |
//! | answers another ping | – | `PingTimeout` | passed over |
//! | ends or resets TCP | [`HandshakeCut`](WebSocketError::HandshakeCut), transient | `Transport`, evicted | `Transport`, evicted at check-in |
//! | closes with a code | [`Closed`](WebSocketError::Closed), transient or not as the code says | `Closed`, answered, evicted | `Closed`, answered, evicted at check-in |
//! | pushes data | kept, also what comes with the upgrade | kept, or [`PushedTooMuch`](WebSocketError::PushedTooMuch), evicted | read |
//! | breaks the protocol, or sends more than `max_message_size` or `max_frame_size` | – | [`Protocol`](WebSocketError::Protocol), evicted; it is told 1002, 1007 or 1009 | `Protocol`, evicted at check-in; it is told |
//! | never answers the close, or goes on sending | – | `close_timeout` | – |
//!
//! A connection is also evicted at check-in when its user sent a close, left a message half sent, or
//! gave up on a message of which a part had come.
//!
//! # Stale replies
//!
//! As in [`conbus`](crate::managers::conbus#stale-replies), a reply that comes after its reader gave up
//! belongs to nobody, and here it is kept for the next user. Where the protocol is one of questions and
//! answers, [`discard`](crate::PooledConnection::discard) the connection on every error, and set
//! [`Pushed::Reject`], which evicts a connection that has an answer for nobody.

mod builder;
mod connect_params;
mod connection;
mod error;
mod failure;
mod frame_tracker;
mod idle;
mod manager;
mod nonce;
mod settings;
mod url;
mod wire;

pub use builder::WebSocketManagerBuilder;
pub use connection::WebSocketConnection;
pub use error::WebSocketError;
pub use manager::WebSocketManager;
pub use settings::Pushed;
pub use tungstenite::{
    self, Bytes, Message, Utf8Bytes,
    protocol::{CloseFrame, frame::coding::CloseCode},
};
