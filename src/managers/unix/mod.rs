//! A manager for connections over Unix sockets.
//!
//! [`UnixSocketManager`] opens a [`UnixStream`](std::os::unix::net::UnixStream) to a server on the same
//! machine, checks without waiting that the connection is still open, discards bytes that arrived between two
//! checkouts, and closes the connection so that the server has seen the end before the next connect. The
//! manager exists on Unix only and needs no feature.
//!
//! # Limits
//!
//! | step | limit | when the limit is reached |
//! |---|---|---|
//! | connecting, while the listener's queue is full (Linux) | `connect_timeout` | `create` fails, transient |
//! | one read or write of the user | `read_timeout`, `write_timeout` | the user gets the I/O error and should [`discard`](crate::PooledConnection::discard) |
//! | the probe and the drain | none: they never wait | – |
//! | closing | `close_wait`, and above it the pool's `dispose_timeout` | the socket is closed without the server's answer |
//!
//! A connect succeeds as soon as the listener's queue has room, before the server accepts the connection. On
//! Linux a connect to a full queue would wait without a limit, so the manager tries again every few
//! milliseconds until `connect_timeout`. Other systems refuse such a connect at once, which is a transient
//! error too.
//!
//! # Probe results
//!
//! | the server … | probe | checkout |
//! |---|---|---|
//! | is idle | good | handed out |
//! | closed, or closed its write side only | [`Closed`](UnixSocketError::Closed) | evicted, the next one is tried |
//! | closed without reading all bytes sent to it (Linux) | [`Reset`](UnixSocketError::Reset) | evicted |
//! | sent bytes that were not read | depends on [`Unread`](crate::Unread) | drained, kept or evicted |
//! | sent bytes and then closed | [`Closed`](UnixSocketError::Closed) | evicted |
//!
//! Repeated probes return the same result. Outside of Linux the end behind unread bytes is detected by
//! draining, so with [`Unread::Keep`](crate::Unread::Keep) the end is noticed only when the bytes have been
//! read.
//!
//! The next user would read a reply that arrives after its reader gave up:
//! [`conbus`](crate::managers::conbus#stale-replies) explains the rule that prevents this.
//!
//! # Paths
//!
//! A path is used as given; a relative path is looked up in the working directory at each create. The system
//! allows about 100 bytes (Linux 107, macOS 103). On Linux a path that begins with a NUL byte, as in
//! `"\0orders"`, is a name of the abstract namespace, which has no file. Errors show it as `"@orders"`.
//! (`"@orders"` itself is a file of that name.)
//!
//! # Transient errors
//!
//! A server that restarts removes its socket file and creates it again, so a missing path is a transient
//! error, as a refused connect is. In return, a path with a typing error is tried until the deadline of the
//! caller, whose error then carries the cause. Missing permission and a path that is too long are permanent.

mod builder;
mod connect;
mod error;
mod manager;

pub use builder::UnixSocketManagerBuilder;
pub use error::UnixSocketError;
pub use manager::UnixSocketManager;
