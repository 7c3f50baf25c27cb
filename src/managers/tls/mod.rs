//! A manager for TLS connections over TCP.
//!
//! [`TlsSocketManager`] opens a TCP connection as [`ConbusSocketManager`](crate::ConbusSocketManager)
//! does, makes the TLS handshake before the connection counts as created, proves without waiting
//! that it still stands, and says goodbye (`close_notify`) before it closes. The connection is
//! rustls's own [`StreamOwned`](rustls::StreamOwned): [`Read`](std::io::Read) and
//! [`Write`](std::io::Write), with the session and the socket as public fields. TLS 1.2 and 1.3, with
//! ring for the cryptography.
//!
//! Whom to trust is always said, by a [`TlsConfig`]: [`TlsConfig::pem`] for a private authority,
//! `TlsConfig::webpki_roots` and `TlsConfig::platform` behind the features `tls-webpki-roots` and
//! `tls-platform-verifier`, or any [`rustls::ClientConfig`] of your own. Its clones share the store of
//! sessions, so a later handshake with the same server resumes an earlier one, whichever connection,
//! pool or manager made it.
//!
//! # What bounds what
//!
//! | step | bounded by | when that is over |
//! |---|---|---|
//! | resolving and connecting | as in [`conbus`](crate::managers::conbus): `connect_timeout` | `create` fails, transient |
//! | the handshake, however slowly the server speaks | `handshake_timeout` | `create` fails, transient |
//! | all of it | the pool's `create_timeout` | the late connection is disposed |
//! | one read or write of the user | `read_timeout`, `write_timeout` of the TCP settings | the user gets the I/O error and should [`discard`](crate::PooledConnection::discard) |
//! | the probe and the drain | nothing: they never wait | – |
//! | saying goodbye | nothing: it is sent if there is room for it at once | the server sees the end of TCP alone |
//! | waiting for the server's end | `close_wait` of the TCP settings | the socket is closed without it |
//!
//! # What can go wrong
//!
//! | the server … | what happens |
//! |---|---|
//! | refuses, is a black hole, does not resolve | [`TlsError::Tcp`], transient or not as [`ConbusError`](crate::ConbusError) says |
//! | takes the connection and says nothing, or too slowly | [`TlsError::HandshakeTimeout`], transient |
//! | ends or resets TCP in the handshake | [`TlsError::HandshakeCut`], transient |
//! | has a certificate that is expired, for another name or by nobody trusted | [`TlsError::Handshake`], permanent |
//! | speaks no TLS, or no version in common | [`TlsError::Handshake`], permanent |
//! | says `close_notify`, ends or resets TCP while idle | evicted; the next one is tried |
//! | sends session tickets or new keys while idle | taken in; the connection stays good |
//! | sends data while idle | as [`Unread`](crate::Unread) says |
//! | sends what is no TLS while idle | [`TlsError::Session`], evicted |
//! | ends TCP in use without `close_notify` | the user's read fails with [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof): what came before may be cut short |
//!
//! # Tickets are not data
//!
//! A TLS 1.3 server sends session tickets after the handshake, so an idle connection is readable
//! though nobody sent anything. A probe that only asks the socket takes that for an unsolicited
//! answer (or, if it ignores what it sees, misses the end behind it). This one takes the bytes into
//! the session and looks at what they meant.

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
/// A write that is not sent within `write_timeout` is told by the next write or flush, as rustls does
/// it: the data is encrypted by then and cannot be taken back.
pub type TlsStream = ::rustls::StreamOwned<::rustls::ClientConnection, TlsSocket>;
