//! A manager for WebSockets, with the codec and the handshake of [tungstenite].
//!
//! [`WebSocketManager`] opens a TCP connection as [`ConbusSocketManager`](crate::ConbusSocketManager) does,
//! with `wss` a TLS session over it as `TlsSocketManager` (feature `tls`) does, and performs the upgrade in
//! `create`. It checks a connection with a ping that carries a nonce, keeps idle connections alive through
//! the collector, and closes with the closing handshake. Messages that arrive while no user reads are kept
//! for the next user or cause the eviction of the connection; they are never lost silently.
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
//! # Limits
//!
//! | step | limit | when the limit is reached |
//! |---|---|---|
//! | resolving and connecting | as in [`conbus`](crate::managers::conbus): `connect_timeout` (10 s) | `create` fails, transient |
//! | the handshake of TLS, with `wss` | `handshake_timeout` (10 s) | `create` fails, transient |
//! | the upgrade, however slowly the server speaks | `handshake_timeout` (10 s), counted anew | `create` fails, transient |
//! | all of it | the pool's `create_timeout` | the late connection is disposed |
//! | the wait for one message of the user, and for the pong before it | `read_timeout` | [`ReadTimeout`](WebSocketError::ReadTimeout); a later read continues |
//! | sending one message of the user | `write_timeout` | [`WriteTimeout`](WebSocketError::WriteTimeout); the connection is broken |
//! | a health check, ping and pong | `ping_timeout` (10 s), and above it the pool's `check_timeout` | evicted |
//! | reading at a checkout | none: it never waits, and reads at most the bytes that may be kept and 64 KiB of control frames | evicted if there is more |
//! | the closing handshake until the server has ended TCP | `close_timeout` (1 s), and above it the pool's `dispose_timeout` | the socket is closed without it |
//!
//! Each limit covers all reads and writes of its step, even if the server sends single bytes.
//! [`pool_config`](WebSocketManager::pool_config) sets the timeouts of the pool above those of the manager.
//! If `check_timeout` is shorter than `ping_timeout`, the pool evicts the connection after `check_timeout`;
//! the checking thread returns, and the connection is disposed, after `ping_timeout`. `dispose_timeout` and
//! `close_timeout` interact in the same way.
//!
//! # Idle connections
//!
//! The collector checks every connection that was idle for the pool's `keepalive_interval`, which
//! `pool_config` sets to `ping_interval` (30 s). A check sends a ping and reads the received data, and
//! thereby also answers pings of the server. A server that waits for its pongs for a shorter time closes the
//! connection. A connection in use is not pinged; the user's reads answer pings of the server.
//!
//! Received messages are kept in order, as [`Pushed`] allows, and the next user reads them first. A checkout
//! also reads received messages, so [`kept`](WebSocketConnection::kept) returns their number. A partly
//! received message is completed when it is read. Unread messages are lost when the pool evicts the
//! connection, because of its age or its end. [`unread`](WebSocketManager::unread) counts them, and a warning
//! of `tracing` reports them. A program that depends on pushed messages should hold its connection, or set
//! the pool's `idle_timeout` and `max_lifetime` accordingly.
//!
//! # Faults
//!
//! | the server … | in `create` | idle: the check, or the read at a checkout | in use |
//! |---|---|---|---|
//! | refuses, never answers the connect, does not resolve | [`Transport`](WebSocketError::Transport), transient as [`ConbusError`](crate::ConbusError) defines | – | – |
//! | answers with another status than 101 | [`Refused`](WebSocketError::Refused), transient for 429, 502, 503, 504 | – | – |
//! | does not speak HTTP, or does not upgrade | [`Handshake`](WebSocketError::Handshake), permanent | – | – |
//! | is silent, or too slow | [`HandshakeTimeout`](WebSocketError::HandshakeTimeout), transient | [`PingTimeout`](WebSocketError::PingTimeout) of the check; the read at a checkout does not notice | `ReadTimeout`, `WriteTimeout` |
//! | answers another ping | – | `PingTimeout` | ignored |
//! | ends or resets TCP | [`HandshakeCut`](WebSocketError::HandshakeCut), transient | `Transport`, evicted | `Transport`, evicted at check-in |
//! | closes with a code | [`Closed`](WebSocketError::Closed), transient depending on the code | `Closed`, answered, evicted | `Closed`, answered, evicted at check-in |
//! | pushes data | kept, including data that arrives with the upgrade | kept, or [`PushedTooMuch`](WebSocketError::PushedTooMuch), evicted | read |
//! | violates the protocol, or exceeds `max_message_size` or `max_frame_size` | – | [`Protocol`](WebSocketError::Protocol), evicted; the close frame has the code 1002, 1007 or 1009 | `Protocol`, evicted at check-in with the same close frame |
//! | never answers the close, or keeps sending | – | `close_timeout` | – |
//!
//! A connection is also evicted at check-in if its user sent a close, left a message half sent, or gave up on
//! a partly received message.
//!
//! # Stale replies
//!
//! As in [`conbus`](crate::managers::conbus#stale-replies), a reply that arrives after its reader gave up
//! would go to the next user, because it is kept. For a protocol of requests and replies,
//! [`discard`](crate::PooledConnection::discard) the connection on every error, and set [`Pushed::Reject`],
//! which evicts a connection with an unexpected reply.

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
