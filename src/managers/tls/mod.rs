//! A manager for TLS connections over TCP.
//!
//! [`TlsSocketManager`] opens a TCP connection as [`ConbusSocketManager`](crate::ConbusSocketManager) does,
//! performs the TLS handshake in `create`, checks without waiting that the connection is still open, and
//! sends `close_notify` before it closes. The connection is rustls's [`StreamOwned`](rustls::StreamOwned): it
//! implements [`Read`](std::io::Read) and [`Write`](std::io::Write), with the session and the socket as
//! public fields. The versions are TLS 1.2 and 1.3, with ring for the cryptography.
//!
//! A [`TlsConfig`] always specifies the trusted roots: [`TlsConfig::pem`] for a private authority,
//! `TlsConfig::webpki_roots` and `TlsConfig::platform` behind the features `tls-webpki-roots` and
//! `tls-platform-verifier`, or any [`rustls::ClientConfig`] of your own. Its clones share the session store,
//! so a handshake resumes an earlier session with the same server, also one of another connection, pool or
//! manager.
//!
//! # Limits
//!
//! | step | limit | when the limit is reached |
//! |---|---|---|
//! | resolving and connecting | as in [`conbus`](crate::managers::conbus): `connect_timeout` | `create` fails, transient |
//! | the handshake, however slowly the server speaks | `handshake_timeout` | `create` fails, transient |
//! | all of it | the pool's `create_timeout` | the late connection is disposed |
//! | one read or write of the user | `read_timeout`, `write_timeout` of the TCP settings | the user gets the I/O error and should [`discard`](crate::PooledConnection::discard) |
//! | the probe and the drain | none: they never wait | – |
//! | sending `close_notify` | none: it is sent if the socket has room for it at once | the server sees only the end of TCP |
//! | waiting for the server's end | `close_wait` of the TCP settings | the socket is closed without it |
//!
//! # Faults
//!
//! | the server … | what happens |
//! |---|---|
//! | refuses, never answers the connect, does not resolve | [`TlsError::Tcp`], transient as [`ConbusError`](crate::ConbusError) defines |
//! | accepts the connection and then sends nothing, or too slowly | [`TlsError::HandshakeTimeout`], transient |
//! | ends or resets TCP in the handshake | [`TlsError::HandshakeCut`], transient |
//! | has a certificate that is expired, for another name or untrusted | [`TlsError::Handshake`], permanent |
//! | does not speak TLS, or has no common version | [`TlsError::Handshake`], permanent |
//! | sends `close_notify`, ends or resets TCP while idle | evicted; the next connection is tried |
//! | sends session tickets or new keys while idle | processed; the connection stays good |
//! | sends data while idle | depends on [`Unread`](crate::Unread) |
//! | sends invalid TLS while idle | [`TlsError::Session`], evicted |
//! | ends TCP in use without `close_notify` | the user's read fails with [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof): the data before may be truncated |
//!
//! # Session tickets
//!
//! A TLS 1.3 server sends session tickets after the handshake, so an idle connection is readable although the
//! server sent no data. A probe of only the socket would take that for unsolicited data (or, if it ignored
//! unread bytes, would miss an end behind them). This manager's probe passes the bytes to the session and
//! examines their meaning.

mod builder;
mod config;
mod error;
mod manager;
mod session;
mod socket;

pub use builder::TlsSocketManagerBuilder;
pub use config::TlsConfig;
pub use error::TlsError;
pub use manager::TlsSocketManager;
pub use socket::TlsSocket;

/// An open TLS connection: rustls's session and its socket.
///
/// As usual in rustls, the next write or flush reports a write that was not sent within `write_timeout`: its
/// data is already encrypted and cannot be taken back.
pub type TlsStream = ::rustls::StreamOwned<::rustls::ClientConnection, TlsSocket>;
